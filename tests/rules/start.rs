//! What a start adds up to: nothing that any of the three knows is lost, and what a record ended
//! stays ended.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use echo_phoenix::domain::audit::{
    AuditAction, AuditDraft, CommandRecord, CommandResponse, ThrottleRow,
};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::offered::Offered;
use echo_phoenix::domain::throttle::{Owner, ThrottleName};
use echo_phoenix::ports::{Effect, JournalEntry, Stored};
use echo_phoenix::store::{
    Accounts, JournalFound, LastFound, LastState, LedgerSnapshot, Start, StartInputs, start,
};
use jiff::Timestamp;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn kill(epoch: &str) -> ScopedHold {
    let hold = Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "fraud".to_owned(),
        operator: "ann".to_owned(),
        taken_at: NOW,
    };
    ScopedHold {
        scope: Scope::All,
        hold,
    }
}

fn entry(epoch: &str) -> JournalEntry {
    let answer = CommandResponse::new(200, serde_json::Map::new(), NOW);
    let record = CommandRecord {
        once: epoch.to_owned(),
        audit: AuditDraft::new(NOW, "key", AuditAction::Kill),
        answer,
    };
    JournalEntry {
        effect: Effect::Hold(Box::new(kill(epoch))),
        record,
    }
}

fn row(generation: i64, declared: f64, effective: f64) -> ThrottleRow {
    let level = |fraction| Level::new(fraction).unwrap();
    let (name, owner) = (ThrottleName::default_throttle(), Owner::Rest);
    ThrottleRow {
        name,
        declared: level(declared),
        effective: level(effective),
        generation,
        owner,
        spec: None,
        offered: None,
    }
}

fn ledger(live: &[&str], ended: &[&str], rows: Vec<ThrottleRow>) -> LedgerSnapshot {
    let holds: Vec<_> = live.iter().map(|epoch| kill(epoch)).collect();
    let ended = ended
        .iter()
        .map(|epoch| Epoch((*epoch).to_owned()))
        .collect();
    let accounts = Accounts {
        live: holds.clone(),
        ended,
        ..Accounts::default()
    };
    LedgerSnapshot {
        stored: Stored {
            throttles: rows,
            holds,
        },
        accounts,
        journal: Some(7),
    }
}

fn last(holds: &[&str], rows: Vec<ThrottleRow>) -> LastFound {
    let stored = Stored {
        throttles: rows,
        holds: holds.iter().map(|epoch| kill(epoch)).collect(),
    };
    LastFound {
        state: Some(LastState {
            stored,
            journal: Some(7),
        }),
        fault: None,
    }
}

fn added_up(ledger: Option<&LedgerSnapshot>, last: &LastFound, pending: &[JournalEntry]) -> Start {
    whole(&JournalFound::Whole, 7, true, ledger, last, pending)
}

fn whole(
    journal: &JournalFound,
    journal_ever: u64,
    ledger_was_there: bool,
    ledger: Option<&LedgerSnapshot>,
    last: &LastFound,
    pending: &[JournalEntry],
) -> Start {
    let (journal_settled, lacking) = (journal_ever, 0);
    let known = StartInputs {
        ledger_was_there,
        ledger,
        journal,
        journal_ever,
        journal_settled,
        lacking,
        pending,
        last,
    };
    start(&known, NOW, || "new".to_owned())
}

/// Epochs in force, and which of them nobody accounts for.
fn held(start: &Start) -> Vec<(&str, bool)> {
    let one = |held: &'_ ScopedHold| held.hold.source == Source::Unaccounted;
    start
        .stored
        .holds
        .iter()
        .map(|held| (held.hold.epoch.0.as_str(), one(held)))
        .collect()
}

#[test]
fn a_hold_of_the_last_state_stays_unless_a_record_ended_it() {
    let ledger = ledger(&["a"], &["b"], Vec::new());
    let start = added_up(
        Some(&ledger),
        &last(&["a", "b", "c", "d"], Vec::new()),
        &[entry("d")],
    );
    assert_eq!(
        held(&start),
        [("a", false), ("c", true)],
        "d comes back by its own record, out of the journal"
    );
    assert_eq!(start.lost, Vec::<String>::new());
    let away = added_up(None, &last(&["a", "b"], Vec::new()), &[]);
    assert_eq!(
        held(&away),
        [("a", false), ("b", false)],
        "while nobody can read the ledger, all of it holds"
    );
}

#[test]
fn a_kill_that_a_file_declared_before_the_ledger_had_it_is_still_the_file_s_and_is_told() {
    let mut last = last(&["shop@6"], Vec::new());
    last.state.as_mut().unwrap().stored.holds[0].hold.source = Source::Manifest;
    let start = added_up(Some(&ledger(&[], &[], Vec::new())), &last, &[]);
    assert_eq!(start.stored.holds[0].hold.source, Source::Manifest);
    assert!(start.told[0].starts_with("hold shop@6: "), "{start:?}");
    let ended = added_up(Some(&ledger(&[], &["shop@6"], Vec::new())), &last, &[]);
    assert_eq!(held(&ended), []);
}

#[test]
fn what_log_and_table_do_not_agree_on_is_nobody_s() {
    let mut ledger = ledger(&["a", "b"], &[], Vec::new());
    ledger.accounts.unaccounted = BTreeSet::from([Epoch("b".to_owned())]);
    assert_eq!(
        held(&added_up(Some(&ledger), &LastFound::default(), &[])),
        [("a", false), ("b", true)]
    );
    ledger.accounts.unsure = true;
    let start = added_up(Some(&ledger), &LastFound::default(), &[]);
    assert_eq!(held(&start), [("a", false), ("b", true), ("new", true)]);
    assert_eq!(start.stored.holds[2].scope, Scope::All);
}

/// What a folder may hold.
struct Left {
    fresh: LedgerSnapshot,
    ledger: LedgerSnapshot,
    none: LastFound,
    known: LastFound,
    broken: JournalFound,
}

impl Left {
    fn new() -> Self {
        Self {
            fresh: LedgerSnapshot::default(),
            ledger: ledger(&[], &[], Vec::new()),
            none: LastFound::default(),
            known: last(&[], Vec::new()),
            broken: JournalFound::Damaged("x".to_owned()),
        }
    }
}

/// What it is, the journal, how far it ever was, whether the ledger was there, what the ledger and
/// the last state hold, and whether that shuts everything.
type Case<'a> = (
    &'static str,
    &'a JournalFound,
    u64,
    bool,
    &'a LedgerSnapshot,
    &'a LastFound,
    bool,
);

/// A journal that is whole, damaged or gone.
fn journals<'a>(left: &'a Left) -> Vec<Case<'a>> {
    let Left {
        fresh,
        ledger,
        none,
        known,
        broken,
    } = left;
    vec![
        (
            "a new folder",
            &JournalFound::Missing,
            0,
            false,
            fresh,
            none,
            false,
        ),
        (
            "all as it was",
            &JournalFound::Whole,
            7,
            true,
            ledger,
            known,
            false,
        ),
        ("damaged", broken, 7, true, ledger, known, true),
        (
            "damaged in a new folder",
            broken,
            0,
            false,
            fresh,
            none,
            true,
        ),
        ("gone", &JournalFound::Missing, 0, true, ledger, known, true),
        (
            "a restored ledger alone",
            &JournalFound::Missing,
            0,
            true,
            ledger,
            none,
            true,
        ),
    ]
}

/// A journal older than what is known of it.
fn older_journals<'a>(left: &'a Left) -> Vec<Case<'a>> {
    let Left {
        fresh,
        ledger,
        none,
        known,
        ..
    } = left;
    vec![
        (
            "an older journal",
            &JournalFound::Whole,
            6,
            true,
            ledger,
            known,
            true,
        ),
        (
            "an older journal, by the ledger alone",
            &JournalFound::Whole,
            6,
            true,
            ledger,
            none,
            true,
        ),
        (
            "a journal of the release before, again",
            &JournalFound::Headless,
            0,
            true,
            ledger,
            known,
            true,
        ),
        (
            "a journal of the release before",
            &JournalFound::Headless,
            0,
            true,
            fresh,
            none,
            false,
        ),
    ]
}

/// A ledger that is gone.
fn without_ledger<'a>(left: &'a Left) -> Vec<Case<'a>> {
    let Left {
        fresh, none, known, ..
    } = left;
    vec![
        (
            "no ledger, and a last state",
            &JournalFound::Whole,
            7,
            false,
            fresh,
            known,
            true,
        ),
        (
            "no ledger, and no last state",
            &JournalFound::Whole,
            7,
            false,
            fresh,
            none,
            true,
        ),
        (
            "no ledger, and an old journal alone",
            &JournalFound::Headless,
            0,
            false,
            fresh,
            none,
            true,
        ),
    ]
}

#[test]
fn what_is_missing_of_a_record_shuts_everything_and_a_new_folder_is_new() {
    let left = Left::new();
    let cases = [
        journals(&left),
        older_journals(&left),
        without_ledger(&left),
    ]
    .concat();
    for (what, journal, ever, there, ledger, last, shut) in cases {
        let start = whole(journal, ever, there, Some(ledger), last, &[]);
        assert_eq!(
            (
                !start.lost.is_empty(),
                held(&start).contains(&("new", true))
            ),
            (shut, shut),
            "{what}: {start:?}"
        );
    }
    let mut unmended = last(&[], Vec::new());
    unmended.state.as_mut().unwrap().journal = Some(0);
    let start = whole(
        &JournalFound::Headless,
        0,
        true,
        Some(&left.fresh),
        &unmended,
        &[],
    );
    assert_eq!(
        start.lost,
        Vec::<String>::new(),
        "a journal of the release before that could not be rewritten yet"
    );
    let damaged = LastFound {
        state: None,
        fault: Some("x".to_owned()),
    };
    let start = added_up(Some(&left.ledger), &damaged, &[]);
    assert_eq!(
        (start.lost.len(), start.told.len()),
        (0, 1),
        "a last state that is damaged alone is told"
    );
}

#[test]
fn a_ledger_that_lacks_what_the_journal_settled_is_an_older_one() {
    let (ledger, whole, none) = (
        ledger(&[], &[], Vec::new()),
        last(&[], Vec::new()),
        LastFound::default(),
    );
    let torn = LastFound {
        fault: Some("x".to_owned()),
        ..whole.clone()
    };
    let mut behind = whole.clone();
    behind.state.as_mut().unwrap().journal = Some(6);
    // Where the last state is whole and knows of all, nothing that holds can be missing: it is
    // told.
    for (what, last, shut) in [
        ("whole", &whole, false),
        ("none", &none, true),
        ("torn", &torn, true),
        ("behind", &behind, true),
    ] {
        let known = StartInputs {
            ledger_was_there: true,
            ledger: Some(&ledger),
            journal: &JournalFound::Whole,
            journal_ever: 7,
            journal_settled: 7,
            lacking: 1,
            pending: &[],
            last,
        };
        let found = start(&known, NOW, || "new".to_owned());
        assert_eq!(!found.lost.is_empty(), shut, "{what}: {found:?}");
        assert_eq!(
            found.told.iter().any(|told| told.contains("an older one")),
            !shut,
            "{what}: {found:?}"
        );
        // One that cannot be read now is not known to have them: the same last states decide.
        let found = start(
            &StartInputs {
                ledger: None,
                lacking: 0,
                ..known
            },
            NOW,
            || "new".to_owned(),
        );
        assert_eq!(
            !found.lost.is_empty(),
            shut && *last != none,
            "{what}, ledger away: {found:?}"
        );
    }
}

#[test]
fn the_hold_for_what_is_missing_is_taken_once() {
    let first = whole(
        &JournalFound::Missing,
        0,
        true,
        Some(&ledger(&[], &[], Vec::new())),
        &LastFound::default(),
        &[],
    );
    let mut again = ledger(&[], &[], Vec::new());
    again.stored.holds.clone_from(&first.stored.holds);
    let second = whole(
        &JournalFound::Missing,
        0,
        true,
        Some(&again),
        &LastFound::default(),
        &[],
    );
    assert_eq!(held(&second), [("new", true)]);
}

proptest! {
    #[test]
    fn no_level_is_below_what_the_last_state_says_without_a_newer_declaration(
        (ours, theirs) in (0i64..4, 0i64..4),
        levels in [0u8..=100, 0u8..=100, 0u8..=100, 0u8..=100],
    ) {
        let [declared, effective, last_declared, last_effective] = levels.map(|percent| f64::from(percent) / 100.0);
        let ledger = ledger(&[], &[], vec![row(ours, declared, effective)]);
        let last = last(&[], vec![row(theirs, last_declared, last_effective)]);
        let start = added_up(Some(&ledger), &last, &[]);
        let found = &start.stored.throttles[0];
        prop_assert!(found.effective.fraction() >= last_effective.max(effective));
        prop_assert!(found.declared.fraction() >= declared);
        if ours > theirs {
            prop_assert_eq!(found.declared.fraction(), declared);
        } else {
            prop_assert!(found.declared.fraction() >= last_declared);
        }
        // A level that the ledger lacks is a declaration of its own, so that it gets there.
        let anew = if ours <= theirs && last_declared > declared { ours + 1 } else { ours };
        prop_assert_eq!(found.generation, anew.max(theirs));
    }
}

/// What is on the disk may lag behind in what opens and in rates; a start from it is never more
/// open than the service was.
#[test]
fn the_last_state_lags_only_where_it_is_shut_more() {
    let state = |throttles: Vec<ThrottleRow>, holds: Vec<ScopedHold>| LastState {
        stored: Stored { throttles, holds },
        journal: Some(1),
    };
    let of = |row: ThrottleRow| state(vec![row], vec![]);
    let written = of(row(1, 0.0, 0.5));
    let busy = ThrottleRow {
        offered: Some(Offered::new_throttle()),
        ..row(1, 0.0, 0.4)
    };
    for (now, may_lag) in [
        (of(row(1, 0.0, 0.5)), true),
        (of(row(1, 0.0, 0.4)), true),
        (of(busy), true),
        (of(row(1, 0.0, 0.6)), false),
        (of(row(2, 0.0, 0.4)), false),
        (of(row(1, 0.5, 0.5)), false),
        (state(vec![row(1, 0.0, 0.4)], vec![kill("k")]), false),
        (state(vec![], vec![]), false),
        (
            LastState {
                journal: Some(2),
                ..written.clone()
            },
            false,
        ),
    ] {
        assert_eq!(now.may_lag_behind(&written), may_lag, "{now:?}");
    }
}
