//! The gate behind real proxies: nginx, Caddy, Traefik and Envoy, each with the configuration of its page in docs/, before
//! a backend that counts.
//!
//! 2,000 requests a level; 20,000 with ECHO_TEST_FULL=1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

mod callers;
mod untouched;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;

use crate::support::backend::Backend;
use crate::support::proxy::{CADDY, ENVOY, Kind, NGINX_KIND, Proxy, TRAEFIK};
use crate::support::{Echo, KEY, eventually, free_port, http};

/// Connections that are kept alive.
const CONNECTIONS: usize = 8;
const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;

/// A service, a proxy that asks it, and the app behind.
struct Street {
    folder: tempfile::TempDir,
    echo: Echo,
    proxy: Proxy,
    backend: Backend,
    kind: Kind,
    client: reqwest::Client,
}

impl Street {
    async fn open(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        declare(&folder.path().join("echo.yaml"), 0, 0);
        let gate = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = folder.path().join("echo.yaml").display().to_string();
        let variables = [("ECHO_MANIFEST", file), ("ECHO_GATE_LISTEN", gate.to_string())];
        let echo = Echo::start("serve", &variables, folder.path()).await;
        let backend = Backend::start().await;
        let proxy = Proxy::start(kind, folder.path(), gate, backend.address).await;
        Self { folder, echo, proxy, backend, kind, client: http() }
    }

    /// Writes the levels into the manifest and waits until they are in force.
    async fn declare(&self, default: u32, tenants: u32) {
        declare(&self.folder.path().join("echo.yaml"), default, tenants);
        for (name, percent) in [("default", default), ("tenants", tenants)] {
            eventually(&format!("{name} is at {percent}"), Duration::from_secs(30), async || {
                let url = self.echo.url(&format!("/v1/throttles/{name}"));
                let answer = self.client.get(url).header("x-api-key", KEY).send().await.ok()?;
                let throttle: Value = answer.json().await.ok()?;
                (throttle["effective"]["throttlePercent"] == percent).then_some(())
            })
            .await;
        }
    }

    async fn post(&self, path: &str, body: &'static str) -> u16 {
        let request = self.client.post(self.echo.url(path)).header("x-api-key", KEY).body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// Sends many requests; answers how often each status came. What the app got is the number of admitted ones, exactly.
    async fn ask(
        &self,
        number: usize,
        prepare: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Statuses {
        let _ = self.backend.taken();
        let sent =
            (0..number).map(|_| {
                let request = prepare(self.client.get(self.proxy.url("/pay")));
                async move {
                    request.send().await.unwrap_or_else(|e| panic!("{e}\n{}", self.proxy.said())).status().as_u16()
                }
            });
        let all: Vec<u16> = futures::stream::iter(sent).buffer_unordered(CONNECTIONS).collect().await;
        let mut statuses = Statuses::new();
        for status in all {
            *statuses.entry(status).or_default() += 1;
        }
        assert_eq!(self.backend.taken(), statuses.get(&200).copied().unwrap_or(0), "{}: {statuses:?}", self.kind.name);
        statuses
    }
}

type Statuses = BTreeMap<u16, usize>;

fn declare(file: &PathBuf, default: u32, tenants: u32) {
    let throttle = |name: &str, percent: u32, gate: &str| {
        format!(
            "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: {name}}}\nspec:\n  \
             throttlePercent: {percent}\n  ramp: {{maxPercentPerSecond: 100}}\n  targets: [{{gate: {{{gate}}}}}]\n"
        )
    };
    let text = throttle("default", default, "allow: [{path: /refunds}]")
        + &throttle("tenants", tenants, "key: {header: x-tenant}");
    let part = file.with_extension("part");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, file).unwrap();
}

/// What a client may write to fool the gate: verdicts, routes that are always admitted, and names of callers.
fn forged(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header("echo-decision", "allow")
        .header("echo-status", "200")
        .header("x-original-url", "http://shop/refunds")
        .header("x-original-method", "GET")
        .header("x-forwarded-uri", "/refunds")
        .header("x-forwarded-method", "GET")
        .header("x-tenant", "lucky")
}

async fn journey(kind: Kind) {
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let number = if full { 20_000 } else { 2_000 };
    let few = if full { number } else { 300 };
    let street = Street::open(kind).await;
    let all = |status: u16, number: usize| Statuses::from([(status, number)]);
    assert_eq!(street.ask(few, |request| request).await, all(200, few), "{}", kind.name);
    untouched::passes_as_it_is(&street).await;

    street.declare(25, 0).await;
    let statuses = street.ask(number, forged).await;
    let refused = statuses.get(&429).copied().unwrap_or(0);
    assert_eq!(refused + statuses.get(&200).copied().unwrap_or(0), number, "{}: {statuses:?}", kind.name);
    let off = refused.abs_diff(number / 4);
    assert!(off <= number / 100, "{}: {refused} of {number} refused at 25 %", kind.name);
    callers::are_nested(&street).await;

    street.declare(100, 0).await;
    assert_eq!(street.ask(few, forged).await, all(429, few), "{}", kind.name);
    let refund = street.client.get(street.proxy.url("/refunds")).send().await.unwrap();
    assert_eq!(refund.status(), 200, "{}: a route that is on the list", kind.name);
    let refused = street.client.get(street.proxy.url("/pay")).send().await.unwrap();
    let wait: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=120).contains(&wait), "{}", kind.name);

    street.declare(0, 0).await;
    assert_eq!(street.ask(few, |request| request).await, all(200, few), "{}", kind.name);
    assert_eq!(street.post("/kill", KILL).await, 200);
    assert_eq!(street.ask(few, forged).await, all(kind.killed, few), "{}: no connection stays open", kind.name);
    assert_eq!(street.post("/revive", "").await, 200);
    street.declare(0, 0).await;
    assert_eq!(street.ask(few, |request| request).await, all(200, few), "{}", kind.name);

    undecided(street).await;
}

/// Nobody decides: nobody passes.
async fn undecided(mut street: Street) {
    street.echo.process.kill_9();
    let kind = street.kind;
    assert_eq!(street.ask(50, forged).await, Statuses::from([(kind.undecided, 50)]), "{}", kind.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_obeys() {
    journey(NGINX_KIND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_obeys() {
    journey(CADDY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_obeys() {
    journey(TRAEFIK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_obeys() {
    journey(ENVOY).await;
}
