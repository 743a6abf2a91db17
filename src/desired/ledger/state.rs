//! What is declared, in memory: throttles and holds, and the snapshot that is handed out. Pure;
//! waits for nothing.
//!
//! The snapshot follows each change at once, and at the throttles alone that the change is about.

mod holds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::audit::{CommandRecord, ThrottleRow};
use crate::domain::hold::{Epoch, Hold, ScopedHold};
use crate::domain::level::Level;
use crate::domain::measurement::{MOST, Measurement};
use crate::domain::offered::Offered;
use crate::domain::throttle::{Declared, Owner, ThrottleName};
use crate::ports::Stored;

#[derive(Debug)]
pub(super) struct DeclaredState {
    /// Without their holds: those are added to the snapshot.
    throttles: BTreeMap<ThrottleName, Declared>,
    holds: Vec<ScopedHold>,
    /// Holds that are not known to be in the ledger, with the records owed for them.
    unrecorded: Vec<(ScopedHold, CommandRecord)>,
    /// Holds of a file that the ledger is known to have.
    in_ledger: BTreeSet<Epoch>,
    /// Whether the ledger may have a declaration that is not here.
    pub(super) unsure: bool,
    /// Whether it may have ended a hold of a file that is still here.
    pub(super) doubts_file: bool,
    /// Levels that hold before the ledger has the declarations they come from, where they are
    /// safer.
    foreseen: BTreeMap<ThrottleName, Level>,
    /// Levels that tightened and that the ledger is not known to have yet, and whether they are on
    /// their way there: nothing older opens beyond them.
    tightening: BTreeMap<ThrottleName, (Level, bool)>,
    /// What is handed out.
    snapshot: BTreeMap<ThrottleName, Arc<Declared>>,
}

impl DeclaredState {
    /// `makes_default`: whether a throttle `default` is made up, at STOP, where there is none.
    pub(super) fn new(stored: Stored, makes_default: bool) -> Self {
        let mut state = Self {
            throttles: stored
                .throttles
                .iter()
                .map(|row| (row.name.clone(), declared(row)))
                .collect(),
            holds: stored.holds,
            unrecorded: Vec::new(),
            in_ledger: BTreeSet::new(),
            unsure: false,
            doubts_file: false,
            foreseen: BTreeMap::new(),
            tightening: BTreeMap::new(),
            snapshot: BTreeMap::new(),
        };
        if makes_default {
            let name = ThrottleName::default_throttle();
            let offered = Some(Offered::new_throttle());
            state
                .throttles
                .entry(name.clone())
                .or_insert_with(|| Declared {
                    offered,
                    ..Declared::bare(name, Level::STOP)
                });
        }
        state.snapshot = state.rebuilt();
        state
    }

    pub(super) fn declared(&self) -> Vec<Arc<Declared>> {
        self.snapshot.values().cloned().collect()
    }

    pub(super) fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.snapshot.get(name).cloned()
    }

    /// A throttle with its holds, without what is foreseen.
    pub(super) fn get(&self, name: &ThrottleName) -> Option<Declared> {
        self.throttles
            .get(name)
            .map(|declared| self.with_holds(declared))
    }

    /// Every throttle with its holds, without what is foreseen.
    pub(super) fn known(&self) -> Vec<Declared> {
        self.throttles
            .values()
            .map(|declared| self.with_holds(declared))
            .collect()
    }

    /// Declares a throttle anew. What is in force of it and what was measured goes on, unless it is
    /// new.
    pub(super) fn put(&mut self, declared: Declared) {
        let name = declared.name.clone();
        self.foreseen.remove(&name);
        match self
            .throttles
            .get_mut(&declared.name)
            .filter(|known| known.generation > 0)
        {
            Some(known) => {
                known.set_spec(declared.spec());
                (known.owner, known.level, known.generation) =
                    (declared.owner, declared.level, declared.generation);
            }
            None => {
                self.throttles.insert(
                    name.clone(),
                    Declared {
                        holds: Vec::new(),
                        ..declared
                    },
                );
            }
        }
        self.publish(&name);
    }

    /// Nothing is foreseen any more; answers of which throttles something was.
    pub(super) fn forget_foreseen(&mut self) -> Vec<ThrottleName> {
        let names: Vec<_> = std::mem::take(&mut self.foreseen).into_keys().collect();
        names.iter().for_each(|name| self.publish(name));
        names
    }

    /// Lets a level hold where it is safer, until the throttle is [`DeclaredState::put`].
    pub(super) fn foresee(&mut self, name: &ThrottleName, level: Level) {
        self.foreseen.insert(name.clone(), level);
        self.publish(name);
    }

    /// Changes one throttle; one that does not exist is left alone.
    pub(super) fn change(&mut self, name: &ThrottleName, change: impl FnOnce(&mut Declared)) {
        if let Some(declared) = self.throttles.get_mut(name) {
            change(declared);
            self.publish(name);
        }
    }

    /// Takes a level that is as safe as the one declared, with what was measured beside it; answers
    /// whether it is declared so from now on. Where somebody else declares, it stands above that
    /// until it is [`DeclaredState::held`].
    pub(super) fn tighten(
        &mut self,
        name: &ThrottleName,
        level: Level,
        measured: Option<&Measurement>,
    ) -> bool {
        let known = self
            .throttles
            .get(name)
            .filter(|declared| level >= declared.level);
        let Some(owner) = known.map(|declared| declared.owner) else {
            return false;
        };
        let is_one = owner == Owner::Rest;
        let highest = self
            .tightening
            .get(name)
            .map_or(level, |(before, _)| before.safer(level));
        self.tightening
            .insert(name.clone(), (if is_one { level } else { highest }, true));
        if is_one {
            self.change(name, |declared| {
                declared.level = level;
                measured
                    .into_iter()
                    .for_each(|measured| hear(declared, measured.clone()));
            });
        } else {
            self.publish(name);
        }
        is_one
    }

    /// What tightens a level that somebody else declares, as `declared`, is a hold from here on, or
    /// asks for no more than that.
    pub(super) fn held(&mut self, name: &ThrottleName, level: Level, declared: Level) {
        if self
            .tightening
            .get(name)
            .is_some_and(|(tightening, _)| *tightening <= level || level < declared)
        {
            self.tightening.remove(name);
            self.publish(name);
        }
    }

    /// The ledger has this declaration; answers the level that is declared from here on, which is a
    /// safer one while that is still on its way there.
    pub(super) fn arrived(&mut self, name: &ThrottleName, level: Level) -> Level {
        match self.tightening.get(name) {
            Some((tighter, true)) if level < *tighter => *tighter,
            _ => {
                self.tightening.remove(name);
                self.publish(name);
                level
            }
        }
    }

    /// The ledger did not take it: a newer declaration need not wait for it, what is adopted goes
    /// by it all the same.
    pub(super) fn stuck(&mut self, name: &ThrottleName) {
        self.tightening
            .entry(name.clone())
            .and_modify(|(_, under_way)| *under_way = false);
    }

    /// Takes over declarations that the ledger has and we do not. Of one generation, too: what came
    /// a second time may have tightened it here, where the ledger has it behind an older one.
    pub(super) fn adopt(&mut self, rows: &[ThrottleRow]) {
        for row in rows {
            if let Some(declared) = self
                .throttles
                .get_mut(&row.name)
                .filter(|d| d.generation <= row.generation)
            {
                let own = self
                    .tightening
                    .get(&row.name)
                    .filter(|_| declared.owner == Owner::Rest);
                let tighter = own.map_or(Level::OPEN, |(level, _)| *level);
                (declared.level, declared.generation) =
                    (row.declared.safer(tighter), row.generation);
                self.publish(&row.name);
            }
        }
        self.unsure = false;
    }

    /// Takes over what became of a file's change that was not decided; answers the holds of it that
    /// have ended.
    pub(super) fn look_again(&mut self, stored: &Stored) -> Vec<Epoch> {
        self.adopt(&stored.throttles);
        self.doubts_file = false;
        let holds = |epoch: &Epoch| stored.holds.iter().any(|held| held.hold.epoch == *epoch);
        let ended: Vec<_> = self
            .in_ledger
            .iter()
            .filter(|epoch| !holds(epoch))
            .cloned()
            .collect();
        self.release(&ended);
        ended
    }

    /// Everything, as a ledger would have stored it.
    pub(super) fn stored(&self) -> Stored {
        Stored {
            throttles: self.throttles.values().map(row).collect(),
            holds: self.holds.clone(),
        }
    }

    /// Hands out what is declared now of one throttle; its holds are as they were handed out.
    fn publish(&mut self, name: &ThrottleName) {
        let Some(declared) = self.throttles.get(name) else {
            return;
        };
        let known = self.snapshot.get(name).map(|known| known.holds.clone());
        let holds = known.unwrap_or_else(|| self.holds_on(name));
        let shown = Arc::new(self.shown(declared, holds));
        self.snapshot.insert(name.clone(), shown);
    }

    /// All that is handed out, from nothing but what is declared.
    fn rebuilt(&self) -> BTreeMap<ThrottleName, Arc<Declared>> {
        let all = self.throttles.iter().map(|(name, declared)| {
            let shown = self.shown(declared, self.holds_on(name));
            (name.clone(), Arc::new(shown))
        });
        all.collect()
    }

    /// A throttle as it is handed out: with its holds, and no more open than what is foreseen of it
    /// or tightens it.
    fn shown(&self, declared: &Declared, holds: Vec<Hold>) -> Declared {
        let foreseen = self.foreseen.get(&declared.name);
        let tightening = self.tightening.get(&declared.name).map(|(level, _)| level);
        let above = foreseen.into_iter().chain(tightening);
        Declared {
            level: above.fold(declared.level, |level, one| level.safer(*one)),
            holds,
            ..declared.clone()
        }
    }

    fn holds_on(&self, name: &ThrottleName) -> Vec<Hold> {
        let holds = self.holds.iter().filter(|held| held.scope.covers(name));
        holds.map(|held| held.hold.clone()).collect()
    }

    fn with_holds(&self, declared: &Declared) -> Declared {
        Declared {
            holds: self.holds_on(&declared.name),
            ..declared.clone()
        }
    }
}

/// Whether a word counts for a throttle: where a source is declared, nobody else's opens or closes.
pub(super) fn listens(declared: &Declared, evidence: &Measurement) -> bool {
    declared.signals.source.is_none() || declared.signals.source == evidence.source
}

/// Takes note of what somebody measured.
pub(super) fn hear(declared: &mut Declared, evidence: Measurement) {
    if listens(declared, &evidence) {
        declared
            .evidence
            .retain(|known| known.source != evidence.source);
        declared.evidence.push(evidence);
        let too_many = declared.evidence.len().saturating_sub(MOST);
        declared.evidence.drain(..too_many);
    }
}

fn declared(row: &ThrottleRow) -> Declared {
    let mut declared = Declared::bare(row.name.clone(), row.declared);
    (declared.generation, declared.stored, declared.owner) =
        (row.generation, row.effective, row.owner);
    declared.offered.clone_from(&row.offered);
    declared.set_spec(row.spec.clone().unwrap_or_default());
    declared
}

/// A throttle as a ledger stores it.
pub(super) fn row(declared: &Declared) -> ThrottleRow {
    ThrottleRow {
        name: declared.name.clone(),
        declared: declared.level,
        effective: declared.stored,
        generation: declared.generation,
        owner: declared.owner,
        spec: Some(declared.spec()),
        offered: declared.offered.clone(),
    }
}
