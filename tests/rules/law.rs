//! The control law: its worked examples and its properties (control-law.md), each property under
//! its own name.

use echo_phoenix::decide::law::{
    Binding, Credit, Evaluation, Input, Law, TICK_SECONDS, credit_after,
};
use echo_phoenix::decide::opening::open_without_source;
use echo_phoenix::decide::waiting::Waiting;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::observation::Signals;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Float noise allowed where a test computes another way than the law does.
const NOISE: f64 = 1e-9;

pub(crate) fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: 10_000,
        // A failure is turned into an example by hand; nothing is written next to the sources.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

// ---- generators: mostly where the law bends, sometimes the ends of the number line

fn fraction() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..=1.0,
        1 => select(vec![0.0, -0.0, 1.0, 0.5, 0.9, f64::MIN_POSITIVE]),
        1 => 0.0..1e-3,
        1 => (0.0..1e-3).prop_map(|x: f64| 1.0 - x),
    ]
}

fn error_rate() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => Just(0.0),
        2 => 0.0..0.03,
        4 => 0.0..0.12,
        1 => fraction(),
        1 => select(vec![0.01, 0.01 + 1e-12, 0.10 - 1e-12, 0.10, 1.0]),
    ]
}

fn latency_ms() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => 0.0..250.0,
        2 => 200.0..400.0,
        4 => 200.0..1100.0,
        1 => 0.0..100_000.0,
        1 => select(vec![0.0, 250.0, 1000.0, 250.0 + 1e-9, 1e300, f64::MAX]),
    ]
}

pub(crate) fn rpm() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => 0.0..150.0,
        2 => (0.0..7.0).prop_map(|x: f64| 10f64.powf(x)),
        2 => 100.0..10_000.0,
        1 => select(vec![0.0, 6.0, 30.0, 60.0, 60.0 - 1e-9, 60.0 + 1e-9, 1e300, f64::MAX]),
    ]
}

fn temperature() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..2.0,
        1 => 0.0..1000.0,
        1 => select(vec![0.0, 1e300, f64::MAX]),
    ]
}

fn susceptibility() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..4.0,
        2 => 0.0..15.0,
        1 => select(vec![0.0, 1.0, 10.0, 1e300, f64::MAX]),
    ]
}

fn gap() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => Just(0.0),
        4 => -0.2..0.2,
        2 => -1.2..1.2,
        1 => select(vec![1.0, -1.0, 1e300, -1e300]),
    ]
}

fn phis() -> impl Strategy<Value = (f64, f64)> {
    prop_oneof![
        9 => (0.0..1.0, gap()).prop_map(|(ps, gap)| (ps, ps + gap)),
        1 => select(vec![(f64::MAX, f64::MIN), (f64::MIN, f64::MAX), (f64::MAX, f64::MAX)]),
    ]
}

pub(crate) fn signals() -> impl Strategy<Value = Signals> {
    (
        fraction(),
        error_rate(),
        latency_ms(),
        rpm(),
        phis(),
        temperature(),
        susceptibility(),
    )
        .prop_map(|(u, e, l, r, (ps, pd), t, x)| Signals {
            throttle_pct: u,
            error_rate: e,
            latency_p99_ms: l,
            requests_per_minute: r,
            phi_static: ps,
            phi_dynamic: pd,
            temperature: t,
            susceptibility: x,
        })
}

/// A declared throttle, often 0 and often close to the level in force.
fn target(now: f64) -> impl Strategy<Value = Level> {
    prop_oneof![
        3 => Just(0.0),
        2 => (-0.12..0.12).prop_map(move |d: f64| (now + d).clamp(0.0, 1.0)),
        1 => Just(now),
        2 => fraction(),
    ]
    .prop_map(level)
}

fn any_input() -> impl Strategy<Value = Input> {
    signals()
        .prop_flat_map(|s| {
            let credit = prop_oneof![2 => Just(1.0), 2 => fraction()];
            let floor =
                prop_oneof![2 => Just(Some(0.0)), 2 => rpm().prop_map(Some), 1 => Just(None)];
            (Just(s), target(s.throttle_pct), credit, floor)
        })
        .prop_map(|(signals, target, credit, waiting_rpm)| Input {
            signals,
            target,
            killed: false,
            credit,
            waiting_rpm,
        })
}

/// Input whose stress is at most S_o: what is left of the generator's, made calm where it was not.
fn calm_input() -> impl Strategy<Value = Input> {
    any_input().prop_map(|mut input| {
        if stress(&input) > open_below(&input) {
            input.signals.error_rate = 0.0;
            input.signals.latency_p99_ms = 0.0;
            input.signals.phi_dynamic = input.signals.phi_static;
        }
        input
    })
}

// ---- helpers

fn level(fraction: f64) -> Level {
    let Ok(level) = Level::new(fraction) else {
        unreachable!("{fraction} comes from a generator of levels")
    };
    level
}

fn law(input: &Input) -> Evaluation {
    match Law::default().evaluate(input) {
        Ok(answer) => answer,
        Err(errors) => unreachable!("a valid input was rejected: {errors:?}"),
    }
}

fn next(input: &Input) -> f64 {
    law(input).level.fraction()
}

fn stress(input: &Input) -> f64 {
    law(input).stress
}

fn with(input: &Input, change: impl FnOnce(&mut Signals)) -> Input {
    let mut changed = *input;
    change(&mut changed.signals);
    changed
}

/// sig, by the text of the law.
fn noise(s: &Signals) -> f64 {
    (s.susceptibility * s.temperature / (400.0 + s.requests_per_minute)).sqrt()
}

/// S_o, by the text of the law.
fn open_below(input: &Input) -> f64 {
    0.30 - (0.10 + noise(&input.signals)).clamp(0.10, 0.25)
}

/// X', by the text of the law.
fn gain(input: &Input) -> f64 {
    input.signals.susceptibility.clamp(1.0, 10.0)
}

fn ordered(a: f64, b: f64) -> (f64, f64) {
    (a.min(b), a.max(b))
}

/// The body of the deployment guide.
fn guide() -> Input {
    Input {
        signals: Signals {
            throttle_pct: 1.0,
            error_rate: 0.0,
            latency_p99_ms: 100.0,
            requests_per_minute: 0.0,
            phi_static: 0.5,
            phi_dynamic: 0.45,
            temperature: 0.85,
            susceptibility: 2.0,
        },
        target: Level::OPEN,
        killed: false,
        credit: 1.0,
        waiting_rpm: Some(0.0),
    }
}

// ---- examples

#[test]
fn worked_examples() {
    let busy = with(&guide(), |s| s.requests_per_minute = 6000.0);
    let settled = with(&busy, |s| s.phi_dynamic = 0.5);
    let table = [
        ("the guide's body", guide(), 0.0, Binding::None),
        ("r 6000", busy, 0.9867, Binding::None),
        ("r 6000, pd .5", settled, 0.95, Binding::None),
        (
            "e .2",
            with(&busy, |s| s.error_rate = 0.2),
            1.0,
            Binding::Errors,
        ),
        (
            "e 1",
            with(&busy, |s| s.error_rate = 1.0),
            1.0,
            Binding::Errors,
        ),
        (
            "u 0, e .05",
            with(&settled, |s| (s.throttle_pct, s.error_rate) = (0.0, 0.05)),
            0.1815,
            Binding::Errors,
        ),
        (
            "u 0, L 800",
            with(&settled, |s| {
                (s.throttle_pct, s.latency_p99_ms) = (0.0, 800.0)
            }),
            0.5,
            Binding::Latency,
        ),
        (
            "u .4, L 2000",
            with(&settled, |s| {
                (s.throttle_pct, s.latency_p99_ms) = (0.4, 2000.0)
            }),
            0.7,
            Binding::Latency,
        ),
    ];
    for (name, input, expected, binding) in table {
        let answer = law(&input);
        assert!(
            (answer.level.fraction() - expected).abs() < 5e-5,
            "{name}: {answer:?}, expected {expected}"
        );
        assert_eq!(answer.binding, binding, "{name}: {answer:?}");
    }
}

#[test]
fn worked_example_opens_in_twenty_ticks() {
    let mut input = with(&guide(), |s| {
        (s.requests_per_minute, s.phi_dynamic) = (6000.0, 0.5);
    });
    let mut ticks = 0;
    while input.signals.throttle_pct > NOISE {
        input.signals.throttle_pct = next(&input);
        ticks += 1;
        assert!(ticks <= 20, "still at {}", input.signals.throttle_pct);
    }
    assert_eq!(ticks, 20);
}

#[test]
fn the_binding_says_what_determined_the_level() {
    let busy = with(&guide(), |s| {
        (s.requests_per_minute, s.phi_dynamic) = (6000.0, 0.5);
    });
    let declared = Input {
        target: level(0.4),
        ..with(&busy, |s| s.throttle_pct = 0.4)
    };
    let errors = |s: &mut Signals| s.error_rate = 0.2;
    let gap = |s: &mut Signals| (s.throttle_pct, s.phi_dynamic) = (0.5, 0.1);
    let table = [
        ("on the declaration", declared, Binding::Target),
        (
            "killed",
            Input {
                killed: true,
                ..busy
            },
            Binding::Target,
        ),
        ("opening", busy, Binding::None),
        ("open", with(&busy, |s| s.throttle_pct = 0.0), Binding::None),
        (
            "closing past the declaration",
            with(&declared, errors),
            Binding::Errors,
        ),
        (
            "closing for the order parameter",
            with(&busy, gap),
            Binding::Order,
        ),
    ];
    for (name, input, expected) in table {
        assert_eq!(law(&input).binding, expected, "{name}");
    }
    let names = [
        Binding::None,
        Binding::Target,
        Binding::Errors,
        Binding::Latency,
        Binding::Order,
    ]
    .map(Binding::as_str);
    assert_eq!(names, ["none", "target", "errors", "latency", "order"]);
}

#[test]
fn equal_signals_are_named_errors_before_latency_before_order() {
    // So many requests that the evidence is whole, and a gap that alone is full stress too.
    let all = with(&guide(), |s| {
        (
            s.throttle_pct,
            s.error_rate,
            s.latency_p99_ms,
            s.requests_per_minute,
        ) = (0.0, 1.0, 1e6, 1e300);
        (s.phi_static, s.phi_dynamic, s.susceptibility) = (1.0, 0.0, 10.0);
    });
    let latency = with(&all, |s| s.error_rate = 0.0);
    let order = with(&latency, |s| s.latency_p99_ms = 0.0);
    for (input, expected) in [
        (all, Binding::Errors),
        (latency, Binding::Latency),
        (order, Binding::Order),
    ] {
        let answer = law(&input);
        assert_eq!(
            (answer.stress, answer.binding),
            (1.0, expected),
            "{answer:?}"
        );
    }
}

#[test]
fn every_offending_field_is_named() {
    let broken = Input {
        signals: Signals {
            throttle_pct: 1.5,
            error_rate: f64::NAN,
            latency_p99_ms: -1.0,
            requests_per_minute: f64::INFINITY,
            phi_static: f64::NAN,
            phi_dynamic: f64::NEG_INFINITY,
            temperature: -0.1,
            susceptibility: f64::NAN,
        },
        credit: 1.1,
        waiting_rpm: Some(-1.0),
        ..guide()
    };
    let Err(errors) = Law::default().evaluate(&broken) else {
        unreachable!("it was accepted")
    };
    let fields: Vec<&str> = errors.iter().map(|e| e.field).collect();
    assert_eq!(
        fields,
        [
            "throttle_pct",
            "error_rate",
            "latency_p99_ms",
            "requests_per_minute",
            "phi_static",
            "phi_dynamic",
            "temperature",
            "susceptibility",
            "credit",
            "waiting_rpm",
        ]
    );
    assert_eq!(
        errors[0].to_string(),
        "throttle_pct is 1.5, expected a number from 0 to 1"
    );
}

#[test]
fn thresholds_that_coincide_are_a_step() {
    let law = Law {
        error_low: 0.05,
        error_high: 0.05,
        hold_least: 0.30,
        hold_most: 0.30,
        ..Law::default()
    };
    for (error_rate, closes) in [(0.05, false), (0.05 + 1e-9, true)] {
        let input = with(&guide(), |s| {
            (s.requests_per_minute, s.phi_dynamic) = (1e12, 0.5);
            (s.throttle_pct, s.error_rate) = (0.8, error_rate);
        });
        let Ok(answer) = law.evaluate(&input) else {
            unreachable!("a valid input was rejected")
        };
        assert_eq!(answer.automatic > level(0.899), closes, "{answer:?}");
        // S_o = 0: without any stress it opens, with any it does not.
        assert_eq!(answer.open_step > 0.0, !closes, "{answer:?}");
        // And at its whole pace: no band is left for the stress to take a part of.
        assert!(
            closes || (answer.open_step - 0.02 * TICK_SECONDS / 2.0).abs() < NOISE,
            "{answer:?}"
        );
    }
}

#[test]
fn a_step_releases_a_burst_or_the_ramp_whichever_is_more() {
    let table = [
        ("nothing is waiting", 0.0, 0.0, 2.0, 1.0),
        ("a burst is waiting", 30.0, 0.0, 2.0, 1.0),
        ("two are", 60.0, 0.0, 2.0, 0.5),
        ("four are", 120.0, 0.0, 2.0, 0.25),
        ("so many that the ramp is more", 6_000.0, 0.0, 2.0, 0.05),
        ("nobody now, a crowd before the stop", 0.0, 120.0, 2.0, 0.25),
        ("a low gain is no faster", 240.0, 0.0, 0.5, 0.25),
        ("a high one is slower", 48.0, 0.0, 5.0, 0.25),
        ("and the highest still opens", 1e6, 0.0, 1e9, 0.01),
    ];
    for (name, requests_per_minute, waiting_rpm, susceptibility, expected) in table {
        let input = with(&guide(), |s| {
            (s.requests_per_minute, s.susceptibility, s.temperature) =
                (requests_per_minute, susceptibility, 0.0);
            s.phi_dynamic = s.phi_static;
        });
        let answer = law(&Input {
            waiting_rpm: Some(waiting_rpm),
            ..input
        });
        assert!(
            (answer.open_step - expected).abs() < NOISE,
            "{name}: {answer:?}, expected {expected}"
        );
        assert!(
            (answer.level.fraction() - (1.0 - expected)).abs() < NOISE,
            "{name}: {answer:?}"
        );
    }
}

/// A generator that misses a region proves nothing about it.
#[test]
fn the_generator_reaches_every_region() {
    const REGIONS: [&str; 10] = [
        "opens",
        "holds",
        "in the band",
        "closes",
        "halving cap",
        "stands on g",
        "least step",
        "by errors",
        "by latency",
        "by order",
    ];
    let mut runner = TestRunner::deterministic();
    let mut seen = [0_u32; 10];
    for _ in 0..10_000 {
        let Ok(tree) = any_input().new_tree(&mut runner) else {
            unreachable!("the generator rejects nothing")
        };
        let input = tree.current();
        let answer = law(&input);
        let (now, then) = (input.signals.throttle_pct, answer.level.fraction());
        let ramp = 0.1 / gain(&input);
        let at_least_step = (answer.open_step - input.credit * 0.1 * ramp).abs() < 1e-12;
        let regions = [
            then < now,
            answer.open_step == 0.0 && then == now && now > 0.0,
            answer.stress > open_below(&input) && answer.stress <= 0.30,
            answer.automatic.fraction() > now && answer.automatic.fraction() == then,
            answer.automatic.fraction() > 0.0
                && answer.automatic.fraction() == f64::midpoint(1.0, now),
            answer.level == input.target && then > 0.0,
            answer.open_step > 0.0 && at_least_step,
            answer.binding == Binding::Errors,
            answer.binding == Binding::Latency,
            answer.binding == Binding::Order,
        ];
        for (count, reached) in seen.iter_mut().zip(regions) {
            *count += u32::from(reached);
        }
    }
    for (region, count) in REGIONS.iter().zip(seen) {
        assert!(count >= 50, "{region}: {count} of 10000, all: {seen:?}");
    }
}

// ---- properties 1 to 19

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn bounded(input in any_input(), killed: bool) {
        let answer = law(&Input { killed, ..input });
        for value in [answer.level.fraction(), answer.automatic.fraction(), answer.stress, answer.open_step] {
            prop_assert!((0.0..=1.0).contains(&value), "{answer:?}");
        }
    }

    #[test]
    fn kill_dominates(input in any_input()) {
        let answer = law(&Input { killed: true, ..input });
        prop_assert_eq!(answer.level, Level::STOP);
        prop_assert_eq!(answer.open_step, 0.0);
    }

    #[test]
    fn what_may_not_open_never_does(input in any_input()) {
        let free = Input { credit: 1.0, killed: false, ..input };
        prop_assert_eq!(law(&free).open_step > 0.0, Law::default().may_open(&input.signals));
    }

    #[test]
    fn monotone_in_error_rate(input in any_input(), a in error_rate(), b in error_rate()) {
        let (low, high) = ordered(a, b);
        let [low, high] = [low, high].map(|e| next(&with(&input, |s| s.error_rate = e)));
        prop_assert!(low <= high, "{low} > {high}");
    }

    #[test]
    fn monotone_in_latency(input in any_input(), a in latency_ms(), b in latency_ms()) {
        let (low, high) = ordered(a, b);
        let [low, high] = [low, high].map(|l| next(&with(&input, |s| s.latency_p99_ms = l)));
        prop_assert!(low <= high, "{low} > {high}");
    }

    #[test]
    fn monotone_in_throttle(input in any_input(), a in fraction(), b in fraction()) {
        let (low, high) = ordered(a, b);
        let [low, high] = [low, high].map(|u| next(&with(&input, |s| s.throttle_pct = u)));
        prop_assert!(low <= high, "{low} > {high}");
    }

    #[test]
    fn monotone_in_target(input in any_input(), a in fraction(), b in fraction()) {
        let (low, high) = ordered(a, b);
        let [low, high] = [low, high].map(|g| next(&Input { target: level(g), ..input }));
        prop_assert!(low <= high, "{low} > {high}");
    }

    #[test]
    fn never_past_declaration(input in any_input()) {
        prop_assert!(law(&input).level >= input.target);
    }

    #[test]
    fn no_close_without_cause(input in any_input()) {
        let answer = law(&input);
        let cause = level(input.signals.throttle_pct).safer(input.target).safer(answer.automatic);
        prop_assert!(answer.level <= cause, "{answer:?}");
        // And automation has a cause itself: stress above S_c.
        prop_assert!(answer.automatic == Level::OPEN || answer.stress > 0.30, "{answer:?}");
    }

    #[test]
    fn load_ramp(input in any_input()) {
        let (now, r) = (input.signals.throttle_pct, input.signals.requests_per_minute);
        let released = (now - next(&input)) * r;
        let allowed = input.credit * (0.02 * 5.0 * r).max(60.0) / gain(&input);
        // u - u' is only as exact as the last bit of u, times the load.
        prop_assert!(released <= allowed + 1e-12 * (1.0 + r), "{released} rpm, {allowed} allowed");
        // What was offered before the stop counts like what is offered now.
        // (Below one request a minute any step is small enough, and 60/0 is no number.)
        // And where that is not known, nothing but the ramp opens.
        let burst = input.waiting_rpm.map_or(0.0, |waiting| 60.0 / r.max(waiting).max(1.0));
        let step = input.credit * (0.02 * 5.0f64).max(burst) / gain(&input);
        prop_assert!(now - next(&input) <= step + 1e-12, "{step} allowed behind {:?} rpm", input.waiting_rpm);
    }

    #[test]
    fn gate(input in any_input()) {
        let answer = law(&input);
        if answer.stress > open_below(&input) + NOISE {
            prop_assert!(answer.level.fraction() >= input.signals.throttle_pct, "{answer:?}");
            prop_assert_eq!(answer.open_step, 0.0);
        }
    }

    #[test]
    fn hold_band(input in any_input()) {
        let answer = law(&input);
        if answer.stress <= 0.30 && input.signals.throttle_pct >= input.target.fraction() {
            prop_assert!(answer.level.fraction() <= input.signals.throttle_pct, "{answer:?}");
        }
    }

    #[test]
    fn auto_close_at_most_halves_admission(input in any_input()) {
        let now = input.signals.throttle_pct;
        let admitted = 1.0 - next(&Input { target: Level::OPEN, ..input });
        prop_assert!(admitted >= (1.0 - now) / 2.0 - 1e-15, "{admitted} of {}", 1.0 - now);
    }

    #[test]
    fn constant_input_moves_one_way(start in any_input(), credits in vec(fraction(), 1..30)) {
        let mut input = start;
        let mut direction = 0.0;
        for credit in credits {
            input.credit = credit;
            let now = input.signals.throttle_pct;
            let then = next(&input);
            prop_assert!((then - now) * direction >= 0.0, "turned at {now} to {then}");
            if then != now {
                direction = (then - now).signum();
            }
            input.signals.throttle_pct = then;
        }
    }

    #[test]
    fn calm_input_reaches_target(start in calm_input()) {
        let mut input = Input { credit: 1.0, ..start };
        // The least step is a tenth of the ramp; one tick more for the bits that 1/step additions
        // lose.
        let least = 0.1 * 0.1 / gain(&input);
        let most = 1 + ((input.signals.throttle_pct - input.target.fraction()).max(0.0) / least).ceil() as u32;
        let mut ticks = 0;
        while law(&input).level != input.target || input.signals.throttle_pct != input.target.fraction() {
            input.signals.throttle_pct = next(&input);
            ticks += 1;
            prop_assert!(ticks <= most, "at {} after {ticks} ticks", input.signals.throttle_pct);
        }
    }

    #[test]
    fn noise_inside_band_does_not_reverse(input in any_input(), other in any_input()) {
        // Order noise within z*sig is no signal at all.
        let sig = noise(&input.signals).min(1e3);
        let quiet = with(&input, |s| (s.phi_static, s.phi_dynamic) = (0.0, 0.0));
        let noisy = with(&input, |s| (s.phi_static, s.phi_dynamic) = (0.0, 0.999 * sig));
        prop_assert_eq!(law(&quiet), law(&noisy));

        // Whatever else changes: who opened does not close again before the stress rose by the
        // whole band, and back.
        let first = Input { target: Level::OPEN, ..input };
        let opened = law(&first);
        let second = Input { target: Level::OPEN, ..with(&other, |s| s.throttle_pct = opened.level.fraction()) };
        let closed = law(&second);
        if opened.level.fraction() < first.signals.throttle_pct && closed.level > opened.level {
            let band = 0.30 - open_below(&first);
            prop_assert!(closed.stress - opened.stress >= band - NOISE, "{opened:?} then {closed:?}");
        }
        // Inside the band nothing moves.
        if closed.stress > open_below(&second) + NOISE && closed.stress <= 0.30 {
            prop_assert_eq!(closed.level, opened.level);
        }
    }

    #[test]
    fn splitting_a_tick_opens_no_more(
        start in calm_input(),
        cuts in vec(0.0..=TICK_SECONDS, 0..20),
        again in 1_usize..20,
    ) {
        let step = law(&Input { credit: 1.0, ..start }).open_step;

        // From empty: any number of calls until the credit would have been full.
        let mut times = cuts;
        times.push(TICK_SECONDS);
        times.sort_by(f64::total_cmp);
        let (mut input, mut credit, mut last) = (start, Credit::EMPTY, 0.0);
        for time in times {
            input.credit = credit.at(time - last);
            let before = level(input.signals.throttle_pct);
            let answer = law(&input);
            credit = credit.after(time - last, before, &answer);
            last = time;
            input.signals.throttle_pct = answer.level.fraction();
        }
        let opened = start.signals.throttle_pct - input.signals.throttle_pct;
        prop_assert!(opened <= step + NOISE, "{opened} from empty, one tick opens {step}");

        // From full: any number of calls at once, also when the declaration stops each of them half
        // way.
        let (mut input, mut credit) = (Input { credit: 1.0, ..start }, Credit::FULL);
        for call in 0..again {
            let now = input.signals.throttle_pct;
            let half_way = (now - step / 2.0).clamp(0.0, 1.0);
            input.target = if call % 2 == 0 { level(half_way) } else { Level::OPEN };
            input.credit = credit.at(0.0);
            let answer = law(&input);
            credit = credit.after(0.0, level(now), &answer);
            input.signals.throttle_pct = answer.level.fraction();
        }
        let opened = start.signals.throttle_pct - input.signals.throttle_pct;
        prop_assert!(opened <= step + NOISE, "{opened} at once, one tick opens {step}");
    }

    #[test]
    fn automation_alone_stays_below_u_max(start in any_input(), then in vec(any_input(), 1..10)) {
        let mut now = start.signals.throttle_pct.min(0.90);
        for input in then {
            let input = Input { target: Level::OPEN, ..with(&input, |s| s.throttle_pct = now) };
            let answer = law(&input);
            prop_assert!(answer.level.fraction() <= 0.90, "{answer:?}");
            prop_assert!(answer.automatic.fraction() <= 0.90, "{answer:?}");
            now = answer.level.fraction();
        }
    }

    #[test]
    fn rejects_non_finite_and_out_of_range(
        input in any_input(),
        field in 0_usize..10,
        bad in prop_oneof![
            2 => select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
            1 => -1e6..-1e-9,
            1 => Just(-f64::MIN_POSITIVE),
            1 => 1.000_001..1e6,
        ],
        killed: bool,
    ) {
        let mut broken = Input { killed, ..input };
        let mut waiting = input.waiting_rpm.unwrap_or(0.0);
        let s = &mut broken.signals;
        let (name, slot, least, most) = match field {
            0 => ("throttle_pct", &mut s.throttle_pct, 0.0, 1.0),
            1 => ("error_rate", &mut s.error_rate, 0.0, 1.0),
            2 => ("latency_p99_ms", &mut s.latency_p99_ms, 0.0, f64::MAX),
            3 => ("requests_per_minute", &mut s.requests_per_minute, 0.0, f64::MAX),
            4 => ("phi_static", &mut s.phi_static, f64::MIN, f64::MAX),
            5 => ("phi_dynamic", &mut s.phi_dynamic, f64::MIN, f64::MAX),
            6 => ("temperature", &mut s.temperature, 0.0, f64::MAX),
            7 => ("susceptibility", &mut s.susceptibility, 0.0, f64::MAX),
            8 => ("credit", &mut broken.credit, 0.0, 1.0),
            _ => ("waiting_rpm", &mut waiting, 0.0, f64::MAX),
        };
        *slot = bad;
        broken.waiting_rpm = Some(waiting);
        match Law::default().evaluate(&broken) {
            Ok(answer) => prop_assert!((least..=most).contains(&bad), "{name} {bad} gave {answer:?}"),
            Err(errors) => {
                prop_assert!(!(least..=most).contains(&bad), "{name} {bad} was rejected");
                prop_assert_eq!(errors.len(), 1);
                prop_assert_eq!(errors[0].field, name);
            }
        }
    }

    #[test]
    fn gap_is_symmetric(input in any_input(), a in 0.0..2.0, b in 0.0..2.0) {
        let mirrored = with(&input, |s| {
            (s.phi_static, s.phi_dynamic) = (s.phi_dynamic, s.phi_static);
        });
        prop_assert_eq!(law(&input), law(&mirrored));
        // And stress is monotone in |ps - pd|.
        let (low, high) = ordered(a, b);
        let [low, high] = [low, high].map(|gap| {
            stress(&with(&input, |s| (s.phi_static, s.phi_dynamic) = (0.0, -gap)))
        });
        prop_assert!(low <= high, "{low} > {high}");
    }
}

// ---- credit and the opening without a source

#[test]
fn credit_fills_in_a_tick_and_no_clock_that_jumps_fills_it() {
    let table = [
        (0.0, 0.0),
        (1.0, 0.2),
        (2.5, 0.5),
        (5.0, 1.0),
        (3600.0, 1.0),
        (-1.0, 0.0),
        (f64::NAN, 0.0),
        (f64::INFINITY, 0.0),
    ];
    for (elapsed_seconds, expected) in table {
        assert_eq!(
            Credit::EMPTY.at(elapsed_seconds),
            expected,
            "{elapsed_seconds} s"
        );
        assert_eq!(Credit::FULL.at(elapsed_seconds), 1.0, "{elapsed_seconds} s");
    }
}

#[test]
fn only_an_opening_spends_credit_and_only_what_it_used() {
    let busy = with(&guide(), |s| {
        (s.requests_per_minute, s.phi_dynamic) = (6000.0, 0.5);
    });
    let table = [
        ("a whole step", busy, 0.0),
        (
            "stopped half way by the declaration",
            Input {
                target: level(0.975),
                ..busy
            },
            0.5,
        ),
        ("held", with(&busy, |s| s.error_rate = 1.0), 1.0),
        (
            "closing",
            with(&busy, |s| (s.throttle_pct, s.error_rate) = (0.1, 1.0)),
            1.0,
        ),
        (
            "killed",
            Input {
                killed: true,
                ..busy
            },
            1.0,
        ),
    ];
    for (name, input, expected) in table {
        let before = level(input.signals.throttle_pct);
        let left = credit_after(input.credit, before, &law(&input));
        assert!((left - expected).abs() < NOISE, "{name}: {left}");
    }
}

/// What it is; current, declared, seconds, percent per second, offered rpm, expected.
const OPENINGS: &[(&str, f64, f64, f64, f64, f64, f64)] = &[
    (
        "a higher declaration holds at once",
        0.2,
        0.7,
        0.0,
        2.0,
        1e6,
        0.7,
    ),
    ("nothing is waiting", 1.0, 0.0, 5.0, 2.0, 59.9, 0.0),
    ("B is a crowd", 1.0, 0.0, 5.0, 2.0, 60.0, 0.9),
    ("the declaration ends it", 0.5, 0.45, 5.0, 2.0, 1e6, 0.45),
    ("no time, no opening", 1.0, 0.0, 0.0, 2.0, 1e6, 1.0),
    ("backwards", 0.5, 0.0, -5.0, 2.0, 1e6, 0.5),
    ("no number", 0.5, 0.0, f64::NAN, 2.0, 1e6, 0.5),
    (
        "for ever is no time",
        0.5,
        0.0,
        f64::INFINITY,
        2.0,
        1e6,
        0.5,
    ),
    (
        "a negative ramp closes nothing",
        0.5,
        0.0,
        5.0,
        -2.0,
        1e6,
        0.5,
    ),
    (
        "an unknown load is a crowd",
        1.0,
        0.0,
        5.0,
        2.0,
        f64::NAN,
        0.9,
    ),
];

#[test]
fn opening_without_a_source_table() {
    let law = Law::default();
    let opened = |waiting| open_without_source(Level::STOP, Level::OPEN, 5.0, 2.0, waiting, &law);
    assert_eq!(
        opened(Waiting::Unknown),
        level(0.9),
        "what nobody knows is a crowd"
    );
    assert_eq!(
        opened(Waiting::Unmeasured),
        Level::STOP,
        "what is being measured is waited for"
    );
    for &(name, current, declared, seconds, ramp, offered, expected) in OPENINGS {
        let offered = Waiting::AtMost(offered);
        let opened = open_without_source(
            level(current),
            level(declared),
            seconds,
            ramp,
            offered,
            &law,
        );
        assert!(
            (opened.fraction() - expected).abs() < NOISE,
            "{name}: {opened:?}"
        );
    }
}

fn any_waiting() -> impl Strategy<Value = Waiting> {
    prop_oneof![
        Just(Waiting::Unmeasured),
        Just(Waiting::Unknown),
        rpm().prop_map(Waiting::AtMost)
    ]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn opening_without_a_source_stays_between_declaration_and_level(
        current in fraction(), declared in fraction(), seconds in 0.0..100.0, ramp in 0.0..100.0, offered in any_waiting(),
    ) {
        let opened = open_without_source(level(current), level(declared), seconds, ramp, offered, &Law::default());
        prop_assert!(opened >= level(declared));
        prop_assert!(opened <= level(declared).safer(level(current)));
    }
}
