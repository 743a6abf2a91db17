//! The gate of this very process as a target: a service without a cluster has one.
//!
//! In a cluster the gates are many and elsewhere; there `cluster/gates.rs` reads them back from their Leases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::decide::bite::{Bite, Counts};
use crate::decide::verdict::Reason;
use crate::domain::level::Level;
use crate::domain::plan::{Action, GateReadBack, ReadBack};
use crate::domain::throttle::{Declared, TargetSpec, ThrottleName};
use crate::gate::{Gate, Setting, Standing};
use crate::ports::{Clock, Target, TargetError};

/// Shortest window over which a rate is measured; a tick, so that a wake in between does not make it noisy.
const WINDOW: Duration = Duration::from_secs(5);

/// The gate of this process.
pub struct LocalGate {
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    rates: Mutex<HashMap<ThrottleName, Rate>>,
}

/// Where rates were last measured.
#[derive(Clone, Copy)]
struct Rate {
    at: Duration,
    offered: u64,
    rpm: f64,
    /// What the level decided: of a throttle with a key all of it, of another one what came without.
    decided: Counts,
    changes: u64,
    bite: Bite,
}

impl Rate {
    fn begin(standing: &Standing, at: Duration) -> Self {
        let Standing { offered, changes, .. } = *standing;
        let decided = standing.named.map_or(standing.decided, |named| named.and(standing.decided));
        Self { at, offered, rpm: 0.0, decided, changes, bite: Bite::default() }
    }

    fn next(&self, standing: &Standing, at: Duration, elapsed: Duration) -> Self {
        let more = u32::try_from(standing.offered.saturating_sub(self.offered)).unwrap_or(u32::MAX);
        let now = Self::begin(standing, at);
        let level = if standing.killed() { Level::STOP } else { standing.level };
        // What was counted under two rules proves neither.
        let bite = if self.changes == standing.changes {
            self.bite.next(level, now.decided.beyond(self.decided))
        } else {
            Bite::default()
        };
        Self { rpm: f64::from(more) * 60.0 / elapsed.as_secs_f64(), bite, ..now }
    }
}

impl LocalGate {
    /// A target over this process's gate.
    pub fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Self {
        Self { gate, clock, rates: Mutex::new(HashMap::new()) }
    }

    /// What the last window of at least five seconds came to.
    fn measured(&self, standing: &Standing) -> Rate {
        let now = self.clock.elapsed();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.entry(standing.name.clone()).or_insert_with(|| Rate::begin(standing, now));
        let elapsed = now.saturating_sub(rate.at);
        if elapsed >= WINDOW {
            *rate = rate.next(standing, now, elapsed);
        }
        *rate
    }
}

#[async_trait]
impl Target for LocalGate {
    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let Some(standing) = self.gate.standing(&throttle.name) else { return Ok(ReadBack::Absent) };
        let kills = throttle.holds.iter().filter(|hold| hold.is_kill());
        let obeys = kills.clone().all(|hold| standing.holds.contains(&hold.epoch));
        let Rate { rpm, bite, .. } = self.measured(&standing);
        Ok(ReadBack::Gate(GateReadBack {
            gates: 1,
            obeying: i32::from(obeys),
            oldest_age_s: 0,
            offered_rpm: rpm,
            refused: bite.refused,
            // Few or uneven callers lawfully differ from the level: there the verdicts themselves are worked out again.
            off: if standing.named.is_some() { standing.contradicts } else { bite.is_off() },
            callers: self.gate.callers(&throttle.name, self.clock.now()),
        }))
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::SetGate { level, reason, generation } = action else {
            return Err(TargetError::Refused("a gate has no replicas".to_owned()));
        };
        let reason = Reason::from_word(reason).unwrap_or(Reason::Target);
        self.gate.set(throttle, Setting { level: *level, reason, generation: *generation, at: self.clock.elapsed() });
        Ok(())
    }
}
