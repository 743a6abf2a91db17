//! The API's description: the same bytes everywhere, one mind with the router, and true of the
//! service as it runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its own variables"
)]

mod page;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Echo, KEY, http, prepared, program, run};

async fn service(folder: &Path) -> Echo {
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "100000000".to_owned()),
        (
            "STRIPE_WEBHOOK_SECRET",
            "whsec_x0123456789abcdef".to_owned(),
        ),
    ];
    Echo::start("serve", &variables, folder).await
}

fn printed() -> String {
    run(Command::new(program()).arg("openapi"))
}

/// Every method and path of the description.
fn described() -> BTreeSet<(String, String)> {
    let document: Value = serde_json::from_str(&printed()).unwrap();
    let paths = document["paths"].as_object().unwrap().clone();
    let operations = |(path, item): (String, Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        methods
            .into_iter()
            .map(move |method| (method, path.clone()))
    };
    paths.into_iter().flat_map(operations).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_the_same_bytes_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let served = http()
        .get(echo.url("/openapi.json"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(served, printed());
    let committed = std::fs::read_to_string("docs/openapi.json").unwrap();
    assert!(
        served == committed,
        "docs/openapi.json is out of date: make generate"
    );
}

#[test]
fn the_description_is_valid_openapi() {
    let python = prepared("ECHO_TEST_TOOLS").join("bin/python");
    run(Command::new(python).args([
        "-m",
        "openapi_spec_validator",
        "--schema",
        "3.1",
        "docs/openapi.json",
    ]));
}

/// The table of routes cannot be asked from here, but its source can: `Route::METHOD("PATH", …`.
fn routed() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/routes");
    let text: String = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let rows = text.split("Route::").filter_map(|rest| {
        let (method, rest) = rest.split_once('(')?;
        if !["get", "post", "any"].contains(&method) {
            return None;
        }
        let mut quoted = rest.split('"');
        assert!(
            quoted.next().unwrap().trim().is_empty(),
            "a route's path is written out: {}",
            &rest[..rest.len().min(60)]
        );
        let path = quoted.next().unwrap().replace("{*", "{");
        // Of a route that takes any method, the description shows one.
        let method = if method == "any" { "get" } else { method };
        Some((method.to_owned(), path))
    });
    rows.collect()
}

#[test]
fn every_route_is_described_and_every_description_is_of_a_route() {
    assert_eq!(described(), routed());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_described_route_answers() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    for (method, path) in described() {
        let url = echo.url(
            &path
                .replace("{throttle}", "default")
                .replace("{name}", "default")
                .replace("{file}", "start.js")
                .replace("{asked}", "pay"),
        );
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let answer = http()
            .request(method.clone(), url)
            .header("x-api-key", KEY)
            .header("request-id", "mine")
            .send()
            .await
            .unwrap();
        assert!(
            ![404, 405].contains(&answer.status().as_u16()),
            "{method} {path} is {}",
            answer.status()
        );
        assert_eq!(answer.headers()["request-id"], "mine", "{method} {path}");
    }
}

/// Works without a network: what the page names is served, and its policy names nothing but this
/// service.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_all_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let page = http().get(echo.url("/docs")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(
        !policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval"),
        "{policy}"
    );
    let page = page.text().await.unwrap();
    let named: Vec<_> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|by| page.split(by).skip(1))
        .collect();
    let named: Vec<_> = named
        .iter()
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|url| !url.starts_with("data:"))
        .collect();
    assert_eq!(named.len(), 4, "{named:?}");
    for url in named {
        let answer = http().get(echo.url(url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        assert!(!answer.bytes().await.unwrap().is_empty(), "{url}");
    }
    assert_eq!(
        http()
            .get(echo.url("/docs/..%2fpage.html"))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
}

/// Bodies, headers, queries and paths by the hundred; each seed makes the same ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_keeps_to_its_description_whatever_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let examples = if std::env::var_os("ECHO_TEST_FULL").is_some() {
        "400"
    } else {
        "30"
    };
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                  response_headers_conformance,ignored_auth";
    let mut command = Command::new(prepared("ECHO_TEST_TOOLS").join("bin/schemathesis"));
    command.args([
        "run",
        &echo.url("/openapi.json"),
        "--header",
        &format!("X-API-Key: {KEY}"),
    ]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--checks",
        checks,
        "--max-examples",
        examples,
    ]);
    // A 503 of this one is a verdict: its proxies hand it to their client.
    command.args(["--exclude-path", "/authz/forward/{throttle}"]);
    command.args(["--seed", "1", "--generation-deterministic"]);
    command.args([
        "--continue-on-failure",
        "--request-timeout",
        "10",
        "--warnings",
        "off",
        "--no-color",
    ]);
    let done = command
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    let done = done.expect("schemathesis starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(said.contains("Test cases:"), "it ran: {said}");
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(health["status"], "healthy", "after all that");
}
