//! The CEL rules of the custom resources, as crds/ has them, against our own rules over the same
//! types: what a manifest's reader and the watch of overrides take, an API server takes too.
//!
//! What is generated keeps to the schema beside the rules (ranges, lengths, patterns), which is an
//! API server's alone and is tried on a real one in `tests/it/cluster_rules.rs`. Every rule is one
//! of ours too, but those that tell a cluster from a file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use echo_phoenix::cluster::lane::OverrideResource;
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::source::crd_override::{ClusterEchoOverride, EchoOverride};
use echo_phoenix::source::manifest::parse;
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Schemas with their rules, by kind.
static KINDS: LazyLock<BTreeMap<String, CompiledSchema>> = LazyLock::new(|| {
    let file = include_str!("../../crds/echo-phoenix.dev.yaml");
    let all: Vec<Value> = serde_saphyr::from_multiple(file).unwrap();
    let kinds = all.iter().map(|crd| {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        (kind.to_owned(), compile_schema(schema))
    });
    kinds.collect()
});

fn object(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": "a",
            "namespace": "shop",
            "uid": "6f0e5b1c-0f53-4a5e-9b0a-2f5d2b1a7c11",
            "creationTimestamp": "2026-01-14T21:32:07Z",
        },
        "spec": spec,
    })
}

/// What the rules say against an object.
fn refused(kind: &str, spec: &Value) -> BTreeSet<String> {
    let (schema, object) = (&KINDS[kind], object(kind, spec));
    let refused = Validator::new().validate_compiled(schema, &object, None);
    let errors = refused.err().map(|all| all.into_vec()).unwrap_or_default();
    errors.into_iter().map(|error| error.message).collect()
}

/// What a manifest's reader says against it: the field without its numbers, and the words.
fn refused_by_us(spec: &Value) -> Vec<(String, String)> {
    let Err(error) = parse(&object("EchoThrottle", spec).to_string()) else {
        return Vec::new();
    };
    let field = |field: String| field.replace(|letter: char| letter.is_ascii_digit(), "");
    let mistakes = error.0.into_iter().map(|one| one.error);
    mistakes
        .map(|one| (field(one.field), one.expected))
        .collect()
}

/// Every rule of a schema and what is below it.
fn rules(schema: &CompiledSchema, found: &mut Vec<String>) {
    assert!(!schema.has_errors(), "{:?}", schema.compilation_errors());
    let own = schema.validations.iter().map(|rule| rule.as_ref().unwrap());
    found.extend(own.filter_map(|rule| rule.rule.message.clone()));
    let below = schema.properties.values().chain(schema.items.as_deref());
    below.for_each(|below| rules(below, found));
}

const CONFIRMED: &str = "confirmation must be CONFIRM_KILL";
const ONE_TARGET: &str = "exactly one of gate, scale and remote must be set";
const CALM: &str = "calm must be below full";
const ERRORS: &str = "errorsPerThousand: full must be at most 1000";
/// Of one entry of an allow-list, of which our own rules name the first that it breaks.
const ALLOW: [&str; 6] = [
    "method or path must be set",
    "method: methods are compared as clients send them, in upper case: GET",
    "path: must begin with /",
    "path: patterns match nothing; /refunds covers what is below it",
    "path: can match nothing: no patterns, no . or .. or empty segment",
    "evenWhileKilled: true must confirm what lets everything through (path: /, or a method but OPTIONS and HEAD without a path), and stands nowhere else",
];
/// What is not obeyed in a cluster yet, and is in a file.
const CLUSTER: [&str; 2] = [
    "remote: other sites are not obeyed from a cluster yet; it works in the manifest of echo-phoenix serve",
    "source: nobody observes in a cluster yet; it works in the manifest of echo-phoenix serve",
];

#[test]
fn every_rule_can_be_read_and_is_one_that_is_compared_here() {
    let mut found = Vec::new();
    rules(&KINDS["EchoThrottle"], &mut found);
    let known: BTreeSet<_> = [CONFIRMED, ONE_TARGET, CALM, ERRORS]
        .into_iter()
        .chain(ALLOW)
        .chain(CLUSTER)
        .collect();
    let found: BTreeSet<_> = found.iter().map(String::as_str).collect();
    assert_eq!(found, known);
    for (kind, count) in [("EchoOverride", 4), ("ClusterEchoOverride", 3)] {
        let mut found = Vec::new();
        rules(&KINDS[kind], &mut found);
        assert_eq!(found.len(), count, "{kind}: {found:?}");
    }
}

/// An object of those of these fields that are there.
fn fields(all: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let there = all.into_iter();
    let there = there.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(Map::from_iter(there))
}

fn method() -> impl Strategy<Value = Value> {
    let known = select(vec![
        "GET", "POST", "OPTIONS", "HEAD", "get", "Head", "M-SEARCH",
    ]);
    let any = "[A-Za-z][A-Za-z0-9_-]{0,31}";
    prop_oneof![
        known.prop_map(|method| json!(method)),
        any.prop_map(|method| json!(method))
    ]
}

fn path() -> impl Strategy<Value = Value> {
    let odd = vec![
        "", ".", "..", "a..b", "...", "a.", ":id", "*", "a*", "~1", "@", "a:b",
    ];
    let segment = prop_oneof![3 => "[a-z]{1,5}", 1 => select(odd).prop_map(str::to_owned)];
    let below = prop::collection::vec(segment, 1..4).prop_map(|parts| parts.join("/"));
    let whole = below.prop_map(|below| format!("/{below}"));
    let any = "[/A-Za-z0-9._~!$&'*+,=:@-]{1,12}";
    prop_oneof![6 => whole, 1 => any, 1 => Just("/".to_owned())].prop_map(|path| json!(path))
}

fn allow() -> impl Strategy<Value = Value> {
    let even = prop::option::of(any::<bool>().prop_map(|even| json!(even)));
    let parts = (prop::option::of(method()), prop::option::of(path()), even);
    parts.prop_map(|(method, path, even)| {
        fields([
            ("method", method),
            ("path", path),
            ("evenWhileKilled", even),
        ])
    })
}

fn band(most: i32) -> impl Strategy<Value = Value> {
    (0..most, 1..most).prop_map(|(calm, full)| json!({ "calm": calm, "full": full }))
}

fn signals() -> impl Strategy<Value = Value> {
    let errors = prop::option::of(prop_oneof![band(1100), band(1001)]);
    let parts = (errors, prop::option::of(band(1000)));
    parts.prop_map(|(errors, latency)| {
        fields([("errorsPerThousand", errors), ("latencyMs", latency)])
    })
}

fn kill() -> impl Strategy<Value = Value> {
    let word = select(vec![
        "CONFIRM_KILL",
        "confirm_kill",
        "CONFIRM_KILL ",
        "yes",
        "",
    ]);
    word.prop_map(|word| json!({ "reason": "r", "operator": "o", "confirmation": word }))
}

/// Targets of at most one gate each: a file has no more, and in a cluster the first one counts.
fn targets() -> impl Strategy<Value = Value> {
    let scale = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout" });
    let remote = json!({ "url": "https://echo.example.com", "apiKeyEnv": "ECHO_REMOTE_KEY_A" });
    let gate = prop::collection::vec(allow(), 0..3).prop_map(|allow| json!({ "allow": allow }));
    let first = (
        prop::option::of(gate),
        prop::option::weighted(0.2, Just(scale.clone())),
        prop::option::weighted(0.2, Just(remote.clone())),
    );
    let first = first.prop_map(|(gate, scale, remote)| {
        fields([("gate", gate), ("scale", scale), ("remote", remote)])
    });
    let second = (any::<bool>(), any::<bool>()).prop_map(move |(scales, reaches)| {
        let scale = scales.then(|| scale.clone());
        fields([
            ("scale", scale),
            ("remote", reaches.then(|| remote.clone())),
        ])
    });
    (first, prop::option::weighted(0.3, second))
        .prop_map(|(first, second)| Value::Array([first].into_iter().chain(second).collect()))
}

fn throttle() -> impl Strategy<Value = Value> {
    let parts = (
        0..=100,
        prop::option::of(kill()),
        prop::option::of(signals()),
        prop::option::of(targets()),
    );
    parts.prop_map(|(percent, kill, signals, targets)| {
        fields([
            ("throttlePercent", Some(json!(percent))),
            ("kill", kill),
            ("signals", signals),
            ("targets", targets),
        ])
    })
}

fn an_override() -> impl Strategy<Value = Value> {
    let word = select(vec!["CONFIRM_KILL", "confirm_kill", ""]);
    let kill = word.prop_map(|word| json!({ "confirmation": word }));
    let percent = (0..=100).prop_map(|percent| json!(percent));
    let parts = (
        prop::option::of(Just(json!("checkout"))),
        prop::option::of(Just(json!({}))),
        prop::option::of(kill),
        prop::option::of(percent),
    );
    parts.prop_map(|(throttle, selector, kill, percent)| {
        fields([
            ("throttleRef", throttle),
            ("selector", selector),
            ("kill", kill),
            ("throttlePercent", percent),
            ("operator", Some(json!("o"))),
            ("reason", Some(json!("r"))),
        ])
    })
}

/// Whether an object asks for a hold on this throttle.
fn asks<K: OverrideResource>(kind: &str, spec: &Value) -> bool {
    let object: K = serde_json::from_value(object(kind, spec)).unwrap();
    let throttle = ThrottleName::in_namespace("shop", "checkout");
    object
        .asks()
        .is_some_and(|one| one.covers(&throttle, &BTreeMap::new()))
}

/// Whether no rule of an allow-list's entries is broken.
fn they_allow(refused: &BTreeSet<String>) -> bool {
    !ALLOW.iter().any(|rule| refused.contains(*rule))
}

/// The same, by our own rules.
fn we_allow(refused: &[(String, String)]) -> bool {
    let entry = |field: &str| field.starts_with("spec.targets[].gate.allow[]");
    !refused.iter().any(|(field, _)| entry(field))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn of_a_throttle_an_api_server_and_a_file_refuse_the_same(spec in throttle()) {
        let (theirs, ours) = (refused("EchoThrottle", &spec), refused_by_us(&spec));
        let they = |rule: &str| theirs.contains(rule);
        let we = |fields: &[&str], words: &str| {
            let mut ours = ours.iter();
            ours.any(|(field, said)| fields.contains(&field.as_str()) && said.contains(words))
        };
        let told = format!("{spec}\nthey: {theirs:#?}\nwe: {ours:#?}");
        prop_assert_eq!(they(CONFIRMED), we(&["spec.kill.confirmation"], ""), "{}", told);
        prop_assert_eq!(they(ONE_TARGET), we(&["spec.targets[]"], "exactly one"), "{}", told);
        let bands = ["spec.signals.errorsPerThousand", "spec.signals.latencyMs"];
        prop_assert_eq!(they(CALM) || they(ERRORS), we(&bands, ""), "{}", told);
        prop_assert_eq!(they_allow(&theirs), we_allow(&ours), "{}", told);
    }

    #[test]
    fn of_an_allow_list_an_api_server_and_a_file_refuse_the_same(allow in allow()) {
        let spec = json!({ "targets": [{ "gate": { "allow": [allow] } }] });
        let (theirs, ours) = (refused("EchoThrottle", &spec), refused_by_us(&spec));
        let told = format!("{spec}\nthey: {theirs:#?}\nwe: {ours:#?}");
        prop_assert_eq!(they_allow(&theirs), we_allow(&ours), "{}", told);
    }

    #[test]
    fn an_override_that_an_api_server_takes_is_obeyed_and_no_other(spec in an_override()) {
        let kind = "EchoOverride";
        let taken = refused(kind, &spec).is_empty();
        prop_assert_eq!(taken, asks::<EchoOverride>(kind, &spec), "{}", spec);
        let kind = "ClusterEchoOverride";
        let mut spec = spec;
        spec["selector"] = json!({});
        let taken = refused(kind, &spec).is_empty();
        prop_assert_eq!(taken, asks::<ClusterEchoOverride>(kind, &spec), "{}", spec);
    }

    #[test]
    fn an_override_stays_what_it_is(before in an_override(), after in an_override()) {
        for kind in ["EchoOverride", "ClusterEchoOverride"] {
            let (old, new) = (object(kind, &before), object(kind, &after));
            let refused = Validator::new().validate_compiled(&KINDS[kind], &new, Some(&old));
            let errors = refused.err().map(|all| all.into_vec()).unwrap_or_default();
            let is_fixed = errors.iter().any(|error| error.message.contains("immutable"));
            prop_assert_eq!(is_fixed, before != after, "{}", kind);
        }
    }
}
