//! The verifier: re-reads every stored value, recomputes the chains, and names the first row that
//! is not as written.
//!
//! Only reads, within one read transaction, so it works while the service writes. Shares nothing
//! with the writing side but the column lists and the encoding.

mod beside;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::read;
use super::schema::{self, CHAINED, Chained};
use crate::domain::text::shown;
use crate::store::accounts;
use crate::store::chain::{self, Cell, GENESIS};
use crate::store::head::ChainHead;
use crate::store::looks::{FOREIGN, has_ours, looks};

/// How often progress is told, in rows.
const STRIDE: i64 = 1000;

/// Columns that every chained table has besides those its chain covers as values.
const OF_THE_CHAIN: [&str; 4] = ["seq", "format", "prev_hash", "hash"];

/// A ledger in which every row is as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The newest row of each chained table, the audit log first. Rows are numbered from 1 without
    /// a gap, so its number is also how many there are.
    pub heads: Vec<ChainHead>,
}

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

impl VerifyError {
    /// What the file looks like, where that says more.
    pub fn looks(&self, file: &Path) -> Option<String> {
        match self {
            Self::Bad(_) => None,
            Self::Unreadable(error) => looks(file, error),
        }
    }
}

/// Verifies the ledger in a file. `exported` are heads that were written down earlier: without one,
/// rows cut from the end of its table leave no trace here. `progress` hears table, rows done, rows
/// in all.
///
/// # Errors
/// The first row that is not as it was written, or why the file cannot be read.
pub fn verify(
    file: &Path,
    exported: &[ChainHead],
    progress: &mut dyn FnMut(&str, i64, i64),
) -> Result<Verified, VerifyError> {
    let conn = read::connect_file(file)?;
    let tx = conn.unchecked_transaction()?;
    if !has_ours(&tx)? {
        return Err(VerifyError::Bad(FOREIGN.to_owned()));
    }
    let verified = chains(&tx, exported, progress)?;
    // What the chains do not cover is held against them.
    match accounts::of(&tx, 1)?.faults.into_iter().next() {
        Some(fault) => return Err(VerifyError::Bad(fault)),
        None => beside::nonces(&tx)?,
    }
    // Last: a row that is not as it was written is worse than a door that stands open.
    guarded(&tx)?;
    beside::pages(&tx)?;
    Ok(verified)
}

/// Verifies what a connection sees; the caller has opened a transaction.
pub(super) fn chains(
    conn: &Connection,
    exported: &[ChainHead],
    progress: &mut dyn FnMut(&str, i64, i64),
) -> Result<Verified, VerifyError> {
    let mut heads = Vec::new();
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for table in CHAINED {
        covered(conn, table, table.columns_in(version))?;
        let of_table: Vec<_> = exported
            .iter()
            .filter(|head| head.table == table.name)
            .collect();
        let (seq, hash) = walk(
            conn,
            table,
            table.columns_in(version),
            1,
            &of_table,
            progress,
        )?;
        heads.push(ChainHead {
            table: table.name,
            seq,
            hash,
        });
    }
    Ok(Verified { heads })
}

/// Whether a table has exactly the columns that its chain covers: what stands in another one could
/// be edited unseen.
fn covered(conn: &Connection, table: &Chained, ours: &[&str]) -> Result<(), VerifyError> {
    let name = table.name;
    let mut columns = conn.prepare("SELECT name FROM pragma_table_xinfo(?1)")?;
    let found: BTreeSet<String> = columns
        .query_map([name], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if found.is_empty() {
        return Err(VerifyError::Bad(format!("{name}: the table is gone")));
    }
    let known: BTreeSet<String> = ours
        .iter()
        .chain(&OF_THE_CHAIN)
        .map(|name| (*name).to_owned())
        .collect();
    if let Some(column) = known.difference(&found).next() {
        return Err(VerifyError::Bad(format!(
            "{name}: the column {column} is gone"
        )));
    }
    match found.difference(&known).next() {
        Some(column) => Err(VerifyError::Bad(format!(
            "{name}: the column {column} is none of ours; no chain covers it"
        ))),
        None => Ok(()),
    }
}

/// Whether the file has our triggers, word for word, and no trigger or view besides: whoever takes
/// one off has a reason, and a foreign one can make rows vanish as they are written.
pub(super) fn guarded(conn: &Connection) -> Result<(), VerifyError> {
    let ours = Connection::open_in_memory()?;
    schema::migrate(&ours)?.unwrap_or_default();
    let (ours, mut found) = (programs(&ours)?, programs(conn)?);
    for ((table, name), sql) in &ours {
        match found.remove(&(table.clone(), name.clone())) {
            Some(there) if there == *sql => {}
            Some(_) => {
                return Err(VerifyError::Bad(format!(
                    "{table}: the trigger {name} was changed"
                )));
            }
            None => {
                let gone = format!(
                    "{table}: the trigger {name}, which refuses changes of the table, is gone"
                );
                return Err(VerifyError::Bad(gone));
            }
        }
    }
    match found.into_keys().next() {
        Some((table, name)) if table == name => Err(VerifyError::Bad(format!(
            "{name}: the view is none of ours"
        ))),
        Some((table, name)) => Err(VerifyError::Bad(format!(
            "{table}: the trigger {name} is none of ours"
        ))),
        None => Ok(()),
    }
}

/// Triggers and views of a file by table and name.
fn programs(conn: &Connection) -> rusqlite::Result<BTreeMap<(String, String), String>> {
    let mut found = conn.prepare(
        "SELECT tbl_name, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')",
    )?;
    found
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
        .collect()
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
