//! Three questions: is it healthy (people), is it sound, is it ready (platforms). And metrics.
//!
//! `/livez` and `/readyz` never look at the store, so that no platform takes the kill route away when the store is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::domain::level::Level;
use crate::latch::Lacking;
use crate::telemetry::{LostLines, Now, ThrottleGauges, lost_lines};

use super::App;
use super::wire::Health;

/// How long `/health` waits for the ledger.
const LEDGER_LIMIT: Duration = Duration::from_secs(1);

/// A look at a part: `ok`, or what is wrong with it.
pub type Look = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What `/health` and `/readyz` say beyond the gate and the ledger.
pub struct Parts {
    /// Parts that are off: name, and the variable that turns it on.
    pub off: Vec<(&'static str, &'static str)>,
    /// Parts that are on, with a look at each: `ok`, or what is wrong.
    pub on: Vec<(&'static str, Look)>,
    /// Whether the gate knows all there is to know.
    pub loaded: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Parts {
    /// A part that is on, with a look at it; or off, with the variable that turns it on.
    pub fn part(&mut self, name: &'static str, variable: &'static str, look: Option<Look>) {
        match look {
            Some(look) => self.on.push((name, look)),
            None => self.off.push((name, variable)),
        }
    }
}

/// `GET /health`. A killed system is healthy: nobody must restart it for that.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let (mut status, mut checks) = looked(&app);
    checks.insert("gate".to_owned(), json!(if (app.parts.loaded)() { "ok" } else { "loading" }));
    if let Some(ledger) = &app.ledger {
        let answer = timeout(LEDGER_LIMIT, ledger.check()).await;
        let fine = matches!(answer, Ok(Ok(())));
        if let Ok(Err(error)) = &answer {
            tracing::warn!(%error, "the ledger does not answer");
        }
        let fine_words = lacking_words(app.latch.lacking()).unwrap_or_else(|| "ok".to_owned());
        let words = if fine { fine_words } else { "unavailable: openings wait, kills do not".to_owned() };
        checks.insert("ledger".to_owned(), json!(words));
        if !fine {
            status = "unhealthy";
        }
    }
    let (level, killed) = in_force(&app);
    let body = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        mode: app.mode,
        uptime_seconds: i64::try_from(app.clock.elapsed().saturating_sub(app.started.elapsed).as_secs())
            .unwrap_or(i64::MAX),
        throttle_pct: level.fraction(),
        killed,
        checks,
    };
    let code = if status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(body)).into_response()
}

/// How it stands without asking the ledger, for an answer that the ledger has taken.
pub(super) fn standing(app: &App) -> &'static str {
    looked(app).0
}

/// Everything but gate and ledger: what is on and well, what is off, what is wrong.
fn looked(app: &App) -> (&'static str, Map<String, Value>) {
    let (mut checks, mut fine) = (Map::new(), lacking_words(app.latch.lacking()).is_none());
    for (name, look) in &app.parts.on {
        let found = look();
        fine &= found.is_ok();
        checks.insert((*name).to_owned(), json!(found.unwrap_or_else(|wrong| wrong)));
    }
    for (name, variable) in &app.parts.off {
        checks.insert((*name).to_owned(), json!(format!("off: set {variable}")));
    }
    if let Some(found) = app.metrics.kill_path().trouble() {
        fine &= found.is_ok();
        checks.insert("kill_path".to_owned(), json!(found.map_or_else(|wrong| wrong, |()| "ok".to_owned())));
    }
    let log = log_words();
    fine &= log.is_none();
    checks.insert("log".to_owned(), json!(log.unwrap_or_else(|| "ok".to_owned())));
    if let Some(wrong) = app.board.trouble() {
        fine = false;
        checks.insert("targets".to_owned(), json!(wrong));
    }
    (if fine { "healthy" } else { "degraded" }, checks)
}

/// What the ledger lacks though it can be written, if it lacks anything.
fn lacking_words(lacking: Lacking) -> Option<String> {
    let Lacking { on_disk, in_memory } = lacking;
    let all = on_disk + in_memory;
    let alone = if in_memory > 0 { format!(", {in_memory} of them in memory alone") } else { String::new() };
    (all > 0).then(|| format!("{all} command(s) are still on their way into it{alone}"))
}

/// What the log lost, if it lost something a moment ago.
fn log_words() -> Option<String> {
    let LostLines { lines, recently } = lost_lines();
    let what = "of its lines were lost, some within the last minute: stderr is not read, or cannot be written";
    recently.then(|| format!("{lines} {what}"))
}

/// The highest level in force, and whether anything is killed.
fn in_force(app: &App) -> (Level, bool) {
    let all = app.gate.standings();
    let level = all.iter().map(|standing| standing.level).fold(Level::OPEN, Level::safer);
    (level, all.iter().any(|standing| !standing.holds.is_empty()))
}

/// `GET /livez`: it answers, so it lives.
pub(super) async fn livez(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    probe(&app, &[("process", &|| true)], query.as_deref())
}

/// `GET /readyz`: the listeners are up and the gate knows all there is.
pub(super) async fn readyz(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let listening = || app.listening.load(Ordering::Acquire);
    probe(&app, &[("listeners", &listening), ("gate", &*app.parts.loaded)], query.as_deref())
}

/// A check of a probe: its name, and whether all is well.
type Check<'a> = (&'a str, &'a dyn Fn() -> bool);

fn probe(app: &App, checks: &[Check<'_>], query: Option<&str>) -> Response {
    let (mut all, mut text) = (true, String::new());
    for (name, check) in checks {
        let began = app.clock.elapsed();
        let fine = check();
        let took = app.clock.elapsed().saturating_sub(began).as_millis();
        let (mark, word) = if fine { ('+', "ok") } else { ('-', "not yet") };
        text.push_str(&format!("[{mark}]{name} {word} {took}ms\n"));
        all &= fine;
    }
    if !query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="))) {
        text = if all { "ok\n" } else { "not ready\n" }.to_owned();
    }
    (if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text).into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let throttles = app.gate.standings().into_iter().map(|standing| {
        let verdicts = app.gate.verdicts(&standing.name).into_iter();
        ThrottleGauges {
            throttle: standing.name.to_string(),
            killed: standing.killed(),
            level: standing.level,
            confirmed_at: standing.confirmed_at,
            found: app.board.found(&standing.name),
            verdicts: verdicts.map(|(admitted, reason, count)| (admitted, reason.as_str(), count)).collect(),
        }
    });
    let lacking = app.latch.lacking();
    let now = Now {
        at: app.clock.elapsed(),
        started: app.started,
        mode: app.mode,
        forgotten: app.rates.forgotten(),
        commands_lacking: [("disk", lacking.on_disk as u64), ("memory", lacking.in_memory as u64)],
        throttles: throttles.collect(),
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render(&now)).into_response()
}
