//! `kill`: a person's order to stop. It is whole, or the exit code says that it is not; what surely
//! stopped nothing says so.

mod sites;

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde_json::{Map, Value, json};

use super::api::by_command;
use super::known::KnownThrottles;
use super::service::{Output, ServiceArgs, order_failed, order_strange};
use super::terminal::{Paint, columns, fit_words, json_line, print_done, say, tell};
use super::words::{WIDE, since};
use crate::client::{ApiClient, ClientError, KillSummary};
use crate::config::ConfigError;
use crate::domain::text::{OPERATOR_LIMIT, REASON_LIMIT, cut};
use crate::domain::throttle::ThrottleName;
use crate::ports::Clock;
use crate::run::RunError;
use crate::run::clock::SystemClock;
use crate::source::crd_override::CONFIRMATION;

/// What is said of a kill that surely did nothing.
pub(super) const NOTHING: &str = "NOTHING WAS STOPPED.";

/// How often the word may be mistyped.
const TRIES: usize = 3;

/// `echo-phoenix kill`
#[derive(Args)]
pub(super) struct KillArgs {
    /// Why, for the record and for whoever is on call next
    #[arg(long, value_parser = any_text(), allow_hyphen_values = true, default_value = "", hide_default_value = true)]
    reason: String,
    /// Who stops it
    #[arg(long, value_parser = any_text(), allow_hyphen_values = true, default_value = "", hide_default_value = true)]
    operator: String,
    /// Only this throttle; all of them if not set
    #[arg(long, value_name = "NAME", value_parser = throttle_name)]
    throttle: Option<ThrottleName>,
    /// The word CONFIRM_KILL, where there is no terminal to type it on
    #[arg(long, value_name = "CONFIRM_KILL")]
    confirm: Option<String>,
    /// How long to try again while the service cannot be reached; the same kill is never done twice
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Whatever was typed: nobody is kept from stopping by a character.
fn any_text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

pub(super) fn throttle_name(text: &str) -> Result<ThrottleName, String> {
    ThrottleName::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(super) async fn kill(args: KillArgs, paint: Paint) -> Result<(), RunError> {
    let client = args.service.client().map_err(nothing_stopped)?;
    let scope = args.throttle.as_ref().map_or_else(
        || "all throttles".to_owned(),
        |name| format!("throttle {name}"),
    );
    confirm(
        args.confirm.as_deref(),
        &format!("This stops {scope} of {}.", client.base()),
    )?;
    let body = order(args.reason, args.operator, args.throttle.as_ref());
    let patience = Some(Duration::from_secs(args.patience));
    let sent = send(&client, "/kill", &body, patience).await;
    let mut answer = match sent {
        Ok(answer) => answer,
        Err(error) => {
            let told = order_failed(&client, &error, args.throttle.as_ref()).await;
            return Err(if error.did_nothing() {
                nothing_stopped(told)
            } else {
                told
            });
        }
    };
    let mut killed: KillSummary = client
        .typed("/kill", &answer)
        .map_err(|error| order_strange(&client, &error))?;
    sites::read_back(&client, &mut answer, &mut killed).await;
    let gaps = killed.gaps();
    match args.output {
        Output::Json => print_done(&json_line(&answer)),
        Output::Text => {
            let known = if killed.already_killed {
                KnownThrottles::look(&client).await
            } else {
                KnownThrottles::default()
            };
            let epoch = killed.epoch.as_deref().unwrap_or_default();
            // Whoever wanted one stopped shall know that it opens with all others.
            let wide = args.throttle.is_some() && known.covers_all(epoch);
            let first = (known.by(epoch), wide.then_some(WIDE));
            print_done(&fit_words(
                &told(&killed, &scope, first, &gaps, paint),
                columns(),
            ));
        }
    }
    let only = args
        .throttle
        .map(|name| format!(" --throttle {name}"))
        .unwrap_or_default();
    if gaps.is_empty() {
        tell!("Next: echo-phoenix status --watch          see it hold, and what is left to stop");
        tell!("      echo-phoenix revive{only} --operator YOU --reason WHY");
        return Ok(());
    }
    Err(not_whole(&gaps))
}

/// The kill as the service takes it: nobody is kept from stopping by words that are too long.
fn order(reason: String, operator: String, throttle: Option<&ThrottleName>) -> Value {
    let mut body = Map::new();
    body.insert("reason".to_owned(), json!(cut(reason, REASON_LIMIT)));
    body.insert("operator".to_owned(), json!(cut(operator, OPERATOR_LIMIT)));
    body.insert("confirmation".to_owned(), json!(CONFIRMATION));
    body.extend(throttle.map(|name| ("throttle".to_owned(), json!(name))));
    Value::Object(body)
}

/// A kill that was done, and lacks these.
fn not_whole(gaps: &[String]) -> RunError {
    RunError::Failed(format!(
        "the kill is not whole: {}\n  - Send it again: it stays one kill, and tells anew what holds where.\n  - \
         echo-phoenix status --watch shows what is missing as it comes.\n  - What is not stopped has to be stopped by \
         other means until then.",
        gaps.join("; ")
    ))
}

/// The same error, of a kill that surely did nothing.
fn nothing_stopped(error: RunError) -> RunError {
    match error {
        RunError::Config(error) => RunError::Config(ConfigError {
            fix: format!("{} {NOTHING}", error.fix),
            ..error
        }),
        RunError::Failed(text) => RunError::Failed(format!("{text}\n  - {NOTHING}")),
        other => other,
    }
}

/// The kill as a person reads it.
fn told(
    killed: &KillSummary,
    scope: &str,
    first: (Option<String>, Option<&str>),
    gaps: &[String],
    paint: Paint,
) -> String {
    let now = SystemClock.now();
    let mut text = match gaps {
        [] if killed.already_killed => paint.alarm(&format!(
            "KILLED ALREADY: {scope}; this order changes nothing, and is on record\n"
        )),
        [] => paint.alarm(&format!(
            "KILLED: {scope}, nothing but what is on an allow-list is admitted\n"
        )),
        _ => paint.alarm(&format!("KILLED, BUT NOT WHOLE: {scope}\n")),
    };
    let mut row = |name: &str, value: &str| text += &format!("  {name:<8} {value}\n");
    row(
        "since",
        &killed
            .latched_at
            .as_deref()
            .map_or_else(|| "unknown".to_owned(), |at| since(at, now)),
    );
    let (by, covers) = first;
    by.into_iter().for_each(|by| row("by", &by));
    covers.into_iter().for_each(|covers| row("covers", covers));
    row("epoch", killed.epoch.as_deref().unwrap_or("unknown"));
    let record = match (killed.audit.as_str(), killed.audit_id) {
        ("recorded", Some(seq)) => format!("audit entry {seq}"),
        ("recorded", None) => "in the ledger".to_owned(),
        (audit, _) => format!("{audit}: not in the ledger yet"),
    };
    row(
        "record",
        &format!(
            "{record}; {}",
            if killed.durable {
                "outlives a crash"
            } else {
                "LOST IF THE SERVICE RESTARTS"
            }
        ),
    );
    for one in &killed.targets {
        let enforced = if one.enforced {
            "stopped"
        } else {
            "NOT STOPPED YET"
        };
        row(
            "target",
            &format!("{} of {}: {enforced}", one.target, one.throttle),
        );
    }
    if let Some(warning) = &killed.warning {
        row("note", &by_command(warning));
    }
    for gap in gaps {
        row("missing", gap);
    }
    text
}

/// Sends a command; what is tried again is told on stderr.
pub(super) async fn send(
    client: &ApiClient,
    path: &str,
    body: &Value,
    patience: Option<Duration>,
) -> Result<Value, ClientError> {
    let once = format!("cli-{}", hex::encode(rand::random::<[u8; 16]>()));
    let mut tries = 1;
    let mut again = |error: &ClientError, pause: Duration| {
        tell!(
            "{error}; attempt {tries}, again in {} ms under the same Idempotency-Key",
            pause.as_millis()
        );
        tries += 1;
    };
    client
        .command(path, body, &once, patience, &mut again)
        .await
}

/// Asks for the word, unless it was given.
fn confirm(given: Option<&str>, what: &str) -> Result<(), RunError> {
    let unconfirmed = |expected: &str, fix: &str| {
        let (variable, expected, fix) =
            ("--confirm", expected.to_owned(), format!("{fix}{NOTHING}"));
        Err(RunError::Config(ConfigError {
            variable,
            expected,
            fix,
        }))
    };
    match given {
        Some(CONFIRMATION) => return Ok(()),
        Some(_) => return unconfirmed("the word CONFIRM_KILL", ""),
        None if !io::stdin().is_terminal() => {
            let expected = "the word CONFIRM_KILL, since there is no terminal to type it on";
            return unconfirmed(expected, "To stop, add --confirm CONFIRM_KILL. ");
        }
        None => {}
    }
    tell!("{what}");
    for _ in 0..TRIES {
        say(&format!(
            "Type {CONFIRMATION} to stop, or anything else not to: "
        ));
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        match (read, line.trim()) {
            (Ok(1..), CONFIRMATION) => return Ok(()),
            // A typing error, as far as that can be told; nothing else is asked twice.
            (Ok(1..), typed)
                if typed.eq_ignore_ascii_case(CONFIRMATION)
                    || typed.to_uppercase().starts_with("CONFIRM") =>
            {
                tell!("`{typed}` is not {CONFIRMATION}.");
            }
            _ => break,
        }
    }
    unconfirmed("the word CONFIRM_KILL, which was not typed", "")
}
