//! The model: a service of the program's own parts, on disks that fail, hang and answer late, with
//! clients that hang up, and a process that ends at any write; in virtual time. Whatever happens,
//! what clients were told holds, and at rest everybody agrees. 100,000 steps, and a million with
//! ECHO_TEST_FULL=1.
//!
//! A sequence that finds something is made small and printed with its seed: ECHO_MODEL_SEED=seed
//! runs it again. ECHO_MODEL_STEPS says how many steps there are, ECHO_MODEL_TRACE=1 tells each of
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its variables itself"
)]

mod api_server;
mod cluster;
mod commands;
mod disk;
mod doors;
mod in_force;
mod keys;
mod leader;
mod life;
mod manifest;
mod oracle;
mod order;
mod outside;
mod ramp;
mod rest;
mod seen;
mod site;
mod slow;
mod world;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use commands::Sequences;
use world::World;

/// Steps of one sequence.
const LENGTH: std::ops::Range<usize> = 20..120;
/// Where seeds begin, so that every run of the short test is the same.
const SEEDS: u64 = 11_000_000;

/// A sequence that found something.
struct Found {
    seed: u64,
    what: String,
}

/// Runs the sequence of a seed.
fn run(seed: u64, steps: &AtomicU64) -> Result<(), Found> {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 600,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let done = runner.run(
        &Sequences::sequential_strategy(LENGTH),
        |(setting, commands, seen)| {
            let wrong = |what: String| TestCaseError::fail(what);
            traced(|| format!("a new world: {setting:?}"));
            let mut world = World::new(setting).map_err(wrong)?;
            for command in &commands {
                if let Some(seen) = &seen {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
                steps.fetch_add(1, Ordering::Relaxed);
                traced(|| format!("{command:?}"));
                world.apply(command).map_err(wrong)?;
            }
            world.rest().map_err(wrong)
        },
    );
    match done {
        Ok(()) => Ok(()),
        Err(TestError::Abort(why)) => Err(Found {
            seed,
            what: why.to_string(),
        }),
        Err(TestError::Fail(why, (setting, commands, _))) => {
            let lines: Vec<_> = commands
                .iter()
                .map(|command| format!("    {command:?},"))
                .collect();
            Err(Found {
                seed,
                what: format!("{why}\n{setting:?}\n{}", lines.join("\n")),
            })
        }
    }
}

/// Tells a step, where that is wanted.
pub(crate) fn traced(what: impl FnOnce() -> String) {
    static WANTED: OnceLock<bool> = OnceLock::new();
    if *WANTED.get_or_init(|| std::env::var_os("ECHO_MODEL_TRACE").is_some()) {
        println!("{}", what());
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
}

/// `old_faults.sh` puts them back, which takes long; here only that it can.
#[test]
fn every_old_fault_can_be_put_back() {
    let mut faults = 0;
    for fault in std::fs::read_dir("tests/model/old_faults").unwrap() {
        let fault = fault.unwrap().path();
        let applies = std::process::Command::new("git")
            .args(["apply", "--check", "-C1"])
            .arg(&fault)
            .status()
            .unwrap();
        assert!(
            applies.success(),
            "{} is to be written anew",
            fault.display()
        );
        faults += 1;
    }
    assert!(faults > 0);
}

#[test]
fn whatever_happens_what_was_told_holds_and_at_rest_all_agree() {
    let steps = AtomicU64::new(0);
    if let Some(seed) = variable("ECHO_MODEL_SEED") {
        let found = run(seed, &steps).err();
        assert!(found.is_none(), "seed {seed}: {}", found.unwrap().what);
        return;
    }
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let wanted = variable("ECHO_MODEL_STEPS").unwrap_or(if full { 1_000_000 } else { 100_000 });
    let first = variable("ECHO_MODEL_FIRST").unwrap_or(SEEDS);
    let (began, next, found) = (
        Instant::now(),
        AtomicU64::new(first),
        AtomicBool::new(false),
    );
    let found: Vec<Found> = std::thread::scope(|scope| {
        let threads =
            std::thread::available_parallelism().map_or(2, |threads| threads.get().min(4));
        let runs = (0..threads).map(|_| {
            scope.spawn(|| {
                while steps.load(Ordering::Relaxed) < wanted && !found.load(Ordering::Relaxed) {
                    run(next.fetch_add(1, Ordering::Relaxed), &steps)
                        .inspect_err(|_| found.store(true, Ordering::Relaxed))?;
                }
                Ok(())
            })
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter()
            .filter_map(|run| run.join().expect("a thread").err())
            .collect()
    });
    let (counts, never) = seen::told();
    let (steps, last) = (steps.load(Ordering::Relaxed), next.load(Ordering::Relaxed));
    println!(
        "{steps} steps, seeds {first}..{last}, {:.1} s\n{counts}",
        began.elapsed().as_secs_f64()
    );
    let found: Vec<_> = found
        .iter()
        .map(|Found { seed, what }| format!("ECHO_MODEL_SEED={seed}: {what}"))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert!(never.is_empty(), "never reached: {never:#?}");
}
