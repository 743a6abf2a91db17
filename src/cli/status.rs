//! `status`: what holds, since when, by whom, and what next.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::report::{ServiceSnapshot, report};
use super::service::{Output, ServiceArgs, failed};
use super::terminal::{Paint, clear, columns, fit, fit_words, json_line, print, tell};
use crate::client::{
    ApiClient, AuditRow, ClientError, CommandList, CommandRow, HealthSummary, ThrottleList,
};
use crate::ports::Clock;
use crate::run::RunError;
use crate::run::clock::SystemClock;

/// Pause between two looks: 20 a minute, three requests each, so that others at this address can
/// still ask.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3);

/// Throttles for which the last command is looked up.
const LOOK_UPS: usize = 8;

/// `echo-phoenix status`
#[derive(Args)]
pub(super) struct StatusArgs {
    /// Keep looking: on a terminal in place, elsewhere a new report whenever something changed
    #[arg(long, short)]
    watch: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    service: ServiceArgs,
}

pub(super) async fn status(args: StatusArgs, paint: Paint) -> Result<(), RunError> {
    let client = args.service.client()?;
    if args.watch {
        return watch(&client, args.output, paint).await;
    }
    let health = client
        .health()
        .await
        .map_err(|error| failed(&client, &error))?;
    let (throttles, refused) = match client.get("/v1/throttles").await {
        Ok(throttles) => (Some(throttles), None),
        Err(error) => (None, Some(error)),
    };
    let commands = commands(&client).await;
    let mut found = look(&client, &health, throttles.as_ref())
        .await
        .map_err(|error| failed(&client, &error))?;
    found.unread = refused.as_ref().is_some_and(|error| !elsewhere(error));
    found.doubts = doubts(&client, commands.as_ref());
    let text = written(
        &client,
        args.output,
        [&Some(health), &throttles, &commands],
        &found,
        paint,
    );
    let columns = columns().filter(|_| args.output == Output::Text);
    let printed = print(&fit_words(&text, columns));
    match refused {
        None => printed,
        Some(error) if elsewhere(&error) => {
            tell!(
                "{}: the throttles of a cluster are told by kubectl get echothrottles -A",
                client.base()
            );
            printed
        }
        Some(error) => Err(failed(&client, &error)),
    }
}

/// Whether a process has no such route because it is the operator or a gate.
fn elsewhere(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.status == 404)
}

async fn watch(client: &ApiClient, output: Output, paint: Paint) -> Result<(), RunError> {
    let mut before = None;
    loop {
        let now = match round(client).await {
            Ok((health, throttles, commands, found)) => {
                let changed = (
                    Some(steady(&health)),
                    Some((throttles.clone(), commands.clone())),
                    None,
                );
                let answers = [&Some(health), &Some(throttles), &commands];
                (changed, written(client, output, answers, &found, paint))
            }
            Err(error) => {
                let text = format!("{}: {error}\n", paint.alarm("NOT KNOWN"));
                let text = if output == Output::Json {
                    json_line(&json!({ "error": error.to_string() }))
                } else {
                    text
                };
                ((None, None, Some(error.to_string())), text)
            }
        };
        let in_place = output == Output::Text && clear()?;
        if in_place || before.as_ref() != Some(&now.0) {
            // In place each thing has its line: one that runs over would push what holds out of
            // sight.
            print(
                &columns()
                    .filter(|_| in_place)
                    .map_or_else(|| now.1.clone(), |columns| fit(&now.1, columns)),
            )?;
        }
        before = Some(now.0);
        sleep(REFRESH_INTERVAL).await;
    }
}

/// Health without what changes at every look.
fn steady(health: &Value) -> Value {
    let mut steady = health.clone();
    steady
        .as_object_mut()
        .and_then(|members| members.remove("uptime_seconds"));
    // When the last event came; it says nothing about how the service is.
    steady
        .get_mut("checks")
        .and_then(Value::as_object_mut)
        .and_then(|checks| checks.remove("webhooks"));
    steady
}

/// Commands whose outcome was not known when they were answered, if that can be told. A gate and an
/// older service, which know no such route, have none.
async fn commands(client: &ApiClient) -> Option<Value> {
    match client.get("/v1/commands").await {
        Err(error) if elsewhere(&error) => Some(json!({ "items": [] })),
        asked => asked.ok(),
    }
}

fn doubts(client: &ApiClient, commands: Option<&Value>) -> Option<Vec<CommandRow>> {
    Some(
        client
            .typed::<CommandList>("/v1/commands", commands?)
            .ok()?
            .items,
    )
}

async fn round(
    client: &ApiClient,
) -> Result<(Value, Value, Option<Value>, ServiceSnapshot), ClientError> {
    let health = client.health().await?;
    let throttles = match client.get("/v1/throttles").await {
        Err(error) if elsewhere(&error) => json!({ "items": [] }),
        asked => asked?,
    };
    let commands = commands(client).await;
    let found = ServiceSnapshot {
        health: client.typed("/health", &health)?,
        throttles: client
            .typed::<ThrottleList>("/v1/throttles", &throttles)?
            .items,
        unread: false,
        commands: Vec::new(),
        doubts: doubts(client, commands.as_ref()),
    };
    Ok((health, throttles, commands, found))
}

/// Everything that is told once: also who commanded last.
async fn look(
    client: &ApiClient,
    health: &Value,
    throttles: Option<&Value>,
) -> Result<ServiceSnapshot, ClientError> {
    let health: HealthSummary = client.typed("/health", health)?;
    let throttles = match throttles {
        Some(throttles) => {
            client
                .typed::<ThrottleList>("/v1/throttles", throttles)?
                .items
        }
        None => Vec::new(),
    };
    let mut commands = Vec::new();
    for one in throttles.iter().take(LOOK_UPS) {
        // Who declared what is in force is worth a look, but not an error.
        let Ok(page) = client
            .get(&format!(
                "/v1/audit?limit=1&action=control&throttle={}",
                one.name
            ))
            .await
        else {
            break;
        };
        let last = page.get("items").and_then(|items| items.get(0));
        if let Some(entry) =
            last.and_then(|entry| client.typed::<AuditRow>("/v1/audit", entry).ok())
        {
            commands.push((one.name.clone(), entry));
        }
    }
    Ok(ServiceSnapshot {
        health,
        throttles,
        unread: false,
        commands,
        doubts: None,
    })
}

/// The report; `answers` are those of `/health`, of `/v1/throttles` and of `/v1/commands`.
fn written(
    client: &ApiClient,
    output: Output,
    answers: [&Option<Value>; 3],
    found: &ServiceSnapshot,
    paint: Paint,
) -> String {
    match output {
        Output::Json => {
            let [health, throttles, commands] = answers;
            let items = |answer: &Option<Value>| {
                answer
                    .as_ref()
                    .and_then(|answer| answer.get("items"))
                    .cloned()
            };
            let (throttles, commands) = (items(throttles), items(commands));
            json_line(
                &json!({ "url": client.base(), "health": health, "throttles": throttles, "commands": commands }),
            )
        }
        Output::Text => report(client.base(), found, SystemClock.now(), paint),
    }
}
