//! Accounts of holds: which ones the audit log says are live, held against the table that lists them.
//!
//! The log is chained and the table is not: a hold that was ended in the table alone has not ended. Rows of format 1 do not
//! name the holds they end; there an entry that may have ended a hold counts as its end. Only reads.

mod declared;
mod early;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::AUDIT_LOG;
use super::verify::{VerifyError, walk};
use crate::domain::hold::{Epoch, Scope, ScopedHold};
pub use declared::Unexplained;
pub(super) use declared::{Said, said};
use early::Early;

/// The action of the entry that lists every live hold.
pub(super) const CHECKPOINT: &str = "checkpoint";
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
    let mut told = Told::read(conn, from)?;
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

/// Which of these holds the log before an entry ended. One that was taken when the log did not name what it ended, and
/// that no checkpoint lists since, ended then.
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
        .query_row(first, [CHECKPOINT], |row| row.get(0))
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
pub(super) fn declares(conn: &Connection) -> rusqlite::Result<Vec<Said>> {
    let told = Told::read(conn, last_checkpoint(conn)?.unwrap_or(1))?;
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

/// Which holds are live by the log alone, from its last checkpoint on, within the transaction that appends to it.
pub(super) fn live(conn: &Connection) -> rusqlite::Result<Vec<ScopedHold>> {
    let from = last_checkpoint(conn)?.unwrap_or(1);
    Ok(Told::read(conn, from)?
        .live
        .into_iter()
        .map(|(_, hold)| hold)
        .collect())
}

fn last_checkpoint(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let last =
        "SELECT seq FROM audit_log WHERE action = ?1 AND format > 1 ORDER BY seq DESC LIMIT 1";
    conn.prepare_cached(last)?
        .query_row([CHECKPOINT], |row| row.get(0))
        .optional()
}

/// What the entries of the log say of holds.
#[derive(Default)]
struct Told {
    /// Live ones, in the order taken.
    live: Vec<(i64, ScopedHold)>,
    /// Ended by an entry that names them.
    ended: BTreeSet<Epoch>,
    /// Whether a checkpoint was met: from then on every entry names the holds it takes and ends.
    exact: bool,
    early: Early,
    faults: Vec<String>,
    unsure: bool,
    /// What is declared, from the first checkpoint that lists it on.
    declares: Option<BTreeMap<String, Said>>,
}

/// One entry, as far as holds go.
struct Entry {
    seq: i64,
    format: i64,
    at: String,
    action: String,
    throttle: String,
    before: String,
    after: String,
    reason: String,
    taken: String,
    ended: String,
    declares: String,
}

impl Entry {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        // Somebody's edit need not be text; what it is instead makes no sense either.
        let text = |column| {
            row.get_ref(column)
                .map(|value| value.as_str().unwrap_or("?").to_owned())
        };
        Ok(Self {
            seq: row.get(0)?,
            format: row.get(1)?,
            at: text(2)?,
            action: text(3)?,
            throttle: text(4)?,
            before: text(5)?,
            after: text(6)?,
            reason: text(7)?,
            taken: text(8)?,
            ended: text(9)?,
            declares: text(10)?,
        })
    }
}

impl Told {
    fn read(conn: &Connection, from: i64) -> rusqlite::Result<Self> {
        let has = |column| columns(conn).map(|columns| columns.contains(&column));
        let declares = if has("declares")? { "declares" } else { "''" };
        let (columns, names_some) = if has("holds_ended")? {
            (
                "holds_taken, holds_ended",
                "format = 1 OR holds_taken <> '' OR holds_ended <> '' OR action = 'checkpoint'",
            )
        } else {
            ("'', ''", "1")
        };
        let sql = format!(
            "SELECT seq, format, at, action, throttle, before, after, reason, {columns}, {declares}
             FROM audit_log WHERE seq >= ?1 AND ({names_some} OR {declares} <> '') ORDER BY seq"
        );
        let mut told = Self::default();
        let mut entries = conn.prepare(&sql)?;
        let mut entries = entries.query([from])?;
        while let Some(row) = entries.next()? {
            told.take_in(&Entry::of(row)?);
        }
        if !told.exact {
            let early = std::mem::take(&mut told.early);
            told.live.splice(0..0, early.live().cloned());
            told.live.sort_by_key(|(seq, _)| *seq);
            told.early = early;
        }
        Ok(told)
    }

    fn take_in(&mut self, entry: &Entry) {
        if entry.format == 1 {
            return self.early.take_in(entry);
        }
        let taken: Vec<ScopedHold> = self.list(entry, &entry.taken);
        let ended: Vec<Epoch> = self.list(entry, &entry.ended);
        let declares: Vec<Said> = self.list(entry, &entry.declares);
        if entry.action == CHECKPOINT && entry.format >= declared::FORMAT {
            self.declares = Some(BTreeMap::new());
        }
        if let Some(known) = &mut self.declares {
            declares.into_iter().for_each(|said| said.follows(known));
        }
        if entry.action == CHECKPOINT {
            self.check(entry, &taken);
            self.live = taken.into_iter().map(|hold| (entry.seq, hold)).collect();
            self.exact = true;
            return;
        }
        for hold in taken {
            self.live
                .retain(|(_, live)| live.hold.epoch != hold.hold.epoch);
            self.live.push((entry.seq, hold));
        }
        self.live
            .retain(|(_, live)| !ended.contains(&live.hold.epoch));
        self.early.end(&ended);
        self.ended.extend(ended);
    }

    /// Whether a checkpoint lists what the entries before it left.
    fn check(&mut self, entry: &Entry, listed: &[ScopedHold]) {
        let own = |hold: &ScopedHold| (hold.hold.epoch.clone(), format!("{:?}", hold.scope));
        let listed: BTreeSet<_> = listed.iter().map(own).collect();
        let left: BTreeSet<_> = self.live.iter().map(|(_, hold)| own(hold)).collect();
        if self.exact && listed != left {
            let what = "lists other holds than the entries before it left";
            self.faults
                .push(format!("audit_log: row {} {what}", entry.seq));
        }
    }

    fn list<T: serde::de::DeserializeOwned>(&mut self, entry: &Entry, text: &str) -> Vec<T> {
        if text.is_empty() {
            return Vec::new();
        }
        serde_json::from_str(text).unwrap_or_else(|_| {
            self.faults.push(format!(
                "audit_log: row {} names what nobody can read",
                entry.seq
            ));
            self.unsure = true;
            Vec::new()
        })
    }
}

/// `whole`: the log was read from its first entry on.
fn held_against(told: Told, table: &[Listed], whole: bool) -> Accounts {
    let Told {
        live,
        ended,
        exact,
        early,
        faults,
        unsure,
        ..
    } = told;
    let mut accounts = Accounts {
        faults,
        unsure,
        ..Accounts::default()
    };
    let rows: BTreeMap<&Epoch, &Listed> =
        table.iter().map(|listed| (&listed.epoch, listed)).collect();
    let by_log: BTreeSet<Epoch> = live
        .iter()
        .map(|(_, hold)| hold.hold.epoch.clone())
        .collect();
    for (seq, hold) in live {
        let epoch = &hold.hold.epoch;
        let fault = match rows.get(epoch) {
            None => Some(format!(
                "audit_log: row {seq}: hold {epoch}, which has not ended, is gone from the table holds"
            )),
            Some(row) if row.ended => Some(format!(
                "holds: row {} ({epoch}) was ended, and no audit entry ends it",
                row.row
            )),
            Some(row) => row
                .hold
                .as_ref()
                .filter(|listed| !same(listed, &hold))
                .map_or_else(
                    || {
                        row.hold
                            .is_none()
                            .then(|| format!("holds: row {} ({epoch}) cannot be read", row.row))
                    },
                    |_| {
                        Some(format!(
                            "holds: row {} ({epoch}) is not the hold that was taken",
                            row.row
                        ))
                    },
                ),
        };
        let listed = rows
            .get(epoch)
            .and_then(|row| row.hold.clone())
            .filter(|_| fault.is_none());
        match (fault, listed) {
            // Whose it is and why decides who may end it: that, too, is as it was taken.
            (None, Some(listed)) if exact && listed != hold => {
                let row = rows.get(epoch).map_or(0, |row| row.row);
                let what = "says another source, operator or reason than its audit entry";
                accounts
                    .faults
                    .push(format!("holds: row {row} ({epoch}) {what}"));
                accounts.live.push(hold);
            }
            // An entry of format 1 tells less than the row does.
            (None, Some(listed)) if !exact => accounts.hold(None, listed),
            (fault, _) => accounts.hold(fault, hold),
        }
    }
    for row in table.iter().filter(|row| !by_log.contains(&row.epoch)) {
        let Listed {
            row: number,
            epoch,
            hold,
            ended: is_ended,
        } = row;
        let fault = match (is_ended, hold) {
            (false, None) => {
                accounts.unsure = true;
                Some(format!("holds: row {number} ({epoch}) cannot be read"))
            }
            (false, Some(_)) if ended.contains(epoch) => Some(format!(
                "holds: row {number} ({epoch}) is live, and an audit entry ended it"
            )),
            // What an entry of format 1 took need not be named in it.
            (false, Some(_)) if exact => Some(format!(
                "holds: row {number} ({epoch}) is live, and no audit entry took it"
            )),
            (true, hold)
                if whole
                    && !ended.contains(epoch)
                    && !early.may_have_ended(epoch, hold.as_ref()) =>
            {
                Some(format!(
                    "holds: row {number} ({epoch}) was ended, and no audit entry ends it"
                ))
            }
            _ => None,
        };
        match hold {
            Some(hold) if !is_ended || fault.is_some() => accounts.hold(fault, hold.clone()),
            _ => accounts.faults.extend(fault),
        }
    }
    let held: BTreeSet<&Epoch> = accounts.live.iter().map(|hold| &hold.hold.epoch).collect();
    // Without a checkpoint, what no word of the log tells is left to the table; after one, nothing is.
    let gone = table
        .iter()
        .filter(|row| whole && row.ended && !held.contains(&row.epoch))
        .map(|row| row.epoch.clone());
    accounts.ended = ended
        .into_iter()
        .filter(|epoch| !held.contains(epoch))
        .chain(gone)
        .collect();
    accounts
}

impl Accounts {
    fn hold(&mut self, fault: Option<String>, hold: ScopedHold) {
        if let Some(fault) = fault {
            self.unaccounted.insert(hold.hold.epoch.clone());
            self.faults.push(fault);
        }
        self.live.push(hold);
    }
}

/// Whether two mean the same throttles and bite alike.
fn same(a: &ScopedHold, b: &ScopedHold) -> bool {
    a.scope == b.scope && a.hold.bite == b.hold.bite
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
