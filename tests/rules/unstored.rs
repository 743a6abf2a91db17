//! What counts of a measurement that could not be stored: it may close, and takes nothing away that
//! closes.

use std::time::Duration;

use echo_phoenix::decide::law::Law;
use echo_phoenix::decide::unstored::among;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::measurement::{LIFE, MOST, Measurement};
use echo_phoenix::domain::observation::Signals;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::law::{cases, rpm, signals};

/// When the measurement comes.
const NOW: Duration = Duration::from_secs(100);
/// Float noise allowed: a stress is a product here and there.
const NOISE: f64 = 1e-9;

fn said(source: &str, at: u64, error_rate: f64) -> Measurement {
    let signals = Signals {
        error_rate,
        requests_per_minute: 6000.0,
        ..Signals::calm(Level::OPEN)
    };
    Measurement {
        signals,
        at: Duration::from_secs(at),
        source: Some(source.to_owned()),
    }
}

/// Sources, seconds and failed shares of what is believed.
fn told(heard: &[Measurement]) -> Vec<(&str, u64, f64)> {
    let name = |one: &Measurement| one.source.clone().unwrap_or_default();
    let known = ["monitor", "other"];
    let all = heard.iter();
    all.map(|one| {
        let source = known
            .into_iter()
            .find(|known| *known == name(one))
            .unwrap_or("made up");
        (source, one.at.as_secs(), one.signals.error_rate)
    })
    .collect()
}

#[test]
fn what_is_not_stored_softens_no_alarm() {
    let law = Law::default();
    let (alarm, hold, calm) = (0.2, 0.035, 0.0);
    for (heard, word, believed) in [
        // The first word of a source, in alarm and in the hold band.
        (
            vec![],
            said("monitor", 100, alarm),
            vec![("monitor", 100, alarm)],
        ),
        (
            vec![],
            said("monitor", 100, hold),
            vec![("monitor", 100, hold)],
        ),
        // What may open is not heard, whatever was.
        (vec![], said("monitor", 100, calm), vec![]),
        (
            vec![said("monitor", 95, alarm)],
            said("monitor", 100, calm),
            vec![("monitor", 95, alarm)],
        ),
        // Somebody says less under another's name: the alarm stands until it fades of itself.
        (
            vec![said("monitor", 95, alarm)],
            said("monitor", 100, hold),
            vec![("monitor", 95, alarm), ("monitor", 100, hold)],
        ),
        (
            vec![said("monitor", 84, alarm)],
            said("monitor", 100, hold),
            vec![("monitor", 100, hold)],
        ),
        // As much again, or more, takes the place of less.
        (
            vec![said("monitor", 95, alarm)],
            said("monitor", 100, alarm),
            vec![("monitor", 100, alarm)],
        ),
        (
            vec![said("monitor", 95, hold)],
            said("monitor", 100, alarm),
            vec![("monitor", 100, alarm)],
        ),
        (
            vec![said("other", 95, hold)],
            said("monitor", 100, alarm),
            vec![("other", 95, hold), ("monitor", 100, alarm)],
        ),
    ] {
        assert_eq!(
            told(&among(&law, &heard, &word)),
            believed,
            "{heard:?} {word:?}"
        );
    }
}

/// Whoever makes many names up pushes no alarm out, and an alarm finds room among them.
#[test]
fn an_alarm_has_room_among_any_number_of_names() {
    let law = Law::default();
    let mut heard = vec![said("monitor", 99, 0.2)];
    for name in 0..3 * MOST {
        heard = among(&law, &heard, &said(&name.to_string(), 100, 0.035));
    }
    assert_eq!((heard.len(), told(&heard)[0]), (MOST, ("monitor", 99, 0.2)));
    let heard = among(&law, &heard, &said("other", 100, 0.2));
    assert_eq!(heard.len(), MOST);
    assert!(
        told(&heard).contains(&("monitor", 99, 0.2)) && told(&heard).contains(&("other", 100, 0.2)),
        "{heard:?}"
    );
}

/// How far the worst of what is believed closes then, and whether any of it holds, where so much is
/// offered.
fn worst(law: &Law, heard: &[Measurement], now: Duration, offered: f64) -> (f64, bool) {
    let fresh = heard
        .iter()
        .filter(|one| one.is_fresh(now))
        .map(|one| Signals {
            requests_per_minute: one.signals.requests_per_minute.max(offered),
            ..one.signals
        });
    let fresh: Vec<_> = fresh.collect();
    let closing = fresh
        .iter()
        .map(|signals| law.closing(signals))
        .fold(0.0, f64::max);
    (closing, fresh.iter().any(|signals| !law.may_open(signals)))
}

/// Words that often differ by their errors or their rate alone, as those of one monitor do.
fn words() -> impl Strategy<Value = Vec<Measurement>> {
    let alike = (
        signals(),
        vec((signals(), 0..4_u8, 0..3_u8, 80..=100_u64), 1..6),
    );
    alike.prop_map(|(first, all)| {
        let all = all.into_iter().map(|(own, what, source, at)| {
            let signals = match what {
                0 => Signals {
                    error_rate: own.error_rate,
                    ..first
                },
                1 => Signals {
                    requests_per_minute: own.requests_per_minute,
                    ..first
                },
                2 => Signals {
                    error_rate: own.error_rate,
                    requests_per_minute: own.requests_per_minute,
                    ..first
                },
                _ => own,
            };
            Measurement {
                signals,
                at: Duration::from_secs(at),
                source: Some(source.to_string()),
            }
        });
        all.collect()
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn at_no_time_and_at_no_rate_less_closes_or_holds(heard in words(), offered in rpm(), later in 0..20_u64) {
        let law = Law::default();
        let (word, heard) = heard.split_last().map(|(word, heard)| (Measurement { at: NOW, ..word.clone() }, heard)).unwrap();
        let then = NOW + Duration::from_secs(later);
        let (before, after) = (worst(&law, heard, then, offered), worst(&law, &among(&law, heard, &word), then, offered));
        prop_assert!(after.0 >= before.0 - NOISE && after.1 >= before.1, "{before:?} {after:?}");
        // And what closes counts, for as long as anything does.
        let alone = worst(&law, std::slice::from_ref(&word), then, 0.0);
        let closes = !law.may_open(&word.signals) && Duration::from_secs(later) <= LIFE;
        let now = worst(&law, &among(&law, heard, &word), then, 0.0);
        prop_assert!(!closes || (now.0 >= alone.0 && now.1), "{alone:?} {now:?}");
    }
}
