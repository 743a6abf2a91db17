//! What differs between two specifications, field by field, in a manifest's own words. Pure.

use serde::Serialize;
use serde_json::Value;

/// Each field that differs, as `ramp.maxPercentPerSecond 2 → 5`; `at` stands before its name.
pub(super) fn differences(at: &str, before: &impl Serialize, after: &impl Serialize) -> Vec<String> {
    let value = |of: serde_json::Result<Value>| of.unwrap_or(Value::Null);
    let mut found = Vec::new();
    walk(at, &value(serde_json::to_value(before)), &value(serde_json::to_value(after)), &mut found);
    found
}

fn walk(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|field| !old.contains_key(*field));
            for field in old.keys().chain(added) {
                let of = |values: &serde_json::Map<String, Value>| values.get(field).cloned().unwrap_or(Value::Null);
                let below = if at.is_empty() { field.clone() } else { format!("{at}.{field}") };
                walk(&below, &of(old), &of(new), found);
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{at} {} → {}", said(before), said(after))),
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
