//! What is declared of a throttle besides its level: how strictly, how fast, and what it acts on.

use serde::{Deserialize, Serialize};

use super::ThrottleName;
use super::allow::AllowRule;

/// Whether differences are corrected or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Correct every drift.
    #[default]
    Enforce,
    /// Report drift, change nothing; a kill still closes the gates.
    Observe,
}

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

/// A workload whose replicas follow the throttle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScaleSpec {
    /// `apps/v1`, for example.
    pub api_version: String,
    /// `Deployment`, for example; anything that has a `scale` subresource.
    pub kind: String,
    /// Object name, in the throttle's namespace.
    pub name: String,
    /// Whether replicas follow the declared level, or a kill only.
    pub proportional: bool,
    /// Fewest replicas while not killed; only meaningful with `proportional`.
    pub min_replicas: i32,
}

/// A throttle of another Echo Phoenix, which obeys this one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RemoteSpec {
    /// Where it is, without a `/` at the end.
    pub url: String,
    /// The environment variable that has the key to it; the key itself is stored nowhere.
    pub api_key_env: String,
    /// Its throttle there.
    pub throttle: ThrottleName,
}

/// One thing a throttle acts on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetSpec {
    /// Verdicts, here and in every gate process.
    Gate(GateSpec),
    /// Replicas of a workload.
    Scale(ScaleSpec),
    /// A throttle of another site.
    Remote(RemoteSpec),
}

/// The kinds of target, as labels and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// See [`TargetSpec::Gate`].
    Gate,
    /// See [`TargetSpec::Scale`].
    Scale,
    /// See [`TargetSpec::Remote`].
    Remote,
}

impl TargetSpec {
    /// The kind, for finding the code that acts on it.
    pub fn kind(&self) -> TargetKind {
        match self {
            Self::Gate(_) => TargetKind::Gate,
            Self::Scale(_) => TargetKind::Scale,
            Self::Remote(_) => TargetKind::Remote,
        }
    }

    /// Stable text that tells targets of one throttle apart: `gate`, `apps/v1/Deployment/checkout`,
    /// `remote/https://echo.example.com/default`.
    pub fn id(&self) -> String {
        match self {
            Self::Gate(_) => "gate".to_owned(),
            Self::Scale(s) => format!("{}/{}/{}", s.api_version, s.kind, s.name),
            Self::Remote(r) => r.id(),
        }
    }
}

impl RemoteSpec {
    /// See [`TargetSpec::id`].
    pub fn id(&self) -> String {
        format!("remote/{}/{}", self.url, self.throttle)
    }
}

/// What the control law goes by: whose measurements, and from where on they count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalSpec {
    /// The `source` of `POST /observe` that has to report; none: whoever reports is believed, and
    /// nobody is missed.
    pub source: Option<String>,
    /// Failed share of requests, fraction 0..=1: from where on it counts, and where it counts
    /// fully.
    pub errors: Option<(f64, f64)>,
    /// Latency, milliseconds: from where on it counts, and where it counts fully.
    pub latency_ms: Option<(f64, f64)>,
}

/// What is declared about one throttle besides its level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Whether differences are corrected.
    pub mode: Mode,
    /// Fastest opening when no source of evidence is declared, percent points a second.
    pub ramp_percent_per_second: f64,
    /// What it acts on, in the order declared.
    pub targets: Vec<TargetSpec>,
    /// What the control law goes by.
    #[serde(default)]
    pub signals: SignalSpec,
}

impl Spec {
    /// The same, where nothing is exempt and differences are corrected.
    #[must_use]
    pub fn without_exemptions(mut self) -> Self {
        self.mode = Mode::Enforce;
        for target in &mut self.targets {
            if let TargetSpec::Gate(gate) = target {
                gate.allow.clear();
            }
        }
        self
    }
}

impl Default for Spec {
    fn default() -> Self {
        let targets = vec![TargetSpec::Gate(GateSpec::default())];
        Self {
            mode: Mode::Enforce,
            ramp_percent_per_second: 2.0,
            targets,
            signals: SignalSpec::default(),
        }
    }
}
