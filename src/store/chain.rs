//! The hash chain, pure: how a row's stored values become bytes, and how bytes become the next
//! hash.
//!
//! Knows no SQL. Values are encoded as they are stored, never re-serialised, so that a verifier
//! which reads the same columns gets the same bytes, or can tell that somebody edited one.

use sha2::{Digest, Sha256};

/// The first format of a row, stored with it: a later one may cover more columns without
/// invalidating the rows that are there. Which one a table writes now is the schema's to say.
pub(crate) const FORMAT: i64 = 1;

/// What stands in for the hash before the first row.
pub(crate) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One stored value. Text is bytes, because an edited row need not be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// A text.
    pub(crate) fn text(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }

    /// A text that may be absent.
    pub(crate) fn maybe(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }
}

/// The bytes of one row: format, table, number of columns, then each value with its tag and length,
/// so that no two different rows have the same bytes.
pub(crate) fn encode(format: i64, table: &str, cells: &[Cell<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + cells.len() * 32);
    bytes.extend_from_slice(&format.to_le_bytes());
    push(&mut bytes, table.as_bytes());
    bytes.extend_from_slice(&length(cells.len()));
    for cell in cells {
        match cell {
            Cell::Null => bytes.push(0),
            Cell::Integer(number) => {
                bytes.push(1);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            Cell::Text(text) => {
                bytes.push(2);
                push(&mut bytes, text);
            }
            Cell::Blob(blob) => {
                bytes.push(3);
                push(&mut bytes, blob);
            }
        }
    }
    bytes
}

/// Hash of the row with this number, hex.
pub(crate) fn hash(prev: &str, seq: i64, payload: &[u8]) -> String {
    let mut sha = Sha256::new();
    sha.update(length(prev.len()));
    sha.update(prev.as_bytes());
    sha.update(seq.to_le_bytes());
    sha.update(payload);
    hex::encode(sha.finalize())
}

/// Digest of plain bytes, hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn push(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend_from_slice(&length(content.len()));
    bytes.extend_from_slice(content);
}

/// Lengths are eight bytes on every machine; `usize` never exceeds that.
fn length(len: usize) -> [u8; 8] {
    (len as u64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_between_values_cannot_be_moved() {
        let left = encode(FORMAT, "t", &[Cell::text("ab"), Cell::text("c")]);
        let right = encode(FORMAT, "t", &[Cell::text("a"), Cell::text("bc")]);
        assert_ne!(left, right);
    }

    #[test]
    fn types_tables_and_absence_are_told_apart() {
        let rows = [
            encode(FORMAT, "t", &[Cell::Null]),
            encode(FORMAT, "t", &[Cell::text("")]),
            encode(FORMAT, "t", &[Cell::Blob(b"")]),
            encode(FORMAT, "t", &[Cell::Integer(0)]),
            encode(FORMAT, "u", &[Cell::Null]),
            encode(FORMAT + 1, "t", &[Cell::Null]),
            encode(FORMAT, "t", &[]),
        ];
        for (i, one) in rows.iter().enumerate() {
            assert!(rows.iter().skip(i + 1).all(|other| other != one), "row {i}");
        }
    }

    /// Pinned: rows written by an older binary must verify for ever.
    #[test]
    fn the_encoding_never_changes() {
        let payload = encode(
            1,
            "audit_log",
            &[
                Cell::Integer(-1),
                Cell::text("a"),
                Cell::Blob(&[0xff]),
                Cell::Null,
            ],
        );
        let bytes = concat!(
            "0100000000000000",
            "0900000000000000",
            "61756469745f6c6f67",
            "0400000000000000",
            "01ffffffffffffffff",
            "02010000000000000061",
            "030100000000000000ff",
            "00"
        );
        assert_eq!(hex::encode(&payload), bytes);
        // Computed by another program (Python's hashlib).
        let expected = "6e4f3771f73957fbbc668efdf098c61dfe3c188bf9009299ecbb9802c7e7a145";
        assert_eq!(hash(GENESIS, 1, &payload), expected);
        assert_ne!(hash(GENESIS, 2, &payload), expected);
    }
}
