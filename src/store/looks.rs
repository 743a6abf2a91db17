//! What a file looks like that cannot be read as a ledger: for whoever has to decide what to do
//! with it.
//!
//! Reads its beginning and its length, and changes nothing. Knows no command line and no way out.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode};

use super::sqlite::read;
use super::sqlite::schema::CHAINED;
use crate::config::files::open_regular;

/// How every SQLite file begins.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of an SQLite file that tell of all others.
const HEADER: usize = 100;
/// How files begin that a ledger may have been packed into, and what they are.
const PACKED: [(&[u8], &str); 7] = [
    (&[0x1f, 0x8b], "it is compressed (gzip): unpack it first"),
    (
        &[0x28, 0xb5, 0x2f, 0xfd],
        "it is compressed (zstd): unpack it first",
    ),
    (
        &[0xfd, b'7', b'z', b'X', b'Z'],
        "it is compressed (xz): unpack it first",
    ),
    (b"PK\x03\x04", "it is an archive (zip): unpack it first"),
    (b"Salted__", "it is encrypted (openssl): decrypt it first"),
    (
        b"age-encryption.org/",
        "it is encrypted (age): decrypt it first",
    ),
    (
        b"-----BEGIN",
        "it is encrypted or a key (PEM or PGP), and no ledger as it is",
    ),
];

/// What is said of one that has none of a ledger's tables.
pub(super) const FOREIGN: &str =
    "no ledger, but an SQLite file of another program: none of a ledger's tables is in it";

/// What a file looks like that gave this error; nothing, if the error says nothing of what is in
/// it.
pub(super) fn looks(file: &Path, error: &Error) -> Option<String> {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Some("another program holds it locked: try again".to_owned())
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            let unread = open_regular(file).err()?;
            Some(match unread.kind() {
                ErrorKind::Unsupported | ErrorKind::IsADirectory => unread.to_string(),
                _ => format!("this user may not read it ({unread}); the service's own user may"),
            })
        }
        // A column or a table that is not there has no code of its own.
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
            inside(file)
        }
        _ => None,
    }
}

fn inside(file: &Path) -> Option<String> {
    let mut head = Vec::with_capacity(HEADER);
    let opened = match open_regular(file) {
        // Somebody put it there since.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Some(error.to_string()),
        opened => opened.ok()?,
    };
    let length = opened.metadata().ok()?.len();
    opened.take(HEADER as u64).read_to_end(&mut head).ok()?;
    if let Some((_, packed)) = PACKED.iter().find(|(begins, _)| head.starts_with(begins)) {
        return Some((*packed).to_owned());
    }
    if !head.starts_with(MAGIC) || head.len() < HEADER {
        return Some(
            "it does not begin as a ledger does: it is another kind of file, is encrypted, or its beginning was overwritten"
                .to_owned(),
        );
    }
    if let Some(whole) = told_length(&head).filter(|whole| length < *whole) {
        return Some(format!(
            "it was cut short: {length} of {whole} bytes are there"
        ));
    }
    let foreign = read::connect_file(file)
        .and_then(|conn| has_ours(&conn))
        .is_ok_and(|ours| !ours);
    Some(
        if foreign {
            FOREIGN
        } else {
            "it begins as a ledger does and is damaged further in"
        }
        .to_owned(),
    )
}

/// The length that an SQLite file says it has, where what it says is of its last change.
fn told_length(head: &[u8]) -> Option<u64> {
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let page = u64::from(u16::from_be_bytes(head.get(16..18)?.try_into().ok()?));
    // The largest page has no number of two bytes.
    let page = if page == 1 { 1 << 16 } else { page };
    (number(24)? == number(92)?).then_some(page * u64::from(number(28)?))
}

/// Whether a file has any table of a ledger.
pub(super) fn has_ours(conn: &Connection) -> rusqlite::Result<bool> {
    let mut found =
        conn.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?;
    for table in CHAINED {
        if found.exists([table.name])? {
            return Ok(true);
        }
    }
    Ok(false)
}
