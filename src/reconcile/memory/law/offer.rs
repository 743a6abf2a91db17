//! What the gates of one throttle were offered, and since when it is measured what waits.
//!
//! Plain bookkeeping; what may be waiting is decided in `decide`.

use std::time::Duration;

use crate::decide::waiting::{FIRST_WINDOW, Measured, WINDOW, Waiting, waiting};
use crate::domain::level::Level;
use crate::domain::offered::{Offered, SLOT_SECONDS};

/// How long one of the maxima lasts that an hour's rates are kept as.
const SLOT: Duration = Duration::from_secs(SLOT_SECONDS);
/// A look comes so much after a window is whole, so that it is.
const AFTER: Duration = Duration::from_millis(20);

/// What was offered.
pub(in crate::reconcile) struct OfferMemory {
    rates: Offered,
    /// When the newest five minutes of it began.
    slot_at: Duration,
    /// What the gates said last; none where no gate is.
    measured: Option<Measured>,
    /// When we began to look, and when the last stop was, if that was later.
    began: Duration,
    stopped: Duration,
}

impl OfferMemory {
    pub(super) fn new(rates: Offered, now: Duration) -> Self {
        Self {
            rates,
            slot_at: now,
            measured: None,
            began: now,
            stopped: now,
        }
    }

    /// The rates of the last hour, and of a stop that is not over.
    pub(in crate::reconcile) fn rates(&self) -> &Offered {
        &self.rates
    }

    /// Requests a minute in the last window.
    pub(super) fn rpm(&self) -> f64 {
        self.measured.map_or(0.0, |measured| measured.rpm)
    }

    /// Takes note of what the gates measured.
    pub(super) fn measured(&mut self, measured: Option<Measured>, now: Duration) {
        while now.saturating_sub(self.slot_at) >= SLOT {
            self.slot_at += SLOT;
            self.rates.turn(1);
        }
        self.measured = measured;
        if let Some(measured) = measured {
            self.rates.note(measured.rpm);
        }
    }

    /// The level moves; what was asked for may be why.
    pub(super) fn moves(&mut self, from: Level, to: Level, asked: Level, now: Duration) {
        self.rates = self.rates.moved(from, to, asked);
        if Offered::stops_anew(from, to, asked) {
            self.stopped = now;
        }
    }

    /// The gates were stopped behind the loop's back, at this level or from one as high.
    pub(super) fn stopped(&mut self, from: Level, at: Level, now: Duration) {
        self.moves(from, at, at, now);
        self.stopped = now;
    }

    pub(super) fn waiting(&self, now: Duration) -> Waiting {
        waiting(&self.rates, self.measured, self.stopped, now)
    }

    /// How long until it is known what waits, if that is not known yet and will be.
    pub(in crate::reconcile) fn known_in(&self, now: Duration) -> Option<Duration> {
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
}
