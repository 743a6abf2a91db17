//! What the log says of holds, held against what the table lists: which are in force, and what does
//! not add up. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::early::Early;
use super::log_replay::ReplayedLog;
use super::{Accounts, Listed};
use crate::domain::hold::{Epoch, ScopedHold};

/// The accounts of what the log told and the table lists. `whole`: the log was read from its first
/// entry on.
pub(super) fn held_against(told: ReplayedLog, table: &[Listed], whole: bool) -> Accounts {
    let ReplayedLog {
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
        let row = rows.get(&hold.hold.epoch).copied();
        accounts.live_by_log(seq, hold, row, exact);
    }
    let log = Log {
        ended: &ended,
        exact,
        early: &early,
        whole,
    };
    for row in table.iter().filter(|row| !by_log.contains(&row.epoch)) {
        accounts.unsure |= !row.ended && row.hold.is_none();
        let fault = log.fault_of(row);
        match &row.hold {
            Some(hold) if !row.ended || fault.is_some() => accounts.hold(fault, hold.clone()),
            _ => accounts.faults.extend(fault),
        }
    }
    let held: BTreeSet<&Epoch> = accounts.live.iter().map(|hold| &hold.hold.epoch).collect();
    // Without a checkpoint, what no word of the log tells is left to the table; after one, nothing
    // is.
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
    /// Takes in a hold that is live by the log, as its row is.
    fn live_by_log(&mut self, seq: i64, hold: ScopedHold, row: Option<&Listed>, exact: bool) {
        let fault = fault_of_live(seq, &hold, row);
        let listed = row
            .and_then(|row| Some((row.row, row.hold.clone()?)))
            .filter(|_| fault.is_none());
        match (fault, listed) {
            // Whose it is and why decides who may end it: that, too, is as it was taken.
            (None, Some((row, listed))) if exact && listed != hold => {
                let epoch = &hold.hold.epoch;
                let what = "says another source, operator or reason than its audit entry";
                self.faults
                    .push(format!("holds: row {row} ({epoch}) {what}"));
                self.live.push(hold);
            }
            // An entry of format 1 tells less than the row does.
            (None, Some((_, listed))) if !exact => self.hold(None, listed),
            (fault, _) => self.hold(fault, hold),
        }
    }

    fn hold(&mut self, fault: Option<String>, hold: ScopedHold) {
        if let Some(fault) = fault {
            self.unaccounted.insert(hold.hold.epoch.clone());
            self.faults.push(fault);
        }
        self.live.push(hold);
    }
}

/// What is wrong with the row of a hold that is live by the log.
fn fault_of_live(seq: i64, hold: &ScopedHold, row: Option<&Listed>) -> Option<String> {
    let epoch = &hold.hold.epoch;
    let Some(Listed {
        row,
        hold: listed,
        ended,
        ..
    }) = row
    else {
        return Some(format!(
            "audit_log: row {seq}: hold {epoch}, which has not ended, is gone from the table holds"
        ));
    };
    match listed {
        _ if *ended => Some(format!(
            "holds: row {row} ({epoch}) was ended, and no audit entry ends it"
        )),
        None => Some(format!("holds: row {row} ({epoch}) cannot be read")),
        Some(listed) if !same(listed, hold) => Some(format!(
            "holds: row {row} ({epoch}) is not the hold that was taken"
        )),
        Some(_) => None,
    }
}

/// Whether two mean the same throttles and bite alike.
fn same(a: &ScopedHold, b: &ScopedHold) -> bool {
    a.scope == b.scope && a.hold.bite == b.hold.bite
}

/// The log, as far as it says something of holds that are not live by it.
struct Log<'a> {
    /// Ended by an entry that names them.
    ended: &'a BTreeSet<Epoch>,
    /// Whether every entry names the holds it takes and ends, from a checkpoint on.
    exact: bool,
    early: &'a Early,
    /// Whether it was read from its first entry on.
    whole: bool,
}

impl Log<'_> {
    /// What is wrong with the row of a hold that is not live by it.
    fn fault_of(&self, row: &Listed) -> Option<String> {
        let Listed {
            row: number,
            epoch,
            hold,
            ended: is_ended,
        } = row;
        match (is_ended, hold) {
            (false, None) => Some(format!("holds: row {number} ({epoch}) cannot be read")),
            (false, Some(_)) if self.ended.contains(epoch) => Some(format!(
                "holds: row {number} ({epoch}) is live, and an audit entry ended it"
            )),
            // What an entry of format 1 took need not be named in it.
            (false, Some(_)) if self.exact => Some(format!(
                "holds: row {number} ({epoch}) is live, and no audit entry took it"
            )),
            (true, hold)
                if self.whole
                    && !self.ended.contains(epoch)
                    && !self.early.may_have_ended(epoch, hold.as_ref()) =>
            {
                Some(format!(
                    "holds: row {number} ({epoch}) was ended, and no audit entry ends it"
                ))
            }
            _ => None,
        }
    }
}
