//! What one verdict costs (gate.md: at most 100 ns in process), and that it allocates nothing.
//!
//! The allocations are counted and asserted before anything is timed: a count is the same on every
//! machine, a time is not, so no time is asserted.

use std::hint::black_box;

use allocation_counter::measure;
use criterion::Criterion;
use echo_phoenix::decide::verdict::{Accumulator, Reason, Requester, Rule, Salt, point, verdict};
use echo_phoenix::domain::level::Level;

/// A tenant's UUID as text: 36 bytes.
const KEY: &[u8] = b"6f9619ff-8b86-d011-b42d-00cf4fc964ff";

const ROUTE: &str = "checkout";

/// Verdicts over which allocations are counted.
const COUNTED: u32 = 100_000;

fn rule(killed: bool) -> Rule {
    Rule {
        refuse: Level::from_percent(57).map_or(0, Level::refusal_q32),
        killed,
        binding: Reason::Target,
        generation: 1,
    }
}

fn unkeyed(rule: &Rule, accumulator: &Accumulator) -> bool {
    verdict(
        black_box(rule),
        black_box(false),
        Requester::Unkeyed(black_box(accumulator)),
    )
    .admitted
}

fn keyed(rule: &Rule, salt: &Salt) -> bool {
    let x = point(black_box(salt), black_box(ROUTE), black_box(KEY));
    verdict(black_box(rule), black_box(false), Requester::Keyed(x)).admitted
}

fn count_allocations() {
    let (rule, killed) = (rule(false), rule(true));
    let (accumulator, salt) = (Accumulator::default(), Salt::hourly(1_700_000_000));
    let counted = measure(|| {
        for _ in 0..COUNTED {
            black_box(unkeyed(&rule, &accumulator));
            black_box(keyed(&rule, &salt));
            black_box(unkeyed(&killed, &accumulator));
        }
    });
    println!(
        "allocations in {} verdicts: {}",
        3 * COUNTED,
        counted.count_total
    );
    assert_eq!(counted.count_total, 0, "a verdict must not allocate");
    // The counter itself must be alive, or 0 says nothing.
    let alive = measure(|| drop(black_box(vec![0_u8; 64])));
    assert_eq!(alive.count_total, 1, "the counter does not count");
}

fn time(criterion: &mut Criterion) {
    let (rule, killed) = (rule(false), rule(true));
    let (accumulator, salt) = (Accumulator::default(), Salt::hourly(1_700_000_000));
    let mut group = criterion.benchmark_group("verdict");
    group.bench_function("unkeyed", |b| b.iter(|| unkeyed(&rule, &accumulator)));
    group.bench_function("keyed, with the hash of 36 bytes", |b| {
        b.iter(|| keyed(&rule, &salt))
    });
    group.bench_function("killed", |b| b.iter(|| unkeyed(&killed, &accumulator)));
    group.finish();
}

fn main() {
    count_allocations();
    let mut criterion = Criterion::default().configure_from_args();
    time(&mut criterion);
    criterion.final_summary();
}
