//! The API's words as whoever typed a command knows them: the command for the route, the flag for
//! the field. Pure.
//!
//! An answer is worded for whoever sends requests. What it means stays the service's to say; only
//! its names are another's.

use serde_json::Value;

use crate::client::ApiRefusal;

/// Commands, by the route that each asks.
const COMMANDS: [(&str, &str); 4] = [
    ("/kill", "kill"),
    ("/revive", "revive"),
    ("/control", "set"),
    ("/v1/audit", "audit"),
];

/// Flags and arguments, by the field or the parameter that each becomes.
const FLAGS: [(&str, &str); 7] = [
    ("target_throttle", "LEVEL"),
    ("confirmation", "--confirm"),
    ("operator", "--operator"),
    ("reason", "--reason"),
    ("throttle", "--throttle"),
    ("epoch", "--epoch"),
    ("since", "--since"),
];

/// What answers say to send, look at or see, and what a person does instead.
const PHRASES: [(&str, &str); 10] = [
    // Each command has a key of its own.
    (
        "send it with a new Idempotency-Key",
        "give the command again",
    ),
    (" Include X-API-Key header.", ""),
    (
        "\"confirmation\":\"CONFIRM_KILL\"",
        "--confirm CONFIRM_KILL",
    ),
    ("see held_by", "see below"),
    ("POST /kill", "`echo-phoenix kill`"),
    ("POST /revive", "`echo-phoenix revive`"),
    ("POST /control", "`echo-phoenix set`"),
    ("tightening and /kill do not", "tightening and kills do not"),
    ("look at /health", "look at `echo-phoenix status`"),
    ("towards target_throttle", "towards what is declared"),
];

/// A sentence of the service.
pub(super) fn by_command(text: &str) -> String {
    PHRASES
        .iter()
        .fold(text.to_owned(), |text, (theirs, ours)| {
            text.replace(theirs, ours)
        })
}

/// A refusal, or that something is not decided: which command it was, and what is wrong with which
/// flag.
pub(super) fn refused(refusal: &ApiRefusal) -> String {
    let route = refusal.path.split('?').next().unwrap_or_default();
    let command = COMMANDS
        .iter()
        .find(|(theirs, _)| *theirs == route)
        .map(|(_, ours)| (*ours).to_owned());
    let detail = flags(&refusal.errors).unwrap_or_else(|| by_command(&refusal.detail));
    ApiRefusal {
        path: command.unwrap_or_else(|| refusal.path.clone()),
        detail,
        ..refusal.clone()
    }
    .to_string()
}

/// What is wrong with flags; none where no field is named, or one that no flag sets.
fn flags(errors: &Value) -> Option<String> {
    let one = |error: &Value| {
        let (field, expected) = (
            error.get("field")?.as_str()?,
            error.get("expected")?.as_str()?,
        );
        let (_, flag) = FLAGS.iter().find(|(theirs, _)| *theirs == field)?;
        Some(format!("{flag}: expected {}", by_command(expected)))
    };
    let all: Vec<_> = errors.as_array()?.iter().map(one).collect::<Option<_>>()?;
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{by_command, refused};
    use crate::client::ApiRefusal;
    use crate::run;

    /// What whoever typed a command cannot do anything with.
    const THEIRS: [&str; 8] = [
        "POST /",
        "GET /",
        "held_by",
        "Idempotency-Key",
        "header",
        "target_throttle",
        "\"confirmation\"",
        "/health",
    ];

    /// Every row of the table, so that a new one is looked at. Left out is what no command of ours
    /// can be answered: each has its one key, and none asks for a verdict, sends a webhook or makes
    /// its own HTTP.
    #[test]
    fn no_refusal_tells_a_person_to_send_requests() {
        let never = [
            "`Idempotency-Key: expected",
            "`This Idempotency-Key was",
            "`HTTP/1.1 needs",
            "`POST {path} needs",
            "`In production verdicts",
        ];
        let table = run::refusals();
        let rows: Vec<_> = table
            .lines()
            .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"))
            .collect();
        assert!(rows.len() > 30, "{table}");
        for row in rows {
            let words = row.split(" | ").nth(1).unwrap_or_default();
            let told = by_command(words);
            if never.iter().any(|never| words.starts_with(never)) {
                continue;
            }
            let theirs: Vec<_> = THEIRS
                .iter()
                .filter(|theirs| told.contains(**theirs))
                .collect();
            assert!(theirs.is_empty(), "{theirs:?} in {told}");
        }
    }

    #[test]
    fn a_refusal_names_the_command_and_the_flag() {
        let told = |path: &str, detail: &str, errors| {
            let (path, detail) = (path.to_owned(), detail.to_owned());
            refused(&ApiRefusal {
                path,
                status: 422,
                detail,
                retry_after: None,
                held_by: Vec::new(),
                errors,
                undecided: false,
            })
        };
        let field = |name: &str| json!([{ "field": name, "expected": "some text" }]);
        let none = json!(null);
        for (path, detail, errors, said) in [
            (
                "/control",
                "target_throttle: …",
                field("target_throttle"),
                "set was refused (422): LEVEL: expected some text",
            ),
            (
                "/kill",
                "operator: …",
                field("operator"),
                "kill was refused (422): --operator: expected some text",
            ),
            (
                "/v1/audit?limit=9",
                "since: …",
                field("since"),
                "audit was refused (422): --since: expected some text",
            ),
            // One that no flag sets is told as it came.
            (
                "/control",
                "current_state: no",
                field("current_state"),
                "set was refused (422): current_state: no",
            ),
            (
                "/v1/throttles",
                "No.",
                none.clone(),
                "/v1/throttles was refused (422): No.",
            ),
            (
                "/kill",
                "POST /kill needs the role breaker, which the key ci has not.",
                none,
                "kill was refused (422): `echo-phoenix kill` needs the role breaker, which the key ci has not.",
            ),
        ] {
            assert_eq!(told(path, detail, errors), said);
        }
    }
}
