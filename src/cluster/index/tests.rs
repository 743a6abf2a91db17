//! What is handed out of throttles is what would be worked out anew, whatever happened before.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::hold::HoldEffect;
use crate::source::crd_override::Selector;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const THROTTLES: [&str; 3] = ["a", "b", "c"];

/// What is seen or done.
#[derive(Clone, Debug)]
enum Does {
    Seen(usize, i64, bool, Option<i64>, Option<usize>),
    Gone(usize),
    Stops(usize, Option<usize>),
    Missing(usize),
    Listed(OverrideKind, Vec<usize>),
    Doubted(OverrideKind),
    Ends(usize),
    EndsOf(usize),
    Over(usize),
    Refuses(usize),
    LetsGo,
    Shows,
    ForgetsShown,
    Finds(usize),
    Learns(usize),
}

fn does() -> impl Strategy<Value = Does> {
    let (throttle, hold) = (0..THROTTLES.len(), 0..4_usize);
    let kind = prop_oneof![
        Just(OverrideKind::Namespaced),
        Just(OverrideKind::ClusterWide)
    ];
    let holds = prop::collection::vec(0..4_usize, 0..3);
    prop_oneof![
        4 => (throttle.clone(), 1..4_i64, any::<bool>(), prop::option::of(0..3_i64), prop::option::of(hold.clone()))
            .prop_map(|(name, generation, kill, effective, ended)| Does::Seen(name, generation, kill, effective, ended)),
        1 => throttle.clone().prop_map(Does::Gone),
        4 => (hold.clone(), prop::option::of(throttle)).prop_map(|(hold, on)| Does::Stops(hold, on)),
        1 => hold.clone().prop_map(Does::Missing),
        1 => (kind.clone(), holds).prop_map(|(kind, listed)| Does::Listed(kind, listed)),
        1 => kind.prop_map(Does::Doubted),
        1 => hold.clone().prop_map(Does::Ends),
        1 => hold.clone().prop_map(Does::EndsOf),
        1 => hold.clone().prop_map(Does::Over),
        1 => hold.clone().prop_map(Does::Refuses),
        1 => Just(Does::LetsGo),
        1 => Just(Does::Shows),
        1 => Just(Does::ForgetsShown),
        1 => hold.clone().prop_map(Does::Finds),
        1 => hold.prop_map(Does::Learns),
    ]
}

fn epoch(number: usize) -> Epoch {
    Epoch(format!("hold-{number}"))
}

fn stop(number: usize, on: Option<usize>) -> Override {
    Override {
        namespace: on.map(|_| "shop".to_owned()),
        throttle: on.map(|on| THROTTLES[on].to_owned()),
        selector: on.is_none().then(Selector::default),
        hold: Hold {
            epoch: epoch(number),
            bite: HoldEffect::Kill,
            source: Source::Override {
                namespace: on.map(|_| "shop".to_owned()),
                name: "stop".to_owned(),
                uid: number.to_string(),
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

fn throttle(
    name: usize,
    generation: i64,
    version: usize,
    kill: bool,
    status: &serde_json::Value,
) -> EchoThrottle {
    let kill =
        kill.then(|| json!({ "reason": "r", "operator": "o", "confirmation": "CONFIRM_KILL" }));
    let spec = kill.map_or_else(|| json!({}), |kill| json!({ "kill": kill }));
    serde_json::from_value(json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoThrottle",
        "metadata": { "name": THROTTLES[name], "namespace": "shop", "uid": "u",
                      "generation": generation, "resourceVersion": version.to_string() },
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn status(observed: i64, effective: Option<i64>, ended: Option<usize>) -> serde_json::Value {
    let ended: Vec<_> = ended.map(epoch).into_iter().collect();
    let mut status = json!({ "observedGeneration": observed, "endedHolds": ended });
    if let Some(level) = effective {
        let level = level * 500_000;
        let told = json!({ "levelMillionths": level, "throttlePercent": level / 10_000, "reason": "none" });
        status["effective"] = told;
    }
    status
}

fn each(index: &mut Index, does: impl Fn(&mut Index, &ThrottleName)) {
    let names: Vec<_> = index.throttles.keys().cloned().collect();
    names.iter().for_each(|name| does(index, name));
}

fn happens(index: &mut Index, step: usize, what: Does) {
    match what {
        Does::Seen(name, generation, kill, effective, ended) => {
            let status = status(generation, effective, ended);
            index.throttle(&throttle(name, generation, step, kill, &status), NOW);
        }
        Does::Gone(name) => drop(index.throttle_gone(&throttle(name, 1, 1, false, &json!(null)))),
        Does::Stops(hold, on) => drop(index.override_seen(&epoch(hold), stop(hold, on))),
        Does::Missing(hold) => drop(index.override_missing(&epoch(hold))),
        Does::Listed(kind, listed) => {
            let listed: Vec<_> = listed.into_iter().map(epoch).collect();
            drop(index.overrides_listed(kind, &listed));
        }
        Does::Doubted(kind) => drop(index.overrides_doubted(kind)),
        Does::Ends(hold) => drop(index.end(&epoch(hold))),
        Does::EndsOf(hold) => drop(index.end_of(&stop(hold, None).hold)),
        Does::Over(hold) => drop(index.over(&epoch(hold))),
        Does::Refuses(hold) => drop(index.refuse(&epoch(hold), &Scope::All)),
        Does::LetsGo => each(index, |index, name| {
            index.let_go(name);
        }),
        Does::Shows => each(index, |index, name| {
            index.show(name);
        }),
        Does::ForgetsShown => index.forget_shown(),
        Does::Finds(hold) => index.found(&epoch(hold)),
        Does::Learns(hold) => index.note(&epoch(hold), |hold, _| {
            if let Source::Override { definition_uid, .. } = &mut hold.source {
                *definition_uid = Some("d".to_owned());
            }
        }),
    }
}

/// What is declared, worked out from what was seen alone.
fn anew(index: &Index) -> Vec<Declared> {
    let there = index.throttles.iter().filter(|(_, known)| !known.gone);
    there
        .map(|(name, known)| IndexedThrottle::declared(known, name))
        .collect()
}

proptest! {
    #[test]
    fn what_is_handed_out_is_what_was_seen(
        looked_at in any::<bool>(),
        all in prop::collection::vec(does(), 1..40),
    ) {
        let mut index = if looked_at { Index::looked_at() } else { Index::default() };
        for (step, what) in all.into_iter().enumerate() {
            happens(&mut index, step + 1, what);
            let handed_out = index.declared();
            let declared: Vec<_> = handed_out.iter().map(|one| Declared::clone(one)).collect();
            prop_assert_eq!(declared, anew(&index));
            for one in &handed_out {
                let found = index.find(&one.name);
                prop_assert!(found.is_some_and(|found| Arc::ptr_eq(&found, one)));
            }
        }
    }
}

#[test]
fn what_is_of_one_throttle_leaves_the_others_as_they_were_handed_out() {
    let mut index = Index::looked_at();
    for name in 0..THROTTLES.len() {
        index.throttle(&throttle(name, 1, 1, false, &json!(null)), NOW);
    }
    let before = index.declared();
    index.override_seen(&epoch(0), stop(0, Some(1)));
    index.override_missing(&epoch(1));
    index.overrides_doubted(OverrideKind::ClusterWide);
    each(&mut index, |index, name| {
        index.show(name);
        index.let_go(name);
    });
    let same: Vec<_> = before
        .iter()
        .zip(index.declared())
        .map(|(before, after)| Arc::ptr_eq(before, &after))
        .collect();
    assert_eq!(same, [true, false, true]);
}
