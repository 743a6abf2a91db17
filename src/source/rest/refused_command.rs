//! What a command that is refused had asked for, as far as it can be read: for the record alone.
//! Pure.

use serde_json::Value;

use super::lossy;
use crate::domain::text::{self, OPERATOR_LIMIT, REASON_LIMIT};
use crate::domain::throttle::ThrottleName;

/// Who asked for what and why; empty where the body does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RefusedCommand {
    /// Who, as they say.
    pub operator: String,
    /// Which throttle.
    pub throttle: Option<ThrottleName>,
    reason: String,
    level: Option<f64>,
}

impl RefusedCommand {
    /// Reads a body, whatever is wrong with it.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(&lossy(body)).unwrap_or_default();
        let words = |field: &str, limit| {
            let text = body
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim();
            text::cut(text::kept(text.to_owned()), limit)
        };
        Self {
            operator: words("operator", OPERATOR_LIMIT),
            throttle: body
                .get("throttle")
                .and_then(Value::as_str)
                .and_then(|name| name.to_owned().try_into().ok()),
            reason: words("reason", REASON_LIMIT),
            level: body.get("target_throttle").and_then(Value::as_f64),
        }
    }

    /// Why it was refused, with the level that was asked for and why.
    #[must_use]
    pub fn refused(&self, why: &str) -> String {
        let level = self
            .level
            .map(|level| format!("; {level} was asked for"))
            .unwrap_or_default();
        let reason = if self.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", self.reason)
        };
        format!("{why}{level}{reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::RefusedCommand;

    #[test]
    fn a_refusal_keeps_who_asked_for_what_and_why() {
        let whole = br#"{"target_throttle":0.25,"operator":" dana ","reason":"go live","throttle":"checkout"}"#;
        let asked = RefusedCommand::read(whole);
        assert_eq!(
            (
                asked.operator.as_str(),
                asked.throttle.as_ref().map(|name| name.as_str())
            ),
            ("dana", Some("checkout"))
        );
        assert_eq!(
            asked.refused("killed"),
            "killed; 0.25 was asked for: go live"
        );
        for (body, said) in [
            (&br#"{"reason":"fixed"}"#[..], "role: fixed"),
            (
                br#"{"reason":7,"operator":[],"throttle":"No Name","target_throttle":"x"}"#,
                "role",
            ),
            (b"no JSON", "role"),
            (b"", "role"),
        ] {
            assert_eq!(RefusedCommand::read(body).refused("role"), said);
        }
        let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(5000));
        assert!(RefusedCommand::read(long.as_bytes()).refused("role").len() < 1100);
    }
}
