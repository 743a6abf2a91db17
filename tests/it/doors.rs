//! The doors over HTTP: keys and their roles, the rate limit and what passes without, the log's
//! line and its trace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, http};

const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
const NO_KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"yes"}"#;
const OBSERVE: &str = r#"{"source":"test"}"#;

fn control() -> String {
    json!({
        "current_state": {
            "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
            "phi_static": 0.5, "phi_dynamic": 0.45, "temperature": 0.85, "susceptibility": 2.0,
        },
        "target_throttle": 0.0,
    })
    .to_string()
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// A request with these headers.
async fn ask(
    echo: &Echo,
    method: Method,
    path: &str,
    headers: Headers<'_>,
    body: &str,
) -> reqwest::Response {
    let mut request = http().request(method, echo.url(path)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn status(echo: &Echo, method: Method, path: &str, key: &str, body: &str) -> u16 {
    ask(echo, method, path, &[("x-api-key", key)], body)
        .await
        .status()
        .as_u16()
}

async fn audit(echo: &Echo, key: &str) -> Vec<(String, String, String)> {
    let answer = ask(
        echo,
        Method::GET,
        "/v1/audit?limit=200",
        &[("x-api-key", key)],
        "",
    )
    .await;
    let answer: Value = answer.json().await.unwrap();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let entries = answer["items"].as_array().unwrap().iter();
    entries
        .map(|one| (text(one, "actor"), text(one, "action"), text(one, "reason")))
        .collect()
}

/// Each key may what its role may, and no more.
async fn roles_are_obeyed(echo: &Echo) {
    let control = control();
    let posts = [
        ("/observe", OBSERVE),
        ("/control", &control),
        ("/kill", KILL),
        ("/revive", ""),
    ];
    // Each may, in this order, so that a kill is ended before the next key declares a level.
    let expected = [
        (KEY, [200, 200, 200, 200]),
        ("k-reader", [403, 403, 403, 403]),
        ("k-operator", [200, 200, 403, 403]),
        ("k-breaker", [403, 403, 200, 200]),
        ("k-breaker-next", [403, 403, 200, 200]),
        ("k-gate", [403, 403, 403, 403]),
    ];
    for (key, may) in expected {
        for ((path, body), code) in posts.iter().zip(may) {
            assert_eq!(
                status(echo, Method::POST, path, key, body).await,
                code,
                "{key} {path}"
            );
        }
        for path in ["/v1/audit", "/v1/throttles", "/metrics"] {
            assert_eq!(
                status(echo, Method::GET, path, key, "").await,
                200,
                "{key} {path}"
            );
        }
        // A verdict counts as offered load: only whoever is a gate may ask for one.
        let asks = if [KEY, "k-gate"].contains(&key) {
            200
        } else {
            403
        };
        assert_eq!(
            status(echo, Method::POST, "/v1/decide", key, "").await,
            asks,
            "{key}"
        );
    }
}

async fn the_role_that_is_needed_is_named(echo: &Echo) {
    let refused = ask(
        echo,
        Method::POST,
        "/kill",
        &[("x-api-key", "k-operator")],
        KILL,
    )
    .await;
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(
        refused["detail"],
        "POST /kill needs the role breaker, which the key ops has not."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_role_may_and_the_record_bears_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let keys = "ci:reader:k-reader,ops:operator:k-operator,red:breaker:k-breaker,red:breaker:k-breaker-next,shop:gate:k-gate";
    let echo = Echo::start(
        "serve",
        &[("ECHO_API_KEYS", keys.to_owned())],
        folder.path(),
    )
    .await;
    roles_are_obeyed(&echo).await;
    let entries = audit(&echo, "k-reader").await;
    assert!(
        !entries.iter().any(|(_, what, _)| what.contains("decide")),
        "a verdict is no command: {entries:?}"
    );
    let count = |actor: &str, action: &str, reason: &str| {
        entries
            .iter()
            .filter(|(who, what, why)| {
                (who.as_str(), what.as_str(), why.as_str()) == (actor, action, reason)
            })
            .count()
    };
    let asked = "role; 0 was asked for";
    for (action, reason) in [
        ("observe_refused", "role"),
        ("control_refused", asked),
        ("kill_refused", "role: double charges"),
        ("revive_refused", "role"),
    ] {
        assert_eq!(count("ci", action, reason), 1, "{action} in {entries:?}");
    }
    assert_eq!(
        (
            count("red", "control_refused", asked),
            count("red", "kill", "double charges")
        ),
        (2, 2)
    );
    assert_eq!(
        (
            count("ops", "kill_refused", "role: double charges"),
            count("ops", "control", "")
        ),
        (1, 1),
        "{entries:?}"
    );
    assert_eq!(count("ECHO_API_KEY", "kill", "double charges"), 1);

    the_role_that_is_needed_is_named(&echo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brake_that_nobody_may_pull_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [
        ("ECHO_API_KEY", String::new()),
        ("ECHO_API_KEYS", "ci:reader:k,ops:operator:l".to_owned()),
    ];
    let echo = Echo::start("serve", &keys, folder.path()).await;
    let health: Value = ask(&echo, Method::GET, "/health", &[], "")
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "degraded");
    assert!(
        health["checks"]["keys"]
            .as_str()
            .unwrap()
            .contains("role breaker"),
        "{health}"
    );
    assert!(echo.process.said().contains("no key may POST /kill"));
    let observed = ask(
        &echo,
        Method::POST,
        "/observe",
        &[("x-api-key", "l")],
        OBSERVE,
    )
    .await;
    assert_eq!(
        observed.json::<Value>().await.unwrap()["health"],
        "degraded",
        "an observation is told the same"
    );
    drop(echo);
    for environment in ["production", "staging"] {
        let none = [
            ("ENVIRONMENT", environment.to_owned()),
            ("ECHO_API_KEY", String::new()),
        ];
        let echo = Echo::start("serve", &none, folder.path()).await;
        let health: Value = ask(&echo, Method::GET, "/health", &[], "")
            .await
            .json()
            .await
            .unwrap();
        let words = health["checks"]["keys"].as_str().unwrap();
        assert!(
            health["status"] == "degraded"
                && words.starts_with("ECHO_API_KEY is not set: nobody can kill"),
            "{environment}: {health}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_says_what_it_is_by() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers()[name].to_str().unwrap().to_owned()
    };
    let known = ask(&echo, Method::GET, "/authz/forward/default", &[], "").await;
    assert_eq!(header(&known, "cache-control"), "no-store");
    assert_eq!(
        (
            header(&known, "echo-throttle"),
            header(&known, "echo-generation")
        ),
        ("default".into(), "1".into())
    );
    assert!(header(&known, "echo-state-age-ms").parse::<u64>().unwrap() < 60_000);
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let unknown = ask(&echo, Method::GET, "/authz/forward/nobody", &[], "").await;
        assert_eq!(
            (unknown.status().as_u16(), header(&unknown, "echo-reason")),
            (503, "unknown".to_owned())
        );
        waits.insert(header(&unknown, "retry-after").parse::<u32>().unwrap());
    }
    assert!(
        waits.len() > 5 && waits.iter().all(|wait| (1..=120).contains(wait)),
        "they shall not come back together"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_is_one_process_and_a_made_key_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[("ECHO_API_KEY", String::new())], folder.path()).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = folder.path().join("data");
    assert_eq!((mode(&data), mode(&data.join("api-key"))), (0o700, 0o600));
    let mut second = std::process::Command::new(crate::support::program());
    second
        .arg("serve")
        .env_clear()
        .env("ECHO_LISTEN", "127.0.0.1:0")
        .current_dir(folder.path());
    let second = second.output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    let holder = format!("in use by process {};", echo.process.pid());
    assert!(
        second.status.code() == Some(1) && said.contains(&holder),
        "{said}"
    );
}

async fn no_key_is_configured(folder: &Path) {
    let closed = [
        ("ENVIRONMENT", "production".to_owned()),
        ("ECHO_API_KEY", String::new()),
    ];
    let echo = Echo::start("serve", &closed, folder).await;
    for headers in [&[][..], &[("x-api-key", "any")], &[("x-api-key", "")]] {
        let answer = ask(&echo, Method::POST, "/observe", headers, OBSERVE).await;
        assert_eq!(answer.status(), 500);
        assert_eq!(
            answer.json::<Value>().await.unwrap()["detail"],
            "API key not configured"
        );
    }
    assert_eq!(status(&echo, Method::GET, "/health", "", "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_configured_precedes_a_missing_one_which_precedes_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    no_key_is_configured(folder.path()).await;

    let echo = Echo::start("serve", &[], folder.path()).await;
    let missing = "Missing API key. Include X-API-Key header.";
    let bearer = format!("Bearer {KEY}");
    let cases: [(Headers, u16, &str); 6] = [
        (&[], 401, missing),
        (&[("x-api-key", "")], 401, missing),
        (&[("authorization", "Basic x")], 401, missing),
        (&[("x-api-key", "wrong")], 403, "Invalid API key"),
        (
            &[("x-api-key", "wrong"), ("authorization", &bearer)],
            403,
            "Invalid API key",
        ),
        (&[("x-api-key", &KEY[..8])], 403, "Invalid API key"),
    ];
    for (headers, code, detail) in cases {
        let answer = ask(&echo, Method::POST, "/observe", headers, OBSERVE).await;
        assert_eq!(answer.status().as_u16(), code, "{headers:?}");
        assert_eq!(
            answer.json::<Value>().await.unwrap()["detail"],
            detail,
            "{headers:?}"
        );
    }
    let lower = bearer.to_lowercase().replacen("bearer", "bEaReR", 1);
    assert_eq!(
        ask(
            &echo,
            Method::GET,
            "/metrics",
            &[("authorization", &bearer)],
            ""
        )
        .await
        .status(),
        200
    );
    assert_eq!(
        ask(
            &echo,
            Method::GET,
            "/metrics",
            &[("authorization", &lower)],
            ""
        )
        .await
        .status(),
        200
    );
    let beside = [("x-api-key", ""), ("authorization", bearer.as_str())];
    assert_eq!(
        ask(&echo, Method::GET, "/metrics", &beside, "")
            .await
            .status(),
        200,
        "an empty key is none"
    );
    let asked = ask(&echo, Method::GET, "/metrics", &[], "").await;
    assert_eq!(
        (
            asked.status().as_u16(),
            &asked.headers()["www-authenticate"]
        ),
        (401, &"Bearer".parse().unwrap())
    );
}

/// A service that takes five requests a minute and believes this machine for where they come from.
async fn strict(folder: &Path) -> Echo {
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "5".to_owned()),
        ("ECHO_TRUSTED_PROXIES", "127.0.0.0/8,::1".to_owned()),
    ];
    Echo::start("serve", &variables, folder).await
}

async fn series(echo: &Echo, from: &str, name: &str) -> f64 {
    let headers = [("x-api-key", KEY), ("x-forwarded-for", from)];
    let text = ask(echo, Method::GET, "/metrics", &headers, "")
        .await
        .text()
        .await
        .unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

/// The refusal says how long to wait.
async fn told_to_wait(echo: &Echo) {
    let refused = ask(echo, Method::GET, "/health", &[], "").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    let wait: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (1..=12).contains(&wait),
        "one of five a minute comes back within 12 s: {wait}"
    );
    let refused: Value = refused.json().await.unwrap();
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains(&format!("Wait {wait} s")),
        "{refused}"
    );
}

async fn a_customer_is_one_client(echo: &Echo) {
    let of_one_customer = async |end: u8| {
        let from = format!("2001:db8:7:7::{end}");
        ask(
            echo,
            Method::GET,
            "/health",
            &[("x-forwarded-for", &from)],
            "",
        )
        .await
        .status()
        .as_u16()
    };
    let mut codes = Vec::new();
    for end in 1..=7 {
        codes.push(of_one_customer(end).await);
    }
    assert_eq!(
        codes,
        [200, 200, 200, 200, 200, 429, 429],
        "a /64 is one client"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knocks_too_often_waits_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let echo = strict(folder.path()).await;
    for _ in 0..5 {
        assert_eq!(status(&echo, Method::GET, "/health", "", "").await, 200);
    }
    told_to_wait(&echo).await;
    assert_eq!(
        status(&echo, Method::POST, "/observe", "wrong", OBSERVE).await,
        429,
        "before the key is looked at"
    );
    assert_eq!(
        status(&echo, Method::GET, "/no-such-route", "", "").await,
        429
    );
    // One more address that only a proxy can name, and one that a stranger claims to speak for.
    for (from, code) in [
        ("198.51.100.1", 200),
        ("2001:db8::1", 200),
        ("198.51.100.9, 127.0.0.1", 200),
    ] {
        let answer = ask(
            &echo,
            Method::GET,
            "/health",
            &[("x-forwarded-for", from)],
            "",
        )
        .await;
        assert_eq!(answer.status().as_u16(), code, "{from}");
    }
    a_customer_is_one_client(&echo).await;
    assert_eq!(
        series(
            &echo,
            "198.51.100.77",
            r#"echo_rate_limited_total{bucket="client"}"#
        )
        .await,
        5.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_probes_and_a_well_made_kill_pass_without_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let echo = strict(folder.path()).await;
    while status(&echo, Method::GET, "/health", "", "").await != 429 {}
    for _ in 0..12 {
        for path in ["/livez", "/readyz"] {
            assert_eq!(
                status(&echo, Method::GET, path, "", "").await,
                200,
                "{path}"
            );
        }
        assert_eq!(
            status(&echo, Method::POST, "/v1/decide", KEY, "").await,
            200
        );
        assert_eq!(echo.verdict("default").await.0, 403);
        assert_eq!(status(&echo, Method::POST, "/kill", KEY, KILL).await, 200);
    }
    // What comes to /kill and is none has a limit of its own: it takes nothing from a kill, nor
    // from anybody's limit.
    let mut codes = Vec::new();
    for (key, body) in [
        (KEY, NO_KILL),
        ("wrong", KILL),
        ("", KILL),
        (KEY, "{"),
        (KEY, NO_KILL),
        (KEY, NO_KILL),
    ] {
        codes.push(status(&echo, Method::POST, "/kill", key, body).await);
    }
    assert_eq!(codes, [400, 403, 401, 400, 400, 429]);
    assert_eq!(
        status(&echo, Method::POST, "/kill", "wrong", KILL).await,
        429
    );
    assert_eq!(status(&echo, Method::POST, "/kill", KEY, KILL).await, 200);
    assert_eq!(
        series(
            &echo,
            "198.51.100.77",
            r#"echo_rate_limited_total{bucket="kill"}"#
        )
        .await,
        2.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_whose_reason_is_no_text_is_a_kill_when_strangers_spent_the_limit_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let echo = strict(folder.path()).await;
    let with = |reason: &[u8]| {
        let (before, after) = (
            br#"{"reason":""#,
            br#"","operator":"dana","confirmation":"CONFIRM_KILL"}"#,
        );
        [&before[..], reason, after].concat()
    };
    for reason in [&b"caf\xe9"[..], br"\ud83d", b"\xf0\x9f", br"a \udc00 b"] {
        while status(&echo, Method::POST, "/kill", "wrong", KILL).await != 429 {}
        let asked = http()
            .post(echo.url("/kill"))
            .header("x-api-key", KEY)
            .body(with(reason));
        assert_eq!(asked.send().await.unwrap().status(), 200, "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_use_up_what_a_key_has_nor_a_key_what_another_has() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "20".to_owned()),
        (
            "ECHO_API_KEYS",
            "red:breaker:k-red,ci:reader:k-ci".to_owned(),
        ),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    // One comes back every three seconds, so a slow machine needs more of them.
    while status(&echo, Method::GET, "/health", "", "").await != 429 {}
    assert_eq!(
        status(&echo, Method::POST, "/kill", "k-red", KILL).await,
        200
    );
    assert_eq!(
        status(&echo, Method::POST, "/revive", "k-red", "").await,
        200
    );
    let mut codes = Vec::new();
    while codes.last() != Some(&429) {
        codes.push(status(&echo, Method::GET, "/v1/throttles", "k-ci", "").await);
    }
    assert!(
        codes.len() > 20 && codes[..20].iter().all(|code| *code == 200),
        "{codes:?}"
    );
    let refused = ask(
        &echo,
        Method::GET,
        "/v1/throttles",
        &[("x-api-key", "k-ci")],
        "",
    )
    .await;
    assert!(refused.headers().contains_key("retry-after"));
    let refused: Value = refused.json().await.unwrap();
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .ends_with("for each key."),
        "{refused}"
    );
    assert_eq!(status(&echo, Method::POST, "/revive", KEY, "").await, 200);
    assert!(series(&echo, "", r#"echo_rate_limited_total{bucket="key"}"#).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_at_decide_spends_its_clients_limit_and_a_readers_verdict_is_no_load() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "20".to_owned()),
        (
            "ECHO_API_KEYS",
            "ci:reader:k-ci,shop:gate:k-shop".to_owned(),
        ),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    let decide = async |key: &'static str| status(&echo, Method::POST, "/v1/decide", key, "").await;
    let mut codes = Vec::new();
    while codes.last() != Some(&429) {
        codes.push(decide("guessed").await);
    }
    assert!(
        codes.len() > 20 && codes[..20].iter().all(|code| *code == 403),
        "{codes:?}"
    );
    assert_eq!(decide("").await, 429, "none is like a wrong one");
    for _ in 0..5 {
        codes.push(decide("guessed").await);
    }
    let guessed = f64::from(u32::try_from(codes.len()).unwrap());
    let counted = series(&echo, "", r#"echo_keys_refused_total{why="wrong"}"#).await;
    assert_eq!(
        counted, guessed,
        "also where the limit refused it before anybody looked"
    );
    let refused = series(
        &echo,
        "",
        r#"echo_http_requests_total{method="POST",route="/v1/decide",status="4xx"}"#,
    )
    .await;
    let asked = u32::try_from(codes.len()).unwrap() + 1;
    assert_eq!(
        refused,
        f64::from(asked),
        "what got no verdict is counted, the 429s too"
    );

    let verdicts =
        r#"echo_gate_verdicts_total{throttle="default",decision="deny",reason="target"}"#;
    assert_eq!(decide("k-shop").await, 200);
    let before = series(&echo, "", verdicts).await;
    assert_eq!(decide("k-ci").await, 403);
    assert_eq!(
        series(&echo, "", r#"echo_keys_refused_total{why="role"}"#).await,
        1.0
    );
    assert_eq!(
        (before, series(&echo, "", verdicts).await),
        (1.0, 1.0),
        "a reader asks for nothing"
    );
    for _ in 0..40 {
        assert_eq!(decide("k-shop").await, 200, "a gate has no limit");
    }
    assert_eq!(series(&echo, "", verdicts).await, before + 40.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_declared_proxy_no_header_buys_another_limit() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start(
        "serve",
        &[("RATE_LIMIT_PER_MINUTE", "3".to_owned())],
        folder.path(),
    )
    .await;
    let mut codes = Vec::new();
    for end in 1..=5 {
        let from = format!("198.51.100.{end}");
        let headers = [("x-forwarded-for", from.as_str()), ("fly-client-ip", &from)];
        codes.push(
            ask(&echo, Method::GET, "/health", &headers, "")
                .await
                .status()
                .as_u16(),
        );
    }
    assert_eq!(codes, [200, 200, 200, 429, 429]);
}

/// Four requests, one with a trace, and three whose trace is none.
async fn asked_with_traces(echo: &Echo, trace: &str) {
    let good = format!("00-{trace}-00f067aa0ba902b7-01");
    let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    let long = format!("{good}-more");
    for (id, parent) in [
        ("r-good", good.as_str()),
        ("r-zero", &zero),
        ("r-long", &long),
        ("r-junk", "00-x"),
    ] {
        let headers = [
            ("request-id", id),
            ("traceparent", parent),
            ("x-api-key", KEY),
        ];
        let answer = ask(
            echo,
            Method::POST,
            "/observe?api_key=hush",
            &headers,
            OBSERVE,
        )
        .await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.headers()["request-id"].to_str().unwrap()
            ),
            (200, id)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_leaves_one_line_with_its_id_and_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[("ECHO_LOG", "debug".to_owned())], folder.path()).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    asked_with_traces(&echo, trace).await;
    let lines = eventually("the lines are there", Duration::from_secs(5), async || {
        let said = echo.process.said();
        let lines = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<_> = lines
            .filter(|line| line["fields"]["path"] == "/observe")
            .collect();
        (lines.len() >= 4).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 4, "one each: {lines:?}");
    for (line, id) in lines.iter().zip(["r-good", "r-zero", "r-long", "r-junk"]) {
        let (fields, span) = (&line["fields"], &line["span"]);
        assert_eq!(
            (&fields["method"], &fields["status"], &line["level"]),
            (&json!("POST"), &json!(200), &json!("INFO"))
        );
        assert!(
            fields["ms"].is_number() && fields["client"] == "127.0.0.1",
            "{line}"
        );
        assert_eq!(span["request_id"], id);
        let expected = if id == "r-good" {
            json!(trace)
        } else {
            Value::Null
        };
        assert_eq!(
            span.get("trace_id").cloned().unwrap_or_default(),
            expected,
            "{line}"
        );
    }
    assert!(
        !echo.process.said().contains("hush"),
        "a query is not logged"
    );
}
