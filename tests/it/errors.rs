//! docs/errors.md and docs/configuration.md are those of the code, and what the real service
//! refuses with is listed there, with the same status and the same words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::support::{Echo, KEY, http, program, run};

/// What a healthy service answers to nobody on loopback: faults, other roles, and connections that
/// break or dawdle.
const ELSEWHERE: [&str; 21] = [
    "HTTP/1.1 needs one Host header, with one host in it.",
    "Of transfer codings only `chunked` is known here, alone.",
    "A question bears no transfer coding but `chunked`.",
    "The body did not arrive whole.",
    "The body did not arrive within {seconds} s.",
    "In production verdicts are answered on ECHO_GATE_LISTEN; here only to this machine, and to nobody whom a proxy passes on (Forwarded, X-Forwarded-*).",
    "Nothing could be ended here; see held_by for who holds what.",
    "This kill holds, and whether it is about to end is not known: to stop for certain, send it with a new Idempotency-Key.",
    "This process keeps no record.",
    "The answer is lost.",
    "This broke off, a fault of ours: the log says more under the request-id of this answer.",
    "The kill broke off; look at /health and send it again.",
    "The record is not available: ending a kill waits for it. Nothing was opened.",
    "The ledger is not available: an opening waits for it, tightening and /kill do not. Nothing was changed.",
    "The record has begun to write this and does not answer: the revival may still happen. `echo-phoenix status` tells what it became.",
    "The ledger has begun to write this and does not answer: the declaration may still happen. `echo-phoenix status` tells what it became.",
    "The ledger is not available; the observation was not stored.",
    "The ledger is not available; ask again.",
    "The event could not be stored; send it again.",
    "Too many large bodies at once. Send it again.",
    "This took longer than {seconds} s and was given up; look at /health before sending it again.",
];

#[test]
fn the_references_are_those_of_the_code() {
    for what in ["configuration", "errors"] {
        let file = format!("docs/{what}.md");
        let made = run(Command::new(program()).args(["reference", what]));
        assert_eq!(
            made,
            std::fs::read_to_string(&file).unwrap(),
            "{file} is out of date: make generate"
        );
    }
}

/// Status and words of every refusal in the reference.
fn listed() -> Vec<(u16, String)> {
    let text = std::fs::read_to_string("docs/errors.md").unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let status = cells.next()?.parse().ok().filter(|status| *status >= 400)?;
        Some((status, cells.next()?.trim_matches('`').trim().to_owned()))
    });
    rows.collect()
}

/// Whether a detail is these words, with anything in place of what stands in braces.
fn says(words: &str, detail: &str) -> bool {
    let mut parts = words
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    let Some(mut rest) = parts.next().and_then(|lead| detail.strip_prefix(lead)) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = if part.is_empty() {
            ""
        } else {
            &rest[at + part.len()..]
        };
    }
    rest.is_empty()
}

/// Sends what is to be refused; answers the row of the reference that lists it.
async fn row(request: RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let (status, kind) = (
        answer.status(),
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned(),
    );
    let text = answer.text().await.unwrap();
    assert_eq!(kind, "application/problem+json", "{status} {text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let detail = body["detail"].as_str().unwrap();
    assert_eq!(body["status"], status.as_u16());
    assert_eq!(body["title"], status.canonical_reason().unwrap());
    assert!(
        !detail.contains(['{', '}']),
        "something was not filled in: {detail}"
    );
    let found = listed()
        .into_iter()
        .find(|(known, words)| *known == status.as_u16() && says(words, detail));
    found
        .unwrap_or_else(|| panic!("docs/errors.md does not list {status}: {detail}"))
        .1
}

/// A service that is configured, killed once and revived, with a key that only reads.
async fn service(folder: &Path) -> Echo {
    let variables = [
        (
            "STRIPE_WEBHOOK_SECRET",
            "whsec_x0123456789abcdef".to_owned(),
        ),
        ("ECHO_API_KEYS", "ci:reader:reads-only".to_owned()),
    ];
    Echo::start("serve", &variables, folder).await
}

const KILL: &str = r#"{"reason":"r","operator":"o","confirmation":"CONFIRM_KILL"}"#;
const STEP_6: &str = r#"{"current_state":{"throttle_pct":1.0,"error_rate":0.0,"latency_p99_ms":100,"requests_per_minute":0,
    "phi_static":0.5,"phi_dynamic":0.45,"temperature":0.85,"susceptibility":2.0},"target_throttle":0.0}"#;

/// An event of Stripe's whose signature is right and whose body is none.
fn signed(body: &str) -> String {
    let script = r#"t=$(date +%s); printf 't=%s,v1=%s' "$t" "$(printf '%s.%s' "$t" "$1" | openssl dgst -sha256 -hmac whsec_x0123456789abcdef -r | cut -d' ' -f1)""#;
    run(Command::new("bash").args(["-c", script, "sign", body]))
}

/// What a kill and its end are refused with. Kept under one key: done, ended, and asked for again;
/// undone since; and another request.
async fn commands(echo: &Echo) -> BTreeSet<String> {
    let client = http();
    let post = |path: &str| client.post(echo.url(path)).header("x-api-key", KEY);
    let keyed =
        |path: &str, body: &'static str| post(path).header("idempotency-key", "k").body(body);
    let done = async |request: RequestBuilder| {
        assert!(request.send().await.unwrap().status().is_success())
    };
    let mut met = BTreeSet::new();
    done(keyed("/kill", KILL)).await;
    met.insert(row(post("/control").body(STEP_6)).await);
    done(keyed("/revive", "")).await;
    met.insert(row(keyed("/kill", KILL)).await);
    done(post("/kill").body(KILL)).await;
    met.insert(row(post("/revive").body(r#"{"epoch":"another"}"#)).await);
    met.insert(row(keyed("/revive", "")).await);
    met.insert(row(keyed("/revive", r#"{"reason":"another"}"#)).await);
    done(post("/revive")).await;
    met
}

/// Requests that are refused by a service with keys.
fn refused(echo: &Echo) -> [RequestBuilder; 23] {
    let client = http();
    let ask = |method: Method, path: &str| {
        client
            .request(method, echo.url(path))
            .header("x-api-key", KEY)
    };
    let (get, post) = (
        |path: &str| ask(Method::GET, path),
        |path: &str| ask(Method::POST, path),
    );
    let forged = || {
        client
            .post(echo.url("/webhooks/stripe"))
            .header("stripe-signature", "t=1,v1=00")
            .body("{}")
    };
    [
        post("/observe").body("{"),
        post("/observe").body(r#"{"source":"x","error_rate":2}"#),
        post("/observe").body(r#"{"source":"x","throttle":"nobody"}"#),
        post("/observe").body("x".repeat(64 * 1024 + 1)),
        post("/kill").body("{}"),
        post("/kill").body(" ".repeat(64 * 1024 + 1)),
        post("/observe")
            .header("idempotency-key", "")
            .body(r#"{"source":"x"}"#),
        client.post(echo.url("/observe")).body("{}"),
        client
            .post(echo.url("/observe"))
            .header("x-api-key", "wrong")
            .body("{}"),
        client
            .post(echo.url("/kill"))
            .header("x-api-key", "reads-only")
            .body(KILL),
        get("/v1/throttles/nobody"),
        get("/v1/throttles/No_Name"),
        get("/v1/throttles/%ff"),
        get("/v1/audit?limit=0"),
        get("/nowhere"),
        get("/health").header("host", "evil.example"),
        post("/revive").header("sec-fetch-site", "cross-site"),
        get("/authz/haproxy/default"),
        get("/docs/nothing"),
        get("/docs/%ff"),
        get("/kill"),
        forged(),
        client
            .post(echo.url("/webhooks/stripe"))
            .header("stripe-signature", signed("none"))
            .body("none"),
    ]
}

/// What a production without keys and secrets refuses, and one that is asked too often.
async fn refused_when_bare(client: &Client, met: &mut BTreeSet<String>) {
    let bare = tempfile::tempdir().unwrap();
    let variables = [
        ("ENVIRONMENT", "production".to_owned()),
        ("ECHO_API_KEY", String::new()),
    ];
    let variables = [
        variables,
        [
            ("RATE_LIMIT_PER_MINUTE", "2".to_owned()),
            ("STRIPE_WEBHOOK_SECRET", String::new()),
        ],
    ];
    let echo = Echo::start("serve", &variables.concat(), bare.path()).await;
    met.insert(row(client.post(echo.url("/webhooks/stripe")).body("{}")).await);
    for request in [
        client.get(echo.url("/metrics")),
        client.get(echo.url("/metrics")),
    ] {
        met.insert(row(request).await);
    }
    for _ in 0..3 {
        met.insert(row(client.post(echo.url("/kill")).body("{}")).await);
    }

    drop(echo);
    let echo = Echo::start(
        "serve",
        &[("RATE_LIMIT_PER_MINUTE", "1".to_owned())],
        bare.path(),
    )
    .await;
    let keyed = || client.get(echo.url("/metrics")).header("x-api-key", KEY);
    assert!(keyed().send().await.unwrap().status().is_success());
    met.insert(row(keyed()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_refused_is_listed_with_its_status_and_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let client = http();
    let mut met = commands(&echo).await;

    for request in refused(&echo) {
        met.insert(row(request).await);
    }

    refused_when_bare(&client, &mut met).await;

    let all: BTreeSet<_> = listed().into_iter().map(|(_, words)| words).collect();
    met.extend(ELSEWHERE.map(str::to_owned));
    assert_eq!(met, all, "what is refused, and what docs/errors.md lists");
}

#[test]
fn words_are_told_apart() {
    assert!(
        says("a {x} c", "a b c")
            && says("{f}: expected {w}", "limit: expected 1")
            && says("x", "x")
    );
    assert!(!says("a {x} c", "a b d") && !says("x", "xy") && !says("a {x} c", "b"));
}
