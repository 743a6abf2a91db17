//! From what is remembered to what the control law is asked.
//!
//! Changes nothing.

use std::time::Duration;

use super::LawMemory;
use crate::decide::precedence::Restriction;
use crate::decide::step::Situation;
use crate::domain::observation::Signals;
use crate::domain::throttle::{Declared, Mode};

impl LawMemory {
    /// How things stand by each source that was heard lately; by none of them if none was.
    pub(in crate::reconcile) fn situations(
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
            offered_rpm: self.offer.rpm(),
            waiting: self.offer.waiting(now),
            credit: self.credit,
            credit_age_s: now.saturating_sub(self.credit_at).as_secs_f64(),
            elapsed_s: now.saturating_sub(self.stepped_at).as_secs_f64(),
            ramp_percent_per_second: throttle.ramp_percent_per_second,
        }
    }
}
