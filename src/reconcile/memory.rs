//! What the loop remembers of one throttle between passes: time, credit, rates and open drifts.
//!
//! Plain bookkeeping: decides nothing and waits for nothing.

mod corrections;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::decide::damping::{Damping, Patience};
use crate::decide::law::Credit;
use crate::decide::plan::Planned;
use crate::decide::precedence::Restriction;
use crate::decide::step::Situation;
use crate::decide::verdict::Reason;
use crate::decide::waiting::{FIRST_WINDOW, Measured, WINDOW, Waiting, waiting};
use crate::domain::drift::Drift;
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::observation::Signals;
use crate::domain::offered::{Offered, SLOT_SECONDS};
use crate::domain::remote::RemoteSent;
use crate::domain::throttle::{Declared, Mode};

use super::Pass;

use corrections::OrderKind;

/// The control law's tick, a little short, so that a ticker that is early by a hair does not lose
/// one.
const TICK: Duration = Duration::from_millis(4_900);
/// How long one of the maxima lasts that an hour's rates are kept as.
const SLOT: Duration = Duration::from_secs(SLOT_SECONDS);
/// A look comes so much after a window is whole, so that it is.
const AFTER: Duration = Duration::from_millis(20);

/// One throttle between passes.
pub(super) struct Memory {
    /// The level in force.
    pub(super) level: Level,
    /// Whether an episode of automatic shedding is under way, when it began, and the highest level
    /// it came to.
    pub(super) shedding: bool,
    pub(super) shed_since: Timestamp,
    pub(super) shed_most: Level,
    /// Whether a kill was in force in the last pass.
    killed: bool,
    /// What decided the level in force.
    pub(super) reason: Reason,
    /// When the tick under way began, and the lowest level since.
    tick_at: Option<Duration>,
    tick_level: Level,
    credit: Credit,
    credit_at: Duration,
    stepped_at: Duration,
    /// What was offered, and when its newest five minutes began.
    pub(super) offered: Offered,
    slot_at: Duration,
    /// What the gates said last; none where no gate is.
    measured: Option<Measured>,
    /// When we began to look, and when the last stop was, if that was later.
    began: Duration,
    stopped: Duration,
    /// What the ledger has; none while that is not known.
    recorded: Option<Recorded>,
    /// What it was last known to have of the offer.
    kept: Option<Offered>,
    remembered: BTreeMap<String, i64>,
    acknowledged: BTreeMap<String, i64>,
    sent: BTreeMap<String, RemoteSent>,
    drifts: BTreeMap<String, Drift>,
    damping: BTreeMap<String, Damping>,
    /// The last order of each other site that has not been seen to obey it.
    patience: BTreeMap<String, (OrderKind, Patience)>,
    /// Other sites that could not be read in the last pass.
    silent: BTreeSet<String>,
    /// Why other sites that answer do not obey, as they said when they were last told.
    refusals: BTreeMap<String, String>,
    /// Whether a correction of this pass waits.
    pub(super) damped: bool,
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
        Self {
            level: throttle.stored,
            shedding: false,
            shed_since: now.wall,
            shed_most: Level::OPEN,
            killed: false,
            reason: Reason::None,
            tick_at: None,
            tick_level: throttle.stored,
            credit: Credit::FULL,
            credit_at: now.elapsed,
            stepped_at: now.elapsed,
            offered: throttle.offered.clone().unwrap_or_else(Offered::unknown),
            slot_at: now.elapsed,
            measured: None,
            began: now.elapsed,
            stopped: now.elapsed,
            recorded: None, // the first pass records the state
            kept: None,
            remembered: throttle.remembered.clone(),
            acknowledged: throttle.acknowledged.clone(),
            sent: throttle.sent.clone(),
            drifts: BTreeMap::new(),
            damping: BTreeMap::new(),
            patience: BTreeMap::new(),
            silent: BTreeSet::new(),
            refusals: BTreeMap::new(),
            damped: false,
        }
    }

    /// Takes note of what the gates were found at: the level a command left them at, whether a kill
    /// began since the last pass, and what they were offered.
    pub(super) fn found(
        &mut self,
        level: Option<Level>,
        held: bool,
        measured: Option<Measured>,
        now: Duration,
    ) {
        while now.saturating_sub(self.slot_at) >= SLOT {
            self.slot_at += SLOT;
            self.offered.turn(1);
        }
        self.measured = measured;
        if let Some(measured) = measured {
            self.offered.note(measured.rpm);
        }
        // A command closes the gate by itself, and may be over before we look: it was a stop all
        // the same. What is new was shut until it was recorded, and nobody can have come: that is
        // none.
        let is_new = self.kept.is_none() && self.offered == Offered::new_throttle();
        let shut = if held {
            Some(Level::STOP)
        } else {
            level.filter(|level| *level > self.level && !is_new)
        };
        if let Some(level) = shut {
            self.moves(level, level, now);
            (self.level, self.stopped) = (level, now);
            self.earns_from(now);
        }
    }

    /// Time under a kill earns nothing: neither what was under this one, if there is one, nor what
    /// was since the last pass, if there was one then. What had been earned before stays.
    pub(super) fn spare(&mut self, killed: bool, now: Duration) {
        if killed || self.killed {
            self.earns_from(now);
        }
        self.killed = killed;
    }

    /// Whether a kill was in force in the last pass.
    pub(super) fn is_killed(&self) -> bool {
        self.killed
    }

    /// What was earned up to the last pass is kept, and more is earned from now on.
    fn earns_from(&mut self, now: Duration) {
        self.credit = self
            .credit
            .grown(self.stepped_at.saturating_sub(self.credit_at).as_secs_f64());
        (self.credit_at, self.stepped_at) = (now, now);
    }

    /// The level moves; what was asked for may be why.
    fn moves(&mut self, to: Level, asked: Level, now: Duration) {
        self.offered = self.offered.moved(self.level, to, asked);
        if Offered::stops_anew(self.level, to, asked) {
            self.stopped = now;
        }
    }

    fn waiting(&self, now: Duration) -> Waiting {
        waiting(&self.offered, self.measured, self.stopped, now)
    }

    /// How long until it is known what waits, if that is not known yet and will be.
    pub(super) fn known_in(&self, now: Duration) -> Option<Duration> {
        let windows = if self.stopped == self.began {
            &[FIRST_WINDOW, WINDOW][..]
        } else {
            &[WINDOW]
        };
        let left = windows
            .iter()
            .map(|window| (self.stopped + *window + AFTER).saturating_sub(now));
        let left = left.filter(|left| *left > Duration::ZERO).min();
        left.filter(|_| self.waiting(now) == Waiting::Unmeasured)
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

    /// How things stand by each source that was heard lately; by none of them if none was.
    pub(super) fn situations(
        &self,
        throttle: &Declared,
        want: &Restriction,
        now: Duration,
    ) -> Vec<Situation> {
        // One that only observes sheds nothing, so nobody is asked.
        let all = if throttle.mode == Mode::Observe {
            &[]
        } else {
            throttle.evidence.as_slice()
        };
        let fresh = all.iter().filter(|one| one.is_fresh(now));
        let heard: Vec<_> = fresh.map(|evidence| Some(evidence.signals)).collect();
        let heard = if heard.is_empty() { vec![None] } else { heard };
        heard
            .into_iter()
            .map(|signals| self.situation(throttle, want, signals, now))
            .collect()
    }

    fn situation(
        &self,
        throttle: &Declared,
        want: &Restriction,
        signals: Option<Signals>,
        now: Duration,
    ) -> Situation {
        Situation {
            asked: want.level,
            killed: want.killed,
            current: self.level,
            tick_level: if self.tick_is_over(now) {
                self.level
            } else {
                self.tick_level
            },
            signals,
            source_declared: throttle.signals.source.is_some() && throttle.mode == Mode::Enforce,
            offered_rpm: self.measured.map_or(0.0, |measured| measured.rpm),
            waiting: self.waiting(now),
            credit: self.credit,
            credit_age_s: now.saturating_sub(self.credit_at).as_secs_f64(),
            elapsed_s: now.saturating_sub(self.stepped_at).as_secs_f64(),
            ramp_percent_per_second: throttle.ramp_percent_per_second,
        }
    }

    fn tick_is_over(&self, now: Duration) -> bool {
        self.tick_at
            .is_none_or(|began| now.saturating_sub(began) >= TICK)
    }

    /// The declaration with what we remember, which is newer than what it was read with.
    pub(super) fn recall(&self, throttle: &Declared) -> Declared {
        let mut known = throttle.clone();
        known.remembered.clone_from(&self.remembered);
        known.acknowledged.clone_from(&self.acknowledged);
        known.sent.clone_from(&self.sent);
        known
    }

    pub(super) fn keep(&mut self, planned: &Planned, pass: &Pass<'_>) {
        let Pass {
            want, next, now, ..
        } = *pass;
        self.moves(planned.effective, want.level, now.elapsed);
        if next.shedding && !self.shedding {
            (self.shed_since, self.shed_most) = (now.wall, Level::OPEN);
        }
        if next.shedding {
            self.shed_most = self.shed_most.safer(planned.effective);
        }
        // A tick's closing is measured from the most open that it saw.
        if self.tick_is_over(now.elapsed) {
            (self.tick_at, self.tick_level) = (Some(now.elapsed), self.level);
        }
        self.level = planned.effective;
        self.tick_level = self.tick_level.min(self.level);
        (self.shedding, self.reason) = (next.shedding, next.reason);
        if let Some(credit) = next.credit {
            (self.credit, self.credit_at) = (credit, now.elapsed);
        }
        self.stepped_at = now.elapsed;
        self.remembered.clone_from(&planned.remembered);
        self.acknowledged.clone_from(&planned.acknowledged);
        self.sent.clone_from(&planned.sent);
    }
}

/// A new id that sorts by time.
pub(super) fn new_id(now: Timestamp) -> String {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    ulid::Ulid::from_parts(millis, rand::random()).to_string()
}
