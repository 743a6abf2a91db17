//! Answers as the command line reads them: only what it tells, so that a newer service may answer
//! more.
//!
//! Whether a kill is whole is decided here, and only here.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::source::crd::EchoThrottleSpec;
use crate::source::crd_status::EchoThrottleStatus;

/// `GET /health`
#[derive(Clone, Debug, Deserialize)]
pub struct HealthSummary {
    /// healthy, degraded or unhealthy.
    pub status: String,
    /// Version of the program.
    pub version: String,
    /// The role it plays.
    pub mode: String,
    /// Whole seconds since it started.
    pub uptime_seconds: i64,
    /// The highest level in force, 0 to 1.
    pub throttle_pct: f64,
    /// Whether any throttle is killed.
    pub killed: bool,
    /// Each part: `ok`, what is wrong with it, or the variable that turns it on.
    #[serde(default, deserialize_with = "in_words")]
    pub checks: BTreeMap<String, String>,
}

/// A part's state as text, whatever a newer service says of it.
fn in_words<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let told = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let words = |value: Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    Ok(told
        .into_iter()
        .map(|(part, state)| (part, words(state)))
        .collect())
}

/// Who keeps a throttle killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct HeldRow {
    /// Its id, opaque.
    pub epoch: String,
    /// Who keeps it: rest, spec, manifest, or an override's kind and name.
    pub source: String,
    /// Who took it, as they said.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// When, RFC 3339; empty where nobody tells.
    #[serde(default)]
    pub since: String,
}

/// `POST /kill`
#[derive(Clone, Debug, Deserialize)]
pub struct KillSummary {
    /// Always true.
    pub killed: bool,
    /// Id of the hold.
    pub epoch: Option<String>,
    /// When the gates were shut, RFC 3339.
    pub latched_at: Option<String>,
    /// Whether it was killed before, so that this order changed nothing.
    #[serde(default)]
    pub already_killed: bool,
    /// Whether the ledger has it, or is owed it.
    pub audit: String,
    /// Whether it outlives a crash.
    pub durable: bool,
    /// What has been enforced.
    pub targets: Vec<KilledTargetRow>,
    /// Number of the audit entry.
    pub audit_id: Option<i64>,
    /// What whoever sent it should know besides.
    pub warning: Option<String>,
}

/// A target of a kill.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KilledTargetRow {
    /// The throttle.
    pub throttle: String,
    /// Which of its targets.
    pub target: String,
    /// Whether the kill bites there.
    pub enforced: bool,
}

impl KillSummary {
    /// What a kill lacks to be whole, in words; nothing if it is.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.killed {
            gaps.push("the service does not say that it is killed".to_owned());
        }
        if self.targets.is_empty() {
            gaps.push("no target was read back as stopped".to_owned());
        }
        let open = self.targets.iter().filter(|target| !target.enforced);
        gaps.extend(open.map(|one| {
            format!(
                "{} of throttle {} is not stopped yet",
                one.target, one.throttle
            )
        }));
        if !self.durable {
            gaps.push("it is in memory alone: if the service restarts now, it is lost".to_owned());
        }
        if self.audit != "recorded" {
            gaps.push("the ledger does not have it yet; the service keeps trying".to_owned());
        }
        gaps
    }
}

/// `POST /control`
#[derive(Clone, Debug, Deserialize)]
pub struct ControlSummary {
    /// The throttle.
    pub throttle: String,
    /// The level in force now, 0 to 1.
    pub in_force: f64,
    /// The level that is now declared.
    pub target_throttle: f64,
    /// What happens next, in words.
    #[serde(default)]
    pub next_step: String,
    /// Who declares more than was asked for.
    #[serde(default)]
    pub held_by: Vec<HeldRow>,
    /// Levels that people held and that it took the place of; an older service does not tell.
    #[serde(default)]
    pub replaced: Vec<HeldLevelRow>,
    /// Whether the ledger has it, or is owed it.
    pub audit: String,
    /// Number of the audit entry.
    pub audit_id: Option<i64>,
    /// Whether it outlives a crash.
    pub durable: bool,
}

/// A level that people held on top of what is declared.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct HeldLevelRow {
    /// The level, 0 to 1.
    pub level: f64,
    /// Whose it was.
    #[serde(flatten)]
    pub held: HeldRow,
}

/// `POST /revive`
#[derive(Clone, Debug, Deserialize)]
pub struct ReviveSummary {
    /// revived or already_running.
    pub status: String,
    /// Holds that ended.
    #[serde(default)]
    pub ended: Vec<String>,
    /// Holds that stay.
    #[serde(default)]
    pub held_by: Vec<HeldRow>,
    /// Number of the audit entry.
    pub audit_id: Option<i64>,
}

/// `GET /v1/throttles`
#[derive(Clone, Debug, Deserialize)]
pub struct ThrottleList {
    /// All throttles, by name.
    pub items: Vec<ThrottleSummary>,
}

/// One throttle.
#[derive(Clone, Debug, Deserialize)]
pub struct ThrottleSummary {
    /// Its name.
    pub name: String,
    /// enforce or observe.
    pub mode: String,
    /// Counts up with each declaration.
    pub generation: i64,
    /// What is declared, as a manifest would.
    #[serde(deserialize_with = "as_far_as_known")]
    pub spec: EchoThrottleSpec,
    /// What it acts on.
    #[serde(default)]
    pub targets: Vec<TargetRow>,
    /// As the status of the custom resource has it.
    #[serde(flatten)]
    pub status: EchoThrottleStatus,
}

/// A specification without what this version cannot read of it: what a later one declares must not
/// hide what holds.
fn as_far_as_known<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<EchoThrottleSpec, D::Error> {
    let said = Map::deserialize(deserializer)?;
    let read = |members: &Map<String, Value>| {
        EchoThrottleSpec::deserialize(Value::Object(members.clone()))
    };
    let mut known: Map<String, Value> = said
        .iter()
        .filter(|(name, _)| *name == "throttlePercent")
        .map(owned)
        .collect();
    for member in said.iter().map(owned) {
        let mut with = known.clone();
        with.extend([member]);
        known = if read(&with).is_ok() { with } else { known };
    }
    read(&known).map_err(D::Error::custom)
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// A target of a throttle.
#[derive(Clone, Debug, Deserialize)]
pub struct TargetRow {
    /// Its id.
    pub target: String,
    /// Whether it is what it should be; none while nobody has looked.
    pub agrees: Option<bool>,
    /// Why it could not be read, or does not do what it was told.
    pub error: Option<String>,
}

/// `GET /v1/commands`
#[derive(Clone, Debug, Default, Deserialize)]
pub struct CommandList {
    /// Commands whose outcome was not known when they were answered, newest first.
    pub items: Vec<CommandRow>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
pub struct CommandRow {
    /// When it came, RFC 3339.
    pub at: String,
    /// What was asked for, one word.
    pub action: String,
    /// On which throttle; empty for all.
    #[serde(default)]
    pub throttle: String,
    /// The name of the key.
    pub actor: String,
    /// Who it was, as they say.
    #[serde(default)]
    pub operator: String,
    /// undecided, done, not_done or refused.
    pub outcome: String,
    /// Why it was refused.
    #[serde(default)]
    pub why: Option<String>,
}

/// `GET /v1/audit`
#[derive(Clone, Debug, Deserialize)]
pub struct AuditPage {
    /// Entries, newest first.
    pub items: Vec<AuditRow>,
    /// Where the next page begins; none after the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// One entry of `GET /v1/audit`.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditRow {
    /// Its number.
    pub seq: i64,
    /// When, RFC 3339.
    pub at: String,
    /// Who: the name of a key, a field manager, the loop itself.
    pub actor: String,
    /// Who it was, as they say; an older service does not tell.
    #[serde(default)]
    pub operator: String,
    /// What, one word.
    pub action: String,
    /// On which throttle; empty for all.
    #[serde(default)]
    pub throttle: String,
    /// State before.
    #[serde(default)]
    pub before: String,
    /// State after.
    pub after: String,
    /// Why.
    pub reason: String,
}
