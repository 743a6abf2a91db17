//! A whole new file of a journal, and how it gets into the place of the one that is there.
//!
//! Blocks for as long as a disk does. Knows nothing of why.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{JOURNAL_BYTES, writable};
use crate::ports::JournalEntry;
use crate::store::journal::sector::{self, JournalHeader, SECTOR};

/// A whole new file.
pub(super) struct Image {
    bytes: Vec<u8>,
    pub(super) head: JournalHeader,
    /// The sector the next record goes to.
    pub(super) next: usize,
}

impl Image {
    /// With what is pending, numbered anew behind `settled`.
    pub(super) fn of(pending: &[JournalEntry], settled: u64) -> io::Result<Self> {
        let mut bytes = vec![0; SECTOR];
        let mut ever = settled.max(1); // a file of today's form counts at least itself
        for entry in pending {
            ever += 1;
            let content = serde_json::to_vec(entry).map_err(io::Error::other)?;
            bytes.extend(
                sector::record(ever, &content)
                    .ok_or_else(|| io::Error::other("a record is too long"))?,
            );
        }
        let (head, next) = (
            JournalHeader {
                settled: settled.max(1),
                ever,
            },
            bytes.len() / SECTOR,
        );
        bytes.resize(JOURNAL_BYTES.max(bytes.len()), 0);
        bytes.splice(..SECTOR, head.sector());
        Ok(Self { bytes, head, next })
    }

    /// Puts it in the place of what is there, which is kept beside it if `keep`; where there is no
    /// room for a second file, over it.
    pub(super) fn replace(&self, path: &Path, keep: bool) -> io::Result<File> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let new = beside(".new");
        let made = || -> io::Result<File> {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Written, not only sized: a hole in the file would want disk space just when a kill
            // comes.
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all_at(&self.bytes, 0)?;
            file.sync_all()?;
            if keep && let Err(error) = fs::rename(path, beside(".damaged")) {
                tracing::warn!(%error, "the damaged journal could not be kept");
            }
            fs::rename(&new, path)?;
            if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                File::open(dir)?.sync_all()?;
            }
            Ok(file)
        };
        made().or_else(|error| {
            let _gone = fs::remove_file(&new);
            if !path.exists() {
                return Err(error);
            }
            let file = writable(path)?;
            file.write_all_at(&self.bytes, 0)?;
            file.sync_all()?;
            Ok(file)
        })
    }
}
