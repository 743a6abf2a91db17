//! Accounts of holds: which ones the audit log says are live, held against the table that lists
//! them.
//!
//! The log is chained and the table is not: a hold that was ended in the table alone has not ended.
//! Rows of format 1 do not name the holds they end; there an entry that may have ended a hold
//! counts as its end. Only reads.

mod against;
mod declared;
mod early;
mod log_entry;
mod log_replay;

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension};

use super::sqlite::schema::AUDIT_LOG;
use super::sqlite::walk::{VerifyError, walk};
use crate::domain::audit::AuditAction;
use crate::domain::hold::{Epoch, Scope, ScopedHold};
use against::held_against;
pub use declared::Unexplained;
pub(super) use declared::{LoggedDeclaration, said};
use log_replay::ReplayedLog;

/// Entries between two of them.
pub(super) const STRIDE: i64 = 10_000;

/// What is in force by the record, and what does not add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    /// Every hold in force, in the order taken.
    pub live: Vec<ScopedHold>,
    /// Those of them that log and table do not agree on.
    pub unaccounted: BTreeSet<Epoch>,
    /// Ended for ever.
    pub ended: BTreeSet<Epoch>,
    /// What does not add up, `TABLE: row N …`.
    pub faults: Vec<String>,
    /// Whether a hold may be in force that cannot be named.
    pub unsure: bool,
    /// Throttles whose row does not follow from the log.
    pub unexplained: Vec<Unexplained>,
}

/// A row of the table of holds.
struct Listed {
    row: i64,
    epoch: Epoch,
    /// None where it was never heard of before its end, or cannot be read.
    hold: Option<ScopedHold>,
    ended: bool,
}

/// The accounts of a ledger, from its last checkpoint on; the chain of these entries is recomputed.
pub(super) fn at_start(conn: &Connection) -> rusqlite::Result<Accounts> {
    let from = last_checkpoint(conn)?.unwrap_or(1);
    let mut accounts = of(conn, from)?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match walk(
        conn,
        &AUDIT_LOG,
        AUDIT_LOG.columns_in(version),
        from,
        &[],
        &mut |_, _, _| (),
    ) {
        Ok(_) => {}
        Err(VerifyError::Bad(what)) => {
            accounts.faults.push(what);
            accounts.unsure = true;
        }
        Err(VerifyError::Unreadable(error)) => return Err(error),
    }
    Ok(accounts)
}

/// The accounts of a ledger from this entry on: the first, or a checkpoint.
pub(super) fn of(conn: &Connection, from: i64) -> rusqlite::Result<Accounts> {
    let mut told = ReplayedLog::read(conn, from)?;
    let table = table(conn)?;
    let declares = told.declares.take();
    // What ended before a checkpoint is named before it.
    let claims = |listed: &&Listed| from > 1 && listed.ended && !told.ended.contains(&listed.epoch);
    let claimed: Vec<&Listed> = table.iter().filter(claims).collect();
    let before = if claimed.is_empty() {
        BTreeSet::new()
    } else {
        ended_before(conn, from, &claimed)?
    };
    told.ended.extend(before);
    let mut accounts = held_against(told, &table, from == 1);
    if let Some(declares) = declares {
        declared::hold_against(conn, &declares, &mut accounts)?;
    }
    Ok(accounts)
}

/// Which of these holds the log before an entry ended. One that was taken when the log did not name
/// what it ended, and that no checkpoint lists since, ended then.
fn ended_before(
    conn: &Connection,
    from: i64,
    claimed: &[&Listed],
) -> rusqlite::Result<BTreeSet<Epoch>> {
    let mut named = BTreeSet::new();
    let mut ends = conn
        .prepare_cached("SELECT holds_ended FROM audit_log WHERE holds_ended <> '' AND seq < ?1")?;
    let mut ends = ends.query([from])?;
    while let Some(row) = ends.next()? {
        let text: String = row.get(0)?;
        named.extend(serde_json::from_str::<Vec<Epoch>>(&text).unwrap_or_default());
    }
    let first = "SELECT at FROM audit_log WHERE action = ?1 AND format > 1
                 AND (SELECT format FROM audit_log WHERE seq = 1) = 1 ORDER BY seq LIMIT 1";
    let first: Option<String> = conn
        .query_row(first, [AuditAction::Checkpoint.as_str()], |row| row.get(0))
        .optional()?;
    let early = |listed: &&&Listed| {
        let taken = listed
            .hold
            .as_ref()
            .map(|hold| format!("{:.6}", hold.hold.taken_at));
        first
            .as_ref()
            .zip(taken)
            .is_some_and(|(first, taken)| taken < *first)
    };
    let is_named = |listed: &&&Listed| named.contains(&listed.epoch);
    Ok(claimed
        .iter()
        .filter(|listed| is_named(listed) || early(listed))
        .map(|listed| listed.epoch.clone())
        .collect())
}

/// Whether the log, too, says of a hold that the table lists as ended that it has.
pub(super) fn has_ended(conn: &Connection, epoch: &Epoch) -> rusqlite::Result<bool> {
    let table = table(conn)?;
    let listed: Vec<&Listed> = table
        .iter()
        .filter(|listed| listed.epoch == *epoch)
        .collect();
    ended_before(conn, i64::MAX, &listed).map(|ended| ended.contains(epoch))
}

/// What the log says is declared, if it says so; within the transaction that appends to it.
pub(super) fn declares(conn: &Connection) -> rusqlite::Result<Vec<LoggedDeclaration>> {
    let told = ReplayedLog::read(conn, last_checkpoint(conn)?.unwrap_or(1))?;
    // The first checkpoint that lists a throttle takes it as it stands.
    let mut all = told.declares.unwrap_or_default();
    for standing in declared::standing(conn)? {
        standing.unless_said(&mut all);
    }
    Ok(all.into_values().collect())
}

/// The accounts as they are now, within the transaction that appends to the log.
pub(super) fn now(conn: &Connection) -> rusqlite::Result<Accounts> {
    of(conn, last_checkpoint(conn)?.unwrap_or(1))
}

/// Which holds are live by the log alone, from its last checkpoint on, within the transaction that
/// appends to it.
pub(super) fn live(conn: &Connection) -> rusqlite::Result<Vec<ScopedHold>> {
    let from = last_checkpoint(conn)?.unwrap_or(1);
    Ok(ReplayedLog::read(conn, from)?
        .live
        .into_iter()
        .map(|(_, hold)| hold)
        .collect())
}

fn last_checkpoint(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let last =
        "SELECT seq FROM audit_log WHERE action = ?1 AND format > 1 ORDER BY seq DESC LIMIT 1";
    conn.prepare_cached(last)?
        .query_row([AuditAction::Checkpoint.as_str()], |row| row.get(0))
        .optional()
}

fn table(conn: &Connection) -> rusqlite::Result<Vec<Listed>> {
    let mut rows =
        conn.prepare_cached("SELECT taken, epoch, scope, hold, ended FROM holds ORDER BY taken")?;
    let rows = rows.query_map([], |row| {
        let scope: String = row.get(2)?;
        let text: Option<String> = row.get(3)?;
        let hold: Option<ScopedHold> = text.and_then(|text| serde_json::from_str(&text).ok());
        let epoch = Epoch(row.get(1)?);
        // The columns beside it are edited as easily as the text.
        let agrees =
            |hold: &ScopedHold| hold.hold.epoch == epoch && scope_text(&hold.scope) == scope;
        Ok(Listed {
            row: row.get(0)?,
            hold: hold.filter(agrees),
            epoch,
            ended: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// A scope as the table's column has it.
pub(super) fn scope_text(scope: &Scope) -> &str {
    match scope {
        Scope::All => "",
        Scope::One(name) => name.as_str(),
    }
}

/// The columns of the log in this file.
fn columns(conn: &Connection) -> rusqlite::Result<&'static [&'static str]> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(AUDIT_LOG.columns_in(version))
}
