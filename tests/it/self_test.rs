//! The kill path proves itself: over the service's own listener, and through a proxy that a canary
//! URL names.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::get;
use serde_json::Value;

use crate::support::{Echo, KEY, eventually, free_port, http};

/// A proxy in few words: asks the gate, answers what it is told to make of it.
async fn proxy(gate: SocketAddr) -> SocketAddr {
    async fn obedient(State(gate): State<SocketAddr>) -> StatusCode {
        let verdict = http()
            .get(format!("http://{gate}/authz/nginx/_self-test"))
            .send()
            .await
            .unwrap()
            .status();
        if verdict.is_success() {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
    let routes = Router::new()
        .route("/obedient", get(obedient))
        .route("/open", get(|| async { "in" }))
        .fallback(|_: Uri| async { StatusCode::FORBIDDEN })
        .with_state(gate);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

async fn metrics(echo: &Echo) -> String {
    let request = http().get(echo.url("/metrics")).header("x-api-key", KEY);
    request.send().await.unwrap().text().await.unwrap()
}

/// A throttle for each way a canary may answer.
fn throttles(proxy: SocketAddr) -> String {
    let throttle = |name: &str, canary: &str| {
        format!(
            "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: {name}}}\n\
             spec: {{targets: [{{gate: {{canaryUrl: '{canary}'}}}}]}}\n"
        )
    };
    let mut text = String::new();
    for name in ["obedient", "open", "closed"] {
        text += &throttle(name, &format!("http://{proxy}/{name}"));
    }
    text += &throttle(
        "gone",
        &format!("http://127.0.0.1:{}/token-of-mine", free_port()),
    );
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_and_every_canary_are_tried_open_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let gate = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let proxy = proxy(gate).await;
    let file = folder.path().join("echo.yaml");
    std::fs::write(&file, throttles(proxy)).unwrap();
    let variables = [
        ("ECHO_MANIFEST", file.display().to_string()),
        ("ECHO_GATE_LISTEN", gate.to_string()),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    let said = eventually("the first round", Duration::from_secs(20), async || {
        let said = metrics(&echo).await;
        said.contains("echo_kill_path_ok{").then_some(said)
    })
    .await;
    for (via, ok) in [
        ("listener", 1),
        ("obedient", 1),
        ("open", 0),
        ("closed", 0),
        ("gone", 0),
    ] {
        assert!(
            said.contains(&format!("echo_kill_path_ok{{via=\"{via}\"}} {ok}\n")),
            "{via}: {said}"
        );
        let age = said.contains(&format!("echo_kill_path_age_seconds{{via=\"{via}\"}}"));
        assert_eq!(age, ok == 1, "{via}: an age is that of a proof");
    }
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "degraded");
    assert!(
        health["checks"]["kill_path"]
            .as_str()
            .unwrap()
            .starts_with("closed: answered 403"),
        "{health}"
    );
    assert!(
        !echo.process.said().contains("token-of-mine"),
        "a canary's URL is nobody's business"
    );

    // It is nobody's throttle: no list has it, no command covers it, and it does not count in
    // health.
    assert!(!said.contains("_self-test"), "{said}");
    assert_eq!(echo.verdict("_self-test").await, (403, "kill".to_owned()));
    let request = http()
        .get(echo.url("/v1/throttles/_self-test"))
        .header("x-api-key", KEY);
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(health["killed"], false);
}
