//! Bringing the gate in line with what is declared, where that is safer; what opens is the loop's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Latch, log_lines};
use crate::decide::precedence::most_restrictive;
use crate::decide::verdict::Reason;
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold};
use crate::domain::target::GateSpec;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::gate::{LevelSetting, ThrottleSnapshot};

impl Latch {
    /// Makes every declared throttle known to the gate, closes what is declared closed, and takes
    /// its kills. After a restart every level starts from what was stored, never from open. A kill
    /// that the gate did not know is told.
    pub fn restore(&self, at: Duration) {
        let wanted: Vec<_> = self
            .desired
            .declared()
            .into_iter()
            .map(|declared| Wanted::of(&declared, at))
            .collect();
        let unknown: Vec<_> = wanted
            .iter()
            .map(|one| self.holds.unknown_to_the_gate(&one.name, &one.kills))
            .collect();
        self.gate.change(|draft| {
            for Wanted {
                name,
                gate,
                stored,
                asked,
                kills,
            } in &wanted
            {
                draft.declare(name, gate, *stored);
                draft.tighten(name, *asked);
                for hold in kills {
                    draft.hold(&Scope::One(name.clone()), hold, at);
                }
            }
        });
        let mut fresh = BTreeMap::<Epoch, (Arc<Hold>, Vec<ThrottleName>)>::new();
        for (Wanted { name, .. }, unknown) in wanted.iter().zip(unknown) {
            // One that has ended meanwhile was not taken.
            let held = self.gate.kills(name);
            for hold in unknown
                .into_iter()
                .filter(|hold| held.iter().any(|held| held.epoch == hold.epoch))
            {
                fresh
                    .entry(hold.epoch.clone())
                    .or_insert_with(|| (hold, Vec::new()))
                    .1
                    .push(name.clone());
            }
        }
        fresh
            .values()
            .for_each(|(hold, throttles)| log_lines::holds(hold, throttles));
    }

    /// What the loop goes by: a throttle with the kills of this process that its gate holds and
    /// that it is not declared to have yet. What declares them may hang, and a stop waits for
    /// nothing.
    pub fn with_its_kills(&self, declared: Arc<Declared>) -> Arc<Declared> {
        let kills = self.gate.kills(&declared.name);
        // Whatever else bears its id is no kill.
        let known = |hold: &Hold| {
            declared
                .holds
                .iter()
                .any(|one| one.is_kill() && one.epoch == hold.epoch)
                || !kills.iter().any(|held| held.epoch == hold.epoch)
        };
        if kills.iter().all(&known) {
            return declared;
        }
        let own: Vec<Hold> = self
            .holds
            .lock()
            .iter()
            .map(|live| &live.held)
            .filter(|held| {
                held.hold.is_kill() && held.scope.covers(&declared.name) && !known(&held.hold)
            })
            .map(|held| held.hold.clone())
            .collect();
        if own.is_empty() {
            return declared;
        }
        let mut with = Arc::unwrap_or_clone(declared);
        with.holds.extend(own);
        Arc::new(with)
    }

    /// Shuts the gates by the kills that nobody but this process has: one of a journal they never
    /// had.
    pub fn hold_alone(&self, at: Duration) {
        let alone: Vec<ScopedHold> = self
            .holds
            .lock()
            .iter()
            .filter(|live| live.alone.is_some() && !live.ending && live.held.hold.is_kill())
            .map(|live| live.held.clone())
            .collect();
        if alone.is_empty() {
            return;
        }
        let standings = self.gate.standings();
        for ScopedHold { scope, hold } in alone {
            let lacks = |standing: &ThrottleSnapshot| {
                scope.covers(&standing.name) && !standing.holds.contains(&hold.epoch)
            };
            if standings.iter().any(lacks) {
                // One that has ended meanwhile is not taken.
                let held = self.gate.hold(&scope, &hold, at);
                if !held.is_empty() {
                    log_lines::holds(&hold, &held);
                }
            }
        }
    }
}

/// What the gate is to know of one throttle.
struct Wanted {
    name: ThrottleName,
    gate: GateSpec,
    /// Where it starts if the gate does not know it.
    stored: LevelSetting,
    /// What it is at least.
    asked: LevelSetting,
    kills: Vec<Arc<Hold>>,
}

impl Wanted {
    fn of(declared: &Declared, at: Duration) -> Self {
        let asked = most_restrictive(declared.level, declared.mode, &declared.holds);
        let setting = |level| LevelSetting {
            level,
            reason: Reason::Target,
            generation: declared.generation,
            at,
        };
        Self {
            name: declared.name.clone(),
            gate: declared.gate(),
            stored: setting(declared.stored.safer(asked.level)),
            asked: setting(asked.level),
            kills: declared
                .holds
                .iter()
                .filter(|hold| hold.is_kill())
                .map(|hold| Arc::new(hold.clone()))
                .collect(),
        }
    }
}
