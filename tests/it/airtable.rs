//! The mirror against the emulator: setting up, delivering, and every way Airtable has of saying
//! no.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests fail loudly, and have a clock and tasks of their own"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use echo_phoenix::domain::audit::{Change, ClientKey, CommandResponse, Receipt};
use echo_phoenix::mirror::airtable::{Airtable, AirtableConfig, AirtableError, Category, Token};
use echo_phoenix::mirror::counters::MirrorCounters;
use echo_phoenix::mirror::retry::RetryPolicy;
use echo_phoenix::mirror::setup::{SetUp, SetupError, setup};
use echo_phoenix::mirror::tables::TABLES;
use echo_phoenix::mirror::worker::{Worker, WorkerParts};
use echo_phoenix::ports::{Clock, Ledger, LedgerError, OutboxRow, Stored};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::airtable_emulator::{BASE, Emulator, Limits, TOKEN, TOKEN_WITHOUT_BASE};
use crate::python;

const TABLE: &str = "reconciliation_log";
/// For tests that are not about the rate limit.
const LOOSE: Limits = Limits {
    per_second: 1000,
    lockout: Duration::from_secs(1),
};

fn client_of(emulator: &Emulator, token: &str, timeout: Duration) -> Airtable {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = AirtableConfig {
        // A slash at its end is what people write.
        base_url: format!("{}/", emulator.url()),
        timeout,
        ..AirtableConfig::new(Token::parse(token).unwrap(), BASE)
    };
    Airtable::new(config).unwrap()
}

fn client(emulator: &Emulator) -> Airtable {
    client_of(emulator, TOKEN, Duration::from_secs(5))
}

async fn set_up(emulator: &Emulator, dry_run: bool) -> (SetUp, String) {
    let mut out = Vec::new();
    let done = setup(&client(emulator), dry_run, &mut out).await.unwrap();
    (done, String::from_utf8(out).unwrap())
}

/// What a ledger owes, in memory.
#[derive(Default)]
struct Outbox(Mutex<Vec<OutboxRow>>);

#[async_trait]
impl Ledger for Outbox {
    async fn commit(&self, _: Change) -> Result<Receipt, LedgerError> {
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

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        Ok(self.0.lock().unwrap().iter().take(limit).cloned().collect())
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.0.lock().unwrap().retain(|owed| {
            !rows
                .iter()
                .any(|r| r.table == owed.table && r.key == owed.key && r.version >= owed.version)
        });
        Ok(())
    }

    async fn answered(&self, _key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        Ok(None)
    }
}

impl Outbox {
    /// The newest version of a row; the place of an older one is kept.
    fn owe(&self, owed: OutboxRow) {
        let mut rows = self.0.lock().unwrap();
        match rows
            .iter_mut()
            .find(|r| r.table == owed.table && r.key == owed.key)
        {
            Some(row) => *row = owed,
            None => rows.push(owed),
        }
    }

    fn left(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|row| row.key.clone())
            .collect()
    }
}

/// A clock that a test may set.
struct TestClock(Mutex<Timestamp>);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.now()
            .duration_since(Timestamp::UNIX_EPOCH)
            .unsigned_abs()
    }
}

fn drift(key: &str, version: i64) -> OutboxRow {
    let row = json!({
        "id": key, "throttle": "shop.checkout", "target": "apps/v1/Deployment/checkout", "field": "spec.replicas",
        "desired": "0", "actual": "3", "side": "riskier", "who_manager": "kubectl", "who_operation": "Update",
        "who_subresource": "scale", "who_time": null, "first_seen": "2026-10-20T11:59:00.123456Z",
        "last_seen": "2026-10-20T11:59:30Z", "count": version, "action": "corrected", "error": null,
    });
    OutboxRow {
        table: TABLE.to_owned(),
        key: key.to_owned(),
        version,
        row: row.to_string(),
    }
}

/// A row Airtable will not have: its count is no number.
fn poison(key: &str, version: i64) -> OutboxRow {
    let mut owed = drift(key, version);
    owed.row = owed
        .row
        .replace(&format!("\"count\":{version}"), "\"count\":\"many\"");
    owed
}

/// A worker at work.
struct Mirror {
    emulator: Emulator,
    ledger: Arc<Outbox>,
    clock: Arc<TestClock>,
    wake: Arc<Notify>,
    counters: Arc<MirrorCounters>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Starts a worker on a base that is set up, with pauses short enough to wait for.
    async fn start(limits: Limits, owed: Vec<OutboxRow>, before: impl FnOnce(&Emulator)) -> Self {
        let emulator = Emulator::start(limits).await;
        set_up(&emulator, false).await;
        before(&emulator);
        Self::on(emulator, limits, owed)
    }

    fn on(emulator: Emulator, limits: Limits, owed: Vec<OutboxRow>) -> Self {
        let ledger = Arc::new(Outbox(Mutex::new(owed)));
        let clock = Arc::new(TestClock(Mutex::new(
            "2026-10-20T12:00:00Z".parse().unwrap(),
        )));
        let (wake, counters, stop) = (Arc::default(), Arc::default(), CancellationToken::new());
        let short = Duration::from_millis(100);
        let policy = RetryPolicy {
            first: short,
            cap: short,
            lockout: limits.lockout,
            refused: short,
        };
        let mut worker = Worker::new(WorkerParts {
            airtable: client_of(&emulator, TOKEN, Duration::from_secs(2)),
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            wake: Arc::clone(&wake),
            counters: Arc::clone(&counters),
            policy,
            jitter: || 0.5,
        });
        let until = stop.clone();
        let task = tokio::spawn(async move { worker.run(until).await });
        Self {
            emulator,
            ledger,
            clock,
            wake,
            counters,
            stop,
            task,
        }
    }

    /// Waits until something holds; after ten seconds the test has failed.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "not within 10 s: {what}\n{:#?}\n{:#?}",
                self.counters,
                self.emulator.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the worker, which must obey at once, and reads the table with a real client.
    async fn stop_and_read(self) -> Vec<Value> {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(1), self.task)
            .await
            .expect("it stops when told")
            .unwrap();
        let url = self.emulator.url().to_owned();
        let printed = tokio::task::spawn_blocking(move || {
            python::run("airtable_check.py", &["read", &url, TOKEN, BASE, TABLE], "")
        });
        serde_json::from_str(&printed.await.unwrap()).unwrap()
    }
}

async fn check(mode: &'static str, emulator: &Emulator, last: &'static str) {
    let url = emulator.url().to_owned();
    tokio::task::spawn_blocking(move || {
        python::run("airtable_check.py", &[mode, &url, TOKEN, BASE, last], "")
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_takes_the_emulator_for_airtable() {
    check("truth", &Emulator::start(LOOSE).await, TOKEN_WITHOUT_BASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_is_limited_by_the_emulator() {
    let emulator = Emulator::start(Limits {
        lockout: Duration::from_secs(1),
        ..Limits::default()
    })
    .await;
    set_up(&emulator, false).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    check("patience", &emulator, TABLE).await;
}

#[tokio::test]
async fn a_dry_run_prints_the_diff_and_changes_nothing() {
    let emulator = Emulator::start(LOOSE).await;
    let (done, printed) = set_up(&emulator, true).await;
    assert_eq!(
        done,
        SetUp {
            missing: 1,
            added: 0,
            conflicts: 0
        }
    );
    assert!(
        printed.starts_with("+ table reconciliation_log\n+   id singleLineText\n"),
        "{printed}"
    );
    assert!(
        printed.ends_with("dry run: nothing was changed\n"),
        "{printed}"
    );
    assert_eq!(emulator.schema(), json!({ "tables": [] }));
    assert_eq!(emulator.count("POST"), 0);
}

#[tokio::test]
async fn setting_up_twice_is_setting_up_once() {
    let emulator = Emulator::start(LOOSE).await;
    assert_eq!(
        set_up(&emulator, false).await.0,
        SetUp {
            missing: 1,
            added: 1,
            conflicts: 0
        }
    );
    let schema = emulator.schema();
    let (done, printed) = set_up(&emulator, false).await;
    assert_eq!(
        (done, printed.as_str()),
        (SetUp::default(), "nothing to add\n")
    );
    assert_eq!(emulator.schema(), schema);
    let fields = schema["tables"][0]["fields"].as_array().unwrap();
    let names: Vec<&str> = fields.iter().map(|f| f["name"].as_str().unwrap()).collect();
    let declared: Vec<&str> = TABLES[0].all_fields().map(|f| f.name).collect();
    assert_eq!(names, declared);
    assert_eq!(schema["tables"][0]["primaryFieldId"], fields[0]["id"]);
}

#[tokio::test]
async fn a_missing_field_is_added_and_nothing_else_is_touched() {
    let emulator = Emulator::start(LOOSE).await;
    set_up(&emulator, false).await;
    emulator.rename_field(TABLE, "error", "What went wrong");
    let before = emulator.schema();
    let (done, printed) = set_up(&emulator, false).await;
    assert_eq!(
        done,
        SetUp {
            missing: 1,
            added: 1,
            conflicts: 0
        }
    );
    assert_eq!(
        printed,
        "+ field reconciliation_log.error multilineText\nadded\n"
    );
    let (before, after) = (
        before["tables"][0]["fields"].as_array().unwrap().clone(),
        emulator.schema(),
    );
    let after = after["tables"][0]["fields"].as_array().unwrap();
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(after.len(), before.len() + 1);
}

#[tokio::test]
async fn a_conflict_is_told_and_left_alone() {
    let emulator = Emulator::start(LOOSE).await;
    set_up(&emulator, false).await;
    emulator.rename_field(TABLE, "count", "old count");
    emulator.rename_field(TABLE, "side", "count");
    emulator.rename_field(TABLE, "old count", "side");
    let before = emulator.schema();
    let (done, printed) = set_up(&emulator, false).await;
    assert_eq!(
        done,
        SetUp {
            missing: 0,
            added: 0,
            conflicts: 2
        }
    );
    assert!(
        printed.contains("! field reconciliation_log.count is singleLineText, expected number"),
        "{printed}"
    );
    assert_eq!(emulator.schema(), before);
}

#[tokio::test]
async fn a_token_that_may_not_is_told_so_without_being_shown() {
    let emulator = Emulator::start(LOOSE).await;
    for (token, said) in [
        ("patWrong.secret", "UNAUTHORIZED"),
        (TOKEN_WITHOUT_BASE, "INVALID_PERMISSIONS"),
    ] {
        let client = client_of(&emulator, token, Duration::from_secs(5));
        let error = setup(&client, false, &mut Vec::new()).await.unwrap_err();
        assert!(
            matches!(&error, SetupError::Airtable(AirtableError::NotAllowed(_))),
            "{error:?}"
        );
        let shown = format!("{error} {error:?} {client:?}");
        assert!(shown.contains(said) && !shown.contains(token), "{shown}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let emulator = Emulator::start(LOOSE).await;
    let client = client(&emulator);
    drop(emulator);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        client.schema().await.unwrap_err().category(),
        Category::Unreachable
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_arrives_and_is_read_back() {
    let owed: Vec<OutboxRow> = (0..23).map(|n| drift(&format!("01K{n:02}"), 1)).collect();
    let mirror = Mirror::start(LOOSE, owed, |_| {}).await;
    mirror
        .until("23 rows", |m| m.counters.delivered() == 23)
        .await;
    assert_eq!(mirror.ledger.left(), Vec::<String>::new());
    assert_eq!(mirror.emulator.count("PATCH 200"), 3, "ten at a time");

    mirror.ledger.owe(drift("01K05", 2));
    mirror.wake.notify_one();
    mirror
        .until("the newer version", |m| m.counters.delivered() == 24)
        .await;
    mirror
        .until("nothing waits", |m| {
            m.counters.oldest_pending_since().is_none()
        })
        .await;
    let rows = mirror.stop_and_read().await;
    assert_eq!(rows.len(), 23, "a newer version is no new record");
    assert_eq!(
        rows[5],
        json!({
            "id": "01K05", "throttle": "shop.checkout", "target": "apps/v1/Deployment/checkout", "field": "spec.replicas",
            "desired": "0", "actual": "3", "side": "riskier", "who_manager": "kubectl", "who_operation": "Update",
            "who_subresource": "scale", "first_seen": "2026-10-20T11:59:00.123Z", "last_seen": "2026-10-20T11:59:30.000Z",
            "count": 2, "action": "corrected",
        })
    );
}

#[tokio::test]
async fn a_drift_arrives_within_five_seconds_even_if_nobody_wakes_the_worker() {
    let mirror = Mirror::start(Limits::default(), vec![], |_| {}).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    mirror.ledger.owe(drift("01K", 1));
    mirror
        .until("it arrives", |m| m.emulator.records(TABLE).len() == 1)
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_but_timed_out_is_still_one_row() {
    let mirror = Mirror::start(LOOSE, vec![drift("01K", 1)], |e| {
        e.leave_writes_unanswered(2)
    })
    .await;
    mirror
        .until("it is delivered", |m| m.counters.delivered() == 1)
        .await;
    assert_eq!(mirror.emulator.count("PATCH 200"), 3);
    assert_eq!(mirror.counters.failed(Category::TimedOut), 2);
    assert_eq!(mirror.stop_and_read().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_row_does_not_block_nine_good_ones() {
    let owed = (0..10)
        .map(|n| {
            if n == 3 {
                poison("01K3", 1)
            } else {
                drift(&format!("01K{n}"), 1)
            }
        })
        .collect();
    let mirror = Mirror::start(LOOSE, owed, |_| {}).await;
    mirror
        .until("nine rows and one aside", |m| {
            m.counters.delivered() == 9 && m.counters.parked() == 1
        })
        .await;
    // Ten, five and five, and the one five by ones.
    assert_eq!(
        (
            mirror.emulator.count("PATCH 422"),
            mirror.emulator.count("PATCH 200")
        ),
        (3, 5)
    );
    assert_eq!(mirror.ledger.left(), ["01K3"], "it stays owed");
    mirror
        .until("it is not waiting", |m| {
            m.counters.oldest_pending_since().is_none()
        })
        .await;

    // Rows behind it go on, and so does a newer, better version of itself.
    mirror.ledger.owe(drift("01K9x", 1));
    mirror.wake.notify_one();
    mirror
        .until("the row behind", |m| m.counters.delivered() == 10)
        .await;
    assert_eq!(
        mirror.emulator.count("PATCH 422"),
        3,
        "what was refused is not sent again"
    );
    mirror.ledger.owe(drift("01K3", 2));
    mirror.wake.notify_one();
    mirror
        .until("nothing aside", |m| {
            m.counters.delivered() == 11 && m.counters.parked() == 0
        })
        .await;
    assert_eq!(mirror.stop_and_read().await.len(), 11);
}

#[tokio::test]
async fn more_poison_than_a_batch_holds_hides_nobody() {
    let owed = (0..25)
        .map(|n| poison(&format!("bad{n:02}"), 1))
        .chain([drift("good", 1)])
        .collect();
    let mirror = Mirror::start(LOOSE, owed, |_| {}).await;
    let limit = Duration::from_secs(60);
    let start = Instant::now();
    while mirror.counters.delivered() == 0 && start.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (mirror.counters.delivered(), mirror.ledger.left().len()),
        (1, 25)
    );
    mirror
        .until("all aside", |m| m.counters.parked() == 25)
        .await;
}

#[tokio::test]
async fn a_row_without_a_table_and_a_row_without_json_are_set_aside() {
    let strange = OutboxRow {
        table: "no_such_table".to_owned(),
        ..drift("a", 1)
    };
    let broken = OutboxRow {
        row: "{".to_owned(),
        ..drift("b", 1)
    };
    let mirror = Mirror::start(LOOSE, vec![strange, broken, drift("c", 1)], |_| {}).await;
    mirror
        .until("one of three", |m| {
            m.counters.delivered() == 1 && m.counters.parked() == 2
        })
        .await;
}

#[tokio::test]
async fn a_duplicate_in_airtable_is_set_aside_alone() {
    let mirror = Mirror::start(LOOSE, vec![drift("a", 1)], |_| {}).await;
    mirror.until("a", |m| m.counters.delivered() == 1).await;
    mirror.emulator.duplicate_first_record(TABLE);
    mirror.ledger.owe(drift("a", 2));
    mirror.ledger.owe(drift("b", 1));
    mirror.wake.notify_one();
    mirror
        .until("b arrives, a is aside", |m| {
            m.counters.delivered() == 2 && m.counters.parked() == 1
        })
        .await;
    assert!(mirror.counters.failed(Category::AmbiguousMatch) > 0);
}

#[tokio::test]
async fn the_pace_stays_below_airtables() {
    let owed = (0..80).map(|n| drift(&format!("{n:02}"), 1)).collect();
    // The real limit, and a lockout no test would wait for.
    let mirror = Mirror::start(
        Limits {
            lockout: Duration::from_secs(60),
            ..Limits::default()
        },
        owed,
        |_| {},
    )
    .await;
    mirror
        .until("80 rows", |m| m.counters.delivered() == 80)
        .await;
    assert_eq!(mirror.counters.failed_total(), 0);
}

#[tokio::test]
async fn a_lockout_is_waited_out_in_silence() {
    let limits = Limits {
        lockout: Duration::from_secs(3),
        ..Limits::default()
    };
    let mirror = Mirror::start(limits, vec![], |_| {}).await;
    // Somebody else uses the base too.
    let others = [
        client(&mirror.emulator),
        client(&mirror.emulator),
        client(&mirror.emulator),
    ];
    let mut locked = false;
    for _ in 0..10 {
        let answers = futures_of(&others).await;
        locked |= answers
            .iter()
            .any(|a| matches!(a, Err(AirtableError::RateLimited)));
        if locked {
            break;
        }
    }
    assert!(locked, "{:#?}", mirror.emulator.log());
    mirror.ledger.owe(drift("a", 1));
    mirror.wake.notify_one();
    mirror
        .until("the worker met the lockout", |m| {
            m.counters.failed(Category::RateLimited) > 0
        })
        .await;
    let met = Instant::now();
    let before = mirror.emulator.log().len();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    mirror.wake.notify_one();
    assert_eq!(
        mirror.emulator.log().len(),
        before,
        "it asks nothing meanwhile, woken or not"
    );
    mirror
        .until("it arrives", |m| m.counters.delivered() == 1)
        .await;
    assert!(
        met.elapsed() >= Duration::from_millis(2900),
        "{:?}",
        met.elapsed()
    );
    assert_eq!(mirror.counters.failed_total(), 1);
}

/// One request of each client at once.
async fn futures_of(clients: &[Airtable; 3]) -> [Result<(), AirtableError>; 3] {
    let [a, b, c] = clients;
    let (a, b, c) = tokio::join!(a.schema(), b.schema(), c.schema());
    [a.map(drop), b.map(drop), c.map(drop)]
}

#[tokio::test]
async fn a_spent_quota_parks_the_mirror_until_the_month_turns() {
    let mirror = Mirror::start(LOOSE, vec![drift("a", 1)], |e| e.spend_quota(true)).await;
    mirror
        .until("it says until when", |m| m.counters.quota_until().is_some())
        .await;
    let november: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    assert_eq!(
        mirror.counters.quota_until(),
        u64::try_from(november.as_second()).ok()
    );
    let since = mirror.clock.elapsed();
    assert_eq!(
        mirror.counters.oldest_pending_since(),
        Some(since),
        "what waited before the start waits since then"
    );
    mirror.wake.notify_one();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        mirror.emulator.count("PATCH"),
        1,
        "it asks nothing meanwhile"
    );
    assert_eq!(mirror.counters.parked(), 0, "the rows are not at fault");

    mirror.emulator.spend_quota(false);
    *mirror.clock.0.lock().unwrap() = november;
    mirror
        .until("it goes on", |m| m.counters.delivered() == 1)
        .await;
    assert_eq!(mirror.counters.quota_until(), None);
}

#[tokio::test]
async fn a_fault_of_airtables_passes() {
    let mirror = Mirror::start(LOOSE, vec![drift("a", 1)], |e| e.break_down(3, 503)).await;
    mirror
        .until("it arrives", |m| m.counters.delivered() == 1)
        .await;
    assert_eq!(mirror.counters.failed(Category::Unavailable), 3);
}

#[tokio::test]
async fn a_renamed_field_is_the_same_field() {
    let mirror = Mirror::start(LOOSE, vec![drift("a", 1)], |_| {}).await;
    mirror.until("a", |m| m.counters.delivered() == 1).await;
    mirror
        .emulator
        .rename_field(TABLE, "throttle", "Which throttle");
    mirror.ledger.owe(drift("b", 1));
    mirror.wake.notify_one();
    mirror.until("b", |m| m.counters.delivered() == 2).await;
    assert_eq!(
        mirror.emulator.records(TABLE)[1]["Which throttle"],
        "shop.checkout"
    );
}

#[tokio::test]
async fn a_base_that_is_not_set_up_is_waited_for() {
    let emulator = Emulator::start(LOOSE).await;
    let mirror = Mirror::on(emulator, LOOSE, vec![drift("a", 1)]);
    mirror
        .until("it says so", |m| m.counters.failed(Category::NotFound) > 1)
        .await;
    assert_eq!(
        (mirror.counters.parked(), mirror.ledger.left().len()),
        (0, 1),
        "the rows are not at fault"
    );
    set_up(&mirror.emulator, false).await;
    mirror
        .until("it arrives", |m| m.counters.delivered() == 1)
        .await;
}
