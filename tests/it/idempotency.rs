//! A command that is sent twice is done once: over HTTP, across restarts, and while the first is under way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, http};

const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;

/// What was answered: status, whether it was a replay, body.
type Answered = (StatusCode, bool, Value);

async fn post(echo: &Echo, path: &str, key: &str, body: &str) -> Answered {
    let request = http().post(echo.url(path)).header("x-api-key", KEY).header("idempotency-key", key);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let replayed = answer.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
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
    assert_eq!(post(&echo, "/kill", "k-1", KILL).await, (StatusCode::OK, true, first.2.clone()));
    // Before the killed check, and byte for byte what it was.
    assert_eq!(post(&echo, "/control", "c-1", &control(0.0)).await, (StatusCode::OK, true, opened.clone()));

    echo.process.kill_9();
    let echo = Echo::start("serve", &[], folder.path()).await;
    assert_eq!(post(&echo, "/kill", "k-1", KILL).await, (StatusCode::OK, true, first.2.clone()));
    let (status, _, again) = post(&echo, "/kill", "k-2", KILL).await;
    assert_eq!((status, &again["epoch"]), (StatusCode::OK, &first.2["epoch"]), "killing twice is one kill");
    assert_eq!(again["audit_id"], first.2["audit_id"].as_i64().unwrap() + 2, "replays wrote no entry, the start one");
}

#[tokio::test]
async fn a_key_is_for_one_request_and_a_kill_that_is_over_is_not_answered_as_one_that_holds() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    post(&echo, "/kill", "k", KILL).await;
    let (status, _, other) = post(&echo, "/kill", "k", &KILL.replace("dana", "eve")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{other}");
    let (status, _, _) = post(&echo, "/revive", "k", KILL).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "the path is part of the request");

    let (refused, _, problem) = post(&echo, "/control", "c", &control(0.5)).await;
    assert_eq!(refused, StatusCode::CONFLICT);
    assert_eq!(problem["held_by"][0]["operator"], "dana");
    let (status, _, revived) = post(&echo, "/revive", "r", "").await;
    assert_eq!((status, &revived["status"]), (StatusCode::OK, &json!("revived")));
    assert_eq!(post(&echo, "/revive", "r", "").await, (StatusCode::OK, true, revived));
    assert_eq!(post(&echo, "/control", "c", &control(0.5)).await, (StatusCode::CONFLICT, true, problem));
    let (status, replayed, over) = post(&echo, "/kill", "k", KILL).await;
    assert_eq!((status, replayed), (StatusCode::CONFLICT, true), "{over}");

    for bad in ["", &"x".repeat(256)] {
        let (status, _, problem) = post(&echo, "/kill", bad, KILL).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["detail"].as_str().unwrap().contains("Idempotency-Key"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_under_way_waits_for_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let body = control(0.25);
    let all = futures::future::join_all((0..16).map(|_| post(&echo, "/control", "same", &body))).await;
    assert_eq!(all.iter().filter(|(_, replayed, _)| !replayed).count(), 1);
    assert!(all.iter().all(|(status, _, answer)| *status == StatusCode::OK && *answer == all[0].2));
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
                let (status, _, answer) = post(echo, "/control", &format!("{client}-{number}"), &body).await;
                assert_eq!(status, StatusCode::OK, "{answer}");
                assert_eq!(answer["audit"], "recorded", "{answer}");
            }
        }
    });
    futures::future::join_all(all).await;
}
