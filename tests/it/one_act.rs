//! A command is one act: what `POST /control` declares and what it measured reach the loop
//! together, so that the gate is never opened on half of it. 20 runs; 200 with ECHO_TEST_FULL=1.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its variable and the clock itself"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Echo, KEY, http};

async fn control(echo: &Echo, error_rate: f64, target: f64) -> f64 {
    let state = json!({
        "throttle_pct": 1.0, "error_rate": error_rate, "latency_p99_ms": 100, "requests_per_minute": 6000,
        "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.85, "susceptibility": 2.0,
    });
    let body = json!({ "current_state": state, "target_throttle": target });
    let answer = http()
        .post(echo.url("/control"))
        .header("x-api-key", KEY)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.json::<Value>().await.unwrap()["throttle_pct"]
        .as_f64()
        .unwrap()
}

/// The lowest level in force within this time.
async fn lowest(echo: &Echo, client: &reqwest::Client, time: Duration) -> f64 {
    let (began, mut lowest) = (Instant::now(), 1.0_f64);
    while began.elapsed() < time {
        let health: Value = client
            .get(echo.url("/health"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        lowest = lowest.min(health["throttle_pct"].as_f64().unwrap());
    }
    lowest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_and_what_was_measured_are_one_act() {
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let (runs, ticks) = if full {
        (200, Duration::from_secs(13))
    } else {
        (20, Duration::from_secs(6))
    };
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let client = http();
    // From here on its first window is whole, and an idle service may open at once.
    lowest(&echo, &client, Duration::from_millis(2_500)).await;
    for run in 0..runs {
        // A calm body, at full stop: the one before must not be what keeps it shut.
        control(&echo, 0.0, 1.0).await;
        let answer = control(&echo, 0.9, 0.0).await;
        assert!(
            (answer - 1.0).abs() < 1e-9,
            "nine of ten fail: held, {answer}"
        );
        let lowest = lowest(&echo, &client, Duration::from_millis(250)).await;
        assert!(
            lowest >= answer,
            "run {run}: the gate was at {lowest}, the answer {answer}"
        );
    }
    let lowest = lowest(&echo, &client, ticks).await;
    assert!(
        lowest >= 1.0,
        "the body holds for its three ticks: the gate was at {lowest}"
    );
}
