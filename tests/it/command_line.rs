//! The commands of a person on call, the real binary against a real service: what they print where,
//! and what the exit code is when the service is killed, half stopped, slow to be reached, somebody
//! else, or gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

mod front;
mod help;
mod hostile;
mod plan;
mod set;
mod undecided;
mod words;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, free_port, http, program, run};
use front::Front;

const KILL: [&str; 7] = [
    "kill",
    "--reason",
    "double charges",
    "--operator",
    "dana",
    "--confirm",
    "CONFIRM_KILL",
];

/// Our program in a folder, with a key and nothing else of the environment.
fn command(folder: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null());
    command.env("ECHO_URL", url).env("ECHO_API_KEY", KEY);
    command
}

fn ask(folder: &Path, url: &str, arguments: &[&str]) -> Output {
    command(folder, url, arguments).output().unwrap()
}

fn out(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn err(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

async fn service() -> (tempfile::TempDir, Echo) {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    (folder, echo)
}

async fn kills(echo: &Echo) -> Vec<Value> {
    let request = http()
        .get(echo.url("/v1/audit?action=kill"))
        .header("x-api-key", KEY);
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    page["items"].as_array().unwrap().clone()
}

/// Kills everything: told, in force and on record.
async fn killed(echo: &Echo, folder: &Path, url: &str) {
    let killed = ask(folder, url, &KILL);
    assert_eq!(killed.status.code(), Some(0), "{}", err(&killed));
    let text = out(&killed);
    assert!(
        text.starts_with("KILLED: all throttles")
            && text.contains("audit entry 2; outlives a crash"),
        "{text}"
    );
    assert!(text.contains("gate of default: stopped"), "{text}");
    assert!(
        !text.contains("Next:") && err(&killed).contains("echo-phoenix revive"),
        "what next is talk, not result"
    );
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    let entry = &kills(echo).await[0];
    assert_eq!(
        (&entry["reason"], &entry["operator"]),
        (&json!("double charges"), &json!("dana"))
    );
}

fn killed_again(folder: &Path, url: &str, epoch: &str) {
    let again = ask(folder, url, &[&KILL[..], &["-o", "json"]].concat());
    let answer: Value = serde_json::from_str(&out(&again)).unwrap();
    assert_eq!(
        (again.status.code(), &answer["epoch"]),
        (Some(0), &json!(epoch)),
        "killing twice is one kill"
    );

    let text = out(&ask(folder, url, &KILL));
    assert!(
        text.starts_with("KILLED ALREADY") && text.contains("by       dana: double charges"),
        "{text}"
    );
}

/// Neither an epoch that is nobody's nor a part of what is killed whole ends it; what would is
/// named.
fn no_other_ends_it(folder: &Path, url: &str, epoch: &str) {
    for wrong in [
        &["revive", "--epoch", "another"],
        &["revive", "--throttle", "default"],
    ] {
        let other = ask(folder, url, wrong);
        assert_eq!(
            other.status.code(),
            Some(1),
            "{}{}",
            out(&other),
            err(&other)
        );
        assert!(
            err(&other).contains(&format!("echo-phoenix revive --epoch {epoch}")),
            "{}",
            err(&other)
        );
        assert!(!err(&other).contains("kubectl"), "{}", err(&other));
    }
}

fn revived(folder: &Path, url: &str, epoch: &str) {
    let revived = ask(
        folder,
        url,
        &[
            "revive",
            "--epoch",
            epoch,
            "--operator",
            "dana",
            "--reason",
            "fixed",
        ],
    );
    assert_eq!(revived.status.code(), Some(0), "{}", err(&revived));
    assert!(
        out(&revived).starts_with("REVIVED: 1 hold(s) ended"),
        "{}",
        out(&revived)
    );
    assert!(
        err(&revived).contains("Nothing opens yet"),
        "it was never opened: {}",
        err(&revived)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_told_seen_and_ended() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let fresh = ask(folder, &url, &["status"]);
    assert_eq!(fresh.status.code(), Some(0), "{}", err(&fresh));
    assert!(out(&fresh).contains("never opened"), "{}", out(&fresh));

    killed(&echo, folder, &url).await;

    let text = eventually(
        "the loop has seen the kill",
        Duration::from_secs(10),
        async || {
            let text = out(&ask(folder, &url, &["status"]));
            text.contains("default: KILLED").then_some(text)
        },
    )
    .await;
    for part in [
        "UTC (",
        "by        dana, over the API: double charges",
        "echo-phoenix revive --epoch ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let told: Value =
        serde_json::from_str(&out(&ask(folder, &url, &["status", "-o", "json"]))).unwrap();
    assert_eq!(
        (
            &told["health"]["killed"],
            &told["throttles"][0]["holds"][0]["operator"]
        ),
        (&json!(true), &json!("dana"))
    );
    let epoch = told["throttles"][0]["holds"][0]["epoch"].as_str().unwrap();

    killed_again(folder, &url, epoch);

    no_other_ends_it(folder, &url, epoch);
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    revived(folder, &url, epoch);
    assert_ne!(echo.verdict("default").await.1, "kill");
    let running = ask(folder, &url, &["revive"]);
    assert_eq!(
        (running.status.code(), out(&running).as_str()),
        (Some(0), "Nothing was killed, so nothing was ended.\n")
    );
}

#[test]
fn a_password_in_the_address_is_refused_and_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let refused = ask(folder.path(), "http://dana:s3cret@127.0.0.1:1", &["status"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        err(&refused).contains("ECHO_URL") && !err(&refused).contains("s3cret"),
        "{}",
        err(&refused)
    );
    let help = command(
        folder.path(),
        "http://dana:s3cret@127.0.0.1:1",
        &["status", "--help"],
    )
    .output()
    .unwrap();
    assert!(
        help.status.success() && !out(&help).contains("s3cret"),
        "{}",
        out(&help)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_no_further_is_no_failure() {
    let (folder, echo) = service().await;
    let mut status = command(folder.path(), &echo.url(""), &["status"]);
    let mut child = status
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    assert_eq!((done.status.code(), err(&done).as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_word_nothing_is_stopped() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let unasked = ask(folder, &url, &KILL[..5]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(
        err(&unasked).contains("--confirm CONFIRM_KILL")
            && err(&unasked).contains("NOTHING WAS STOPPED")
    );
    let wrong = ask(folder, &url, &[&KILL[..6], &["confirm_kill"]].concat());
    assert_eq!(wrong.status.code(), Some(2), "{}", err(&wrong));
    for usage in [
        &["kill"][..],
        &["kill", "--reason", "x"],
        &["kill", "--reason", "", "--operator", "x"],
    ] {
        assert_eq!(ask(folder, &url, usage).status.code(), Some(2), "{usage:?}");
    }
    let (code, said) = on_terminal(&mut command(folder, &url, &KILL[..5]), "no\n");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("Type CONFIRM_KILL") && said.contains("NOTHING WAS STOPPED"),
        "{said}"
    );
    assert!(kills(&echo).await.is_empty());
    assert_ne!(echo.verdict("default").await.1, "kill");

    let (code, said) = on_terminal(
        &mut command(folder, &url, &KILL[..5]),
        "confirm_kill\nCONFIRM_KILL\n",
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("This stops all throttles of http://127.0.0.1:"),
        "{said}"
    );
    assert!(
        said.contains("\u{1b}[1;31mKILLED"),
        "a terminal gets colour: {said}"
    );
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
    let (_, plain) = on_terminal(command(folder, &url, &["status"]).env("NO_COLOR", "1"), "");
    assert!(
        plain.contains("healthy") && !plain.contains('\u{1b}'),
        "{plain}"
    );
    let piped = ask(folder, &url, &["status"]);
    assert!(!out(&piped).contains('\u{1b}'), "{}", out(&piped));
}

/// Runs a command on a terminal of its own, where this is typed; gives its exit code and what stood
/// on the terminal.
fn on_terminal(command: &mut Command, typed: &str) -> (Option<i32>, String) {
    use std::io::Write;
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let line: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(quoted)
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &line.join(" "), "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    script
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", "xterm");
    script
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script.spawn().expect("script (util-linux) starts");
    // Kept open to the end: its end would be the end of the terminal.
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(typed.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    drop(keys);
    (done.status.code(), out(&done))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_ledger_cannot_be_written_stops_and_says_that_it_is_not_whole() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let lock = Connection::open(folder.join("data/ledger.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let partial = ask(folder, &url, &KILL);
    let (text, talk) = (out(&partial), err(&partial));
    assert_eq!(partial.status.code(), Some(1), "{text}{talk}");
    assert!(
        text.starts_with("KILLED, BUT NOT WHOLE")
            && text.contains("pending: not in the ledger yet"),
        "{text}"
    );
    assert!(
        text.contains("gate of default: stopped") && text.contains("outlives a crash"),
        "{text}"
    );
    assert!(
        talk.contains("the kill is not whole: the ledger does not have it yet"),
        "{talk}"
    );
    assert_eq!(
        echo.verdict("default").await,
        (403, "kill".to_owned()),
        "what could be stopped is"
    );
    let json = ask(folder, &url, &[&KILL[..], &["-o", "json"]].concat());
    assert_eq!(json.status.code(), Some(1));
    assert_eq!(
        serde_json::from_str::<Value>(&out(&json)).unwrap()["audit"],
        "pending"
    );

    let sick = ask(folder, &url, &["status"]);
    assert_eq!(sick.status.code(), Some(0), "{}", err(&sick));
    assert!(
        out(&sick).contains("unhealthy") && out(&sick).contains("unavailable"),
        "{}",
        out(&sick)
    );
    let refused = ask(folder, &url, &["revive"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("Nothing was opened"),
        "{}",
        err(&refused)
    );

    lock.execute_batch("ROLLBACK").unwrap();
    eventually("it becomes whole", Duration::from_secs(15), async || {
        ask(folder, &url, &KILL).status.success().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_gap_of_a_kill_is_told_and_none_of_them_is_success() {
    let folder = tempfile::tempdir().unwrap();
    let whole = json!({
        "killed": true, "epoch": "E1", "latched_at": "2026-01-14T21:32:07Z", "audit": "recorded", "durable": true,
        "targets": [{ "throttle": "default", "target": "gate", "enforced": true }], "audit_id": 7,
    });
    let with = |member: &str, value: Value| {
        let mut answer = whole.clone();
        answer[member] = value;
        answer
    };
    let open = json!([
        { "throttle": "default", "target": "gate", "enforced": true },
        { "throttle": "eu", "target": "remote:pay", "enforced": false },
    ]);
    let cases = [
        (whole.clone(), 0, "audit entry 7; outlives a crash"),
        (
            with("audit", json!("pending")),
            1,
            "the ledger does not have it yet",
        ),
        (
            with("durable", json!(false)),
            1,
            "LOST IF THE SERVICE RESTARTS",
        ),
        (
            with("targets", open),
            1,
            "remote:pay of eu: NOT STOPPED YET",
        ),
        (with("targets", json!([])), 1, "no target was read back"),
        (
            with("killed", json!(false)),
            1,
            "does not say that it is killed",
        ),
    ];
    for (answer, code, said) in cases {
        let front = Front::answering(200, "application/json", &answer.to_string());
        let done = ask(folder.path(), &front.url(), &KILL);
        assert_eq!(done.status.code(), Some(code), "{answer}: {}", err(&done));
        assert!(
            out(&done).contains(said),
            "{said} is not in\n{}",
            out(&done)
        );
        assert_eq!(out(&done).contains("NOT WHOLE"), code == 1);
    }
    // Half an answer is none.
    let front = Front::answering(200, "application/json", r#"{"killed":true}"#);
    let done = ask(folder.path(), &front.url(), &KILL);
    assert_eq!((done.status.code(), out(&done).as_str()), (Some(3), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_whose_answer_is_lost_is_sent_again_and_done_once() {
    let (folder, echo) = service().await;
    // The first is cut before it arrives, the second after it was done, the third gets through.
    let front = Front::before(
        echo.address,
        vec![front::Fault::Refuse, front::Fault::LoseAnswer],
    );
    let killed = ask(folder.path(), &front.url(), &KILL);
    let talk = err(&killed);
    assert_eq!(killed.status.code(), Some(0), "{talk}");
    assert_eq!(
        talk.matches("again in").count(),
        2,
        "each attempt is told: {talk}"
    );
    assert!(talk.contains("same Idempotency-Key"), "{talk}");
    let keys = front.keys();
    assert_eq!(keys.len(), 2, "two arrived");
    assert_eq!(keys[0], keys[1]);
    assert_eq!(kills(&echo).await.len(), 1, "one kill, one entry");

    // A revival that names no kill is not sent again: it might end one that came in between.
    let front = Front::before(
        echo.address,
        vec![front::Fault::None, front::Fault::LoseAnswer],
    );
    let lost = ask(folder.path(), &front.url(), &["revive"]);
    assert_eq!(lost.status.code(), Some(3));
    assert!(
        err(&lost).contains("may have received this"),
        "{}",
        err(&lost)
    );
    assert_eq!(front.keys().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_reached_is_told_with_what_to_try() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let began = Instant::now();
    let killed = ask(
        folder.path(),
        &url,
        &[&KILL[..], &["--patience", "2"]].concat(),
    );
    let took = began.elapsed();
    assert_eq!(killed.status.code(), Some(1));
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );
    let talk = err(&killed);
    for part in [
        url.as_str(),
        "ECHO_URL",
        "proxies",
        "NOTHING WAS STOPPED",
        "healthcheck",
    ] {
        assert!(talk.contains(part), "{part} is not in\n{talk}");
    }
    assert_eq!(out(&killed), "");
    let status = ask(folder.path(), &url, &["status"]);
    assert_eq!((status.status.code(), out(&status).as_str()), (Some(1), ""));
    assert!(
        err(&status).contains(&url) && !err(&status).contains("STOPPED"),
        "{}",
        err(&status)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_who_answers_is_told_apart_and_gets_no_key_by_a_redirect() {
    let folder = tempfile::tempdir().unwrap();
    let page = Front::answering(200, "text/html", "<html>Welcome\u{1b}[31m to nginx</html>");
    let done = ask(folder.path(), &page.url(), &KILL);
    assert_eq!(done.status.code(), Some(3));
    assert!(
        err(&done).contains("Welcome") && !err(&done).contains('\u{1b}'),
        "{}",
        err(&done)
    );
    assert!(
        !err(&done).contains("NOTHING WAS STOPPED"),
        "nobody can know"
    );

    let aim = Front::answering(200, "application/json", "{}");
    let redirect = Front::redirecting(&aim.url());
    let done = ask(folder.path(), &redirect.url(), &["status"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        err(&done).contains("redirect to http://127.0.0.1:"),
        "{}",
        err(&done)
    );
    assert_eq!(aim.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_with_the_way_out() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    let kill = |key: &str, more: &[&str]| {
        let done = command(folder, &url, &[&KILL[..], more].concat())
            .env("ECHO_API_KEY", key)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", out(&done));
        assert!(err(&done).contains("NOTHING WAS STOPPED"), "{}", err(&done));
        assert!(
            key.is_empty() || !err(&done).contains(key),
            "a key is never shown: {}",
            err(&done)
        );
        err(&done)
    };
    assert!(kill("", &[]).contains("Set ECHO_API_KEY"));
    assert!(kill("not-the-key", &[]).contains("(403): Invalid API key"));
    assert!(kill(KEY, &["--throttle", "nowhere"]).contains("echo-phoenix status` lists"));
    assert_eq!(
        ask(
            folder,
            &url,
            &[&KILL[..], &["--throttle", "No Name"]].concat()
        )
        .status
        .code(),
        Some(2)
    );
    let told = command(folder, &url, &["status"])
        .env("ECHO_API_KEY", "not-the-key")
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(
        out(&told).contains("healthy") && err(&told).contains("Invalid API key"),
        "what needs no key is told"
    );
    for url in ["not a url", "ftp://127.0.0.1", "http://127.0.0.1:8080/?a=b"] {
        let done = ask(folder, url, &KILL);
        assert_eq!(done.status.code(), Some(2), "{}", err(&done));
        assert!(err(&done).contains("ECHO_URL"), "{}", err(&done));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_its_own_machine_a_service_is_found_with_the_key_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let echo = Echo::start("serve", &[("ECHO_API_KEY", String::new())], folder.path()).await;
    let local = |variables: &[(&str, &str)]| {
        let mut command = Command::new(program());
        command
            .arg("status")
            .env_clear()
            .current_dir(folder.path())
            .env("ECHO_LISTEN", echo.address.to_string());
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let found = local(&[]);
    assert_eq!(found.status.code(), Some(0), "{}", err(&found));
    let key = std::fs::read_to_string(format!("{data}/api-key")).unwrap();
    assert!(
        err(&found).contains("api-key") && !err(&found).contains(&key),
        "the file is told, never the key"
    );
    let production = local(&[("ENVIRONMENT", "production")]);
    assert_eq!(production.status.code(), Some(1), "{}", out(&production));
    let placeholder = local(&[("ECHO_API_KEY", "YOUR_KEY")]);
    assert_eq!(placeholder.status.code(), Some(0), "{}", err(&placeholder));
    // What is wrong with the service's own configuration does not keep a person from stopping it.
    let mut odd = command(folder.path(), &echo.url(""), &KILL);
    odd.envs([
        ("ECHO_LISTEN", "nonsense"),
        ("ENVIRONMENT", "prod"),
        ("ECHO_API_KEY", key.trim()),
    ]);
    let odd = odd.output().unwrap();
    assert_eq!(odd.status.code(), Some(0), "{}", err(&odd));
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_tells_each_change_once_and_goes_on_when_the_service_is_gone() {
    let (folder, mut echo) = service().await;
    let url = echo.url("");
    eventually("the loop has passed", Duration::from_secs(10), async || {
        out(&ask(folder.path(), &url, &["status"]))
            .contains("as it should be")
            .then_some(())
    })
    .await;
    let file = folder.path().join("watched");
    let mut watch = command(folder.path(), &url, &["status", "--watch"]);
    let mut watching = watch
        .stdout(std::fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    let told = |part: &'static str| {
        let file = file.clone();
        async move || {
            std::fs::read_to_string(&file)
                .unwrap()
                .contains(part)
                .then_some(())
        }
    };
    eventually(
        "the first report",
        Duration::from_secs(10),
        told("default: shut"),
    )
    .await;
    assert!(ask(folder.path(), &url, &KILL).status.success());
    eventually("the kill", Duration::from_secs(15), told("default: KILLED")).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.matches("default: ").count() <= 3,
        "what does not change is not told again:\n{text}"
    );
    echo.process.kill_9();
    eventually("it is gone", Duration::from_secs(15), told("NOT KNOWN")).await;
    assert!(watching.try_wait().unwrap().is_none(), "it goes on looking");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

/// The operator of a cluster has no throttles of its own to tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_throttles_is_told_by_its_health() {
    let folder = tempfile::tempdir().unwrap();
    let health = json!({
        "status": "degraded", "version": "2.4.0-secure", "mode": "operator", "uptime_seconds": 90061,
        "throttle_pct": 0.125, "killed": false, "checks": { "gate": "ok", "airtable": "12 rows behind" },
    });
    let refusal =
        json!({ "detail": "There is no such route here.", "status": 404, "title": "Not Found" })
            .to_string();
    let front = Front::routing(vec![
        ("/health", 200, "application/json", health.to_string()),
        (
            "/v1/throttles",
            404,
            "application/problem+json",
            refusal.clone(),
        ),
        ("/v1/commands", 404, "application/problem+json", refusal),
    ]);
    let asked = ask(folder.path(), &front.url(), &["status"]);
    assert_eq!(asked.status.code(), Some(0), "{}", err(&asked));
    let text = out(&asked);
    let told = "operator 2.4.0-secure, degraded, up 1 d 1 h\n\n12.5 % refused at most\n\n  airtable  12 rows behind\n";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("gate"), "{text}");
    assert!(
        err(&asked).contains("kubectl get echothrottles"),
        "{}",
        err(&asked)
    );
    let json = ask(folder.path(), &front.url(), &["status", "-o", "json"]);
    let answer: Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(
        (&answer["health"], &answer["throttles"]),
        (&health, &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_on_a_terminal_alone() {
    let (folder, echo) = service().await;
    let (folder, url) = (folder.path(), echo.url(""));
    assert!(ask(folder, &url, &KILL).status.success());
    for (arguments, part) in [
        (&["verify"][..], "audit_log: 2 of 2, 100 %"),
        (&["backup", "on-terminal.db"], "copy: "),
    ] {
        let (code, said) = on_terminal(&mut command(folder, &url, arguments), "");
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let piped = ask(folder, &url, &["backup", "piped.db"]);
    assert_eq!(piped.status.code(), Some(0), "{}", err(&piped));
    assert!(
        !err(&piped).contains("copy: ") && !err(&piped).contains('\r'),
        "{}",
        err(&piped)
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let text = run(Command::new(program()).args(["completions", shell]));
        assert!(
            ["kill", "revive", "backup", "throttle"]
                .iter()
                .all(|word| text.contains(word)),
            "{shell}"
        );
    }
    let mut check = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let text = run(Command::new(program()).args(["completions", "bash"]));
    std::io::Write::write_all(&mut check.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(check.wait().unwrap().success());
}
