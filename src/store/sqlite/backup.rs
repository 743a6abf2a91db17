//! A consistent copy of the ledger while the service writes: one read snapshot, copied page by
//! page, read back, and only then given its name.
//!
//! Needs no lock of the folder. Until the copy is proven it has a name of its own beside `FILE`:
//! whatever ends the process, `FILE` is either not there or whole.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::verify::{Verified, chains, guarded};
use super::walk::VerifyError;
use super::{read, rows};
use crate::store::looks::{FOREIGN, has_ours, looks};
use crate::store::{LEDGER_FILE, private};

/// Pages copied between two words of progress: 2 MB.
const PAGES: i32 = 512;

/// How the name of a copy that is not proven yet ends, and how many random bytes stand before that.
const END: &str = ".part";
const RANDOM: usize = 16;

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

impl BackupError {
    /// What the ledger looks like that was to be copied, where that says more.
    pub fn looks(&self, dir: &Path) -> Option<String> {
        let file = dir.join(LEDGER_FILE);
        match self {
            Self::Sql(error) => looks(&file, error),
            Self::Bad(error) => error.looks(&file),
            _ => None,
        }
    }

    /// Whether it is the ledger that is not as it should be, and not where the copy was to go.
    pub fn is_of_the_ledger(&self, dir: &Path) -> bool {
        matches!(self, Self::Bad(_)) || self.looks(dir).is_some()
    }
}

/// A backup that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What was found in it.
    pub verified: Verified,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Copies the ledger of a directory into a new file of mode 0600. `progress` hears what is done
/// (`copy` counts pages, a table its rows), how much of it, of how much.
///
/// # Errors
/// Why there is no backup; nothing of the name `file` is there then.
pub fn backup(
    dir: &Path,
    file: &Path,
    progress: &mut dyn FnMut(&str, i64, i64),
) -> Result<Saved, BackupError> {
    let source = read::connect(dir)?;
    // One snapshot for the whole copy: writers go on, and the copy need not begin anew.
    let snapshot = source.unchecked_transaction()?;
    if !has_ours(&snapshot)? {
        return Err(VerifyError::Bad(FOREIGN.to_owned()).into());
    }
    let (heads, counts) = (rows::heads_within(&snapshot)?, counts(&snapshot)?);
    let part = Part::claim(file)?;
    copy(&snapshot, &part.path, progress)?;
    drop(snapshot);
    part.file.sync_all().map_err(|error| part.failed(error))?;

    let copied = read::connect_file(&part.path)?;
    let tx = copied.unchecked_transaction()?;
    whole(&tx, &counts)?;
    let verified = chains(&tx, &heads, progress)?;
    guarded(&tx)?;
    if verified.heads != heads {
        return Err(BackupError::NotWhole(
            "its newest rows are not those that were copied".to_owned(),
        ));
    }
    drop(tx);
    drop(copied);
    let bytes = part
        .file
        .metadata()
        .map_err(|error| part.failed(error))?
        .len();
    part.publish(file)?;
    Ok(Saved { verified, bytes })
}

fn copy(
    source: &Connection,
    to: &Path,
    progress: &mut dyn FnMut(&str, i64, i64),
) -> Result<(), BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        let step = backup.step(PAGES)?;
        let now = backup.progress();
        progress(
            "copy",
            i64::from(now.pagecount - now.remaining),
            i64::from(now.pagecount),
        );
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            // Nobody else writes to the copy, and readers of a write-ahead log wait for nobody.
            _ => {
                return Err(BackupError::NotWhole(
                    "another program holds a lock".to_owned(),
                ));
            }
        }
    }
    drop(backup);
    // One file that can be read anywhere: a write-ahead log would want to write beside it.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |row| {
        row.get::<_, String>(0)
    })?;
    target.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Rows of every table.
fn counts(conn: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut tables =
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let names: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let count = |name: String| {
        let quoted = name.replace('"', "\"\"");
        let rows = conn.query_row(&format!("SELECT COUNT(*) FROM \"{quoted}\""), [], |row| {
            row.get(0)
        })?;
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
        Some((table, rows)) => Err(BackupError::NotWhole(format!(
            "{table} does not have its {rows} rows"
        ))),
        None => Ok(()),
    }
}

/// A copy that is not proven yet; gone with the value, unless it was published.
struct Part {
    path: PathBuf,
    /// Locked, so that two backups do not write one copy, and one that was left by a crash is told
    /// from one under way. Open until the end: closing it lets go of SQLite's own locks on it.
    file: File,
}

impl Part {
    /// A file of a name that nobody else has; what a backup to the same name left behind is cleared
    /// away.
    fn claim(file: &Path) -> Result<Self, BackupError> {
        if fs::symlink_metadata(file).is_ok() {
            return Err(BackupError::Exists(file.to_owned()));
        }
        if Self::left(file).any(|left| clear(&left) == Cleared::InUse) {
            return Err(BackupError::UnderWay(file.to_owned()));
        }
        let path = named(
            file,
            &format!(".{}{END}", hex::encode(rand::random::<[u8; RANDOM]>())),
        );
        let failed = |error| BackupError::Io {
            file: path.clone(),
            error,
        };
        let made = private::make(&path).map_err(failed)?;
        made.try_lock().map_err(|error| BackupError::Io {
            file: path.clone(),
            error: error.into(),
        })?;
        Ok(Self { path, file: made })
    }

    /// The names of copies to the same file that were not finished. Nobody else's file has such a
    /// name, `FILE.part` may.
    fn left(file: &Path) -> impl Iterator<Item = PathBuf> {
        let name = file
            .file_name()
            .map(OsStr::as_encoded_bytes)
            .unwrap_or_default()
            .to_owned();
        let all = fs::read_dir(folder_of(file))
            .into_iter()
            .flatten()
            .flatten();
        all.filter(move |entry| {
            let found = entry.file_name();
            let middle = found
                .as_encoded_bytes()
                .strip_prefix(name.as_slice())
                .and_then(|rest| rest.strip_prefix(b"."));
            middle
                .and_then(|rest| rest.strip_suffix(END.as_bytes()))
                .is_some_and(|random| {
                    random.len() == 2 * RANDOM && random.iter().all(u8::is_ascii_hexdigit)
                })
        })
        .map(|entry| entry.path())
    }

    /// SQLite's rollback journal of it.
    fn journal(&self) -> PathBuf {
        named(&self.path, "-journal")
    }

    fn failed(&self, error: io::Error) -> BackupError {
        BackupError::Io {
            file: self.path.clone(),
            error,
        }
    }

    /// Gives it its name, unless somebody else took that meanwhile.
    fn publish(self, file: &Path) -> Result<(), BackupError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(file.to_owned()),
            _ => BackupError::Io {
                file: file.to_owned(),
                error,
            },
        };
        match fs::hard_link(&self.path, file) {
            Err(error)
                if error.kind() != io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(file).is_err() =>
            {
                // A file system without links.
                fs::rename(&self.path, file).map_err(failed)?;
            }
            linked => linked.map_err(failed)?,
        }
        File::open(folder_of(file))
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

/// What became of a copy that was found.
#[derive(PartialEq, Eq)]
enum Cleared {
    /// It is gone, or not ours to remove.
    Done,
    /// Another backup writes it.
    InUse,
}

/// Removes what a crash left: never emptied, since it may be a second name of a backup that was
/// just published.
fn clear(left: &Path) -> Cleared {
    let Ok(found) = private::trusted(left, None) else {
        return Cleared::Done;
    };
    if found.try_lock().is_err() {
        return Cleared::InUse;
    }
    let _ = fs::remove_file(named(left, "-journal"));
    let _ = fs::remove_file(left);
    Cleared::Done
}

/// The same path with more behind its name.
fn named(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

fn folder_of(file: &Path) -> &Path {
    file.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.journal());
        let _ = fs::remove_file(&self.path);
    }
}
