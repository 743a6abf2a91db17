//! The holds in memory: which are in force, what the ledger has of them, and what a command to end
//! some comes to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::DeclaredState;
use crate::domain::audit::CommandRecord;
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold};
use crate::domain::level::Level;
use crate::domain::throttle::Declared;
use crate::ports::ReviveFilter;

/// Holds that end, holds that stay, and what the ledger lacks of the first.
pub(in super::super) type Endings = (Vec<Epoch>, Vec<Hold>, Vec<(ScopedHold, CommandRecord)>);

impl DeclaredState {
    /// Holds of a file that the ledger is known to have.
    pub(in super::super) fn in_ledger(&self) -> &BTreeSet<Epoch> {
        &self.in_ledger
    }

    /// The ledger has this hold of a file.
    pub(in super::super) fn has(&mut self, epoch: &Epoch) {
        self.in_ledger.insert(epoch.clone());
    }

    /// Takes over holds that the ledger has and we do not.
    pub(in super::super) fn adopt_holds(&mut self, holds: &[ScopedHold]) {
        for hold in holds {
            if !self
                .holds
                .iter()
                .any(|known| known.hold.epoch == hold.hold.epoch)
            {
                self.add(hold);
            }
        }
    }

    /// Takes a hold; answers whether it is new.
    pub(in super::super) fn take(&mut self, hold: &ScopedHold, record: &CommandRecord) -> bool {
        if self
            .holds
            .iter()
            .any(|known| known.hold.epoch == hold.hold.epoch)
        {
            return false;
        }
        self.add(hold);
        self.unrecorded.push((hold.clone(), record.clone()));
        true
    }

    fn add(&mut self, held: &ScopedHold) {
        self.holds.push(held.clone());
        self.show(&held.scope, |holds| holds.push(held.hold.clone()));
    }

    /// Changes the holds that are handed out of these throttles.
    fn show(&mut self, scope: &Scope, change: impl Fn(&mut Vec<Hold>)) {
        let change = |shown: &mut Arc<Declared>| change(&mut Arc::make_mut(shown).holds);
        match scope {
            Scope::All => self.snapshot.values_mut().for_each(change),
            Scope::One(name) => self.snapshot.get_mut(name).into_iter().for_each(change),
        }
    }

    /// The ledger has this hold.
    pub(in super::super) fn recorded(&mut self, epoch: &Epoch) {
        self.unrecorded
            .retain(|(hold, _)| hold.hold.epoch != *epoch);
    }

    /// Holds as tight as this level whose own record is still owed to the ledger.
    pub(in super::super) fn owed_above(&self, level: Level) -> Vec<Epoch> {
        let above = |hold: &Hold| matches!(hold.bite, HoldEffect::AtLeast(least) if least >= level);
        let owed = self
            .unrecorded
            .iter()
            .map(|(held, _)| &held.hold)
            .filter(|hold| above(hold));
        owed.map(|hold| hold.epoch.clone()).collect()
    }

    /// Every hold whose record is not still owed.
    pub(in super::super) fn all_recorded(&self) -> Vec<ScopedHold> {
        let owed = |held: &ScopedHold| {
            self.unrecorded
                .iter()
                .any(|(hold, _)| hold.hold.epoch == held.hold.epoch)
        };
        self.holds
            .iter()
            .filter(|held| !owed(held))
            .cloned()
            .collect()
    }

    /// These have ended; answers what they held.
    pub(in super::super) fn release(&mut self, epochs: &[Epoch]) -> Vec<Scope> {
        let ended = |hold: &Hold| epochs.contains(&hold.epoch);
        let gone = self.holds.extract_if(.., |held| ended(&held.hold));
        let scopes: Vec<_> = gone.map(|held| held.scope).collect();
        for scope in &scopes {
            self.show(scope, |holds| holds.retain(|hold| !ended(hold)));
        }
        self.unrecorded.retain(|(held, _)| !ended(&held.hold));
        self.in_ledger.retain(|epoch| !epochs.contains(epoch));
        scopes
    }

    /// What a command to end holds comes to. A specification's own holds stay, and so do those that
    /// are wider than the command's scope: opening one throttle must not open the others.
    pub(in super::super) fn endings(&self, asked: ReviveFilter<'_>) -> Endings {
        let ReviveFilter {
            scope,
            epoch,
            spared,
            ..
        } = asked;
        let meant = |hold: &&ScopedHold| match (epoch, scope) {
            _ if spared(&hold.hold.epoch) => false,
            (Some(epoch), _) => hold.hold.epoch == *epoch,
            (None, Scope::All) => true,
            (None, Scope::One(name)) => hold.scope.covers(name),
        };
        let ends = |hold: &&ScopedHold| {
            !hold.hold.source.is_declared()
                && (epoch.is_some() || *scope == Scope::All || hold.scope == *scope)
        };
        let (ending, staying): (Vec<&ScopedHold>, Vec<&ScopedHold>) =
            self.holds.iter().filter(meant).partition(ends);
        let ending: Vec<Epoch> = ending
            .into_iter()
            .map(|hold| hold.hold.epoch.clone())
            .collect();
        let staying = staying.into_iter().map(|hold| hold.hold.clone()).collect();
        let lacking = self
            .unrecorded
            .iter()
            .filter(|(hold, _)| ending.contains(&hold.hold.epoch))
            .cloned()
            .collect();
        (ending, staying, lacking)
    }

    /// Whether a kill holds what a command means, once these have ended.
    pub(in super::super) fn still_killed(&self, scope: &Scope, ended: &[Epoch]) -> bool {
        let meant = |held: &Scope| *scope == Scope::All || *held == Scope::All || held == scope;
        self.holds
            .iter()
            .any(|one| one.hold.is_kill() && meant(&one.scope) && !ended.contains(&one.hold.epoch))
    }
}
