//! Whether SQLite's index may be written, asked before SQLite writes it.

use std::path::{Path, PathBuf};

use super::unavailable;
use crate::ports::LedgerError;
use crate::store::LEDGER_FILE;

/// Where SQLite keeps the index of the write-ahead log, in memory that is mapped from a file.
///
/// A file that was made immutable, or whose disk was remounted read-only, ends the process with
/// SIGBUS when such memory is written to. So before SQLite touches it, the system is asked whether
/// the file may be written. It is not opened for that: closing it again would let go of SQLite's
/// own locks on it.
#[derive(Clone, Debug)]
pub(super) struct SharedIndex(PathBuf);

impl SharedIndex {
    /// That of the ledger of a directory.
    pub(super) fn of(dir: &Path) -> Self {
        Self(dir.join(format!("{LEDGER_FILE}-shm")))
    }

    /// Asks.
    pub(super) fn writable(&self) -> Result<(), LedgerError> {
        match rustix::fs::access(&self.0, rustix::fs::Access::WRITE_OK) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(unavailable(format!("{LEDGER_FILE}-shm: {error}"))),
        }
    }
}
