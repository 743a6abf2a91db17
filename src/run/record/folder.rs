//! The data folder: made, its owner's alone, and one process's at a time.
//!
//! Waits for its disk, at the start. Knows nothing of what is kept in it but the ledger's name.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::config::ConfigError;
use crate::run::RunError;
use crate::store::{LEDGER_FILE, private};

/// Keeps other processes out of a folder, for as long as it is there.
pub(in crate::run) struct Lock {
    _file: File,
}

/// One process at a time: two writers of one journal would lose kills.
pub(super) fn lock(folder: &Path) -> Result<Lock, RunError> {
    // It holds raw payment events and a key: nobody else's to read.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(folder, &error))?;
    if let Some((file, what)) = private::first_special(folder) {
        return Err(RunError::Config(ConfigError {
            variable: "ECHO_DATA_DIR",
            expected: "a folder whose files are files".to_owned(),
            fix: format!(
                "{}: {what}. Look who put it there; then remove it, or name another folder.",
                file.display()
            ),
        }));
    }
    let path = folder.join("lock");
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let options = |write| {
        let mut options = File::options();
        options
            .read(true)
            .write(write)
            .create(write)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow);
        options
    };
    // A file that may only be read can be locked all the same.
    let open = options(true).open(&path);
    let open = open.or_else(|error| {
        if path.exists() {
            options(false).open(&path)
        } else {
            Err(error)
        }
    });
    let mut file = open.map_err(|error| unusable(&path, &error))?;
    if file.try_lock().is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        return Err(RunError::Failed(format!(
            "ECHO_DATA_DIR {}: in use by process {}; stop it, or use another folder",
            folder.display(),
            holder.trim()
        )));
    }
    // Always as long, so that it wants no new space.
    let note = format!("{:<10}", std::process::id());
    let noted = file.rewind().and_then(|()| file.write_all(note.as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(%error, "the data folder's lock does not name its holder");
    }
    tighten(folder);
    Ok(Lock { _file: file })
}

/// Takes from others what they could read in the folder, and says what it could not.
fn tighten(folder: &Path) {
    for (file, done) in private::tighten(folder) {
        match done {
            Ok(()) => tracing::warn!(
                file,
                "others could read it: it is its owner's alone now (0600)"
            ),
            Err(error) => {
                tracing::warn!(file, %error, "others may read it, and that cannot be changed")
            }
        }
    }
}

/// Whether there is a ledger in the folder, with something in it.
pub(super) fn has_ledger(folder: &Path) -> bool {
    std::fs::metadata(folder.join(LEDGER_FILE)).is_ok_and(|file| file.len() > 0)
}

/// A folder that cannot hold a record.
fn unusable(path: &Path, error: &std::io::Error) -> RunError {
    RunError::Config(ConfigError {
        variable: "ECHO_DATA_DIR",
        expected: "a folder that this process may write, or may make".to_owned(),
        fix: format!(
            "{}: {error}. Name another, or let this process in.",
            path.display()
        ),
    })
}
