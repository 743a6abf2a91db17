//! How long a kill takes to bite, from the outside: over REST, and from `kubectl create`'s answer to a gate process.
//!
//! Prints percentiles and asserts nothing: a machine's speed is no test. `make bench` prepares what it needs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, and stops when something fails"
)]

#[allow(dead_code, unreachable_pub, reason = "the tests' support, of which a measurement needs a part")]
#[path = "../tests/it/support.rs"]
mod support;

use std::time::{Duration, Instant};

use echo_phoenix::cluster::connect;
use echo_phoenix::source::crd_override::EchoOverride;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use support::cluster::{Cluster, Installed};
use support::{Echo, KEY, eventually, http};

const RUNS: usize = 200;

fn tell(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!(
        "{what}: {} runs, ms: p50 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2}",
        times.len(),
        at(50),
        at(95),
        at(99),
        at(100)
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Asks on one live connection until the answer is a denial; answers when that was.
async fn first_denial(client: reqwest::Client, url: String) -> Instant {
    loop {
        let answer = client.get(&url).send().await.unwrap();
        if answer.status() == 403 && answer.headers()["echo-reason"] == "kill" {
            return Instant::now();
        }
    }
}

async fn admits(echo: &Echo, throttle: &str) {
    eventually("it admits", Duration::from_secs(30), async || (echo.verdict(throttle).await.0 == 200).then_some(()))
        .await;
}

/// A service of its own for each run: one that was asked a lot re-opens by the ramp, as it should.
async fn over_rest() {
    let client = http();
    let calm = json!({ "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 0, "requests_per_minute": 0,
                       "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.0, "susceptibility": 1.0 });
    let (mut to_denial, mut to_answer) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let folder = tempfile::tempdir().unwrap();
        let echo = Echo::start("serve", &[], folder.path()).await;
        let post = |path: &str, body: serde_json::Value| {
            client.post(echo.url(path)).header("x-api-key", KEY).json(&body).send()
        };
        let control = json!({ "current_state": calm, "target_throttle": 0.0 });
        assert!(post("/control", control).await.unwrap().status().is_success());
        admits(&echo, "default").await;
        let live = tokio::spawn(first_denial(http(), echo.url("/authz/nginx/default")));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        let order = json!({ "reason": "measured", "operator": "bench", "confirmation": "CONFIRM_KILL" });
        assert!(post("/kill", order).await.unwrap().status().is_success());
        to_answer.push(ms(began.elapsed()));
        to_denial.push(ms(live.await.unwrap().duration_since(began)));
    }
    tell("POST /kill sent to first denied verdict on a live connection", to_denial);
    tell("POST /kill sent to its answer, durable", to_answer);
}

/// A throttle of its own for each run, for the same reason.
async fn by_kubectl() {
    let cluster = Cluster::own();
    let installed = Installed::into(&cluster);
    let _operator = installed.operator("op", &[]).await;
    let gate = installed.gate("gate-1").await;
    let namespace = cluster.namespace("shop");
    let manifest: Vec<_> = (0..RUNS)
        .map(|run| {
            format!(
                "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: t{run}, namespace: {namespace}}}\n\
                 spec: {{throttlePercent: 0}}\n"
            )
        })
        .collect();
    cluster.feed("apply", &manifest.join("---\n")).unwrap();
    let client = connect::client(Some(&cluster.kubeconfig())).await.unwrap();
    let api: Api<EchoOverride> = Api::namespaced(client, &namespace);
    let mut times = Vec::new();
    for run in 0..RUNS {
        let throttle = format!("{namespace}.t{run}");
        admits(&gate, &throttle).await;
        let live = tokio::spawn(first_denial(http(), gate.url(&format!("/authz/nginx/{throttle}"))));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let object = serde_json::from_value(json!({
            "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoOverride", "metadata": { "name": format!("stop-{run}") },
            "spec": { "throttleRef": format!("t{run}"), "kill": { "confirmation": "CONFIRM_KILL" }, "operator": "b", "reason": "b" },
        }))
        .unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        let answered = Instant::now();
        let denied = live.await.unwrap();
        times.push(ms(denied.saturating_duration_since(answered)) - ms(answered.saturating_duration_since(denied)));
    }
    tell("the API server's answer to create, to the gate process's first denial", times);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    over_rest().await;
    by_kubectl().await;
}
