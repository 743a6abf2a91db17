//! Who runs the passes: begins what is due, hears what has ended, and keeps what is left to the
//! next pass.
//!
//! Decides nothing of what a pass does. Everything runs in the one task that drives it, and ends
//! with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join};
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::domain::throttle::ThrottleName;
use crate::ports::Woken;

use super::calls::{LateAnswer, LateCall, PassEvent};
use super::lanes::{Lanes, PassLane};
use super::pass::pass;
use super::reports::Reports;
use super::started::{PassEnd, ThrottleState};
use super::ticks::{TICK, pause};
use super::{LoopContext, upkeep};

/// How long the first verdicts after a kill, and its journal, have the processors to themselves: a
/// pass, with what it records, takes half a millisecond of one.
const HEAD_START: Duration = Duration::from_millis(5);

/// How long what was not told yet may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What comes due.
enum DueLook {
    /// A look at one throttle.
    Throttle(ThrottleName),
    /// A look at who is declared, so that a lost event costs a tick.
    Everyone,
}

/// All throttles, and what is under way.
pub(super) struct Driver<'a> {
    shared: &'a LoopContext,
    lanes: Lanes,
    /// What the next pass goes by, of every throttle whose pass is not under way.
    states: BTreeMap<ThrottleName, ThrottleState>,
    /// Answers that came while a pass of their throttle was under way.
    inbox: HashMap<ThrottleName, Vec<LateAnswer>>,
    timers: DelayQueue<DueLook>,
    keys: HashMap<ThrottleName, Key>,
    /// Those that were held a moment ago: they are due in the next.
    head_start: HashSet<ThrottleName>,
    passes: FuturesUnordered<BoxFuture<'a, PassEnd>>,
    /// What passes tell while they are under way.
    events: mpsc::UnboundedReceiver<PassEvent>,
    /// CallsOfTarget that no pass waits for any more.
    calls: FuturesUnordered<LateCall>,
    reports: Reports,
    telling: FuturesUnordered<BoxFuture<'a, ThrottleName>>,
    /// The gates' newest tightening that was seen.
    known: u64,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        shared: &'a LoopContext,
        events: mpsc::UnboundedReceiver<PassEvent>,
        states: BTreeMap<ThrottleName, ThrottleState>,
    ) -> Self {
        Self {
            shared,
            lanes: Lanes::default(),
            states,
            inbox: HashMap::new(),
            timers: DelayQueue::new(),
            keys: HashMap::new(),
            head_start: HashSet::new(),
            passes: FuturesUnordered::new(),
            events,
            calls: FuturesUnordered::new(),
            reports: Reports::default(),
            telling: FuturesUnordered::new(),
            known: shared.parts.gate.tightenings(),
        }
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let shared = self.shared;
        let parts = &shared.parts;
        let mut upkeep = Box::pin(upkeep::keep_up(shared));
        self.wake_all();
        self.timers.insert(DueLook::Everyone, TICK);
        loop {
            self.begin();
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = &mut upkeep => {}
                woken = parts.wake.woken() => self.woken(woken),
                () = parts.gate.held_after(self.known) => self.held(),
                Some(end) = self.passes.next() => self.ended(end),
                Some(event) = self.events.recv() => self.told(event),
                Some(answer) = self.calls.next() => self.heard(answer),
                Some(due) = self.timers.next() => self.due(due.into_inner()),
                Some(name) = self.telling.next() => self.reports.end(&name),
            }
        }
        self.finish().await;
    }

    /// Begins whatever is due and has a place.
    fn begin(&mut self) {
        while let Some(name) = self.lanes.begin() {
            let state = self.states.remove(&name);
            self.passes.push(Box::pin(pass(self.shared, name, state)));
        }
        self.begin_reports();
    }

    fn begin_reports(&mut self) {
        while let Some(report) = self.reports.begin() {
            let to = self.shared.parts.report.clone();
            self.telling.push(Box::pin(async move {
                if let Some(to) = to {
                    to.report(&report).await;
                }
                report.throttle.name.clone()
            }));
        }
    }

    fn woken(&mut self, woken: Woken) {
        let parts = &self.shared.parts;
        parts.latch.hold_alone(parts.clock.elapsed());
        self.held();
        self.shared.news.notify_one();
        match woken {
            Woken::All => self.wake_all(),
            Woken::Throttles(names) => names.iter().for_each(|name| self.wake(name)),
        }
    }

    /// Brings those who are known in line with those who are declared, and wakes them all.
    fn wake_all(&mut self) {
        let declared = self.shared.parts.desired.declared();
        for throttle in &declared {
            self.wake(&throttle.name);
        }
    }

    fn wake(&mut self, name: &ThrottleName) {
        if self.head_start.contains(name) {
            return;
        }
        let lane = self.lane(name);
        self.lanes.wake(name, lane);
    }

    /// Which places a pass of this throttle takes.
    fn lane(&self, name: &ThrottleName) -> PassLane {
        let was_killed = |state: &ThrottleState| state.memory.law.killed;
        if self.states.get(name).is_some_and(was_killed)
            || !self.shared.parts.gate.kills(name).is_empty()
        {
            PassLane::Kill
        } else {
            PassLane::Normal
        }
    }

    /// A gate is held anew: its throttle is due in a moment.
    fn held(&mut self) {
        let newest = self.shared.parts.gate.tightenings();
        for name in self.shared.parts.gate.held_since(self.known) {
            // The first one counts: a storm of kills must not postpone the pass that acts on them.
            if self.head_start.insert(name.clone()) {
                self.schedule(name, HEAD_START);
            }
        }
        self.known = newest;
    }

    fn schedule(&mut self, name: ThrottleName, pause: Duration) {
        if let Some(key) = self.keys.get(&name) {
            self.timers.reset(key, pause);
        } else {
            let key = self.timers.insert(DueLook::Throttle(name.clone()), pause);
            self.keys.insert(name, key);
        }
    }

    fn due(&mut self, due: DueLook) {
        match due {
            DueLook::Throttle(name) => {
                self.keys.remove(&name);
                self.head_start.remove(&name);
                self.wake(&name);
            }
            DueLook::Everyone => {
                let declared = self.shared.parts.desired.declared();
                for throttle in &declared {
                    if !self.lanes.knows(&throttle.name) {
                        self.wake(&throttle.name);
                    }
                }
                self.timers.insert(DueLook::Everyone, TICK);
            }
        }
    }

    /// A pass has ended.
    fn ended(&mut self, end: PassEnd) {
        let PassEnd {
            name,
            state,
            report,
            next,
        } = end;
        // What it told comes before its end.
        while let Ok(event) = self.events.try_recv() {
            self.told(event);
        }
        if let Some(report) = report {
            self.reports.offer(report);
        }
        let acts = state.is_some();
        self.states.extend(state.map(|state| (name.clone(), state)));
        self.lanes.end(&name);
        for answer in self.inbox.remove(&name).unwrap_or_default() {
            self.heard(answer);
        }
        if !acts && self.shared.parts.desired.find(&name).is_none() && self.lanes.forget(&name) {
            self.head_start.remove(&name);
            if let Some(key) = self.keys.remove(&name) {
                self.timers.remove(&key);
            }
            return;
        }
        if self.head_start.contains(&name) {
            return; // it is due before any tick
        }
        let pause = pause(&name, next, self.shared.parts.clock.elapsed());
        self.schedule(name, pause);
    }

    fn told(&mut self, event: PassEvent) {
        match event {
            PassEvent::Late(call) => self.calls.push(call),
            PassEvent::Closed(name) => self.lanes.rest(&name),
        }
    }

    /// A call was answered after its pass had gone on.
    fn heard(&mut self, answer: LateAnswer) {
        let name = answer.throttle.clone();
        if let Some(state) = self.states.get_mut(&name) {
            if state.hear(self.shared, answer) {
                self.wake(&name);
            }
        } else if self.lanes.is_running(&name) {
            self.inbox.entry(name).or_default().push(answer);
        }
    }

    /// What is under way comes to its end, and is told.
    async fn finish(mut self) {
        while let Some(end) = self.passes.next().await {
            self.ended(end);
        }
        let answered = async {
            while let Ok(event) = self.events.try_recv() {
                self.told(event);
            }
            while let Some(answer) = self.calls.next().await {
                self.heard(answer);
            }
        };
        let _answered = timeout(LAST_WORDS, answered).await;
        let (shared, known) = (self.shared, self.known);
        let told = async {
            self.begin_reports();
            while let Some(name) = self.telling.next().await {
                self.reports.end(&name);
                self.begin_reports();
            }
        };
        let told = join(told, upkeep::record(shared, known));
        let _told = timeout(LAST_WORDS, told).await;
    }
}
