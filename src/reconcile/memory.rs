//! What the loop remembers of one throttle between passes: what the control law goes by, the book
//! of differences, its manners toward other sites, and what it asked of targets.
//!
//! Plain bookkeeping: decides nothing and waits for nothing.

mod drifts;
mod law;
mod sites;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::decide::outcome::PlanOutcome;
use crate::decide::plan::Planned;
use crate::decide::step::NextLevel;
use crate::decide::targets;
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::offered::Offered;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::{Action, TargetId, TargetMemory};
use crate::domain::throttle::Declared;

use super::gather::{self, Read};

use drifts::DriftBook;
pub(super) use law::LawMemory;
use sites::SiteManners;

/// One throttle between passes.
pub(super) struct Memory {
    /// What the control law goes by.
    pub(super) law: LawMemory,
    /// Differences.
    pub(super) drifts: DriftBook,
    /// What other sites were told and do not obey.
    pub(super) sites: SiteManners,
    /// What was done to targets: newer than what a declaration was read with.
    pub(super) targets: BTreeMap<TargetId, TargetMemory>,
    /// What the ledger has; none while that is not known.
    recorded: Option<Recorded>,
    /// What it was last known to have of the offer.
    kept: Option<Offered>,
}

/// The state of a throttle as the ledger has it, apart from what is in force.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Recorded {
    pub(super) effective: Level,
    pub(super) asked: Level,
    pub(super) generation: i64,
}

impl Memory {
    pub(super) fn new(throttle: &Declared, now: Moment) -> Self {
        let rates = throttle.offered.clone();
        Self {
            law: LawMemory::new(
                throttle.stored,
                rates.unwrap_or_else(Offered::unknown),
                now.elapsed,
            ),
            drifts: DriftBook::default(),
            sites: SiteManners::default(),
            targets: throttle.memory.clone(),
            recorded: None, // the first pass records the state
            kept: None,
        }
    }

    /// Takes note of what the targets were found to be.
    pub(super) fn found(&mut self, reads: &[Read], now: Duration) {
        let found = law::FoundGates {
            level: gather::level(reads),
            held: gather::held(reads),
            measured: gather::measured(reads),
            // What the ledger never had of it was shut until then.
            unrecorded: self.kept.is_none(),
        };
        self.law.found(found, now);
        self.sites.heard(reads);
    }

    /// Whether the ledger lacks this.
    pub(super) fn lacks(&self, state: Recorded, offered: &Offered) -> bool {
        self.recorded != Some(state)
            || self
                .kept
                .as_ref()
                .is_none_or(|kept| offered.says_more_than(kept))
    }

    /// The ledger has this.
    pub(super) fn recorded(&mut self, state: Recorded, offered: Offered) {
        (self.recorded, self.kept) = (Some(state), Some(offered));
    }

    /// The ledger may have something else by now.
    pub(super) fn doubts(&mut self) {
        self.recorded = None;
    }

    /// Takes note of what a pass planned, and of what became of it.
    pub(super) fn keep(
        &mut self,
        (planned, outcome): (&Planned, &PlanOutcome),
        asked: Level,
        next: NextLevel,
        now: Moment,
    ) {
        self.law.keep(outcome.effective, asked, next, now);
        self.drifts.keep(planned, outcome, now.elapsed);
        self.sites.keep(planned, outcome, now.elapsed);
        self.targets.clone_from(&outcome.memory);
    }

    /// Takes note of a step that its pass did not wait for, and that has ended.
    pub(super) fn ended(&mut self, step: &Step, done: &StepOutcome) {
        let target = step.action.target();
        let memory = self.targets.remove(&target);
        if let Some(memory) = targets::remembered(&step.action, done, memory) {
            self.targets.insert(target.clone(), memory);
        }
        if let Action::Remote { .. } = &step.action {
            self.sites.answered(&target, done);
        }
    }
}

/// A new id that sorts by time.
pub(super) fn new_id(now: Timestamp) -> String {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    ulid::Ulid::from_parts(millis, rand::random()).to_string()
}
