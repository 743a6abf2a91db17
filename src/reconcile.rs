//! The loop on one screen: gather → decide → check → record → apply → record → report.
//!
//! Level-triggered: every pass looks at everything again, so a lost event costs a tick and never the truth. Knows no
//! Kubernetes, no HTTP and no SQL; what it acts on are the seams of `ports`.

mod apply;
mod gather;
mod memory;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::decide::check::{Permissions, check};
use crate::decide::law::Law;
use crate::decide::plan::{Facts, Planned, plan};
use crate::decide::precedence::{Asked, asked};
use crate::decide::step::{NextLevel, worst};
use crate::domain::moment::Moment;
use crate::domain::throttle::{Declared, TargetKind, ThrottleName};
use crate::latch::Latch;
use crate::ports::{Clock, Desired, Ledger, Report, Stored, Target};

use apply::Done;
use memory::Memory;

/// The ticker's period: the control law's tick.
const TICK: Duration = Duration::from_secs(5);

/// The pause while something asked for is not in force or not read back yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Throttles whose other sites are spoken to at the same time; each has at most as many sites as it has targets.
const AT_ONCE: usize = 64;

/// What the loop is made of.
pub struct Parts {
    /// Declared state.
    pub desired: Arc<dyn Desired>,
    /// The record.
    pub ledger: Arc<dyn Ledger>,
    /// The kill path, for what it still owes to the ledger.
    pub latch: Arc<Latch>,
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
    want: &'a Asked,
    next: NextLevel,
    now: Moment,
}

/// A pass whose steps here are done, and whose words to other sites are not said yet.
struct Begun {
    throttle: Arc<Declared>,
    want: Asked,
    next: NextLevel,
    now: Moment,
    reads: Vec<gather::Read>,
    planned: Planned,
    intents: record::Intents,
    refused: Option<String>,
    done: Vec<Done>,
}

/// The loop.
pub struct Reconciler {
    parts: Parts,
    memory: BTreeMap<ThrottleName, Memory>,
    records: record::Records,
    /// Whether everything was in force and read back in the last pass.
    settled: bool,
    /// How long until it is known what waits behind some throttle that is to open.
    known_in: Option<Duration>,
}

impl Reconciler {
    /// A loop over these parts; `stored` is what the ledger knew at the start.
    pub fn new(parts: Parts, stored: &Stored) -> Self {
        Self { parts, memory: BTreeMap::new(), records: record::Records::new(stored), settled: true, known_in: None }
    }

    /// Runs until told to stop: at every tick, and at once when something was declared.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.pass().await;
            let pause = if self.settled { TICK } else { LOOK_AGAIN };
            let pause = self.known_in.map_or(pause, |known| known.min(pause));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
                () = self.parts.desired.woken() => {}
            }
        }
    }

    /// One pass over everything declared; whatever is killed comes first.
    pub async fn pass(&mut self) {
        self.parts.latch.settle().await;
        self.parts.desired.refresh().await;
        if !self.parts.desired.leads() {
            // Another process acts now; what we remember would be stale when we lead again.
            self.memory.clear();
            return;
        }
        self.parts.targets.values().for_each(|target| target.begin());
        let mut all = self.parts.desired.declared();
        all.sort_by_key(|throttle| !throttle.holds.iter().any(|hold| hold.is_kill()));
        self.memory.retain(|name, _| all.iter().any(|throttle| throttle.name == *name));
        self.records.catch_up(&self.parts).await;
        self.records.holds(&self.parts, &all, self.parts.clock.now()).await;
        (self.settled, self.known_in) = (true, None);
        let mut reaching_out = Vec::new();
        for throttle in all {
            let begun = self.begin(throttle).await;
            if apply::reaches_out(&begun.planned.plan) {
                reaching_out.push(begun);
            } else {
                self.finish(begun).await;
            }
        }
        // Everything here is done. Other sites hear of it at the same time: a silent one costs a pass its own limit.
        let asked = reaching_out.into_iter().map(|mut begun| {
            let parts = &self.parts;
            async move {
                let done = apply::elsewhere(parts, &begun.planned.plan, &begun.done).await;
                begun.done.extend(done);
                begun
            }
        });
        let asked: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        for begun in asked {
            self.finish(begun).await;
        }
    }

    /// A pass for one throttle, up to what is done here.
    async fn begin(&mut self, throttle: Arc<Declared>) -> Begun {
        let parts = &self.parts;
        let now = parts.clock.moment();
        let reads = gather::read(parts, &throttle).await;
        let memory = self.memory.entry(throttle.name.clone()).or_insert_with(|| Memory::new(&throttle, now));
        memory.found(gather::level(&reads), gather::measured(&reads), now.elapsed);

        let want = asked(throttle.level, throttle.mode, &throttle.holds);
        let next = worst(&parts.law.of(&throttle.signals), &memory.situations(&throttle, &want, now.elapsed));
        let pass = Pass { throttle: &throttle, want: &want, next, now };
        let known = memory.recall(&throttle);
        let facts = Facts {
            throttle: &known,
            asked: want.level,
            killed: want.killed,
            current: memory.level,
            next,
            reads: &reads,
            now: now.wall,
        };
        let mut planned: Planned = plan(&facts);
        memory.look(&reads, &planned.agreeing);
        memory.damp(&mut planned.plan, want.killed, now.elapsed);
        memory.name_drifts(&mut planned.plan, now.wall);

        let intents = self.records.intent(parts, memory, &pass, &mut planned).await;
        let may = Permissions { killed: want.killed, leads: parts.desired.leads(), recorded: intents.is_some() };
        let violations = check(&planned.plan, memory.level, may);
        if !violations.is_empty() {
            tracing::error!(throttle = %throttle.name, ?violations, "a plan was refused");
            planned.plan.steps.clear();
            planned.effective = memory.level;
        }
        memory.note_corrections(&planned.plan, now.elapsed);
        let done = apply::here(parts, &planned.plan).await;
        let refused = violations.first().map(|v| format!("plan refused: {v}"));
        Begun { throttle, want, next, now, reads, planned, intents: intents.unwrap_or_default(), refused, done }
    }

    /// The end of a pass for one throttle: what became of it is recorded, remembered and told.
    async fn finish(&mut self, begun: Begun) {
        let Begun { throttle, want, next, now, reads, mut planned, intents, refused, done } = begun;
        let parts = &self.parts;
        let pass = Pass { throttle: &throttle, want: &want, next, now };
        let Some(memory) = self.memory.get_mut(&throttle.name) else { return }; // `begin` made it
        apply::take_back(&mut planned, &done, memory.level);
        self.records.outcome(parts, &planned, &done, intents, now.wall).await;
        if planned.plan.steps.iter().any(|step| step.action.kind() != TargetKind::Gate) {
            parts.desired.wake(); // read back what was just written
        }
        memory.note_refusals(&planned.plan, &done);
        let trouble = refused.or_else(|| apply::trouble(&done));
        // While it opens by the ramp, small steps; while it sheds, the law's own tick.
        self.settled &= next.shedding || planned.effective == want.level;
        self.settled &= trouble.is_none() && reads.iter().all(|(spec, _)| planned.agreeing.contains(&spec.id()));
        memory.keep(&planned, &pass);
        if memory.level > want.level {
            // Nothing opens before it is known what waits; then at once.
            self.known_in = self.known_in.into_iter().chain(memory.known_in(now.elapsed)).min();
        }
        parts.latch.found(&throttle, &planned.agreeing);
        gather::report(parts, &pass, &reads, &planned, memory, trouble).await;
    }
}
