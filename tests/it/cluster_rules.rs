//! The rules of the custom resources, as the API server enforces them on what a person may type.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::eventually;

/// What a manifest's spec is, and what the refusal must say; an empty word: it is accepted.
const CASES: &[(&str, &str, &str)] = &[
    ("EchoThrottle", "{}", ""),
    ("EchoThrottle", "{throttlePercent: 101}", "throttlePercent"),
    ("EchoThrottle", "{throttlePercent: -1}", "throttlePercent"),
    (
        "EchoThrottle",
        "{kill: {reason: r, operator: o, confirmation: yes please}}",
        "CONFIRM_KILL",
    ),
    (
        "EchoThrottle",
        "{kill: {reason: r, confirmation: CONFIRM_KILL}}",
        "operator",
    ),
    (
        "EchoThrottle",
        "{kill: {reason: r, operator: o, confirmation: CONFIRM_KILL}}",
        "",
    ),
    (
        "EchoThrottle",
        "{targets: [{}]}",
        "exactly one of gate, scale and remote",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {}, scale: {apiVersion: a, kind: K, name: w}}]}",
        "exactly one of gate, scale and remote",
    ),
    (
        "EchoThrottle",
        "{targets: [{remote: {url: 'https://echo.example.com', apiKeyEnv: ECHO_REMOTE_KEY_A}}]}",
        "it works in the manifest of echo-phoenix serve",
    ),
    (
        "EchoThrottle",
        "{targets: [{remote: {url: 'https://echo.example.com', apiKeyEnv: STRIPE_SECRET_KEY}}]}",
        "ECHO_REMOTE_KEY_",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{}]}}]}",
        "method or path",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: /refunds}, {method: OPTIONS}, {path: /, evenWhileKilled: true}]}}]}",
        "",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{method: get, path: /x}]}}]}",
        "in upper case: GET",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: refunds}]}}]}",
        "must begin with /",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: '/refunds/*'}]}}]}",
        "/refunds covers what is below it",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: '/refunds;a'}]}}]}",
        "path",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: /a%2fb}]}}]}",
        "path",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: /a/../b}]}}]}",
        "can match nothing",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: /}]}}]}",
        "evenWhileKilled: true must confirm",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{method: POST}]}}]}",
        "evenWhileKilled: true must confirm",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {allow: [{path: /x, evenWhileKilled: true}]}}]}",
        "stands nowhere else",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {canaryUrl: 'https://shop.example/canary?a=b@c'}}]}",
        "",
    ),
    (
        "EchoThrottle",
        "{targets: [{gate: {canaryUrl: 'https://dana:word@shop.example/canary'}}]}",
        "canaryUrl",
    ),
    ("EchoThrottle", "{mode: Dream}", "mode"),
    (
        "EchoThrottle",
        "{signals: {errorsPerThousand: {calm: 5, full: 50}, latencyMs: {calm: 0, full: 400}}}",
        "",
    ),
    (
        "EchoThrottle",
        "{signals: {errorsPerThousand: {calm: 50, full: 50}}}",
        "calm must be below full",
    ),
    (
        "EchoThrottle",
        "{signals: {errorsPerThousand: {calm: 50, full: 1001}}}",
        "at most 1000",
    ),
    (
        "EchoThrottle",
        "{signals: {latencyMs: {calm: -1, full: 50}}}",
        "calm",
    ),
    (
        "EchoThrottle",
        "{signals: {source: prometheus}}",
        "nobody observes in a cluster yet",
    ),
    (
        "EchoOverride",
        "{operator: o, reason: r, kill: {confirmation: CONFIRM_KILL}}",
        "selector: {} means all",
    ),
    (
        "EchoOverride",
        "{throttleRef: t, selector: {}, operator: o, reason: r, throttlePercent: 5}",
        "exactly one of throttleRef",
    ),
    (
        "EchoOverride",
        "{throttleRef: t, operator: o, reason: r}",
        "exactly one of kill and throttlePercent",
    ),
    (
        "EchoOverride",
        "{throttleRef: t, operator: o, kill: {confirmation: CONFIRM_KILL}}",
        "reason",
    ),
    (
        "EchoOverride",
        "{throttleRef: t, operator: o, reason: r, kill: {confirmation: nope}}",
        "CONFIRM_KILL",
    ),
    (
        "EchoOverride",
        "{throttleRef: nobody, operator: o, reason: r, throttlePercent: 5}",
        "",
    ),
    (
        "ClusterEchoOverride",
        "{operator: o, reason: r, throttlePercent: 5}",
        "selector",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_words() {
    let cluster = Cluster::own();
    cluster.kubectl(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
    eventually(
        "the kinds are served",
        Duration::from_secs(10),
        async || {
            cluster
                .command(&["get", "echooverrides,echothrottles,clusterechooverrides"])
                .output()
                .unwrap()
                .status
                .success()
                .then_some(())
        },
    )
    .await;
    for (number, (kind, spec, word)) in CASES.iter().enumerate() {
        let manifest = format!(
            "apiVersion: echo-phoenix.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: case-{number}}}\nspec: {spec}\n"
        );
        match cluster.feed("create", &manifest) {
            Ok(_) => assert!(word.is_empty(), "accepted: {kind} {spec}"),
            Err(said) => {
                assert!(
                    !word.is_empty() && said.contains(word),
                    "{kind} {spec} expected `{word}`, got: {said}"
                )
            }
        }
    }
    let name = CASES
        .iter()
        .position(|case| case.1.contains("nobody"))
        .map(|n| format!("case-{n}"))
        .unwrap();
    let patch = r#"{"spec":{"throttlePercent":6}}"#;
    let edited = cluster
        .command(&["patch", "echooverride", &name, "--type=merge", "-p", patch])
        .output()
        .unwrap();
    assert!(
        !edited.status.success() && String::from_utf8_lossy(&edited.stderr).contains("immutable")
    );
}
