//! A data folder that is not as it was left: whatever was lost or changed of it, what was killed
//! stays killed, the service says what it cannot account for, and a person ends it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Echo, KEY, eventually, http, program, run};

const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
const FILES: [&str; 3] = ["journal", "last-state", "ledger.db"];

async fn post(echo: &Echo, path: &str, body: &str) -> (u16, Value) {
    let request = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn health(echo: &Echo) -> (u16, Value) {
    let answer = http().get(echo.url("/health")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until the service is well: a store may be slow for a moment.
async fn well(echo: &Echo, what: &str) -> Value {
    eventually(what, Duration::from_secs(30), async || {
        let (status, now) = health(echo).await;
        (status == 200 && now["checks"]["ledger"] == "ok").then_some(now)
    })
    .await
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

/// A folder of a service.
struct Home {
    folder: TempDir,
    data: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self { folder, data }
    }

    async fn start(&self) -> Echo {
        Echo::start("serve", &[], self.folder.path()).await
    }

    /// One that was opened to 25 %, and ended in an orderly way.
    async fn opened() -> Self {
        let home = Self::new();
        let mut echo = home.start().await;
        assert_eq!(post(&echo, "/control", &control(0.25)).await.0, 200);
        eventually("it opens", Duration::from_secs(15), async || {
            (health(&echo).await.1["throttle_pct"] == 0.25).then_some(())
        })
        .await;
        assert!(echo.process.terminate().success());
        home
    }

    /// The same, killed; the epoch.
    async fn killed() -> (Self, String) {
        let home = Self::opened().await;
        let mut echo = home.start().await;
        let (_, answer) = post(&echo, "/kill", KILL).await;
        assert_eq!(answer["durable"], true, "{answer}");
        well(&echo, "the kill is recorded").await;
        assert!(echo.process.terminate().success());
        (home, answer["epoch"].as_str().unwrap().to_owned())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    /// Copies of all files.
    fn copy(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(&self.data)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect()
    }

    fn verify(&self) -> Output {
        Command::new(program())
            .arg("verify")
            .arg("--data-dir")
            .arg(&self.data)
            .output()
            .unwrap()
    }

    /// It starts shut, says that something is unaccounted for wherever a person looks, keeps saying
    /// so after a restart, and a revival ends it: then it is healthy, verifies, and stays so.
    async fn stays_shut_until_revived(&self, told: &str) {
        for start in ["first", "second"] {
            let mut echo = self.start().await;
            assert_eq!(
                echo.verdict("default").await,
                (403, "kill".to_owned()),
                "{told}, {start} start"
            );
            let (status, health) = health(&echo).await;
            assert_eq!(
                (status, &health["status"]),
                (503, &json!("unhealthy")),
                "{told}, {start} start: {health}"
            );
            let words = health["checks"]["holds"].as_str().unwrap();
            assert!(
                words.starts_with("unaccounted: ") && !words.contains('('),
                "no reason for strangers, {told}: {words}"
            );
            assert!(
                echo.process.said().contains("unaccounted: nothing tells"),
                "{told}: the log does not say so"
            );
            if start == "first" {
                let mut status = Command::new(program());
                status
                    .arg("status")
                    .env_clear()
                    .env("ECHO_API_KEY", KEY)
                    .env("ECHO_URL", echo.url(""));
                let status = status.current_dir(self.folder.path()).output().unwrap();
                let said = String::from_utf8_lossy(&status.stdout).into_owned();
                assert!(
                    said.contains("unaccounted") && said.contains("KILLED"),
                    "{told}: {said}"
                );
            }
            echo.process.kill_9();
        }
        self.ends_by_revival(told).await;
    }

    async fn is_healthy(&self, echo: &Echo, told: &str) {
        eventually(
            &format!("{told}: it is healthy"),
            Duration::from_secs(20),
            async || {
                let (status, now) = health(echo).await;
                assert_eq!(now["checks"]["holds"], "ok", "{told}: {now}");
                (status == 200).then_some(())
            },
        )
        .await;
    }

    async fn ends_by_revival(&self, told: &str) {
        let mut echo = self.start().await;
        eventually(
            &format!("{told}: it is revived"),
            Duration::from_secs(30),
            async || {
                let (status, answer) = post(
                    &echo,
                    "/revive",
                    r#"{"operator":"dana","reason":"looked at"}"#,
                )
                .await;
                ((status, &answer["status"]) == (200, &json!("revived"))).then_some(())
            },
        )
        .await;
        assert_ne!(echo.verdict("default").await.1, "kill", "{told}");
        self.is_healthy(&echo, told).await;
        assert!(echo.process.terminate().success());
        let mut echo = self.start().await;
        self.is_healthy(&echo, told).await;
        assert_ne!(echo.verdict("default").await.1, "kill", "{told}");
        assert!(echo.process.terminate().success());
        let verified = self.verify();
        assert!(
            verified.status.success(),
            "{told}: {}",
            String::from_utf8_lossy(&verified.stderr)
        );
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, len: u64) {
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_folder_is_new_and_an_orderly_one_raises_no_alarm() {
    let home = Home::opened().await;
    for _ in 0..2 {
        let mut echo = home.start().await;
        let health = well(&echo, "an orderly folder raises no alarm").await;
        assert_eq!(health["throttle_pct"], 0.25, "{health}");
        echo.process.kill_9();
    }
    assert!(home.verify().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_damaged_or_gone_beside_a_ledger_shuts_until_revived() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 7] = [
        ("a bit of its head", |path| flip(path, 30)),
        ("a bit where nothing stands", |path| flip(path, 700_001)),
        ("cut", |path| cut(path, 4096)),
        ("emptied", |path| cut(path, 0)),
        ("zeroed", |path| fs::write(path, vec![0; 1 << 20]).unwrap()),
        ("noise", |path| {
            fs::write(path, vec![0xa5; 1 << 20]).unwrap()
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
    ];
    let home = Home::opened().await;
    for (what, damage) in damages {
        damage(&home.file("journal"));
        home.stays_shut_until_revived(&format!("journal: {what}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_journal_alone_is_not_lost_with_a_bit_of_it() {
    let (home, pending) = pending_kill().await;
    // The bit is in the record of the kill; nothing else knows of it.
    flip(&home.file("journal"), 512 + 100);
    fs::remove_file(home.file("last-state")).unwrap();
    assert!(!pending.is_empty());
    home.stays_shut_until_revived("a bit of the record").await;
}

/// Killed while another program held the ledger's lock, then kill -9: the journal has the kill, and
/// the last state.
async fn pending_kill() -> (Home, String) {
    let home = Home::opened().await;
    let mut echo = home.start().await;
    let conn = Connection::open(home.file("ledger.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (_, answer) = post(&echo, "/kill", KILL).await;
    assert_eq!(
        (&answer["audit"], &answer["durable"]),
        (&json!("pending"), &json!(true)),
        "{answer}"
    );
    let epoch = answer["epoch"].as_str().unwrap().to_owned();
    eventually(
        "the last state has it",
        Duration::from_secs(5),
        async || {
            let bytes = fs::read(home.file("last-state")).unwrap();
            String::from_utf8_lossy(&bytes)
                .contains(&epoch)
                .then_some(())
        },
    )
    .await;
    echo.process.kill_9();
    drop(conn);
    (home, epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_journal_that_is_copied_back_is_told() {
    let home = Home::opened().await;
    let older = fs::read(home.file("journal")).unwrap();
    let mut echo = home.start().await;
    post(&echo, "/kill", KILL).await;
    well(&echo, "the kill is recorded").await;
    post(&echo, "/revive", "").await;
    well(&echo, "the revival is recorded").await;
    assert!(echo.process.terminate().success());
    fs::write(home.file("journal"), older).unwrap();
    home.stays_shut_until_revived("an older journal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_outlives_its_ledger() {
    let (home, epoch) = Home::killed().await;
    let before = home.copy();
    let removed = |home: &Home| fs::remove_file(home.file("ledger.db")).unwrap();
    let emptied = |home: &Home| cut(&home.file("ledger.db"), 0);
    for (what, damage) in [
        ("removed", &removed as &dyn Fn(&Home)),
        ("emptied", &emptied),
    ] {
        before
            .iter()
            .for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        damage(&home);
        let echo = home.start().await;
        let (_, health) = health(&echo).await;
        assert!(
            health["checks"]["holds"].as_str().unwrap().contains(&epoch),
            "{what}: {health}"
        );
        drop(echo);
        home.stays_shut_until_revived(&format!("ledger {what}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_from_before_the_kill_does_not_open_and_neither_does_a_restored_one_alone() {
    let home = Home::opened().await;
    let backup = home.folder.path().join("backup.db");
    run(Command::new(program())
        .arg("backup")
        .arg(&backup)
        .arg("--data-dir")
        .arg(&home.data));
    let mut echo = home.start().await;
    post(&echo, "/kill", KILL).await;
    well(&echo, "the kill is recorded").await;
    assert!(echo.process.terminate().success());
    fs::copy(&backup, home.file("ledger.db")).unwrap();
    home.stays_shut_until_revived("a ledger from before the kill")
        .await;

    for file in fs::read_dir(&home.data).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    fs::copy(&backup, home.file("ledger.db")).unwrap();
    home.stays_shut_until_revived("a backup in an empty folder")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_never_below_what_the_last_state_says() {
    let home = Home::opened().await;
    let backup = home.folder.path().join("backup.db");
    run(Command::new(program())
        .arg("backup")
        .arg(&backup)
        .arg("--data-dir")
        .arg(&home.data));
    let mut echo = home.start().await;
    assert_eq!(post(&echo, "/control", &control(0.75)).await.0, 200);
    eventually("it closes", Duration::from_secs(15), async || {
        (health(&echo).await.1["throttle_pct"] == 0.75).then_some(())
    })
    .await;
    assert!(echo.process.terminate().success());
    fs::copy(&backup, home.file("ledger.db")).unwrap();
    let mut echo = home.start().await;
    let (_, now) = health(&echo).await;
    assert_eq!(
        (&now["throttle_pct"], &now["killed"]),
        (&json!(0.75), &json!(false)),
        "{now}"
    );
    assert!(
        now["checks"]["record"]
            .as_str()
            .unwrap()
            .contains("higher level"),
        "{now}"
    );
    // A declaration of today explains a lower one, after a restart too.
    assert_eq!(post(&echo, "/control", &control(0.5)).await.0, 200);
    assert!(echo.process.terminate().success());
    let echo = home.start().await;
    let throttle = http()
        .get(echo.url("/v1/throttles/default"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    let throttle: Value = throttle.json().await.unwrap();
    assert_eq!(throttle["declared"]["throttlePercent"], 50, "{throttle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_state_that_is_damaged_alone_is_told_and_shuts_nothing() {
    let home = Home::opened().await;
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 6] = [
        ("noise", |path| {
            fs::write(path, vec![0xa5; 1 << 20]).unwrap()
        }),
        ("cut", |path| cut(path, 5000)),
        ("emptied", |path| cut(path, 0)),
        ("zeroed", |path| fs::write(path, vec![0; 1 << 20]).unwrap()),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (what, damage) in damages {
        damage(&home.file("last-state"));
        let mut echo = home.start().await;
        let health = well(&echo, what).await;
        assert_eq!(
            (&health["killed"], &health["throttle_pct"]),
            (&json!(false), &json!(0.25)),
            "{what}"
        );
        let told = health["checks"]["record"].as_str().unwrap();
        assert!(told.contains("last state"), "{what}: {told}");
        assert!(echo.process.said().contains("not as it was left"), "{what}");
        assert!(echo.process.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_bit_of_any_file_never_opens_what_was_killed() {
    let (home, _) = Home::killed().await;
    let before = home.copy();
    for name in FILES {
        let size = fs::metadata(home.file(name)).unwrap().len();
        for round in 0..3 {
            before
                .iter()
                .for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
            let _gone = fs::remove_file(home.file("journal.damaged"));
            let at = usize::try_from(rand::random_range(0..size)).unwrap();
            flip(&home.file(name), at);
            let told = format!("{name}: byte {at}, round {round}");
            let mut command = Command::new(program());
            command
                .arg("serve")
                .env_clear()
                .env("ECHO_LISTEN", "127.0.0.1:0")
                .env("ECHO_API_KEY", KEY);
            let log = home.folder.path().join("random.log");
            let _fresh = fs::remove_file(&log);
            let mut process =
                crate::support::Process::start(command.current_dir(home.folder.path()), &log);
            let address = eventually("it listens, or ends", Duration::from_secs(20), async || {
                let said = process.said();
                let line = said.lines().find(|line| line.contains("api listens"));
                let address = line.and_then(|line| {
                    let line: Value = serde_json::from_str(line).ok()?;
                    Some(line["fields"]["address"].as_str()?.to_owned())
                });
                if address.is_none() && process.runs() {
                    None
                } else {
                    Some(address)
                }
            })
            .await;
            // A service that does not start admits nothing.
            let Some(address) = address else { continue };
            let url = format!("http://{address}/authz/nginx/default");
            assert_eq!(
                http().get(url).send().await.unwrap().status().as_u16(),
                403,
                "{told}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_ended_in_the_table_alone_has_not_ended() {
    let (home, epoch) = Home::killed().await;
    let conn = Connection::open(home.file("ledger.db")).unwrap();
    conn.execute_batch("UPDATE holds SET ended = 1").unwrap();
    drop(conn);
    let verified = home.verify();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!(
            "holds: row 1 ({epoch}) was ended, and no audit entry ends it"
        )),
        "{said}"
    );
    // What the last state knows must not be needed for it.
    fs::write(home.file("last-state"), vec![0; 1 << 20]).unwrap();
    home.stays_shut_until_revived("ended in the table").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_edits_of_the_table_of_holds_open_nothing_and_are_named() {
    for (edit, named) in [
        (
            "DROP TRIGGER holds_are_remembered; DELETE FROM holds",
            "is gone from the table holds",
        ),
        (
            "UPDATE holds SET hold = replace(hold, '\"all\"', '{\"one\":\"other\"}'), scope = 'other'",
            "is not the hold",
        ),
        ("UPDATE holds SET hold = 'x'", "cannot be read"),
        ("UPDATE holds SET scope = 'other'", "cannot be read"),
    ] {
        let (home, _) = Home::killed().await;
        Connection::open(home.file("ledger.db"))
            .unwrap()
            .execute_batch(edit)
            .unwrap();
        let said = String::from_utf8_lossy(&home.verify().stderr).into_owned();
        assert!(said.contains(named), "{edit}: {said}");
        fs::write(home.file("last-state"), vec![0; 1 << 20]).unwrap();
        let echo = home.start().await;
        assert_eq!(
            echo.verdict("default").await,
            (403, "kill".to_owned()),
            "{edit}"
        );
        assert_eq!(health(&echo).await.0, 503, "{edit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_the_release_before_took_is_not_ended_by_the_table_alone() {
    let (folder, data) = crate::data_folders::left_behind("settled");
    let home = Home { folder, data };
    let conn = Connection::open(home.file("ledger.db")).unwrap();
    conn.execute_batch("UPDATE holds SET ended = 1").unwrap();
    drop(conn);
    fs::write(home.file("last-state"), vec![0; 1 << 20]).unwrap();
    let said = String::from_utf8_lossy(&home.verify().stderr).into_owned();
    assert!(
        said.contains("was ended, and no audit entry ends it"),
        "{said}"
    );
    home.stays_shut_until_revived("an older ledger, ended in the table")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_every_ten_thousandth_entry_list_the_live_holds() {
    let (home, epoch) = Home::killed().await;
    let mut echo = home.start().await;
    assert!(echo.process.terminate().success());
    let conn = Connection::open(home.file("ledger.db")).unwrap();
    let last = "SELECT action, after, holds_taken FROM audit_log ORDER BY seq DESC LIMIT 1";
    let (action, after, taken): (String, String, String) = conn
        .query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(
        (action.as_str(), after),
        ("checkpoint", format!("{epoch} killed all"))
    );
    let taken: Value = serde_json::from_str(&taken).unwrap();
    assert_eq!(
        (&taken[0]["scope"], &taken[0]["hold"]["bite"]),
        (&json!("all"), &json!("kill")),
        "{taken}"
    );
    drop(conn);

    let (ledger, _) = echo_phoenix::store::SqliteLedger::open(&home.data).unwrap();
    let change = || {
        let drafts = vec![crate::ledger_suite::values::draft("control"); 1000];
        echo_phoenix::domain::audit::Change {
            audit: drafts,
            ..Default::default()
        }
    };
    for _ in 0..11 {
        echo_phoenix::ports::Ledger::commit(&ledger, change())
            .await
            .unwrap();
    }
    drop(ledger);
    let conn = Connection::open(home.file("ledger.db")).unwrap();
    let listed = "SELECT seq, holds_taken FROM audit_log WHERE action = 'checkpoint' ORDER BY seq DESC LIMIT 1";
    let (seq, taken): (i64, String) = conn
        .query_row(listed, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(seq, 10_001);
    assert!(taken.contains(&epoch), "{taken}");
    drop(conn);
    assert!(home.verify().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_broke_off_leaves_a_new_folder() {
    let home = Home::new();
    // The disk is full, or the power goes, half-way through the first file of a size.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -c 0; ulimit -f 600; exec \"$0\" serve"])
        .arg(program());
    command
        .env_clear()
        .env("ECHO_LISTEN", "127.0.0.1:0")
        .env("ECHO_API_KEY", KEY);
    let broken = command.current_dir(home.folder.path()).output().unwrap();
    assert!(!broken.status.success());
    assert!(!home.file("ledger.db").exists());
    let mut echo = home.start().await;
    let health = well(&echo, "a new folder raises no alarm").await;
    assert_eq!(
        (&health["killed"], &health["checks"]["record"]),
        (&json!(false), &Value::Null),
        "{health}"
    );
    assert!(echo.process.terminate().success());
}

#[tokio::test]
async fn a_start_lists_what_is_live_when_it_is_recorded_and_not_what_its_caller_read_before() {
    use crate::ledger_suite::values::{at, ending, kill, taking};
    use echo_phoenix::domain::hold::{Scope, Source};
    use echo_phoenix::ports::{Ledger, LedgerUpkeep};
    use echo_phoenix::store::SqliteLedger;

    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = SqliteLedger::open(folder.path()).unwrap();
    ledger.begin(at(1), Vec::new()).await.unwrap();
    for epoch in ["ended", "spared"] {
        ledger.commit(taking(epoch)).await.unwrap();
    }
    let mut seen = ledger.stored().await.unwrap().holds;
    // What nobody accounts for gets its entry; what is declared comes by its declaration.
    seen.push(crate::ledger_suite::values::hold(
        "lost",
        Scope::All,
        Source::Rest,
    ));
    seen.push(crate::ledger_suite::values::hold(
        "shop@2",
        Scope::All,
        Source::Manifest,
    ));
    ledger.commit(ending("ended")).await.unwrap();
    ledger.commit(taking("new")).await.unwrap();
    ledger.begin(at(2), seen).await.unwrap();
    drop(ledger);
    let (_, opened) = SqliteLedger::open_and_account(folder.path()).unwrap();
    assert_eq!(opened.accounts.faults, Vec::<String>::new());
    let live: Vec<_> = opened
        .accounts
        .live
        .iter()
        .map(|held| held.hold.epoch.0.as_str())
        .collect();
    assert_eq!(live, ["spared", "new", "lost"]);
    assert_eq!(opened.accounts.live[2].hold.source, Source::Unaccounted);
    assert_eq!(opened.accounts.live[0], kill("spared"));
    let verified = Command::new(program())
        .arg("verify")
        .arg("--data-dir")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_the_journal_still_has_and_the_ledger_ended_has_ended() {
    use crate::ledger_suite::values;
    use echo_phoenix::domain::audit::CommandRecord;
    use echo_phoenix::ports::{Effect, Journal, JournalEntry};

    let (home, epoch) = Home::killed().await;
    home.ends_by_revival("an ordinary kill").await;
    // As if its end had come before the journal was settled.
    let record = CommandRecord {
        once: epoch.clone(),
        ..values::record("kill")
    };
    let entry = JournalEntry {
        effect: Effect::Hold(Box::new(values::kill(&epoch))),
        record,
    };
    echo_phoenix::store::FileJournal::open(&home.file("journal"))
        .unwrap()
        .append(&entry)
        .await
        .unwrap();
    let echo = home.start().await;
    assert_ne!(echo.verdict("default").await.1, "kill");
    home.is_healthy(&echo, "an ended kill").await;
}

impl Home {
    /// Somebody edits the ledger, and the verifier names it.
    fn edited(&self, sql: &str, named: &str) {
        Connection::open(self.file("ledger.db"))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        let verified = self.verify();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(
            verified.status.code() == Some(1) && said.contains(named),
            "{sql}: {said}"
        );
    }

    async fn declared(&self, echo: &Echo) -> Value {
        let asked = http()
            .get(echo.url("/v1/throttles/default"))
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap();
        asked.json::<Value>().await.unwrap()["declared"]["throttlePercent"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_was_edited_in_the_table_is_not_believed() {
    for (edit, keeps_last_state) in [
        (
            "UPDATE system_throttle SET declared = 0, effective = 0, generation = generation + 1",
            true,
        ),
        (
            "UPDATE system_throttle SET declared = 0, effective = 0, generation = generation + 1",
            false,
        ),
        (
            "UPDATE system_throttle SET declared = 0, effective = 0",
            false,
        ),
        (
            "UPDATE system_throttle SET declared = 0, effective = 0, generation = 0",
            false,
        ),
    ] {
        let home = Home::opened().await;
        home.edited(edit, "system_throttle: row default declares 0 (generation");
        if !keeps_last_state {
            fs::write(home.file("last-state"), vec![0; 1 << 20]).unwrap();
        }
        for start in ["first", "second"] {
            let mut echo = home.start().await;
            let (_, now) = health(&echo).await;
            assert!(
                now["throttle_pct"].as_f64().unwrap() >= 0.25,
                "{edit}, {start}: {now}"
            );
            // An edited level of the same generation is written over by what is in force.
            if start == "first" {
                let told = now["checks"]["record"].as_str().unwrap_or_default();
                assert!(told.contains("row default declares"), "{edit}: {now}");
            }
            assert_eq!(home.declared(&echo).await, 25, "{edit}, {start}");
            echo.process.kill_9();
        }
        // A declaration of today explains what it says.
        let mut echo = home.start().await;
        assert_eq!(
            post(&echo, "/control", &control(0.5)).await.0,
            200,
            "{edit}"
        );
        assert!(echo.process.terminate().success());
        let verified = home.verify();
        assert!(
            verified.status.success(),
            "{edit}: {}",
            String::from_utf8_lossy(&verified.stderr)
        );
        let mut echo = home.start().await;
        assert!(
            well(&echo, edit).await["checks"]["record"].is_null(),
            "{edit}"
        );
        assert_eq!(home.declared(&echo).await, 50, "{edit}");
        assert!(echo.process.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specification_that_was_edited_in_the_table_exempts_nothing() {
    use echo_phoenix::domain::target::{GateSpec, TargetSpec};
    use echo_phoenix::domain::throttle::{AllowRule, Spec};
    let rule = AllowRule {
        method: None,
        path: Some("/".to_owned()),
        even_while_killed: true,
    };
    let gate = TargetSpec::Gate(GateSpec {
        allow: vec![rule],
        ..GateSpec::default()
    });
    let spec = serde_json::to_string(&Spec {
        targets: vec![gate],
        ..Spec::default()
    })
    .unwrap();
    for keeps_last_state in [true, false] {
        let (home, _) = Home::killed().await;
        home.edited(
            &format!("UPDATE system_throttle SET spec = '{spec}'"),
            "system_throttle: row default has a specification that no audit entry declares",
        );
        if !keeps_last_state {
            fs::write(home.file("last-state"), vec![0; 1 << 20]).unwrap();
        }
        for _ in 0..2 {
            let mut echo = home.start().await;
            assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
            let (_, now) = health(&echo).await;
            assert!(
                now["checks"]["record"]
                    .as_str()
                    .unwrap()
                    .contains("no audit entry declares"),
                "{now}"
            );
            echo.process.kill_9();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_the_table_ended_and_the_log_forgot_has_not_ended() {
    let (home, epoch) = Home::killed().await;
    let conn = Connection::open(home.file("ledger.db")).unwrap();
    let guard = "SELECT sql FROM sqlite_schema WHERE name = 'audit_log_no_delete'";
    let guard: String = conn.query_row(guard, [], |row| row.get(0)).unwrap();
    drop(conn);
    home.edited(
        &format!(
            "DROP TRIGGER audit_log_no_delete;
             DELETE FROM audit_log WHERE seq >= (SELECT min(seq) FROM audit_log WHERE action = 'kill');
             {guard}; UPDATE holds SET ended = 1"
        ),
        &format!("holds: row 1 ({epoch}) was ended, and no audit entry ends it"),
    );
    home.stays_shut_until_revived("ended in the table, and forgotten by the log")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_kill_outlives_a_record_that_was_zeroed_and_a_last_state_that_lags() {
    type Damage = (&'static str, fn(&mut [u8]));
    let damages: [Damage; 4] = [
        ("its first sector", |journal| journal[512..1024].fill(0)),
        ("its second sector", |journal| journal[1024..1536].fill(0)),
        ("the rest of its page", |journal| journal[512..4096].fill(0)),
        ("all but the head", |journal| journal[512..].fill(0)),
    ];
    for (what, damage) in damages {
        let home = Home::opened().await;
        let lags = fs::read(home.file("last-state")).unwrap();
        let mut echo = home.start().await;
        let conn = Connection::open(home.file("ledger.db")).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (_, answer) = post(&echo, "/kill", KILL).await;
        assert_eq!(
            (&answer["audit"], &answer["durable"]),
            (&json!("pending"), &json!(true)),
            "{answer}"
        );
        echo.process.kill_9();
        drop(conn);
        fs::write(home.file("last-state"), lags).unwrap();
        let mut journal = fs::read(home.file("journal")).unwrap();
        damage(&mut journal);
        fs::write(home.file("journal"), journal).unwrap();
        home.stays_shut_until_revived(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_is_told_and_shuts_where_nothing_was_killed() {
    for emptied in [false, true] {
        let home = Home::opened().await;
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
            let _gone = fs::remove_file(home.file(name));
        }
        if emptied {
            fs::write(home.file("ledger.db"), "").unwrap();
        }
        home.stays_shut_until_revived("the ledger is missing").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_lacks_what_the_journal_settled_is_an_older_one() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 3] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("zeroed", |path| fs::write(path, vec![0; 1 << 20]).unwrap()),
        ("noise", |path| {
            fs::write(path, vec![0xa5; 1 << 20]).unwrap()
        }),
    ];
    for (what, damage) in damages {
        let home = Home::opened().await;
        let before = fs::read(home.file("ledger.db")).unwrap();
        let mut echo = home.start().await;
        post(&echo, "/kill", KILL).await;
        well(&echo, "the kill is recorded").await;
        assert!(echo.process.terminate().success());
        for name in ["ledger.db-wal", "ledger.db-shm"] {
            let _gone = fs::remove_file(home.file(name));
        }
        fs::write(home.file("ledger.db"), before).unwrap();
        damage(&home.file("last-state"));
        home.stays_shut_until_revived(&format!("an older ledger, last state {what}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_hold_is_and_why_is_as_it_was_taken() {
    let manifest = "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {name: default}\nspec: {throttlePercent: 0}\n";
    for (from, to) in [
        (r#""source":"rest""#, r#""source":"manifest""#),
        ("dana", "mallory"),
    ] {
        let (home, epoch) = Home::killed().await;
        let edit = format!("UPDATE holds SET hold = replace(hold, '{from}', '{to}')");
        Connection::open(home.file("ledger.db"))
            .unwrap()
            .execute_batch(&edit)
            .unwrap();
        let verified = home.verify();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(
            verified.status.code() == Some(1) && said.contains(&epoch),
            "{from}: {said}"
        );
        let path = home.folder.path().join("echo.yaml");
        fs::write(&path, manifest).unwrap();
        let mut echo = Echo::start(
            "serve",
            &[("ECHO_MANIFEST", path.to_str().unwrap().to_owned())],
            home.folder.path(),
        )
        .await;
        eventually(
            "the manifest is taken over",
            Duration::from_secs(20),
            async || (health(&echo).await.1["checks"]["manifest"] == "ok").then_some(()),
        )
        .await;
        assert_eq!(
            echo.verdict("default").await,
            (403, "kill".to_owned()),
            "{from}"
        );
        let (_, now) = health(&echo).await;
        assert!(
            now["checks"]["record"]
                .as_str()
                .unwrap()
                .contains("another source"),
            "{from}: {now}"
        );
        let (status, answer) = post(
            &echo,
            "/revive",
            r#"{"operator":"dana","reason":"looked at"}"#,
        )
        .await;
        assert_eq!(
            (status, &answer["ended"][0]),
            (200, &json!(epoch)),
            "{from}: {answer}"
        );
        assert!(echo.process.terminate().success());
    }
}
