//! The reading side: a connection that cannot write, and what is asked of it.

use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};

use super::opening::BUSY_TIMEOUT;
use super::{rows, schema};
use crate::domain::audit::ThrottleRow;
use crate::domain::level::Level;
use crate::domain::throttle::{Owner, ThrottleName};
use crate::ports::{Effect, JournalEntry, OutboxRow, Stored};
use crate::store::{LEDGER_FILE, LedgerSnapshot, accounts, private};

/// Opens an existing ledger for reading only.
pub(in crate::store) fn connect(dir: &Path) -> rusqlite::Result<Connection> {
    connect_file(&dir.join(LEDGER_FILE))
}

/// The same for a file of any name, a backup for example.
pub(in crate::store) fn connect_file(file: &Path) -> rusqlite::Result<Connection> {
    // What SQLite opens beside it, too: it waits for a pipe as anybody would.
    for end in ["", "-wal", "-journal"] {
        let mut one = file.as_os_str().to_owned();
        one.push(end);
        private::no_special(Path::new(&one)).map_err(|error| {
            let cannot = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            rusqlite::Error::SqliteFailure(cannot, Some(format!("{}: {error}", one.display())))
        })?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// What a ledger knows at a start: holds by its own accounts.
pub(in crate::store) fn opened(conn: &Connection) -> rusqlite::Result<LedgerSnapshot> {
    let tx = conn.unchecked_transaction()?;
    let accounts = accounts::at_start(&tx)?;
    let stored = Stored {
        throttles: throttles(&tx)?,
        holds: accounts.live.clone(),
    };
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let journal = if version < schema::JOURNAL_SEEN {
        None
    } else {
        journal_seen(&tx)?
    };
    Ok(LedgerSnapshot {
        stored,
        accounts,
        journal,
    })
}

/// How many of these commands it has neither by their id nor by the hold they took.
pub(in crate::store) fn lacks(
    conn: &Connection,
    entries: &[JournalEntry],
) -> rusqlite::Result<usize> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < schema::JOURNAL_SEEN {
        return Ok(0); // it was not asked yet
    }
    let mut lacking = 0;
    for entry in entries {
        let has_hold = match &entry.effect {
            Effect::Hold(held) => conn
                .prepare_cached("SELECT 1 FROM holds WHERE epoch = ?1")?
                .exists([&held.hold.epoch.0])?,
            _ => false,
        };
        lacking += usize::from(!has_hold && !rows::knows_command(conn, &entry.record.once)?);
    }
    Ok(lacking)
}

/// Whether it has the command of this id.
pub(in crate::store) fn has(conn: &Connection, once: &str) -> rusqlite::Result<bool> {
    rows::knows_command(conn, once)
}

fn journal_seen(conn: &Connection) -> rusqlite::Result<Option<u64>> {
    let ever: Option<i64> = conn
        .query_row("SELECT ever FROM journal_seen", [], |row| row.get(0))
        .optional()?;
    Ok(ever.and_then(|ever| u64::try_from(ever).ok()))
}

/// Every throttle and every hold that has not ended, in the order taken.
pub(in crate::store) fn stored(conn: &Connection) -> rusqlite::Result<Stored> {
    // One read transaction, so that throttles and holds are of the same moment.
    let tx = conn.unchecked_transaction()?;
    let throttles = throttles(&tx)?;
    let holds = tx
        .prepare_cached("SELECT hold FROM holds WHERE ended = 0 ORDER BY taken")?
        .query_map([], |row| {
            let text: String = row.get(0)?;
            serde_json::from_str(&text).map_err(|e| unreadable(0, Type::Text, e))
        })?
        .collect::<rusqlite::Result<_>>()?;
    tx.commit()?;
    Ok(Stored { throttles, holds })
}

fn throttles(conn: &Connection) -> rusqlite::Result<Vec<ThrottleRow>> {
    // A file that could not be brought up to date is read as it is.
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let offered = if version < schema::OFFERED_VERSION {
        "NULL"
    } else {
        "offered"
    };
    conn.prepare_cached(&format!(
        "SELECT name, declared, effective, generation, source, spec, {offered} FROM system_throttle ORDER BY name"
    ))?
    .query_map([], throttle)?
    .collect()
}

fn throttle(row: &Row<'_>) -> rusqlite::Result<ThrottleRow> {
    let name: String = row.get(0)?;
    let level =
        |column| Level::new(row.get(column)?).map_err(|e| unreadable(column, Type::Real, e));
    Ok(ThrottleRow {
        name: ThrottleName::try_from(name).map_err(|e| unreadable(0, Type::Text, e))?,
        declared: level(1)?,
        effective: level(2)?,
        generation: row.get(3)?,
        owner: Owner::of_word(&row.get::<_, String>(4)?),
        spec: row
            .get::<_, Option<String>>(5)?
            .map(|text| serde_json::from_str(&text).map_err(|e| unreadable(5, Type::Text, e)))
            .transpose()?,
        // What cannot be read is not known, which opens nothing.
        offered: row
            .get::<_, Option<String>>(6)?
            .and_then(|text| serde_json::from_str(&text).ok()),
    })
}

/// What the mirror owes, oldest debt first.
pub(super) fn owed(conn: &Connection, limit: usize) -> rusqlite::Result<Vec<OutboxRow>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    conn.prepare_cached(
        "SELECT table_name, key, version, row FROM outbox ORDER BY owed_since LIMIT ?1",
    )?
    .query_map([limit], |row| {
        Ok(OutboxRow {
            table: row.get(0)?,
            key: row.get(1)?,
            version: row.get(2)?,
            row: row.get(3)?,
        })
    })?
    .collect()
}

fn unreadable(
    column: usize,
    kind: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}
