//! What serde says of a manifest, in sentences: what was expected, what stands there, what may have
//! been meant. Pure.

use std::fmt;

use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

use super::DOCUMENTS;
use crate::source::rest::{Fields, no_such};

/// Longest text that is repeated, characters: a level is short, and what is longer may be a secret
/// in the wrong place.
const REPEATED: usize = 16;

/// A field that nobody knows, with the nearest of those there are.
pub(super) fn unknown(name: &str, known: &Fields) -> String {
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    format!("there is {}", no_such(name, &known))
}

/// Why the YAML cannot be read: a bound of ours or of its reader by name, with what to do; all else
/// in its first line, since the rest quotes the file.
pub(super) fn unread(error: &serde_saphyr::Error) -> String {
    let Error::Budget { breach, location } = error.without_snippet() else {
        return first_line(error);
    };
    let line = location.line();
    let bound = match breach {
        BudgetBreach::Documents { .. } => format!(
            "at most {DOCUMENTS} documents, one a throttle, those counted in which nothing stands; line {line} begins one more: \
             leave out throttles that nobody asks for, or give some to a service of their own with a file of its own"
        ),
        BudgetBreach::Depth { depth } => {
            format!(
                "at most {} levels of nesting, and line {line} has more: no field of a throttle is as deep",
                depth - 1
            )
        }
        BudgetBreach::Aliases { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::MergeKeys { .. } => {
            format!(
                "fewer aliases (`*name`, `<<`); they are too many by line {line}: write what they stand for"
            )
        }
        _ => format!(
            "less in one file, which is too much to be read by line {line}: leave out what is no throttle's"
        ),
    };
    format!("expected {bound}")
}

/// The first line of an error says what and where; the rest quotes the file.
pub(super) fn first_line(error: &impl fmt::Display) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A path as all others are written: a place in a list in brackets.
pub(super) fn place(path: &str) -> String {
    let mut out = String::new();
    for step in path.split('.') {
        match step.bytes().all(|byte| byte.is_ascii_digit()) {
            true => out += &format!("[{step}]"),
            false if out.is_empty() => out += step,
            false => out += &format!(".{step}"),
        }
    }
    out
}

/// What serde said of the field at a path.
pub(super) fn sentence(path: &str, said: &str) -> String {
    let quoted: Vec<_> = said.split('`').skip(1).step_by(2).collect();
    match quoted.as_slice() {
        [got, known @ ..] if said.starts_with("unknown variant ") => {
            return format!("expected {}, got {got:.64}", known.join(" or "));
        }
        [name, known @ ..] if said.starts_with("unknown field ") => {
            return format!("there is {}", no_such(name, known));
        }
        _ => {}
    }
    let problem = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "));
    let Some((got, expected)) = problem.and_then(|problem| problem.rsplit_once(", expected "))
    else {
        return said.to_owned();
    };
    let number = matches!(expected, "i32" | "u32" | "i64" | "u64");
    let range = match path {
        "throttlePercent" => " from 0 to 100",
        "ramp.maxPercentPerSecond" => " from 1 to 100",
        _ => "",
    };
    let expected = match expected {
        _ if number => "a whole number",
        "a string" => "text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "fields",
        other => other,
    };
    let meant = if range.is_empty() {
        None
    } else {
        percent(value(got))
    };
    let meant = meant
        .map(|percent| format!("; for {percent} percent write {percent}"))
        .unwrap_or_default();
    format!(
        "expected {expected}{range}, got {}{meant}",
        shown(got, number)
    )
}

/// What stands there, as serde has it: ``floating point `0.25` ``, `string "25%"`, `map`.
fn value(got: &str) -> &str {
    let (_, value) = got.split_once([' ', '`']).unwrap_or(("", got));
    value.trim_start_matches("point ").trim_matches(['`', '"'])
}

fn shown(got: &str, number: bool) -> String {
    match got.split(' ').next().unwrap_or_default() {
        "string" if number && value(got).chars().count() <= REPEATED => {
            format!("the text `{}`", value(got))
        }
        "string" => "text".to_owned(),
        "integer" | "floating" | "boolean" => value(got).to_owned(),
        "map" => "fields".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit" => "nothing".to_owned(),
        _ => got.to_owned(),
    }
}

/// The whole percent that a share or a percentage with its sign means, if it means one.
fn percent(text: &str) -> Option<i32> {
    let (number, sign) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), true),
        None => (text.trim(), false),
    };
    let value: f64 = number.parse().ok()?;
    let value = if !sign && value > 0.0 && value < 1.0 {
        (value * 1e8).round() / 1e6
    } else {
        value
    };
    (0..=100).find(|whole| (f64::from(*whole) - value).abs() < f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn every_text_of_serde_becomes_a_sentence() {
        let percent = "throttlePercent";
        for (path, said, sentence_of_it) in [
            (
                percent,
                "invalid type: floating point `0.25`, expected i32",
                "expected a whole number from 0 to 100, got 0.25; for 25 percent write 25",
            ),
            (
                percent,
                "invalid type: floating point `0.57`, expected i32",
                "expected a whole number from 0 to 100, got 0.57; for 57 percent write 57",
            ),
            (
                percent,
                "invalid type: floating point `25.0`, expected i32",
                "expected a whole number from 0 to 100, got 25.0; for 25 percent write 25",
            ),
            (
                percent,
                "invalid type: floating point `0.125`, expected i32",
                "expected a whole number from 0 to 100, got 0.125",
            ),
            (
                percent,
                "invalid type: string \"25%\", expected i32",
                "expected a whole number from 0 to 100, got the text `25%`; for 25 percent write 25",
            ),
            (
                percent,
                "invalid type: string \"sk_live_0123456789\", expected i32",
                "expected a whole number from 0 to 100, got text",
            ),
            (
                percent,
                "invalid type: null, expected i32",
                "expected a whole number from 0 to 100, got nothing",
            ),
            (
                percent,
                "invalid value: integer `99999999999`, expected i32",
                "expected a whole number from 0 to 100, got 99999999999",
            ),
            (
                "mode",
                "unknown variant `observ`, expected `Enforce` or `Observe`",
                "expected Enforce or Observe, got observ",
            ),
            (
                "kill",
                "invalid type: string \"x\", expected struct SpecKill",
                "expected fields, got text",
            ),
            (
                "targets",
                "invalid type: map, expected a sequence",
                "expected a list, got fields",
            ),
            (
                "",
                "unknown field `metdata`, expected one of `kind`, `metadata`",
                "there is no such field; did you mean metadata? There are kind, metadata",
            ),
            ("", "missing field `metadata`", "missing field `metadata`"),
        ] {
            assert_eq!(sentence(path, said), sentence_of_it, "{said}");
        }
    }
}
