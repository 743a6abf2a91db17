//! A consistent copy of the ledger while the service writes: one read snapshot, copied page by page, read back, and only
//! then given its name.
//!
//! Needs no lock of the folder. Until the copy is proven it is `FILE.part`: whatever ends the process, `FILE` is either
//! not there or whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::sqlite::{read, rows};
use super::verify::{Verified, VerifyError, chains};

/// Pages copied between two words of progress: 2 MB.
const PAGES: i32 = 512;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something of that name already.
    #[error("{} is there already and is not overwritten: choose another name", .0.display())]
    Exists(PathBuf),
    /// Another backup to the same name is under way.
    #[error("another backup to {} is under way", .0.display())]
    UnderWay(PathBuf),
    /// The file cannot be made.
    #[error("{}: {error}", .file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The ledger cannot be read, or the copy not be written.
    #[error("the ledger cannot be copied: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The copy is not what was copied.
    #[error("the copy is not whole, so it was not kept: {0}")]
    NotWhole(String),
    /// The copy does not verify: neither did what was copied.
    #[error("the ledger is not as it was written, so its copy was not kept: {0}")]
    Bad(#[from] VerifyError),
}

/// A backup that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What was found in it.
    pub verified: Verified,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Copies the ledger of a directory into a new file of mode 0600. `progress` hears what is done (`copy` counts pages, a
/// table its rows), how much of it, of how much.
///
/// # Errors
/// Why there is no backup; nothing of the name `file` is there then.
pub fn backup(dir: &Path, file: &Path, progress: &mut dyn FnMut(&str, i64, i64)) -> Result<Saved, BackupError> {
    let source = read::connect(dir)?;
    // One snapshot for the whole copy: writers go on, and the copy need not begin anew.
    let snapshot = source.unchecked_transaction()?;
    let (heads, counts) = (rows::heads_within(&snapshot)?, counts(&snapshot)?);
    let part = Part::claim(file)?;
    copy(&snapshot, &part.path, progress)?;
    drop(snapshot);
    part.file.sync_all().map_err(|error| part.failed(error))?;

    let copied = read::connect_file(&part.path)?;
    let tx = copied.unchecked_transaction()?;
    whole(&tx, &counts)?;
    let verified = chains(&tx, &heads, progress)?;
    if verified.heads != heads {
        return Err(BackupError::NotWhole("its newest rows are not those that were copied".to_owned()));
    }
    drop(tx);
    drop(copied);
    let bytes = part.file.metadata().map_err(|error| part.failed(error))?.len();
    part.publish(file)?;
    Ok(Saved { verified, bytes })
}

fn copy(source: &Connection, to: &Path, progress: &mut dyn FnMut(&str, i64, i64)) -> Result<(), BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        let step = backup.step(PAGES)?;
        let now = backup.progress();
        progress("copy", i64::from(now.pagecount - now.remaining), i64::from(now.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            // Nobody else writes to the copy, and readers of a write-ahead log wait for nobody.
            _ => return Err(BackupError::NotWhole("another program holds a lock".to_owned())),
        }
    }
    drop(backup);
    // One file that can be read anywhere: a write-ahead log would want to write beside it.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))?;
    target.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Rows of every table.
fn counts(conn: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let names: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let count = |name: String| {
        let quoted = name.replace('"', "\"\"");
        let rows = conn.query_row(&format!("SELECT COUNT(*) FROM \"{quoted}\""), [], |row| row.get(0))?;
        Ok((name, rows))
    };
    names.into_iter().map(count).collect()
}

fn whole(copied: &Connection, expected: &[(String, i64)]) -> Result<(), BackupError> {
    let found: String = copied.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(BackupError::NotWhole(found));
    }
    let counted = counts(copied)?;
    match expected.iter().find(|table| !counted.contains(table)) {
        Some((table, rows)) => Err(BackupError::NotWhole(format!("{table} does not have its {rows} rows"))),
        None => Ok(()),
    }
}

/// A copy that is not proven yet; gone with the value, unless it was published.
struct Part {
    path: PathBuf,
    /// Locked, so that two backups do not write one copy, and one that was left by a crash is told from one under way.
    /// Open until the end: closing it lets go of SQLite's own locks on it.
    file: File,
}

impl Part {
    fn claim(file: &Path) -> Result<Self, BackupError> {
        if fs::symlink_metadata(file).is_ok() {
            return Err(BackupError::Exists(file.to_owned()));
        }
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let failed = |error| BackupError::Io { file: path.clone(), error };
        let make = || File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = File::open(&path).map_err(failed)?;
                if found.try_lock().is_err() {
                    return Err(BackupError::UnderWay(file.to_owned()));
                }
                // A crash left it. Removed, never emptied: it may be a second name of a backup that was just published.
                fs::remove_file(&path).and_then(|()| make()).map_err(failed)?
            }
            made => made.map_err(failed)?,
        };
        if made.try_lock().is_err() {
            return Err(BackupError::UnderWay(file.to_owned()));
        }
        let part = Self { path, file: made };
        // What a crash left of its journal would be played into the new one.
        match fs::remove_file(part.journal()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(part.failed(error)),
            _ => Ok(part),
        }
    }

    /// SQLite's rollback journal of it.
    fn journal(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push("-journal");
        PathBuf::from(name)
    }

    fn failed(&self, error: io::Error) -> BackupError {
        BackupError::Io { file: self.path.clone(), error }
    }

    /// Gives it its name, unless somebody else took that meanwhile.
    fn publish(self, file: &Path) -> Result<(), BackupError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
            _ => BackupError::Io { file: file.to_owned(), error },
        };
        match fs::hard_link(&self.path, file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists && fs::symlink_metadata(file).is_err() => {
                // A file system without links.
                fs::rename(&self.path, file).map_err(failed)?;
            }
            linked => linked.map_err(failed)?,
        }
        let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.journal());
        let _ = fs::remove_file(&self.path);
    }
}
