//! What has to change so that a throttle is what a file says of it, and the record of that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::state::row;
use crate::domain::audit::{AuditAction, AuditDraft, Change};
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::domain::level::Level;
use crate::domain::offered::Offered;
use crate::domain::throttle::{Declared, FromFile, Mode, Owner};

/// One throttle before and after.
pub(super) struct ThrottleChange {
    pub(super) before: Option<Declared>,
    pub(super) after: Declared,
    /// Whether anything is declared anew.
    pub(super) declares: bool,
    /// Kills of the file that the ledger is not known to have: of one that it has, nothing is
    /// written.
    pub(super) begins: Vec<ScopedHold>,
    /// Kills that the file has no more.
    pub(super) ended: Vec<Epoch>,
}

impl ThrottleChange {
    /// It as a change of its own: one that the ledger refuses keeps no other out of it.
    pub(super) fn change(&self, at: Timestamp) -> Change {
        let Self {
            before,
            after,
            declares,
            begins,
            ended,
        } = self;
        let mut change = Change {
            begins: begins
                .iter()
                .map(|held| (held.clone(), kill(after, &held.hold, at)))
                .collect(),
            ..Change::default()
        };
        if *declares {
            let killed = begins
                .last()
                .filter(|held| !ended.contains(&held.hold.epoch));
            change.audit.push(entry(before.as_ref(), after, killed, at));
            change
                .audit
                .extend(ended.iter().map(|epoch| end(after, epoch, at)));
            change.throttles.push(row(after));
            change.holds_ended.clone_from(ended);
        }
        change
    }

    /// The kill in the place of one whose number is spent.
    pub(super) fn anew(&self, held: &ScopedHold) -> ScopedHold {
        let hold = Hold {
            epoch: epoch(&self.after, self.after.generation + 1),
            ..held.hold.clone()
        };
        ScopedHold {
            scope: held.scope.clone(),
            hold,
        }
    }
}

/// Every throttle that differs from what the file says of it, and every kill of a file that the
/// ledger is not known to have.
pub(super) fn manifest_changes(
    now: &[Declared],
    recorded: &BTreeSet<Epoch>,
    file: &[FromFile],
    at: Timestamp,
) -> Vec<ThrottleChange> {
    let known: BTreeMap<_, _> = now.iter().map(|known| (&known.name, known)).collect();
    let names: BTreeSet<_> = file.iter().map(|one| &one.name).collect();
    let named = file
        .iter()
        .filter_map(|one| step(known.get(&one.name).copied(), recorded, one, at));
    let left = now.iter().filter(|known| !names.contains(&known.name));
    let left = left.filter_map(|known| {
        let begins = lacking(known, recorded);
        let (before, after, ended) = (Some(known.clone()), known.clone(), Vec::new());
        (!begins.is_empty()).then_some(ThrottleChange {
            before,
            after,
            declares: false,
            begins,
            ended,
        })
    });
    named.chain(left).collect()
}

/// What has to change so that a throttle is what the file says; nothing if it is.
fn step(
    now: Option<&Declared>,
    recorded: &BTreeSet<Epoch>,
    file: &FromFile,
    at: Timestamp,
) -> Option<ThrottleChange> {
    let same = now.is_some_and(|now| {
        now.owner == Owner::Manifest
            && now.generation > 0
            && now.level == file.level
            && now.spec() == file.spec
    });
    let generation = now.map_or(0, |now| now.generation) + 1;
    let mut after = now
        .cloned()
        .unwrap_or_else(|| Declared::bare(file.name.clone(), file.level));
    let next = epoch(&after, generation);
    let held: Vec<&Hold> = now.into_iter().flat_map(of_file).collect();
    // One that is in force stays, whatever else was declared meanwhile.
    let mut begins = now.map(|now| lacking(now, recorded)).unwrap_or_default();
    begins.extend(
        file.kill
            .as_ref()
            .filter(|_| held.is_empty())
            .map(|words| ScopedHold {
                scope: Scope::One(file.name.clone()),
                hold: Hold {
                    epoch: next.clone(),
                    bite: HoldEffect::Kill,
                    source: Source::Manifest,
                    reason: words.reason.clone(),
                    operator: words.operator.clone(),
                    taken_at: at,
                },
            }),
    );
    let ended: Vec<_> = held
        .iter()
        .filter(|_| file.kill.is_none())
        .map(|hold| hold.epoch.clone())
        .collect();
    // What a process before wrote down is said once more, and no more than that: the ledger has it,
    // or had not the time.
    let declares = !same || !ended.is_empty() || begins.iter().any(|held| held.hold.epoch == next);
    if !declares && begins.is_empty() {
        return None;
    }
    if now.is_none_or(|now| now.generation == 0) {
        // A new throttle starts where it is declared; one that only observes asks for nothing.
        after.stored = if file.spec.mode == Mode::Observe {
            Level::OPEN
        } else {
            file.level
        };
        after.offered = Some(Offered::new_throttle());
    }
    if declares {
        (after.owner, after.level, after.generation) = (Owner::Manifest, file.level, generation);
        after.set_spec(file.spec.clone());
    }
    Some(ThrottleChange {
        before: now.cloned(),
        after,
        declares,
        begins,
        ended,
    })
}

fn of_file(declared: &Declared) -> impl Iterator<Item = &Hold> {
    declared
        .holds
        .iter()
        .filter(|hold| hold.source == Source::Manifest)
}

/// Kills of a file that the ledger is not known to have.
fn lacking(declared: &Declared, recorded: &BTreeSet<Epoch>) -> Vec<ScopedHold> {
    let lacking = of_file(declared).filter(|hold| !recorded.contains(&hold.epoch));
    lacking
        .map(|hold| ScopedHold {
            scope: Scope::One(declared.name.clone()),
            hold: hold.clone(),
        })
        .collect()
}

fn epoch(declared: &Declared, generation: i64) -> Epoch {
    Epoch(format!("{}@{generation}", declared.name))
}

/// The entry of a kill that the file took.
fn kill(after: &Declared, hold: &Hold, at: Timestamp) -> AuditDraft {
    AuditDraft {
        operator: hold.operator.clone(),
        throttle: after.name.to_string(),
        after: format!("killed {}", hold.epoch),
        reason: hold.reason.clone(),
        binding_signal: "kill".to_owned(),
        ..AuditDraft::new(at, "manifest", AuditAction::Kill)
    }
}

/// The entry of a kill that is gone from the file.
fn end(after: &Declared, epoch: &Epoch, at: Timestamp) -> AuditDraft {
    AuditDraft {
        throttle: after.name.to_string(),
        before: epoch.to_string(),
        reason: format!("gone from the file; generation {}", after.generation),
        ..AuditDraft::new(at, "manifest", AuditAction::HoldEnded)
    }
}

fn entry(
    before: Option<&Declared>,
    after: &Declared,
    taken: Option<&ScopedHold>,
    at: Timestamp,
) -> AuditDraft {
    let kill = if taken.is_some() { ", killed" } else { "" };
    let why = taken
        .map(|taken| format!(": {}", taken.hold.reason))
        .unwrap_or_default();
    AuditDraft {
        operator: taken
            .map(|taken| taken.hold.operator.clone())
            .unwrap_or_default(),
        throttle: after.name.to_string(),
        before: before
            .filter(|before| before.generation > 0)
            .map_or_else(String::new, |before| before.level.to_string()),
        after: format!("{}{kill}", after.level),
        reason: format!("generation {}{why}", after.generation),
        ..AuditDraft::new(at, "manifest", AuditAction::Declare)
    }
}
