//! Gates as a target: how a throttle bites at them, and what they say of themselves.
//!
//! Knows nothing of verdicts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::level::Level;
use crate::domain::throttle::allow::AllowRule;

/// How a throttle bites at gates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSpec {
    /// Header, lower case, whose value names the caller; absent: callers are not told apart.
    pub key_header: Option<String>,
    /// Routes that are never refused.
    pub allow: Vec<AllowRule>,
    /// A URL behind the real proxy whose verdicts are asked of the self-test's throttle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_url: Option<String>,
}

impl GateSpec {
    /// The rules that are applied: what was stored by a version that took any is not believed.
    pub fn applied(&self) -> impl Iterator<Item = &AllowRule> {
        self.allow.iter().filter(|rule| rule.flaw().is_none())
    }

    /// What of this is not applied, and why: for logs and reports.
    pub fn ignored(&self) -> Vec<String> {
        let flawed = self
            .allow
            .iter()
            .enumerate()
            .filter_map(|(number, rule)| Some((number, rule, rule.flaw()?)));
        let mut all: Vec<_> = flawed
            .map(|(number, rule, flaw)| {
                let field = if flaw.field.is_empty() {
                    String::new()
                } else {
                    format!("{}: ", flaw.field)
                };
                format!("allow[{number}] {}: {field}{}", rule.words(), flaw.expected)
            })
            .collect();
        if self.canary_url.as_deref().is_some_and(bears_user) {
            all.push(format!("canaryUrl: {NO_USER}"));
        }
        all
    }
}

/// What is expected of an address that bears a user or a password.
pub const NO_USER: &str =
    "expected no user and no password: an address is told in logs and answers";

/// Whether an address bears a user or a password before its host.
pub fn bears_user(address: &str) -> bool {
    let after = address.split_once("://").map_or(address, |(_, rest)| rest);
    after
        .split(['/', '?', '#', '\\'])
        .next()
        .unwrap_or(after)
        .contains('@')
}

/// What the gates of one throttle said of themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GateReadBack {
    /// How many gates there are.
    pub gates: i32,
    /// How many of them obey exactly the holds in force.
    pub obeying: i32,
    /// Age of the oldest word from one of them, seconds.
    pub oldest_age_s: i64,
    /// Requests offered a minute, over all gates.
    pub offered_rpm: f64,
    /// Since when that was measured, by the monotonic clock; none while no window is whole.
    pub measured_from: Option<Duration>,
    /// The level that was found in force, a kill's full stop included; none where they do not tell.
    pub level: Option<Level>,
    /// Whether a kill began since the pass before this one did, be it over or not.
    pub held: bool,
    /// Share they were measured to refuse, fraction; none while too little was asked or they do not
    /// tell.
    pub refused: Option<f64>,
    /// Whether that has differed from the level in force for three ticks; of a throttle with a key:
    /// whether a caller was told something else than its level gives.
    pub off: bool,
    /// Callers seen in this hour, about; only where the throttle declares a key, whose level is a
    /// share of them.
    pub callers: Option<u64>,
}
