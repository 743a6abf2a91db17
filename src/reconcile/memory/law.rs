//! What the control law goes by from pass to pass: the level in force, credit, the tick under way,
//! and what was offered.
//!
//! Plain bookkeeping: knows no target, no ledger and no clock; moments are arguments.

mod offer;
mod situation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::decide::law::Credit;
use crate::decide::step::NextLevel;
use crate::decide::verdict::Reason;
use crate::decide::waiting::Measured;
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::offered::Offered;

use offer::OfferMemory;

/// The control law's tick, a little short, so that a ticker that is early by a hair does not lose
/// one.
const TICK: Duration = Duration::from_millis(4_900);

/// What the law goes by.
pub(in crate::reconcile) struct LawMemory {
    /// The level in force.
    pub(in crate::reconcile) level: Level,
    /// What decided it.
    pub(in crate::reconcile) reason: Reason,
    /// The episode of automatic shedding that is under way.
    pub(in crate::reconcile) shed: Option<ShedEpisode>,
    /// What was offered.
    pub(in crate::reconcile) offer: OfferMemory,
    /// Whether a kill was in force in the last pass.
    pub(in crate::reconcile) killed: bool,
    /// When the tick under way began, and the lowest level since.
    tick_at: Option<Duration>,
    tick_level: Level,
    credit: Credit,
    credit_at: Duration,
    stepped_at: Duration,
}

/// Automatic shedding from its begin on.
#[derive(Clone, Copy)]
pub(in crate::reconcile) struct ShedEpisode {
    pub(in crate::reconcile) since: Timestamp,
    /// The highest level it came to.
    pub(in crate::reconcile) most: Level,
}

/// What the gates were found at.
pub(in crate::reconcile) struct FoundGates {
    /// The level a command left them at.
    pub(in crate::reconcile) level: Option<Level>,
    /// Whether a kill began since the last pass.
    pub(in crate::reconcile) held: bool,
    /// What they were offered.
    pub(in crate::reconcile) measured: Option<Measured>,
    /// Whether the ledger was never known to have anything of the throttle.
    pub(in crate::reconcile) unrecorded: bool,
}

impl LawMemory {
    pub(in crate::reconcile) fn new(level: Level, rates: Offered, now: Duration) -> Self {
        Self {
            level,
            reason: Reason::None,
            shed: None,
            offer: OfferMemory::new(rates, now),
            killed: false,
            tick_at: None,
            tick_level: level,
            credit: Credit::FULL,
            credit_at: now,
            stepped_at: now,
        }
    }

    /// Takes note of what the gates were found at.
    pub(in crate::reconcile) fn found(&mut self, found: FoundGates, now: Duration) {
        self.offer.measured(found.measured, now);
        // A command closes the gate by itself, and may be over before we look: a stop all the
        // same. What is new was shut until it was recorded, and nobody can have come: that is none.
        let is_new = found.unrecorded && *self.offer.rates() == Offered::new_throttle();
        let shut = if found.held {
            Some(Level::STOP)
        } else {
            found.level.filter(|level| *level > self.level && !is_new)
        };
        if let Some(level) = shut {
            self.offer.stopped(self.level, level, now);
            self.level = level;
            self.earns_from(now);
        }
    }

    /// Time under a kill earns nothing: neither what was under this one, if there is one, nor what
    /// was since the last pass, if there was one then. What had been earned before stays.
    pub(in crate::reconcile) fn spare(&mut self, killed: bool, now: Duration) {
        if killed || self.killed {
            self.earns_from(now);
        }
        self.killed = killed;
    }

    /// What was earned up to the last pass is kept, and more is earned from now on.
    fn earns_from(&mut self, now: Duration) {
        let earned = self.stepped_at.saturating_sub(self.credit_at);
        self.credit = self.credit.grown(earned.as_secs_f64());
        (self.credit_at, self.stepped_at) = (now, now);
    }

    /// How long until the law's tick is over.
    pub(in crate::reconcile) fn tick_in(&self, now: Duration) -> Option<Duration> {
        let began = self.tick_at?;
        Some((began + TICK).saturating_sub(now))
    }

    fn tick_is_over(&self, now: Duration) -> bool {
        self.tick_at
            .is_none_or(|began| now.saturating_sub(began) >= TICK)
    }

    /// Takes note of the level that a pass left in force, of what was asked and of what decided it.
    pub(in crate::reconcile) fn keep(
        &mut self,
        effective: Level,
        asked: Level,
        next: NextLevel,
        now: Moment,
    ) {
        self.offer.moves(self.level, effective, asked, now.elapsed);
        self.shed = next.shedding.then(|| ShedEpisode {
            since: self.shed.map_or(now.wall, |shed| shed.since),
            most: self
                .shed
                .map_or(effective, |shed| shed.most.safer(effective)),
        });
        // A tick's closing is measured from the most open that it saw.
        if self.tick_is_over(now.elapsed) {
            (self.tick_at, self.tick_level) = (Some(now.elapsed), self.level);
        }
        (self.level, self.reason) = (effective, next.reason);
        self.tick_level = self.tick_level.min(self.level);
        if let Some(credit) = next.credit {
            (self.credit, self.credit_at) = (credit, now.elapsed);
        }
        self.stepped_at = now.elapsed;
    }
}
