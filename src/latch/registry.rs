//! What holds in this process: its gates, and the holds that commands took.
//!
//! Whoever sees a hold end, by a command, a file or a watch, says so here, and needs no kill path
//! for that. Knows neither journal nor ledger, and waits for nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::telling::AuditState;
use crate::domain::audit::CommandRecord;
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold};
use crate::domain::throttle::ThrottleName;
use crate::gate::Gate;
use crate::ports::Wake;
use crate::sync::{Mutex, MutexGuard};

/// The gates of a process, and the holds that its door took and that have not ended.
pub struct HoldRegistry {
    pub(super) gate: Arc<Gate>,
    pub(super) wake: Arc<dyn Wake>,
    live: Mutex<Vec<Live>>,
}

/// A hold this door took.
pub(super) struct Live {
    pub(super) held: ScopedHold,
    pub(super) audit: AuditState,
    pub(super) durable: bool,
    /// A command to end it is under way: a kill that comes now must not lean on it.
    pub(super) ending: bool,
    /// Its own command is telling journal and ledger of it: where its record stands is known in a
    /// moment.
    pub(super) telling: bool,
    /// It comes from the journal of a process before, and the ledger, which may have its end, was
    /// not heard yet: nor on this.
    pub(super) replayed: bool,
    /// It has ended somewhere, or is about to, by another door: a kill that comes now must not lean
    /// on it.
    pub(super) doubted: bool,
    /// Nobody but this process has it, since what would tell others was refused: what is recorded
    /// once they hear of it after all, which is tried again and again, and by the next kill.
    pub(super) alone: Option<Box<CommandRecord>>,
}

impl Live {
    pub(super) fn new(held: ScopedHold, audit: AuditState, durable: bool) -> Self {
        Self {
            held,
            audit,
            durable,
            ending: false,
            telling: false,
            replayed: false,
            doubted: false,
            alone: None,
        }
    }
}

impl HoldRegistry {
    /// Over these gates; `wake`: who acts on what ends; `known` are the holds this door took before
    /// and that have not ended.
    pub fn new(gate: Arc<Gate>, wake: Arc<dyn Wake>, known: Vec<ScopedHold>) -> Self {
        let live = known
            .into_iter()
            .map(|held| Live::new(held, AuditState::Recorded, true));
        Self {
            gate,
            wake,
            live: Mutex::new(live.collect()),
        }
    }

    /// Lets go of holds that have ended.
    pub fn let_go(&self, ended: &[Epoch]) {
        self.forget(ended.iter());
        self.wake.wake_each(&self.gate.end(ended));
    }

    /// This one is ending by another door: no kill leans on it any more.
    pub fn doubt(&self, epoch: &Epoch) {
        self.note(epoch, |live| live.doubted = true);
    }

    /// These have ended on one throttle, by another door: no kill leans on them any more, and what
    /// is of it alone, or is seen to hold nowhere else, is forgotten.
    pub(super) fn forget_at<'a>(
        &self,
        name: &ThrottleName,
        ended: impl Iterator<Item = &'a Epoch>,
        holds: &dyn Fn(&Epoch) -> bool,
    ) {
        let ended: BTreeSet<&Epoch> = ended.collect();
        if ended.is_empty() {
            return;
        }
        self.lock().retain_mut(|live| {
            let ScopedHold { scope, hold } = &live.held;
            if !ended.contains(&hold.epoch) {
                return true;
            }
            live.doubted = true;
            matches!(scope, Scope::All) && holds(&hold.epoch)
                || matches!(scope, Scope::One(own) if own != name)
        });
    }

    /// These have ended by another door: no kill leans on them any more.
    pub(super) fn forget<'a>(&self, ended: impl Iterator<Item = &'a Epoch>) {
        let ended: BTreeSet<&Epoch> = ended.collect();
        if !ended.is_empty() {
            self.lock()
                .retain(|live| !ended.contains(&live.held.hold.epoch));
        }
    }

    /// Those of these kills that the gate does not hold yet.
    pub(super) fn unknown_to_the_gate(
        &self,
        name: &ThrottleName,
        kills: &[Arc<Hold>],
    ) -> Vec<Arc<Hold>> {
        let known = self.gate.kills(name);
        kills
            .iter()
            .filter(|hold| !known.iter().any(|known| known.epoch == hold.epoch))
            .map(Arc::clone)
            .collect()
    }

    pub(super) fn note(&self, epoch: &Epoch, note: impl Fn(&mut Live)) {
        self.lock()
            .iter_mut()
            .filter(|live| live.held.hold.epoch == *epoch)
            .for_each(note);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Live>> {
        self.live.lock()
    }
}
