//! What is handed out is what would be worked out anew, whatever happened before.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::domain::audit::{AuditAction, AuditDraft, CommandResponse};
use crate::domain::hold::{HoldEffect, Scope, Source};
use crate::domain::observation::Signals;

const THROTTLES: [&str; 3] = ["a", "b", "c"];

/// What is declared, held or told.
#[derive(Clone, Debug)]
enum Does {
    Puts(usize, u32, Owner, i64),
    Foresees(usize, u32),
    Forgets,
    Changes(usize, u32),
    Hears(usize, u32),
    Tightens(usize, u32),
    Held(usize, u32, u32),
    Arrives(usize, u32),
    Stuck(usize),
    Adopts(usize, u32, i64),
    AdoptsHold(usize, Option<usize>),
    Takes(usize, Option<usize>),
    Releases(Vec<usize>),
}

fn does() -> impl Strategy<Value = Does> {
    let (one, hold, to) = (0..THROTTLES.len(), 0..4_usize, 0..5_u32);
    let on = prop::option::of(one.clone());
    let owner = prop_oneof![Just(Owner::Rest), Just(Owner::Manifest)];
    prop_oneof![
        2 => (one.clone(), to.clone(), owner, 0..3_i64).prop_map(|(name, to, owner, at)| Does::Puts(name, to, owner, at)),
        1 => (one.clone(), to.clone()).prop_map(|(name, to)| Does::Foresees(name, to)),
        1 => Just(Does::Forgets),
        1 => (one.clone(), to.clone()).prop_map(|(name, to)| Does::Changes(name, to)),
        1 => (one.clone(), to.clone()).prop_map(|(name, to)| Does::Hears(name, to)),
        2 => (one.clone(), to.clone()).prop_map(|(name, to)| Does::Tightens(name, to)),
        1 => (one.clone(), to.clone(), to.clone()).prop_map(|(name, to, above)| Does::Held(name, to, above)),
        1 => (one.clone(), to.clone()).prop_map(|(name, to)| Does::Arrives(name, to)),
        1 => one.clone().prop_map(Does::Stuck),
        1 => (one, to, 0..4_i64).prop_map(|(name, to, at)| Does::Adopts(name, to, at)),
        2 => (hold.clone(), on.clone()).prop_map(|(hold, on)| Does::AdoptsHold(hold, on)),
        2 => (hold.clone(), on).prop_map(|(hold, on)| Does::Takes(hold, on)),
        1 => prop::collection::vec(hold, 0..3).prop_map(Does::Releases),
    ]
}

fn name(number: usize) -> ThrottleName {
    ThrottleName::try_from(THROTTLES[number].to_owned()).unwrap()
}

fn level(quarters: u32) -> Level {
    Level::new(f64::from(quarters) / 4.0).unwrap()
}

fn measured(quarters: u32) -> Measurement {
    Measurement {
        signals: Signals::calm(level(quarters)),
        at: Duration::ZERO,
        source: None,
    }
}

fn held(number: usize, on: Option<usize>) -> ScopedHold {
    let text = || "test".to_owned();
    ScopedHold {
        scope: on.map_or(Scope::All, |on| Scope::One(name(on))),
        hold: Hold {
            epoch: Epoch(number.to_string()),
            bite: HoldEffect::Kill,
            source: Source::Rest,
            reason: text(),
            operator: text(),
            taken_at: Timestamp::UNIX_EPOCH,
        },
    }
}

fn record() -> CommandRecord {
    let at = Timestamp::UNIX_EPOCH;
    CommandRecord {
        once: "once".to_owned(),
        audit: AuditDraft::new(at, "o", AuditAction::Kill),
        answer: CommandResponse::new(200, Map::new(), at),
    }
}

fn put(number: usize, to: u32, owner: Owner, generation: i64) -> Declared {
    Declared {
        owner,
        generation,
        ..Declared::bare(name(number), level(to))
    }
}

fn happens(state: &mut DeclaredState, what: Does) {
    match what {
        Does::Puts(one, to, owner, generation) => state.put(put(one, to, owner, generation)),
        Does::Foresees(one, to) => state.foresee(&name(one), level(to)),
        Does::Forgets => drop(state.forget_foreseen()),
        Does::Changes(one, to) => state.change(&name(one), |one| one.stored = level(to)),
        Does::Hears(one, to) => state.change(&name(one), |one| hear(one, measured(to))),
        Does::Tightens(one, to) => {
            state.tighten(&name(one), level(to), Some(&measured(to)));
        }
        Does::Held(one, to, above) => state.held(&name(one), level(to), level(above)),
        Does::Arrives(one, to) => {
            state.arrived(&name(one), level(to));
        }
        Does::Stuck(one) => state.stuck(&name(one)),
        Does::Adopts(one, to, generation) => {
            state.adopt(&[row(&put(one, to, Owner::Rest, generation))]);
        }
        Does::AdoptsHold(hold, on) => state.adopt_holds(&[held(hold, on)]),
        Does::Takes(hold, on) => {
            state.take(&held(hold, on), &record());
        }
        Does::Releases(holds) => {
            let epochs: Vec<_> = holds.iter().map(|one| Epoch(one.to_string())).collect();
            state.release(&epochs);
        }
    }
}

proptest! {
    #[test]
    fn what_is_handed_out_is_what_is_declared(all in prop::collection::vec(does(), 1..40)) {
        let mut state = DeclaredState::new(Stored::default(), true);
        for what in all {
            happens(&mut state, what);
            prop_assert_eq!(&state.snapshot, &state.rebuilt());
        }
    }
}
