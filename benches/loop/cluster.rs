//! Throttles of gate and scale in a cluster: an operator that has nothing to do, and one that finds
//! a quarter of the workloads silent.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use echo_phoenix::source::crd::EchoThrottle;
use echo_phoenix::source::crd_override::ClusterEchoOverride;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use crate::idle;
use crate::support::api_proxy::ApiProxy;
use crate::support::cluster::{Cluster, Installed};
use crate::support::fleet::{Fleet, reads_a_silent_one};
use crate::table::{Took, limited, line};
use crate::timing::ms;

/// One in so many has a silent workload.
const SILENT_PART: usize = 4;
/// Kills of one throttle, and edits by hand.
const RUNS: usize = 100;

/// How long everything may take to come into force at first.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long all silent workloads take to be read once: a tick and more.
const SETTLING: Duration = Duration::from_secs(8);
/// How long one kill, one correction and one kill of all may take, and all kills of one throttle.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const EDIT_LIMIT: Duration = Duration::from_secs(20);
const ALL_LIMIT: Duration = Duration::from_secs(45);
const KILLS_LIMIT: Duration = Duration::from_secs(120);
/// How long the end of a kill is waited for before the next one.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Edits by hand follow each other at this distance: they fall anywhere into a tick.
const BETWEEN_EDITS: Duration = Duration::from_millis(50);

/// What must be, milliseconds.
const KILL_P95_MS: f64 = 150.0;
const EDIT_MAX_MS: f64 = 5_150.0;
const ALL_P95_MS: f64 = 5_000.0;

/// A program with so many throttles, in a cluster of its own.
pub(crate) async fn measure(program: &Path, whose: &str, throttles: usize) {
    let cluster = Cluster::bare();
    let mut installed = Installed::into(&cluster);
    program.clone_into(&mut installed.program);
    let mut operator = installed.operator("op", &[]).await;
    let empty = idle::empty(&operator).await;
    let silent = throttles / SILENT_PART;
    let fleet = Fleet::make(&cluster, throttles - silent, silent).await;
    let made = fleet.began.elapsed();
    let ready = ready(&fleet, throttles).await;
    line(
        whose,
        &format!(
            "{throttles} throttles of gate and scale, made in {:.0} s",
            made.as_secs_f64()
        ),
        &format!(
            "{ready} ready {:.0} s after the first",
            fleet.began.elapsed().as_secs_f64()
        ),
    );
    let user = installed.user("operator");
    idle::measure(whose, &cluster, &user, &operator, empty, throttles).await;

    operator.process.terminate();
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = Arc::clone(&hangs);
    let proxy = ApiProxy::start(&cluster, move |method, path| {
        hanging.load(Ordering::Relaxed) && reads_a_silent_one(method, path)
    })
    .await;
    installed.reaches(proxy.address);
    let _operator = installed.operator("op", &[]).await;
    leads(&fleet).await;
    hangs.store(true, Ordering::Relaxed);
    sleep(SETTLING).await;
    line(
        whose,
        "reads of workloads that never answer",
        &silent.to_string(),
    );
    kills_of_one(whose, &fleet).await;
    edits_by_hand(whose, &fleet).await;
    kill_of_all(whose, &fleet).await;
}

/// How many are ready, once all are or it takes too long.
async fn ready(fleet: &Fleet, all: usize) -> usize {
    let api: Api<EchoThrottle> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let is_ready = |throttle: &EchoThrottle| {
        let status = throttle.status.as_ref();
        let conditions = status.map(|status| status.conditions.as_slice());
        let mut conditions = conditions.unwrap_or_default().iter();
        conditions.any(|one| one.kind == "Ready" && one.status == "True")
    };
    let began = Instant::now();
    loop {
        let list = api.list(&ListParams::default()).await.unwrap();
        let ready = list.items.iter().filter(|one| is_ready(one)).count();
        if ready == all || began.elapsed() > READY_LIMIT {
            return ready;
        }
        sleep(Duration::from_secs(2)).await;
    }
}

/// Waits until an operator that has just started acts: it obeys a kill.
async fn leads(fleet: &Fleet) {
    let name = fleet.answering.last().unwrap();
    let began = fleet.kill(name).await;
    let stopped = fleet.has(name, 0, began, READY_LIMIT).await;
    fleet.end(name).await;
    assert!(stopped.is_some(), "the operator does not act");
    fleet.has(name, 1, began, KILL_LIMIT).await;
}

/// Milliseconds from one moment to another, which may have been seen before it.
fn between(from: Instant, to: Option<Instant>) -> Option<f64> {
    to.map(|to| ms(to.saturating_duration_since(from)))
}

/// Another throttle in each run; the kill before is over by then, or was given its time to be.
async fn kills_of_one(whose: &str, fleet: &Fleet) {
    let (began, mut took, mut ended) = (Instant::now(), Vec::new(), Vec::new());
    for name in fleet.answering.iter().take(RUNS) {
        if began.elapsed() > KILLS_LIMIT {
            break;
        }
        let sent = Instant::now();
        let answered = fleet.kill(name).await;
        let stopped = fleet.has(name, 0, sent, KILL_LIMIT).await;
        took.push(between(answered, stopped));
        fleet.end(name).await;
        if let Some(stopped) = stopped {
            let over = fleet.has(name, 1, stopped, END_LIMIT).await;
            ended.push(between(stopped, over));
        }
    }
    let (took, ended) = (Took::of(took), Took::of(ended));
    limited(
        whose,
        "kill of one, from the answer to create to replicas 0",
        &took.words(),
        ("p95", took.at(95), KILL_P95_MS),
    );
    line(
        whose,
        "its end, from replicas 0 to 1, within a second",
        &ended.words(),
    );
}

/// Somebody scales killed workloads up by hand.
async fn edits_by_hand(whose: &str, fleet: &Fleet) {
    let api: Api<Deployment> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let names: Vec<_> = fleet.answering.iter().skip(RUNS).take(RUNS).collect();
    let sent = Instant::now();
    fleet
        .each(names.iter().copied(), async |name| {
            fleet.kill(name).await;
        })
        .await;
    let mut killed = Vec::new();
    for name in &names {
        let left = (sent + ALL_LIMIT).saturating_duration_since(Instant::now());
        if fleet.has(name, 0, sent, left).await.is_some() {
            killed.push(*name);
        }
    }
    // What was just seen to obey settles first.
    sleep(SETTLING).await;
    let edits = killed.iter().enumerate().map(async |(number, name)| {
        sleep(BETWEEN_EDITS * u32::try_from(number).unwrap()).await;
        let sent = Instant::now();
        let patch = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
        let answered = Instant::now();
        between(answered, fleet.has(name, 0, sent, EDIT_LIMIT).await)
    });
    let edits = stream::iter(edits.collect::<Vec<_>>());
    let took = Took::of(edits.buffer_unordered(RUNS).collect::<Vec<_>>().await);
    limited(
        whose,
        "edit of a killed workload by hand, until it is corrected",
        &took.words(),
        ("max", took.at(100), EDIT_MAX_MS),
    );
    fleet
        .each(names.into_iter(), async |name| fleet.end(name).await)
        .await;
}

/// One override for all; silent workloads do not count.
async fn kill_of_all(whose: &str, fleet: &Fleet) {
    // Those whose kill has just ended come back first.
    let before = Instant::now();
    for name in &fleet.answering {
        let left = (before + KILL_LIMIT).saturating_duration_since(Instant::now());
        fleet.has(name, 1, fleet.began, left).await;
    }
    let api: Api<ClusterEchoOverride> = Api::all(fleet.client.clone());
    let object = serde_json::from_value(json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "ClusterEchoOverride",
        "metadata": { "name": "all" },
        "spec": { "selector": {}, "kill": { "confirmation": "CONFIRM_KILL" },
                  "operator": "dana", "reason": "double charges" },
    }))
    .unwrap();
    let is_up: Vec<_> = fleet
        .answering
        .iter()
        .filter(|name| fleet.replicas(name) == 1)
        .collect();
    let sent = Instant::now();
    api.create(&PostParams::default(), &object).await.unwrap();
    let answered = Instant::now();
    let mut took = Vec::new();
    for name in is_up {
        let left = (sent + ALL_LIMIT).saturating_duration_since(Instant::now());
        took.push(between(answered, fleet.has(name, 0, sent, left).await));
    }
    let took = Took::of(took);
    limited(
        whose,
        "kill of all, from the answer to create to replicas 0 of each that answers",
        &took.words(),
        ("p95", took.at(95), ALL_P95_MS),
    );
}
