//! A secret in a file of ours: whole or not there, the owner's alone, and never through a link that somebody else laid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Longest secret, bytes.
const LIMIT: u64 = 4096;

/// What stands in a file, if it is there and not empty: a crash may have left an empty one behind.
///
/// # Errors
/// If it cannot be read, or is none that only its owner, who is us, can read and write.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    // Without waiting: a pipe would be opened for ever.
    let opened = OpenOptions::new().read(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let is = file.metadata()?;
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if !is.is_file() {
        return refused("it is no regular file".to_owned());
    }
    if is.uid() != rustix::process::geteuid().as_raw() {
        return refused("it belongs to another user".to_owned());
    }
    if is.mode() & 0o077 != 0 {
        let mode = is.mode() & 0o7777;
        return refused(format!(
            "others may read or write it (mode {mode:04o}, expected 0600): remove it, or set the variable"
        ));
    }
    let mut text = String::new();
    file.take(LIMIT).read_to_string(&mut text)?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// Makes a file with this in it.
///
/// # Errors
/// If it cannot be written and synced.
pub(super) fn make(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part); // what a crash left behind; a link goes, not what it points to
    let made =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags(OFlags::NOFOLLOW)).open(&part);
    let mut file = made?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn flags(all: OFlags) -> i32 {
    all.bits().cast_signed()
}
