//! Bodies of the REST API, and how they become domain values or errors that name the field.
//!
//! Knows JSON and nothing of HTTP.

mod fields;
mod long;
mod lossy;
mod moment;
mod object;
mod older;
mod refused_command;
mod words;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::fields::{Fields, fields_at, nearest, no_such};
pub use self::long::Shortened;
pub use self::lossy::lossy;
pub use self::moment::{MOMENT, moment};
use self::object::Object;
pub use self::older::older;
pub use self::refused_command::RefusedCommand;
use self::words::named;
use crate::domain::level::Level;
use crate::domain::observation::Signals;
use crate::domain::text::{self, OPERATOR_LIMIT, REASON_LIMIT};
use crate::domain::throttle::ThrottleName;

/// One thing wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct InvalidField {
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
    Fields(Vec<InvalidField>),
}

/// Parses a body, which must be an object; an error names every field that is wrong.
///
/// # Errors
/// [`BodyError::Malformed`] for what is no JSON, [`BodyError::Fields`] for what is not this JSON.
pub fn parse<T: DeserializeOwned + JsonSchema>(body: &[u8]) -> Result<T, BodyError> {
    read::<Object<T>>(body)
        .map(|Object(value)| value)
        .map_err(|error| match error {
            BodyError::Fields(found) => BodyError::Fields(all_wrong::<T>(body, found)),
            malformed @ BodyError::Malformed { .. } => malformed,
        })
}

/// What serde found, and all else that it had not come to. What the type's schema cannot tell (a
/// field that is given twice) serde alone tells.
fn all_wrong<T: JsonSchema>(body: &[u8], found: Vec<InvalidField>) -> Vec<InvalidField> {
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        return found;
    };
    if !document.is_object() {
        return found;
    }
    let mut wrong = fields::wrong::<T>(&document);
    let known = |one: &InvalidField| wrong.iter().any(|all| all.field == one.field);
    let more: Vec<_> = found.into_iter().filter(|one| !known(one)).collect();
    wrong.extend(more);
    wrong
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                BodyError::Fields(vec![named(&path, &inner.to_string())])
            }
            _ => BodyError::Malformed {
                path,
                problem: inner.to_string(),
            },
        }
    })?;
    json.end().map_err(|error| BodyError::Malformed {
        path: ".".to_owned(),
        problem: error.to_string(),
    })?;
    Ok(value)
}

/// Words of a person, who or why: the fields that are longer than so many characters, or empty
/// where they must not be.
fn words(fields: &[(&str, &str, std::ops::RangeInclusive<usize>)]) -> Vec<InvalidField> {
    let fits = |text: &str, range: &std::ops::RangeInclusive<usize>| {
        range.contains(&text.chars().count()) && (*range.start() == 0 || !text::is_blank(text))
    };
    let wrong = fields.iter().filter(|(_, text, range)| !fits(text, range));
    wrong
        .map(|(field, _, range)| InvalidField {
            field: (*field).to_owned(),
            expected: format!("{} to {} characters", range.start(), range.end()),
        })
        .collect()
}

/// Nothing, or all that is wrong.
fn none(wrong: Vec<InvalidField>) -> Result<(), BodyError> {
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(BodyError::Fields(wrong))
    }
}

/// Longest name of a source: what a manifest's `signals.source` takes.
const SOURCE_LIMIT: usize = 128;

/// `POST /control`.
#[derive(Clone, Debug, Deserialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlBody {
    /// What the caller measured, all eight fields; absent: a plain declaration, and nothing is taken as measured.
    #[serde(default, deserialize_with = "object::maybe")]
    pub current_state: Option<Signals>,
    /// The level to declare, 0..=1.
    #[schemars(range(min = 0, max = 1))]
    pub target_throttle: f64,
    /// Which throttle; `default` if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
    /// Who.
    #[serde(default, deserialize_with = "object::kept")]
    #[schemars(length(max = 256))]
    pub operator: String,
    /// Why.
    #[serde(default, deserialize_with = "object::kept")]
    #[schemars(length(max = 1024))]
    pub reason: String,
}

impl ControlBody {
    /// The declared level.
    ///
    /// # Errors
    /// Every field that is out of range.
    pub fn validated(&self) -> Result<Level, BodyError> {
        let mut wrong = words(&[
            ("reason", &self.reason, 0..=REASON_LIMIT),
            ("operator", &self.operator, 0..=OPERATOR_LIMIT),
        ]);
        let measured = self
            .current_state
            .iter()
            .filter_map(|state| state.validate().err())
            .flatten();
        wrong.extend(measured.map(|e| InvalidField {
            field: format!("current_state.{}", e.field),
            expected: format!("{}, got {}", e.expected, e.value),
        }));
        match Level::new(self.target_throttle) {
            Ok(level) if wrong.is_empty() => return Ok(level),
            Ok(_) => {}
            Err(error) => wrong.push(InvalidField {
                field: "target_throttle".to_owned(),
                expected: format!("{}, got {}", error.range, error.value),
            }),
        }
        Err(BodyError::Fields(wrong))
    }
}

/// `POST /kill`. Never refused for its words: where they are missing or too long, that is told in their place.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillBody {
    /// Why. What is no text becomes one; blank or absent it is `(none given)`; beyond 1,024 characters it is cut.
    #[serde(default = "text::none_given", deserialize_with = "object::reason")]
    #[schemars(with = "Option<String>")]
    pub reason: String,
    /// Who. Likewise; beyond 256 characters it is cut.
    #[serde(default = "text::none_given", deserialize_with = "object::operator")]
    #[schemars(with = "Option<String>")]
    pub operator: String,
    /// The word.
    #[schemars(extend("const" = "CONFIRM_KILL"))]
    pub confirmation: String,
    /// Which throttle; all if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
}

/// Whether a kill's body bears the word, looked at before anything else in it.
///
/// # Errors
/// [`BodyError::Malformed`] for what is no JSON.
pub fn confirmed(body: &[u8]) -> Result<bool, BodyError> {
    let value: Value = read(body)?;
    Ok(
        value.get("confirmation").and_then(Value::as_str)
            == Some(super::crd_override::CONFIRMATION),
    )
}

/// `POST /revive`; an empty body means everything.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviveBody {
    /// Who.
    #[serde(default, deserialize_with = "object::kept")]
    #[schemars(length(max = 256))]
    pub operator: String,
    /// Why.
    #[serde(default, deserialize_with = "object::kept")]
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Which throttle; all if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
    /// Which hold; all if absent.
    #[serde(default)]
    #[schemars(extend("pattern" = "^[!-~]{1,512}$"))]
    pub epoch: Option<String>,
}

/// Longest id of a hold: a throttle's name and a generation fit twice over.
const EPOCH_LIMIT: usize = 512;

impl ReviveBody {
    /// # Errors
    /// If who or why is too long, or the epoch none that was ever answered.
    pub fn validated(&self) -> Result<(), BodyError> {
        let mut wrong = words(&[
            ("reason", &self.reason, 0..=REASON_LIMIT),
            ("operator", &self.operator, 0..=OPERATOR_LIMIT),
        ]);
        let is_epoch = |text: &str| {
            (1..=EPOCH_LIMIT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !self.epoch.as_deref().is_none_or(is_epoch) {
            let expected = "the epoch that /kill answered and status shows".to_owned();
            wrong.push(InvalidField {
                field: "epoch".to_owned(),
                expected,
            });
        }
        none(wrong)
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

/// `POST /observe`. An unknown field is refused: a measurement whose name is misspelt would count as a calm one.
#[derive(Clone, Debug, Deserialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = never_null)]
pub struct ObserveBody {
    /// Who measured.
    #[serde(deserialize_with = "object::kept")]
    #[schemars(length(min = 1, max = 128))]
    pub source: String,
    /// Which throttle; `default` if absent.
    #[serde(default)]
    pub throttle: Option<ThrottleName>,
    /// Failed share of the admitted requests.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64", range(min = 0, max = 1))]
    pub error_rate: Option<f64>,
    /// 99th percentile of latency, milliseconds.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64", range(min = 0))]
    pub latency_p99_ms: Option<f64>,
    /// Requests offered, per minute.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64", range(min = 0))]
    pub requests_per_minute: Option<f64>,
    /// Order parameter as declared, no unit.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64")]
    pub phi_static: Option<f64>,
    /// Order parameter as observed, no unit.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64")]
    pub phi_dynamic: Option<f64>,
    /// Scale of the noise, no unit.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64", range(min = 0))]
    pub temperature: Option<f64>,
    /// Gain of the linear response, no unit.
    #[serde(default, deserialize_with = "object::number")]
    #[schemars(with = "f64", range(min = 0))]
    pub susceptibility: Option<f64>,
}

/// A field that is a number where it is there: no default of `null`, which would be none.
fn never_null(schema: &mut schemars::Schema) {
    let fields = schema
        .get_mut("properties")
        .and_then(serde_json::Value::as_object_mut);
    for field in fields
        .into_iter()
        .flat_map(|fields| fields.values_mut())
        .filter_map(|field| field.as_object_mut())
    {
        if field.get("type").is_some_and(|kind| kind == "number") {
            field.shift_remove("default");
        }
    }
}

impl ObserveBody {
    /// Whether it measured anything, rather than only asked.
    pub fn measured(&self) -> bool {
        [
            self.error_rate,
            self.latency_p99_ms,
            self.requests_per_minute,
            self.phi_static,
            self.phi_dynamic,
        ]
        .iter()
        .chain(&[self.temperature, self.susceptibility])
        .any(Option::is_some)
    }

    /// The whole state: what was measured over what is calm.
    ///
    /// # Errors
    /// Every field that is out of range.
    pub fn signals(&self, throttle: Level) -> Result<Signals, BodyError> {
        let mut wrong = words(&[("source", &self.source, 1..=SOURCE_LIMIT)]);
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
        let measured = signals.validate().err().into_iter().flatten();
        wrong.extend(measured.map(|e| InvalidField {
            field: e.field.to_owned(),
            expected: format!("{}, got {}", e.expected, e.value),
        }));
        none(wrong).map(|()| signals)
    }
}
