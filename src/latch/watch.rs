//! The kill path of a process that watches: the gate does what `decide/follow.rs` says, at once, on
//! the event itself.
//!
//! Knows what was seen, not how it was watched.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::follow::{Seen, follow};
use crate::decide::verdict::Reason;
use crate::domain::hold::{Epoch, Hold, Scope};
use crate::domain::level::Level;
use crate::domain::target::GateSpec;
use crate::domain::throttle::ThrottleName;
use crate::gate::LevelSetting;

use super::log_lines;
use super::registry::HoldRegistry;

/// Everything a watching process sees of one throttle.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The throttle.
    pub name: ThrottleName,
    /// How it reads requests.
    pub gate: GateSpec,
    /// What it follows.
    pub seen: Seen,
    /// Kill holds in force.
    pub kills: Vec<Hold>,
    /// Holds that have ended, as the leader wrote.
    pub ended: Vec<Epoch>,
}

/// What the gate of this process obeys for one throttle.
#[derive(Clone, Debug, PartialEq)]
pub struct Obeyed {
    /// The throttle.
    pub name: ThrottleName,
    /// Kill holds in force here.
    pub kills: Vec<Epoch>,
    /// Level in force here.
    pub level: Level,
    /// Requests offered since the process started.
    pub offered: u64,
}

impl HoldRegistry {
    /// What the gate of this process obeys, for every throttle it knows.
    pub fn obeyed(&self) -> Vec<Obeyed> {
        let all = self.gate.standings().into_iter();
        all.map(|s| Obeyed {
            name: s.name,
            kills: s.holds,
            level: s.level,
            offered: s.offered,
        })
        .collect()
    }

    /// Puts the gate where a view says. Closing comes first and alone needs nothing; a hold goes
    /// only if it has ended.
    ///
    /// `holds`: whether a hold is seen to be in force on any throttle.
    pub fn follow(&self, view: &View, at: Duration, holds: &dyn Fn(&Epoch) -> bool) {
        let scope = Scope::One(view.name.clone());
        let before = self
            .gate
            .standing(&view.name)
            .map(|standing| standing.level);
        let level = follow(before, &view.seen);
        let reason = if level == Level::OPEN {
            Reason::None
        } else {
            Reason::Target
        };
        let setting = LevelSetting {
            level,
            reason,
            generation: view.seen.generation,
            at,
        };
        let kills: Vec<_> = view.kills.iter().cloned().map(Arc::new).collect();
        let (before, fresh) = (
            self.gate.kills(&view.name),
            self.unknown_to_the_gate(&view.name, &kills),
        );
        let over = || {
            view.ended
                .iter()
                .filter(|ended| !view.kills.iter().any(|hold| hold.epoch == **ended))
        };
        // Before the gate lets go of them: a kill that comes in between takes a hold of its own.
        self.forget_at(&view.name, over(), holds);
        self.gate.change(|draft| {
            draft.declare(&view.name, &view.gate, setting);
            for hold in &kills {
                draft.hold(&scope, hold, at);
            }
            draft.set(&view.name, setting);
            over().for_each(|ended| draft.release(&view.name, ended));
        });
        let held = self.gate.kills(&view.name);
        let is_held = |hold: &Hold| held.iter().any(|held| held.epoch == hold.epoch);
        for hold in fresh.iter().filter(|hold| is_held(hold)) {
            log_lines::holds(hold, std::slice::from_ref(&view.name));
        }
        for hold in before.iter().filter(|hold| !is_held(hold)) {
            log_lines::gone(hold, &view.name);
        }
    }
}
