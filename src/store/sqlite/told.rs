//! Why a ledger could not be opened, for whoever asks: a word that names no path, and nothing that
//! SQLite or the system say besides. The whole error is the log's. Pure.

use std::io::{self, ErrorKind};

use rusqlite::ErrorCode;

use super::OpenError;
use crate::config::files::SPECIAL;
use crate::ports::LedgerError;

impl OpenError {
    /// What anybody may hear of it, without that the ledger cannot be opened.
    pub(in crate::store) fn told(&self) -> String {
        match self {
            Self::Io(error) => of_system(error).to_owned(),
            Self::Sql(error) => of_sqlite(error).to_owned(),
            // It is open to SQLite, whose word this is, as it is of a ledger that was opened.
            Self::Unwritable(LedgerError::Unavailable(why)) => why.clone(),
            Self::Unwritable(_) => "it cannot be written".to_owned(),
            Self::Slow(_) => "its disk does not answer".to_owned(),
            Self::TooOld(_) | Self::TooNew { .. } | Self::NoWal(_) => self.to_string(),
        }
    }
}

fn of_system(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::ReadOnlyFilesystem => "its disk is read-only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "disk is full",
        ErrorKind::Unsupported => SPECIAL,
        _ => "its file or its folder cannot be used",
    }
}

fn of_sqlite(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "it is locked by another process"
        }
        Some(ErrorCode::DiskFull) => "disk is full",
        Some(ErrorCode::NotADatabase) => "it is not a database",
        Some(ErrorCode::DatabaseCorrupt) => "it is damaged",
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => "it may not be written",
        Some(ErrorCode::CannotOpen) => "its file cannot be opened",
        Some(ErrorCode::SystemIoFailure) => "its disk fails",
        _ => "SQLite cannot use it",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use rusqlite::ffi::{self, Error};

    use super::OpenError;
    use crate::ports::LedgerError;

    /// Every word there is, none with what an error says of its own: a path, or a statement.
    #[test]
    fn what_anybody_hears_of_a_ledger_that_cannot_be_opened_names_no_path() {
        let said = "unable to open database file: /srv/echo/ledger.db";
        let sql = |code| {
            OpenError::Sql(rusqlite::Error::SqliteFailure(
                Error::new(code),
                Some(said.to_owned()),
            ))
        };
        let io = |kind| OpenError::Io(io::Error::new(kind, said));
        for (error, told) in [
            (sql(ffi::SQLITE_BUSY), "it is locked by another process"),
            (sql(ffi::SQLITE_LOCKED), "it is locked by another process"),
            (sql(ffi::SQLITE_FULL), "disk is full"),
            (sql(ffi::SQLITE_NOTADB), "it is not a database"),
            (sql(ffi::SQLITE_CORRUPT), "it is damaged"),
            (sql(ffi::SQLITE_READONLY), "it may not be written"),
            (sql(ffi::SQLITE_CANTOPEN), "its file cannot be opened"),
            (sql(ffi::SQLITE_IOERR), "its disk fails"),
            (sql(ffi::SQLITE_ERROR), "SQLite cannot use it"),
            (
                OpenError::Sql(rusqlite::Error::InvalidPath(said.into())),
                "SQLite cannot use it",
            ),
            (io(io::ErrorKind::PermissionDenied), "permission denied"),
            (
                io(io::ErrorKind::ReadOnlyFilesystem),
                "its disk is read-only",
            ),
            (io(io::ErrorKind::StorageFull), "disk is full"),
            (
                io(io::ErrorKind::Unsupported),
                "it is no regular file but a pipe, a socket or a device",
            ),
            (
                io(io::ErrorKind::Other),
                "its file or its folder cannot be used",
            ),
            (
                OpenError::Slow(Duration::from_secs(2)),
                "its disk does not answer",
            ),
            (
                OpenError::Unwritable(LedgerError::Undecided),
                "it cannot be written",
            ),
        ] {
            assert_eq!(error.told(), told, "{error}");
            assert!(
                error.to_string().contains("the ledger"),
                "the log has all of it: {error}"
            );
        }
    }
}
