//! Opening the file of a ledger: what it has to be, how SQLite is set up for it, and why it could
//! not be opened.
//!
//! Waits for its disk. Knows nothing of what is in it but its version.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::schema;
use crate::ports::LedgerError;
use crate::store::{LEDGER_FILE, private};

/// The first SQLite without the WAL-reset bug, which can lose acknowledged rows.
const OLDEST_SQLITE: i32 = 3_051_003;

/// A store that another process has locked must be an error soon, so that a caller can say so; it
/// must not hang.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// Pages of the write-ahead log, 16 MB, after which they are copied into the file. In a storm of
/// events most of them change the same pages again and again: SQLite's own 1,000 would copy each of
/// these a hundred times a second, with two fsyncs each time.
const LOG_PAGES: i64 = 4_000;

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The library is one that can lose acknowledged rows.
    #[error("SQLite {0} is too old: 3.51.3 or later is needed (WAL-reset bug)")]
    TooOld(&'static str),
    /// A newer program wrote this file.
    #[error(
        "the ledger has version {found}, this program knows {} and older",
        schema::VERSION
    )]
    TooNew {
        /// Version of the file.
        found: i64,
    },
    /// The file system cannot keep a write-ahead log.
    #[error(
        "the ledger's directory cannot keep a write-ahead log (journal mode stays `{0}`); is it a network drive?"
    )]
    NoWal(String),
    /// The directory cannot be made, or the writer cannot be started.
    #[error("the ledger cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// SQLite refused.
    #[error("the ledger cannot be opened: {0}")]
    Sql(#[from] rusqlite::Error),
    /// Its disk does not answer. It is opened all the same, once it does.
    #[error("the ledger cannot be opened: its disk does not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// It opened, and could not be written.
    #[error("the ledger cannot be opened: {0}")]
    Unwritable(#[from] LedgerError),
}

impl OpenError {
    /// Whether trying again is no use.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::TooOld(_) | Self::TooNew { .. } | Self::NoWal(_))
    }
}

/// The connection that writes, to the ledger of a directory, which is made where there is none.
pub(super) fn connection(dir: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::TooOld(rusqlite::version()));
    }
    std::fs::create_dir_all(dir)?;
    // What a link leads to would be written to, or read as ours.
    if std::fs::symlink_metadata(dir.join(LEDGER_FILE)).is_ok_and(|found| found.is_symlink()) {
        return Err(std::io::Error::other(format!("{LEDGER_FILE} is a link")).into());
    }
    private::no_special(&dir.join(LEDGER_FILE))?;
    // Made before SQLite would make it readable for all; its log and index take the mode of it.
    match private::make(&dir.join(LEDGER_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error.into());
        }
        _ => {}
    }
    let file = dir.join(LEDGER_FILE);
    let conn = Connection::open(&file).map_err(|error| refused(&file, error))?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoWal(mode));
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // Room for every statement of `apply`; the default of 16 would prepare most of them anew each
    // time.
    conn.set_prepared_statement_cache_capacity(64);
    schema::migrate(&conn)?.map_err(|found| OpenError::TooNew { found })?;
    // What a statement would undo is kept in memory: in a file it costs more than the change, and
    // needs a second disk that is neither full nor gone. Not what a migration sorts, which may be
    // large.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(conn)
}

/// Why a file was not opened: SQLite does not tell that this user may not.
fn refused(file: &Path, error: rusqlite::Error) -> OpenError {
    use rustix::fs::{Access, access};
    match access(file, Access::READ_OK | Access::WRITE_OK).map_err(std::io::Error::from) {
        Err(denied) if denied.kind() == std::io::ErrorKind::PermissionDenied => {
            std::io::Error::new(denied.kind(), format!("{}: {denied}", file.display())).into()
        }
        _ => error.into(),
    }
}
