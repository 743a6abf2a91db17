//! The loop: each throttle is a state machine of its own, woken by its own events and its own tick.
//!
//! One pass is in `pass`: gather → decide → check → close → record → open → record → report. Who
//! may begin one is `lanes`' to say, when it is due `ticks`'; what a pass does not wait for goes on
//! in `calls` and `reports`, and what concerns no single throttle in `upkeep`. Knows no Kubernetes,
//! no HTTP and no SQL; what it acts on are the seams of `ports`.

mod apply;
mod calls;
mod change_queue;
mod decision;
mod driver;
mod finish;
mod gather;
mod lanes;
mod memory;
mod pass;
mod patience;
mod recorder;
mod report;
mod reports;
mod started;
mod target_calls;
mod ticks;
mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::{join, join_all};
use futures::{StreamExt, stream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::decide::law::Law;
use crate::domain::target::TargetKind;
use crate::domain::throttle::ThrottleName;
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Desired, Leadership, Ledger, Report, Stored, Target, Wake};

use calls::{PassEvent, TargetCaller};
use driver::Driver;
use pass::pass;
use recorder::PassRecorder;
use started::{PassEnd, ThrottleState};

/// What the loop is made of.
pub struct ReconcileContext {
    /// Declared state.
    pub desired: Arc<dyn Desired>,
    /// Whether this process acts.
    pub leadership: Arc<dyn Leadership>,
    /// Whom to look at before their tick.
    pub wake: Arc<dyn Wake>,
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

/// What all passes have in common.
struct LoopContext {
    parts: ReconcileContext,
    records: PassRecorder,
    caller: TargetCaller,
    /// Places for what opens.
    openings: Semaphore,
    /// Something for the upkeep to look at.
    news: Notify,
}

/// The loop.
pub struct Reconciler {
    shared: LoopContext,
    events: mpsc::UnboundedReceiver<PassEvent>,
    states: BTreeMap<ThrottleName, ThrottleState>,
}

impl Reconciler {
    /// A loop over these parts; `stored` is what the ledger knew at the start.
    pub fn new(parts: ReconcileContext, stored: &Stored) -> Self {
        let (caller, events) = TargetCaller::new();
        let shared = LoopContext {
            parts,
            records: PassRecorder::new(stored),
            caller,
            openings: Semaphore::new(lanes::PLACES),
            news: Notify::new(),
        };
        Self {
            shared,
            events,
            states: BTreeMap::new(),
        }
    }

    /// Runs until told to stop; passes that are under way then come to their end.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            shared,
            events,
            states,
        } = self;
        Driver::new(&shared, events, states).run(shutdown).await;
    }

    /// One pass of every throttle, to its end: whatever it began is answered when this returns, or
    /// has been given up.
    pub async fn pass(&mut self) {
        let Self {
            shared,
            events,
            states,
        } = self;
        let parts = &shared.parts;
        let known = parts.gate.tightenings();
        tokio::select! {
            () = parts.desired.refresh() => {}
            () = parts.gate.held_after(known) => {}
        }
        if shared.records.is_silent() {
            upkeep::record(shared, known).await;
        }
        let mut all = upkeep::declared(parts);
        all.sort_by_key(|throttle| !throttle.holds.iter().any(|hold| hold.is_kill()));
        let mut before = std::mem::take(states);
        let passes: Vec<_> = all
            .iter()
            .map(|throttle| {
                let state = before.remove(&throttle.name);
                pass(shared, throttle.name.clone(), state)
            })
            .collect();
        let passes = stream::iter(passes).buffer_unordered(lanes::PLACES);
        let (ended, ()) = join(passes.collect::<Vec<_>>(), upkeep::record(shared, known)).await;
        let mut reports = Vec::new();
        for PassEnd {
            name,
            state,
            report,
            ..
        } in ended
        {
            states.extend(state.map(|state| (name, state)));
            reports.extend(report);
        }
        let mut calls = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let PassEvent::Late(call) = event {
                calls.push(call);
            }
        }
        for answer in join_all(calls).await {
            if let Some(state) = states.get_mut(&answer.throttle) {
                state.hear(shared, answer);
            }
        }
        if let Some(to) = &parts.report {
            join_all(reports.iter().map(|report| to.report(report))).await;
        }
    }
}
