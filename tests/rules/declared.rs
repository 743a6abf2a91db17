//! What is declared of a throttle: its name, its owner, its targets and the routes it never refuses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::{
    AllowRule, Declared, GateSpec, Mode, NAME_LIMIT, Owner, ScaleSpec, SignalSpec, Spec, TargetKind, TargetSpec,
    ThrottleName,
};
use proptest::prelude::*;

fn named(text: &str) -> Result<ThrottleName, String> {
    ThrottleName::try_from(text.to_owned()).map_err(|bad| bad.to_string())
}

fn workload() -> TargetSpec {
    TargetSpec::Scale(ScaleSpec {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "checkout".to_owned(),
        proportional: true,
        min_replicas: 2,
    })
}

#[test]
fn a_throttle_name_is_lower_case_and_short() {
    for good in ["a", "default", "shop.checkout", "0-9.z", &"x".repeat(NAME_LIMIT)] {
        assert_eq!(
            named(good).map(|name| (name.as_str().to_owned(), name.to_string())),
            Ok((good.into(), good.into()))
        );
    }
    for bad in
        ["", "A", "shop/checkout", "_self-test", "ä", "a b", "a\n", "`", "{", "/", ":", &"x".repeat(NAME_LIMIT + 1)]
    {
        let told = named(bad).unwrap_err();
        assert!(told.starts_with('`') && told.ends_with("expected 1 to 317 of a-z, 0-9, `-` and `.`"), "{bad}: {told}");
        assert!(told.len() < 200, "an error does not repeat a long text whole");
    }
    assert!(named("Pay").unwrap_err().starts_with("`Pay` is no throttle name"));
}

#[test]
fn a_name_in_a_cluster_comes_apart_as_it_was_made() {
    let name = ThrottleName::in_namespace("shop", "checkout.v2");
    assert_eq!((name.as_str(), name.split()), ("shop.checkout.v2", Some(("shop", "checkout.v2"))));
    assert_eq!(ThrottleName::default_throttle().split(), None, "a service has no namespaces");
    assert_eq!(ThrottleName::default_throttle().as_str(), "default");
}

#[test]
fn nobody_can_declare_the_throttle_of_the_self_test() {
    let own = ThrottleName::self_test();
    assert_eq!(own.as_str(), "_self-test");
    assert!(named(own.as_str()).is_err());
    assert!(serde_json::from_str::<ThrottleName>("\"_self-test\"").is_err(), "nor by a stored or sent text");
}

#[test]
fn an_owner_is_read_back_by_its_word_and_an_unknown_one_is_a_cluster() {
    for (owner, word) in [(Owner::Rest, "rest"), (Owner::Manifest, "manifest"), (Owner::Cluster, "cluster")] {
        assert_eq!((owner.as_str(), Owner::of_word(word)), (word, owner));
    }
    for unknown in ["", "Rest", "helm"] {
        assert_eq!(Owner::of_word(unknown), Owner::Cluster, "nobody here may lower what `{unknown}` declared");
    }
}

#[test]
fn a_target_is_told_apart_by_kind_and_id() {
    let gate = TargetSpec::Gate(GateSpec::default());
    assert_eq!((gate.kind(), gate.id().as_str()), (TargetKind::Gate, "gate"));
    assert_eq!((workload().kind(), workload().id().as_str()), (TargetKind::Scale, "apps/v1/Deployment/checkout"));
}

#[test]
fn a_bare_declaration_enforces_on_the_gate_and_opens_by_two_points_a_second() {
    let half = Level::new(0.5).unwrap();
    let bare = Declared::bare(ThrottleName::default_throttle(), half);
    assert_eq!((bare.level, bare.stored, bare.generation, bare.owner), (half, half, 1, Owner::Rest));
    assert_eq!((bare.holds.len(), bare.evidence.is_empty()), (0, true));
    let spec = bare.spec();
    assert_eq!(spec, Spec::default(), "what a declaration leaves out means the same wherever it came from");
    assert_eq!((spec.mode, spec.ramp_percent_per_second, spec.targets[0].id().as_str()), (Mode::Enforce, 2.0, "gate"));
    assert_eq!((spec.targets.len(), spec.signals), (1, SignalSpec::default()));
}

#[test]
fn a_specification_is_taken_over_whole_and_leaves_the_rest_alone() {
    let gate = GateSpec { key_header: Some("x-tenant".to_owned()), ..GateSpec::default() };
    let spec = Spec {
        mode: Mode::Observe,
        ramp_percent_per_second: 7.5,
        targets: vec![workload(), TargetSpec::Gate(gate.clone())],
        signals: SignalSpec { source: Some("canary".to_owned()), ..SignalSpec::default() },
    };
    let before = Declared::bare(ThrottleName::default_throttle(), Level::OPEN);
    assert_eq!(before.gate(), GateSpec::default());
    let mut after = before.clone();
    after.set_spec(spec.clone());
    assert_eq!((after.spec(), after.gate()), (spec, gate));
    after.set_spec(before.spec());
    assert_eq!(after, before);
    let without = Declared { targets: vec![workload()], ..before };
    assert_eq!(without.gate(), GateSpec::default(), "a throttle without a gate of its own bites by the defaults");
}

#[test]
fn a_path_that_an_app_may_read_as_another_is_on_no_list() {
    let rule = AllowRule { method: None, path: Some("/refunds".to_owned()) };
    for (path, listed) in [
        ("/refunds", true),
        ("/refunds/7", true),
        ("/refundsx", false),
        ("/refunds/../pay", false),
        ("/refunds/%2e%2e/pay", false),
        ("/refunds//pay", false),
        ("/refunds;/pay", false),
        ("/pay", false),
    ] {
        assert_eq!(rule.matches("GET", path), listed, "{path}");
    }
    let nothing = AllowRule { method: None, path: None };
    assert!(!nothing.matches("GET", "/"), "a rule that says nothing lets nothing through");
}

#[test]
fn an_allow_rule_lets_through_what_fits_all_it_says() {
    let rule = |method: Option<&str>, path: Option<&str>| AllowRule {
        method: method.map(str::to_owned),
        path: path.map(str::to_owned),
    };
    for (rule, method, path, listed) in [
        (rule(Some("GET"), None), "GET", "/anything/../at//all", true),
        (rule(Some("GET"), None), "POST", "/refunds", false),
        (rule(Some("GET"), Some("/refunds")), "GET", "/refunds/1", true),
        (rule(Some("GET"), Some("/refunds")), "POST", "/refunds/1", false),
        (rule(Some("GET"), Some("/refunds")), "GET", "/pay", false),
        (rule(None, Some("/refunds")), "POST", "/refunds", true),
        (rule(None, Some("/refunds/")), "POST", "/refunds/1", true),
        (rule(None, Some("/refunds/")), "POST", "/refunds", false),
        (rule(None, Some("/")), "POST", "/pay", true),
        (rule(None, Some("/refunds")), "GET", "/refunds\\..\\pay", false),
        (rule(None, Some("/refunds")), "GET", "/x/refunds", false),
    ] {
        assert_eq!(rule.matches(method, path), listed, "{rule:?} {method} {path}");
    }
}

proptest! {
    /// Every text is a name or is refused; a name is what it was made from, and comes back from the wire.
    #[test]
    fn a_name_is_its_text(text in "[a-z0-9.-]{1,40}|.{0,20}") {
        let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase() || ".-".contains(c));
        prop_assert_eq!(named(&text).is_ok(), fits);
        if let Ok(name) = named(&text) {
            let wire = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<ThrottleName>(&wire).unwrap(), name);
        }
    }
}
