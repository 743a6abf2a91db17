//! What a verdict costs over HTTP, against the least that could answer: a bare axum handler that
//! says 200. With `BASE` set to another build of ours, against that one instead.
//!
//! Both are asked in the same second, by a wrk each: on a machine that others use too, one after
//! the other compares two machines. Which wrk starts first changes with every round. Throughput and
//! processor time a request are both told, since two servers and two clients share what cores there
//! are. Prints, and asserts only that every answer was an admission.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measurement: it reads its arguments, and stops when something fails"
)]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests' support, of which a measurement needs a part"
)]
#[path = "../tests/it/support.rs"]
mod support;
#[allow(dead_code, reason = "not every measurement needs all of it")]
mod usage;
#[allow(dead_code, reason = "not every measurement needs all of it")]
mod versus;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use serde_json::{Value, json};
use support::{Echo, KEY, Process, eventually, http};
use usage::processor_time;

const ROUNDS: usize = 8;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 16;
/// The argument that makes this program the bare handler.
const BARE: &str = "--bare";

/// The bare handler: the same axum and hyper, tokio's runtime as we start ours, the same route, a
/// status and nothing else.
async fn bare() {
    let routes = Router::new().route("/authz/forward/{throttle}", any(async || StatusCode::OK));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, routes).await.unwrap();
}

fn ask(wrk: &str, address: SocketAddr) -> Child {
    Command::new(wrk)
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s")])
        .args([
            "-H",
            "x-forwarded-method: GET",
            "-H",
            "x-forwarded-uri: /checkout/7?x=y",
        ])
        .arg(format!("http://{address}/authz/forward/default"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("wrk starts")
}

/// Requests that were answered, all of them with 200.
fn answered(wrk: Child) -> f64 {
    let done = wrk.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && !said.contains("Non-2xx") && !said.contains("Socket errors"),
        "{said}"
    );
    let line = said
        .lines()
        .find(|line| line.contains(" requests in "))
        .unwrap_or_else(|| panic!("{said}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// One server: where it listens and which process it is.
#[derive(Clone, Copy)]
struct Server {
    address: SocketAddr,
    pid: u32,
}

/// Asks both at once; answers requests, and microseconds of processor time a request, of each.
fn round(wrk: &str, servers: [Server; 2], swapped: bool) -> [(f64, f64); 2] {
    let before = servers.map(|server| processor_time(server.pid));
    let [first, second] = if swapped { [1, 0] } else { [0, 1] };
    let clients = [
        ask(wrk, servers[first].address),
        ask(wrk, servers[second].address),
    ]
    .map(answered);
    let requests = [clients[first], clients[second]];
    let after = servers.map(|server| processor_time(server.pid));
    [0, 1].map(|which| {
        (
            requests[which],
            (after[which] - before[which]) * 1e6 / requests[which],
        )
    })
}

async fn start_bare(folder: &Path) -> (Process, Server) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let process = Process::start(command.arg(BARE), &folder.join("bare.log"));
    let address = eventually(
        "the bare handler says where it listens",
        Duration::from_secs(20),
        async || process.said().lines().find_map(|line| line.parse().ok()),
    );
    let server = Server {
        address: address.await,
        pid: process.pid(),
    };
    (process, server)
}

/// A build of ours that admits.
async fn start_open(program: &Path, folder: &Path) -> (Process, Server) {
    let echo = Echo::start_of(program, "serve", &[], folder).await;
    let calm = json!({ "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 0, "requests_per_minute": 0,
                       "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.0, "susceptibility": 1.0 });
    let control = json!({ "current_state": calm, "target_throttle": 0.0 });
    let opened = http()
        .post(echo.url("/control"))
        .header("x-api-key", KEY)
        .json(&control)
        .send()
        .await
        .unwrap();
    assert!(opened.status().is_success());
    // Whoever asked for verdicts meanwhile would be load, and load is let in by the ramp.
    eventually("it is open", Duration::from_secs(60), async || {
        let health: Value = http()
            .get(echo.url("/health"))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        (health["throttle_pct"] == 0.0).then_some(())
    })
    .await;
    let server = Server {
        address: echo.address,
        pid: echo.process.pid(),
    };
    (echo.process, server)
}

async fn measure(wrk: &str) {
    let (folder, other_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_ours, ours) = start_open(&support::program(), folder.path()).await;
    let (name, (_other, other)) = match versus::base() {
        Some(base) => ("BASE", start_open(&base, other_folder.path()).await),
        None => ("a bare 200", start_bare(other_folder.path()).await),
    };
    let servers = [ours, other];
    let (mut throughput, mut processor) = (Vec::new(), Vec::new());
    println!(
        "{CONNECTIONS} connections each, {SECONDS} s a round; requests/s and µs of processor time a request:"
    );
    for number in 0..=ROUNDS {
        let [ours, theirs] = round(wrk, servers, number % 2 == 1);
        let (faster, cheaper) = (ours.0 / theirs.0, theirs.1 / ours.1);
        let rate = |requests: f64| requests / f64::from(SECONDS);
        let warm_up = if number == 0 {
            "  (warm-up, not counted)"
        } else {
            ""
        };
        println!(
            "round {number}: serve {:.0}/s {:.1} µs  {name} {:.0}/s {:.1} µs  of its throughput {faster:.2}  of its processor time {cheaper:.2}{warm_up}",
            rate(ours.0),
            ours.1,
            rate(theirs.0),
            theirs.1
        );
        if number > 0 {
            throughput.push(faster);
            processor.push(cheaper);
        }
    }
    println!(
        "serve against {name}, median of {ROUNDS}: {:.2} of its throughput, {:.2} of its processor time a request",
        versus::median(throughput),
        versus::median(processor)
    );
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == BARE) {
        return bare().await;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/wrk.sh");
    let wrk = support::run(&mut Command::new(script));
    measure(wrk.trim()).await;
}
