//! The rules that an API server would hold for an EchoThrottle, over the same types. Pure.
//!
//! Knows the read specification alone: not its text, nor the document and the file it stands in.

use super::{InvalidField, field_error};
use crate::config::{REMOTE_KEY_FORM, is_remote_key};
use crate::domain::target::{NO_USER, bears_user};
use crate::domain::text::is_blank;
use crate::domain::throttle::{AllowFlaw, AllowRule, ThrottleName};
use crate::source::crd::{Band, EchoThrottleSpec};
use crate::source::crd_override::CONFIRMATION;
use crate::source::crd_remote::RemoteTarget;
use crate::source::crd_target::{EXACTLY_ONE, GateTarget, SpecTarget};

/// The rules that the API server holds for a resource, by schema and CEL.
pub(super) fn broken_rules(spec: &EchoThrottleSpec) -> Vec<InvalidField> {
    let mut wrong = Vec::new();
    let mut rule = |holds: bool, field: &str, expected: &str| {
        if !holds {
            wrong.push(field_error(field, expected));
        }
    };
    let (percent, ramp) = (spec.throttle_percent, spec.ramp.max_percent_per_second);
    let expected = format!("expected a whole number from 0 to 100, got {percent}");
    rule(
        (0..=100).contains(&percent),
        "spec.throttlePercent",
        &expected,
    );
    let expected = format!("expected a whole number from 1 to 100, got {ramp}");
    rule(
        (1..=100).contains(&ramp),
        "spec.ramp.maxPercentPerSecond",
        &expected,
    );
    if let Some(signals) = &spec.signals {
        let source = signals
            .source
            .as_deref()
            .is_none_or(|source| fits(source, 128));
        rule(
            source,
            "spec.signals.source",
            "expected 1 to 128 characters",
        );
        let band = |band: Option<Band>, most: i32| {
            band.is_none_or(|band| band.calm >= 0 && band.calm < band.full && band.full <= most)
        };
        let field = "spec.signals.errorsPerThousand";
        rule(
            band(signals.errors_per_thousand, 1000),
            field,
            "expected calm below full, both from 0 to 1000",
        );
        let field = "spec.signals.latencyMs";
        rule(
            band(signals.latency_ms, 3_600_000),
            field,
            "expected calm below full, both from 0 to 3600000",
        );
    }
    rule(
        spec.targets.len() <= 64,
        "spec.targets",
        "expected at most 64",
    );
    if let Some(kill) = &spec.kill {
        rule(
            kill.confirmation == CONFIRMATION,
            "spec.kill.confirmation",
            "expected CONFIRM_KILL",
        );
    }
    let gates = spec
        .targets
        .iter()
        .filter(|target| target.gate.is_some())
        .count();
    rule(gates <= 1, "spec.targets", "expected at most one gate");
    for (index, target) in spec.targets.iter().enumerate() {
        target_rules(index, target, &mut rule);
    }
    wrong
}

fn target_rules(index: usize, target: &SpecTarget, rule: &mut impl FnMut(bool, &str, &str)) {
    let at = |field: &str| format!("spec.targets[{index}]{field}");
    rule(target.is_one(), &at(""), EXACTLY_ONE);
    if let Some(remote) = &target.remote {
        remote_rules(index, remote, rule);
    }
    rule(
        target.scale.is_none(),
        &at(".scale"),
        "workloads are scaled in a cluster only: echo-phoenix operator",
    );
    if let Some(gate) = &target.gate {
        gate_rules(index, gate, rule);
    }
}

fn gate_rules(index: usize, gate: &GateTarget, rule: &mut impl FnMut(bool, &str, &str)) {
    let at = |field: &str| format!("spec.targets[{index}].gate{field}");
    if let Some(key) = &gate.key {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let is_name = (1..=128).contains(&key.header.len()) && key.header.bytes().all(token);
        rule(
            is_name,
            &at(".key.header"),
            "expected the name of a request header",
        );
    }
    if let Some(url) = &gate.canary_url {
        let is_url = fits(url, 2048) && (url.starts_with("http://") || url.starts_with("https://"));
        rule(
            is_url,
            &at(".canaryUrl"),
            "expected a URL that begins with http:// or https://",
        );
        rule(!bears_user(url), &at(".canaryUrl"), NO_USER);
    }
    rule(gate.allow.len() <= 64, &at(".allow"), "expected at most 64");
    for (number, allow) in gate.allow.iter().enumerate() {
        if let Some(AllowFlaw { field, expected }) = AllowRule::from(allow).flaw() {
            let field = if field.is_empty() {
                String::new()
            } else {
                format!(".{field}")
            };
            rule(false, &at(&format!(".allow[{number}]{field}")), &expected);
        }
    }
}

fn remote_rules(index: usize, remote: &RemoteTarget, rule: &mut impl FnMut(bool, &str, &str)) {
    let at = |field: &str| format!("spec.targets[{index}].remote.{field}");
    let site = Site::of(&remote.url);
    let expected = "expected https://HOST, with a port and a path if need be, and nothing else";
    rule(site.is_some(), &at("url"), expected);
    let plain = "http:// would send the key as plain text: expected https://, or http:// to this machine (127.0.0.1, [::1], localhost)";
    rule(
        site.is_none_or(|site| site.tls || site.local),
        &at("url"),
        plain,
    );
    rule(
        is_remote_key(&remote.api_key_env),
        &at("apiKeyEnv"),
        REMOTE_KEY_FORM,
    );
    let throttle = ThrottleName::try_from(remote.throttle.clone()).is_ok();
    rule(
        throttle,
        &at("throttle"),
        "expected the name of a throttle there: a-z, 0-9, - and .",
    );
}

/// Where another site is.
#[derive(Clone, Copy)]
struct Site {
    tls: bool,
    local: bool,
}

impl Site {
    /// Of a URL that has no more than scheme, host, port and path: what else there could be might
    /// be a secret, and would be told with every error.
    fn of(url: &str) -> Option<Self> {
        let parsed: http::Uri = url.parse().ok()?;
        let (scheme, authority) = (parsed.scheme_str()?, parsed.authority()?);
        let odd = url.contains(['?', '#', '@', '\\']) || url.len() > 1024;
        if odd || !matches!(scheme, "http" | "https") || authority.host().is_empty() {
            return None;
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let local = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        Some(Self {
            tls: scheme == "https",
            local,
        })
    }
}

fn fits(text: &str, limit: usize) -> bool {
    !is_blank(text) && text.chars().count() <= limit
}
