//! A command that is sent twice is done once: over HTTP, across restarts, and while the first is
//! under way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::pin::pin;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::slow_disk::SlowDisk;
use crate::support::wall::Wall;
use crate::support::{Echo, KEY, eventually, http};

const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;

/// What was answered: status, whether it was a replay, body.
type Answered = (StatusCode, bool, Value);

async fn post(echo: &Echo, path: &str, key: &str, body: &str) -> Answered {
    let request = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .header("idempotency-key", key);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let replayed = answer
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true");
    (answer.status(), replayed, answer.json().await.unwrap())
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

#[tokio::test]
async fn a_command_sent_twice_is_done_once_and_answered_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = Echo::start("serve", &[], folder.path()).await;
    let (_, _, opened) = post(&echo, "/control", "c-1", &control(0.0)).await;
    let first = post(&echo, "/kill", "k-1", KILL).await;
    assert_eq!((first.0, first.1), (StatusCode::OK, false));
    assert_eq!(first.2["audit"], "recorded");
    assert_eq!(
        post(&echo, "/kill", "k-1", KILL).await,
        (StatusCode::OK, true, first.2.clone())
    );
    // Before the killed check, and byte for byte what it was.
    assert_eq!(
        post(&echo, "/control", "c-1", &control(0.0)).await,
        (StatusCode::OK, true, opened.clone())
    );

    echo.process.kill_9();
    let echo = Echo::start("serve", &[], folder.path()).await;
    assert_eq!(
        post(&echo, "/kill", "k-1", KILL).await,
        (StatusCode::OK, true, first.2.clone())
    );
    let (status, _, again) = post(&echo, "/kill", "k-2", KILL).await;
    assert_eq!(
        (status, &again["epoch"]),
        (StatusCode::OK, &first.2["epoch"]),
        "killing twice is one kill"
    );
    assert_eq!(
        again["audit_id"],
        first.2["audit_id"].as_i64().unwrap() + 2,
        "replays wrote no entry, the start one"
    );
}

#[tokio::test]
async fn a_key_is_for_one_request_and_a_kill_that_is_over_is_not_answered_as_one_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let (status, _, _) = post(&echo, "/control", "c", &control(0.75)).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _, other) = post(&echo, "/control", "c", &control(0.5)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{other}");

    post(&echo, "/kill", "k", KILL).await;
    let (status, _, revived) = post(&echo, "/revive", "k", "").await;
    assert_eq!(
        (status, &revived["status"]),
        (StatusCode::OK, &json!("revived")),
        "a key is for one route"
    );
    assert_eq!(
        post(&echo, "/revive", "k", "").await,
        (StatusCode::OK, true, revived)
    );
    let (status, replayed, over) = post(&echo, "/kill", "k", KILL).await;
    assert_eq!((status, replayed), (StatusCode::CONFLICT, true), "{over}");

    for bad in ["", &"x".repeat(256)] {
        let (status, _, problem) = post(&echo, "/control", bad, &control(0.5)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key"),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_looked_at_anew_and_never_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    post(&echo, "/kill", "k", KILL).await;
    let (refused, replayed, problem) = post(&echo, "/control", "c", &control(0.5)).await;
    assert_eq!((refused, replayed), (StatusCode::CONFLICT, false));
    assert_eq!(problem["held_by"][0]["operator"], "dana");
    post(&echo, "/revive", "r", "").await;
    let (status, replayed, declared) = post(&echo, "/control", "c", &control(0.5)).await;
    assert_eq!(
        (status, replayed),
        (StatusCode::OK, false),
        "it is killed no longer: {declared}"
    );
}

#[tokio::test]
async fn a_replayed_revival_under_a_newer_hold_is_a_conflict_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let (_, _, first) = post(&echo, "/kill", "k-1", KILL).await;
    let this = json!({ "epoch": first["epoch"] }).to_string();
    let all = post(&echo, "/revive", "all", "").await;
    let one = post(&echo, "/revive", "one", &this).await;
    assert_eq!(
        (&all.2["status"], &one.2["status"]),
        (&json!("revived"), &json!("already_running"))
    );
    let (_, _, newer) = post(&echo, "/kill", "k-2", &KILL.replace("dana", "eve")).await;
    for (key, body) in [("all", ""), ("one", &this)] {
        let (status, replayed, problem) = post(&echo, "/revive", key, body).await;
        assert_eq!(
            (status, replayed),
            (StatusCode::CONFLICT, true),
            "{problem}"
        );
        assert_eq!(problem["held_by"][0]["epoch"], newer["epoch"], "{problem}");
        assert_eq!(problem["held_by"][0]["operator"], "eve", "{problem}");
    }
    assert_eq!(
        echo.verdict("default").await.1,
        "kill",
        "a replay ends nothing"
    );
    post(&echo, "/revive", "again", "").await;
    assert_eq!(
        post(&echo, "/revive", "all", "").await,
        (StatusCode::OK, true, all.2)
    );
}

/// The wall clock was set back meanwhile: what came later has the earlier time.
#[tokio::test]
async fn a_replayed_revival_of_one_kill_names_a_newer_one_whatever_the_wall_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let wall = Wall::new(folder.path());
    let echo = Echo::start("serve", &wall.variables(), folder.path()).await;
    let (_, _, older) = post(&echo, "/kill", "k-1", KILL).await;
    let this = json!({ "epoch": older["epoch"] }).to_string();
    let revived = post(&echo, "/revive", "one", &this).await;
    assert_eq!(
        (revived.0, &revived.2["status"]),
        (StatusCode::OK, &json!("revived"))
    );
    assert_eq!(
        post(&echo, "/revive", "one", &this).await,
        (StatusCode::OK, true, revived.2)
    );
    wall.step(-86_400);
    let newer = eventually(
        "the wall clock is noticed",
        Duration::from_secs(30),
        async || {
            let (_, _, killed) =
                post(&echo, "/kill", &ulid::Ulid::generate().to_string(), KILL).await;
            if killed["latched_at"].as_str() < older["latched_at"].as_str() {
                return Some(killed);
            }
            post(&echo, "/revive", &ulid::Ulid::generate().to_string(), "").await;
            None
        },
    )
    .await;
    let (status, replayed, problem) = post(&echo, "/revive", "one", &this).await;
    assert_eq!(
        (status, replayed),
        (StatusCode::CONFLICT, true),
        "{problem}"
    );
    assert_eq!(problem["held_by"][0]["epoch"], newer["epoch"], "{problem}");
}

/// Bytes as they came, and whether they are a replay.
async fn bytes(echo: &Echo, path: &str, key: &str, body: &str) -> (bool, Vec<u8>) {
    let request = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .header("idempotency-key", key);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let replayed = answer.headers().contains_key("idempotent-replayed");
    (replayed, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_the_same_bytes_whatever_the_numbers_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = Echo::start(
        "serve",
        &[("RATE_LIMIT_PER_MINUTE", "100000".to_owned())],
        folder.path(),
    )
    .await;
    let mut sent = Vec::new();
    for number in 0..200u32 {
        // Signals whose stress has as many digits as a number can have.
        let share = f64::from(number + 1) / 613.0;
        let mut body: Value = serde_json::from_str(&control(share)).unwrap();
        body["current_state"]["error_rate"] = json!(share / 7.0);
        body["current_state"]["latency_p99_ms"] = json!(100.0 + share * 911.0);
        let (key, body) = (format!("c-{number}"), body.to_string());
        let (replayed, first) = bytes(&echo, "/control", &key, &body).await;
        assert!(!replayed);
        sent.push((key, body, first));
    }
    for round in 0..2 {
        for (key, body, first) in &sent {
            let (_, again) = bytes(&echo, "/control", key, body).await;
            assert_eq!(
                String::from_utf8_lossy(&again),
                String::from_utf8_lossy(first),
                "round {round}"
            );
        }
        echo.process.kill_9();
        echo = Echo::start(
            "serve",
            &[("RATE_LIMIT_PER_MINUTE", "100000".to_owned())],
            folder.path(),
        )
        .await;
    }
}

async fn post_as(echo: &Echo, caller: &str, path: &str, key: &str, body: &str) -> Answered {
    let request = http()
        .post(echo.url(path))
        .header("x-api-key", caller)
        .header("idempotency-key", key);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let replayed = answer
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true");
    (answer.status(), replayed, answer.json().await.unwrap())
}

#[tokio::test]
async fn a_key_belongs_to_its_caller_and_its_route() {
    let keys = "ops:operator:ops-0123456789abcdef0123456789abcdef,on-call:breaker:brk-0123456789abcdef0123456789abcdef";
    let (ops, breaker) = (
        "ops-0123456789abcdef0123456789abcdef",
        "brk-0123456789abcdef0123456789abcdef",
    );
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start(
        "serve",
        &[("ECHO_API_KEYS", keys.to_owned())],
        folder.path(),
    )
    .await;
    let (status, ..) = post_as(&echo, ops, "/observe", "same", r#"{"source":"monitor"}"#).await;
    assert_eq!(status, StatusCode::OK);
    let (status, replayed, killed) = post_as(&echo, breaker, "/kill", "same", KILL).await;
    assert_eq!((status, replayed), (StatusCode::OK, false), "{killed}");
    assert_eq!(killed.get("warning"), None);
    assert_eq!(echo.verdict("default").await.1, "kill");

    let (_, _, revived) = post_as(&echo, breaker, "/revive", "r", "").await;
    assert_eq!(revived["status"], "revived");
    let (status, replayed, other) = post(&echo, "/revive", "r", "").await;
    assert_eq!(
        (status, replayed),
        (StatusCode::OK, false),
        "another caller's answer is not replayed"
    );
    assert_eq!(other["status"], "already_running");
    assert_eq!(
        post_as(&echo, breaker, "/revive", "r", "").await,
        (StatusCode::OK, true, revived)
    );
}

#[tokio::test]
async fn a_kill_whose_key_was_used_is_done_all_the_same_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let (_, _, first) = post(&echo, "/kill", "k", KILL).await;
    post(&echo, "/revive", "r", "").await;
    let (status, replayed, second) = post(&echo, "/kill", "k", &KILL.replace("dana", "eve")).await;
    assert_eq!(
        (status, replayed, &second["killed"]),
        (StatusCode::OK, false, &json!(true)),
        "{second}"
    );
    assert_ne!(second["epoch"], first["epoch"]);
    assert!(
        second["warning"]
            .as_str()
            .unwrap()
            .contains("Idempotency-Key"),
        "{second}"
    );
    assert_eq!(echo.verdict("default").await.1, "kill");
    let (status, _, over) = post(&echo, "/kill", "k", KILL).await;
    assert_eq!(
        (status, &over["epoch"]),
        (StatusCode::CONFLICT, &first["epoch"]),
        "the key is still the first one's"
    );
}

#[tokio::test]
async fn a_kill_whose_key_is_none_is_done_all_the_same_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    for bad in ["", &"x".repeat(256)] {
        let (status, replayed, killed) = post(&echo, "/kill", bad, KILL).await;
        assert_eq!(
            (status, replayed, &killed["killed"]),
            (StatusCode::OK, false, &json!(true)),
            "{killed}"
        );
        assert!(
            killed["warning"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key"),
            "{killed}"
        );
        assert_eq!(echo.verdict("default").await.1, "kill");
        post(&echo, "/revive", "r", "").await;
    }
}

/// What the version before kept: rows without a caller, refusals among them.
#[tokio::test]
async fn what_a_version_before_kept_is_replayed_to_the_same_request_and_its_refusals_are_not() {
    use sha2::{Digest, Sha256};
    let folder = tempfile::tempdir().unwrap();
    let mut echo = Echo::start("serve", &[], folder.path()).await;
    echo.process.kill_9();
    let file = rusqlite::Connection::open(folder.path().join("data/ledger.db")).unwrap();
    let body = control(0.25);
    for (key, status, answer) in [
        (
            "done",
            200,
            json!({ "throttle": "default", "generation": 41 }),
        ),
        ("not", 409, json!({ "detail": "killed" })),
    ] {
        let mut digest = Sha256::new();
        digest.update(b"/control\0");
        digest.update(&body);
        let digest = hex::encode(digest.finalize());
        let kept = json!({
            "key": { "key": key, "digest": digest, "expires_at": "2099-01-01T00:00:00Z" },
            "status": status, "body": answer, "at": "2026-01-01T00:00:00Z",
        });
        file.execute(
            "INSERT INTO used_nonces (kind, livemode, account, id, digest, used_at, expires_at, answer)
             VALUES ('client', 0, '', ?1, ?2, '2026-01-01T00:00:00.000000Z', '2099-01-01T00:00:00.000000Z', ?3)",
            rusqlite::params![key, digest, kept.to_string()],
        )
        .unwrap();
    }
    drop(file);
    let echo = Echo::start("serve", &[], folder.path()).await;
    let (status, replayed, answer) = post(&echo, "/control", "done", &body).await;
    assert_eq!(
        (status, replayed, &answer["generation"]),
        (StatusCode::OK, true, &json!(41))
    );
    let (status, replayed, _) = post(&echo, "/control", "not", &body).await;
    assert_eq!((status, replayed), (StatusCode::OK, false));
    let (status, replayed, _) = post(&echo, "/control", "done", &control(0.5)).await;
    assert_eq!(
        (status, replayed),
        (StatusCode::OK, false),
        "whose it was is not known, so it is in nobody's way"
    );
}

/// Whoever hung up may send it again at once: it waits for what was begun, and hears the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_waits_for_a_first_whose_client_has_hung_up() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SlowDisk::new(folder.path());
    let echo = Echo::start("serve", &disk.variables(), folder.path()).await;
    assert_eq!(post(&echo, "/kill", "k-1", KILL).await.0, StatusCode::OK);
    disk.stall(&["/data/ledger.db"], Duration::from_secs(60));
    const REVIVE: &str = r#"{"operator":"dana","reason":"over"}"#;
    let hung_up = timeout(
        Duration::from_millis(200),
        post(&echo, "/revive", "r-1", REVIVE),
    );
    assert!(hung_up.await.is_err(), "it waits for its disk");
    let mut again = pin!(post(&echo, "/revive", "r-1", REVIVE));
    let waits = timeout(Duration::from_millis(300), &mut again).await;
    assert!(waits.is_err(), "{waits:?}");
    disk.flow();
    let again = again.await;
    assert_eq!(again.0, StatusCode::OK, "{again:?}");
    assert_eq!(again.2["status"], "revived");
    let last = post(&echo, "/revive", "r-1", REVIVE).await;
    assert_eq!((last.1, last.2), (true, again.2));
}

/// No key keeps a kill from being done, also where its client does not wait.
#[tokio::test(flavor = "multi_thread")]
async fn another_kill_under_a_key_waits_for_none_that_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SlowDisk::new(folder.path());
    let echo = Echo::start("serve", &disk.variables(), folder.path()).await;
    disk.stall(
        &["/data/ledger.db", "/data/journal"],
        Duration::from_secs(60),
    );
    let other = KILL.replace("double charges", "its client does not wait");
    for body in [KILL, &other] {
        let soon = Duration::from_millis(300);
        let hung_up = timeout(soon, post(&echo, "/kill", "k-1", body)).await;
        assert!(hung_up.is_err(), "it waits for its disk: {hung_up:?}");
    }
    disk.flow();
    eventually("both are recorded", Duration::from_secs(30), async || {
        let page = http().get(echo.url("/v1/audit")).header("x-api-key", KEY);
        let page = page.send().await.ok()?.text().await.ok()?;
        (page.contains("double charges") && page.contains("its client does not wait")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_under_way_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let body = control(0.25);
    let all =
        futures::future::join_all((0..16).map(|_| post(&echo, "/control", "same", &body))).await;
    assert_eq!(all.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
    assert!(
        all.iter()
            .all(|(status, _, answer)| *status == StatusCode::OK && *answer == all[0].2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_declared_at_the_same_time_are_all_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let all = (0..8u16).map(|client| {
        let echo = &echo;
        async move {
            for number in 0..20u16 {
                let body = control(f64::from((client * 37 + number * 29) % 100) / 100.0);
                let (status, _, answer) =
                    post(echo, "/control", &format!("{client}-{number}"), &body).await;
                assert_eq!(status, StatusCode::OK, "{answer}");
                assert_eq!(answer["audit"], "recorded", "{answer}");
            }
        }
    });
    futures::future::join_all(all).await;
}
