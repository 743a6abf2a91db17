//! The gate of this very process as a target: a service without a cluster has one.
//!
//! In a cluster the gates are many and elsewhere; there `cluster/gates.rs` reads them back from
//! their Leases.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::decide::refusal_rate::{Counts, RefusalRate};
use crate::decide::verdict::Reason;
use crate::decide::waiting::{Measured, Window};
use crate::domain::level::Level;
use crate::domain::target::{Action, GateReadBack, ReadBack, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::gate::{Gate, LevelSetting, ThrottleSnapshot};
use crate::ports::{Clock, Target, TargetError};

/// Shortest window over which the bite is measured; a tick, so that a wake in between does not make
/// it noisy.
const WINDOW: Duration = Duration::from_secs(5);

/// The gate of this process.
pub struct LocalGate {
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    counted: Mutex<HashMap<ThrottleName, Counted>>,
    known: Mutex<HashMap<ThrottleName, KnownTightenings>>,
}

/// The newest tightening of the gates when the pass of a throttle that is under way began, and when
/// the one before it did.
#[derive(Clone, Copy, Default)]
struct KnownTightenings {
    now: u64,
    before: u64,
}

/// What was counted of one throttle.
struct Counted {
    window: Window,
    bite: Bitten,
}

/// Where the bite was last measured.
#[derive(Clone, Copy)]
struct Bitten {
    at: Duration,
    /// What the level decided: of a throttle with a key all of it, of another one what came
    /// without.
    decided: Counts,
    changes: u64,
    bite: RefusalRate,
}

impl Bitten {
    fn begin(standing: &ThrottleSnapshot, at: Duration) -> Self {
        let changes = standing.changes;
        let decided = standing
            .named
            .map_or(standing.decided, |named| named.and(standing.decided));
        Self {
            at,
            decided,
            changes,
            bite: RefusalRate::default(),
        }
    }

    fn next(&self, standing: &ThrottleSnapshot, at: Duration) -> Self {
        let now = Self::begin(standing, at);
        // What was counted under two rules proves neither.
        let bite = if self.changes == standing.changes {
            self.bite
                .next(level(standing), now.decided.beyond(self.decided))
        } else {
            RefusalRate::default()
        };
        Self { bite, ..now }
    }
}

/// The level that is in force; a kill stands above it.
fn level(standing: &ThrottleSnapshot) -> Level {
    if standing.killed() {
        Level::STOP
    } else {
        standing.level
    }
}

impl LocalGate {
    /// A target over this process's gate.
    pub fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Self {
        Self {
            gate,
            clock,
            counted: Mutex::default(),
            known: Mutex::default(),
        }
    }

    fn known(&self, throttle: &ThrottleName) -> KnownTightenings {
        let all = self.known.lock();
        all.get(throttle).copied().unwrap_or_default()
    }

    /// What was offered in the last window, and what the gate was last measured to refuse.
    fn measured(&self, standing: &ThrottleSnapshot) -> (Measured, RefusalRate) {
        let now = self.clock.elapsed();
        let mut counted = self.counted.lock();
        let begin = || Counted {
            window: Window::default(),
            bite: Bitten::begin(standing, now),
        };
        let counted = counted.entry(standing.name.clone()).or_insert_with(begin);
        counted.window.count(now, standing.offered);
        if now.saturating_sub(counted.bite.at) >= WINDOW {
            counted.bite = counted.bite.next(standing, now);
        }
        (counted.window.measured(), counted.bite.bite)
    }
}

#[async_trait]
impl Target for LocalGate {
    fn begin(&self, throttle: &ThrottleName) {
        let now = self.gate.tightenings();
        let mut all = self.known.lock();
        let known = all.entry(throttle.clone()).or_default();
        *known = KnownTightenings {
            now,
            before: known.now,
        };
    }

    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let Some(standing) = self.gate.standing(&throttle.name) else {
            return Ok(ReadBack::Absent);
        };
        let kills = throttle.holds.iter().filter(|hold| hold.is_kill());
        let obeys = kills
            .clone()
            .all(|hold| standing.holds.contains(&hold.epoch));
        let (Measured { rpm, from }, bite) = self.measured(&standing);
        Ok(ReadBack::Gate(GateReadBack {
            gates: 1,
            obeying: i32::from(obeys),
            oldest_age_s: 0,
            offered_rpm: rpm,
            measured_from: from,
            level: Some(level(&standing)),
            held: standing.held > self.known(&throttle.name).before,
            refused: bite.refused,
            // Few or uneven callers lawfully differ from the level: there the verdicts themselves
            // are worked out again.
            off: if standing.named.is_some() {
                standing.contradicts
            } else {
                bite.is_off()
            },
            callers: self.gate.callers(&throttle.name, self.clock.now()),
        }))
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::SetGate {
            level,
            reason,
            generation,
        } = action
        else {
            return Err(TargetError::Refused("a gate has no replicas".to_owned()));
        };
        let reason = reason.parse().unwrap_or(Reason::Target);
        let setting = LevelSetting {
            level: *level,
            reason,
            generation: *generation,
            at: self.clock.elapsed(),
        };
        // A pass waits for the ledger, and a command that closes does not wait for the pass.
        if self
            .gate
            .set_knowing(throttle, setting, self.known(throttle).now)
        {
            return Ok(());
        }
        Err(TargetError::Conflict(
            "tightened since this was decided".to_owned(),
        ))
    }
}
