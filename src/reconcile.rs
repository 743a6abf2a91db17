//! The loop on one screen: gather → decide → check → close → record → open → record → report.
//!
//! Level-triggered: every pass looks at everything again, so a lost event costs a tick and never
//! the truth. What closes waits for no record, and a kill that comes during a pass waits for
//! nothing that hangs. Knows no Kubernetes, no HTTP and no SQL; what it acts on are the seams of
//! `ports`.

mod apply;
mod change_queue;
mod finish;
mod gather;
mod memory;
mod recorder;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use futures::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::decide::check::{Permissions, check, refuse};
use crate::decide::facts::Facts;
use crate::decide::law::Law;
use crate::decide::plan::{Planned, plan};
use crate::decide::precedence::{Restriction, most_restrictive};
use crate::decide::step::{NextLevel, worst};
use crate::domain::moment::Moment;
use crate::domain::plan::StepOutcome;
use crate::domain::target::TargetKind;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Desired, Ledger, Report, Stored, Target};

use apply::OpeningGuard;
use memory::{Memory, new_id};

/// The ticker's period: the control law's tick.
const TICK: Duration = Duration::from_secs(5);

/// The pause while something asked for is not in force or not read back yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a kill that is at the gates may take to be declared. Until then no pass waits for the
/// ledger or for a look: the one that tells others of the kill would be late by that.
const DECLARED_WITHIN: Duration = Duration::from_secs(1);

/// How long the first verdicts after a kill, and its journal, have the processors to themselves: a
/// pass, with what it records, takes half a millisecond of one.
const HEAD_START: Duration = Duration::from_millis(5);

/// Throttles that are looked at, or whose other sites are spoken to, at the same time; each has so
/// many targets at most.
const AT_ONCE: usize = 64;

/// What the loop is made of.
pub struct ReconcileContext {
    /// Declared state.
    pub desired: Arc<dyn Desired>,
    /// The record.
    pub ledger: Arc<dyn Ledger>,
    /// The kill path, for what it still owes to the ledger.
    pub latch: Arc<Latch>,
    /// The gates of this process, where a kill is before it is declared.
    pub gate: Arc<Gate>,
    /// What can be acted on.
    pub targets: HashMap<TargetKind, Arc<dyn Target>>,
    /// Who is told.
    pub report: Option<Arc<dyn Report>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The control law's parameters.
    pub law: Law,
}

/// What one pass for one throttle has found and decided.
#[derive(Clone, Copy)]
struct Pass<'a> {
    throttle: &'a Arc<Declared>,
    want: &'a Restriction,
    next: NextLevel,
    now: Moment,
}

/// A pass for one throttle, from what was decided on.
struct StartedPass {
    throttle: Arc<Declared>,
    want: Restriction,
    next: NextLevel,
    now: Moment,
    reads: Vec<gather::Read>,
    memory: Memory,
    planned: Planned,
    /// What became of each step; none: it is still to come.
    done: Vec<Option<StepOutcome>>,
    intents: Vec<recorder::Intent>,
    /// Whether the ledger has what it intends.
    recorded: bool,
    /// What came while something opened that would have kept it from that.
    late: Option<&'static str>,
}

/// The loop.
pub struct Reconciler {
    parts: ReconcileContext,
    memory: BTreeMap<ThrottleName, Memory>,
    records: recorder::PassRecorder,
    /// Whether everything was in force and read back in the last pass.
    settled: bool,
    /// The gates' newest tightening that was seen, and when it first was.
    tightened: (u64, Duration),
    /// How long until it is known what waits behind some throttle that is to open.
    known_in: Option<Duration>,
}

impl Reconciler {
    /// A loop over these parts; `stored` is what the ledger knew at the start.
    pub fn new(parts: ReconcileContext, stored: &Stored) -> Self {
        let records = recorder::PassRecorder::new(stored);
        Self {
            parts,
            memory: BTreeMap::new(),
            records,
            settled: true,
            tightened: (0, Duration::ZERO),
            known_in: None,
        }
    }

    /// Runs until told to stop: at every tick, and at once when something was declared.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let known = self.parts.gate.tightenings();
            self.pass().await;
            let pause = if self.settled { TICK } else { LOOK_AGAIN };
            let pause = self.known_in.map_or(pause, |known| known.min(pause));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
                () = self.parts.desired.woken() => {}
                () = self.parts.gate.held_after(known) => sleep(HEAD_START).await,
            }
        }
    }

    /// One pass over everything declared; whatever is killed comes first.
    pub async fn pass(&mut self) {
        let known = self.parts.gate.tightenings();
        self.records.begin(known);
        self.refresh(known).await;
        if !self.parts.desired.leads() {
            // Another process acts now; what we remember would be stale when we lead again.
            self.memory.clear();
            return self.records.settle(&self.parts).await;
        }
        self.parts
            .targets
            .values()
            .for_each(|target| target.begin());
        self.parts.latch.hold_alone(self.parts.clock.elapsed());
        let declared = self.parts.desired.declared().into_iter();
        let mut all: Vec<_> = declared
            .map(|throttle| self.parts.latch.with_its_kills(throttle))
            .collect();
        all.sort_by_key(|throttle| !is_killed(throttle));
        (self.settled, self.known_in) = (true, None);
        if self.comes() {
            self.records.give_up();
        }

        let mut memory = std::mem::take(&mut self.memory);
        let parts = &self.parts;
        let begin = all
            .iter()
            .map(|throttle| begin(parts, Arc::clone(throttle), memory.remove(&throttle.name)));
        let closing = async {
            let begun: Vec<StartedPass> = stream::iter(begin.collect::<Vec<_>>())
                .buffered(AT_ONCE)
                .collect()
                .await;
            let told = begun.into_iter().map(async |mut begun| {
                apply::close_elsewhere(parts, &mut begun).await;
                begun
            });
            stream::iter(told.collect::<Vec<_>>())
                .buffered(AT_ONCE)
                .collect::<Vec<_>>()
                .await
        };
        let (begun, ()) = join(closing, self.records.catch_up(parts, &all)).await;
        self.open(begun, known).await;
    }

    /// Whether a kill is at the gates that will be declared in a moment: by its journal, ledger or
    /// object. The pass that sees it is not far, however many come before.
    fn comes(&mut self) -> bool {
        let ReconcileContext {
            gate,
            desired,
            clock,
            ..
        } = &self.parts;
        let (newest, now) = (gate.tightenings(), clock.elapsed());
        if newest > self.tightened.0 {
            self.tightened = (newest, now);
        }
        let comes =
            |throttle: &Declared| !is_killed(throttle) && !gate.kills(&throttle.name).is_empty();
        now.saturating_sub(self.tightened.1) < DECLARED_WITHIN
            && desired.declared().iter().any(|one| comes(one))
    }

    /// What only a live look can tell; not while a kill waits that no pass has seen.
    async fn refresh(&mut self, known: u64) {
        if self.comes() {
            return;
        }
        let seen = |throttle: &Declared| {
            self.memory
                .get(&throttle.name)
                .is_some_and(|memory| memory.law.killed)
        };
        if self
            .parts
            .desired
            .declared()
            .iter()
            .any(|throttle| is_killed(throttle) && !seen(throttle))
        {
            return;
        }
        tokio::select! {
            () = self.parts.desired.refresh() => {}
            () = self.parts.gate.held_after(known) => {}
        }
    }

    /// All that closes is done; what opens is recorded first. Other sites hear of it last and at
    /// the same time: a silent one costs a pass its own limit, and what is here waits for none.
    async fn open(&mut self, begun: Vec<StartedPass>, known: u64) {
        let mut reaching_out = Vec::new();
        for mut begun in begun {
            self.records.intent(&self.parts, &mut begun).await;
            apply::open_here(
                OpeningGuard {
                    parts: &self.parts,
                    known,
                },
                &mut begun,
            )
            .await;
            if apply::reaches_out(&begun) {
                reaching_out.push(begun);
            } else {
                self.finish(begun).await;
            }
        }
        let now = OpeningGuard {
            parts: &self.parts,
            known,
        };
        let told = reaching_out.into_iter().map(async |mut begun| {
            apply::open_elsewhere(now, &mut begun).await;
            begun
        });
        let told: Vec<_> = stream::iter(told.collect::<Vec<_>>())
            .buffered(AT_ONCE)
            .collect()
            .await;
        for begun in told {
            self.finish(begun).await;
        }
    }
}

fn is_killed(throttle: &Declared) -> bool {
    throttle.holds.iter().any(|hold| hold.is_kill())
}

/// A pass for one throttle, up to what closes here.
async fn begin(
    parts: &ReconcileContext,
    throttle: Arc<Declared>,
    memory: Option<Memory>,
) -> StartedPass {
    let now = parts.clock.moment();
    let mut memory = memory.unwrap_or_else(|| Memory::new(&throttle, now));
    let reads = gather::read(parts, &throttle).await;
    memory.found(&reads, now.elapsed);

    let want = most_restrictive(throttle.level, throttle.mode, &throttle.holds);
    memory.law.spare(want.killed, now.elapsed);
    let next = worst(
        &parts.law.of(&throttle.signals),
        &memory.law.situations(&throttle, &want, now.elapsed),
    );
    let facts = Facts {
        throttle: &throttle,
        asked: want.level,
        killed: want.killed,
        current: memory.law.level,
        next,
        reads: &reads,
        memory: &memory.targets,
        drifts: memory.drifts.known(),
        patience: memory.sites.patience(),
        now,
    };
    let planned = plan(&facts, || new_id(now.wall));

    // That it is recorded is asked again before anything opens.
    let may = Permissions {
        killed: want.killed,
        leads: parts.desired.leads(),
        recorded: true,
    };
    let violations = check(&planned.plan, memory.law.level, may);
    if !violations.is_empty() {
        tracing::error!(throttle = %throttle.name, ?violations, "a plan was refused");
    }
    let mut begun = StartedPass {
        throttle,
        want,
        next,
        now,
        reads,
        memory,
        done: refuse(&planned.plan, &violations),
        planned,
        intents: Vec::new(),
        recorded: false,
        late: None,
    };
    apply::close_here(parts, &mut begun).await;
    begun
}
