//! A service with a manifest file: the file owns what it declares, REST only tightens, a broken
//! file changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod one_lock;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, http, program, run};

const SOON: Duration = Duration::from_secs(10);
const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;

/// A throttle as the file declares it.
fn throttle(name: &str, percent: i32, more: &str) -> String {
    format!(
        "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: {name}}}\n\
         spec:\n  throttlePercent: {percent}\n{more}"
    )
}

struct Service {
    folder: tempfile::TempDir,
    file: PathBuf,
    echo: Echo,
}

async fn service(text: &str) -> Service {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    std::fs::write(&file, text).unwrap();
    let echo = start(folder.path(), &file).await;
    Service { folder, file, echo }
}

async fn start(folder: &Path, file: &Path) -> Echo {
    Echo::start(
        "serve",
        &[("ECHO_MANIFEST", file.display().to_string())],
        folder,
    )
    .await
}

impl Service {
    /// Puts another text in the file's place, as careful programs do.
    fn write(&self, text: &str) {
        let part = self.file.with_extension("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, &self.file).unwrap();
    }

    async fn restart(self) -> Self {
        let Self {
            folder,
            file,
            mut echo,
        } = self;
        echo.process.kill_9();
        let echo = start(folder.path(), &file).await;
        Self { folder, file, echo }
    }

    async fn throttle(&self, name: &str) -> Value {
        self.get(&format!("/v1/throttles/{name}")).await
    }

    async fn get(&self, path: &str) -> Value {
        let request = http().get(self.echo.url(path)).header("x-api-key", KEY);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        let request = http()
            .post(self.echo.url(path))
            .header("x-api-key", KEY)
            .body(body.to_owned());
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn control(&self, name: &str, target: f64) -> Value {
        let calm = json!({
            "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
            "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.85, "susceptibility": 2.0,
        });
        let body = json!({ "throttle": name, "target_throttle": target, "current_state": calm });
        let (status, answer) = self.post("/control", &body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// Waits until a throttle's level in force is this.
    async fn stands_at(&self, name: &str, percent: i64) {
        eventually(&format!("{name} stands at {percent} %"), SOON, async || {
            let found = self.throttle(name).await;
            (found["effective"]["throttlePercent"] == percent).then_some(())
        })
        .await;
    }

    async fn actions(&self) -> Vec<String> {
        let page = self.get("/v1/audit?limit=200").await;
        let mut actions: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["action"] != "checkpoint")
            .map(|item| {
                format!(
                    "{} {}",
                    item["action"].as_str().unwrap(),
                    item["throttle"].as_str().unwrap()
                )
            })
            .collect();
        actions.reverse();
        actions
    }

    async fn manifest_is(&self, wanted: impl Fn(&str) -> bool) {
        eventually("/health says so", SOON, async || {
            let health: Value = http()
                .get(self.echo.url("/health"))
                .send()
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            wanted(health["checks"]["manifest"].as_str()?).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_file_owns_what_it_declares_and_rest_only_tightens() {
    let both = format!(
        "{}{}",
        throttle("checkout", 25, ""),
        throttle("search", 0, "")
    );
    let service = service(&both).await;
    service.stands_at("checkout", 25).await;
    service.stands_at("search", 0).await;
    let (status, _) = service.post("/control", r#"{"throttle":"default"}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        service.echo.verdict("default").await.1,
        "unknown",
        "no throttle is made up beside a file"
    );

    let answer = service.control("checkout", 0.0).await;
    assert_eq!(
        (&answer["in_force"], &answer["held_by"][0]["source"]),
        (&json!(0.25), &json!("manifest")),
        "{answer}"
    );
    let answer = service.control("checkout", 0.8).await;
    assert_eq!(answer["in_force"], json!(0.8), "{answer}");
    let service = service.restart().await;
    service.stands_at("checkout", 80).await;
    service.stands_at("search", 0).await;
    let generation = service.throttle("checkout").await["generation"].clone();
    assert_eq!(
        generation, 1,
        "a start with the same file declares nothing anew"
    );

    // The file changes; what REST added stays above it until it is taken back.
    service.write(&format!(
        "{}{}",
        throttle("checkout", 75, ""),
        throttle("search", 0, "")
    ));
    eventually("the file is obeyed", SOON, async || {
        (service.throttle("checkout").await["generation"] == 2).then_some(())
    })
    .await;
    service.stands_at("checkout", 80).await;
    let answer = service.control("checkout", 0.0).await;
    assert!(
        answer["next_step"].as_str().unwrap().starts_with("opens"),
        "{answer}"
    );
    assert_eq!(
        (
            &answer["held_by"][0]["operator"],
            answer["held_by"][0].get("since")
        ),
        (&json!("manifest"), None)
    );
    service.stands_at("checkout", 75).await;
    let wanted = ["declare checkout", "declare search"]
        .into_iter()
        .chain(["control checkout"; 2]);
    let wanted: Vec<_> = wanted
        .chain(["declare checkout", "control checkout"])
        .collect();
    assert_eq!(service.actions().await, wanted, "one entry each");
}

/// Actor, operator, reason, before and after of what is on record of the checkout.
async fn entries(service: &Service, action: &str) -> Vec<[String; 5]> {
    let url = service
        .echo
        .url(&format!("/v1/audit?throttle=checkout&action={action}"));
    let page: Value = http()
        .get(url)
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let entries = page["items"].as_array().unwrap().iter();
    let words = entries
        .map(|one| ["actor", "operator", "reason", "before", "after"].map(|name| text(one, name)));
    words.collect()
}

#[tokio::test]
async fn a_kill_in_the_file_ends_with_the_file() {
    let kill = "  kill: {reason: double charges, operator: dana, confirmation: CONFIRM_KILL}\n";
    let service = service(&throttle("checkout", 0, "")).await;
    service.stands_at("checkout", 0).await;
    assert_eq!(
        service.echo.verdict("checkout").await,
        (200, "none".to_owned())
    );
    service.write(&throttle("checkout", 0, kill));
    killed(&service).await;
    let (status, answer) = service.post("/revive", "").await;
    assert_eq!(
        (status, &answer["held_by"][0]["source"]),
        (StatusCode::CONFLICT, &json!("manifest")),
        "{answer}"
    );

    let service = service.restart().await;
    assert_eq!(
        service.echo.verdict("checkout").await,
        (403, "kill".to_owned()),
        "from its first answer"
    );
    let (status, _) = service.post("/kill", KILL).await;
    assert_eq!(status, StatusCode::OK);
    service.write(&throttle("checkout", 0, ""));
    eventually("the file's kill has ended", SOON, async || {
        let holds = service.throttle("checkout").await["holds"].clone();
        (holds.as_array()?.len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        service.echo.verdict("checkout").await,
        (403, "kill".to_owned()),
        "the other one holds"
    );
    let kills = entries(&service, "kill").await;
    assert_eq!(
        kills.len(),
        2,
        "that of the file and that of the API: {kills:?}"
    );
    assert_eq!(
        kills[1],
        [
            "manifest",
            "dana",
            "double charges",
            "",
            "killed checkout@2"
        ]
    );
    let ended = entries(&service, "hold_ended").await;
    assert_eq!(
        ended,
        [[
            "manifest",
            "",
            "gone from the file; generation 3",
            "checkout@2",
            ""
        ]]
    );
    assert_eq!(service.post("/revive", "").await.0, StatusCode::OK);
    service.stands_at("checkout", 0).await;
    service.write(&throttle("checkout", 0, kill));
    killed(&service).await;
}

/// Waits by the API, so that nobody is waiting at the gate when it opens again.
async fn killed(service: &Service) {
    eventually("it is killed", SOON, async || {
        let holds = service.throttle("checkout").await["holds"].clone();
        (holds.as_array()?.len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        service.echo.verdict("checkout").await,
        (403, "kill".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_of_the_file_that_the_ledger_never_got_is_the_file_s_after_a_restart_too() {
    let kill = "  kill: {reason: double charges, operator: dana, confirmation: CONFIRM_KILL}\n";
    let service = service(&format!(
        "{}{}",
        throttle("checkout", 0, ""),
        throttle("search", 0, "")
    ))
    .await;
    service.manifest_is(|said| said == "ok").await;
    let data = service.folder.path().join("data");
    let other = rusqlite::Connection::open(data.join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let both = format!(
        "{}{}",
        throttle("checkout", 0, kill),
        throttle("search", 60, "")
    );
    service.write(&both);
    eventually("the last state has the kill", SOON, async || {
        let bytes = std::fs::read(data.join("last-state")).unwrap();
        String::from_utf8_lossy(&bytes)
            .contains("checkout@2")
            .then_some(())
    })
    .await;
    let Service {
        folder,
        file,
        mut echo,
    } = service;
    echo.process.kill_9();
    drop(other);
    for _ in 0..2 {
        let echo = start(folder.path(), &file).await;
        let service = Service {
            folder: tempfile::tempdir().unwrap(),
            file: file.clone(),
            echo,
        };
        killed(&service).await;
        service.manifest_is(|said| said == "ok").await;
        service.stands_at("search", 60).await;
        let health = service.get("/health").await;
        assert_eq!(health["checks"]["holds"], "ok", "{health}");
        let (status, answer) = service.post("/revive", "").await;
        assert_eq!(
            (status, &answer["held_by"][0]["source"]),
            (StatusCode::CONFLICT, &json!("manifest")),
            "{answer}"
        );
    }
    run(std::process::Command::new(program())
        .arg("verify")
        .arg("--data-dir")
        .arg(&data));
}

#[tokio::test]
async fn a_hold_whose_number_is_spent_keeps_nothing_else_of_the_file_out_of_the_ledger() {
    use echo_phoenix::desired::LedgerDesired;
    use echo_phoenix::ports::Ledger;
    use echo_phoenix::store::SqliteLedger;

    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = std::sync::Arc::new(ledger);
    ledger
        .commit(crate::ledger_suite::values::ending("checkout@1"))
        .await
        .unwrap();
    let kill = "  kill: {reason: double charges, operator: dana, confirmation: CONFIRM_KILL}\n";
    let both = format!(
        "{}{}",
        throttle("checkout", 0, kill),
        throttle("search", 60, "")
    );
    let file = echo_phoenix::source::manifest::parse(&both).unwrap();
    let declared =
        LedgerDesired::with_manifest(std::sync::Arc::<SqliteLedger>::clone(&ledger), stored);
    let at = crate::ledger_suite::values::at(1);
    declared.foresee(&file, at);
    let taken = declared.take_over(&file, at).await;
    assert!(taken.owed.is_some(), "{taken:?}");
    assert_eq!(
        declared.last_state().holds[0].hold.epoch.0,
        "checkout@2",
        "it holds all the while"
    );
    let names: Vec<_> = ledger
        .stored()
        .await
        .unwrap()
        .throttles
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert_eq!(
        names,
        [file[0].name.clone(), file[1].name.clone()],
        "nothing else waits for it"
    );
    let taken = declared.take_over(&file, at).await;
    assert!(taken.owed.is_none(), "{taken:?}");
    let stored = ledger.stored().await.unwrap();
    let names: Vec<_> = stored
        .throttles
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(names, ["checkout", "search"]);
    assert_eq!(stored.holds[0].hold.epoch.0, "checkout@2");
}

#[tokio::test]
async fn a_tightening_that_is_brought_twice_holds_once_and_does_not_end_itself() {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use echo_phoenix::desired::LedgerDesired;
    use echo_phoenix::domain::level::Level;
    use echo_phoenix::ports::{Declarations, Desired, Ledger};
    use echo_phoenix::source::manifest::parse;
    use echo_phoenix::store::SqliteLedger;
    use jiff::Timestamp;

    use crate::ledger_suite::declared::{AWAY, Fickle, WELL};
    use crate::ledger_suite::values::record;

    let folder = tempfile::tempdir().unwrap();
    let (ledger, stored) = SqliteLedger::open(folder.path()).unwrap();
    let ledger = Arc::new(Fickle::new(Arc::new(ledger)));
    let declared = LedgerDesired::with_manifest(Arc::<Fickle>::clone(&ledger), stored);
    let file = parse(&throttle("checkout", 40, "")).unwrap();
    assert!(
        declared
            .take_over(&file, Timestamp::UNIX_EPOCH)
            .await
            .owed
            .is_none()
    );
    let name = &file[0].name;
    let level = |fraction| Level::new(fraction).unwrap();
    let first = record("control");
    // In memory at once; the ledger, which was away, gets it when it is told again.
    ledger.mood.store(AWAY, Ordering::SeqCst);
    declared
        .declare(name, level(0.7), None, first.clone())
        .await
        .unwrap_err();
    ledger.mood.store(WELL, Ordering::SeqCst);
    for _ in 0..3 {
        declared
            .declare(name, level(0.7), None, first.clone())
            .await
            .unwrap();
        let holds: Vec<_> = declared.declared()[0]
            .holds
            .iter()
            .map(|hold| hold.epoch.0.clone())
            .collect();
        assert_eq!(holds, std::slice::from_ref(&first.once));
        assert_eq!(ledger.stored().await.unwrap().holds.len(), 1);
    }
    // Another one takes its place; that the first is brought again brings it not back.
    let second = record("control");
    declared
        .declare(name, level(0.9), None, second.clone())
        .await
        .unwrap();
    declared
        .declare(name, level(0.7), None, first)
        .await
        .unwrap();
    let holds: Vec<_> = declared.declared()[0]
        .holds
        .iter()
        .map(|hold| hold.epoch.0.clone())
        .collect();
    assert_eq!(holds, [second.once]);
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_state() {
    let good = throttle("checkout", 40, "");
    let service = service(&good).await;
    service.stands_at("checkout", 40).await;
    service.write(&throttle("checkout", 400, ""));
    service
        .manifest_is(|said| said.contains("spec.throttlePercent") && said.contains("document 1"))
        .await;
    service.write("apiVersion: [");
    service.manifest_is(|said| said.contains("file:")).await;
    // Anybody may ask /health: what the file says is for the log.
    service.write(&good.replace("kind: EchoThrottle", "kind: hunter2"));
    service
        .manifest_is(|said| {
            said.contains("document 1: kind: cannot be used") && !said.contains("hunter2")
        })
        .await;
    assert!(service.echo.process.said().contains("hunter2"));
    std::fs::remove_file(&service.file).unwrap();
    service
        .manifest_is(|said| said.contains("cannot be read"))
        .await;
    service.stands_at("checkout", 40).await;
    let service = service.restart().await;
    service.stands_at("checkout", 40).await;

    service.write(&throttle("other", 10, ""));
    service
        .manifest_is(|said| said.contains("keep their last state: checkout"))
        .await;
    service.stands_at("checkout", 40).await;
    service.stands_at("other", 10).await;
    service.write(&good);
    service
        .manifest_is(|said| said.contains("keep their last state: other"))
        .await;
}

#[tokio::test]
async fn a_file_that_nobody_can_read_stops_nothing_is_told_and_is_heard_again() {
    let kill = "  kill: {reason: double charges, operator: dana, confirmation: CONFIRM_KILL}\n";
    let service = service(&throttle("checkout", 40, "")).await;
    service.stands_at("checkout", 40).await;
    // A pipe that nobody writes to: who opens it to read it waits for ever.
    std::fs::remove_file(&service.file).unwrap();
    run(std::process::Command::new("mkfifo").arg(&service.file));
    service
        .manifest_is(|said| {
            said.contains("no regular file") && said.contains("the last good state stays")
        })
        .await;
    let long = Duration::from_secs(40);
    eventually("how old it is", long, async || {
        let health: Value = http()
            .get(service.echo.url("/health"))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        assert_eq!(health["status"], "degraded", "{health}");
        health["checks"]["manifest"]
            .as_str()?
            .contains("not read for 1")
            .then_some(())
    })
    .await;
    // A start with it goes on from the stored state, and ends when it is told to.
    let mut service = service.restart().await;
    service.stands_at("checkout", 40).await;
    service
        .manifest_is(|said| said.contains("no regular file"))
        .await;
    let pid = service.echo.process.pid().to_string();
    run(std::process::Command::new("kill").arg(pid));
    eventually("SIGTERM ends it", long, async || {
        (!service.echo.process.runs()).then_some(())
    })
    .await;
    let service = service.restart().await;
    // What is written to it when it can be read again is heard.
    service.write(&throttle("checkout", 40, kill));
    eventually("the kill is heard", SOON, async || {
        (service.echo.verdict("checkout").await.1 == "kill").then_some(())
    })
    .await;
    service.manifest_is(|said| said == "ok").await;
}

#[tokio::test]
async fn a_file_is_read_through_links_and_up_to_its_limit() {
    let service = service(&throttle("checkout", 40, "")).await;
    let target = service.folder.path().join("..data");
    std::fs::write(&target, throttle("checkout", 60, "")).unwrap();
    std::fs::remove_file(&service.file).unwrap();
    std::os::unix::fs::symlink(&target, &service.file).unwrap();
    service.stands_at("checkout", 60).await;
    std::fs::write(&target, vec![b'#'; (16 << 20) + 1]).unwrap();
    service
        .manifest_is(|said| said.contains("more than 16777216 bytes"))
        .await;
    for (path, told) in [
        ("/dev/zero", "no regular file"),
        ("/", "a folder"),
        ("/nowhere", "No such file"),
    ] {
        std::fs::remove_file(&service.file).unwrap();
        std::os::unix::fs::symlink(path, &service.file).unwrap();
        service.manifest_is(|said| said.contains(told)).await;
    }
    service.stands_at("checkout", 60).await;
}

#[tokio::test]
async fn a_start_with_a_broken_file_and_nothing_stored_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    std::fs::write(&file, throttle("checkout", 0, "  targetz: []\n")).unwrap();
    let mut command = std::process::Command::new(program());
    command
        .arg("serve")
        .arg("--manifest")
        .arg(&file)
        .env_clear()
        .current_dir(folder.path());
    let done = command.env("ECHO_LISTEN", "127.0.0.1:0").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("ECHO_MANIFEST") && said.contains("spec.targetz: there is no such field"),
        "{said}"
    );
}

#[tokio::test]
async fn many_throttles_with_keys_and_allow_lists() {
    let more = "  targets:\n    - gate: {key: {header: X-Tenant}, allow: [{path: /refunds}]}\n";
    let text: String = (0..500)
        .map(|number| throttle(&format!("t{number}"), 100, more))
        .collect();
    let service = service(&text).await;
    service.stands_at("t499", 100).await;
    let asked = async |path: &str| {
        let request = http()
            .get(service.echo.url("/authz/forward/t7"))
            .header("x-forwarded-uri", path);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        (asked("/refunds/1?x=y").await, asked("/pay").await),
        (200, 429)
    );
    assert_eq!(
        service.get("/v1/throttles").await["items"]
            .as_array()
            .unwrap()
            .len(),
        500
    );
    run(std::process::Command::new(program())
        .args(["verify", "--data-dir"])
        .arg(service.folder.path().join("data")));
}

#[tokio::test]
async fn a_declared_source_that_is_silent_keeps_the_gate_nearly_shut() {
    let signals = "  signals: {source: prometheus, errorsPerThousand: {calm: 0, full: 10}}\n";
    let service = service(&throttle("checkout", 100, signals)).await;
    service.stands_at("checkout", 100).await;
    service.write(&throttle("checkout", 0, signals));
    service.stands_at("checkout", 90).await;
    let condition = async |kind: &str| {
        let found = service.throttle("checkout").await;
        let all = found["conditions"].as_array().unwrap().clone();
        all.into_iter()
            .find(|one| one["type"] == kind)
            .map(|one| one["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(condition("SignalsStale").await.as_deref(), Some("True"));
    let observe = async |source: &str, error_rate: f64| {
        let body = json!({ "source": source, "throttle": "checkout", "error_rate": error_rate })
            .to_string();
        assert_eq!(service.post("/observe", &body).await.0, StatusCode::OK);
    };
    // Somebody else's word is kept, and opens nothing.
    observe("stranger", 0.0).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    service.stands_at("checkout", 90).await;
    observe("prometheus", 0.0).await;
    service.stands_at("checkout", 0).await;
    assert_eq!(condition("SignalsStale").await.as_deref(), Some("False"));
    // /control judges by the same thresholds: half a percent of errors is half of what counts fully
    // here.
    let state = json!({
        "throttle_pct": 0.0, "error_rate": 0.005, "latency_p99_ms": 0, "requests_per_minute": 1e9,
        "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.0, "susceptibility": 1.0,
    });
    let body = json!({ "throttle": "checkout", "target_throttle": 0.0, "current_state": state })
        .to_string();
    let (_, answer) = service.post("/control", &body).await;
    assert!(
        (answer["stress"].as_f64().unwrap() - 0.5).abs() < 1e-6,
        "{answer}"
    );
}

#[tokio::test]
async fn a_throttle_that_only_observes_reports_what_it_would_refuse_and_refuses_nothing_but_a_kill()
{
    let service = service(&throttle("checkout", 50, "  mode: Observe\n")).await;
    let found = eventually("the difference is told", SOON, async || {
        let found = service.throttle("checkout").await;
        let drifted = found["conditions"]
            .as_array()?
            .iter()
            .find(|one| one["type"] == "Drifted")?
            .clone();
        (drifted["status"] == "True" && drifted["reason"] == "Reported").then_some(found)
    })
    .await;
    assert_eq!(
        (
            &found["declared"]["throttlePercent"],
            &found["effective"]["throttlePercent"]
        ),
        (&json!(50), &json!(0))
    );
    let drift = service.get("/v1/drift").await["items"][0].clone();
    let told = ["target", "field", "desired", "actual", "side", "action"]
        .map(|field| drift[field].clone());
    assert_eq!(
        told,
        ["gate", "level", "0.5", "0", "riskier", "reported"].map(Value::from),
        "{drift}"
    );

    let answer = service.control("checkout", 1.0).await;
    assert_eq!(answer["in_force"], json!(0.0), "{answer}");
    assert!(
        answer["next_step"]
            .as_str()
            .unwrap()
            .contains("mode Observe"),
        "{answer}"
    );
    let (status, _) = service
        .post(
            "/observe",
            r#"{"source":"m","throttle":"checkout","error_rate":1.0}"#,
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    eventually("the level that was asked for is told", SOON, async || {
        let found = service.throttle("checkout").await;
        (found["declared"]["throttlePercent"] == 100 && found["effective"]["throttlePercent"] == 0)
            .then_some(())
    })
    .await;
    assert_eq!(
        service.echo.verdict("checkout").await,
        (200, "none".to_owned())
    );
    service.post("/kill", KILL).await;
    assert_eq!(
        service.echo.verdict("checkout").await,
        (403, "kill".to_owned())
    );
}
