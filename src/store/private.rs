//! Files that are their owner's alone: made without following a link that somebody laid, and
//! trusted only as such.
//!
//! Knows no file by name but those of the data folder, and nothing of what stands in them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::config::files::SPECIAL;

/// What the names of the files in a data folder begin with; of `api-key` see [`trusted`].
const OURS: [&str; 5] = ["ledger.db", "journal", "last-state", "lock", "installation"];
/// Everything that is its owner's alone.
const OWNER: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Makes a file that is not there yet, for reading and writing, mode 0600 whatever the umask.
///
/// # Errors
/// `AlreadyExists` for whatever has that name, a link that leads nowhere too.
pub fn make(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(OWNER)
        .open(path)?;
    if mode(&file.metadata()?) != OWNER {
        file.set_permissions(fs::Permissions::from_mode(OWNER))?;
    }
    Ok(file)
}

/// Opens a file for reading that only its owner could have written or read: this user, or `or`.
///
/// # Errors
/// `NotFound`; `PermissionDenied` with the reason if it is not to be trusted.
pub fn trusted(path: &Path, or: Option<u32>) -> io::Result<File> {
    let untrusted = |why: String| Err(io::Error::new(ErrorKind::PermissionDenied, why));
    let file = match open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return untrusted("it is a link".to_owned());
        }
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return untrusted("it is no regular file".to_owned());
    }
    if found.uid() != rustix::process::geteuid().as_raw() && Some(found.uid()) != or {
        return untrusted(format!("it is user {}'s", found.uid()));
    }
    if mode(&found) & OTHERS != 0 {
        return untrusted(format!(
            "others may read or write it (mode {:04o}, expected 0600)",
            mode(&found)
        ));
    }
    Ok(file)
}

/// Takes from others what they may do with a regular file of this user's; answers its mode before.
///
/// # Errors
/// If it is none, or that cannot be done.
pub fn take_back(path: &Path) -> io::Result<u32> {
    let file = open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "it is no file of this user's",
        ));
    }
    file.set_permissions(fs::Permissions::from_mode(OWNER))?;
    Ok(mode(&found))
}

/// Opens without following a link and without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Takes from others what an earlier version, or a copy, left them of the files in a data folder.
/// To be called before the ledger is opened: closing a file lets go of SQLite's locks on it.
/// Answers whose mode was wrong, and what could not be mended.
pub fn tighten(folder: &Path) -> Vec<(String, io::Result<()>)> {
    let tightened = ours(folder).into_iter().filter_map(|name| {
        let path = folder.join(&name);
        let found = fs::symlink_metadata(&path).ok().filter(Metadata::is_file)?;
        if mode(&found) & OTHERS == 0 {
            return None;
        }
        let done =
            open(&path).and_then(|file| file.set_permissions(fs::Permissions::from_mode(OWNER)));
        Some((name, done))
    });
    tightened.collect()
}

/// Whether what has this name, if anything has, can be read as a file: a named pipe would be waited
/// for, a device never end.
///
/// # Errors
/// If it is a pipe, a socket or a device.
pub fn no_special(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => {
            Err(io::Error::new(ErrorKind::Unsupported, SPECIAL))
        }
        _ => Ok(()),
    }
}

/// The first file of ours in a data folder that is none, and what it is instead.
pub fn first_special(folder: &Path) -> Option<(PathBuf, io::Error)> {
    ours(folder).into_iter().find_map(|name| {
        let path = folder.join(name);
        no_special(&path).err().map(|error| (path, error))
    })
}

/// Names of what is ours in a data folder.
fn ours(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = all.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| OURS.iter().any(|known| name.starts_with(known)))
        .collect()
}

/// The mode of a folder, if others than its owner have a way into it.
pub fn open_to_others(folder: &Path) -> Option<u32> {
    let mode = mode(&fs::metadata(folder).ok()?);
    (mode & OTHERS != 0).then_some(mode)
}

fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & 0o777
}
