//! `revive`: a person ends what people hold, kills and the levels that they set on top of a
//! manifest, and is told each of them in words.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::kill::{send, throttle_name};
use super::known::KnownThrottles;
use super::service::{Output, ServiceArgs, order_failed, order_strange, stays};
use super::set::some_text;
use super::terminal::{Paint, columns, fit_words, json_line, print_done, tell};
use super::words::lower_to;
use crate::client::ReviveSummary;
use crate::domain::throttle::ThrottleName;
use crate::ports::Clock;
use crate::run::RunError;
use crate::run::clock::SystemClock;

/// How long one that names its hold is sent again.
const PATIENCE: Duration = Duration::from_secs(30);

/// `echo-phoenix revive`
#[derive(Args)]
pub(super) struct ReviveArgs {
    /// Who ends it
    #[arg(long, allow_hyphen_values = true, value_parser = some_text)]
    operator: Option<String>,
    /// Why
    #[arg(long, allow_hyphen_values = true, value_parser = some_text)]
    reason: Option<String>,
    /// Only what holds this throttle alone; everything that people hold if not set
    #[arg(long, value_name = "NAME", value_parser = throttle_name)]
    throttle: Option<ThrottleName>,
    /// Only this hold, by the epoch that `status` shows
    #[arg(long)]
    epoch: Option<String>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(super) async fn revive(args: ReviveArgs, paint: Paint) -> Result<(), RunError> {
    let client = args.service.client()?;
    let only = args.throttle.as_ref().map(ThrottleName::to_string);
    let mut body = Map::new();
    let fields = [
        ("operator", args.operator),
        ("reason", args.reason),
        ("throttle", only.clone()),
        ("epoch", args.epoch.clone()),
    ];
    body.extend(
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))),
    );
    // What has ended is listed no more, so it is looked at before.
    let known = KnownThrottles::look(&client).await;
    // Tried again only if it names its hold: otherwise it might end one that came in between.
    let patience = args.epoch.as_ref().map(|_| PATIENCE);
    let answer = match send(&client, "/revive", &Value::Object(body), patience).await {
        Ok(answer) => answer,
        Err(error) => return Err(order_failed(&client, &error, args.throttle.as_ref()).await),
    };
    let revived: ReviveSummary = client
        .typed("/revive", &answer)
        .map_err(|error| order_strange(&client, &error))?;
    match args.output {
        Output::Json => print_done(&json_line(&answer)),
        Output::Text if revived.status == "already_running" => {
            print_done(&nothing(&known, args.epoch.as_deref()));
        }
        Output::Text => print_done(&fit_words(&told(&revived, &known, paint), columns())),
    }
    if let Some(epoch) = args.epoch.filter(|_| revived.status == "already_running") {
        return Err(RunError::Failed(format!(
            "nothing was ended, and so not the hold {epoch} either"
        )));
    }
    if !revived.held_by.is_empty() {
        let held: Vec<_> = revived
            .held_by
            .iter()
            .map(|held| format!("\n  - {}", stays(held, &known)))
            .collect();
        return Err(RunError::Failed(format!(
            "still killed, by what this command does not end:{}",
            held.concat()
        )));
    }
    if revived.status == "revived" {
        let now = KnownThrottles::look(&client).await;
        let opens = match (
            now.kills(only.as_deref(), SystemClock.now()).as_slice(),
            now.all_shut(only.as_deref()),
        ) {
            ([], true) => {
                "Nothing opens yet: a full stop is declared (echo-phoenix set 0, or the manifest)."
                    .to_owned()
            }
            ([], false) => "It opens step by step to what is declared.".to_owned(),
            (still, _) => format!(
                "Still killed, by what was not to be ended: {}.",
                still.join("; ")
            ),
        };
        tell!("{opens} Next: echo-phoenix status --watch");
    }
    Ok(())
}

/// The revival as a person reads it.
fn told(revived: &ReviveSummary, known: &KnownThrottles, paint: Paint) -> String {
    let now = SystemClock.now();
    let mut text = paint.good(&format!("REVIVED: {} hold(s) ended\n", revived.ended.len()));
    for epoch in &revived.ended {
        let words = known
            .words(epoch, now)
            .unwrap_or_else(|| "a hold that was not listed before it ended".to_owned());
        text += &format!("  ended    {words}\n           epoch {epoch}\n");
    }
    text + &revived
        .audit_id
        .map(|seq| format!("  record   audit entry {seq}\n"))
        .unwrap_or_default()
}

/// What is said where nothing was killed.
fn nothing(known: &KnownThrottles, epoch: Option<&str>) -> String {
    let mut text = match epoch.filter(|epoch| known.lacks(epoch)) {
        Some(epoch) => format!(
            "There is no hold with the epoch {epoch}, and nothing is killed: nothing was ended.\n"
        ),
        None => "Nothing was killed, so nothing was ended.\n".to_owned(),
    };
    for (one, hold) in known.levels() {
        text += &format!(
            "  level    of {} stays: {}\n",
            one.name,
            lower_to(hold, one)
        );
    }
    text
}
