//! How a level opens: by what was earned since the last stop or step, wherever requests come all
//! the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::{Action, ReadBack, TargetSpec};
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::gate::Gate;
use echo_phoenix::ports::{Clock, Target, TargetError};
use echo_phoenix::targets::gate::LocalGate;

use crate::seen::{Rare, sometimes};

/// What a second earns, of the whole dial: 2 %.
const EARNED: f64 = 0.02;
/// How much later a step may be done than it was decided: the ledger is waited for.
const LATE: f64 = 5.0;
/// Passes that may begin at one moment: whoever commands wakes the loop, and so does what was
/// written.
const AT_ONCE: u64 = 500;
/// What rounding may give.
const HAIR: f64 = 1e-6;

/// What was seen of each throttle.
pub(crate) struct Ramp {
    busy: bool,
    pub(crate) gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    throttles: BTreeMap<ThrottleName, Last>,
    passes: u64,
    /// When the last pass began, and how many did at that moment.
    at: Duration,
    at_once: u64,
    wrong: Vec<String>,
}

struct Last {
    level: Level,
    killed: bool,
    /// When it last closed or a kill ended, and the level since.
    stopped: (Duration, Level),
    /// When it last moved.
    moved: Duration,
    /// The pass in which it was killed.
    pass: u64,
}

impl Ramp {
    pub(crate) fn new(busy: bool, gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Self {
        let ramp = Self {
            busy,
            gate,
            clock,
            seen: Mutex::default(),
        };
        ramp.look();
        ramp
    }

    /// Takes note of what is in force.
    pub(crate) fn look(&self) {
        let now = self.clock.elapsed();
        let mut seen = self.lock();
        let Seen {
            throttles,
            passes,
            wrong,
            ..
        } = &mut *seen;
        for standing in self.gate.standings() {
            let killed = standing.killed();
            let (level, pass) = (standing.level, *passes);
            let begin = || Last {
                level,
                killed,
                stopped: (now, level),
                moved: now,
                pass,
            };
            let last = throttles.entry(standing.name.clone()).or_insert_with(begin);
            if killed && !last.killed {
                last.pass = *passes;
            }
            if !killed && last.killed && last.pass == *passes {
                sometimes(Rare::KilledAndRevivedInAPass);
            }
            if killed || last.killed || level > last.level {
                (last.stopped, last.moved) = ((now, level), now);
            } else if level < last.level {
                let earned = |since: Duration, late: f64| {
                    (now.saturating_sub(since).as_secs_f64() + late) * EARNED
                };
                let (step, all) = (
                    last.level.fraction() - level.fraction(),
                    last.stopped.1.fraction() - level.fraction(),
                );
                let (by_step, by_all) = (earned(last.moved, LATE), earned(last.stopped.0, 0.0));
                let too_far = step > by_step + HAIR || all > by_all + HAIR;
                if self.busy && too_far {
                    let name = &standing.name;
                    wrong.push(format!(
                        "{name} opens by {step:.3} of at most {by_step:.3}, since its stop by {all:.3} of {by_all:.3}"
                    ));
                }
                sometimes(if too_far {
                    Rare::OpenedAtOnce
                } else {
                    Rare::OpenedByRamp
                });
                last.moved = now;
            }
            (last.level, last.killed) = (level, killed);
        }
    }

    /// A pass of the loop begins. One that runs without a pause would keep time from going on, and
    /// is ended.
    fn begins(&self) {
        let now = self.clock.elapsed();
        let mut seen = self.lock();
        seen.passes += 1;
        seen.at_once = if seen.at == now { seen.at_once + 1 } else { 0 };
        seen.at = now;
        if seen.at_once > AT_ONCE {
            seen.wrong
                .push(format!("the loop makes {AT_ONCE} passes without a pause"));
            drop(seen);
            panic!("the loop does not pause");
        }
    }

    /// What has opened as it must not.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.lock().wrong.first().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gate as the loop's target, looked at before and after each step.
pub(crate) struct Watched {
    pub(crate) target: LocalGate,
    pub(crate) ramp: Arc<Ramp>,
}

#[async_trait]
impl Target for Watched {
    fn begin(&self, throttle: &ThrottleName) {
        self.ramp.begins();
        self.target.begin(throttle);
    }

    async fn read(&self, throttle: &Declared, spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        self.target.read(throttle, spec).await
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        self.ramp.look();
        let done = self.target.apply(throttle, action).await;
        if matches!(done, Err(TargetError::Conflict(_))) {
            sometimes(Rare::Overtaken);
        }
        self.ramp.look();
        done
    }
}
