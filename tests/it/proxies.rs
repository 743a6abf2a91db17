//! The gate behind real proxies: nginx, Caddy, Traefik and Envoy, each with every recipe of its
//! page in docs/, as printed.
//!
//! 2,000 requests a level; 20,000 with ECHO_TEST_FULL=1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

/// A test of each proxy.
macro_rules! behind_each_proxy {
    ($what:path) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn nginx() {
            $what(crate::support::proxy::NGINX_KIND).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn caddy() {
            $what(crate::support::proxy::CADDY).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn traefik() {
            $what(crate::support::proxy::TRAEFIK).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn envoy() {
            $what(crate::support::proxy::ENVOY).await;
        }
    };
}

mod callers;
mod canary;
mod claims;
mod fails_open;
mod obeys;
mod other_origin;
mod paths;
mod restarts;
mod serves_all;
mod untouched;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::plain::{self, Answer};
use crate::support::proxy::{CADDY, ENVOY, Kind, NGINX_KIND, Proxy, Recipe, TRAEFIK};
use crate::support::{Echo, KEY, eventually, free_port, http};

const WHOLE_SITE: &str = "The whole site";
const CALLERS_NAME: &str = "The caller's name";
const OTHER_ORIGIN: &str = "Pages of another origin";
const CANARY: &str = "The canary";
const THROUGH_A_RESTART: &str = "Through a restart of Echo";
const FAIL_OPEN: &str = "Fail open";

const KILL: &str = r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#;

/// A service and a proxy that asks it.
struct Street {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    echo: Echo,
    proxy: Proxy,
    kind: Kind,
    client: reqwest::Client,
}

impl Street {
    /// With a recipe of the proxy's page, before an app.
    async fn open(kind: Kind, heading: &str, app: SocketAddr) -> Self {
        Self::with(kind, &kind.recipe(heading), app).await
    }

    async fn with(kind: Kind, recipe: &Recipe, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (variables, gate) = prepare(folder.path(), "");
        let echo = Echo::start("serve", &variables, folder.path()).await;
        let proxy = Proxy::with(kind, recipe, folder.path(), free_port(), gate, app).await;
        let street = Self {
            folder,
            variables,
            echo,
            proxy,
            kind,
            client: http(),
        };
        street.declare(0, 0).await;
        street
    }

    /// Writes the levels into the manifest and waits until they are in force.
    async fn declare(&self, default: u32, tenants: u32) {
        declare(&self.folder.path().join("echo.yaml"), default, tenants, "");
        for (name, percent) in [("default", default), ("tenants", tenants)] {
            eventually(
                &format!("{name} is at {percent}"),
                Duration::from_secs(30),
                async || {
                    let url = self.echo.url(&format!("/v1/throttles/{name}"));
                    let answer = self
                        .client
                        .get(url)
                        .header("x-api-key", KEY)
                        .send()
                        .await
                        .ok()?;
                    let throttle: Value = answer.json().await.ok()?;
                    (throttle["effective"]["throttlePercent"] == percent).then_some(())
                },
            )
            .await;
        }
    }

    async fn post(&self, path: &str, body: &'static str) -> u16 {
        let request = self
            .client
            .post(self.echo.url(path))
            .header("x-api-key", KEY)
            .body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// Kills one throttle, or all of them.
    async fn kill(&self, throttle: Option<&str>) {
        let mut body: Value = serde_json::from_str(KILL).unwrap();
        if let Some(name) = throttle {
            body["throttle"] = name.into();
        }
        let request = self
            .client
            .post(self.echo.url("/kill"))
            .header("x-api-key", KEY)
            .json(&body);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// Sends a request by hand from an address of loopback.
    async fn ask(&self, from: IpAddr, request: &[u8]) -> Answer {
        plain::ask(self.proxy.address, from, request).await
    }
}

/// Writes what is declared, all of it open; answers Echo's variables and where it will give
/// verdicts.
fn prepare(folder: &Path, canary: &str) -> (Vec<(&'static str, String)>, SocketAddr) {
    let file = folder.join("echo.yaml");
    declare(&file, 0, 0, canary);
    let gate = SocketAddr::from(([127, 0, 0, 1], free_port()));
    (
        vec![
            ("ECHO_MANIFEST", file.display().to_string()),
            ("ECHO_GATE_LISTEN", gate.to_string()),
        ],
        gate,
    )
}

fn declare(file: &Path, default: u32, tenants: u32, canary: &str) {
    let throttle = |name: &str, percent: u32, gate: &str| {
        format!(
            "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: {name}}}\nspec:\n  \
             throttlePercent: {percent}\n  ramp: {{maxPercentPerSecond: 100}}\n  targets: [{{gate: {{{gate}}}}}]\n"
        )
    };
    let text = throttle(
        "default",
        default,
        &format!("allow: [{{path: /refunds}}, {{method: OPTIONS}}]{canary}"),
    ) + &throttle("tenants", tenants, "key: {header: x-real-ip}");
    let part = file.with_extension("part");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, file).unwrap();
}

/// The proxies' own machine.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// No page prints a recipe that no test runs.
#[test]
fn every_recipe_is_run() {
    let all = [WHOLE_SITE, CALLERS_NAME, OTHER_ORIGIN, CANARY, FAIL_OPEN];
    for kind in [NGINX_KIND, CADDY, TRAEFIK, ENVOY] {
        let mut wanted = all.to_vec();
        if kind.name == "traefik" {
            wanted.insert(4, THROUGH_A_RESTART);
        }
        let printed: Vec<_> = kind
            .recipes()
            .into_iter()
            .map(|recipe| recipe.heading)
            .collect();
        assert_eq!(printed, wanted, "{}", kind.name);
        for recipe in kind.recipes() {
            let whole =
                recipe.configuration.clone() + recipe.command.as_deref().unwrap_or_default();
            for port in ["8000", "8081", "3000"] {
                assert!(
                    whole.contains(port),
                    "{}: {}: {port}",
                    kind.name,
                    recipe.heading
                );
            }
        }
    }
}
