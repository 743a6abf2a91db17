//! What `status` says of an order that was answered before anybody knew what becomes of it.

use super::*;
use crate::support::slow_disk::SlowDisk;

const REVIVE: [&str; 5] = [
    "revive",
    "--reason",
    "payments are right again",
    "--operator",
    "dana",
];

/// What is said of an order that is not decided: in the service's words, that it may still happen,
/// and what tells the rest.
fn not_decided(said: &str) {
    for words in [
        "may still happen",
        "is not decided (503)",
        "`echo-phoenix status`",
        "GET /v1/commands",
        "echo-phoenix audit",
    ] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    for words in ["refused", "Try again", "NOTHING"] {
        assert!(!said.contains(words), "{words} is in {said}");
    }
}

/// Such orders, as the API lists them.
async fn listed(echo: &Echo) -> Value {
    let request = http()
        .get(echo.url("/v1/commands"))
        .header("x-api-key", KEY);
    request.send().await.unwrap().json().await.unwrap()
}

/// The API lists the revival as done, with what the command line and the record have of it.
async fn is_told_as_done(echo: &Echo, folder: &Path, url: &str) {
    let told = listed(echo).await;
    let since: jiff::Timestamp = told["since"].as_str().unwrap().parse().unwrap();
    let one = &told["items"][0];
    assert!(
        since < one["at"].as_str().unwrap().parse().unwrap(),
        "since when it would know of any: {told}"
    );
    assert_eq!(
        (&one["action"], &one["operator"], &one["outcome"]),
        (&json!("revive"), &json!("dana"), &json!("done"))
    );
    let json: Value =
        serde_json::from_str(&out(&ask(folder, url, &["status", "-o", "json"]))).unwrap();
    assert_eq!(json["commands"], told["items"]);
    let request = http()
        .get(echo.url("/v1/audit?action=revive"))
        .header("x-api-key", KEY);
    let audit: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        audit["items"][0]["request_id"], one["request_id"],
        "and the record has it"
    );
    assert_eq!(
        http()
            .get(echo.url("/v1/commands"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_that_is_not_decided_is_shown_until_it_is_and_then_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SlowDisk::new(folder.path());
    let echo = Echo::start("serve", &disk.variables(), folder.path()).await;
    let (folder, url) = (folder.path(), echo.url(""));
    let status = || out(&ask(folder, &url, &["status"]));
    assert_eq!(ask(folder, &url, &KILL).status.code(), Some(0));
    assert!(
        !status().contains("before their outcome was known"),
        "{}",
        status()
    );

    disk.stall(&["/data/ledger.db"], Duration::from_secs(60));
    let revived = ask(folder, &url, &REVIVE);
    assert_eq!(
        revived.status.code(),
        Some(3),
        "it is no refusal: {}",
        out(&revived)
    );
    not_decided(&err(&revived));
    let told = status();
    for words in [
        "  command   not decided yet: it may still happen: revive of all, ",
        "  by        ECHO_API_KEY: dana\n",
        "KILLED",
    ] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    disk.flow();
    eventually(
        "what became of it is told",
        Duration::from_secs(30),
        async || {
            let told = status();
            assert!(told.contains(": revive of all, "), "{told}");
            told.contains("  command   it was done: ").then_some(())
        },
    )
    .await;
    is_told_as_done(&echo, folder, &url).await;
}

/// What a failed sync leaves in the file may be there after a crash, or not: nobody is told that it
/// was not done.
#[tokio::test(flavor = "multi_thread")]
async fn a_revival_whose_sync_fails_is_not_decided_and_then_what_a_restart_finds() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SlowDisk::new(folder.path());
    let mut echo = Echo::start("serve", &disk.variables(), folder.path()).await;
    let folder = folder.path();
    assert_eq!(ask(folder, &echo.url(""), &KILL).status.code(), Some(0));
    disk.fail(&["/data/ledger.db"]);
    let revived = ask(folder, &echo.url(""), &REVIVE);
    assert_eq!(
        revived.status.code(),
        Some(3),
        "it is no refusal: {}",
        out(&revived)
    );
    not_decided(&err(&revived));
    // It is never told as done or not done while the disk cannot say.
    assert!(out(&ask(folder, &echo.url(""), &["status"])).contains("not decided yet"));
    disk.flow();
    eventually(
        "what became of it is told",
        Duration::from_secs(30),
        async || {
            out(&ask(folder, &echo.url(""), &["status"]))
                .contains("  command   it was not done")
                .then_some(())
        },
    )
    .await;
    let mut known_since = String::new();
    for _ in 0..2 {
        assert!(out(&ask(folder, &echo.url(""), &["status"])).contains("KILLED"));
        echo.process.kill_9();
        echo = Echo::start("serve", &disk.variables(), folder).await;
        // That nothing is listed says nothing of what came before; what was not done is not in the
        // record either.
        let told = listed(&echo).await;
        let since = told["since"].as_str().unwrap().to_owned();
        assert_eq!(told["items"], json!([]));
        assert!(since > known_since, "{since}, and before {known_since}");
        known_since = since;
        let audit = ask(folder, &echo.url(""), &["audit", "-o", "json"]);
        let audit: Vec<Value> = serde_json::from_str(&out(&audit)).unwrap();
        assert!(
            audit.iter().all(|entry| entry["action"] != "revive"),
            "{audit:?}"
        );
    }
    assert_eq!(ask(folder, &echo.url(""), &REVIVE).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_could_not_be_read_are_unknown_and_an_older_service_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let health = json!({
        "status": "healthy", "version": "2.4.0-secure", "mode": "serve", "uptime_seconds": 1, "throttle_pct": 0.0,
        "killed": false, "checks": {},
    });
    let refusal =
        |status: u16| json!({ "detail": "No.", "status": status, "title": "No" }).to_string();
    let alone = json!({ "items": [{ "at": "2026-01-14T09:00:00Z", "action": "kill", "throttle": "", "actor": "k",
                                    "operator": "dana", "outcome": "refused", "why": "no overrides here" }] });
    let unknown = "is unknown: they could not be read";
    for (status, answer, words, json) in [
        (404, refusal(404), None, json!([])),
        (200, json!({ "items": [] }).to_string(), None, json!([])),
        (
            200,
            alone.to_string(),
            Some("  command   it is known there alone: kill of all, "),
            alone["items"].clone(),
        ),
        (403, refusal(403), Some(unknown), Value::Null),
        (503, refusal(503), Some(unknown), Value::Null),
    ] {
        let kind = if status == 200 {
            "application/json"
        } else {
            "application/problem+json"
        };
        let front = Front::routing(vec![
            ("/health", 200, "application/json", health.to_string()),
            (
                "/v1/throttles",
                200,
                "application/json",
                json!({ "items": [] }).to_string(),
            ),
            ("/v1/commands", status, kind, answer),
        ]);
        let told = out(&ask(folder.path(), &front.url(), &["status"]));
        assert!(
            words.is_none_or(|words| told.contains(words)),
            "{status}: {told}"
        );
        assert_eq!(
            told.contains(unknown),
            words == Some(unknown),
            "{status}: {told}"
        );
        let said: Value = serde_json::from_str(&out(&ask(
            folder.path(),
            &front.url(),
            &["status", "-o", "json"],
        )))
        .unwrap();
        assert_eq!(said["commands"], json, "{status}");
    }
}

/// Every answer to an order that does not say whether it was done has an exit code of its own; what
/// is known to be refused has not.
#[test]
fn an_order_of_which_it_is_not_known_whether_it_was_done_ends_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let set = ["set", "0", "--operator", "dana", "--reason", "go live"];
    let (undecided, waits) = ("The revival may still happen.", "Nothing was opened.");
    let answers = [
        (
            503,
            json!({ "detail": "This took longer than 20 s and was given up.", "outcome": "unknown" }),
            3,
        ),
        (
            500,
            json!({ "detail": "The kill broke off.", "outcome": "unknown" }),
            3,
        ),
        (503, json!({ "detail": undecided }), 3), // as the version before says it
        (503, json!({ "detail": waits }), 1),
        (409, json!({ "detail": "Nothing could be ended here." }), 1),
    ];
    for (status, answer, code) in answers {
        let front = Front::answering(status, "application/problem+json", &answer.to_string());
        for order in [&set[..], &REVIVE, &KILL] {
            let done = ask(folder.path(), &front.url(), order);
            assert_eq!(
                done.status.code(),
                Some(code),
                "{order:?} {answer}: {}",
                err(&done)
            );
            assert_eq!(
                err(&done).contains("is not decided"),
                code == 3,
                "{}",
                err(&done)
            );
        }
        let read = ask(folder.path(), &front.url(), &["audit"]);
        assert_eq!(
            read.status.code(),
            Some(1),
            "who only reads orders nothing: {}",
            err(&read)
        );
    }
    let front = Front::answering(200, "application/json", "{}");
    for order in [&set[..], &REVIVE, &KILL] {
        let done = ask(folder.path(), &front.url(), order);
        assert_eq!(done.status.code(), Some(3), "{order:?}: {}", err(&done));
    }
}
