//! What answers look like: the shapes that the API's description is made from.
//!
//! Only types. Members stand in the order in which they are answered.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::hold::{HeldBy, HeldLevel};
use crate::source::crd::EchoThrottleSpec;
use crate::source::crd_status::EchoThrottleStatus;

/// A refusal (RFC 9457). Further members may stand beside these.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// What is wrong and what to do about it, for people.
    pub detail: String,
    /// The HTTP status, again.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// Where the body stopped being JSON (400).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Everything wrong with the fields (422).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<FieldError>>,
    /// Who keeps it killed (409).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Vec<HeldBy>>,
    /// `unknown`: this is no refusal. The order may have been done, or may still happen (5xx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
}

/// One thing wrong with a body or a query.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FieldError {
    /// The field, `current_state.error_rate` for example.
    pub field: String,
    /// What was expected there.
    pub expected: String,
}

/// `GET /health`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `degraded`: a part that is on fails or the mirror lags. `unhealthy`: the ledger is gone. A killed system is healthy.
    #[schemars(extend("enum" = ["healthy", "degraded", "unhealthy"]))]
    pub status: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// The role this process plays.
    #[schemars(extend("enum" = ["serve", "operator", "gate"]))]
    pub mode: &'static str,
    /// Whole seconds since it started.
    #[schemars(range(min = 0))]
    pub uptime_seconds: i64,
    /// The highest level in force: share of work refused.
    #[schemars(range(min = 0, max = 1))]
    pub throttle_pct: f64,
    /// Whether any throttle is killed.
    pub killed: bool,
    /// Each part: `ok`, what is wrong with it, or the variable that turns it on.
    pub checks: Map<String, Value>,
}

/// `POST /observe`
#[derive(Debug, Serialize, JsonSchema)]
pub struct ObserveResponse {
    /// The whole state: what was measured over what is calm.
    pub state: ObservedState,
    /// As `/health` has it; the ledger is there, since it took this observation.
    #[schemars(extend("enum" = ["healthy", "degraded"]))]
    pub health: &'static str,
    /// When it was received.
    #[schemars(extend("format" = "date-time"))]
    pub observed_at: String,
    /// The throttle it is about.
    pub throttle: String,
    /// Who measured, as they said.
    pub source: String,
}

/// The state after an observation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ObservedState {
    /// The eight signals.
    #[serde(flatten)]
    pub signals: crate::domain::observation::Signals,
    /// Whether the throttle is killed.
    pub killed: bool,
    /// The oldest kill that holds.
    pub epoch: Option<String>,
}

/// `POST /control`
#[derive(Debug, Serialize, JsonSchema)]
pub struct ControlResponse {
    /// The throttle.
    pub throttle: String,
    /// The control law's answer to what was measured; where nothing was, what is declared.
    #[schemars(range(min = 0, max = 1))]
    pub throttle_pct: f64,
    /// The level in force now.
    #[schemars(range(min = 0, max = 1))]
    pub in_force: f64,
    /// The level the body said was in force; where it said nothing, the one that is.
    #[schemars(range(min = 0, max = 1))]
    pub previous_throttle_pct: f64,
    /// The level that is now declared.
    #[schemars(range(min = 0, max = 1))]
    pub target_throttle: f64,
    /// What decided the law's answer.
    #[schemars(extend("enum" = ["target", "errors", "latency", "order", "none", "kill"]))]
    pub binding_signal: &'static str,
    /// How loaded the system is: 1 is the limit. Null where the body measured nothing.
    pub stress: Option<f64>,
    /// What happens next, in words.
    pub next_step: String,
    /// Counts up with each declaration.
    pub generation: i64,
    /// Who declares more than was asked for, where somebody does: a manifest's level is not this door's to lower.
    pub held_by: Vec<HeldBy>,
    /// Levels that people held on top of a manifest's and that this one took the place of: they have ended.
    pub replaced: Vec<HeldLevel>,
    /// Number of the audit entry, once it is recorded.
    pub audit_id: Option<i64>,
    /// Whether the ledger has it, or is owed it.
    #[schemars(extend("enum" = ["recorded", "pending"]))]
    pub audit: &'static str,
    /// Whether it outlives a crash.
    pub durable: bool,
}

/// `POST /kill`
#[derive(Debug, Serialize, JsonSchema)]
pub struct KillResponse {
    /// Always true.
    pub killed: bool,
    /// Id of the hold, opaque; killing twice answers the same one.
    pub epoch: Option<String>,
    /// When the gate was shut.
    #[schemars(extend("format" = "date-time"))]
    pub latched_at: Option<String>,
    /// Whether it was killed before, so that this one changed nothing.
    pub already_killed: bool,
    /// Whether the ledger has it, or is owed it.
    #[schemars(extend("enum" = ["recorded", "pending"]))]
    pub audit: &'static str,
    /// Whether it outlives a crash.
    pub durable: bool,
    /// What has been enforced so far.
    pub targets: Vec<KilledTarget>,
    /// Number of the audit entry, once it is recorded.
    pub audit_id: Option<i64>,
    /// What its sender should know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'static str>,
}

/// A target of a kill.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KilledTarget {
    /// The throttle.
    pub throttle: String,
    /// Which of its targets.
    pub target: String,
    /// Whether the kill bites there.
    pub enforced: bool,
}

/// `POST /revive`
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReviveResponse {
    /// Whether anything was killed.
    #[schemars(extend("enum" = ["revived", "already_running"]))]
    pub status: &'static str,
    /// Holds that ended.
    pub ended: Vec<String>,
    /// Holds that stay: not this door's to end.
    pub held_by: Vec<HeldBy>,
    /// Number of the audit entry, once it is recorded.
    pub audit_id: Option<i64>,
}

/// `POST /v1/decide`
#[derive(Debug, Serialize, JsonSchema)]
pub struct DecideResponse {
    /// The verdict.
    #[schemars(extend("enum" = ["allow", "deny"]))]
    pub decision: &'static str,
    /// The throttle that was asked about.
    pub throttle: String,
    /// Why, as `echo-reason` says it.
    pub reason: &'static str,
    /// Generation of the declaration that decided.
    pub generation: i64,
    /// Milliseconds since the state behind the verdict was last confirmed.
    #[schemars(range(min = 0))]
    pub state_age_ms: i64,
    /// Seconds a refused caller should wait; 0 when allowed.
    #[schemars(range(min = 0, max = 120))]
    pub retry_after_s: u32,
}

/// `POST /webhooks/stripe`
#[derive(Debug, Serialize, JsonSchema)]
pub struct WebhookResponse {
    /// Always true: the event is durable.
    pub received: bool,
    /// The provider's id of the event.
    pub event_id: String,
}

/// A page of the record.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    /// Rows, newest first.
    pub items: Vec<T>,
    /// `cursor` of the page that follows; null: this was the last one.
    pub next_cursor: Option<String>,
}

/// `GET /v1/commands`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Commands {
    /// The newest first, since `since`: what is not decided or holds here alone, and the last 16 of the others.
    pub items: Vec<CommandStatus>,
    /// Since when this process knows of any: its start. What was answered before is decided, and none of these: the audit
    /// log has the entry of what was done.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}

/// A command that was answered before it was known what becomes of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CommandStatus {
    /// Its id.
    pub id: String,
    /// When it came.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// What was asked for, as the audit log says it: `revive`, `control`, `kill`.
    pub action: String,
    /// The throttle; empty: all of them.
    pub throttle: String,
    /// Whose key it was.
    pub actor: String,
    /// Who it was, as they say.
    pub operator: String,
    /// Why, in their words.
    pub reason: String,
    /// The request that brought it.
    pub request_id: String,
    /// `undecided`: it may still happen. `not_done`: it was not done, and will not be. `refused`: it holds in this process
    /// alone, and others will not hear of it.
    #[schemars(extend("enum" = ["undecided", "done", "not_done", "refused"]))]
    pub outcome: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `GET /v1/throttles`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Throttles {
    /// All throttles, by name.
    pub items: Vec<Throttle>,
}

/// One throttle: what is declared, what is in force, what was sent, what was read back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Throttle {
    /// Its name.
    pub name: String,
    /// Whether differences are corrected or only reported.
    #[schemars(extend("enum" = ["enforce", "observe"]))]
    pub mode: &'static str,
    /// Counts up with each declaration.
    pub generation: i64,
    /// What is declared, as a manifest would; kills are among `holds`.
    pub spec: EchoThrottleSpec,
    /// What it acts on, in the order declared.
    pub targets: Vec<ThrottleTarget>,
    /// As the status of the custom resource has it.
    #[serde(flatten)]
    pub status: EchoThrottleStatus,
}

/// A target of a throttle.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ThrottleTarget {
    /// Its id: `gate`, `apps/v1/Deployment/checkout` for example.
    pub target: String,
    /// Whether it is what it should be; null while nobody has looked yet.
    pub agrees: Option<bool>,
    /// Why it could not be read, or does not do what it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
