//! The verifier: re-reads every stored value, recomputes the chains, and names the first row that
//! is not as written.
//!
//! Only reads, within one read transaction, so it works while the service writes. Shares nothing
//! with the writing side but the column lists and the encoding.

mod beside;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

use super::read;
use super::schema::{self, CHAINED, Chained};
use super::walk::{VerifyError, walk};
use crate::domain::chain_head::ChainHead;
use crate::store::accounts;
use crate::store::looks::{FOREIGN, has_ours, looks};

/// Columns that every chained table has besides those its chain covers as values.
const OF_THE_CHAIN: [&str; 4] = ["seq", "format", "prev_hash", "hash"];

/// A ledger in which every row is as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The newest row of each chained table, the audit log first. Rows are numbered from 1 without
    /// a gap, so its number is also how many there are.
    pub heads: Vec<ChainHead>,
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
