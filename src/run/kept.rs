//! A secret or an id in a file of ours: whole or not there, the owner's alone, and never through a
//! link that somebody laid.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use crate::store::private;

/// Longest text, bytes.
const LIMIT: u64 = 4096;

/// What stands in a file, if it is there and not empty: a crash may have left an empty one behind.
/// It is this user's, or `or`'s.
///
/// # Errors
/// If it cannot be read, or is none that only its owner can read and write.
pub(super) fn read(path: &Path, or: Option<u32>) -> io::Result<Option<String>> {
    let file = match private::trusted(path, or) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
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
    let mut file = private::make(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
