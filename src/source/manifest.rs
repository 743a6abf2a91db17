//! The manifest file: EchoThrottles as in a cluster, several documents in one YAML file, become
//! declarations.
//!
//! The rules that an API server would hold are held here, over the same types. Knows text, and
//! nothing of files.

mod rules;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::crd::{EchoThrottleSpec, SpecKill};
use super::rest::{InvalidField, fields_at};
use crate::domain::level::Level;
use crate::domain::target::TargetKind;
use crate::domain::text::{self, OPERATOR_LIMIT, REASON_LIMIT};
use crate::domain::throttle::{FromFile, KillWords, Spec, ThrottleName};

/// Largest file, bytes: more throttles than anybody declares.
pub const LIMIT: usize = 16 << 20;

/// Documents of one file, those counted in which nothing stands: what separates them costs next to
/// nothing to write.
const DOCUMENTS: usize = 10_000;

/// Values of one file, keys counted: a hundred for each document, where one that uses every field
/// has fifty.
const NODES: usize = 100 * DOCUMENTS;

/// The only version there is.
const VERSION: &str = "echo-phoenix.dev/v1alpha1";

/// Why a manifest cannot be used: everything wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ManifestError(pub Vec<Mistake>);

impl ManifestError {
    /// Where the first mistake is, without what stands there: anybody may be told this.
    #[must_use]
    pub fn place(&self) -> String {
        let Some(Mistake {
            document,
            error: InvalidField { field, .. },
        }) = self.0.first()
        else {
            return String::new();
        };
        match (*document, field.as_str()) {
            (0, field) => format!("{field}: cannot be used, the log says why"),
            (number, "") => format!("document {number}: cannot be used, the log says why"),
            (number, field) => {
                format!("document {number}: {field}: cannot be used, the log says why")
            }
        }
    }
}

/// One thing wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Which document of the file, from 1; 0 for the file itself.
    pub document: usize,
    /// The field and what was expected there.
    pub error: InvalidField,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidField { field, expected } = &self.error;
        match (self.document, field.as_str()) {
            (0, field) => write!(f, "{field}: {expected}"),
            (number, "") => write!(f, "document {number}: {expected}"),
            (number, field) => write!(f, "document {number}: {field}: {expected}"),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Option<Value>,
    /// What a cluster wrote into it is of no use here.
    #[serde(default)]
    #[allow(
        dead_code,
        reason = "accepted, so that the output of kubectl get -o yaml can be used, and ignored"
    )]
    status: Option<Value>,
}

/// Labels and what else kubectl shows may stand here; only these count.
#[derive(Deserialize, JsonSchema)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

/// Reads a manifest.
///
/// # Errors
/// Everything that is wrong with it, with document and field.
pub fn parse(text: &str) -> Result<Vec<FromFile>, ManifestError> {
    let whole = |what: String| ManifestError(vec![mistake(0, "file", what)]);
    if text.len() > LIMIT {
        return Err(whole(format!(
            "expected at most {LIMIT} bytes, got {}",
            text.len()
        )));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bounds = serde_saphyr::options! { budget: serde_saphyr::budget! {
        max_documents: DOCUMENTS,
        max_nodes: NODES,
        max_events: 2 * NODES,
    } };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, bounds)
        .map_err(|error| whole(words::unread(&error)))?;
    let mut wrong = Vec::new();
    let (mut names, mut sites) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for (index, document) in documents
        .into_iter()
        .enumerate()
        .filter(|(_, document)| !document.is_null())
    {
        match throttle(document) {
            // Two that declare the level of one throttle elsewhere would take it from each other
            // for ever.
            Ok(one)
                if one
                    .spec
                    .targets
                    .iter()
                    .any(|t| t.kind() == TargetKind::Remote && !sites.insert(t.id())) =>
            {
                wrong.push(mistake(
                    index + 1,
                    "spec.targets",
                    "a remote throttle is named twice in this file".to_owned(),
                ));
            }
            Ok(one) if names.insert(one.name.clone()) => all.push(one),
            Ok(one) => wrong.push(mistake(
                index + 1,
                "metadata.name",
                format!("{} is declared twice", one.name),
            )),
            Err(errors) => wrong.extend(errors.into_iter().map(|error| Mistake {
                document: index + 1,
                error,
            })),
        }
    }
    if wrong.is_empty() && all.is_empty() {
        // A file that an editor has just truncated is not an order.
        return Err(whole(
            "expected at least one EchoThrottle document".to_owned(),
        ));
    }
    if wrong.is_empty() {
        Ok(all)
    } else {
        Err(ManifestError(wrong))
    }
}

fn mistake(document: usize, field: &str, expected: String) -> Mistake {
    Mistake {
        document,
        error: field_error(field, expected),
    }
}

fn field_error(field: &str, expected: impl Into<String>) -> InvalidField {
    InvalidField {
        field: field.to_owned(),
        expected: expected.into(),
    }
}

fn throttle(document: Value) -> Result<FromFile, Vec<InvalidField>> {
    if !document.is_object() {
        return Err(vec![field_error(
            "",
            "expected an EchoThrottle: apiVersion, kind, metadata and spec",
        )]);
    }
    let document: Document = strict(document, "")?;
    if document.api_version != VERSION {
        let what = format!("expected {VERSION}, got {:.64}", document.api_version);
        return Err(vec![field_error("apiVersion", what)]);
    }
    if document.kind != "EchoThrottle" {
        let what = format!(
            "expected EchoThrottle, got {:.64}; overrides are people's: `echo-phoenix kill` and `echo-phoenix set` make them",
            document.kind
        );
        return Err(vec![field_error("kind", what)]);
    }
    let name = match document.metadata.namespace.as_deref() {
        None | Some("default") => document.metadata.name,
        Some(namespace) => format!("{namespace}.{}", document.metadata.name),
    };
    let name = ThrottleName::try_from(name)
        .map_err(|e| vec![field_error("metadata.name", e.to_string())])?;
    let spec: EchoThrottleSpec = strict(
        document
            .spec
            .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        "spec",
    )?;
    let errors = rules::broken_rules(&spec);
    if !errors.is_empty() {
        return Err(errors);
    }
    let level = spec.level().unwrap_or(Level::STOP); // in range: that was a rule
    let spec_of = Spec {
        mode: spec.domain_mode(),
        ramp_percent_per_second: f64::from(spec.ramp.max_percent_per_second),
        targets: spec.domain_targets(),
        signals: spec.domain_signals(),
    };
    // Whoever stops is not refused for the words of it.
    let words = |SpecKill {
                     reason, operator, ..
                 }| KillWords {
        reason: text::given(reason, REASON_LIMIT),
        operator: text::given(operator, OPERATOR_LIMIT),
    };
    let kill = spec.kill.map(words);
    Ok(FromFile {
        name,
        level,
        spec: spec_of,
        kill,
    })
}

/// Reads a value and refuses what nobody knows: a field that is misspelt must not be half a
/// declaration.
fn strict<T: serde::de::DeserializeOwned + JsonSchema>(
    value: Value,
    below: &str,
) -> Result<T, Vec<InvalidField>> {
    let mut unknown = Vec::new();
    let within = |path: &str| match (below, path.trim_start_matches('.')) {
        ("", path) => path.to_owned(),
        (below, "" | "?") => below.to_owned(),
        (below, path) => format!("{below}.{path}"),
    };
    let mut track = serde_path_to_error::Track::new();
    let mut note = |path: serde_ignored::Path<'_>| {
        let path = path.to_string().replace(".?", "");
        let mut steps: Vec<_> = path.split('.').collect();
        let name = steps.pop().unwrap_or_default();
        let said = words::unknown(name, &fields_at::<T>(&steps));
        unknown.push(field_error(&within(&words::place(&path)), said));
    };
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let read = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    match read {
        Ok(_) if !unknown.is_empty() && below == "spec" => Err(unknown),
        Ok(read) => Ok(read),
        Err(error) => {
            let path = track.path().to_string();
            let said = words::sentence(path.trim_start_matches('.'), &words::first_line(&error));
            // A wrong name is often why another one is missing.
            let mut all = vec![field_error(&within(&path), said)];
            all.extend(unknown.into_iter().filter(|_| below == "spec"));
            Err(all)
        }
    }
}
