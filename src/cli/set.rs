//! `set`: a person declares a level. What opens goes by the ramp; what measures is not asked here.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::api::by_command;
use super::kill::{send, throttle_name};
use super::service::{Output, ServiceArgs, order_failed, order_strange};
use super::terminal::{Paint, columns, fit_words, json_line, print_done, tell};
use super::words::{by_source, held_by, percent};
use crate::client::{ApiClient, ClientError, ControlSummary, HeldLevelRow, HeldRow};
use crate::domain::level::Level;
use crate::domain::text::is_blank;
use crate::domain::throttle::ThrottleName;
use crate::run::RunError;
use crate::source::rest::older;

/// How long it is tried again while the service cannot be reached: the same order is never done
/// twice.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fields that an earlier version may refuse, one after the other.
const FIELDS: usize = 4;

/// `echo-phoenix set`
#[derive(Args)]
pub(super) struct SetArgs {
    /// Share of work to refuse: a fraction from 0 to 1, or a percentage with its sign; 0 is open, 1
    /// or 100% a full stop
    #[arg(value_name = "LEVEL", value_parser = level)]
    level: Level,
    /// Of which throttle; `default` if not set
    #[arg(long, value_name = "NAME", value_parser = throttle_name)]
    throttle: Option<ThrottleName>,
    /// Who declares it
    #[arg(long, allow_hyphen_values = true, value_parser = some_text)]
    operator: String,
    /// Why, for the record and for whoever is on call next
    #[arg(long, allow_hyphen_values = true, value_parser = some_text)]
    reason: String,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Words for the record: a variable that was empty is no name.
pub(super) fn some_text(text: &str) -> Result<String, String> {
    if is_blank(text) {
        Err("expected some text, for the record".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Reads a level. A bare number above 1 may be meant either way, and one of them is a full stop; so
/// may a sign be, as a level or as a change of one.
fn level(text: &str) -> Result<Level, String> {
    let expected =
        "expected a fraction from 0 to 1, as 0.25, or a percentage with its sign, as 25%";
    let (number, percent) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), true),
        None => (text.trim(), false),
    };
    if let Some(plain) = number.strip_prefix('+') {
        let sign = if percent { "%" } else { "" };
        return Err(format!(
            "`{}` may be meant as a change: a level is set whole, as {plain}{sign}; {expected}",
            text.trim()
        ));
    }
    let value: f64 = number.parse().map_err(|_| expected.to_owned())?;
    if !percent && value > 1.0 && value <= 100.0 {
        return Err(format!(
            "`{number}` may be meant either way: say {} or {number}%",
            value / 100.0
        ));
    }
    Level::new(if percent { value / 100.0 } else { value }).map_err(|_| expected.to_owned())
}

pub(super) async fn set(args: SetArgs, paint: Paint) -> Result<(), RunError> {
    let client = args.service.client()?;
    let mut body = Map::new();
    body.insert("target_throttle".to_owned(), json!(args.level));
    body.insert("operator".to_owned(), json!(args.operator));
    body.insert("reason".to_owned(), json!(args.reason));
    body.extend(
        args.throttle
            .as_ref()
            .map(|name| ("throttle".to_owned(), json!(name))),
    );
    let answer = match declare(&client, Value::Object(body)).await {
        Ok(answer) => answer,
        Err(error) => return Err(order_failed(&client, &error, args.throttle.as_ref()).await),
    };
    let declared: ControlSummary = client
        .typed("/control", &answer)
        .map_err(|error| order_strange(&client, &error))?;
    match args.output {
        Output::Json => print_done(&json_line(&answer)),
        Output::Text => print_done(&told(&declared, paint, columns())),
    }
    finish(&client, &declared)
}

/// Declares, in the words of an earlier version where the service is one: that one names a field at
/// a time.
async fn declare(client: &ApiClient, mut body: Value) -> Result<Value, ClientError> {
    for _ in 0..FIELDS {
        let sent = send(client, "/control", &body, Some(PATIENCE)).await;
        let Err(ClientError::Refused(refusal)) = &sent else {
            return sent;
        };
        let Some(next) = older(&body, &refusal.errors, Level::STOP) else {
            return sent;
        };
        if next.get("operator").is_none() && body.get("operator").is_some() {
            tell!(
                "{} is an earlier version, whose record has no place for who and why.",
                client.base()
            );
        }
        body = next;
    }
    send(client, "/control", &body, Some(PATIENCE)).await
}

fn told(declared: &ControlSummary, paint: Paint, columns: Option<usize>) -> String {
    let (name, asked) = (&declared.throttle, percent(declared.target_throttle));
    let mut text = match declared.held_by.first() {
        None => paint.good(&format!("DECLARED: {name} refuses {asked}\n")),
        Some(by) => {
            let level = by
                .reason
                .strip_prefix("declared ")
                .and_then(|level| level.parse().ok());
            let stays = level.map_or_else(|| "more".to_owned(), percent);
            let whose = by_source(&by.source);
            paint.warn(&format!(
                "NOT LOWER: {name} stays declared at {stays} {whose}; {asked} was asked for\n"
            ))
        }
    };
    let mut row = |name: &str, value: &str| text += &format!("  {name:<9} {value}\n");
    for HeldLevelRow { level, held } in &declared.replaced {
        row(
            "ended",
            &format!("{} or more by {}", percent(*level), held_by(held)),
        );
    }
    row("in force", &percent(declared.in_force));
    row("next", &by_command(&declared.next_step));
    let record = declared.audit_id.map_or_else(
        || format!("{}: not in the ledger yet", declared.audit),
        |seq| format!("audit entry {seq}"),
    );
    row("record", &record);
    fit_words(&text, columns)
}

/// Where a declaration is changed that this door does not lower.
fn lowers(by: &HeldRow) -> String {
    match by.source.as_str() {
        "manifest" => "change throttlePercent in the manifest file".to_owned(),
        _ => format!("change it {}", by_source(&by.source)),
    }
}

/// What somebody else declares more of is not in force, and that is no success.
fn finish(client: &ApiClient, declared: &ControlSummary) -> Result<(), RunError> {
    if let Some(by) = declared.held_by.first() {
        let more = format!(
            "more than that stays declared, {}: {}",
            by_source(&by.source),
            by.reason
        );
        return Err(RunError::Failed(format!(
            "{more}\n  - It ends so: {}",
            lowers(by)
        )));
    }
    if declared.audit != "recorded" || !declared.durable {
        return Err(RunError::Failed(format!(
            "it holds, and its record is not in the ledger of {} yet",
            client.base()
        )));
    }
    tell!("Next: echo-phoenix status --watch");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{level, told};
    use crate::cli::terminal::Paint;

    #[test]
    fn a_level_that_was_ended_is_one_line_of_a_terminal_whatever_its_owner_said() {
        let words = format!("eve{}DECLARED: default refuses 0 %", " ".repeat(90));
        let ended = json!({ "level": 0.6, "epoch": "e", "source": "rest", "operator": words, "reason": words });
        let answer = json!({
            "throttle": "default", "in_force": 0.7, "target_throttle": 0.7, "next_step": "none", "replaced": [ended],
            "audit": "recorded", "audit_id": 7, "durable": true,
        });
        let text = told(
            &serde_json::from_value(answer).unwrap(),
            Paint::new(Some("1")),
            Some(80),
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(
            lines[1].starts_with("  ended     60 % or more by eve") && lines[1].ends_with('…'),
            "{text}"
        );
        assert!(
            lines.iter().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn a_level_is_a_fraction_or_a_percentage_with_its_sign() {
        for (text, share) in [
            ("0", 0.0),
            ("1", 1.0),
            ("0.25", 0.25),
            ("25%", 0.25),
            ("100 %", 1.0),
            ("0.5%", 0.005),
            ("1e-1", 0.1),
        ] {
            assert_eq!(
                level(text).map(|level| level.fraction()),
                Ok(share),
                "{text}"
            );
        }
        for (text, said) in [
            ("25", "say 0.25 or 25%"),
            ("100", "say 1 or 100%"),
            ("101", "expected a fraction"),
            ("101%", "expected a fraction"),
            ("-0.1", "expected a fraction"),
            ("NaN", "expected a fraction"),
            ("open", "expected a fraction"),
            ("+5%", "as 5%; expected a fraction from 0 to 1"),
            ("+0.1", "as 0.1; expected a fraction from 0 to 1"),
            ("+ 5 %", "a level is set whole"),
            ("", "expected a fraction"),
        ] {
            let error = level(text).map(|level| level.fraction()).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
