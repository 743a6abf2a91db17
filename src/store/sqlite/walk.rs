//! The way along one chained table: each row's number, its place in the chain, and its hash out of
//! what is stored.
//!
//! Shares nothing with the writing side but the column lists and the encoding.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::Chained;
use crate::domain::chain_head::ChainHead;
use crate::domain::text::shown;
use crate::store::chain::{self, Cell, GENESIS};

/// How often progress is told, in rows.
const STRIDE: i64 = 1000;

/// Why a ledger could not be vouched for.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A row is not as it was written: `TABLE: row N …`.
    #[error("{}", shown(.0))]
    Bad(String),
    /// It cannot be read, or it is no ledger.
    #[error("the ledger cannot be read: {0}")]
    Unreadable(#[from] rusqlite::Error),
}

/// Walks one table from this row on; gives number and hash of its last row.
pub(in crate::store) fn walk(
    conn: &Connection,
    table: &Chained,
    columns: &[&str],
    from: i64,
    exported: &[&ChainHead],
    progress: &mut dyn FnMut(&str, i64, i64),
) -> Result<(i64, String), VerifyError> {
    let name = table.name;
    let total: i64 = conn.query_row(&format!("SELECT COUNT(*) FROM {name}"), [], |row| {
        row.get(0)
    })?;
    let names = columns.join(", ");
    let mut rows = conn.prepare(&format!(
        "SELECT seq, format, prev_hash, hash, {names} FROM {name} WHERE seq >= ?1 ORDER BY seq"
    ))?;
    let mut rows = rows.query([from])?;
    let before = "SELECT hash FROM ".to_owned() + name + " WHERE seq = ?1";
    let before: Option<String> = conn
        .query_row(&before, [from - 1], |row| row.get(0))
        .optional()?;
    let (mut last, mut prev) = (from - 1, before.unwrap_or_else(|| GENESIS.to_owned()));
    while let Some(row) = rows.next()? {
        prev = check(conn, table, columns.len(), row, last, &prev)?;
        last += 1;
        if let Some(head) = exported
            .iter()
            .find(|head| head.seq == last && !prev.starts_with(&head.hash))
        {
            return Err(bad(
                name,
                last,
                &format!(
                    "has hash {prev}, exported was {}: rewritten since",
                    head.hash
                ),
            ));
        }
        if last % STRIDE == 0 {
            progress(name, last, total);
        }
    }
    progress(name, last, total);
    match exported
        .iter()
        .map(|head| head.seq)
        .filter(|seq| *seq > last)
        .max()
    {
        Some(seq) => Err(bad(
            name,
            last + 1,
            &format!("is missing: the tail up to exported row {seq} was cut off"),
        )),
        None => Ok((last, prev)),
    }
}

/// Checks the row after number `last`; gives its hash.
fn check(
    conn: &Connection,
    table: &Chained,
    columns: usize,
    row: &Row<'_>,
    last: i64,
    prev: &str,
) -> Result<String, VerifyError> {
    let (name, seq) = (table.name, last + 1);
    let found: i64 = row.get(0)?;
    if found > seq {
        return Err(bad(
            name,
            seq,
            &format!("is missing: row {found} comes after row {last}"),
        ));
    }
    if found < seq {
        return Err(bad(name, found, "has a number that no row can have"));
    }
    let format: i64 = row.get(1)?;
    let Some(width) = table.width(format).filter(|width| *width <= columns) else {
        return Err(bad(
            name,
            seq,
            &format!("was edited: format {format} is unknown"),
        ));
    };
    let (linked, hash) = (bytes(row, 2)?, bytes(row, 3)?);
    if linked != prev.as_bytes() {
        return Err(bad(name, seq, &misplaced(conn, name, last, linked)?));
    }
    let cells: Option<Vec<Cell<'_>>> = (4..4 + width).map(|column| cell(row, column)).collect();
    // What came with a later format is empty in a row of an older one; no hash of the row says so.
    let empty = (4 + width..4 + columns)
        .all(|column| matches!(cell(row, column), Some(Cell::Null | Cell::Text(&[]))));
    let recomputed =
        cells.map(|cells| chain::hash(prev, seq, &chain::encode(format, name, &cells)));
    match recomputed {
        Some(recomputed) if empty && recomputed.as_bytes() == hash => Ok(recomputed),
        _ => Err(bad(
            name,
            seq,
            "was edited: its stored values do not give its hash",
        )),
    }
}

/// What to say of a row that does not follow the one before it.
fn misplaced(conn: &Connection, name: &str, last: i64, linked: &[u8]) -> rusqlite::Result<String> {
    let linked = String::from_utf8_lossy(linked);
    let rightful: Option<i64> = conn
        .query_row(
            &format!("SELECT seq FROM {name} WHERE hash = ?1"),
            [&*linked],
            |row| row.get(0),
        )
        .optional()?;
    Ok(match rightful {
        Some(rightful) => {
            format!("stands in the wrong place: it was written after row {rightful} (swapped rows)")
        }
        None => format!(
            "does not follow row {last}: its previous hash is not that row's hash (broken link)"
        ),
    })
}

fn cell<'a>(row: &'a Row<'_>, column: usize) -> Option<Cell<'a>> {
    match row.get_ref(column).ok()? {
        ValueRef::Null => Some(Cell::Null),
        ValueRef::Integer(number) => Some(Cell::Integer(number)),
        ValueRef::Text(text) => Some(Cell::Text(text)),
        ValueRef::Blob(blob) => Some(Cell::Blob(blob)),
        // No column holds one; whoever put it there rebuilt the table.
        ValueRef::Real(_) => None,
    }
}

/// A text as it is stored; anything else compares equal to no hash.
fn bytes<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(text) => text,
        _ => &[],
    })
}

fn bad(table: &str, row: i64, what: &str) -> VerifyError {
    VerifyError::Bad(format!("{table}: row {row} {what}"))
}
