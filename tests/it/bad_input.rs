//! Everything a client can get wrong: each is a 4xx that names the field, none is our fault, none
//! ends anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Echo, KEY, http};

const SECRET: &str = "whsec_0123456789abcdef";

async fn service() -> (tempfile::TempDir, Echo) {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start(
        "serve",
        &[("STRIPE_WEBHOOK_SECRET", SECRET.to_owned())],
        folder.path(),
    )
    .await;
    (folder, echo)
}

/// Sends a body; the answer's status and what it says, which is always a problem.
async fn refused(
    client: &Client,
    echo: &Echo,
    path: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, Value) {
    let answer = client
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body)
        .send()
        .await
        .unwrap();
    let (status, kind) = (
        answer.status().as_u16(),
        answer.headers().get("content-type").cloned(),
    );
    let text = answer.text().await.unwrap();
    assert_eq!(
        kind.map(|kind| kind.to_str().unwrap().to_owned())
            .as_deref(),
        Some("application/problem+json"),
        "{text}"
    );
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{problem}"
    );
    (status, problem)
}

fn named(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect()
}

/// After all that: no answer was our fault, nothing panicked, and it is as it was.
async fn sound(echo: &mut Echo) {
    let metrics = http()
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("echo_total_errors 0\n"),
        "no 5xx: {metrics}"
    );
    assert!(
        metrics.contains("echo_killed{throttle=\"default\"} 0\n"),
        "nothing was stopped"
    );
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "healthy");
    let said = echo.process.said();
    assert!(
        !said.contains("panicked") && !said.contains("\"ERROR\""),
        "{said}"
    );
    assert!(echo.process.runs());
}

fn calm() -> Value {
    json!({
        "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
        "phi_static": 0.5, "phi_dynamic": 0.45, "temperature": 0.85, "susceptibility": 2.0,
    })
}

/// Each route's whole body, the kinds of its fields, and whether an unknown field is refused.
fn bodies() -> Vec<(&'static str, Value, bool)> {
    let mut observe = calm();
    observe.as_object_mut().unwrap().remove("throttle_pct");
    observe["source"] = json!("test");
    observe["throttle"] = json!("default");
    vec![
        (
            "/control",
            json!({ "current_state": calm(), "target_throttle": 0.5, "throttle": "default" }),
            true,
        ),
        ("/observe", observe, true),
        // Without the word, so that whatever passes all checks stops nothing.
        (
            "/kill",
            json!({ "confirmation": "CONFIRM_KILL", "operator": "dana", "reason": "test", "throttle": "no-such" }),
            true,
        ),
        (
            "/revive",
            json!({ "operator": "dana", "reason": "test", "throttle": "default", "epoch": "none" }),
            true,
        ),
        (
            "/v1/decide",
            json!({ "throttle": "default", "key": "k", "route": "GET /" }),
            true,
        ),
    ]
}

/// The paths to all values of a body, `/current_state/error_rate` for example.
fn places(body: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in body.as_object().unwrap() {
        all.push(format!("/{name}"));
        if value.is_object() {
            all.extend(
                places(value)
                    .into_iter()
                    .map(|inner| format!("/{name}{inner}")),
            );
        }
    }
    all
}

/// A body with another text in one place.
fn with(body: &Value, place: &str, text: &str) -> String {
    let mut sent = body.clone();
    *sent.pointer_mut(place).unwrap() = json!("HERE");
    sent.to_string().replace("\"HERE\"", text)
}

/// Values of another kind than the field's.
async fn wrong_kinds(client: &Client, echo: &Echo, path: &str, body: &Value, place: &str) -> usize {
    let field = place[1..].replace('/', ".");
    let number = body.pointer(place).unwrap().is_number();
    let mut wrong = vec!["true", "[]", "[1]", r#"{"a":1}"#];
    wrong.extend(if number {
        [r#""0.5""#, r#""NaN""#]
    } else {
        ["7", "-0.0"]
    });
    wrong.extend(number.then_some("null"));
    for text in &wrong {
        let sent = with(body, place, text);
        let (status, problem) = refused(client, echo, path, sent.clone()).await;
        if (path, field.as_str()) == ("/kill", "confirmation") {
            assert_eq!(status, 400, "{path} {sent}: {problem}");
            assert!(
                problem["detail"]
                    .as_str()
                    .unwrap()
                    .contains("\"confirmation\":\"CONFIRM_KILL\"")
            );
            continue;
        }
        if path == "/kill" && ["reason", "operator"].contains(&field.as_str()) {
            assert_eq!(
                status, 404,
                "no kill is refused for its words: {sent}: {problem}"
            );
            continue;
        }
        assert_eq!(status, 422, "{path} {sent}: {problem}");
        // Of an object that should not be one, what it holds may be the first that is wrong.
        let inner = format!("{field}.");
        assert!(
            named(&problem)
                .iter()
                .any(|name| *name == field || name.starts_with(&inner)),
            "{path} {sent}: {problem}"
        );
    }
    wrong.len()
}

/// Numbers that are none, or out of range.
async fn wrong_numbers(
    client: &Client,
    echo: &Echo,
    path: &str,
    body: &Value,
    place: &str,
) -> usize {
    let field = place[1..].replace('/', ".");
    let bare = field.rsplit('.').next().unwrap();
    for text in ["1e309", "-1e309", "NaN", "Infinity", "0x1", "1."] {
        let sent = with(body, place, text);
        let (status, problem) = refused(client, echo, path, sent.clone()).await;
        // Where a number has ended, what is wrong is no longer its own.
        let parent = field
            .rsplit_once('.')
            .map_or("?".to_owned(), |(parent, _)| format!("{parent}.?"));
        let at = problem["path"].as_str().unwrap_or_default();
        assert!(
            at == field || (at == parent && text == "0x1"),
            "{path} {sent}: {problem}"
        );
        assert_eq!(status, 400, "{path} {sent}: {problem}");
    }
    // phi may be anything finite.
    if !bare.starts_with("phi_") {
        let sent = with(body, place, "-1");
        let (status, problem) = refused(client, echo, path, sent.clone()).await;
        assert_eq!(status, 422, "{path} {sent}: {problem}");
        assert!(
            named(&problem)
                .iter()
                .any(|name| *name == field || name == bare),
            "{path} {sent}: {problem}"
        );
    }
    7
}

/// serde would read a struct from an array, value by value: `[]` ended kills.
async fn no_array_is_a_body(client: &reqwest::Client, echo: &Echo, path: &str, body: &Value) {
    let values: Vec<_> = body.as_object().unwrap().values().cloned().collect();
    for array in [json!([]), json!(values)] {
        let (status, problem) = refused(client, echo, path, array.to_string()).await;
        let wanted = if path == "/kill" {
            (400, vec![])
        } else {
            (422, vec!["body".to_owned()])
        };
        assert_eq!(
            (status, named(&problem)),
            wanted,
            "{path} {array}: {problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_value_in_any_field_of_any_body_is_a_4xx_that_names_the_field() {
    let (_folder, mut echo) = service().await;
    let client = http();
    let mut cases = 0;
    for (path, body, strict) in bodies() {
        for place in places(&body) {
            cases += wrong_kinds(&client, &echo, path, &body, &place).await;
            if body.pointer(&place).unwrap().is_number() {
                cases += wrong_numbers(&client, &echo, path, &body, &place).await;
            }
        }
        if strict {
            let mut sent = body.clone();
            sent["targt"] = json!(1);
            let (status, problem) = refused(&client, &echo, path, sent.to_string()).await;
            assert_eq!(
                (status, named(&problem)),
                (422, vec!["targt".to_owned()]),
                "{path}: {problem}"
            );
        }
        no_array_is_a_body(&client, &echo, path, &body).await;
        for (name, value) in body.as_object().unwrap() {
            let twice = body
                .to_string()
                .replacen('{', &format!("{{\"{name}\":{value},"), 1);
            let (status, problem) = refused(&client, &echo, path, twice.clone()).await;
            assert_eq!(status, 422, "{path} {twice}: {problem}");
            assert!(
                problem["detail"].as_str().unwrap().contains(name),
                "{path} {twice}: {problem}"
            );
        }
    }
    assert!(cases > 200, "{cases}");
    let mut state = calm();
    state["eror_rate"] = json!(0.99);
    for (state, field) in [
        (state, "current_state.eror_rate"),
        (json!([1, 0, 100, 0, 0.5, 0.45, 0.85, 2]), "current_state"),
    ] {
        let sent = json!({ "current_state": state, "target_throttle": 0.0 }).to_string();
        let (status, problem) = refused(&client, &echo, "/control", sent).await;
        assert_eq!(
            (status, named(&problem)),
            (422, vec![field.to_owned()]),
            "{problem}"
        );
    }
    let long = "x".repeat(1025);
    for (path, body, field) in [
        ("/revive", json!({ "reason": long }), "reason"),
        ("/revive", json!({ "operator": &long[..257] }), "operator"),
        ("/observe", json!({ "source": "" }), "source"),
        ("/observe", json!({ "source": &long[..129] }), "source"),
    ] {
        let (status, problem) = refused(&client, &echo, path, body.to_string()).await;
        assert_eq!(
            (status, named(&problem)),
            (422, vec![field.to_owned()]),
            "{problem}"
        );
    }
    sound(&mut echo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_400_and_what_is_too_large_is_413() {
    let (_folder, mut echo) = service().await;
    let client = http();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(8_000), close.repeat(8_000));
    let broken: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"{\"source\":\"test\"} x".to_vec(),
        b"{\"source\":\"\xff\xfe\"}".to_vec(),
        b"{\"source\":\"\\ud800\"}".to_vec(),
        b"\x00".to_vec(),
        b"{'source':'test'}".to_vec(),
        deep("[", "]").into_bytes(),
        format!("{{\"reason\":{}}}", deep("[", "]")).into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
    ];
    for (path, whole, _) in bodies() {
        for body in &broken {
            let (status, problem) = refused(&client, &echo, path, body.clone()).await;
            // A document that is none of ours can be told before it is found to be broken.
            assert!(
                [400, 422].contains(&status),
                "{path} {:?}: {problem}",
                String::from_utf8_lossy(&body[..body.len().min(40)])
            );
        }
        let mut exact = whole.to_string().into_bytes();
        exact.resize(64 * 1024 + 1, b' ');
        assert_eq!(
            refused(&client, &echo, path, exact.clone()).await.0,
            413,
            "{path}"
        );
        // Without a length it is found out on the way.
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let chunked = [head.as_bytes(), b"10001\r\n", &exact, b"\r\n0\r\n\r\n"].concat();
        assert_eq!(raw(&echo, &chunked).await, 413, "{path}");
        exact.truncate(64 * 1024);
        let answer = client
            .post(echo.url(path))
            .header("x-api-key", KEY)
            .body(exact)
            .send()
            .await
            .unwrap();
        assert_ne!(answer.status(), 413, "{path}: 64 KiB are not too much");
    }
    let large = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(
        refused(&client, &echo, "/webhooks/stripe", large).await.0,
        400,
        "unsigned, whatever its size"
    );
    assert_eq!(
        refused(&client, &echo, "/webhooks/stripe", vec![0xff; 1000])
            .await
            .0,
        400
    );
    sound(&mut echo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_is_422_and_names_the_parameter() {
    let (_folder, mut echo) = service().await;
    let client = http();
    let cases = [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=1e1", "limit"),
        ("limit=-1", "limit"),
        ("limit=18446744073709551616", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=zz", "cursor"),
        ("cursor=", "cursor"),
        ("cursor=64726966743a31", "cursor"),
        ("since=yesterday", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("throttle=No%20Such", "throttle"),
        ("action=", "action"),
        ("colour=red", "colour"),
        ("%00=1", "\0"),
        ("a%ff=1", "a\u{fffd}"),
        ("limit=%ff", "limit"),
    ];
    for (query, field) in cases {
        let request = client
            .get(echo.url(&format!("/v1/audit?{query}")))
            .header("x-api-key", KEY);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(status, 422, "{query}: {problem}");
        let names = named(&problem);
        assert!(names.iter().any(|name| name == field), "{query}: {problem}");
    }
    for path in [
        "/livez?verbose=%ff",
        "/health?%ff=%00",
        "/readyz?verbose&verbose",
        "/openapi.json?a=b",
    ] {
        assert_eq!(
            client.get(echo.url(path)).send().await.unwrap().status(),
            200,
            "{path}"
        );
    }
    sound(&mut echo).await;
}

/// One request as written, and the answer's status; 0 if the connection was only closed.
async fn raw(echo: &Echo, text: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(echo.address).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut said = vec![0; 512];
    let length = stream.read(&mut said).await.unwrap_or(0);
    String::from_utf8_lossy(&said[..length])
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// An evidence report with such headers.
fn observe(headers: &str) -> String {
    let body = r#"{"source":"test"}"#;
    let length = body.len();
    format!(
        "POST /observe HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

/// Headers of a report, and what is answered.
fn reports() -> Vec<(String, u16)> {
    let long = "x".repeat(300);
    vec![
        (observe(""), 200),
        (observe("idempotency-key: a\r\nidempotency-key: b\r\n"), 400),
        (observe(&format!("idempotency-key: {long}\r\n")), 400),
        (observe("idempotency-key: \u{e9}\r\n"), 400),
        (observe("request-id: with space\r\n"), 200),
        (observe(&format!("request-id: {long}\r\n")), 200),
        (observe("request-id: \u{e9}\r\n"), 200),
        (
            observe("traceparent: \u{e9}\r\ntraceparent: 00-1-2-3\r\n"),
            200,
        ),
        (
            observe("x-forwarded-for: \u{e9},,,\r\nfly-client-ip: x\r\n"),
            200,
        ),
        (
            observe("content-type: text/plain; charset=\"\u{e9}\r\n"),
            200,
        ),
        (observe("authorization: Bearer\r\n"), 200),
        (observe("content-length: 3\r\n"), 400),
        (observe("no colon here\r\n"), 400),
        (observe(&format!("x: {}\r\n", "y".repeat(100_000))), 431),
        (observe(&"a: b\r\n".repeat(200)), 200),
        (observe(&"a: b\r\n".repeat(300)), 431),
    ]
}

/// Bodies whose length is told wrongly, or in chunks that are none.
fn lengths() -> Vec<(String, u16)> {
    vec![
        (
            "POST /observe HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
                .to_owned(),
            401,
        ),
        (
            format!(
                "POST /observe HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
            ),
            400,
        ),
        (
            format!(
                "POST /observe HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
            ),
            400,
        ),
        (
            format!(
                "POST /kill HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
            ),
            400,
        ),
        (
            format!(
                "POST /observe HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ncontent-length: -1\r\n\r\n"
            ),
            400,
        ),
    ]
}

/// First lines.
fn lines() -> Vec<(String, u16)> {
    vec![
        ("GET /health HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("GET  /health HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}".to_owned() + &"\r\n".repeat(3), 400),
        (
            "G\u{e9}T /health HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
        ),
        (
            "BREW /health HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            405,
        ),
        (
            "GET /no/such/route HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
            404,
        ),
        (
            format!(
                "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
                "a/".repeat(5000)
            ),
            404,
        ),
        (
            format!(
                "GET /v1/throttles/{} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n\r\n",
                "%00".repeat(100)
            ),
            404,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_header_is_a_4xx_or_is_not_believed() {
    let (_folder, mut echo) = service().await;
    for (text, code) in [reports(), lengths(), lines()].concat() {
        let found = raw(&echo, text.as_bytes()).await;
        assert_eq!(
            found,
            code,
            "{:?}",
            text.chars().take(160).collect::<String>()
        );
    }
    sound(&mut echo).await;
}

/// Any JSON, a little deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("default")),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let name = prop_oneof![
            Just("current_state".to_owned()),
            Just("target_throttle".to_owned()),
            Just("source".to_owned()),
            Just("confirmation".to_owned()),
            Just("throttle".to_owned()),
            Just("error_rate".to_owned()),
            "\\PC{0,8}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

#[test]
fn any_body_gets_an_answer_that_is_not_our_fault() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_folder, mut echo) = runtime.block_on(service());
    let client = http();
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let body = prop_oneof![
        any_json().prop_map(|json| json.to_string().into_bytes()),
        bytes
    ];
    let routes = prop::sample::select(vec![
        "/control",
        "/observe",
        "/kill",
        "/revive",
        "/v1/decide",
        "/webhooks/stripe",
    ]);
    let done = runner.run(&(routes, body), |(path, body)| {
        let sent = client
            .request(Method::POST, echo.url(path))
            .header("x-api-key", KEY)
            .body(body);
        let status = runtime.block_on(async { sent.send().await.unwrap().status().as_u16() });
        prop_assert!((200..500).contains(&status), "{} is {}", path, status);
        Ok(())
    });
    done.unwrap();
    runtime.block_on(sound(&mut echo));
}
