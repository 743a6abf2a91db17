//! What is declared of a throttle: its name, its owner, its targets and the routes it never
//! refuses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::{GateSpec, ScaleSpec, TargetKind, TargetSpec};
use echo_phoenix::domain::throttle::{
    AllowRule, Declared, Mode, NAME_LIMIT, Owner, SignalSpec, Spec, ThrottleName, is_plain,
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
    for good in [
        "a",
        "default",
        "shop.checkout",
        "0-9.z",
        &"x".repeat(NAME_LIMIT),
    ] {
        assert_eq!(
            named(good).map(|name| (name.as_str().to_owned(), name.to_string())),
            Ok((good.into(), good.into()))
        );
    }
    for bad in [
        "",
        "A",
        "shop/checkout",
        "_self-test",
        "ä",
        "a b",
        "a\n",
        "`",
        "{",
        "/",
        ":",
        &"x".repeat(NAME_LIMIT + 1),
    ] {
        let told = named(bad).unwrap_err();
        assert!(
            told.starts_with('`') && told.ends_with("expected 1 to 317 of a-z, 0-9, `-` and `.`"),
            "{bad}: {told}"
        );
        assert!(
            told.len() < 200,
            "an error does not repeat a long text whole"
        );
    }
    assert!(
        named("Pay")
            .unwrap_err()
            .starts_with("`Pay` is no throttle name")
    );
}

#[test]
fn a_name_in_a_cluster_comes_apart_as_it_was_made() {
    let name = ThrottleName::in_namespace("shop", "checkout.v2");
    assert_eq!(
        (name.as_str(), name.split()),
        ("shop.checkout.v2", Some(("shop", "checkout.v2")))
    );
    assert_eq!(
        ThrottleName::default_throttle().split(),
        None,
        "a service has no namespaces"
    );
    assert_eq!(ThrottleName::default_throttle().as_str(), "default");
}

#[test]
fn nobody_can_declare_the_throttle_of_the_self_test() {
    let own = ThrottleName::self_test();
    assert_eq!(own.as_str(), "_self-test");
    assert!(named(own.as_str()).is_err());
    assert!(
        serde_json::from_str::<ThrottleName>("\"_self-test\"").is_err(),
        "nor by a stored or sent text"
    );
}

#[test]
fn an_owner_is_read_back_by_its_word_and_an_unknown_one_is_a_cluster() {
    for (owner, word) in [
        (Owner::Rest, "rest"),
        (Owner::Manifest, "manifest"),
        (Owner::Cluster, "cluster"),
    ] {
        assert_eq!((owner.as_str(), Owner::of_word(word)), (word, owner));
    }
    for unknown in ["", "Rest", "helm"] {
        assert_eq!(
            Owner::of_word(unknown),
            Owner::Cluster,
            "nobody here may lower what `{unknown}` declared"
        );
    }
}

#[test]
fn a_target_is_told_apart_by_kind_and_id() {
    let gate = TargetSpec::Gate(GateSpec::default());
    assert_eq!(
        (gate.kind(), gate.id().as_str()),
        (TargetKind::Gate, "gate")
    );
    assert_eq!(
        (workload().kind(), workload().id().as_str()),
        (TargetKind::Scale, "apps/v1/Deployment/checkout")
    );
}

#[test]
fn a_bare_declaration_enforces_on_the_gate_and_opens_by_two_points_a_second() {
    let half = Level::new(0.5).unwrap();
    let bare = Declared::bare(ThrottleName::default_throttle(), half);
    assert_eq!(
        (bare.level, bare.stored, bare.generation, bare.owner),
        (half, half, 1, Owner::Rest)
    );
    assert_eq!((bare.holds.len(), bare.evidence.is_empty()), (0, true));
    let spec = bare.spec();
    assert_eq!(
        spec,
        Spec::default(),
        "what a declaration leaves out means the same wherever it came from"
    );
    assert_eq!(
        (
            spec.mode,
            spec.ramp_percent_per_second,
            spec.targets[0].id().as_str()
        ),
        (Mode::Enforce, 2.0, "gate")
    );
    assert_eq!(
        (spec.targets.len(), spec.signals),
        (1, SignalSpec::default())
    );
}

#[test]
fn a_specification_is_taken_over_whole_and_leaves_the_rest_alone() {
    let gate = GateSpec {
        key_header: Some("x-tenant".to_owned()),
        ..GateSpec::default()
    };
    let spec = Spec {
        mode: Mode::Observe,
        ramp_percent_per_second: 7.5,
        targets: vec![workload(), TargetSpec::Gate(gate.clone())],
        signals: SignalSpec {
            source: Some("canary".to_owned()),
            ..SignalSpec::default()
        },
    };
    let before = Declared::bare(ThrottleName::default_throttle(), Level::OPEN);
    assert_eq!(before.gate(), GateSpec::default());
    let mut after = before.clone();
    after.set_spec(spec.clone());
    assert_eq!((after.spec(), after.gate()), (spec, gate));
    after.set_spec(before.spec());
    assert_eq!(after, before);
    let without = Declared {
        targets: vec![workload()],
        ..before
    };
    assert_eq!(
        without.gate(),
        GateSpec::default(),
        "a throttle without a gate of its own bites by the defaults"
    );
}

/// A rule of a manifest, unconfirmed.
fn allow(method: Option<&str>, path: Option<&str>) -> AllowRule {
    AllowRule {
        method: method.map(str::to_owned),
        path: path.map(str::to_owned),
        even_while_killed: false,
    }
}

#[test]
fn a_path_that_an_app_may_read_as_another_is_on_no_list() {
    let rule = allow(None, Some("/refunds"));
    for plain in [
        "/refunds",
        "/refunds/",
        "/refunds/7",
        "/refunds/.well-known",
        "/refunds/a-b_c~d.e/!$&'()*+,=:@",
    ] {
        assert!(is_plain(plain) && rule.matches("GET", plain), "{plain}");
    }
    for odd in [
        "/refunds/../pay",
        "/refunds/..",
        "/refunds/./pay",
        "/refunds/.",
        "/refunds/%2e%2e/pay",
        "/refunds//pay",
        "/refunds;/pay",
        "/refunds/..;/pay",
        "/refunds\\..\\pay",
        "/refunds#/../../pay",
        "/refunds#",
        "/refunds/{id}",
        "/refunds/|",
        "/refunds/^",
        "/refunds/`",
        "/refunds/<b>",
        "/refunds/\"x\"",
        "/refunds/[1]",
        "/refunds/a b",
        "/refunds/a\tb",
        "/refunds/\u{7f}",
        "/refunds/\u{0}",
        "/refunds/\u{e9}",
        "/refunds/\u{ff0e}\u{ff0e}/pay",
        "refunds",
        "",
        "*",
    ] {
        assert!(!is_plain(odd) && !rule.matches("GET", odd), "{odd:?}");
        assert!(
            !allow(Some("OPTIONS"), None).matches("OPTIONS", odd),
            "on no list, by its method neither: {odd:?}"
        );
    }
    assert!(!rule.matches("GET", "/refundsx") && !rule.matches("GET", "/pay"));
    assert!(
        !allow(None, None).matches("GET", "/"),
        "a rule that says nothing lets nothing through"
    );
}

#[test]
fn an_allow_rule_lets_through_what_fits_all_it_says() {
    for (rule, method, path, listed) in [
        (allow(Some("GET"), None), "GET", "/anything/at/all", true),
        (allow(Some("GET"), None), "POST", "/refunds", false),
        (allow(Some("GET"), None), "get", "/refunds", false),
        (
            allow(Some("GET"), Some("/refunds")),
            "GET",
            "/refunds/1",
            true,
        ),
        (
            allow(Some("GET"), Some("/refunds")),
            "POST",
            "/refunds/1",
            false,
        ),
        (allow(Some("GET"), Some("/refunds")), "GET", "/pay", false),
        (allow(None, Some("/refunds")), "POST", "/refunds", true),
        (allow(None, Some("/refunds/")), "POST", "/refunds/1", true),
        (allow(None, Some("/refunds/")), "POST", "/refunds", false),
        (allow(None, Some("/")), "POST", "/pay", true),
        (allow(None, Some("/refunds")), "GET", "/x/refunds", false),
    ] {
        assert_eq!(
            rule.matches(method, path),
            listed,
            "{rule:?} {method} {path}"
        );
    }
}

/// What is wrong with a rule: the field, and a word of what is said of it.
#[test]
fn a_rule_that_matches_nothing_or_everything_is_flawed_and_the_right_form_is_named() {
    for (method, path, field, word) in [
        (None, None, "", "expected method or path"),
        (Some("get"), None, "method", "expected GET"),
        (Some("Get"), Some("/x"), "method", "expected GET"),
        (Some("GET POST"), None, "method", "one method"),
        (Some("*"), Some("/x"), "method", "one method"),
        (Some(""), Some("/x"), "method", "one method"),
        (None, Some("refunds"), "path", "beginning with /"),
        (None, Some(""), "path", "beginning with /"),
        (None, Some("/refunds/*"), "path", "as /refunds, which"),
        (None, Some("/refunds/{id}/x"), "path", "as /refunds, which"),
        (None, Some("/refunds/:id"), "path", "as /refunds, which"),
        (None, Some("/refunds(/.*)?"), "path", "plain path;"),
        (None, Some("/v1/refunds?dry=1"), "path", "as /v1, which"),
        (None, Some("/refunds%2Fx"), "path", "none of %"),
        (None, Some("/a/refunds;v=1"), "path", "as /a, which"),
        (None, Some("/refunds#top"), "path", "plain path;"),
        (None, Some("/refunds//x"), "path", "as /refunds, which"),
        (None, Some("/refunds/../x"), "path", "as /refunds, which"),
        (None, Some("/refunds/."), "path", "as /refunds, which"),
        (None, Some("/r\u{fc}ck"), "path", "plain path;"),
        (None, Some("/a b"), "path", "plain path;"),
        (None, Some("/"), "", "evenWhileKilled: true"),
        (Some("GET"), None, "", "evenWhileKilled: true"),
        (Some("POST"), Some("/"), "", "evenWhileKilled: true"),
    ] {
        let flaw = allow(method, path)
            .flaw()
            .unwrap_or_else(|| panic!("{method:?} {path:?}"));
        assert!(
            flaw.field == field && flaw.expected.contains(word),
            "{method:?} {path:?}: {flaw:?}"
        );
    }
    let good = [
        (None, Some("/refunds")),
        (Some("GET"), Some("/refunds/")),
        (Some("OPTIONS"), None),
        (Some("HEAD"), None),
        (Some("OPTIONS"), Some("/")),
        (Some("M-SEARCH"), Some("/x")),
        (None, Some("/.well-known/x")),
    ];
    for (method, path) in good {
        assert_eq!(allow(method, path).flaw(), None, "{method:?} {path:?}");
        let needless = AllowRule {
            even_while_killed: true,
            ..allow(method, path)
        }
        .flaw()
        .unwrap();
        assert_eq!(needless.field, "evenWhileKilled", "{method:?} {path:?}");
    }
    for (method, path) in [
        (None, Some("/")),
        (Some("GET"), None),
        (Some("GET"), Some("/")),
    ] {
        assert_eq!(
            AllowRule {
                even_while_killed: true,
                ..allow(method, path)
            }
            .flaw(),
            None,
            "{method:?} {path:?}"
        );
    }
}

proptest! {
    /// A rule without a flaw matches something: its own path, by its own method.
    #[test]
    fn a_rule_without_a_flaw_matches_its_own_path(method in prop::option::of("[A-Za-z*]{0,4}"), path in prop::option::of("[/a.%;*{}#é:]{0,6}"), even_while_killed: bool) {
        let rule = AllowRule { method, path, even_while_killed };
        if rule.flaw().is_none() {
            let (method, path) = (rule.method.as_deref().unwrap_or("GET"), rule.path.as_deref().unwrap_or("/x"));
            prop_assert!(rule.matches(method, path), "{:?}", rule);
        }
    }

    /// However a path is read by whoever collapses, decodes, cuts or resolves, a plain one stays
    /// what it is.
    #[test]
    fn a_plain_path_is_read_alike_by_every_router(path in "[/a.%2eE;\\\\#? é:~-]{0,12}") {
        if is_plain(&path) {
            let collapsed = path.split('/').skip(1).filter(|segment| !segment.is_empty() && *segment != ".");
            let rejoined = format!("/{}", collapsed.collect::<Vec<_>>().join("/"));
            prop_assert_eq!(rejoined.trim_end_matches('/'), path.trim_end_matches('/'));
            prop_assert!(!path.contains("..") && !path.contains(['%', ';', '\\', '#', '?', ' ']) && path.is_ascii());
        }
    }
}

proptest! {
    /// Every text is a name or is refused; a name is what it was made from, and comes back from the
    /// wire.
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
