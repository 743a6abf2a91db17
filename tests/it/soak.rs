//! The long soak: everything at once for half an hour, while the log is not read, the wall clock
//! steps, the process is killed with -9 and the journal is damaged. Nothing is admitted while
//! killed, no level is below what law, ramp or declaration give, and nothing that was acknowledged
//! is lost.
//!
//! 30 minutes with ECHO_TEST_FULL=1; ECHO_SOAK_MINUTES says how many instead, two are enough for
//! all of it. Whatever the length, each fault is watched for a twelfth of it. The rest of its kind
//! (`crash`, `damage`, `log`, the clock's rules) is part of every run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its variables and the clock itself"
)]

mod load;
mod world;

use std::io::{PipeReader, Read, pipe};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Echo, KEY, eventually, http, program, run};
use world::World;

const HOUR_S: i64 = 3600;
const SECRET: &str = "whsec_of_the_soak_test";
/// For how long an alarm is watched: two ticks and some.
const ALARM: Duration = Duration::from_secs(9);
/// Two loaded cores, and a build that is not optimised.
const LATER: Duration = Duration::from_secs(60);

/// The service, its folder, and whoever reads its log.
struct Soak {
    world: Arc<World>,
    folder: tempfile::TempDir,
    stalled: Arc<AtomicBool>,
    echo: Option<Echo>,
    /// How long one fault is watched.
    slot: Duration,
}

impl Soak {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the service on what there is.
    async fn start(&mut self) {
        let (reader, writer) = pipe().unwrap();
        read_on(reader, Arc::clone(&self.stalled));
        let mut variables = self.world.wall.variables();
        variables.push(("STRIPE_WEBHOOK_SECRET", SECRET.to_owned()));
        // Every request leaves a line, so that a pipe that is not read is soon full.
        variables.push(("ECHO_LOG", "debug".to_owned()));
        let echo = Echo::saying_to(writer, &variables, self.folder.path()).await;
        self.world.up(echo.address);
        self.echo = Some(echo);
    }

    fn echo(&mut self) -> &mut Echo {
        self.echo.as_mut().unwrap()
    }

    /// A power cut, and a start on what it left.
    async fn power_cut(&mut self) {
        self.world.down();
        self.echo().process.kill_9();
        self.start().await;
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = self.world.url(path).unwrap();
        let answer = http()
            .post(url)
            .header("x-api-key", KEY)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn kill(&self) {
        let order = json!({ "reason": "soak", "operator": "dana", "confirmation": "CONFIRM_KILL" });
        let (status, answer) = self.post("/kill", order).await;
        assert_eq!(
            (status, &answer["durable"]),
            (200, &json!(true)),
            "{answer}"
        );
        self.world.is_killed();
    }

    /// Asked for until it is done: while the record does not answer in time nothing is opened.
    async fn revive(&self) {
        self.world.is_to_open();
        eventually("it is revived", LATER, async || {
            let (status, answer) = self
                .post("/revive", json!({ "operator": "dana", "reason": "soak" }))
                .await;
            assert!(
                (status, &answer["status"]) == (200, &json!("revived")) || status == 503,
                "{answer}"
            );
            (status == 200).then_some(())
        })
        .await;
    }

    /// Lets the load go on for one slot.
    async fn on(&self, what: &str) {
        println!(
            "soak, {:>6.1} s: {what}",
            self.world.began.elapsed().as_secs_f64()
        );
        sleep(self.slot).await;
        self.world.is_sound(what);
    }

    async fn health(&self) -> Value {
        http()
            .get(self.world.url("/health").unwrap())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }
}

/// Reads a log to its end, but for when it is stalled.
fn read_on(mut reader: PipeReader, stalled: Arc<AtomicBool>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            while stalled.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
            if !matches!(reader.read(&mut buffer), Ok(1..)) {
                return;
            }
        }
    });
}

/// How long; none where nobody asked for it.
fn minutes() -> Option<f64> {
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let asked = std::env::var("ECHO_SOAK_MINUTES")
        .ok()
        .map(|text| text.parse().expect("ECHO_SOAK_MINUTES: a number"));
    asked.or(full.then_some(30.0))
}

/// The log is not read for a slot, in which the brake is pulled and let go.
async fn stalled_log(soak: &Soak, which: &str) {
    soak.stalled.store(true, Ordering::SeqCst);
    soak.on(&format!("the log is not read, the {which} time"))
        .await;
    soak.kill().await;
    soak.revive().await;
    soak.stalled.store(false, Ordering::SeqCst);
}

/// The wall clock steps by an hour and back.
async fn stepped_clock(soak: &Soak, first: i64) {
    soak.world.wall.step(first);
    soak.on(&format!("the wall clock stepped by {first} s"))
        .await;
    soak.world.wall.step(-first);
    soak.on("and back").await;
}

/// A measurement by which nothing opens further: the law on it holds what is in force for its three
/// ticks, of which the last may be over sooner than it looks. Nobody else commands meanwhile: the
/// newest body is the one that counts.
async fn alarm(soak: &Soak) {
    let _only = soak.world.commanding.lock().await;
    // It declares no less than anybody else's: what is declared is not what holds.
    let order = json!({ "current_state": load::signals(0.9), "target_throttle": 0.4 });
    let (status, answer) = soak.post("/control", order).await;
    assert_eq!(
        (status, answer["throttle_pct"].as_f64()),
        (200, Some(1.0)),
        "{answer}"
    );
    soak.world
        .is_alarmed(ALARM, answer["in_force"].as_f64().unwrap());
    sleep(ALARM).await;
    soak.world.is_sound("an alarm");
}

/// The journal is not as it was, the ledger is whole: everything is shut, and says why, until
/// somebody revives it.
async fn damaged_journal(soak: &mut Soak) {
    soak.world.down();
    assert!(soak.echo().process.terminate().success());
    let path = soak.data().join("journal");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    soak.world.is_killed();
    soak.start().await;
    let health = soak.health().await;
    assert_eq!(health["status"], "unhealthy", "{health}");
    assert!(
        health["checks"]["holds"]
            .as_str()
            .unwrap()
            .starts_with("unaccounted: "),
        "{health}"
    );
    soak.on("the journal was damaged").await;
    soak.revive().await;
    eventually("it is accounted for", LATER, async || {
        (soak.health().await["checks"]["holds"] == "ok").then_some(())
    })
    .await;
}

/// All that was acknowledged is in the ledger, once.
fn is_complete(soak: &Soak) {
    run(Command::new(program())
        .arg("verify")
        .arg("--data-dir")
        .arg(soak.data()));
    let ledger = Connection::open(soak.data().join("ledger.db")).unwrap();
    let (events, commands) = soak.world.acknowledged();
    println!(
        "soak: {} events and {} commands were acknowledged",
        events.len(),
        commands.len()
    );
    assert!(
        events.len() > 50 && commands.len() > 20,
        "the load was none"
    );
    for (query, ids) in [
        (
            "SELECT count(*) FROM evidence_ledger WHERE event_id = ?1",
            events,
        ),
        (
            "SELECT count(*) FROM audit_log WHERE request_id = ?1",
            commands,
        ),
    ] {
        let mut count = ledger.prepare(query).unwrap();
        let lost: Vec<_> = ids
            .into_iter()
            .filter(|id| count.query_row([id], |row| row.get::<_, i64>(0)).unwrap() != 1)
            .collect();
        assert_eq!(lost, Vec::<String>::new(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn half_an_hour_of_faults_admits_nothing_loses_nothing_and_opens_by_the_ramp() {
    let Some(minutes) = minutes() else {
        return println!("soak: only at full length, by ECHO_TEST_FULL=1");
    };
    let slot = Duration::from_secs_f64(minutes * 60.0 / 12.0);
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::new(folder.path()));
    let mut soak = Soak {
        world: Arc::clone(&world),
        folder,
        stalled: Arc::default(),
        echo: None,
        slot,
    };
    soak.start().await;
    let load = load::start(&world, SECRET);

    soak.on("it opens under load").await;
    stalled_log(&soak, "first").await;
    soak.power_cut().await;
    soak.on("a power cut while it opens").await;
    stepped_clock(&soak, HOUR_S).await;
    soak.kill().await;
    soak.power_cut().await;
    soak.on("a power cut while it is killed").await;
    soak.revive().await;
    alarm(&soak).await;
    soak.on("a revival into an alarm").await;
    stepped_clock(&soak, -HOUR_S).await;
    stalled_log(&soak, "second").await;
    soak.power_cut().await;
    soak.on("a third power cut").await;
    damaged_journal(&mut soak).await;
    soak.on("it opens again").await;

    world.down();
    load.end().await;
    assert!(soak.echo().process.terminate().success());
    world.is_sound("the end");
    is_complete(&soak);
}
