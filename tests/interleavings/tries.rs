//! How a test is tried: under how many orders, and under one of them again.

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Where seeds begin, so that every run of the short test is the same.
const SEED: u64 = 11;
/// A command's futures are deep.
const STACK: usize = 1 << 20;
/// Steps of one order: who has not come to rest by then never does.
const STEPS: usize = 50_000;
/// Times that one who goes on first is changed in the middle, in the orders that favour somebody.
const CHANGES: usize = 4;

fn run(test: impl Fn() + Send + Sync + 'static, scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    (config.stack_size, config.max_steps, config.silence_warnings) =
        (STACK, MaxSteps::FailAfter(STEPS), true);
    Runner::new(scheduler, config).run(test);
}

/// Tries a test under so many orders: half of them drawn step by step, the others favouring one
/// thread for long. ECHO_TEST_FULL=1: fifty times as many.
pub(crate) fn tried(orders: usize, test: impl Fn() + Send + Sync + Clone + 'static) {
    if let Ok(schedule) = std::env::var("ECHO_SCHEDULE") {
        return run(test, ReplayScheduler::new_from_encoded(&schedule));
    }
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let orders = if full { orders * 50 } else { orders };
    run(
        test.clone(),
        RandomScheduler::new_from_seed(SEED, orders / 2),
    );
    run(test, PctScheduler::new_from_seed(SEED, CHANGES, orders / 2));
}

/// Tries a test that draws nothing under all orders there are.
pub(crate) fn tried_all(test: impl Fn() + Send + Sync + 'static) {
    if let Ok(schedule) = std::env::var("ECHO_SCHEDULE") {
        return run(test, ReplayScheduler::new_from_encoded(&schedule));
    }
    run(test, DfsScheduler::new(None, false));
}

/// Tells a step, where that is wanted: ECHO_TRACE=1.
pub(crate) fn traced(what: impl FnOnce() -> String) {
    if std::env::var_os("ECHO_TRACE").is_some() {
        println!("{}", what());
    }
}
