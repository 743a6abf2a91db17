//! All that is wrong with a body at once: serde stops at the first field, people would like to mend
//! theirs once. Pure.
//!
//! What a body should be is its type's own schema, the one that the description of the API shows.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use super::InvalidField;
use crate::domain::throttle::ThrottleName;

/// Names of fields.
pub type Fields = Vec<String>;

/// Everything that is wrong with a document that should be a `T`, in the order of its fields and
/// then of the document.
pub(super) fn wrong<T: JsonSchema>(document: &Value) -> Vec<InvalidField> {
    let schema = SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value();
    let mut wrong = Vec::new();
    look(&schema, &schema, document, "", &mut wrong);
    wrong
}

fn look(root: &Value, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<InvalidField>) {
    let schema = of_value(root, schema, value);
    let mut say = |expected: String| {
        wrong.push(InvalidField {
            field: path.to_owned(),
            expected,
        })
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let kind = kind(value);
    if !kinds.is_empty() && !kinds.contains(&kind) {
        let wanted = kinds
            .iter()
            .find(|wanted| **wanted != "null")
            .map_or("null", |wanted| with_article(wanted));
        return say(format!("{wanted}, got {}", with_article(kind)));
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
                (Some(least), Some(most)) if !(least..=most).contains(&number) => {
                    say(format!("a number from {least} to {most}, got {number}"));
                }
                (Some(least), None) if number < least => {
                    say(format!("a finite number of at least {least}, got {number}"));
                }
                _ => {}
            }
        }
        Value::String(text) if path == "throttle" && schema.get("pattern").is_some() => {
            if let Err(error) = ThrottleName::try_from(text.clone()) {
                let text = error.to_string();
                say(text
                    .rsplit("expected ")
                    .next()
                    .unwrap_or_default()
                    .to_owned());
            }
        }
        Value::Object(members) => {
            if let Some(known) = schema["properties"].as_object() {
                look_into(root, schema, known, members, path, wrong);
            }
        }
        _ => {}
    }
}

fn look_into(
    root: &Value,
    schema: &Value,
    known: &Map<String, Value>,
    members: &Map<String, Value>,
    path: &str,
    wrong: &mut Vec<InvalidField>,
) {
    let within = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, schema) in known {
        match members.get(name) {
            Some(value) => look(root, schema, value, &within(name), wrong),
            None if required.contains(&name.as_str()) => wrong.push(missing(within(name))),
            None => {}
        }
    }
    if schema["additionalProperties"] != Value::Bool(false) {
        return;
    }
    let names: Vec<_> = known.keys().map(String::as_str).collect();
    for name in members.keys().filter(|name| !known.contains_key(*name)) {
        wrong.push(InvalidField {
            field: within(name),
            expected: no_such(name, &names),
        });
    }
}

/// The error of a field that is not there.
pub(super) fn missing(field: String) -> InvalidField {
    InvalidField {
        field,
        expected: "a value; the field is missing".to_owned(),
    }
}

/// What is said of a name that is none: the nearest of those there are, then all.
#[must_use]
pub fn no_such(name: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match nearest(name, known) {
        Some(nearest) => format!("no such field; did you mean {nearest}? There are {all}"),
        None => format!("no such field; there are {all}"),
    }
}

/// The known name that somebody may have meant, if one is near enough.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let begins = |one: &str| name.len() >= 3 && (one.starts_with(&name) || name.starts_with(one));
    let apart = |one: &str| {
        if begins(one) {
            1
        } else {
            strsim::damerau_levenshtein(&name, one)
        }
    };
    let (one, apart) = known
        .iter()
        .map(|one| (*one, apart(one)))
        .min_by_key(|(_, apart)| *apart)?;
    (apart <= one.len() / 3).then_some(one)
}

/// The names of fields that a type has at a path, whose numbers are places in a list; none where it
/// has no such place.
#[must_use]
pub fn fields_at<T: JsonSchema>(path: &[&str]) -> Fields {
    let root = SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value();
    let something = Value::Bool(true);
    let mut schema = of_value(&root, &root, &something);
    for step in path {
        let is_place = step.bytes().all(|byte| byte.is_ascii_digit());
        schema = of_value(
            &root,
            if is_place {
                &schema["items"]
            } else {
                &schema["properties"][*step]
            },
            &something,
        );
    }
    schema["properties"]
        .as_object()
        .map(|known| known.keys().cloned().collect())
        .unwrap_or_default()
}

/// The schema that says something of this value: a reference is followed, of several the one that
/// may be null is the other.
fn of_value<'a>(root: &'a Value, schema: &'a Value, value: &Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return root
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or(schema);
    }
    let is_null = |one: &&Value| one["type"] == "null";
    match schema["anyOf"].as_array() {
        Some(any) if !value.is_null() => any
            .iter()
            .find(|one| !is_null(one))
            .map_or(schema, |one| of_value(root, one, value)),
        _ => schema,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn with_article(kind: &str) -> &'static str {
    match kind {
        "null" => "null",
        "boolean" => "true or false",
        "number" => "a number",
        "array" => "an array",
        "object" => "an object",
        _ => "a string",
    }
}
