//! Bodies of the REST API, and how they become domain values or errors that name the field.
//!
//! Knows JSON and nothing of HTTP.

mod object;
mod words;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::object::Object;
use self::words::named;
use crate::domain::level::Level;
use crate::domain::observation::Signals;
use crate::domain::throttle::ThrottleName;

/// One thing wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// Path of the field, `current_state.error_rate` for example.
    pub field: String,
    /// What was expected there.
    pub expected: String,
}

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or a number that JSON cannot hold.
    #[error("the body is no JSON at {path}: {problem}")]
    Malformed {
        /// Where.
        path: String,
        /// What.
        problem: String,
    },
    /// JSON, but not what the route takes.
    #[error("{}", .0.iter().map(|e| format!("{}: expected {}", e.field, e.expected)).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
}

/// Parses a body, which must be an object; an error names the field.
///
/// # Errors
/// [`BodyError::Malformed`] for what is no JSON, [`BodyError::Fields`] for what is not this JSON.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    read::<Object<T>>(body).map(|Object(value)| value)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => BodyError::Fields(vec![named(&path, &inner.to_string())]),
            _ => BodyError::Malformed { path, problem: inner.to_string() },
        }
    })?;
    json.end().map_err(|error| BodyError::Malformed { path: ".".to_owned(), problem: error.to_string() })?;
    Ok(value)
}

/// Words of a person: who, or why. At most so many characters.
///
/// # Errors
/// The fields that are longer, or empty where they must not be.
fn words(fields: &[(&str, &str, std::ops::RangeInclusive<usize>)]) -> Result<(), BodyError> {
    let fits = |text: &str, range: &std::ops::RangeInclusive<usize>| {
        range.contains(&text.chars().count()) && (*range.start() == 0 || !text.trim().is_empty())
    };
    let wrong = fields.iter().filter(|(_, text, range)| !fits(text, range));
    let wrong: Vec<_> = wrong
        .map(|(field, _, range)| FieldError {
            field: (*field).to_owned(),
            expected: format!("{} to {} characters", range.start(), range.end()),
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(BodyError::Fields(wrong)) }
}

/// Longest operator and reason, characters: what the custom resources take.
const OPERATOR_LIMIT: usize = 256;
const REASON_LIMIT: usize = 1024;
/// Longest name of a source: what a manifest's `signals.source` takes.
const SOURCE_LIMIT: usize = 128;

/// `POST /control`.
#[derive(Clone, Debug, Deserialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlBody {
    /// What the caller measured.
    #[serde(deserialize_with = "object::object")]
    pub current_state: Signals,
    /// The level to declare, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub target_throttle: f64,
    /// Which throttle; `default` if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
    /// Who.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub operator: String,
    /// Why.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub reason: String,
}

impl ControlBody {
    /// The declared level.
    ///
    /// # Errors
    /// Every field that is out of range.
    pub fn validated(&self) -> Result<Level, BodyError> {
        words(&[("reason", &self.reason, 0..=REASON_LIMIT), ("operator", &self.operator, 0..=OPERATOR_LIMIT)])?;
        let mut wrong: Vec<_> = self
            .current_state
            .validate()
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|e| FieldError {
                field: format!("current_state.{}", e.field),
                expected: format!("{}, got {}", e.expected, e.value),
            })
            .collect();
        match Level::new(self.target_throttle) {
            Ok(level) if wrong.is_empty() => return Ok(level),
            Ok(_) => {}
            Err(error) => wrong.push(FieldError {
                field: "target_throttle".to_owned(),
                expected: format!("{}, got {}", error.range, error.value),
            }),
        }
        Err(BodyError::Fields(wrong))
    }
}

/// `POST /kill`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillBody {
    /// Why.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Who.
    #[schemars(length(min = 1, max = 256))]
    pub operator: String,
    /// The word.
    #[schemars(extend("const" = "CONFIRM_KILL"))]
    pub confirmation: String,
    /// Which throttle; all if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
}

impl KillBody {
    /// # Errors
    /// If who or why is missing or too long.
    pub fn validated(&self) -> Result<(), BodyError> {
        words(&[("reason", &self.reason, 1..=REASON_LIMIT), ("operator", &self.operator, 1..=OPERATOR_LIMIT)])
    }
}

/// Whether a kill's body bears the word, looked at before anything else in it.
///
/// # Errors
/// [`BodyError::Malformed`] for what is no JSON.
pub fn confirmed(body: &[u8]) -> Result<bool, BodyError> {
    let value: Value = read(body)?;
    Ok(value.get("confirmation").and_then(Value::as_str) == Some(super::crd_override::CONFIRMATION))
}

/// `POST /revive`; an empty body means everything.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviveBody {
    /// Who.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub operator: String,
    /// Why.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Which throttle; all if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
    /// Which hold; all if absent.
    #[serde(default)]
    pub epoch: Option<String>,
}

impl ReviveBody {
    /// # Errors
    /// If who or why is too long.
    pub fn validated(&self) -> Result<(), BodyError> {
        words(&[("reason", &self.reason, 0..=REASON_LIMIT), ("operator", &self.operator, 0..=OPERATOR_LIMIT)])
    }
}

/// `POST /v1/decide`; an empty body asks about the throttle `default`. An unknown field is refused: a caller whose
/// `key` is misspelt would not be told apart.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideBody {
    /// Which throttle; `default` if absent. Any text: an unknown one is denied.
    #[serde(default)]
    pub throttle: Option<String>,
    /// Who asks, as the header of the throttle's key would say.
    #[serde(default)]
    pub key: Option<String>,
    /// `PATH` or `METHOD PATH`, for the allow-list.
    #[serde(default)]
    pub route: Option<String>,
}

/// `POST /observe`; unknown fields are ignored, so that any monitor can send what it has.
#[derive(Clone, Debug, Deserialize, PartialEq, JsonSchema)]
pub struct ObserveBody {
    /// Who measured.
    #[schemars(length(min = 1, max = 128))]
    pub source: String,
    /// Which throttle; `default` if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
    /// Failed share of the admitted requests.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub error_rate: Option<f64>,
    /// 99th percentile of latency, milliseconds.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub latency_p99_ms: Option<f64>,
    /// Requests offered, per minute.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub requests_per_minute: Option<f64>,
    /// Order parameter as declared, no unit.
    #[serde(default)]
    pub phi_static: Option<f64>,
    /// Order parameter as observed, no unit.
    #[serde(default)]
    pub phi_dynamic: Option<f64>,
    /// Scale of the noise, no unit.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub temperature: Option<f64>,
    /// Gain of the linear response, no unit.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub susceptibility: Option<f64>,
}

impl ObserveBody {
    /// Whether it measured anything, rather than only asked.
    pub fn measured(&self) -> bool {
        [self.error_rate, self.latency_p99_ms, self.requests_per_minute, self.phi_static, self.phi_dynamic]
            .iter()
            .chain(&[self.temperature, self.susceptibility])
            .any(Option::is_some)
    }

    /// The whole state: what was measured over what is calm.
    ///
    /// # Errors
    /// Every field that is out of range.
    pub fn signals(&self, throttle: Level) -> Result<Signals, BodyError> {
        words(&[("source", &self.source, 1..=SOURCE_LIMIT)])?;
        let calm = Signals::calm(throttle);
        let signals = Signals {
            throttle_pct: throttle.fraction(),
            error_rate: self.error_rate.unwrap_or(calm.error_rate),
            latency_p99_ms: self.latency_p99_ms.unwrap_or(calm.latency_p99_ms),
            requests_per_minute: self.requests_per_minute.unwrap_or(calm.requests_per_minute),
            phi_static: self.phi_static.unwrap_or(calm.phi_static),
            phi_dynamic: self.phi_dynamic.unwrap_or(calm.phi_dynamic),
            temperature: self.temperature.unwrap_or(calm.temperature),
            susceptibility: self.susceptibility.unwrap_or(calm.susceptibility),
        };
        let wrong = |errors: Vec<crate::domain::observation::SignalError>| {
            let fields =
                errors.into_iter().map(|e| FieldError { field: e.field.to_owned(), expected: e.expected.to_owned() });
            BodyError::Fields(fields.collect())
        };
        signals.validate().map_err(wrong)?;
        Ok(signals)
    }
}
