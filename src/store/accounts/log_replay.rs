//! What the entries of the audit log say of holds and of what is declared, one after the other.
//! Knows no table but the log.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::columns;
use super::declared::{self, LoggedDeclaration};
use super::early::Early;
use super::log_entry::LogEntry;
use crate::domain::audit::AuditAction;
use crate::domain::hold::{Epoch, ScopedHold};

/// What the entries of the log say of holds.
#[derive(Default)]
pub(super) struct ReplayedLog {
    /// Live ones, in the order taken.
    pub(super) live: Vec<(i64, ScopedHold)>,
    /// Ended by an entry that names them.
    pub(super) ended: BTreeSet<Epoch>,
    /// Whether a checkpoint was met: from then on every entry names the holds it takes and ends.
    pub(super) exact: bool,
    pub(super) early: Early,
    pub(super) faults: Vec<String>,
    pub(super) unsure: bool,
    /// What is declared, from the first checkpoint that lists it on.
    pub(super) declares: Option<BTreeMap<String, LoggedDeclaration>>,
}

impl ReplayedLog {
    /// What the log says from this entry on.
    pub(super) fn read(conn: &Connection, from: i64) -> rusqlite::Result<Self> {
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
            told.take_in(&LogEntry::of(row)?);
        }
        if !told.exact {
            let early = std::mem::take(&mut told.early);
            told.live.splice(0..0, early.live().cloned());
            told.live.sort_by_key(|(seq, _)| *seq);
            told.early = early;
        }
        Ok(told)
    }

    fn take_in(&mut self, entry: &LogEntry) {
        if entry.format == 1 {
            return self.early.take_in(entry);
        }
        let taken: Vec<ScopedHold> = self.list(entry, &entry.taken);
        let ended: Vec<Epoch> = self.list(entry, &entry.ended);
        let declares: Vec<LoggedDeclaration> = self.list(entry, &entry.declares);
        if entry.action == AuditAction::Checkpoint && entry.format >= declared::FORMAT {
            self.declares = Some(BTreeMap::new());
        }
        if let Some(known) = &mut self.declares {
            declares.into_iter().for_each(|said| said.follows(known));
        }
        if entry.action == AuditAction::Checkpoint {
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
    fn check(&mut self, entry: &LogEntry, listed: &[ScopedHold]) {
        let own = |hold: &ScopedHold| (hold.hold.epoch.clone(), format!("{:?}", hold.scope));
        let listed: BTreeSet<_> = listed.iter().map(own).collect();
        let left: BTreeSet<_> = self.live.iter().map(|(_, hold)| own(hold)).collect();
        if self.exact && listed != left {
            let what = "lists other holds than the entries before it left";
            self.faults
                .push(format!("audit_log: row {} {what}", entry.seq));
        }
    }

    fn list<T: serde::de::DeserializeOwned>(&mut self, entry: &LogEntry, text: &str) -> Vec<T> {
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
