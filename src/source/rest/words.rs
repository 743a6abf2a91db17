//! What serde says of a body, in words for whoever sent it. Pure.

use super::InvalidField;
use super::fields::{missing, no_such};

/// serde names a missing or unknown field in its text, and its parent in the path; users want the
/// field itself.
pub(super) fn named(path: &str, text: &str) -> InvalidField {
    let text = text.split(" at line ").next().unwrap_or(text);
    let mut quoted = text.split('`');
    let (lead, name) = (
        quoted.next().unwrap_or_default(),
        quoted.next().unwrap_or_default(),
    );
    let whole = path == "." || path == "?";
    let here = path.trim_end_matches(".?");
    let join = |name: &str| {
        if whole {
            name.to_owned()
        } else {
            format!("{here}.{name}")
        }
    };
    let is_named = here.rsplit('.').next() == Some(name);
    let field = if is_named {
        here.to_owned()
    } else {
        join(name)
    };
    let error = |field: String, expected: &str| InvalidField {
        field,
        expected: expected.to_owned(),
    };
    match lead {
        "missing field " => missing(join(name)),
        "unknown field " => {
            let known: Vec<_> = text.split('`').skip(3).step_by(2).collect();
            error(field, &no_such(name, &known))
        }
        "duplicate field " => error(field, "one value; the field is given twice"),
        _ => error(
            if whole {
                "body".to_owned()
            } else {
                here.to_owned()
            },
            &wanted(text),
        ),
    }
}

/// From `invalid type: string "0", expected f64` to `a number, got a string`; other texts say it
/// themselves.
fn wanted(text: &str) -> String {
    let Some(problem) = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
    else {
        // `x` is no throttle name: expected …
        return text
            .split_once(": expected ")
            .map_or(text, |(_, expected)| expected)
            .to_owned();
    };
    let (got, expected) = problem
        .rsplit_once(", expected ")
        .unwrap_or((problem, "another value"));
    let expected = match expected {
        "f64" | "i64" | "u64" => "a number",
        "struct" | "map" => "an object",
        other => other,
    };
    let got = match got
        .split(' ')
        .next()
        .unwrap_or_default()
        .trim_end_matches(',')
    {
        "string" => "a string",
        "integer" | "floating" | "number" => "a number",
        "boolean" => "true or false",
        "sequence" => "an array",
        "map" => "an object",
        _ => got,
    };
    format!("{expected}, got {got}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path, text of serde, field and what is told of it.
    const TEXTS: [(&str, &str, &str, &str); 11] = [
        (
            ".",
            "missing field `target_throttle` at line 1 column 9",
            "target_throttle",
            "a value; the field is missing",
        ),
        (
            "a",
            "missing field `b`",
            "a.b",
            "a value; the field is missing",
        ),
        (
            "targt",
            "unknown field `targt`, expected one of `a`, `b` at line 1",
            "targt",
            "no such field; there are a, b",
        ),
        (
            "eror_rate",
            "unknown field `eror_rate`, expected `error_rate` or `source`",
            "eror_rate",
            "no such field; did you mean error_rate? There are error_rate, source",
        ),
        (
            "a.x",
            "unknown field `x`, expected `b`",
            "a.x",
            "no such field; there are b",
        ),
        (
            ".",
            "duplicate field `a` at line 1 column 2",
            "a",
            "one value; the field is given twice",
        ),
        (
            "a.e",
            "invalid type: string \"0, expected\", expected f64 at line 1",
            "a.e",
            "a number, got a string",
        ),
        (
            ".",
            "invalid type: sequence, expected an object",
            "body",
            "an object, got an array",
        ),
        (
            "a",
            "invalid type: null, expected f64",
            "a",
            "a number, got null",
        ),
        (
            "t",
            "`No!` is no throttle name: expected 1 to 9 of a-z",
            "t",
            "1 to 9 of a-z",
        ),
        (
            "r",
            "invalid type: integer `7`, expected a string",
            "r",
            "a string, got a number",
        ),
    ];

    #[test]
    fn every_text_of_serde_reads_as_a_sentence() {
        for (path, text, field, expected) in TEXTS {
            let said = named(path, text);
            assert_eq!(
                (said.field.as_str(), said.expected.as_str()),
                (field, expected),
                "{path}: {text}"
            );
        }
    }
}
