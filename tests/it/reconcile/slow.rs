//! The loop while something is slow: a ledger that hangs, a workload that blocks, a kill that comes
//! and goes meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::decide::law::Law;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::audit::{Change, CommandRecord, CommandResponse};
use echo_phoenix::domain::history::{AuditItem, PageAsk};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::measurement::Measurement;
use echo_phoenix::domain::observation::Signals;
use echo_phoenix::domain::report::PassReport;
use echo_phoenix::domain::target::{
    Action, GateSpec, ReadBack, ScaleReadBack, ScaleSpec, TargetKind, TargetSpec,
};
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::gate::{Gate, LevelSetting, Question};
use echo_phoenix::latch::Latch;
use echo_phoenix::ports::{
    Clock, Desired, DesiredError, History, HoldTaken, Leadership, Ledger, Report, Resolution,
    ReviveFilter, ReviveOutcome, Target, TargetError, Wake, Woken,
};
use echo_phoenix::reconcile::{ReconcileContext, Reconciler};
use echo_phoenix::store::SqliteLedger;
use echo_phoenix::targets::gate::LocalGate;
use echo_phoenix::wake::WakeSet;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::Manual;
use crate::ledger_suite::declared::{
    AWAY, COMMITS_THEN_HANGS, COMMITS_UNDECIDED, Fickle, HANGS, UNDECIDED, WAITS, WELL,
};

/// Far longer than anything here takes, and shorter than for ever.
const SOON: Duration = Duration::from_secs(30);

/// Declarations that a test sets.
pub(super) struct Declarations {
    pub(super) all: Mutex<Vec<Declared>>,
    pub(super) leads: AtomicBool,
    pub(super) woken: WakeSet,
}

impl Declarations {
    pub(super) fn change(&self, change: impl Fn(&mut Declared)) {
        self.all.lock().unwrap().iter_mut().for_each(change);
    }
}

#[async_trait]
impl Desired for Declarations {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.all
            .lock()
            .unwrap()
            .iter()
            .cloned()
            .map(Arc::new)
            .collect()
    }

    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        let all = self.declared();
        all.into_iter().find(|one| one.name == *name)
    }

    async fn refresh(&self) {}

    fn declarations(&self) -> Option<&dyn echo_phoenix::ports::Declarations> {
        None
    }

    async fn take(
        &self,
        _hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        Ok(HoldTaken {
            answer: record.answer,
            over: false,
        })
    }

    async fn end(
        &self,
        _meant: ReviveFilter<'_>,
        _record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        Ok(ReviveOutcome::default())
    }

    fn ending(&self, _meant: ReviveFilter<'_>) -> BTreeSet<Epoch> {
        BTreeSet::new()
    }

    async fn resolve(&self, _once: &str, _ending: &[Epoch]) -> Result<Resolution, DesiredError> {
        Ok(Resolution::default())
    }

    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError> {
        Ok(record.answer)
    }
}

impl Leadership for Declarations {
    fn leads(&self) -> bool {
        self.leads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Wake for Declarations {
    fn wake(&self, whom: &Scope) {
        self.woken.wake(whom);
    }

    async fn woken(&self) -> Woken {
        self.woken.woken().await
    }
}

/// A workload of each throttle; it can block until it is let.
#[derive(Default)]
struct Workloads {
    replicas: Mutex<BTreeMap<ThrottleName, (i64, Option<i64>)>>,
    blocks: AtomicBool,
    began: Notify,
    goes_on: Notify,
    done: Notify,
}

const REPLICAS: (i64, Option<i64>) = (3, None);

#[async_trait]
impl Target for Workloads {
    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let all = self.replicas.lock().unwrap();
        let (replicas, remembered) = *all.get(&throttle.name).unwrap_or(&REPLICAS);
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
        self.began.notify_one();
        if self.blocks.load(Ordering::SeqCst) {
            self.goes_on.notified().await;
        }
        self.replicas
            .lock()
            .unwrap()
            .insert(throttle.clone(), (*to, *remember));
        self.done.notify_one();
        Ok(())
    }
}

/// The outcomes that were told.
#[derive(Default)]
pub(super) struct Told(pub(super) Mutex<Vec<PassReport>>);

#[async_trait]
impl Report for Told {
    async fn report(&self, outcome: &PassReport) {
        self.0.lock().unwrap().push(outcome.clone());
    }
}

struct Plant {
    sqlite: Arc<SqliteLedger>,
    ledger: Arc<Fickle>,
    desired: Arc<Declarations>,
    gate: Arc<Gate>,
    workloads: Arc<Workloads>,
    told: Arc<Told>,
    clock: Arc<Manual>,
    reconciler: Reconciler,
    _folder: TempDir,
}

/// A loop over these throttles, each with a gate that stands where the throttle was stored, and
/// whatever else it declares.
fn plant(throttles: Vec<Declared>) -> Plant {
    plant_in(tempfile::tempdir().unwrap(), throttles)
}

/// The same, over what a process before recorded.
fn plant_in(folder: TempDir, throttles: Vec<Declared>) -> Plant {
    let (sqlite, stored) = SqliteLedger::open(folder.path()).unwrap();
    let sqlite = Arc::new(sqlite);
    let ledger = Arc::new(Fickle::new(Arc::<SqliteLedger>::clone(&sqlite)));
    let gate = Arc::new(Gate::default());
    for throttle in &throttles {
        let at = Duration::ZERO;
        let setting = LevelSetting {
            level: throttle.stored,
            reason: Reason::Target,
            generation: 1,
            at,
        };
        gate.declare(&throttle.name, &GateSpec::default(), setting);
    }
    let desired = Arc::new(Declarations {
        all: Mutex::new(throttles),
        leads: AtomicBool::new(true),
        woken: WakeSet::default(),
    });
    let clock = Arc::new(Manual(Mutex::new((
        Timestamp::from_second(1_800_000_000).unwrap(),
        Duration::ZERO,
    ))));
    let workloads = Arc::<Workloads>::default();
    let told = Arc::<Told>::default();
    let time: Arc<dyn Clock> = Arc::<Manual>::clone(&clock);
    let local: Arc<dyn Target> = Arc::new(LocalGate::new(Arc::clone(&gate), Arc::clone(&time)));
    let scale: Arc<dyn Target> = Arc::<Workloads>::clone(&workloads);
    let as_port: Arc<dyn Desired> = Arc::<Declarations>::clone(&desired);
    let latch = Arc::new(Latch::new(
        Arc::clone(&gate),
        Arc::clone(&as_port),
        Arc::<Declarations>::clone(&desired),
        None,
        Vec::new(),
    ));
    let parts = ReconcileContext {
        desired: as_port,
        leadership: Arc::<Declarations>::clone(&desired),
        wake: Arc::<Declarations>::clone(&desired),
        ledger: Arc::<Fickle>::clone(&ledger),
        latch,
        gate: Arc::clone(&gate),
        targets: HashMap::from([(TargetKind::Gate, local), (TargetKind::Scale, scale)]),
        report: Some(Arc::<Told>::clone(&told)),
        clock: time,
        law: Law::default(),
    };
    let reconciler = Reconciler::new(parts, &stored);
    Plant {
        sqlite,
        ledger,
        desired,
        gate,
        workloads,
        told,
        clock,
        reconciler,
        _folder: folder,
    }
}

pub(super) fn name(number: usize) -> ThrottleName {
    ThrottleName::try_from(format!("t{number}")).unwrap()
}

fn level(share: f64) -> Level {
    Level::new(share).unwrap()
}

/// A throttle that is at one level and declares another.
fn throttle(stored: f64, declared: f64) -> Declared {
    Declared {
        stored: level(stored),
        ..Declared::bare(name(0), level(declared))
    }
}

/// An open throttle with a workload.
pub(super) fn with_workload(number: usize) -> Declared {
    let scale = ScaleSpec {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "w".to_owned(),
        proportional: false,
        min_replicas: 1,
    };
    let targets = vec![
        TargetSpec::Gate(GateSpec::default()),
        TargetSpec::Scale(scale),
    ];
    Declared {
        targets,
        ..Declared::bare(name(number), Level::OPEN)
    }
}

pub(super) fn hold(epoch: &str) -> Hold {
    Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "r".to_owned(),
        operator: "o".to_owned(),
        taken_at: Timestamp::UNIX_EPOCH,
    }
}

fn moment(entry: &AuditItem) -> Timestamp {
    entry.at.parse().unwrap()
}

impl Plant {
    fn mood(&self, mood: u8) {
        self.ledger.mood.store(mood, Ordering::SeqCst);
    }

    fn level(&self) -> Level {
        self.gate.standing(&name(0)).unwrap().level
    }

    fn replicas(&self, number: usize) -> i64 {
        self.workloads
            .replicas
            .lock()
            .unwrap()
            .get(&name(number))
            .unwrap_or(&REPLICAS)
            .0
    }

    fn kill(&self, epoch: &str) {
        self.gate
            .hold(&Scope::All, &hold(epoch), self.clock.elapsed());
        self.desired
            .change(|declared| declared.holds.push(hold(epoch)));
    }

    fn revive(&self, epoch: &str) {
        let ended = Epoch(epoch.to_owned());
        self.desired
            .change(|declared| declared.holds.retain(|hold| hold.epoch != ended));
        self.gate
            .standings()
            .iter()
            .for_each(|one| self.gate.release(&one.name, &ended));
    }

    /// A kill that is over before anybody looks.
    fn kill_and_revive(&self, epoch: &str) {
        self.kill(epoch);
        self.revive(epoch);
    }

    /// Time passes, under load, and the loop looks once a second.
    async fn pass_for(&mut self, seconds: u64) {
        for _ in 0..seconds {
            for _ in 0..200 {
                self.gate
                    .ask("t0", Question::default(), self.clock.moment());
            }
            self.clock.advance(Duration::from_secs(1));
            self.reconciler.pass().await;
        }
    }

    /// Everything of the audit log, oldest first.
    async fn audit(&self) -> Vec<AuditItem> {
        let mut all = self
            .sqlite
            .audit(PageAsk {
                limit: 500,
                ..PageAsk::default()
            })
            .await
            .unwrap()
            .items;
        all.reverse();
        all
    }

    fn trouble(&self) -> Option<String> {
        self.told
            .0
            .lock()
            .unwrap()
            .last()
            .and_then(|outcome| outcome.trouble.clone())
    }
}

/// Killed, and its workload stopped; then the kill has ended, and the next pass opens.
async fn about_to_open() -> Plant {
    let mut plant = plant(vec![with_workload(0)]);
    plant.reconciler.pass().await;
    plant.kill("a");
    plant.reconciler.pass().await;
    assert_eq!(plant.replicas(0), 0);
    plant.workloads.began.notified().await;
    plant.revive("a");
    plant
}

/// Runs a pass, and something else once the ledger is asked; then the ledger goes on.
async fn while_the_ledger_is_asked(
    plant: &mut Plant,
    meanwhile: impl FnOnce(&Declarations, &Gate),
) {
    plant.mood(WAITS);
    let Plant {
        ledger,
        desired,
        gate,
        reconciler,
        ..
    } = plant;
    let other = async {
        ledger.waits.notified().await;
        ledger.mood.store(WELL, Ordering::SeqCst);
        meanwhile(desired, gate);
        ledger.goes_on.notify_one();
    };
    timeout(SOON, async { tokio::join!(reconciler.pass(), other) })
        .await
        .unwrap();
}

/// Whether the pass was about to stay where it was, or about to open: what was killed and revived
/// inside of it opens by the ramp, from a full stop.
#[tokio::test]
async fn a_kill_that_begins_and_ends_inside_one_pass_is_a_stop() {
    for (stored, declared) in [(0.0, 0.0), (0.5, 0.0)] {
        let mut plant = plant(vec![throttle(stored, declared)]);
        plant.pass_for(6).await;
        plant.desired.change(|declared| declared.generation += 1); // something to record
        plant.clock.advance(Duration::from_secs(1));
        while_the_ledger_is_asked(&mut plant, |_, gate| {
            gate.hold(&Scope::All, &hold("a"), Duration::ZERO);
            gate.release(&name(0), &Epoch("a".to_owned()));
        })
        .await;
        assert_eq!(
            plant.level(),
            Level::STOP,
            "from {stored}: the pass did not know of it"
        );
        plant.reconciler.pass().await;
        assert_eq!(
            plant.level(),
            Level::STOP,
            "from {stored}: and the next one goes by the gate"
        );
        plant.pass_for(7).await;
        let now = plant.level();
        assert!(
            now < Level::STOP && now >= level(0.84),
            "from {stored}: by the ramp, {now}"
        );
    }
}

/// From the first look after a kill on, and not from the last one before its end.
#[tokio::test]
async fn time_under_a_kill_earns_no_ramp() {
    let mut plant = plant(vec![throttle(1.0, 0.0)]);
    plant.pass_for(8).await;
    assert!(plant.level() < Level::STOP, "the ramp runs");
    plant.kill("a");
    plant.reconciler.pass().await;
    plant.clock.advance(Duration::from_secs(10));
    plant.revive("a");
    plant.reconciler.pass().await;
    assert_eq!(
        plant.level(),
        Level::STOP,
        "ten seconds, all of them killed"
    );

    // The same where no pass sees it: the level was a full stop before, so the gate's level alone
    // does not tell.
    plant.clock.advance(Duration::from_secs(5));
    plant.kill_and_revive("b");
    plant.clock.advance(Duration::from_secs(5));
    plant.reconciler.pass().await;
    assert_eq!(plant.level(), Level::STOP, "a kill that no look saw");
    plant.pass_for(7).await;
    assert!(
        plant.level() < Level::STOP && plant.level() >= level(0.84),
        "{}",
        plant.level()
    );
}

/// Nor does it fill the credit that an opening with evidence is paid from.
#[tokio::test]
async fn time_under_a_kill_fills_no_credit() {
    let mut plant = plant(vec![throttle(1.0, 0.0)]);
    let calm = |plant: &Plant| {
        let signals = Signals {
            requests_per_minute: 12_000.0,
            ..Signals::calm(Level::STOP)
        };
        let evidence = Measurement {
            signals,
            at: plant.clock.elapsed(),
            source: None,
        };
        plant
            .desired
            .change(|declared| declared.evidence = vec![evidence.clone()]);
    };
    calm(&plant);
    for _ in 0..8 {
        plant.pass_for(1).await;
        calm(&plant);
    }
    let spent = plant.level();
    assert!(spent < Level::STOP, "it opens, and spends its credit");
    plant.kill("a");
    plant.pass_for(10).await;
    plant.revive("a");
    calm(&plant);
    plant.reconciler.pass().await;
    let opened = 1.0 - plant.level().fraction();
    assert!(
        opened < 0.02,
        "at most what was left when it was killed: {opened}"
    );
}

/// A kill, here only declared or only at the gate; or another process that leads.
#[tokio::test]
async fn what_opens_asks_again_right_before_it() {
    type Meanwhile = fn(&Declarations, &Gate);
    let meanwhile: [(&str, Meanwhile); 3] = [
        ("declared", |desired, _| {
            desired.change(|declared| declared.holds.push(hold("b")))
        }),
        ("at the gate", |_, gate| {
            drop(gate.hold(&Scope::All, &hold("b"), Duration::ZERO))
        }),
        ("no longer leads", |desired, _| {
            desired.leads.store(false, Ordering::SeqCst)
        }),
    ];
    for (what, meanwhile) in meanwhile {
        let mut plant = about_to_open().await;
        while_the_ledger_is_asked(&mut plant, meanwhile).await;
        assert_eq!(plant.replicas(0), 0, "{what}");
    }
}

/// What was opened when a kill came is told, and closed at once.
#[tokio::test]
async fn what_opened_beside_a_kill_is_told_and_closed_by_the_next_look() {
    let mut plant = about_to_open().await;
    plant.workloads.blocks.store(true, Ordering::SeqCst);
    let Plant {
        desired,
        workloads,
        reconciler,
        ..
    } = &mut plant;
    let other = async {
        workloads.began.notified().await;
        desired.change(|declared| declared.holds.push(hold("b")));
        workloads.blocks.store(false, Ordering::SeqCst);
        workloads.goes_on.notify_one();
    };
    timeout(SOON, async { tokio::join!(reconciler.pass(), other) })
        .await
        .unwrap();
    assert!(
        plant
            .trouble()
            .is_some_and(|trouble| trouble.contains("kill")),
        "{:?}",
        plant.trouble()
    );
    timeout(SOON, plant.desired.woken()).await.unwrap();
    plant.reconciler.pass().await;
    assert_eq!(plant.replicas(0), 0);
}

/// A pass that opens one thing does not keep a kill waiting.
#[tokio::test]
async fn an_opening_that_hangs_keeps_no_kill_waiting() {
    let mut plant = about_to_open().await;
    plant.workloads.blocks.store(true, Ordering::SeqCst);
    let Plant {
        desired,
        gate,
        workloads,
        reconciler,
        ..
    } = &mut plant;
    let other = async {
        workloads.began.notified().await;
        gate.hold(&Scope::All, &hold("b"), Duration::ZERO);
        desired.change(|declared| declared.holds.push(hold("b")));
    };
    timeout(SOON, async { tokio::join!(reconciler.pass(), other) })
        .await
        .unwrap();
    assert!(
        plant
            .trouble()
            .is_some_and(|trouble| trouble.contains("kill")),
        "{:?}",
        plant.trouble()
    );
}

/// The stop is there while the pass still waits for the ledger.
#[tokio::test]
async fn closing_waits_behind_no_ledger() {
    let mut plant = plant(vec![with_workload(0)]);
    plant.reconciler.pass().await;
    plant.mood(HANGS);
    plant.kill("a");
    tokio::select! {
        biased;
        () = plant.workloads.done.notified() => {}
        () = plant.reconciler.pass() => {}
        () = sleep(SOON) => {}
    }
    assert_eq!(plant.replicas(0), 0, "stopped, whatever the ledger does");
}

/// A ledger that hangs, or cannot tell, costs a pass its limit once, however many throttles there
/// are. What it was not told then it is told later: once, in order, and with the time when it was.
#[tokio::test]
async fn a_pass_ends_while_the_ledger_hangs_and_what_it_owes_is_told_again() {
    const MANY: usize = 20;
    for hangs in [HANGS, COMMITS_THEN_HANGS, UNDECIDED, COMMITS_UNDECIDED] {
        let mut plant = plant((0..MANY).map(with_workload).collect());
        plant.reconciler.pass().await;
        let before = plant.audit().await.len();
        plant.clock.advance(Duration::from_secs(1));
        let at = plant.clock.now();
        plant.mood(hangs);
        plant.kill("a");
        timeout(SOON, plant.reconciler.pass()).await.unwrap();
        assert!((0..MANY).all(|number| plant.replicas(number) == 0));
        plant.mood(WELL);
        plant.clock.advance(Duration::from_secs(60));
        plant.reconciler.pass().await;
        plant.reconciler.pass().await;

        let audit = plant.audit().await.split_off(before);
        let of = |action: &str| {
            audit
                .iter()
                .filter(|entry| entry.action == action)
                .collect::<Vec<_>>()
        };
        let (intents, outcomes) = (of("scale_intent"), of("scale"));
        assert_eq!(
            (intents.len(), outcomes.len()),
            (MANY, MANY),
            "each once: {audit:#?}"
        );
        for intent in intents {
            let outcome: Vec<_> = outcomes
                .iter()
                .filter(|one| one.request_id == intent.request_id)
                .collect();
            assert!(
                outcome.len() == 1 && outcome[0].seq > intent.seq && outcome[0].reason == "done",
                "{audit:#?}"
            );
            assert!(
                moment(intent) == at && moment(outcome[0]) == at,
                "when it was, {at}: {audit:#?}"
            );
        }
        let stored = plant.ledger.stored().await.unwrap();
        assert!(
            stored
                .throttles
                .iter()
                .all(|row| row.effective == Level::STOP)
        );
    }
}

/// What is owed is remembered apart from what is in force.
#[tokio::test]
async fn what_began_while_the_ledger_was_away_is_recorded_with_its_time() {
    for away in [AWAY, HANGS] {
        let mut plant = plant(vec![throttle(0.0, 0.0)]);
        plant.pass_for(1).await;
        plant.mood(away);
        let signals = Signals {
            error_rate: 0.9,
            requests_per_minute: 12_000.0,
            ..Signals::calm(Level::OPEN)
        };
        let evidence = Measurement {
            signals,
            at: plant.clock.elapsed(),
            source: None,
        };
        plant.desired.change(|declared| {
            declared.evidence = vec![evidence.clone()];
            declared.generation = 7;
        });
        let began = plant.clock.now();
        timeout(SOON, plant.reconciler.pass()).await.unwrap();
        let shed = plant.level();
        assert!(shed > Level::OPEN, "it closes all the same");
        plant.mood(WELL);
        plant.clock.advance(Duration::from_secs(1));
        plant.reconciler.pass().await;
        assert_eq!(plant.level(), shed, "within the tick");

        let audit = plant.audit().await;
        let starts: Vec<_> = audit
            .iter()
            .filter(|entry| entry.action == "shed_start")
            .collect();
        assert_eq!(starts.len(), 1, "{audit:#?}");
        assert_eq!(
            (moment(starts[0]), starts[0].binding_signal.as_str()),
            (began, "errors")
        );
        let stored = plant.ledger.stored().await.unwrap();
        assert_eq!(
            (
                stored.throttles[0].effective,
                stored.throttles[0].generation
            ),
            (shed, 7)
        );
    }
}

/// A kill of the cluster that came and went while the ledger was away is in the record, as it was.
#[tokio::test]
async fn a_hold_that_came_and_went_while_the_ledger_was_away_is_recorded_as_it_was() {
    let mut plant = plant(vec![throttle(0.0, 0.0)]);
    plant.reconciler.pass().await;
    plant.mood(AWAY);
    let source = Source::Override {
        namespace: None,
        name: "stop".to_owned(),
        uid: "a".to_owned(),
        namespace_uid: None,
        definition_uid: None,
    };
    let held = Hold {
        source,
        ..hold("a")
    };
    let mut at = Vec::new();
    for holds in [vec![held], Vec::new()] {
        plant.clock.advance(Duration::from_secs(10));
        plant
            .desired
            .change(|declared| declared.holds.clone_from(&holds));
        plant.reconciler.pass().await;
        at.push(plant.clock.now());
    }
    plant.mood(WELL);
    plant.clock.advance(Duration::from_secs(10));
    plant.reconciler.pass().await;
    let audit = plant.audit().await;
    let told: Vec<_> = audit
        .iter()
        .map(|entry| (entry.action.as_str(), moment(entry)))
        .collect();
    assert_eq!(told, [("kill", at[0]), ("hold_ended", at[1])]);
    assert!(plant.ledger.stored().await.unwrap().holds.is_empty());
}

/// What a command recorded as its own is an object by then, and ends with that: after a restart
/// too.
#[tokio::test]
async fn the_end_of_a_hold_that_its_own_command_recorded_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = SqliteLedger::open(folder.path()).unwrap();
    let taken = ScopedHold {
        scope: Scope::One(name(0)),
        hold: hold("a"),
    };
    let change = Change {
        holds_taken: vec![taken],
        ..Change::of(crate::ledger_suite::values::record("kill"))
    };
    ledger.commit(change).await.unwrap();
    drop(ledger);
    let (namespace, uid) = (Some("shop".to_owned()), "u".to_owned());
    let (namespace_uid, definition_uid) = (None, None);
    let source = Source::Override {
        namespace,
        name: "echo-a".to_owned(),
        uid,
        namespace_uid,
        definition_uid,
    };
    let seen = Hold {
        source,
        ..hold("a")
    };
    let mut plant = plant_in(
        folder,
        vec![Declared {
            holds: vec![seen],
            ..throttle(1.0, 1.0)
        }],
    );
    plant.reconciler.pass().await;
    assert_eq!(
        plant
            .audit()
            .await
            .iter()
            .filter(|entry| entry.action == "kill")
            .count(),
        1,
        "it is known"
    );
    plant.desired.change(|declared| declared.holds.clear());
    plant.reconciler.pass().await;
    assert!(
        plant
            .audit()
            .await
            .iter()
            .any(|entry| entry.action == "hold_ended" && entry.before == "a")
    );
    assert_eq!(plant.sqlite.stored().await.unwrap().holds, []);
}
