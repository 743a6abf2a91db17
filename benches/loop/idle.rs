//! An operator with nothing to do: processor time, memory, and how evenly its looks at workloads
//! are spread.
//!
//! A throttle's memory of an hour's rates has its full size from the start: a place for each five
//! minutes, whether something was measured in it or not (`domain/offered.rs`).

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use crate::support::Echo;
use crate::support::cluster::Cluster;
use crate::table::{limited, line};
use crate::usage::{own_memory, processor_time};

/// How long it is left alone before it is looked at.
const SETTLING: Duration = Duration::from_secs(10);
/// How long it is looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Looks of the loop at workloads are counted in slots of this length, seconds.
const SLOT_S: f64 = 0.25;

/// What must be: share of one processor, and KiB a throttle.
const PROCESSOR: f64 = 0.5;
const MEMORY_KIB: f64 = 6.0;

/// Memory of an operator that has no throttles, KiB.
pub(crate) async fn empty(operator: &Echo) -> f64 {
    sleep(SETTLING).await;
    own_memory(operator.process.pid())
}

/// An operator with its throttles; `empty` is what it took without them.
pub(crate) async fn measure(
    whose: &str,
    cluster: &Cluster,
    user: &str,
    operator: &Echo,
    empty: f64,
    throttles: usize,
) {
    sleep(SETTLING).await;
    let pid = operator.process.pid();
    let (from, before) = (Timestamp::now(), processor_time(pid));
    sleep(LOOK).await;
    let (to, used) = (Timestamp::now(), processor_time(pid) - before);
    let memory = own_memory(pid);
    let share = used / to.duration_since(from).as_secs_f64();
    limited(
        whose,
        "idle, for a minute",
        &format!("{used:.1} s of processor time"),
        ("share of one", share, PROCESSOR),
    );
    let each = (memory - empty) / throttles as f64;
    limited(
        whose,
        "memory",
        &format!("{memory:.0} KiB, empty {empty:.0} KiB"),
        ("KiB a throttle beyond that", each, MEMORY_KIB),
    );
    let looks: Vec<f64> = looks(cluster, user)
        .map(|at| at.duration_since(from).as_secs_f64())
        .collect();
    spread(
        whose,
        &looks,
        to.duration_since(from).as_secs_f64(),
        throttles,
    );
}

/// When workloads were read by a user.
fn looks(cluster: &Cluster, user: &str) -> impl Iterator<Item = Timestamp> {
    let all = cluster.requests(user).into_iter();
    all.filter(|(_, request)| {
        request["verb"] == "get" && request["objectRef"]["resource"] == "deployments"
    })
    .map(|(at, _)| at)
}

/// How evenly so many seconds of looks are spread over slots: evenness has no limit of its own, and
/// is told beside what looks at random moments would have.
fn spread(whose: &str, looks: &[f64], lasted: f64, throttles: usize) {
    let mut slots = vec![0.0_f64; (lasted / SLOT_S) as usize];
    for at in looks.iter().filter(|at| **at >= 0.0) {
        if let Some(slot) = slots.get_mut((at / SLOT_S) as usize) {
            *slot += 1.0;
        }
    }
    let (count, all) = (slots.len() as f64, slots.iter().sum::<f64>());
    let mean = all / count;
    let variance = slots.iter().map(|slot| (slot - mean).powi(2)).sum::<f64>() / count;
    let most = slots.iter().copied().fold(0.0, f64::max);
    line(
        whose,
        "looks at workloads in slots of 250 ms",
        &format!(
            "{:.1} s between two of one throttle; mean {mean:.1}, most {most:.0}, deviation {:.2} of the mean (at random: {:.2})",
            lasted * throttles as f64 / all,
            variance.sqrt() / mean,
            mean.sqrt().recip()
        ),
    );
}
