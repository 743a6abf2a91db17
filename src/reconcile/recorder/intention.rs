//! What a pass is about to do for one throttle, as the ledger is told before anything opens.
//!
//! Tells nobody itself; whether the ledger took it is not known here.

use super::words::reason_of;
use crate::decide::outcome::intended_level;
use crate::decide::targets;
use crate::domain::audit::{AuditAction, AuditDraft, Change, IntentId, ThrottleRow};
use crate::domain::drift::Side;
use crate::domain::level::Level;
use crate::domain::offered::Offered;
use crate::domain::plan::StepOutcome;
use crate::reconcile::memory::{Recorded, new_id};
use crate::reconcile::started::{Intent, StartedPass};

/// What a pass is about to do for one throttle, as the ledger is told.
pub(super) struct Intention {
    once: String,
    row: Option<ThrottleRow>,
    asked: Level,
    shed: Option<AuditDraft>,
    steps: Vec<(usize, Side, IntentId, AuditDraft)>,
}

impl Intention {
    pub(super) fn of(begun: &StartedPass) -> Self {
        let StartedPass {
            throttle,
            want,
            next,
            planned,
            memory,
            done,
            ..
        } = begun;
        let now = begun.now.wall;
        let law = &memory.law;
        let effective = intended_level(planned, done, law.level);
        let offered = law.offer.rates().moved(law.level, effective, want.level);
        let state = Recorded {
            effective,
            asked: want.level,
            generation: throttle.generation,
        };
        let row = memory.lacks(state, &offered).then(|| ThrottleRow {
            name: throttle.name.clone(),
            declared: throttle.level,
            effective,
            generation: throttle.generation,
            owner: throttle.owner,
            spec: None,
            offered: Some(offered),
        });
        let shed = (next.shedding != law.shed.is_some()).then(|| {
            let action = if next.shedding {
                AuditAction::ShedStart
            } else {
                AuditAction::ShedEnd
            };
            let mut entry = AuditDraft::own(now, action).on(throttle.name.as_str());
            entry.before = law.level.to_string();
            entry.after = effective.to_string();
            entry.binding_signal = next.reason.as_str().to_owned();
            if let Some(shed) = law.shed {
                entry.reason = format!("refused up to {} since {}", shed.most, shed.since);
            }
            entry
        });
        let steps = planned
            .plan
            .steps
            .iter()
            .zip(done)
            .enumerate()
            .filter(|(_, (_, done))| !matches!(done, Some(StepOutcome::Refused(_))))
            .filter_map(|(index, (step, _))| {
                let told = targets::words(&step.action)?;
                let id = IntentId(new_id(now));
                let mut entry = AuditDraft::own(now, told.intent).on(throttle.name.as_str());
                (entry.before, entry.after) = (told.before, told.after);
                entry.reason = reason_of(step, want);
                entry.request_id.clone_from(&id.0);
                Some((index, step.side, id, entry))
            });
        Self {
            once: new_id(now),
            row,
            asked: want.level,
            shed,
            steps: steps.collect(),
        }
    }

    /// It as a change, with the steps of these sides.
    pub(super) fn change(&self, of: impl Fn(Side) -> bool) -> Change {
        let steps = || self.steps.iter().filter(|(_, side, ..)| of(*side));
        let audit: Vec<_> = self
            .shed
            .iter()
            .chain(steps().map(|(.., entry)| entry))
            .cloned()
            .collect();
        Change {
            // The state alone may be told twice.
            once: (!audit.is_empty()).then(|| self.once.clone()),
            throttles: self.row.iter().cloned().collect(),
            opens: steps().map(|(_, _, id, _)| id.clone()).collect(),
            audit,
            ..Change::default()
        }
    }

    pub(super) fn intents(&self, of: impl Fn(Side) -> bool) -> Vec<Intent> {
        let steps = self.steps.iter().filter(|(_, side, ..)| of(*side));
        steps
            .map(|(index, _, id, _)| (*index, id.clone()))
            .collect()
    }

    /// The state that the ledger has from it.
    pub(super) fn state(&self) -> Option<(Recorded, Offered)> {
        let row = self.row.as_ref()?;
        let state = Recorded {
            effective: row.effective,
            asked: self.asked,
            generation: row.generation,
        };
        Some((state, row.offered.clone()?))
    }
}
