//! What a kill's answer tells of targets: the gates of this process as they stand, other sites as
//! the loop last read them.
//!
//! A kill waits for nobody, so a site that was not read back since counts as not stopped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Latch;
use crate::domain::hold::{Epoch, Hold};
use crate::domain::remote::is_sender;
use crate::domain::target::{TargetId, TargetKind};
use crate::domain::throttle::{Declared, ThrottleName};

/// What the loop found of each throttle that is killed: the holds it knew of, and the targets that
/// obeyed them.
pub(super) type EnforcedTargets = BTreeMap<ThrottleName, (BTreeSet<Epoch>, BTreeSet<TargetId>)>;

impl Latch {
    /// What the loop found: these targets of a throttle are what they should be.
    pub fn found(&self, throttle: &Declared, agreeing: &[TargetId]) {
        let kills: BTreeSet<_> = throttle
            .holds
            .iter()
            .filter(|hold| hold.is_kill())
            .map(|h| h.epoch.clone())
            .collect();
        let mut found = self.found.lock();
        if kills.is_empty() {
            found.remove(&throttle.name);
        } else {
            found.insert(
                throttle.name.clone(),
                (kills, agreeing.iter().cloned().collect()),
            );
        }
    }

    /// What has been enforced of a kill, target by target. One that another site sent is not passed
    /// on to others.
    pub(super) fn enforced(&self, hold: &Hold, throttles: &[ThrottleName]) -> Value {
        let gate = |name: &ThrottleName| {
            let enforced = self
                .gate
                .standing(name)
                .is_some_and(|standing| standing.killed());
            json!({ "throttle": name, "target": "gate", "enforced": enforced })
        };
        let mut told: Vec<Value> = throttles.iter().map(gate).collect();
        if is_sender(&hold.operator) {
            return told.into();
        }
        let found = self.found.lock();
        for declared in throttles.iter().filter_map(|name| self.desired.find(name)) {
            let read = found
                .get(&declared.name)
                .filter(|(kills, _)| kills.contains(&hold.epoch))
                .map(|(_, targets)| targets);
            for target in declared
                .targets
                .iter()
                .filter(|target| target.kind() == TargetKind::Remote)
            {
                let id = target.id();
                let enforced = read.is_some_and(|targets| targets.contains(&id));
                told.push(json!({ "throttle": declared.name, "target": id, "enforced": enforced }));
            }
        }
        told.into()
    }
}
