//! How fields are read: a JSON object and nothing else (serde reads a struct from an array too,
//! value by value: `[]` would be a whole command), and words of a person as they are kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::domain::text;

/// What was read from an object.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

/// Reads a field that must be an object, for `deserialize_with`.
pub(super) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(Map(PhantomData))
}

/// The same for a field that may be absent; `null` is none too.
pub(super) fn maybe<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(deserializer).map(|found| found.map(|Object(found)| found))
}

/// A field that may be absent and is a number where it is not: `null` would be one that nobody
/// measured.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

/// Words as they are kept.
pub(super) fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(text::kept)
}

/// Why somebody stops, whatever was given.
pub(super) fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    given(deserializer, text::REASON_LIMIT)
}

/// Who stops, whatever was given.
pub(super) fn operator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    given(deserializer, text::OPERATOR_LIMIT)
}

fn given<'de, D: Deserializer<'de>>(deserializer: D, limit: usize) -> Result<String, D::Error> {
    let words = match Value::deserialize(deserializer)? {
        Value::String(words) => words,
        Value::Null => String::new(),
        other => other.to_string(),
    };
    Ok(text::given(words, limit))
}

struct Map<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
