//! The gate of this very process as a target: a service without a cluster has one.
//!
//! In a cluster the gates are many and elsewhere; there `cluster/gates.rs` reads them back from their Leases.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::decide::verdict::Reason;
use crate::domain::plan::{Action, GateReadBack, ReadBack};
use crate::domain::throttle::{Declared, TargetSpec, ThrottleName};
use crate::gate::{Gate, Setting};
use crate::ports::{Clock, Target, TargetError};

/// Shortest window over which a rate is measured; a tick, so that a wake in between does not make it noisy.
const WINDOW: SignedDuration = SignedDuration::from_secs(5);

/// The gate of this process.
pub struct LocalGate {
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    rates: Mutex<HashMap<ThrottleName, Rate>>,
}

/// Where a rate was last measured.
#[derive(Clone, Copy)]
struct Rate {
    at: Timestamp,
    offered: u64,
    rpm: f64,
}

impl LocalGate {
    /// A target over this process's gate.
    pub fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Self {
        Self { gate, clock, rates: Mutex::new(HashMap::new()) }
    }

    /// Requests a minute that were offered in the last window of at least five seconds.
    fn rpm(&self, name: &ThrottleName, offered: u64) -> f64 {
        let now = self.clock.now();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.entry(name.clone()).or_insert(Rate { at: now, offered, rpm: 0.0 });
        let elapsed = now.duration_since(rate.at);
        if elapsed >= WINDOW {
            let more = u32::try_from(offered.saturating_sub(rate.offered)).unwrap_or(u32::MAX);
            *rate = Rate { at: now, offered, rpm: f64::from(more) * 60.0 / elapsed.as_secs_f64() };
        }
        rate.rpm
    }
}

#[async_trait]
impl Target for LocalGate {
    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let Some(standing) = self.gate.standing(&throttle.name) else { return Ok(ReadBack::Absent) };
        let kills = throttle.holds.iter().filter(|hold| hold.is_kill());
        let obeys = kills.clone().all(|hold| standing.holds.contains(&hold.epoch));
        let offered_rpm = self.rpm(&throttle.name, standing.offered);
        Ok(ReadBack::Gate(GateReadBack { gates: 1, obeying: i32::from(obeys), oldest_age_s: 0, offered_rpm }))
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::SetGate { level, reason, generation } = action else {
            return Err(TargetError::Refused("a gate has no replicas".to_owned()));
        };
        let reason = Reason::from_word(reason).unwrap_or(Reason::Target);
        self.gate.set(throttle, Setting { level: *level, reason, generation: *generation, at: self.clock.now() });
        Ok(())
    }
}
