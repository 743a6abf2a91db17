//! The guards against time travel: an older generation counts for nothing, an ended hold never
//! bites again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::cluster::index::{HoldState, Index, Override, OverrideKind};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::source::crd::EchoThrottle;
use echo_phoenix::source::crd_override::Selector;
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn name() -> ThrottleName {
    ThrottleName::in_namespace("shop", "checkout")
}

fn throttle(generation: i64, version: u64, spec: Value, status: Value) -> EchoThrottle {
    serde_json::from_value(json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoThrottle",
        "metadata": { "name": "checkout", "namespace": "shop", "uid": "u", "generation": generation,
                      "resourceVersion": version.to_string(), "labels": { "tier": "payments" } },
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn kill_spec() -> Value {
    json!({ "kill": { "reason": "r", "operator": "o", "confirmation": "CONFIRM_KILL" } })
}

fn opened(generation: i64) -> Value {
    json!({ "observedGeneration": generation,
            "effective": { "levelMillionths": 0, "throttlePercent": 0, "reason": "none" } })
}

fn stop(epoch: &str) -> Override {
    Override {
        namespace: Some("shop".to_owned()),
        throttle: Some("checkout".to_owned()),
        selector: None,
        hold: Hold {
            epoch: Epoch(epoch.to_owned()),
            bite: HoldEffect::Kill,
            source: Source::Override {
                namespace: Some("shop".to_owned()),
                name: "stop".to_owned(),
                uid: epoch.to_owned(),
                namespace_uid: None,
                definition_uid: None,
            },
            reason: "r".to_owned(),
            operator: "o".to_owned(),
            taken_at: NOW,
        },
        present: true,
    }
}

fn killed(index: &Index) -> bool {
    index.view(&name()).unwrap().seen.killed
}

#[test]
fn an_older_generation_neither_lifts_a_kill_nor_imposes_one_again() {
    let mut index = Index::default();
    let open = throttle(1, 10, json!({}), opened(1));
    let kill = throttle(2, 20, kill_spec(), opened(1));
    let ended = throttle(3, 30, json!({}), opened(2));
    assert!(index.throttle(&open, NOW).is_some() && !killed(&index));
    assert!(index.throttle(&kill, NOW).is_some() && killed(&index));
    assert!(index.throttle(&open, NOW).is_none(), "the past is refused");
    assert!(killed(&index), "an old list must not lift a kill");
    assert!(index.throttle(&ended, NOW).is_some() && !killed(&index));
    assert!(index.throttle(&kill, NOW).is_none());
    assert!(!killed(&index), "an old list must not kill again");
}

#[test]
fn an_older_status_of_the_same_generation_opens_nothing() {
    let mut index = Index::default();
    let shut = json!({ "observedGeneration": 1,
                       "effective": { "levelMillionths": 1_000_000, "throttlePercent": 100, "reason": "kill" } });
    index.throttle(&throttle(1, 20, json!({}), shut), NOW);
    index.throttle(&throttle(1, 10, json!({}), opened(1)), NOW);
    assert_eq!(
        index.view(&name()).unwrap().seen.effective,
        Some((Level::STOP, 1))
    );
}

#[test]
fn an_override_bites_whenever_it_is_seen_and_its_absence_lifts_nothing() {
    let mut index = Index::default();
    let epoch = Epoch("a".to_owned());
    index.override_seen(&epoch, stop("a"));
    index.throttle(&throttle(1, 1, json!({}), opened(1)), NOW);
    assert!(killed(&index), "seen before its throttle");
    index.override_missing(&epoch);
    assert!(
        killed(&index),
        "a missing object is a question to the leader"
    );
    assert_eq!(index.states(&name())[0].1, HoldState::Missing);
    index.override_seen(&epoch, stop("a"));
    assert_eq!(
        index.states(&name())[0].1,
        HoldState::Missing,
        "an old list brings no deleted object back"
    );
    index.found(&epoch);
    assert!(
        !index.overrides_doubted(OverrideKind::Namespaced).is_empty() && killed(&index),
        "a watch that broke lifts nothing"
    );
    assert_eq!(
        index.states(&name())[0].1,
        HoldState::Missing,
        "but it is a question too"
    );
    index.override_seen(&epoch, stop("a"));
    assert_eq!(
        index.states(&name())[0].1,
        HoldState::Live,
        "and seeing it again is an answer"
    );
    index.end(&epoch);
    assert!(!killed(&index));
    index.override_seen(&epoch, stop("a"));
    assert!(!killed(&index), "an ended hold never bites again");
}

#[test]
fn a_hold_by_label_stays_when_labels_change_and_finds_later_throttles() {
    let mut index = Index::default();
    let epoch = Epoch("a".to_owned());
    let by_label = Override {
        throttle: None,
        selector: Some(
            serde_json::from_value(json!({ "matchLabels": { "tier": "payments" } })).unwrap(),
        ),
        ..stop("a")
    };
    index.override_seen(&epoch, by_label);
    let mut object = throttle(1, 1, json!({}), opened(1));
    index.throttle(&object, NOW);
    assert!(killed(&index));
    object.metadata.labels = None;
    object.metadata.resource_version = Some("2".to_owned());
    index.throttle(&object, NOW);
    assert!(
        killed(&index),
        "Git owns labels; it must not lift a kill with them"
    );
}

#[test]
fn a_restarted_gate_learns_orphaned_holds_from_the_status() {
    let mut index = Index::default();
    let status = json!({ "holds": [{ "epoch": "a", "kind": "ClusterEchoOverride", "name": "stop", "uid": "a", "operator": "o",
                                     "reason": "r", "takenAt": "2026-01-01T00:00:00Z", "state": "Orphaned" }] });
    index.throttle(&throttle(1, 1, json!({}), status), NOW);
    assert!(killed(&index));
    let ended = json!({ "endedHolds": ["a"], "effective": { "levelMillionths": 0, "throttlePercent": 0, "reason": "none" },
                        "observedGeneration": 1 });
    index.throttle(&throttle(1, 2, json!({}), ended), NOW);
    assert!(!killed(&index), "the leader's word ends it");
}

#[test]
fn a_throttle_that_is_gone_keeps_its_gate_and_leaves_the_loop() {
    let mut index = Index::default();
    let object = throttle(1, 1, kill_spec(), opened(1));
    index.throttle(&object, NOW);
    index.throttle_gone(&object);
    assert!(killed(&index) && index.declared().is_empty());
}

/// Where a loop looks, a hold that has ended goes once a pass has seen it, whoever ended it and
/// however short it was.
#[test]
fn a_hold_that_has_ended_is_seen_by_one_pass_before_it_goes() {
    let ended = |index: &Index| {
        index
            .ended(&name())
            .iter()
            .map(|epoch| epoch.0.clone())
            .collect::<Vec<_>>()
    };
    for seen_before in [false, true] {
        let mut index = Index::looked_at();
        index.throttle(&throttle(1, 1, json!({}), opened(1)), NOW);
        let epoch = Epoch("a".to_owned());
        index.override_seen(&epoch, stop("a"));
        if seen_before {
            assert!(!index.show(&name()));
        }
        index.end(&epoch);
        assert_eq!(index.states(&name())[0].1, HoldState::Over);
        index.override_seen(&epoch, stop("a"));
        index.found(&epoch);
        assert_eq!(
            index.states(&name())[0].1,
            HoldState::Over,
            "and nothing brings it back"
        );
        assert_eq!(index.let_go(&name()), seen_before);
        if !seen_before {
            assert!(
                index.show(&name()) && killed(&index) && ended(&index).is_empty(),
                "this pass sees it"
            );
            assert!(index.let_go(&name()), "and the next one lets go of it");
        }
        assert!(!killed(&index) && ended(&index) == ["a"]);
    }

    let mut index = Index::looked_at();
    index.throttle(&throttle(1, 1, json!({}), opened(1)), NOW);
    index.throttle(&throttle(2, 2, kill_spec(), opened(1)), NOW);
    index.throttle(&throttle(3, 3, json!({}), opened(1)), NOW);
    assert!(killed(&index), "the specification's own as well");
    assert!(index.show(&name()));
    index.forget_shown();
    assert!(
        !index.let_go(&name()),
        "a new leader's passes have seen nothing yet"
    );
    index.throttle(&throttle(3, 4, json!({}), opened(3)), NOW);
    assert!(!killed(&index), "another leader has seen it end");
}

/// Whoever copies the name of a kill's object has the copy alone to end: what the kill's own object
/// holds stays.
#[test]
fn the_end_of_an_object_ends_what_it_bore_and_not_what_another_of_its_id_bears() {
    let at = |name: &str, version| {
        let mut object = throttle(1, version, json!({}), opened(1));
        object.metadata.name = Some(name.to_owned());
        object
    };
    let epoch = Epoch("a".to_owned());
    let wide = Override {
        throttle: None,
        selector: Some(Selector::default()),
        ..stop("a")
    };
    let mut copy = stop("a");
    let Source::Override { uid, name, .. } = &mut copy.hold.source else {
        unreachable!()
    };
    (*uid, *name) = ("copy".to_owned(), "copy".to_owned());
    let later = ThrottleName::in_namespace("shop", "later");
    // Whichever of both was seen first.
    for first in [&copy, &wide] {
        let mut index = Index::default();
        index.throttle(&at("checkout", 1), NOW);
        index.throttle(&at("later", 2), NOW);
        index.override_seen(&epoch, first.clone());
        index.override_seen(
            &epoch,
            if first == &copy {
                wide.clone()
            } else {
                copy.clone()
            },
        );
        index.override_missing(&epoch);
        index.end_of(&copy.hold);
        assert!(
            index.view(&later).unwrap().seen.killed,
            "its own object is there"
        );
        assert!(index.holds(&epoch));
        index.end_of(&wide.hold);
        assert!(!index.holds(&epoch) && !index.view(&later).unwrap().seen.killed);
    }
}

/// What may come of it is told before it comes, on what it would stop and on nothing else.
#[test]
fn the_end_of_a_hold_whose_object_may_come_is_told_before_that() {
    let mut index = Index::looked_at();
    index.throttle(&throttle(1, 1, json!({}), opened(1)), NOW);
    let epoch = Epoch("a".to_owned());
    index.over(&epoch);
    assert!(
        index
            .refuse(
                &epoch,
                &Scope::One(ThrottleName::in_namespace("shop", "other"))
            )
            .is_empty()
    );
    assert_eq!(index.refuse(&epoch, &Scope::All), [name()]);
    assert!(index.refuse(&epoch, &Scope::All).is_empty() && index.ended(&name()) == [epoch]);
}
