//! The verdict: who is refused, how exactly, and what outranks what (gate.md); and the rounding of
//! a level.

use std::sync::Barrier;
use std::thread;

use echo_phoenix::decide::law::Binding;
use echo_phoenix::decide::verdict::{
    Accumulator, Reason, Requester, Rule, Salt, Verdict, point, verdict,
};
use echo_phoenix::domain::level::Level;
use proptest::prelude::*;
use strum::VariantArray as _;

const WHOLE: u64 = 1 << 32;

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: 10_000,
        // A failure is turned into an example by hand; nothing is written next to the sources.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A share refused: anywhere, at the ends, and a hair from them.
fn share() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..=1.0,
        1 => prop::sample::select(vec![0.0, 0.1, 1.0 / 3.0, 0.5, 0.9, 1.0]),
        1 => 0.0..1e-6,
        1 => (0.0..1e-6).prop_map(|x: f64| 1.0 - x),
    ]
}

fn level(fraction: f64) -> Level {
    let Ok(level) = Level::new(fraction) else {
        unreachable!("{fraction} comes from a generator of levels")
    };
    level
}

fn rule(fraction: f64) -> Rule {
    Rule {
        refuse: level(fraction).refusal_q32(),
        killed: false,
        binding: Reason::Target,
        generation: 7,
    }
}

// ---- keyed callers

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn raising_the_level_only_removes_keyed_callers(x: u32, a in share(), b in share()) {
        let [lower, higher] = [a.min(b), a.max(b)]
            .map(|u| verdict(&rule(u), false, Requester::Keyed(x)).admitted);
        prop_assert!(lower || !higher, "{x} is refused at the lower level and admitted at the higher");
    }

    #[test]
    fn keyed_callers_at_the_ends(x: u32) {
        for x in [x, 0, u32::MAX] {
            prop_assert!(verdict(&rule(0.0), false, Requester::Keyed(x)).admitted);
            prop_assert!(!verdict(&rule(1.0), false, Requester::Keyed(x)).admitted);
        }
    }

    #[test]
    fn a_point_depends_on_every_part(hour in 0_i64..1_000_000, route in "a{1,20}", key in prop::collection::vec(any::<u8>(), 1..40)) {
        let salt = Salt::hourly(hour * 3600);
        let here = point(&salt, &route, &key);
        prop_assert_eq!(here, point(&Salt::hourly(hour * 3600 + 3599), &route, &key));
        // They collide by chance once in 2^32.
        let moved = [
            point(&Salt::hourly((hour + 1) * 3600), &route, &key),
            point(&salt, &format!("{route}a"), &key),
            point(&salt, &route, &[&key[..], &b"a"[..]].concat()),
        ];
        prop_assert!(moved.iter().all(|there| *there != here));
    }
}

fn refused_at(hour: i64, fraction: f64) -> Vec<u32> {
    let salt = Salt::hourly(hour * 3600 + 17);
    let refused = |n: &u32| {
        let x = point(&salt, "pay", format!("tenant-{n}").as_bytes());
        !verdict(&rule(fraction), false, Requester::Keyed(x)).admitted
    };
    (0..10_000).filter(refused).collect()
}

#[test]
fn keyed_callers_are_refused_in_proportion() {
    for fraction in [0.01, 0.1, 0.5, 0.9] {
        let refused = refused_at(480_000, fraction).len() as f64;
        // Five standard deviations of 10,000 fair draws; the keys are fixed, so it never flickers.
        let allowed = 5.0 * (fraction * (1.0 - fraction) * 10_000.0f64).sqrt();
        assert!(
            (refused - fraction * 10_000.0).abs() < allowed,
            "{fraction}: {refused}"
        );
    }
}

#[test]
fn the_salt_changes_who_is_refused() {
    let now = refused_at(480_000, 0.5);
    assert_eq!(
        now,
        refused_at(480_000, 0.5),
        "the same hour refuses the same callers"
    );
    let later = refused_at(480_001, 0.5);
    let both = now
        .iter()
        .filter(|n| later.binary_search(n).is_ok())
        .count();
    // Independent halves share a quarter of 10,000.
    assert!(
        (2200..=2800).contains(&both),
        "{both} refused in both hours"
    );
    // After a day nobody has been refused throughout (2^-24 of 10,000 callers).
    let throughout = (1..24).fold(now, |left, hour| {
        let refused = refused_at(480_000 + hour, 0.5);
        left.into_iter()
            .filter(|n| refused.binary_search(n).is_ok())
            .collect()
    });
    assert_eq!(throughout, Vec::<u32>::new());
}

#[test]
fn hours_before_1970_are_hours_too() {
    assert_eq!(Salt::hourly(-1), Salt::hourly(-3600));
    assert_ne!(Salt::hourly(-1), Salt::hourly(0));
    assert_eq!(Salt::hourly(0), Salt::hourly(3599));
}

#[test]
fn a_route_and_a_key_cannot_be_cut_differently() {
    let salt = Salt::hourly(0);
    assert_ne!(point(&salt, "pay", b"alice"), point(&salt, "paya", b"lice"));
}

/// Nothing but these bytes makes gates of different builds and machines refuse the same callers.
#[test]
fn points_are_the_same_in_every_build() {
    let at = |seconds, route, key: &[u8]| point(&Salt::hourly(seconds), route, key);
    assert_eq!(
        [
            at(0, "", b""),
            at(1_700_000_000, "pay", b"tenant-1"),
            at(-1, "pay", b"tenant-1")
        ],
        POINTS
    );
}

/// From an independent implementation of SipHash-1-3 over `route 0xff key`, keys (hour,
/// "echo-phx"), upper 32 bits.
const POINTS: [u32; 3] = [2_155_703_410, 2_432_179_426, 881_924_831];

#[test]
fn points_of_a_secret_are_the_same_in_every_build() {
    let at =
        |secret: &[u8], seconds, route, key: &[u8]| point(&Salt::of(secret, seconds), route, key);
    let secret = b"made-up-secret";
    let points = [
        at(b"", 0, "", b""),
        at(secret, 1_700_000_000, "pay", b"tenant-1"),
        at(secret, -1, "pay", b"tenant-1"),
    ];
    // From independent implementations: HMAC-SHA256 of the hour in eight bytes, its first sixteen
    // bytes as the two keys.
    assert_eq!(points, [2_633_225_594, 4_032_716_628, 940_110_475]);
}

/// Whoever reads the code, and not the secret, computes nobody's fate.
#[test]
fn a_secret_decides_who_is_refused_and_the_hour_alone_tells_nothing() {
    let refused = |salt: &Salt| -> Vec<u32> {
        let of = |n: &u32| point(salt, "pay", format!("tenant-{n}").as_bytes()) < 1 << 31;
        (0..10_000).filter(of).collect()
    };
    let seconds = 480_000 * 3600;
    let known = refused(&Salt::hourly(seconds));
    let [ours, again, others, next] = [
        (&b"s1"[..], seconds),
        (b"s1", seconds + 3599),
        (b"s2", seconds),
        (b"s1", seconds + 3600),
    ]
    .map(|(secret, seconds)| refused(&Salt::of(secret, seconds)));
    assert_eq!(
        ours, again,
        "the same secret and hour refuse the same callers"
    );
    for (what, other) in [
        ("the hour alone", known),
        ("another secret", others),
        ("the next hour", next),
    ] {
        let both = ours
            .iter()
            .filter(|n| other.binary_search(n).is_ok())
            .count();
        assert!(
            (2_200..=2_800).contains(&both),
            "{what}: {both} of 10,000 in both, independent halves share 2,500"
        );
    }
    assert!(
        !format!("{:?}", Salt::of(b"s1", 0)).contains(char::is_numeric),
        "a salt is not told"
    );
}

// ---- callers without a key

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_accumulator_is_within_one_of_its_share_after_every_prefix(u in share(), n in 1_u32..2_000) {
        let (accumulator, refuse) = (Accumulator::default(), level(u).refusal_q32());
        let mut admitted = 0_u32;
        for n in 1..=n {
            admitted += u32::from(accumulator.admit(refuse));
            let due = (1.0 - u) * f64::from(n);
            prop_assert!((f64::from(admitted) - due).abs() < 1.0, "{admitted} of {n}, {due} due");
        }
    }

    #[test]
    fn a_level_that_changes_on_the_way_keeps_the_bound(levels in prop::collection::vec((share(), 1_u32..50), 1..20)) {
        let accumulator = Accumulator::default();
        let (mut admitted, mut due) = (0_u32, 0.0);
        for (u, n) in levels {
            for _ in 0..n {
                admitted += u32::from(accumulator.admit(level(u).refusal_q32()));
                due += 1.0 - u;
                prop_assert!((f64::from(admitted) - due).abs() < 1.0, "{admitted}, {due} due");
            }
        }
    }
}

#[test]
fn the_accumulator_is_exact_at_the_ends() {
    let accumulator = Accumulator::default();
    // A state left over from another level must not leak into the ends.
    for between in [1, WHOLE / 3, WHOLE / 2, WHOLE - 1] {
        accumulator.admit(between);
        assert!((0..1000).all(|_| accumulator.admit(0)));
        assert!(!(0..1000).any(|_| accumulator.admit(WHOLE)));
        assert!(!(0..1000).any(|_| accumulator.admit(u64::MAX)));
    }
}

#[test]
fn the_accumulator_holds_its_bound_over_a_million_requests() {
    for u in [0.001, 0.1, 1.0 / 3.0, 0.5, 0.999, 0.999_999] {
        let (accumulator, refuse) = (Accumulator::default(), level(u).refusal_q32());
        let mut admitted = 0_u32;
        for n in 1..=1_000_000_u32 {
            admitted += u32::from(accumulator.admit(refuse));
            let due = (1.0 - u) * f64::from(n);
            assert!(
                (f64::from(admitted) - due).abs() < 1.0,
                "{u}: {admitted} of {n}"
            );
        }
    }
}

#[test]
fn the_accumulator_holds_its_total_from_four_threads() {
    // Long enough that threads really overlap: shorter runs do not notice an addition that is lost.
    const EACH: u32 = 500_000;
    for u in [0.001, 0.1, 1.0 / 3.0, 0.5, 0.999] {
        let (accumulator, refuse) = (Accumulator::default(), level(u).refusal_q32());
        let start = Barrier::new(4);
        let count = || {
            start.wait();
            (0..EACH).filter(|_| accumulator.admit(refuse)).count()
        };
        let admitted: usize = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(count));
            threads.into_iter().filter_map(|t| t.join().ok()).sum()
        });
        let due = (1.0 - u) * 4.0 * f64::from(EACH);
        assert!(
            (admitted as f64 - due).abs() < 1.0,
            "{u}: {admitted}, {due} due"
        );
    }
}

// ---- the order of rules

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn kill_dominates_the_throttle(u in share(), x: u32, generation: i64) {
        let rule = Rule { killed: true, generation, ..rule(u) };
        let accumulator = Accumulator::default();
        let expected = Verdict { admitted: false, reason: Reason::Kill, generation };
        prop_assert_eq!(verdict(&rule, false, Requester::Keyed(x)), expected);
        prop_assert_eq!(verdict(&rule, false, Requester::Unkeyed(&accumulator)), expected);
    }

    #[test]
    fn the_allow_list_outranks_kill_and_throttle(u in share(), killed: bool, x: u32, generation: i64) {
        let rule = Rule { killed, generation, ..rule(u) };
        let accumulator = Accumulator::default();
        let expected = Verdict { admitted: true, reason: Reason::AllowList, generation };
        prop_assert_eq!(verdict(&rule, true, Requester::Keyed(x)), expected);
        prop_assert_eq!(verdict(&rule, true, Requester::Unkeyed(&accumulator)), expected);
    }

    #[test]
    fn only_a_denial_bears_the_binding(u in share(), x: u32) {
        for binding in [Binding::None, Binding::Target, Binding::Errors, Binding::Latency, Binding::Order] {
            let rule = Rule { binding: binding.into(), ..rule(u) };
            let verdict = verdict(&rule, false, Requester::Keyed(x));
            let expected = if verdict.admitted { Reason::None } else { binding.into() };
            prop_assert_eq!(verdict.reason, expected);
            prop_assert_eq!(verdict.generation, 7);
        }
    }
}

#[test]
fn a_request_that_outranks_the_throttle_leaves_the_accumulator_alone() {
    let (touched, alone) = (Accumulator::default(), Accumulator::default());
    let third = rule(1.0 / 3.0);
    for n in 0..1000 {
        let killed = Rule {
            killed: true,
            ..third
        };
        let _ = verdict(&killed, n % 2 == 0, Requester::Unkeyed(&touched));
        let [a, b] = [&touched, &alone].map(|a| verdict(&third, false, Requester::Unkeyed(a)));
        assert_eq!(a, b, "request {n}");
    }
}

#[test]
fn reasons_are_called_as_the_gate_says() {
    let names = [
        Reason::None,
        Reason::Target,
        Reason::Errors,
        Reason::Latency,
        Reason::Order,
        Reason::Kill,
        Reason::AllowList,
        Reason::Unknown,
        Reason::Stale,
    ]
    .map(Reason::as_str)
    .join(", ");
    assert_eq!(
        names,
        "none, target, errors, latency, order, kill, allow_list, unknown, stale"
    );
    assert_eq!(
        Reason::VARIANTS
            .iter()
            .map(|reason| reason.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        names,
        "each is listed once, in this order"
    );
}

#[test]
fn a_reason_is_read_back_by_its_word_alone() {
    for reason in Reason::VARIANTS.iter().copied() {
        assert_eq!(reason.as_str().parse(), Ok(reason));
    }
    for word in ["", "Kill", "kill ", "killed", "allow-list"] {
        assert!(word.parse::<Reason>().is_err(), "`{word}`");
    }
}

#[test]
fn a_binding_and_its_reason_have_one_name() {
    for binding in [
        Binding::None,
        Binding::Target,
        Binding::Errors,
        Binding::Latency,
        Binding::Order,
    ] {
        assert_eq!(binding.as_str(), Reason::from(binding).as_str());
    }
}

// ---- levels

#[test]
fn level_rounding_table() {
    // fraction, millionths, percent, q32
    let table = [
        (0.0, 0, 0, 0),
        (-0.0, 0, 0, 0),
        (1e-12, 0, 0, 0),
        (1e-7, 1, 1, 429),
        (0.01, 10_000, 1, 42_949_673),
        (0.29, 290_000, 29, 1_245_540_516),
        (0.570, 570_000, 57, 2_448_131_359),
        (0.570_000_1, 570_001, 58, 2_448_131_788),
        (0.57 + 1e-10, 570_000, 57, 2_448_131_359),
        (1.0 / 3.0, 333_334, 34, 1_431_655_765),
        (0.5, 500_000, 50, WHOLE / 2),
        (0.986_7, 986_700, 99, 4_237_844_231),
        (0.999_999_9, 1_000_000, 100, 4_294_966_867),
        (1.0 - 1e-12, 1_000_000, 100, WHOLE),
        (1.0, 1_000_000, 100, WHOLE),
    ];
    for (fraction, millionths, percent, q32) in table {
        let level = level(fraction);
        assert_eq!(level.millionths(), millionths, "millionths of {fraction}");
        assert_eq!(level.percent_ceil(), percent, "percent of {fraction}");
        assert_eq!(level.refusal_q32(), q32, "q of {fraction}");
    }
}

#[test]
fn whole_parts_come_back_as_they_went() {
    for parts in 0..=1_000_000 {
        assert_eq!(
            Level::from_millionths(parts).map(Level::millionths),
            Ok(parts)
        );
    }
    for percent in 0..=100 {
        assert_eq!(
            Level::from_percent(percent).map(Level::percent_ceil),
            Ok(percent)
        );
        assert_eq!(
            Level::from_percent(percent),
            Level::from_millionths(percent * 10_000)
        );
    }
}

#[test]
fn a_level_is_said_to_a_tenth_and_is_neither_end_that_it_is_not() {
    for (fraction, words) in [
        (0.0, "0 %"),
        (1e-9, "0.1 %"),
        (0.0004, "0.1 %"),
        (0.25, "25 %"),
        (0.125, "12.5 %"),
        (1.0 / 3.0, "33.3 %"),
        (0.999, "99.9 %"),
        (0.9996, "99.9 %"),
        (1.0 - 1e-12, "99.9 %"),
        (1.0, "100 %"),
    ] {
        assert_eq!(level(fraction).percent_words(), words, "{fraction}");
    }
}

#[test]
fn a_level_out_of_range_is_refused_and_says_so() {
    for bad in [
        -1e-9,
        1.0 + 1e-9,
        -1.0,
        2.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        assert!(Level::new(bad).is_err(), "{bad}");
    }
    for bad in [-1, 101, i32::MIN, i32::MAX] {
        assert!(Level::from_percent(bad).is_err(), "{bad} %");
    }
    for bad in [-1, 1_000_001, i32::MIN, i32::MAX] {
        assert!(Level::from_millionths(bad).is_err(), "{bad} millionths");
    }
    let texts = [
        Level::new(1.5).err().map(|e| e.to_string()),
        Level::from_percent(101).err().map(|e| e.to_string()),
    ];
    let expected = [
        "1.5 is out of range, expected a fraction from 0 to 1",
        "101 is out of range, expected a percentage from 0 to 100",
    ];
    assert_eq!(texts, expected.map(|text| Some(text.to_owned())));
}

#[test]
fn a_level_that_is_not_known_is_a_full_stop() {
    assert_eq!(Level::default(), Level::STOP);
    assert_eq!(
        [Level::OPEN, level(0.25), Level::STOP].map(|level| level.to_string()),
        ["0", "0.25", "1"]
    );
}

#[test]
fn a_level_on_the_wire_is_a_number_in_range() {
    let text = |level: Level| serde_json::to_string(&level).unwrap_or_default();
    assert_eq!(text(level(0.25)), "0.25");
    assert_eq!(text(level(-0.0)), "0.0");
    assert_eq!(
        serde_json::from_str::<Level>("0.25").ok(),
        Some(level(0.25))
    );
    assert_eq!(serde_json::from_str::<Level>("1").ok(), Some(Level::STOP));
    for bad in ["1.01", "-0.1", "null", "\"0.5\""] {
        assert!(serde_json::from_str::<Level>(bad).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rounding_a_level_never_opens(u in share()) {
        let level = level(u);
        prop_assert!(f64::from(level.millionths()) / 1e6 >= u - 1.1e-9);
        prop_assert!(f64::from(level.percent_ceil()) / 100.0 >= u - 1.1e-9);
        prop_assert!(f64::from(level.millionths()) / 1e6 < u + 1e-6);
        prop_assert!(f64::from(level.percent_ceil()) / 100.0 < u + 1e-2);
    }

    #[test]
    fn levels_order_like_their_fractions(a in share(), b in share()) {
        let (x, y) = (level(a), level(b));
        prop_assert_eq!(x.cmp(&y), a.total_cmp(&b));
        prop_assert_eq!(x.safer(y).fraction(), a.max(b));
        prop_assert_eq!(x == y, a == b);
    }
}
