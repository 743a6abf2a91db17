//! What differs between two specifications, field by field, in a manifest's own words. Pure.

use serde::Serialize;
use serde_json::Value;

use crate::domain::text::shown;

/// Each field that differs, as `ramp.maxPercentPerSecond 2 → 5`; `at` stands before its name.
pub(super) fn differences(
    at: &str,
    before: &impl Serialize,
    after: &impl Serialize,
) -> Vec<String> {
    let value = |of: serde_json::Result<Value>| of.unwrap_or(Value::Null);
    let mut found = Vec::new();
    walk(
        at,
        &value(serde_json::to_value(before)),
        &value(serde_json::to_value(after)),
        &mut found,
    );
    found
}

fn walk(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|field| !old.contains_key(*field));
            for field in old.keys().chain(added) {
                let of = |values: &serde_json::Map<String, Value>| {
                    values.get(field).cloned().unwrap_or(Value::Null)
                };
                let below = if at.is_empty() {
                    field.clone()
                } else {
                    format!("{at}.{field}")
                };
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
        Value::String(text) => shown(text).into_owned(),
        other => shown(&other.to_string()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn what_would_not_be_seen_is_written_out() {
        let (before, after) = (
            json!({ "a": "x\ny", "b": [] }),
            json!({ "a": "\u{1b}[2J", "b": ["\u{202e}"] }),
        );
        let found = differences("", &before, &after);
        assert_eq!(found, [r"a x\u{a}y → \u{1b}[2J", r#"b [] → ["\u{202e}"]"#]);
    }
}
