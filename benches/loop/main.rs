//! What throttles cost each other in the loop: 2,000 of them, some whose targets never answer.
//!
//! `cargo bench --bench loop -- serve` needs nothing, `-- cluster` what `make bench` prepares, and
//! takes about six minutes; without a word it is both. A number behind the word makes it another
//! number of throttles. With `BASE` set to another build of ours that one has its turn afterwards.
//! Prints each figure beside what it must be and asserts nothing: a machine's speed is no test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, and stops when something fails"
)]

mod cluster;
mod idle;
mod serve;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests' support, of which a measurement needs a part"
)]
#[path = "../../tests/it/support.rs"]
mod support;
mod table;
#[allow(dead_code, reason = "not every measurement needs all of it")]
#[path = "../timing.rs"]
mod timing;
#[path = "../usage.rs"]
mod usage;
#[allow(dead_code, reason = "not every measurement needs all of it")]
#[path = "../versus.rs"]
mod versus;

/// Throttles, unless a number is given.
const THROTTLES: usize = 2_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // cargo bench adds a word of its own.
    let mut words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let number = words.last().and_then(|word| word.parse().ok());
    if number.is_some() {
        words.pop();
    }
    let throttles = number.unwrap_or(THROTTLES);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (in_cluster, alone) = match words[..] {
        [] => (true, true),
        ["cluster"] => (true, false),
        ["serve"] => (false, true),
        _ => panic!("expected `cluster`, `serve` or nothing, and a number, got {words:?}"),
    };
    let base = versus::base().map(|base| (base, "BASE: "));
    for (program, whose) in [(support::program(), "")].into_iter().chain(base) {
        if alone {
            serve::measure(&program, whose, throttles).await;
        }
        if in_cluster {
            cluster::measure(&program, whose, throttles).await;
        }
    }
}
