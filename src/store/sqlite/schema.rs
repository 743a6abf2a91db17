//! The tables and how an older file becomes a newer one.
//!
//! Knows the shape of what is stored, nothing of when or why it is written.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rusqlite::Connection;

/// One append-only, numbered and chained table. Its `columns` are what the chain covers, in stored
/// order, besides `seq`, `format`, `prev_hash` and `hash`, which all of them have.
#[derive(Debug)]
pub(crate) struct Chained {
    /// The guide's name.
    pub(crate) name: &'static str,
    /// Columns of the newest format. Those of an older one are the first of them.
    pub(crate) columns: &'static [&'static str],
    /// Of each format, from 1: the version of the file that brought it, and how many columns it
    /// covers.
    pub(crate) formats: &'static [(i64, usize)],
    /// Appends a row: `seq`, `format`, the columns, `prev_hash`, `hash`. Made once: it is asked for
    /// with every row.
    pub(crate) insert: LazyLock<String>,
    /// Number and hash of the newest row.
    pub(crate) head: LazyLock<String>,
}

impl Chained {
    /// The format of a row that is written now.
    pub(crate) fn format(&self) -> i64 {
        i64::try_from(self.formats.len()).unwrap_or(i64::MAX)
    }

    /// How many columns a row of this format covers; none if the format is unknown.
    pub(crate) fn width(&self, format: i64) -> Option<usize> {
        let index = usize::try_from(format).ok()?.checked_sub(1)?;
        self.formats.get(index).map(|(_, width)| *width)
    }

    /// The columns that a file of this version has.
    pub(crate) fn columns_in(&self, version: i64) -> &'static [&'static str] {
        let width = self
            .formats
            .iter()
            .filter(|(since, _)| *since <= version)
            .map(|(_, width)| *width)
            .max();
        self.columns
            .get(..width.unwrap_or_default())
            .unwrap_or(self.columns)
    }

    fn insert(&self) -> String {
        let marks = vec!["?"; self.columns.len() + 4].join(", ");
        let (name, columns) = (self.name, self.columns.join(", "));
        format!("INSERT INTO {name} (seq, format, {columns}, prev_hash, hash) VALUES ({marks})")
    }

    fn head(&self) -> String {
        format!(
            "SELECT seq, hash FROM {} ORDER BY seq DESC LIMIT 1",
            self.name
        )
    }
}

/// Every state change and every refused command.
pub(crate) static AUDIT_LOG: Chained = Chained {
    name: "audit_log",
    columns: &[
        "at",
        "actor",
        "action",
        "throttle",
        "before",
        "after",
        "reason",
        "binding_signal",
        "request_id",
        "operator",
        "holds_taken",
        "holds_ended",
        "declares",
    ],
    formats: &[(1, 9), (FOURTH_VERSION, 12), (DECLARES_VERSION, 13)],
    insert: LazyLock::new(|| AUDIT_LOG.insert()),
    head: LazyLock::new(|| AUDIT_LOG.head()),
};

/// Every accepted payment event.
pub(crate) static EVIDENCE_LEDGER: Chained = Chained {
    name: "evidence_ledger",
    columns: &[
        "livemode",
        "account",
        "event_id",
        "kind",
        "created",
        "object_id",
        "amount",
        "currency",
        "raw",
        "digest",
        "signature",
        "received_at",
    ],
    formats: &[(1, 12)],
    insert: LazyLock::new(|| EVIDENCE_LEDGER.insert()),
    head: LazyLock::new(|| EVIDENCE_LEDGER.head()),
};

/// Drift and its repair.
pub(crate) static RECONCILIATION_LOG: Chained = Chained {
    name: "reconciliation_log",
    columns: &[
        "kind",
        "id",
        "throttle",
        "target",
        "field",
        "desired",
        "actual",
        "side",
        "who_manager",
        "who_operation",
        "who_subresource",
        "who_time",
        "first_seen",
        "last_seen",
        "count",
        "action",
        "error",
    ],
    formats: &[(1, 17)],
    insert: LazyLock::new(|| RECONCILIATION_LOG.insert()),
    head: LazyLock::new(|| RECONCILIATION_LOG.head()),
};

/// All of them.
pub(crate) static CHAINED: [&Chained; 3] = [&AUDIT_LOG, &EVIDENCE_LEDGER, &RECONCILIATION_LOG];

/// Version a file has once every migration ran.
pub(crate) const VERSION: i64 = 6;

/// The version that brought format 2 of the audit log.
const FOURTH_VERSION: i64 = 4;

/// The version that brought `journal_seen`.
pub(crate) const JOURNAL_SEEN: i64 = FOURTH_VERSION;

/// The version that brought what was offered beside each level.
pub(crate) const OFFERED_VERSION: i64 = 5;

/// The version that brought format 3 of the audit log.
const DECLARES_VERSION: i64 = 6;

/// What makes each version of the one before it, the first of an empty file.
const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
];

/// Every column of a file, by table and name.
type Columns = BTreeSet<(String, String)>;

fn columns(conn: &Connection) -> rusqlite::Result<Columns> {
    let all = "SELECT one.name, of.name FROM sqlite_schema one, pragma_table_xinfo(one.name) of WHERE one.type = 'table'";
    conn.prepare_cached(all)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// What a file of today's version lacks of its tables and columns: somebody took it off.
pub(crate) fn lacking(conn: &Connection) -> rusqlite::Result<Option<String>> {
    static OURS: LazyLock<Columns> = LazyLock::new(|| {
        let ours = Connection::open_in_memory()
            .and_then(|conn| migrate(&conn)?.map_or(Ok(Columns::new()), |()| columns(&conn)));
        ours.unwrap_or_default()
    });
    let found = columns(conn)?;
    Ok(OURS.difference(&found).next().map(|(table, column)| {
        match found.iter().any(|(known, _)| known == table) {
            true => format!("the column {column} of {table} is gone"),
            false => format!("the table {table} is gone"),
        }
    }))
}

/// Brings a file to [`VERSION`]. Gives the version found where that is newer than this program
/// knows.
pub(crate) fn migrate(conn: &Connection) -> rusqlite::Result<Result<(), i64>> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (version, migration) in (1..).zip(MIGRATIONS) {
        if found < version {
            conn.execute_batch(migration)?;
        }
    }
    if found < VERSION {
        conn.pragma_update(None, "user_version", VERSION)?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(if found > VERSION { Err(found) } else { Ok(()) })
}
