//! What a process has seen of throttles and overrides, and what follows for each gate.
//!
//! Pure: events go in, views come out. The guards against time travel live here: for one UID,
//! nothing older than what was applied counts, and an ended hold never bites again.

mod cached;
mod indexed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::decide::precedence::most_restrictive;
use crate::domain::ended::EndedHolds;
use crate::domain::hold::{Epoch, Hold, Scope, Source};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::latch::watch::View;
use crate::source::crd::EchoThrottle;

use cached::CachedThrottle;
pub use indexed::{HoldState, Override, OverrideKind};
use indexed::{IndexedHold, IndexedThrottle};

/// Everything seen.
#[derive(Default)]
pub struct Index {
    throttles: BTreeMap<ThrottleName, CachedThrottle>,
    overrides: BTreeMap<Epoch, Override>,
    /// Holds that a command ended, or that have ended as the record has it: no object is made of
    /// them again.
    over: EndedHolds,
    looked_at: bool,
}

impl Index {
    /// One that a loop goes by: a hold that has ended goes once a pass has seen it.
    pub fn looked_at() -> Self {
        Self {
            looked_at: true,
            ..Self::default()
        }
    }

    /// A throttle as it was seen. Answers its name if anything of it counts: an older one than was
    /// applied does not.
    pub fn throttle(&mut self, object: &EchoThrottle, now: Timestamp) -> Option<ThrottleName> {
        let name = ThrottleName::in_namespace(&object.namespace()?, &object.name_any());
        let new = || CachedThrottle::new(IndexedThrottle::new(self.looked_at));
        let known = self.throttles.entry(name.clone()).or_insert_with(new);
        if !known.apply(object, now) {
            return None;
        }
        for (epoch, held) in &self.overrides {
            if held.present && held.covers(&name, &known.labels) {
                known.hold(epoch, held);
            }
        }
        Some(name)
    }

    /// A throttle that is gone. It lifts nothing: gates keep what they have. Answers its name, if
    /// it was there.
    pub fn throttle_gone(&mut self, object: &EchoThrottle) -> Option<ThrottleName> {
        let name = ThrottleName::in_namespace(&object.namespace()?, &object.name_any());
        let known = self.throttles.get_mut(&name)?;
        if object.meta().uid.as_deref() != Some(known.uid.as_str()) {
            return None;
        }
        known.gone = true;
        Some(name)
    }

    /// An override that is there. Answers the throttles it newly holds.
    pub fn override_seen(&mut self, epoch: &Epoch, seen: Override) -> Vec<ThrottleName> {
        // An object that was seen to go does not come back under its UID: this is an old list. The
        // leader looks for itself.
        if self
            .overrides
            .get(epoch)
            .is_some_and(|known| !known.present)
        {
            return Vec::new();
        }
        let mut touched = Vec::new();
        for (name, known) in &mut self.throttles {
            let holds = known.holds.contains_key(epoch);
            let meant = holds || seen.covers(name, &known.labels);
            if meant && !known.knows(epoch) && known.hold(epoch, &seen) {
                touched.push(name.clone());
            }
        }
        self.overrides.insert(epoch.clone(), seen);
        touched
    }

    /// An override that is not there any more. It lifts nothing yet: the leader has to look.
    /// Answers the throttles that it held.
    pub fn override_missing(&mut self, epoch: &Epoch) -> Vec<ThrottleName> {
        if let Some(held) = self.overrides.get_mut(epoch) {
            held.present = false;
        }
        let meant = |held: &IndexedHold| held.hold.epoch == *epoch;
        self.doubt(meant)
    }

    /// What is live of these holds is missing from here on; answers the throttles they are on.
    fn doubt(&mut self, meant: impl Fn(&IndexedHold) -> bool) -> Vec<ThrottleName> {
        let live = |held: &IndexedHold| held.state == HoldState::Live && meant(held);
        let mut touched = Vec::new();
        for (name, known) in &mut self.throttles {
            // Where nothing is of them nothing changes.
            if !known.holds.values().any(live) {
                continue;
            }
            touched.push(name.clone());
            let held = known.holds.values_mut();
            held.filter(|held| live(held))
                .for_each(|held| held.state = HoldState::Missing);
        }
        touched
    }

    /// Overrides of one kind that a complete list did not show are missing. Answers the throttles
    /// that they held.
    pub fn overrides_listed(&mut self, kind: OverrideKind, listed: &[Epoch]) -> Vec<ThrottleName> {
        let missing: Vec<_> = self
            .overrides
            .iter()
            .filter(|(epoch, held)| {
                held.present
                    && OverrideKind::within(held.namespace.as_deref()) == kind
                    && !listed.contains(epoch)
            })
            .map(|(epoch, _)| epoch.clone())
            .collect();
        let missing = missing.iter();
        missing
            .flat_map(|epoch| self.override_missing(epoch))
            .collect()
    }

    /// A watch broke: what it showed last may be over, so the leader looks at every override of
    /// that kind. Answers the throttles that these hold.
    pub fn overrides_doubted(&mut self, kind: OverrideKind) -> Vec<ThrottleName> {
        self.doubt(|held| is_of(&held.hold, kind))
    }

    /// Ends a hold everywhere, for ever. Where a loop looks it goes with [`Index::let_go`].
    pub fn end(&mut self, epoch: &Epoch) -> Vec<ThrottleName> {
        self.overrides.remove(epoch);
        let mut touched = Vec::new();
        for (name, known) in &mut self.throttles {
            if known.holds.contains_key(epoch) {
                known.is_over(epoch);
                touched.push(name.clone());
            }
        }
        touched
    }

    /// An object was deleted, and the hold that it bore has ended: where another one bears the same
    /// id, that one's stays.
    pub fn end_of(&mut self, gone: &Hold) -> Vec<ThrottleName> {
        let epoch = &gone.epoch;
        if self
            .overrides
            .get(epoch)
            .is_some_and(|known| known.hold.source.is_object_of(&gone.source))
        {
            self.overrides.remove(epoch);
        }
        let bears = |known: &CachedThrottle| {
            known
                .holds
                .get(epoch)
                .is_some_and(|held| held.hold.source.is_object_of(&gone.source))
        };
        let all = self.throttles.iter_mut().filter(|(_, known)| bears(known));
        all.map(|(name, known)| {
            known.is_over(epoch);
            name.clone()
        })
        .collect()
    }

    /// Whether a hold is in force on any throttle, as far as was seen.
    pub fn holds(&self, epoch: &Epoch) -> bool {
        let held = self
            .throttles
            .values()
            .filter_map(|known| known.holds.get(epoch));
        held.into_iter().any(|held| held.state != HoldState::Over)
    }

    /// Ends a hold everywhere, for ever, by a command or as the record has it. Answers the
    /// throttles it was on.
    pub fn over(&mut self, epoch: &Epoch) -> Vec<ThrottleName> {
        self.over.add(epoch);
        self.end(epoch)
    }

    /// An object may come yet of a hold that is over: every gate is told of its end before that.
    /// Answers the throttles that did not know it.
    pub fn refuse(&mut self, epoch: &Epoch, scope: &Scope) -> Vec<ThrottleName> {
        let all = self
            .throttles
            .iter_mut()
            .filter(|(name, _)| scope.covers(name));
        all.filter_map(|(name, known)| known.know_end(epoch).then(|| name.clone()))
            .collect()
    }

    /// Whether a command ended this hold, or the record has its end.
    pub fn is_over(&self, epoch: &Epoch) -> bool {
        self.over.has(epoch)
    }

    /// Lets go of the holds of a throttle that have ended and that a pass has seen; whether there
    /// were any.
    pub fn let_go(&mut self, name: &ThrottleName) -> bool {
        let known = self.throttles.get_mut(name);
        let goes = |known: &&mut CachedThrottle| known.holds.values().any(IndexedHold::goes);
        known.filter(goes).is_some_and(|known| {
            known.let_go();
            true
        })
    }

    /// A pass of a throttle begins that goes by what is declared from now on; whether it sees a
    /// hold that has ended: the next pass lets go of it.
    pub fn show(&mut self, name: &ThrottleName) -> bool {
        let Some(known) = self.throttles.get_mut(name) else {
            return false;
        };
        if known.holds.values().any(|held| !held.shown) {
            known.holds.values_mut().for_each(|held| held.shown = true);
        }
        let mut holds = known.holds.values();
        holds.any(|held| held.state == HoldState::Over)
    }

    /// What passes have seen is remembered no more: the next one begins anew.
    pub fn forget_shown(&mut self) {
        let held = self
            .throttles
            .values_mut()
            .flat_map(|known| known.holds.values_mut());
        held.for_each(|held| held.shown = false);
    }

    /// A live look found an override that had been missed.
    pub fn found(&mut self, epoch: &Epoch) {
        if let Some(held) = self.overrides.get_mut(epoch) {
            held.present = true;
        }
        self.note(epoch, |_, state| *state = HoldState::Live);
    }

    /// Notes what was learned of a hold by a live look.
    pub fn note(&mut self, epoch: &Epoch, change: impl Fn(&mut Hold, &mut HoldState)) {
        let held = self
            .throttles
            .values_mut()
            .filter(|known| known.holds.contains_key(epoch))
            .filter_map(|known| known.holds.get_mut(epoch));
        for held in held.filter(|held| held.state != HoldState::Over) {
            change(&mut held.hold, &mut held.state);
        }
    }

    /// Every override hold with where it stands, each once.
    pub fn override_holds(&self) -> BTreeMap<Epoch, (Hold, HoldState)> {
        let all = self
            .throttles
            .values()
            .flat_map(|known| known.holds.values());
        all.filter(|held| held.is_override())
            .map(|h| (h.hold.epoch.clone(), (h.hold.clone(), h.state)))
            .collect()
    }

    /// Whether a hold is of one throttle alone, as far as is known: not where its override was
    /// never seen here, since it went before this process began.
    pub fn is_of_one(&self, epoch: &Epoch) -> bool {
        let held = self
            .throttles
            .values()
            .filter(|known| known.holds.contains_key(epoch))
            .count();
        held <= 1
            && self
                .overrides
                .get(epoch)
                .is_some_and(|seen| seen.throttle.is_some())
    }

    /// Holds of one throttle with where they stand.
    pub fn states(&self, name: &ThrottleName) -> Vec<(Hold, HoldState)> {
        let known = self.throttles.get(name);
        known
            .map(|known| {
                known
                    .holds
                    .values()
                    .map(|h| (h.hold.clone(), h.state))
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Ids of ended holds of one throttle, oldest first.
    pub fn ended(&self, name: &ThrottleName) -> Vec<Epoch> {
        self.throttles
            .get(name)
            .map(|known| known.ended.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// UID of a throttle's object.
    pub fn uid(&self, name: &ThrottleName) -> Option<String> {
        self.throttles.get(name).map(|known| known.uid.clone())
    }

    /// What a gate must do for one throttle.
    pub fn view(&self, name: &ThrottleName) -> Option<View> {
        self.throttles.get(name).map(|known| known.view(name))
    }

    /// Views of everything seen.
    pub fn views(&self) -> Vec<View> {
        self.throttles
            .iter()
            .map(|(name, known)| known.view(name))
            .collect()
    }

    /// Everything declared, for the loop; throttles that are gone are nobody's to act on.
    pub fn declared(&self) -> Vec<Arc<Declared>> {
        self.throttles
            .iter()
            .filter_map(|(name, known)| known.declared(name))
            .collect()
    }

    /// One throttle of [`Index::declared`].
    pub fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.throttles.get(name)?.declared(name)
    }
}

/// Whether a hold is an override's of this kind.
fn is_of(hold: &Hold, kind: OverrideKind) -> bool {
    matches!(&hold.source, Source::Override { namespace, .. } if OverrideKind::within(namespace.as_deref()) == kind)
}

impl IndexedThrottle {
    fn view(&self, name: &ThrottleName) -> View {
        let holds: Vec<Hold> = self
            .holds
            .values()
            .map(|held: &IndexedHold| held.hold.clone())
            .collect();
        let want = most_restrictive(self.level, self.mode, &holds);
        View {
            name: name.clone(),
            gate: self.gate_spec(),
            seen: crate::decide::follow::Seen {
                generation: self.generation,
                asked: want.level,
                killed: want.killed,
                effective: self.effective,
            },
            kills: holds.into_iter().filter(Hold::is_kill).collect(),
            ended: self.ended.iter().cloned().collect(),
        }
    }
}
