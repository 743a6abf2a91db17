//! The build before this one: its command line and its sites reach this service, and ours reach
//! its. Recorded once, in tests/fixtures/before (record.py says how), and held against every build.
//! With ECHO_TEST_BEFORE=BINARY that build itself is run too.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; stand-ins are tasks of the test, which reads its own variable"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Echo, KEY, eventually, http, program};

const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    body: Option<Value>,
    status: u16,
    answer: Value,
}

fn recorded(name: &str) -> Vec<Exchange> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/before")
        .join(name);
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The build before, where it is at hand.
fn before() -> Option<PathBuf> {
    std::env::var_os("ECHO_TEST_BEFORE").map(PathBuf::from)
}

/// Whether an answer has every member of one of before, of the same kind.
fn has_all_of(now: &Value, then: &Value, at: &str) {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            for (name, then) in then {
                let found = now
                    .get(name)
                    .unwrap_or_else(|| panic!("{at} has no {name} any more"));
                has_all_of(found, then, &format!("{at}.{name}"));
            }
        }
        (Value::Array(now), Value::Array(then)) => {
            // Rows of one kind are alike; which there are is the state's.
            if let (Some(now), Some(then)) = (now.first(), then.first()) {
                has_all_of(now, then, &format!("{at}[]"));
            }
        }
        (_, Value::Null) | (Value::Null, _) => {}
        (now, then) => {
            let kind = |value: &Value| (value.is_string(), value.is_number(), value.is_boolean());
            assert_eq!(kind(now), kind(then), "{at} is {now}, and was {then}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_service_takes_what_the_build_before_sends_and_answers_all_it_reads() {
    for (name, operations) in [("cli.json", 9), ("remote.json", 5)] {
        let folder = tempfile::tempdir().unwrap();
        let echo = Echo::start("serve", &[], folder.path()).await;
        if name == "cli.json" {
            // Recorded of a service that was open.
            let body = r#"{"target_throttle":0}"#;
            http()
                .post(echo.url("/control"))
                .header("x-api-key", KEY)
                .body(body)
                .send()
                .await
                .unwrap();
        }
        let all = recorded(name);
        assert!(all.len() >= operations, "{name}: {}", all.len());
        let mut epochs: BTreeMap<String, String> = BTreeMap::new();
        for one in all {
            let mut body = one.body.map(|body| body.to_string()).unwrap_or_default();
            epochs
                .iter()
                .for_each(|(then, now)| body = body.replace(then, now));
            let method = Method::from_bytes(one.method.as_bytes()).unwrap();
            let request = http()
                .request(method, echo.url(&one.path))
                .header("x-api-key", KEY);
            let answered = request.body(body.clone()).send().await.unwrap();
            let (status, answer) = (
                answered.status().as_u16(),
                answered.json::<Value>().await.unwrap(),
            );
            assert_eq!(
                status, one.status,
                "{name}: {} {} {body}: {answer}",
                one.method, one.path
            );
            if one.method == "POST" || one.path == "/health" {
                has_all_of(&answer, &one.answer, &one.path);
            }
            if let (Some(then), Some(now)) =
                (one.answer["epoch"].as_str(), answer["epoch"].as_str())
            {
                epochs.insert(then.to_owned(), now.to_owned());
            }
        }
    }
}

/// The commands that were done, in order.
type Taken = Arc<Mutex<Vec<(String, Value)>>>;

/// The answer to a command with the same fields.
fn answer_to_command(all: &[Exchange], path: &str, body: &Value) -> Exchange {
    let fields = |body: &Value| {
        let mut names: Vec<_> = body
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    };
    let same = |one: &&Exchange| {
        one.path == path && fields(body) == fields(one.body.as_ref().unwrap_or(&Value::Null))
    };
    all.iter()
        .find(same)
        .unwrap_or_else(|| panic!("not recorded: {path} {body}"))
        .clone()
}

/// The answer to a question after the last command, or before it, or an empty page.
fn answer_to_question(all: &[Exchange], last: Option<&(String, Value)>, path: String) -> Exchange {
    let after = all
        .iter()
        .position(|one| Some(&one.path) == last.map(|(path, _)| path) && one.status == 200)
        .unwrap_or(0);
    let asked = |one: &&Exchange| one.method == "GET" && one.path == path;
    let found = all[after..]
        .iter()
        .find(asked)
        .or_else(|| all.iter().find(asked));
    found.cloned().unwrap_or_else(|| Exchange {
        method: "GET".to_owned(),
        path: path.clone(),
        body: None,
        status: 200,
        answer: json!({ "items": [], "next_cursor": null }),
    })
}

/// Whose a kill is: its sender's, who has another name than the one that was recorded.
fn of_this_sender(all: &[Exchange], seen: &[(String, Value)], found: &Exchange) -> String {
    let text = found.answer.to_string();
    let sender = |body: &Value| body["operator"].as_str().map(str::to_owned);
    let now = seen
        .iter()
        .find(|(path, _)| path == "/kill")
        .and_then(|(_, body)| sender(body));
    let then = all
        .iter()
        .find(|one| one.path == "/kill")
        .and_then(|one| sender(one.body.as_ref()?));
    match (now, then) {
        (Some(now), Some(then)) => text.replace(&then, &now),
        _ => text,
    }
}

/// A service of the build before, as far as it was recorded: a command is answered as one with the
/// same fields was, and a question as it was after the last command.
async fn stand_in(names: &[&str]) -> (String, Taken) {
    let all: Vec<_> = names.iter().flat_map(|name| recorded(name)).collect();
    let (all, taken) = (Arc::new(all), Taken::default());
    let seen = Arc::clone(&taken);
    let answer = move |method: Method, uri: Uri, body: Bytes| {
        let (all, seen) = (Arc::clone(&all), Arc::clone(&seen));
        async move {
            let path = uri.path_and_query().unwrap().to_string();
            let mut seen = seen.lock().unwrap();
            let found = if method == Method::POST {
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let found = answer_to_command(&all, &path, &body);
                if found.status == 200 {
                    seen.push((path, body));
                }
                found
            } else {
                answer_to_question(&all, seen.last(), path)
            };
            let text = of_this_sender(&all, &seen, &found);
            let kind = if found.status == 200 {
                "application/json"
            } else {
                "application/problem+json"
            };
            (
                StatusCode::from_u16(found.status).unwrap(),
                [(header::CONTENT_TYPE, kind)],
                text,
            )
                .into_response()
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(answer))
            .await
            .unwrap()
    });
    (url, taken)
}

async fn run_by(program: PathBuf, folder: &Path, url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null());
    command.env("ECHO_URL", url).env("ECHO_API_KEY", KEY);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn said(done: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

const SET: [&str; 6] = [
    "set",
    "25%",
    "--operator=dana",
    "--reason=fraud wave",
    "--throttle=default",
    "-o=json",
];
const KILL: [&str; 4] = [
    "kill",
    "--reason=double charges",
    "--operator=dana",
    "--confirm=CONFIRM_KILL",
];

#[tokio::test(flavor = "multi_thread")]
async fn this_command_line_reads_what_the_build_before_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (url, taken) = stand_in(&["cli.json"]).await;
    for (arguments, wanted) in [
        (&["status"][..], "default: "),
        (&KILL, "KILLED: all throttles"),
        (&["status"], "KILLED, nothing but its allow-list"),
        (
            &["revive", "--epoch=E", "--operator=dana", "--reason=fixed"],
            "REVIVED: 1 hold(s) ended",
        ),
    ] {
        let done = run_by(program(), folder.path(), &url, arguments).await;
        assert_eq!(
            done.status.code(),
            Some(0),
            "{arguments:?}: {}",
            said(&done)
        );
        assert!(
            said(&done).contains(wanted),
            "{arguments:?}: {}",
            said(&done)
        );
    }
    assert_eq!(taken.lock().unwrap().len(), 2);

    let (url, taken) = stand_in(&["set.json"]).await;
    let done = run_by(program(), folder.path(), &url, &SET).await;
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(
        said(&done).contains("is an earlier version, whose record has no place for who and why"),
        "{}",
        said(&done)
    );
    let taken = taken.lock().unwrap();
    assert_eq!(
        (taken.len(), &taken[0].1["target_throttle"]),
        (1, &json!(0.25))
    );
    assert_eq!(taken[0].1["current_state"].as_object().unwrap().len(), 8);
}

fn shop(url: &str) -> String {
    format!(
        "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: shop}}\nspec:\n  \
         throttlePercent: 25\n  ramp: {{maxPercentPerSecond: 100}}\n  targets:\n    - gate: {{}}\n    \
         - remote: {{url: '{url}', apiKeyEnv: ECHO_REMOTE_KEY_OTHER}}\n"
    )
}

/// Starts a site that another one obeys, by the program that is given.
async fn home(program: PathBuf, folder: &Path, url: &str) -> Echo {
    let file = folder.join("echo.yaml");
    std::fs::write(&file, shop(url)).unwrap();
    let variables = [
        ("ECHO_MANIFEST", file.display().to_string()),
        ("ECHO_REMOTE_KEY_OTHER", KEY.to_owned()),
    ];
    let mut command = Command::new(program);
    command.arg("serve");
    Echo::launch(command, "serve", &variables, folder).await
}

async fn post(url: &str, path: &str, body: &Value) {
    let sent = http()
        .post(format!("{url}{path}"))
        .header("x-api-key", KEY)
        .json(body)
        .send()
        .await
        .unwrap();
    assert!(
        sent.status().is_success(),
        "{path}: {}",
        sent.text().await.unwrap()
    );
}

fn kill_body() -> Value {
    json!({ "reason": "double charges", "operator": "dana", "confirmation": "CONFIRM_KILL" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_the_build_before_obeys_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let (url, taken) = stand_in(&["remote.json", "set.json"]).await;
    let echo = home(program(), folder.path(), &url).await;
    let last = |path: &str| {
        taken
            .lock()
            .unwrap()
            .iter()
            .rev()
            .find(|(known, _)| known == path)
            .map(|(_, b)| b.clone())
    };
    let level = eventually("the level is told, in its words", SOON, async || {
        last("/control")
    })
    .await;
    assert_eq!(
        (&level["target_throttle"], level.get("operator")),
        (&json!(0.25), None),
        "{level}"
    );
    assert_eq!(
        level["current_state"].as_object().unwrap().len(),
        8,
        "{level}"
    );
    post(&echo.url(""), "/kill", &kill_body()).await;
    eventually("the kill is told", SOON, async || last("/kill")).await;
    post(&echo.url(""), "/revive", &json!({})).await;
    let end = eventually("its end is told", SOON, async || last("/revive")).await;
    assert!(end["epoch"].is_string(), "{end}");
}

/// The same with the build itself, both ways.
#[tokio::test(flavor = "multi_thread")]
async fn the_build_before_and_this_one_obey_each_other_where_it_is_at_hand() {
    let Some(before) = before() else {
        assert!(
            !recorded("cli.json").is_empty(),
            "then what was recorded of it speaks"
        );
        return;
    };
    for (ours, theirs) in [(program(), before.clone()), (before.clone(), program())] {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = Command::new(&theirs);
        command.arg("serve");
        let other = Echo::launch(command, "serve", &[], there.path()).await;
        let echo = home(ours.clone(), here.path(), &other.url("")).await;
        let at = async |wanted: &str| {
            let stands = async || {
                let told = http()
                    .get(other.url("/v1/throttles/default"))
                    .header("x-api-key", KEY)
                    .send()
                    .await
                    .ok()?;
                let told: Value = told.json().await.ok()?;
                let is = match wanted {
                    "killed" => told["holds"]
                        .as_array()
                        .is_some_and(|holds| !holds.is_empty()),
                    _ => {
                        told["declared"]["throttlePercent"] == 25
                            && told["holds"].as_array().is_none_or(Vec::is_empty)
                    }
                };
                is.then_some(())
            };
            eventually(wanted, SOON, stands).await;
        };
        at("25 %").await;
        post(&echo.url(""), "/kill", &kill_body()).await;
        at("killed").await;
        post(&echo.url(""), "/revive", &json!({})).await;
        at("25 %").await;
        for arguments in [&["status"][..], &KILL, &["status"], &["revive"]] {
            let done = run_by(ours.clone(), here.path(), &other.url(""), arguments).await;
            assert_eq!(
                done.status.code(),
                Some(0),
                "{}: {arguments:?}: {}",
                ours.display(),
                said(&done)
            );
        }
        if ours == program() {
            for arguments in [&SET[..], &["audit"]] {
                let done = run_by(ours.clone(), here.path(), &other.url(""), arguments).await;
                assert_eq!(
                    done.status.code(),
                    Some(0),
                    "{arguments:?}: {}",
                    said(&done)
                );
            }
        }
    }
}
