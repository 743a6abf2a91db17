//! Each throttle is a loop of its own: what is slow about one keeps no other waiting. In virtual
//! time, so that "at once" is that no time has passed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::decide::law::Law;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use echo_phoenix::domain::hold::{Epoch, Scope};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::{
    Action, GateSpec, ReadBack, ScaleReadBack, TargetKind, TargetSpec,
};
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::gate::{Gate, LevelSetting};
use echo_phoenix::latch::Latch;
use echo_phoenix::ports::{
    Clock, Desired, Ledger, LedgerError, OutboxRow, Stored, Target, TargetError, Wake,
};
use echo_phoenix::reconcile::{ReconcileContext, Reconciler};
use echo_phoenix::targets::gate::LocalGate;
use echo_phoenix::wake::WakeSet;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::slow::{Declarations, Told, hold, name, with_workload};

/// Time as the runtime has it.
struct Virtual(Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
            + SignedDuration::try_from(self.0.elapsed()).unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A ledger in memory that keeps what it was told, in order.
#[derive(Default)]
struct Book(Mutex<Vec<Change>>);

#[async_trait]
impl Ledger for Book {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        self.0.lock().unwrap().push(change);
        Ok(Receipt::default())
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        Ok(Stored::default())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn has(&self, _once: &str) -> Result<bool, LedgerError> {
        Ok(false)
    }

    async fn owed(&self, _limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        Ok(Vec::new())
    }

    async fn delivered(&self, _rows: &[OutboxRow]) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn answered(&self, _key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        Ok(None)
    }
}

/// A workload of each throttle: some do not answer, be it a read or a write.
#[derive(Default)]
struct Workloads {
    replicas: Mutex<BTreeMap<ThrottleName, (i64, Option<i64>)>>,
    silent: Mutex<BTreeSet<ThrottleName>>,
    writes_hang: AtomicBool,
    /// How many reads of one throttle are under way, and the most there ever were.
    reading: Mutex<BTreeMap<ThrottleName, usize>>,
    most: AtomicUsize,
    reads: Mutex<BTreeMap<ThrottleName, usize>>,
    began: Notify,
    heard: Notify,
}

impl Workloads {
    fn replicas(&self, name: &ThrottleName) -> i64 {
        let all = self.replicas.lock().unwrap();
        all.get(name).map_or(3, |(replicas, _)| *replicas)
    }

    async fn answers(&self, name: &ThrottleName) {
        while self.silent.lock().unwrap().contains(name) {
            self.heard.notified().await;
        }
    }

    fn speak(&self) {
        self.silent.lock().unwrap().clear();
        self.heard.notify_waiters();
    }
}

/// A read that ends.
struct Ended<'a>(&'a Mutex<BTreeMap<ThrottleName, usize>>, &'a ThrottleName);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap().get_mut(self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl Target for Workloads {
    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let name = &throttle.name;
        *self.reads.lock().unwrap().entry(name.clone()).or_default() += 1;
        let under_way = {
            let mut reading = self.reading.lock().unwrap();
            let under_way = reading.entry(name.clone()).or_default();
            *under_way += 1;
            *under_way
        };
        self.most.fetch_max(under_way, Ordering::SeqCst);
        // Whoever asked may stop waiting.
        let _ended = Ended(&self.reading, name);
        self.began.notify_one();
        self.answers(name).await;
        let all = self.replicas.lock().unwrap();
        let (replicas, remembered) = *all.get(name).unwrap_or(&(3, None));
        Ok(ReadBack::Scale(ScaleReadBack {
            replicas,
            remembered,
            resource_version: "1".to_owned(),
            who: None,
        }))
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::Scale { to, remember, .. } = action else {
            return Ok(());
        };
        while self.writes_hang.load(Ordering::SeqCst) {
            self.heard.notified().await;
        }
        let mut all = self.replicas.lock().unwrap();
        all.insert(throttle.clone(), (*to, *remember));
        Ok(())
    }
}

/// A loop that runs, and all that it acts on.
struct Plant {
    ledger: Arc<Book>,
    desired: Arc<Declarations>,
    gate: Arc<Gate>,
    workloads: Arc<Workloads>,
    told: Arc<Told>,
    clock: Arc<Virtual>,
    stop: CancellationToken,
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the runtime's time is the test's, and the loop runs beside it"
)]
fn plant(count: usize, silent: usize) -> Plant {
    let throttles: Vec<_> = (0..count).map(with_workload).collect();
    let gate = Arc::new(Gate::default());
    for throttle in &throttles {
        let setting = LevelSetting {
            level: Level::OPEN,
            reason: Reason::Target,
            generation: 1,
            at: Duration::ZERO,
        };
        gate.declare(&throttle.name, &GateSpec::default(), setting);
    }
    let desired = Arc::new(Declarations {
        all: Mutex::new(throttles),
        leads: AtomicBool::new(true),
        woken: WakeSet::default(),
    });
    let workloads = Arc::<Workloads>::default();
    *workloads.silent.lock().unwrap() = (0..silent).map(name).collect();
    let clock = Arc::new(Virtual(Instant::now()));
    let time: Arc<dyn Clock> = Arc::<Virtual>::clone(&clock);
    let (ledger, told) = (Arc::<Book>::default(), Arc::<Told>::default());
    let as_port: Arc<dyn Desired> = Arc::<Declarations>::clone(&desired);
    let local: Arc<dyn Target> = Arc::new(LocalGate::new(Arc::clone(&gate), Arc::clone(&time)));
    let scale: Arc<dyn Target> = Arc::<Workloads>::clone(&workloads);
    let parts = ReconcileContext {
        leadership: Arc::<Declarations>::clone(&desired),
        wake: Arc::<Declarations>::clone(&desired),
        ledger: Arc::<Book>::clone(&ledger),
        latch: Arc::new(Latch::new(
            Arc::clone(&gate),
            Arc::clone(&as_port),
            Arc::<Declarations>::clone(&desired),
            None,
            Vec::new(),
        )),
        desired: as_port,
        gate: Arc::clone(&gate),
        targets: HashMap::from([(TargetKind::Gate, local), (TargetKind::Scale, scale)]),
        report: Some(Arc::<Told>::clone(&told)),
        clock: time,
        law: Law::default(),
    };
    let stop = CancellationToken::new();
    tokio::spawn(Reconciler::new(parts, &Stored::default()).run(stop.clone()));
    Plant {
        ledger,
        desired,
        gate,
        workloads,
        told,
        clock,
        stop,
    }
}

impl Plant {
    fn kill(&self, scope: &Scope, epoch: &str) {
        self.desired.change(|declared| {
            if scope.covers(&declared.name) {
                declared.holds.push(hold(epoch));
            }
        });
        self.gate.hold(scope, &hold(epoch), self.clock.elapsed());
    }

    fn revive(&self, epoch: &str) {
        let ended = Epoch(epoch.to_owned());
        self.desired
            .change(|declared| declared.holds.retain(|hold| hold.epoch != ended));
        self.gate.end(&[ended]);
        self.desired.wake(&Scope::All);
    }

    /// How long until this is so.
    async fn until(&self, is: impl Fn(&Self) -> bool) -> Duration {
        let began = self.clock.elapsed();
        while !is(self) {
            let waited = self.clock.elapsed() - began;
            assert!(waited < Duration::from_secs(60), "it never is");
            sleep(Duration::from_millis(1)).await;
        }
        self.clock.elapsed() - began
    }

    fn entries(&self, action: &str) -> Vec<(String, String)> {
        let all = self.ledger.0.lock().unwrap();
        let audit = all.iter().flat_map(|change| &change.audit);
        audit
            .filter(|entry| entry.action.as_str() == action)
            .map(|entry| (entry.request_id.clone(), entry.reason.clone()))
            .collect()
    }
}

/// The head start of the first verdicts, and the timer's grain.
const AT_ONCE: Duration = Duration::from_millis(10);

/// A quarter of all workloads does not answer; whatever is killed of the others stands still at
/// once.
#[tokio::test(start_paused = true)]
async fn workloads_that_do_not_answer_keep_no_other_throttle_from_being_stopped() {
    let plant = plant(400, 100);
    sleep(Duration::from_secs(30)).await;
    for number in (100..400).step_by(30) {
        let one = name(number);
        plant.kill(&Scope::One(one.clone()), &number.to_string());
        let took = plant
            .until(|plant| plant.workloads.replicas(&one) == 0)
            .await;
        assert!(took <= AT_ONCE, "{number}: {took:?}");
        sleep(Duration::from_millis(777)).await;
    }
    assert_eq!(
        plant.workloads.most.load(Ordering::SeqCst),
        1,
        "one read of a target at a time"
    );
}

/// Everything is killed: those that answer stand still at once, the others when they are heard.
#[tokio::test(start_paused = true)]
async fn a_kill_of_all_reaches_whoever_answers_at_once_and_the_others_when_they_do() {
    let plant = plant(300, 100);
    sleep(Duration::from_secs(20)).await;
    plant.kill(&Scope::All, "all");
    let stopped = |plant: &Plant, from: usize| {
        (from..300).all(|number| plant.workloads.replicas(&name(number)) == 0)
    };
    let took = plant.until(|plant| stopped(plant, 100)).await;
    assert!(took <= AT_ONCE, "{took:?}");
    sleep(Duration::from_secs(2)).await;
    assert!(!stopped(&plant, 99));
    plant.workloads.speak();
    let took = plant.until(|plant| stopped(plant, 0)).await;
    assert!(took <= Duration::from_secs(5), "{took:?}");
}

/// A silent workload keeps its own gate from opening, and nothing else.
#[tokio::test(start_paused = true)]
async fn what_is_not_read_back_opens_nothing() {
    let plant = plant(2, 0);
    sleep(Duration::from_secs(10)).await;
    plant.kill(&Scope::All, "all");
    let both = |plant: &Plant| (0..2).all(|number| plant.workloads.replicas(&name(number)) == 0);
    plant.until(both).await;
    sleep(Duration::from_secs(5)).await;
    plant.workloads.silent.lock().unwrap().insert(name(0));
    plant.revive("all");
    plant
        .until(|plant| plant.workloads.replicas(&name(1)) == 3)
        .await;
    let level = |number| plant.gate.standing(&name(number)).unwrap().level;
    plant
        .until(|plant| plant.gate.standing(&name(1)).unwrap().level == Level::OPEN)
        .await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(level(0), Level::STOP, "its workload does not answer");
    plant.workloads.speak();
    plant
        .until(|plant| plant.gate.standing(&name(0)).unwrap().level == Level::OPEN)
        .await;
    assert_eq!(plant.workloads.replicas(&name(0)), 3);
}

/// A write that hangs is not waited for; what became of it is recorded once, when it ends.
#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_goes_on_beside_the_passes_and_has_one_outcome() {
    let plant = plant(1, 0);
    sleep(Duration::from_secs(10)).await;
    plant.workloads.writes_hang.store(true, Ordering::SeqCst);
    plant.kill(&Scope::All, "all");
    sleep(Duration::from_secs(2)).await;
    let intents = plant.entries("scale_intent");
    assert_eq!(intents.len(), 1, "it is tried once: {intents:?}");
    assert_eq!(plant.entries("scale"), [], "nobody knows yet");
    let told = plant.told.0.lock().unwrap().len();
    assert!(told > 3, "passes go on: {told}");
    plant.workloads.writes_hang.store(false, Ordering::SeqCst);
    plant.workloads.heard.notify_waiters();
    plant
        .until(|plant| plant.workloads.replicas(&name(0)) == 0)
        .await;
    sleep(Duration::from_secs(10)).await;
    let id = intents[0].0.clone();
    assert_eq!(plant.entries("scale"), [(id, "done".to_owned())]);
    assert_eq!(plant.entries("scale_intent").len(), 1);
}

/// What failed for good is recorded as that, and tried again.
#[tokio::test(start_paused = true)]
async fn a_write_that_never_ends_is_given_up_and_tried_again() {
    let plant = plant(1, 0);
    sleep(Duration::from_secs(10)).await;
    plant.workloads.writes_hang.store(true, Ordering::SeqCst);
    plant.kill(&Scope::All, "all");
    sleep(Duration::from_secs(14)).await;
    let outcomes = plant.entries("scale");
    assert!((2..=4).contains(&outcomes.len()), "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .all(|(_, reason)| reason == "failed: no answer within 5 s"),
        "{outcomes:?}"
    );
    let intents: BTreeSet<_> = plant.entries("scale_intent").into_iter().collect();
    assert!(intents.len() > outcomes.len(), "{intents:?}");
}

/// An opening that hangs is broken off by a kill, and the stop waits for nothing.
#[tokio::test(start_paused = true)]
async fn a_kill_breaks_off_an_opening_that_goes_on_beside_the_passes() {
    let plant = plant(1, 0);
    sleep(Duration::from_secs(10)).await;
    plant.kill(&Scope::All, "a");
    plant
        .until(|plant| plant.workloads.replicas(&name(0)) == 0)
        .await;
    sleep(Duration::from_secs(5)).await;
    plant.workloads.writes_hang.store(true, Ordering::SeqCst);
    plant.revive("a");
    sleep(Duration::from_secs(1)).await;
    plant.kill(&Scope::All, "b");
    sleep(AT_ONCE).await;
    plant.workloads.writes_hang.store(false, Ordering::SeqCst);
    plant.workloads.heard.notify_waiters();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(plant.workloads.replicas(&name(0)), 0);
    let broken_off = plant
        .entries("scale")
        .into_iter()
        .filter(|(_, reason)| reason == "not done: a kill came while it was being done");
    assert_eq!(broken_off.count(), 1, "{:?}", plant.entries("scale"));
    let (intents, outcomes) = (plant.entries("scale_intent"), plant.entries("scale"));
    assert_eq!(intents.len(), outcomes.len(), "each intent has one outcome");
}

/// A lease that is lost while a pass reads: the leader's steps are another process's from then on.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_stops_a_pass_in_the_middle() {
    let plant = plant(1, 0);
    sleep(Duration::from_secs(10)).await;
    plant.workloads.silent.lock().unwrap().insert(name(0));
    plant.kill(&Scope::All, "all");
    plant.workloads.began.notified().await;
    plant.desired.leads.store(false, Ordering::SeqCst);
    plant.workloads.speak();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(plant.workloads.replicas(&name(0)), 3);
    assert!(plant.gate.standing(&name(0)).unwrap().killed());
}

/// Nothing happens: each throttle is looked at once in a tick, and not all at once.
#[tokio::test(start_paused = true)]
async fn a_calm_throttle_is_looked_at_once_a_tick() {
    const COUNT: usize = 200;
    let plant = plant(COUNT, 0);
    sleep(Duration::from_secs(60)).await;
    let before = plant.workloads.reads.lock().unwrap().clone();
    let mut busiest = 0;
    for _ in 0..20 {
        let sum = || {
            plant
                .workloads
                .reads
                .lock()
                .unwrap()
                .values()
                .sum::<usize>()
        };
        let began = sum();
        sleep(Duration::from_millis(250)).await;
        busiest = busiest.max(sum() - began);
    }
    let after = plant.workloads.reads.lock().unwrap().clone();
    for number in 0..COUNT {
        let looks = after[&name(number)] - before[&name(number)];
        assert!((1..=2).contains(&looks), "{number}: {looks}");
    }
    assert!(
        busiest <= COUNT / 8,
        "{busiest} of {COUNT} in a quarter second"
    );
}
