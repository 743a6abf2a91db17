//! `GET /v1/throttles`: the three truths of a service, before a kill and during it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, http};

async fn get(echo: &Echo, path: &str) -> (u16, Value) {
    let answer = http()
        .get(echo.url(path))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn condition(throttle: &Value, kind: &str) -> Option<String> {
    let all = throttle["conditions"].as_array()?.clone();
    all.iter()
        .find(|one| one["type"] == kind)
        .map(|one| one["status"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_tells_what_is_declared_in_force_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let calm = eventually("the loop has passed", Duration::from_secs(10), async || {
        let (_, throttle) = get(&echo, "/v1/throttles/default").await;
        (condition(&throttle, "Ready").as_deref() == Some("True")).then_some(throttle)
    })
    .await;
    assert_eq!(
        calm["targets"],
        json!([{ "target": "gate", "agrees": true }])
    );
    assert_eq!(
        calm["effective"]["levelMillionths"], 1_000_000,
        "never opened, so shut"
    );
    let sent = json!([{ "target": "gate", "levelMillionths": 1_000_000, "generation": calm["generation"] }]);
    assert_eq!(
        (&calm["acknowledged"], &calm["observed"]["gates"]["count"]),
        (&sent, &json!(1))
    );
    assert_eq!(condition(&calm, "Killed").as_deref(), Some("False"));
    assert_eq!(calm.get("holds"), None);

    let kill = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
    let killed = http()
        .post(echo.url("/kill"))
        .header("x-api-key", KEY)
        .body(kill)
        .send()
        .await
        .unwrap();
    let killed: Value = killed.json().await.unwrap();
    // Whoever commanded reads it back at once, whether or not the loop has passed since.
    let (_, all) = get(&echo, "/v1/throttles").await;
    let held = all["items"][0].clone();
    assert_eq!(
        (
            condition(&held, "Killed").as_deref(),
            &held["effective"]["reason"]
        ),
        (Some("True"), &json!("kill"))
    );
    assert_eq!(held["name"], "default");
    let hold = &held["holds"][0];
    assert_eq!(
        (&hold["epoch"], &hold["kind"], &hold["operator"]),
        (&killed["epoch"], &json!("Rest"), &json!("dana"))
    );
    assert_eq!(condition(&held, "Drifted").as_deref(), Some("False"));
    let revived = http()
        .post(echo.url("/revive"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    assert_eq!(revived.status().as_u16(), 200);
    let (_, free) = get(&echo, "/v1/throttles/default").await;
    assert_eq!(
        (condition(&free, "Killed").as_deref(), free.get("holds")),
        (Some("False"), None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_that_is_not_there_is_a_problem_and_none_is_told_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    for name in ["other", "No%20Name", "%ff", "a%2Fb"] {
        let (status, problem) = get(&echo, &format!("/v1/throttles/{name}")).await;
        assert_eq!((status, &problem["status"]), (404, &json!(404)), "{name}");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{name}"
        );
    }
    for path in ["/v1/throttles", "/v1/throttles/default"] {
        assert_eq!(
            http().get(echo.url(path)).send().await.unwrap().status(),
            401,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gate_refuses_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    let text = "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {name: shop}\n\
                spec: {throttlePercent: 25}\n";
    std::fs::write(&file, text).unwrap();
    let echo = Echo::start(
        "serve",
        &[("ECHO_MANIFEST", file.display().to_string())],
        folder.path(),
    )
    .await;
    let client = http();
    let measured = eventually("the measured share", Duration::from_secs(30), async || {
        for _ in 0..40 {
            client
                .get(echo.url("/authz/nginx/shop"))
                .send()
                .await
                .unwrap();
        }
        let (_, throttle) = get(&echo, "/v1/throttles/shop").await;
        throttle["observed"]["gates"].get("refusedPercent").cloned()
    })
    .await;
    assert_eq!(measured, 25);
    let metrics = client
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("echo_gate_refused_ratio{throttle=\"shop\"} 0.25\n"),
        "{metrics}"
    );
}
