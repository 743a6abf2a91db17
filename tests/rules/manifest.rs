//! Manifests: what a file of EchoThrottles declares, and which mistakes are named where.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::domain::target::TargetSpec;
use echo_phoenix::domain::throttle::{Mode, SignalSpec};
use echo_phoenix::source::manifest::{LIMIT, parse};
use echo_phoenix::source::spec_rows::spec;
use proptest::prelude::*;

const HEAD: &str =
    "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {name: a}\n";

/// What is said of a document with this specification, in one line of YAML.
fn said(spec: &str) -> String {
    parse(&format!("{HEAD}spec: {spec}\n"))
        .map_or_else(|error| error.to_string(), |all| format!("{}", all[0].level))
}

#[test]
fn the_documents_example_declares_what_it_says() {
    let text = include_str!("../../docs/manifest.md");
    let example = text
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let all = parse(example).unwrap();
    let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["default", "payments.checkout"]);
    let TargetSpec::Gate(gate) = &all[1].spec.targets[0] else {
        panic!("{:?}", all[1])
    };
    assert_eq!(gate.key_header.as_deref(), Some("x-customer-id"));
    assert_eq!(gate.allow.len(), 2);
    assert_eq!(
        (
            all[0].level.to_string().as_str(),
            all[1].level.to_string().as_str()
        ),
        ("0", "0.25")
    );
    assert_eq!(
        (all[0].spec.mode, all[1].kill.is_none()),
        (Mode::Enforce, true)
    );
}

/// Specifications, and what is said of them.
const SPECIFICATIONS: &[(&str, &str)] = &[
    ("{throttlePercent: 25}", "0.25"),
    (
        "{throttlePercent: 101}",
        "document 1: spec.throttlePercent: expected a whole number from 0 to 100",
    ),
    (
        "{throttlePercent: -1}",
        "document 1: spec.throttlePercent: expected a whole number",
    ),
    (
        "{throttlePercent: 0.25}",
        "spec.throttlePercent: expected a whole number from 0 to 100, got 0.25; for 25 percent write 25",
    ),
    (
        "{throttlePercent: 25%}",
        "spec.throttlePercent: expected a whole number from 0 to 100, got the text `25%`; for 25 percent write 25",
    ),
    (
        "{throttlePercent: 2.5}",
        "spec.throttlePercent: expected a whole number from 0 to 100, got 2.5",
    ),
    (
        "{throttlePercent: '25'}",
        "got the text `25`; for 25 percent write 25",
    ),
    (
        "{throttlePercent: 400}",
        "spec.throttlePercent: expected a whole number from 0 to 100, got 400",
    ),
    (
        "{throttlePercent: .nan}",
        "file: error: line 4 column 25: non-finite",
    ),
    (
        "{throtlePercent: 25}",
        "spec.throtlePercent: there is no such field; did you mean throttlePercent? There are ",
    ),
    (
        "{mode: observ}",
        "document 1: spec.mode: expected Enforce or Observe, got observ",
    ),
    (
        "{ramp: {maxPercentPerSecond: 0}}",
        "document 1: spec.ramp.maxPercentPerSecond: expected a whole number from 1",
    ),
    ("{ramp: {max: 3}}", "spec.ramp.max: there is no such field"),
    (
        "{signals: {source: ''}}",
        "spec.signals.source: expected 1 to 128 characters",
    ),
    (
        "{signals: {errorsPerThousand: {calm: 9, full: 9}}}",
        "spec.signals.errorsPerThousand: expected calm below",
    ),
    (
        "{signals: {errorsPerThousand: {calm: 9, full: 1001}}}",
        "spec.signals.errorsPerThousand: expected calm",
    ),
    (
        "{signals: {latencyMs: {calm: -1, full: 9}}}",
        "spec.signals.latencyMs: expected calm below full",
    ),
    (
        "{signals: {latencyMs: {calm: 1}}}",
        "spec.signals.latencyMs",
    ),
    (
        "{signals: {errors: {calm: 1, full: 2}}}",
        "spec.signals.errors: there is no such field",
    ),
    (
        "{kill: {reason: r, operator: o, confirmation: kill}}",
        "spec.kill.confirmation: expected CONFIRM_KILL",
    ),
    (
        "{kill: {reason: r, confirmation: CONFIRM_KILL}}",
        "spec.kill",
    ),
    ("{targets: [{}]}", "spec.targets[0]: expected exactly one"),
    (
        "{targets: [{gate: {}}, {gate: {}}]}",
        "spec.targets: expected at most one gate",
    ),
    (
        "{targets: [{gate: {key: {header: 'a b'}}}]}",
        "spec.targets[0].gate.key.header: expected the name",
    ),
    (
        "{targets: [{gate: {allow: [{}]}}]}",
        "spec.targets[0].gate.allow[0]: expected method or path",
    ),
    (
        "{targets: [{gate: {allow: [{path: x}]}}]}",
        "spec.targets[0].gate.allow[0].path: expected",
    ),
    (
        "{targets: [{gate: {allow: [{paht: /x}]}}]}",
        "spec.targets[0].gate.allow[0].paht: there is no such field; did you mean path? There are method, path, evenWhileKilled",
    ),
    ("{targets: [{gate: {key: {heeder: x}}}]}", "heeder"),
    (
        "{ramp: {maxPercentPerSecond: fast}}",
        "spec.ramp.maxPercentPerSecond: expected a whole number from 1 to 100, got the text `fast`",
    ),
    (
        "{targets: {gate: {}}}",
        "spec.targets: expected a list, got fields",
    ),
    (
        "{targets: [{gate: on}]}",
        "spec.targets[0].gate: expected fields, got ",
    ),
];

#[test]
fn every_mistake_is_named_with_its_document_and_field() {
    for &(spec, wanted) in SPECIFICATIONS {
        let said = said(spec);
        assert!(said.contains(wanted), "{spec}\n said {said}\n not {wanted}");
    }
}

/// Remote sites, and what is said of them.
const SITES: &[(&str, &str)] = &[
    (
        "url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "0",
    ),
    (
        "url: 'http://127.0.0.1:8080/echo/', apiKeyEnv: ECHO_REMOTE_KEY_b_1, throttle: shop.checkout",
        "0",
    ),
    (
        "url: 'http://[::1]:8080', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "0",
    ),
    (
        "url: 'http://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: http:// would send the key as plain text",
    ),
    (
        "url: 'http://127.0.0.1.example', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: http:// would send the key as plain text",
    ),
    (
        "url: 'ftp://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: expected https://HOST",
    ),
    (
        "url: a.example, apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: expected https://HOST",
    ),
    (
        "url: 'https://user:word@a.example', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: expected https://HOST",
    ),
    (
        "url: 'https://a.example?key=1', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: expected https://HOST",
    ),
    (
        "url: 'https://a.example#x', apiKeyEnv: ECHO_REMOTE_KEY_A",
        "remote.url: expected https://HOST",
    ),
    ("url: 'https://a.example'", "spec.targets[0].remote"),
    // Any other variable of the process would be sent to whom the file names.
    (
        "url: 'https://a.example', apiKeyEnv: STRIPE_SECRET_KEY",
        "remote.apiKeyEnv: expected a variable ECHO_REMOTE_KEY_NAME",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: PATH",
        "remote.apiKeyEnv: expected a variable ECHO_REMOTE_KEY_NAME",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: ''",
        "remote.apiKeyEnv: expected a variable ECHO_REMOTE_KEY_NAME",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_",
        "remote.apiKeyEnv: expected a variable",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A-B",
        "remote.apiKeyEnv: expected a variable",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A_FILE",
        "remote.apiKeyEnv: expected a variable",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: XECHO_REMOTE_KEY_A",
        "remote.apiKeyEnv: expected a variable",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A, throttle: A_b",
        "remote.throttle: expected the name of a throttle",
    ),
    (
        "url: 'https://a.example', apiKeySecretRef: {name: n, key: k}",
        "missing field `apiKeyEnv`",
    ),
    (
        "url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A, key: k",
        "key: there is no such field",
    ),
];

#[test]
fn every_mistake_about_a_remote_site_is_named() {
    let remote = |inside: &str| said(&format!("{{targets: [{{remote: {{{inside}}}}}]}}"));
    for &(inside, wanted) in SITES {
        let said = remote(inside);
        assert!(
            said.contains(wanted),
            "{inside}\n said {said}\n not {wanted}"
        );
    }
    let twice = "remote: {url: 'https://a.example', apiKeyEnv: ECHO_REMOTE_KEY_A}";
    let twice = said(&format!(
        "{{targets: [{{{twice}}}, {{{}}}]}}",
        twice.replace("example'", "example/'")
    ));
    assert!(
        twice.contains("a remote throttle is named twice in this file"),
        "{twice}"
    );
    let scale = "{targets: [{scale: {apiVersion: apps/v1, kind: Deployment, name: w}}]}";
    assert!(said(scale).contains("in a cluster only"), "{}", said(scale));
}

#[test]
fn an_allow_rule_that_matches_nothing_or_everything_is_refused_and_so_is_a_canary_with_a_password()
{
    let table = [
        (
            "{targets: [{gate: {allow: [{path: '/refunds/*'}]}}]}",
            "allow[0].path: this can match nothing: expected a plain path, as /refunds,",
        ),
        (
            "{targets: [{gate: {allow: [{path: /x}, {method: get, path: /x}]}}]}",
            "allow[1].method: expected GET",
        ),
        (
            "{targets: [{gate: {allow: [{path: /}]}}]}",
            "allow[0]: this lets everything through, while killed too",
        ),
        (
            "{targets: [{gate: {allow: [{method: POST}]}}]}",
            "or evenWhileKilled: true to confirm it",
        ),
        (
            "{targets: [{gate: {allow: [{method: POST, evenWhileKilled: true}, {path: /, evenWhileKilled: true}]}}]}",
            "0",
        ),
        (
            "{targets: [{gate: {allow: [{path: /x, evenWhileKilled: true}]}}]}",
            "allow[0].evenWhileKilled: expected only beside",
        ),
        (
            "{targets: [{gate: {allow: [{method: OPTIONS}, {method: HEAD}, {path: /x, evenWhileKilled: false}]}}]}",
            "0",
        ),
        (
            "{targets: [{gate: {canaryUrl: 'https://dana:hunter2@shop.example/'}}]}",
            "gate.canaryUrl: expected no user and no password",
        ),
        (
            "{targets: [{gate: {canaryUrl: 'https://dana@shop.example'}}]}",
            "gate.canaryUrl: expected no user and no password",
        ),
        (
            "{targets: [{gate: {canaryUrl: 'https://shop.example/@dana?a@b'}}]}",
            "0",
        ),
    ];
    for (spec, wanted) in table {
        let said = said(spec);
        assert!(said.contains(wanted), "{spec}\n said {said}\n not {wanted}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn signals_are_read_in_the_units_of_the_law() {
    let text = format!(
        "{HEAD}spec: {{signals: {{source: prometheus, errorsPerThousand: {{calm: 5, full: 50}}, latencyMs: {{calm: 100, full: 400}}}}}}\n"
    );
    let signals = parse(&text).unwrap().remove(0).spec.signals;
    assert_eq!(signals.source.as_deref(), Some("prometheus"));
    assert_eq!(
        (signals.errors, signals.latency_ms),
        (Some((0.005, 0.05)), Some((100.0, 400.0)))
    );
    assert_eq!(
        parse(&format!("{HEAD}spec: {{}}\n")).unwrap()[0]
            .spec
            .signals,
        SignalSpec::default()
    );
}

#[test]
fn what_is_told_back_declares_the_same() {
    let specs = [
        "{}",
        "{throttlePercent: 25, mode: Observe, ramp: {maxPercentPerSecond: 7}}",
        "{signals: {source: s, errorsPerThousand: {calm: 1, full: 7}, latencyMs: {calm: 0, full: 33}}}",
        "{targets: [{gate: {key: {header: x-tenant}, allow: [{method: OPTIONS}, {path: /refunds}, {path: /, evenWhileKilled: true}], canaryUrl: 'http://a/'}}]}",
        "{targets: [{gate: {}}, {remote: {url: 'https://b/', apiKeyEnv: ECHO_REMOTE_KEY_B, throttle: t}}]}",
    ];
    for text in specs {
        let first = parse(&format!("{HEAD}spec: {text}\n")).unwrap().remove(0);
        let told = serde_json::to_string(&spec(first.level, &first.spec)).unwrap();
        assert_eq!(
            parse(&format!("{HEAD}spec: {told}\n")).unwrap(),
            [first],
            "{told}"
        );
    }
}

/// Files made of one that is good, and what is said of them.
fn files(good: &str) -> [(String, &'static str); 16] {
    [
        (String::new(), "file: expected at least one EchoThrottle"),
        (
            "---\n---\n".to_owned(),
            "file: expected at least one EchoThrottle",
        ),
        ("a: [".to_owned(), "file:"),
        ("[]".to_owned(), "document 1: expected an EchoThrottle"),
        (
            good.replace("metadata: {name: a}\n", ""),
            "document 1: missing field `metadata`",
        ),
        (
            format!("{good}---\n{good}"),
            "document 2: metadata.name: a is declared twice",
        ),
        (
            good.replace("name: a", "name: A_b"),
            "document 1: metadata.name",
        ),
        (
            good.replace("metadata: {name: a}", "metadata: {}"),
            "document 1: metadata",
        ),
        (
            good.replace("v1alpha1", "v2"),
            "document 1: apiVersion: expected echo-phoenix.dev/v1alpha1, got echo-phoenix.dev/v2",
        ),
        (
            good.replace("metadata:", "metdata:"),
            "did you mean metadata?",
        ),
        (
            good.replace("EchoThrottle", "EchoOverride"),
            "document 1: kind: expected EchoThrottle, got EchoOverride",
        ),
        (format!("{good}more: 1\n"), "document 1: more"),
        (
            format!(
                "{good}---\n{}",
                good.replace("throttlePercent: 1", "throttlePercent: 200")
            ),
            "document 2",
        ),
        ("x".repeat(LIMIT + 1), "expected at most 16777216 bytes"),
        (
            "a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n".to_owned(),
            "document 1",
        ),
        (
            format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)),
            "file:",
        ),
    ]
}

#[test]
fn mistakes_of_the_file_itself_are_named() {
    let good = format!("{HEAD}spec: {{throttlePercent: 1}}\n");

    for (text, wanted) in files(&good) {
        let said = parse(&text).unwrap_err().to_string();
        assert!(
            said.contains(wanted),
            "{:.200}\n said {said:.300}\n not {wanted}",
            text
        );
    }
    // What kubectl and editors leave in a file does no harm.
    let kubectl = format!(
        "\u{feff}# mine\n{}status: {{observedGeneration: 4}}\n",
        good.replace("name: a", "name: a, uid: u")
    );
    assert_eq!(parse(&kubectl).unwrap().len(), 1);
    assert_eq!(parse(&good.replace('\n', "\r\n")).unwrap().len(), 1);
}

proptest! {
    /// Whatever a file says, it is refused or obeyed as written; nothing panics.
    #[test]
    fn no_text_breaks_the_parser(text in "\\PC{0,200}", cut in 0usize..200) {
        let _ = parse(&text);
        let good = format!("{HEAD}spec: {{throttlePercent: 40, ramp: {{maxPercentPerSecond: 3}}}}\n");
        let cut = good.get(..cut.min(good.len())).unwrap_or_default();
        if let Ok(all) = parse(cut) {
            prop_assert!(all.iter().all(|one| one.name.as_str() == "a" && one.level.fraction() <= 1.0));
        }
    }
}

/// A bound is named with the line that goes beyond it and with what to do, and one below it is
/// none.
#[test]
fn a_file_beyond_a_bound_is_told_which_and_the_way_out() {
    let throttle = |number: usize| {
        format!(
            "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: t{number}}}\nspec: {{throttlePercent: 0}}\n"
        )
    };
    let documents = |count: usize| (0..count).map(throttle).collect::<Vec<_>>().join("---\n");
    assert_eq!(parse(&documents(10_000)).unwrap().len(), 10_000);
    let with = |status: String| format!("{}status: {status}\n", throttle(0));
    let aliases = format!("[&a 1, {}]", vec!["*a"; 200].join(", "));
    for (text, said) in [
        (
            documents(10_001),
            "file: expected at most 10000 documents, one a throttle, those counted in which nothing stands; line 50000 begins one \
             more: leave out throttles that nobody asks for, or give some to a service of their own",
        ),
        (
            format!("{}{}", throttle(0), "---\n".repeat(10_000)),
            "expected at most 10000 documents",
        ),
        (
            with(format!("{}{}", "[".repeat(70), "]".repeat(70))),
            "expected at most 64 levels of nesting, and line 5 has more",
        ),
        (with(aliases), "expected fewer aliases (`*name`, `<<`)"),
        (
            with(format!("[{}1]", "1,".repeat(1_000_000))),
            "which is too much to be read by line 5: leave out",
        ),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("budget"), "{error}");
    }
}
