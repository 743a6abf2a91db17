//! What the service does while its store is full, frozen or locked: stopping works, opening waits,
//! nothing is lost.
//!
//! Real faults: a tmpfs without space, `chattr +i`, a lock of another SQLite connection. The first
//! two need root.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, http, prepared, program, run};

/// Why a ledger cannot be written: full, not to be changed, locked.
const WHYS: [&str; 3] = [
    "database or disk is full",
    "ledger.db-shm: ",
    "database is locked",
];
const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
/// How long the service may take to find its way back.
const BACK: Duration = Duration::from_secs(15);

async fn post(echo: &Echo, path: &str, body: &str) -> (StatusCode, Value) {
    let request = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn get(echo: &Echo, path: &str) -> StatusCode {
    http().get(echo.url(path)).send().await.unwrap().status()
}

fn control(target: f64) -> String {
    json!({
        "current_state": {
            "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
            "phi_static": 0.5, "phi_dynamic": 0.45, "temperature": 0.85, "susceptibility": 2.0,
        },
        "target_throttle": target,
    })
    .to_string()
}

/// A command that needs root.
fn as_root(arguments: &[&str]) {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "if [ $(id -u) = 0 ]; then exec \"$@\"; else exec sudo -n \"$@\"; fi",
            "sh",
        ])
        .args(arguments);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        done.status.success(),
        "{arguments:?} (faults of a real store need root, or sudo without a password): {said}"
    );
}

/// A file system of its own with little space, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(folder: &Path) -> Self {
        let path = folder.join("disk");
        fs::create_dir_all(&path).unwrap();
        let user = run(Command::new("id").arg("-u"));
        let options = format!("size=12m,mode=700,uid={}", user.trim());
        as_root(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            &options,
            "none",
            path.to_str().unwrap(),
        ]);
        Self(path)
    }

    fn fill(&self) {
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.0.join("ballast"))
            .unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the service may still be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The files of a folder, none of which can be written while this lives.
struct Frozen(Vec<PathBuf>);

impl Frozen {
    fn new(folder: &Path) -> Self {
        let files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        for file in &files {
            as_root(&["chattr", "+i", file.to_str().unwrap()]);
        }
        Self(files)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for file in &self.0 {
            as_root(&["chattr", "-i", file.to_str().unwrap()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_without_its_events_or_nonces_is_not_healthy() {
    for table in ["evidence_ledger", "used_nonces"] {
        let folder = tempfile::tempdir().unwrap();
        let echo = Echo::start("serve", &[], folder.path()).await;
        assert_eq!(get(&echo, "/health").await, StatusCode::OK);
        let file = rusqlite::Connection::open(folder.path().join("data/ledger.db")).unwrap();
        file.busy_timeout(Duration::from_secs(10)).unwrap();
        file.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        let answer = http().get(echo.url("/health")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{table}");
        let health: Value = answer.json().await.unwrap();
        assert!(
            health["status"] == "unhealthy" && health["checks"]["ledger"] != "ok",
            "{table}: {health}"
        );
        eventually("the log names it", BACK, async || {
            echo.process
                .said()
                .contains(&format!("the table {table} is gone"))
                .then_some(())
        })
        .await;
        // A kill needs none of it.
        assert_eq!(post(&echo, "/kill", KILL).await.0, StatusCode::OK);
        assert_eq!(echo.verdict("default").await.1, "kill");
    }
}

/// A service that is open at 25 %, in this data folder.
async fn opened(data: &Path, folder: &Path) -> Echo {
    opened_with(data, folder, &[]).await
}

/// The same with these variables.
async fn opened_with(data: &Path, folder: &Path, more: &[(&str, &str)]) -> Echo {
    let mut variables = vec![("ECHO_DATA_DIR", data.display().to_string())];
    variables.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let echo = Echo::start("serve", &variables, folder).await;
    let (status, answer) = post(&echo, "/control", &control(0.25)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    eventually("it opens", Duration::from_secs(10), async || {
        let health: Value = http()
            .get(echo.url("/health"))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        (health["throttle_pct"] == 0.25).then_some(())
    })
    .await;
    echo
}

async fn start(data: &Path, folder: &Path) -> Echo {
    Echo::start(
        "serve",
        &[("ECHO_DATA_DIR", data.display().to_string())],
        folder,
    )
    .await
}

/// What must hold while the ledger cannot be written, whatever the reason; `durable` is whether the
/// journal can.
async fn stands(echo: &Echo, durable: bool) {
    let (status, answer) = post(echo, "/observe", r#"{"source":"test"}"#).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    let (status, answer) = post(echo, "/control", &control(0.0)).await;
    assert_eq!(
        status,
        StatusCode::SERVICE_UNAVAILABLE,
        "an opening waits: {answer}"
    );
    assert!(
        answer["detail"].as_str().unwrap().contains("ledger"),
        "{answer}"
    );

    let (status, answer) = post(echo, "/control", &control(0.5)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        (&answer["in_force"], &answer["audit"]),
        (&json!(0.5), &json!("pending")),
        "tightening holds at once"
    );
    assert_eq!(answer["durable"], durable);

    let (status, answer) = post(echo, "/kill", KILL).await;
    assert_eq!(
        (status, &answer["audit"], &answer["durable"]),
        (StatusCode::OK, &json!("pending"), &json!(durable))
    );
    assert_eq!(answer["targets"][0]["enforced"], true);
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    let (status, answer) = post(echo, "/revive", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));

    // Refusals that are audited are owed like commands.
    let (status, answer) = post(echo, "/kill", &KILL.replace("CONFIRM_KILL", "yes")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let (status, answer) = post(echo, "/control", &control(0.0)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");

    assert_eq!(
        (get(echo, "/livez").await, get(echo, "/readyz").await),
        (StatusCode::OK, StatusCode::OK)
    );
    let health = http().get(echo.url("/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health: Value = health.json().await.unwrap();
    let told = health["checks"]["ledger"].as_str().unwrap();
    // Why, and what a restart would lose.
    assert!(
        WHYS.iter().any(|why| told.contains(&format!("({why}"))),
        "{told}"
    );
    assert_eq!(
        told.contains("in memory alone: a restart loses them"),
        !durable,
        "{told}"
    );
}

/// What must hold once the ledger is back: all that was acknowledged is in it, once, in order.
async fn complete(echo: &Echo, data: &Path, actions: &[&str]) {
    eventually("the service is healthy again", BACK, async || {
        (get(echo, "/health").await == StatusCode::OK).then_some(())
    })
    .await;
    let mut found = Vec::new();
    eventually(&format!("the ledger has {actions:?}"), BACK, async || {
        let conn = rusqlite::Connection::open(data.join("ledger.db")).ok()?;
        let mut rows = conn
            .prepare("SELECT action FROM audit_log WHERE action <> 'checkpoint' ORDER BY seq")
            .ok()?;
        found = rows
            .query_map([], |row| row.get(0))
            .ok()?
            .collect::<Result<Vec<String>, _>>()
            .ok()?;
        (found == actions).then_some(())
    })
    .await;
    run(Command::new(program())
        .args(["verify", "--data-dir"])
        .arg(data));
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&health["status"], &health["checks"]["ledger"]),
        (&json!("healthy"), &json!("ok")),
        "{health}"
    );
    let (status, answer) = post(echo, "/revive", "").await;
    assert_eq!(
        (status, &answer["status"]),
        (StatusCode::OK, &json!("revived")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(folder.path());
    let data = disk.0.join("data");
    let mut echo = opened(&data, folder.path()).await;
    disk.fill();
    stands(&echo, true).await;

    echo.process.kill_9();
    disk.fill();
    let echo = start(&data, folder.path()).await;
    assert_eq!(
        echo.verdict("default").await,
        (403, "kill".to_owned()),
        "started while full, it denies at once"
    );
    let (status, answer) = post(&echo, "/kill", KILL).await;
    assert_eq!(
        (status, &answer["durable"]),
        (StatusCode::OK, &json!(true)),
        "{answer}"
    );
    disk.free();
    complete(
        &echo,
        &data,
        &[
            "control",
            "control",
            "kill",
            "kill_refused",
            "control_refused",
            "kill",
        ],
    )
    .await;
}

/// What nothing took is lost with the process, which says so.
async fn lost_with_the_process(mut echo: Echo, data: &Path) {
    let frozen = Frozen::new(data);
    assert_eq!(post(&echo, "/kill", KILL).await.1["durable"], false);
    assert!(!echo.process.said().contains("are lost with this process"));
    assert!(
        echo.process.terminate().success(),
        "{}",
        echo.process.said()
    );
    assert!(
        echo.process
            .said()
            .contains("commands are lost with this process"),
        "{}",
        echo.process.said()
    );
    drop(frozen);
}

/// Lines of the log that are errors or warnings, but for those that say what was ordered and that
/// `/health` looked.
fn troubles(said: &str) -> Vec<String> {
    let told =
        |line: &&str| line.contains(r#""level":"ERROR""#) || line.contains(r#""level":"WARN""#);
    let orders = [r#""message":"killed""#, "the ledger does not answer"];
    let other = |line: &&str| !orders.iter().any(|order| line.contains(order));
    said.lines()
        .filter(told)
        .filter(other)
        .map(str::to_owned)
        .collect()
}

/// So many orders on a full disk have a line each, which says why and has all of them.
fn one_line_a_command(lines: &[String], orders: usize) {
    let of = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        of("the ledger did not take a command yet; what it closed stays shut"),
        4,
        "{lines:#?}"
    );
    assert_eq!(
        (of("an opening was refused"), of("a revival was refused")),
        (1, 1),
        "{lines:#?}"
    );
    let once = [
        "the ledger does not take a command; it is told it",
        "nothing opens until the ledger is back",
    ];
    assert!(
        once.iter().all(|words| of(words) <= 1),
        "once each: {lines:#?}"
    );
    assert!(lines.len() <= orders + once.len(), "{lines:#?}");
    assert_eq!(
        of("database or disk is full"),
        lines.len(),
        "each says why: {lines:#?}"
    );
    let kill = lines
        .iter()
        .find(|line| line.contains(r#""action":"kill""#))
        .unwrap();
    for part in [
        r#""operator":"dana""#,
        r#""journal":"has it""#,
        r#""request_id":""#,
        r#""once":""#,
    ] {
        assert!(kill.contains(part), "{part} is not in {kill}");
    }
}

/// A full disk is said once, and each command in one line that has all of it, however often the
/// service tries again.
#[tokio::test]
async fn a_full_disk_is_one_line_a_command_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(folder.path());
    let echo = opened_with(
        &disk.0.join("data"),
        folder.path(),
        &[("ECHO_LOG", "echo_phoenix=debug")],
    )
    .await;
    assert_eq!(troubles(&echo.process.said()), [""; 0]);
    disk.fill();
    let orders = [
        ("/control", control(0.0), StatusCode::SERVICE_UNAVAILABLE),
        ("/control", control(0.5), StatusCode::OK),
        ("/kill", KILL.to_owned(), StatusCode::OK),
        ("/kill", KILL.to_owned(), StatusCode::OK),
        (
            "/kill",
            KILL.replace("CONFIRM_KILL", "yes"),
            StatusCode::BAD_REQUEST,
        ),
        ("/revive", String::new(), StatusCode::SERVICE_UNAVAILABLE),
    ];
    for (path, body, status) in &orders {
        assert_eq!(post(&echo, path, body).await.0, *status, "{path} {body}");
    }
    // Which is tried all the time, and told only to whoever wants to see everything.
    eventually("it was tried again", BACK, async || {
        let said = echo.process.said();
        let again = |words: &str| said.matches(words).count() > 3;
        let told = [
            "the ledger does not take a command that it is told again",
            "nothing opens in this pass",
        ];
        told.into_iter().all(again).then_some(())
    })
    .await;
    let lines = troubles(&echo.process.said());
    one_line_a_command(&lines, orders.len());
    disk.free();
    eventually("that it is over is said", BACK, async || {
        echo.process
            .said()
            .contains("the ledger takes commands again")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn frozen_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut echo = opened(&data, folder.path()).await;
    let frozen = Frozen::new(&data);
    stands(&echo, false).await;
    for _ in 0..20 {
        assert_eq!(get(&echo, "/health").await, StatusCode::SERVICE_UNAVAILABLE);
    }
    let told = echo
        .process
        .said()
        .matches("the ledger does not answer")
        .count();
    assert!(
        (1..=2).contains(&told),
        "once a minute, whoever asks: {told}"
    );
    drop(frozen);
    complete(
        &echo,
        &data,
        &[
            "control",
            "control",
            "kill",
            "kill_refused",
            "control_refused",
        ],
    )
    .await;

    let (_, killed) = post(&echo, "/kill", KILL).await;
    echo.process.kill_9();
    let frozen = Frozen::new(&data);
    let echo = start(&data, folder.path()).await;
    assert_eq!(
        echo.verdict("default").await,
        (403, "kill".to_owned()),
        "started while frozen, it denies at once"
    );
    let (status, again) = post(&echo, "/kill", KILL).await;
    assert_eq!(
        (status, &again["epoch"]),
        (StatusCode::OK, &killed["epoch"])
    );
    drop(frozen);
    let before = [
        "control",
        "control",
        "kill",
        "kill_refused",
        "control_refused",
    ];
    complete(
        &echo,
        &data,
        &[&before[..], &["revive", "kill", "kill"]].concat(),
    )
    .await;

    lost_with_the_process(echo, &data).await;
}

#[tokio::test]
async fn a_lock_of_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut echo = opened(&data, folder.path()).await;
    let lock = Lock::new(&data);
    stands(&echo, true).await;
    echo.process.kill_9();
    let echo = start(&data, folder.path()).await;
    assert_eq!(
        echo.verdict("default").await,
        (403, "kill".to_owned()),
        "started while locked, it denies at once"
    );
    let health = http().get(echo.url("/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health: Value = health.json().await.unwrap();
    let told = health["checks"]["ledger"].as_str().unwrap();
    assert!(
        told.contains("(it could not be opened yet: it is locked by another process"),
        "{told}"
    );
    drop(lock);
    complete(
        &echo,
        &data,
        &[
            "control",
            "control",
            "kill",
            "kill_refused",
            "control_refused",
        ],
    )
    .await;
}

/// Anybody may ask `/health`: why a ledger cannot be opened is a word there, and its place is the
/// log's.
#[tokio::test]
async fn a_ledger_that_cannot_be_opened_is_told_to_strangers_without_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut echo = opened(&data, folder.path()).await;
    echo.process.kill_9();
    fs::remove_file(data.join("ledger.db")).unwrap();
    fs::create_dir(data.join("ledger.db")).unwrap();
    let echo = start(&data, folder.path()).await;
    let health = http().get(echo.url("/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health = health.text().await.unwrap();
    assert!(
        health.contains("(it could not be opened yet: its file cannot be opened)"),
        "{health}"
    );
    let place = folder.path().display().to_string();
    assert!(
        !health.contains(&place) && !health.contains("unable to open"),
        "{health}"
    );
    eventually("the log names it", BACK, async || {
        echo.process
            .said()
            .contains(&data.join("ledger.db").display().to_string())
            .then_some(())
    })
    .await;
}

/// Another program that holds the write lock of a ledger.
struct Lock(std::process::Child);

impl Lock {
    fn new(data: &Path) -> Self {
        use std::io::{BufRead, BufReader};
        let script = "import sqlite3, sys\n\
                      own = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      own.execute('BEGIN IMMEDIATE')\n\
                      print('locked', flush=True)\n\
                      sys.stdin.read()";
        let mut command = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/python"));
        command.args(["-c", script]).arg(data.join("ledger.db"));
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line.trim(), "locked");
        Self(child)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
