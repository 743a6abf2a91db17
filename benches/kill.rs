//! How long a kill takes to bite: of 10,000 throttles in the table of a gate, and from the outside,
//! over REST, idle and under gate load, and from `kubectl create`'s answer to a gate process.
//!
//! `cargo bench --bench kill -- table` and `-- rest` need nothing, `-- cluster` what `make bench`
//! prepares; without a word it is all of them. With `BASE` set to another build of ours the two
//! take turns, run by run, over REST, and each has the cluster once. Prints percentiles and asserts
//! nothing: a machine's speed is no test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, and stops when something fails"
)]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests' support, of which a measurement needs a part"
)]
#[path = "../tests/it/support.rs"]
mod support;
#[allow(dead_code, reason = "not every measurement needs all of it")]
mod timing;
#[allow(dead_code, reason = "not every measurement needs all of it")]
mod versus;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use echo_phoenix::cluster::connect;
use echo_phoenix::decide::verdict::Reason;
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::GateSpec;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::{Gate, LevelSetting};
use echo_phoenix::source::crd_override::EchoOverride;
use jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use support::cluster::{Cluster, Installed};
use support::{Echo, KEY, eventually, http};
use timing::{admits, first_denial, ms, percentile, tell};

/// The table is made and freed by the allocator of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs over REST, idle and under load each; and through a cluster.
const RUNS: usize = 50;
const CLUSTER_RUNS: usize = 200;
/// Throttles of one gate, and kills of all of them.
const THROTTLES: usize = 10_000;
const TABLE_RUNS: usize = 100;
/// The argument, followed by an address, that makes this program the load.
const LOAD: &str = "--load";
const LOAD_CONNECTIONS: usize = 8;
/// A load ends by itself.
const LOAD_LASTS: Duration = Duration::from_secs(20);

/// Asks for verdicts as fast as answers come, on every connection; says so once all of them were
/// answered.
fn load(address: SocketAddr) {
    let began = Instant::now();
    let asking: Vec<_> = (0..LOAD_CONNECTIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            verdict(&mut stream).unwrap();
            // Once the service is gone there is nothing more to ask.
            std::thread::spawn(move || {
                while began.elapsed() < LOAD_LASTS && verdict(&mut stream).is_ok() {}
            })
        })
        .collect();
    println!("loaded");
    asking.into_iter().for_each(|thread| thread.join().unwrap());
}

/// One verdict on a live connection: an answer without a body, so that it ends with its head.
fn verdict(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(
        b"GET /authz/forward/default HTTP/1.1\r\nhost: localhost\r\nx-forwarded-method: GET\r\nx-forwarded-uri: /checkout\r\n\r\n",
    )?;
    let (mut answer, mut got) = ([0; 2048], 0);
    while !answer[..got].ends_with(b"\r\n\r\n") {
        match stream.read(&mut answer[got..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            more => got += more,
        }
    }
    Ok(())
}

/// The load, in a process of its own so that it takes no time from who measures; ends with this
/// value.
struct Load(Child);

impl Load {
    fn start(address: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command
            .args([LOAD, &address.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "loaded\n");
        Self(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Times of one build, milliseconds.
#[derive(Default)]
struct Times {
    to_denial: Vec<f64>,
    to_answer: Vec<f64>,
}

impl Times {
    fn tell(&self, how: &str) {
        tell(
            &format!("POST /kill sent to first denied verdict on a live connection, {how}"),
            &self.to_denial,
        );
        tell(
            &format!("POST /kill sent to its answer, durable, {how}"),
            &self.to_answer,
        );
    }
}

async fn over_rest(loaded: bool) {
    let (ours, base) = (support::program(), versus::base());
    let (mut own, mut other) = (Times::default(), Times::default());
    for number in 0..RUNS {
        // Who goes first changes with every pair.
        for ours_now in [number % 2 == 0, number % 2 == 1] {
            match &base {
                _ if ours_now => kill_once(&ours, loaded, &mut own).await,
                Some(base) => kill_once(base, loaded, &mut other).await,
                None => {}
            }
        }
    }
    let how = if loaded { "under gate load" } else { "idle" };
    own.tell(how);
    if base.is_some() {
        other.tell(&format!("{how}, BASE"));
        let ratio = |ours: &[f64], base: &[f64]| percentile(ours, 95) / percentile(base, 95);
        println!(
            "{how}, p95 against BASE's: {:.2} to the denial, {:.2} to the answer",
            ratio(&own.to_denial, &other.to_denial),
            ratio(&own.to_answer, &other.to_answer)
        );
    }
}

/// A service of its own for each run: one that was asked a lot re-opens by the ramp, as it should.
async fn kill_once(program: &Path, loaded: bool, times: &mut Times) {
    let client = http();
    let calm = json!({ "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 0, "requests_per_minute": 0,
                       "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.0, "susceptibility": 1.0 });
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start_of(program, "serve", &[], folder.path()).await;
    let post = |path: &str, body: Value| {
        client
            .post(echo.url(path))
            .header("x-api-key", KEY)
            .json(&body)
            .send()
    };
    let control = json!({ "current_state": calm, "target_throttle": 0.0 });
    assert!(
        post("/control", control)
            .await
            .unwrap()
            .status()
            .is_success()
    );
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
    let _load = loaded.then(|| Load::start(echo.address));
    let live = tokio::spawn(first_denial(http(), echo.url("/authz/nginx/default")));
    tokio::time::sleep(Duration::from_millis(5)).await;
    let began = Instant::now();
    let order =
        json!({ "reason": "measured", "operator": "bench", "confirmation": "CONFIRM_KILL" });
    assert!(post("/kill", order).await.unwrap().status().is_success());
    times.to_answer.push(ms(began.elapsed()));
    times
        .to_denial
        .push(ms(live.await.unwrap().duration_since(began)));
}

/// Calls of the gate, which return once the hold is in force, or gone.
fn in_the_table() {
    let (gate, at) = (Gate::default(), Duration::ZERO);
    let open = LevelSetting {
        level: Level::OPEN,
        reason: Reason::None,
        generation: 1,
        at,
    };
    gate.change(|draft| {
        for number in 0..THROTTLES {
            let name = ThrottleName::try_from(format!("shop.throttle-{number}")).unwrap();
            draft.declare(&name, &GateSpec::default(), open);
        }
    });
    let (mut to_kill, mut to_end) = (Vec::new(), Vec::new());
    for run in 0..TABLE_RUNS {
        let epoch = Epoch(format!("{run}"));
        let hold = Hold {
            epoch: epoch.clone(),
            bite: HoldEffect::Kill,
            source: Source::Rest,
            reason: "measured".to_owned(),
            operator: "bench".to_owned(),
            taken_at: Timestamp::UNIX_EPOCH,
        };
        let began = Instant::now();
        let held = gate.hold(&Scope::All, &hold, at);
        to_kill.push(ms(began.elapsed()));
        assert_eq!(held.len(), THROTTLES);
        let began = Instant::now();
        gate.end(&[epoch]);
        to_end.push(ms(began.elapsed()));
    }
    tell(
        &format!("kill of all {THROTTLES} throttles of one gate, in force"),
        &to_kill,
    );
    tell(
        &format!("the end of a kill of all {THROTTLES} throttles of one gate"),
        &to_end,
    );
}

/// A throttle of its own for each run, for the same reason.
async fn by_kubectl(program: PathBuf, whose: &str) {
    let cluster = Cluster::own();
    let mut installed = Installed::into(&cluster);
    installed.program = program;
    let _operator = installed.operator("op", &[]).await;
    let gate = installed.gate("gate-1").await;
    let namespace = cluster.namespace("shop");
    let manifest: Vec<_> = (0..CLUSTER_RUNS)
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
    for run in 0..CLUSTER_RUNS {
        let throttle = format!("{namespace}.t{run}");
        admits(&gate, &throttle).await;
        let live = tokio::spawn(first_denial(
            http(),
            gate.url(&format!("/authz/nginx/{throttle}")),
        ));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let object = serde_json::from_value(json!({
            "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoOverride", "metadata": { "name": format!("stop-{run}") },
            "spec": { "throttleRef": format!("t{run}"), "kill": { "confirmation": "CONFIRM_KILL" }, "operator": "b", "reason": "b" },
        }))
        .unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        let answered = Instant::now();
        let denied = live.await.unwrap();
        times.push(
            ms(denied.saturating_duration_since(answered))
                - ms(answered.saturating_duration_since(denied)),
        );
    }
    tell(
        &format!("the API server's answer to create, to the gate process's first denial{whose}"),
        &times,
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // cargo bench adds a word of its own.
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (table, rest, cluster) = match words[..] {
        [LOAD, address] => return load(address.parse().unwrap()),
        [] => (true, true, true),
        ["table"] => (true, false, false),
        ["rest"] => (false, true, false),
        ["cluster"] => (false, false, true),
        _ => panic!("expected `table`, `rest`, `cluster` or nothing, got {words:?}"),
    };
    if table {
        in_the_table();
    }
    if rest {
        over_rest(false).await;
        over_rest(true).await;
    }
    if cluster {
        by_kubectl(support::program(), "").await;
        if let Some(base) = versus::base() {
            by_kubectl(base, ", BASE").await;
        }
    }
}
