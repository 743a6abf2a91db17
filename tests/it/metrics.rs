//! `/metrics` of the real binary: the guide's names, text that Prometheus' own checker accepts,
//! labels that no client chooses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads the clock itself"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::{Echo, KEY, eventually, http, prepared, program, run};

async fn metrics(echo: &Echo) -> String {
    let answer = http()
        .get(echo.url("/metrics"))
        .bearer_auth(KEY)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    answer.text().await.unwrap()
}

/// The value of one series.
fn value(text: &str, series: &str) -> f64 {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no series {series} in:\n{text}"))
}

async fn service() -> (tempfile::TempDir, Echo) {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
        (
            "STRIPE_WEBHOOK_SECRET",
            "whsec_x0123456789abcdef".to_owned(),
        ),
    ];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    (folder, echo)
}

/// After a verdict, a kill, a refused one, a forged event, and a verdict while killed.
const COUNTED: [(&str, f64); 11] = [
    (r#"echo_throttle_pct{throttle="default"}"#, 1.0),
    (r#"echo_killed{throttle="default"}"#, 1.0),
    ("echo_total_errors", 0.0),
    ("echo_webhook_events_total", 1.0),
    ("echo_webhook_events_rejected", 1.0),
    (
        r#"echo_gate_verdicts_total{throttle="default",decision="deny",reason="target"}"#,
        1.0,
    ),
    (
        r#"echo_gate_verdicts_total{throttle="default",decision="deny",reason="kill"}"#,
        1.0,
    ),
    (r#"echo_commands_total{action="kill",outcome="done"}"#, 1.0),
    (
        r#"echo_commands_total{action="kill",outcome="refused"}"#,
        1.0,
    ),
    (
        r#"echo_http_requests_total{method="POST",route="/webhooks/stripe",status="4xx"}"#,
        1.0,
    ),
    (
        r#"echo_http_request_duration_seconds_count{route="/kill"}"#,
        2.0,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened_under_the_names_of_the_guide() {
    let (_folder, echo) = service().await;
    assert_eq!(echo.verdict("default").await.0, 403);
    let kill = r#"{"reason":"r","operator":"o","confirmation":"CONFIRM_KILL"}"#;
    let killed = http()
        .post(echo.url("/kill"))
        .header("x-api-key", KEY)
        .body(kill)
        .send()
        .await
        .unwrap();
    assert!(killed.status().is_success());
    let refused = http()
        .post(echo.url("/kill"))
        .header("x-api-key", KEY)
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 400);
    let forged = http()
        .post(echo.url("/webhooks/stripe"))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 400);
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));

    let text = metrics(&echo).await;
    for (series, number) in COUNTED {
        assert_eq!(value(&text, series), number, "{series}");
    }
    for untyped in ["echo_total_errors", "echo_webhook_events_rejected"] {
        assert!(
            text.contains(&format!("# TYPE {untyped} untyped\n")),
            "{untyped}"
        );
    }
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
}

/// The guide's first alert: the word that `/health` says.
#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_health_and_its_parts_are_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let said = async |echo: &Echo| {
        let health = http().get(echo.url("/health")).send().await.unwrap();
        let word = health.json::<serde_json::Value>().await.unwrap()["status"]
            .as_str()
            .unwrap()
            .to_owned();
        let text = metrics(echo).await;
        let is = |word: &str| value(&text, &format!("echo_health{{status=\"{word}\"}}"));
        let all = ["healthy", "degraded", "unhealthy"].map(|one| (one, is(one)));
        let told: Vec<_> = all
            .iter()
            .filter(|(_, is)| *is == 1.0)
            .map(|(one, _)| *one)
            .collect();
        assert_eq!(told, [word.as_str()], "one word: {all:?}");
        (word, text)
    };
    let echo = Echo::start("serve", &[], folder.path()).await;
    let (word, text) = said(&echo).await;
    assert_eq!(word, "healthy");
    for check in ["gate", "ledger", "targets"] {
        assert_eq!(
            value(&text, &format!("echo_check_ok{{check=\"{check}\"}}")),
            1.0
        );
    }
    for off in ["stripe", "manifest", "airtable", "webhooks"] {
        assert!(
            !text.contains(&format!("check=\"{off}\"")),
            "{off} is off or says nothing about health: {text}"
        );
    }
    drop(echo);
    let nobody_kills = [
        ("ECHO_API_KEY", String::new()),
        ("ECHO_API_KEYS", format!("ci:reader:{KEY}")),
    ];
    let echo = Echo::start("serve", &nobody_kills, folder.path()).await;
    let (word, text) = said(&echo).await;
    assert_eq!(
        (word.as_str(), value(&text, "echo_check_ok{check=\"keys\"}")),
        ("degraded", 0.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_hangs_is_told_by_metrics_that_do_not_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    let other = rusqlite::Connection::open(folder.path().join("data/ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    eventually(
        "the last look is told",
        Duration::from_secs(30),
        async || {
            let text = metrics(&echo).await;
            let is = |series: &str| value(&text, series);
            (is("echo_health{status=\"unhealthy\"}") == 1.0
                && is("echo_check_ok{check=\"ledger\"}") == 0.0)
                .then_some(())
        },
    )
    .await;
    // Each look at the ledger takes a second now.
    let began = Instant::now();
    for _ in 0..20 {
        metrics(&echo).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    drop(other);
    eventually("and that it is back", Duration::from_secs(30), async || {
        (value(&metrics(&echo).await, "echo_health{status=\"healthy\"}") == 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let (_folder, echo) = service().await;
    let _ = echo.verdict("default").await;
    let promtool = prepared("ECHO_TEST_TOOLS").join("bin/promtool");
    let check = |text: &str| {
        let mut command = Command::new(&promtool);
        command
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("promtool starts");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let done = child.wait_with_output().unwrap();
        (
            done.status.success(),
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
        )
    };
    let real = metrics(&echo).await;
    assert_eq!(check(&real), (true, String::new()));
    // The checker does check: the guide's name as a counter is what it refuses.
    let typed = real.replace(
        "# TYPE echo_total_errors untyped",
        "# TYPE echo_total_errors counter",
    );
    assert!(!check(&typed).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_comes_out_of_a_request() {
    let (_folder, echo) = service().await;
    let planted = "zq7planted";
    let client = http();
    let odd = Method::from_bytes(planted.to_uppercase().as_bytes()).unwrap();
    for path in [
        format!("/{planted}"),
        format!("/authz/nginx/{planted}"),
        format!("/docs/{planted}"),
        format!("/health?{planted}={planted}"),
    ] {
        for method in [Method::GET, Method::POST, odd.clone()] {
            let sent = client
                .request(method, echo.url(&path))
                .header("request-id", planted)
                .header("user-agent", planted);
            let sent = sent
                .header("x-original-method", planted)
                .header("x-original-url", format!("http://{planted}/{planted}"));
            let _ = sent.header("host", planted).send().await.unwrap();
        }
    }
    let body = format!(r#"{{"source":"{planted}","throttle":"{planted}"}}"#);
    let observed = client
        .post(echo.url("/observe"))
        .header("x-api-key", KEY)
        .header("idempotency-key", planted)
        .body(body);
    assert_eq!(observed.send().await.unwrap().status(), 404);
    let text = metrics(&echo).await;
    assert!(!text.to_lowercase().contains(planted), "{text}");
    assert!(
        value(
            &text,
            r#"echo_http_requests_total{method="other",route="other",status="4xx"}"#
        ) >= 1.0
    );
}

/// What is said and what is listed are the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_lists_every_metric_and_no_other() {
    let (_folder, echo) = service().await;
    let reference = run(Command::new(program()).args(["reference", "metrics"]));
    let listed = reference.lines().filter_map(|line| {
        let mut cells = line
            .strip_prefix("| `")?
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'));
        Some(format!("{} {}", cells.next()?, cells.next()?))
    });
    let listed: BTreeSet<_> = listed.collect();
    let mut said = BTreeSet::new();
    // What is measured is there once enough was asked within a tick of the loop.
    for _ in 0..10 {
        for _ in 0..120 {
            let _ = echo.verdict("default").await;
        }
        let text = metrics(&echo).await;
        said = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect();
        if said == listed {
            break;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(said, listed);
    assert_eq!(
        reference,
        std::fs::read_to_string("docs/metrics.md").unwrap(),
        "docs/metrics.md is out of date: make generate"
    );
}
