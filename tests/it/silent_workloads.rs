//! Workloads whose reads never answer, more of them than there are places for passes: they keep no
//! other throttle's kill from its workload. With ECHO_TEST_FULL=1; how long that takes is measured
//! by `benches/loop`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "it reads its variable and the clock itself"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::api_proxy::ApiProxy;
use crate::support::cluster::{Cluster, Installed, PATIENCE};
use crate::support::eventually;
use crate::support::fleet::{Fleet, reads_a_silent_one};

const ANSWERING: usize = 24;
/// The loop has 64 places.
const SILENT: usize = 96;

#[tokio::test(flavor = "multi_thread")]
async fn workloads_that_do_not_answer_keep_no_other_kill_from_its_own() {
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    if !full {
        return println!("silent workloads: only at full length, by ECHO_TEST_FULL=1");
    }
    let cluster = Cluster::bare();
    let installed = Installed::into(&cluster);
    let (hangs, swallowed) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (hanging, counted) = (Arc::clone(&hangs), Arc::clone(&swallowed));
    let proxy = ApiProxy::start(&cluster, move |method, path| {
        let swallows = hanging.load(Ordering::SeqCst) && reads_a_silent_one(method, path);
        counted.fetch_add(usize::from(swallows), Ordering::SeqCst);
        swallows
    })
    .await;
    installed.reaches(proxy.address);
    let fleet = Fleet::make(&cluster, ANSWERING, SILENT).await;
    let _operator = installed.operator("op", &[]).await;
    eventually("reads hang", PATIENCE, async || {
        (swallowed.load(Ordering::SeqCst) >= SILENT).then_some(())
    })
    .await;

    let all = fleet.answering.iter().chain(&fleet.silent);
    fleet
        .each(all, async |name| {
            fleet.kill(name).await;
        })
        .await;
    let stopped = async |names: &[String]| {
        let mut count = 0;
        for name in names {
            count += usize::from(fleet.has(name, 0, fleet.began, PATIENCE).await.is_some());
        }
        count
    };
    assert_eq!(stopped(&fleet.answering).await, ANSWERING);
    // What is not read is not written: nobody knows what it was.
    let untouched = |name: &&String| fleet.replicas(name) == 1;
    assert_eq!(fleet.silent.iter().filter(untouched).count(), SILENT);

    hangs.store(false, Ordering::SeqCst);
    assert_eq!(stopped(&fleet.silent).await, SILENT, "they answer again");

    let first = &fleet.answering[0];
    let ended = std::time::Instant::now();
    fleet.end(first).await;
    assert!(fleet.has(first, 1, ended, PATIENCE).await.is_some());
}
