//! Three questions: is it healthy (people), is it sound, is it ready (platforms). And metrics.
//!
//! `/livez` and `/readyz` never look at the store, so that no platform takes the kill route away
//! when the store is gone. `/metrics` says what `/health` says, by the last look at the store: a
//! store that hangs must not take the metrics away.

mod checks;
mod ledger;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::level::Level;
use crate::latch::Lacking;
use crate::telemetry::{LostLines, Scrape, ThrottleGauges, lost_lines};

use super::wire::Health;
use super::{App, AppCore, AppDoors, AppRecord};
use checks::{CheckState, Checks};

pub use ledger::{LedgerLook, watch_ledger};

/// A look at a part: `ok`, nothing where it is not worth a word, or what is wrong with it.
pub type HealthCheck = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What `/health` and `/readyz` say beyond the gate and the ledger.
pub struct HealthParts {
    /// Parts that are off: name, and the variable that turns it on.
    pub off: Vec<(&'static str, &'static str)>,
    /// Parts that are on, with a look at each: `ok`, or what is wrong, which is `degraded`.
    pub on: Vec<(&'static str, HealthCheck)>,
    /// Parts without which nothing here is worth anything: what is wrong with one of them is
    /// `unhealthy`.
    pub vital: Vec<(&'static str, HealthCheck)>,
    /// Whether the gate knows all there is to know.
    pub loaded: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl HealthParts {
    /// No part yet; `loaded`: whether the gate knows all there is to know.
    pub fn new(loaded: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self {
            off: Vec::new(),
            on: Vec::new(),
            vital: Vec::new(),
            loaded,
        }
    }

    /// A part that is on, with a look at it; or off, with the variable that turns it on.
    pub fn part(&mut self, name: &'static str, variable: &'static str, look: Option<HealthCheck>) {
        match look {
            Some(look) => self.on.push((name, look)),
            None => self.off.push((name, variable)),
        }
    }
}

/// `GET /health`. A killed system is healthy: nobody must restart it for that.
pub(super) async fn health(State(app): State<App>) -> Response {
    let ledger = match &app.record.ledger {
        Some(ledger) => Some(
            app.record
                .ledger_look
                .fresh(ledger.as_ref(), app.core.clock.as_ref(), || {
                    app.doors.strangers.due(ledger::LEDGER)
                })
                .await,
        ),
        None => None,
    };
    let checks = all(&app.core, &app.doors, ledger);
    let (level, killed) = in_force(&app.core);
    let status = checks.word();
    let body = Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        mode: app.core.process.as_str(),
        uptime_seconds: i64::try_from(
            app.core
                .clock
                .elapsed()
                .saturating_sub(app.core.started.elapsed)
                .as_secs(),
        )
        .unwrap_or(i64::MAX),
        throttle_pct: level.fraction(),
        killed,
        checks: checks.body(),
    };
    let code = if status == checks::UNHEALTHY {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (code, Json(body)).into_response()
}

/// How it stands without asking the ledger, for an answer that the ledger has taken.
pub(super) fn standing(core: &AppCore, doors: &AppDoors) -> &'static str {
    looked(core, doors).word()
}

/// Everything, with what the ledger said, if there is one.
fn all(core: &AppCore, doors: &AppDoors, ledger: Option<Result<(), String>>) -> Checks {
    let mut checks = looked(core, doors);
    // Loading is what `/readyz` is for.
    let loading = if (core.health.loaded)() {
        "ok"
    } else {
        "loading"
    };
    checks.add("gate", CheckState::Fine(loading.to_owned()));
    match ledger {
        Some(Ok(())) => checks.add(
            "ledger",
            lacking_words(core.latch.lacking()).map_or_else(CheckState::ok, CheckState::Amiss),
        ),
        Some(Err(why)) => checks.add(
            "ledger",
            CheckState::Gone(away_words(&why, core.latch.lacking())),
        ),
        None => {}
    }
    checks
}

/// Everything but gate and ledger: what is on and well, what is off, what is wrong.
fn looked(core: &AppCore, doors: &AppDoors) -> Checks {
    let mut checks = Checks::default();
    for (name, look) in &core.health.vital {
        checks.add(name, look().map_or_else(CheckState::Gone, CheckState::Fine));
    }
    for (name, look) in &core.health.on {
        let fine = |words: String| {
            if words.is_empty() {
                CheckState::Quiet
            } else {
                CheckState::Fine(words)
            }
        };
        checks.add(name, look().map_or_else(CheckState::Amiss, fine));
    }
    if !doors.stripe.is_empty() {
        checks.add("webhooks", CheckState::Told(doors.webhooks.words()));
    }
    for (name, variable) in &core.health.off {
        checks.add(name, CheckState::Off(variable));
    }
    if let Some(found) = core.metrics.kill_path().trouble() {
        checks.add(
            "kill_path",
            found.map_or_else(CheckState::Amiss, |()| CheckState::ok()),
        );
    }
    checks.add(
        "log",
        log_words().map_or_else(CheckState::ok, CheckState::Amiss),
    );
    checks.add(
        "targets",
        core.board
            .trouble()
            .map_or(CheckState::Quiet, CheckState::Amiss),
    );
    checks.add(
        "kills",
        alone_words(core.latch.held_alone()).map_or(CheckState::Quiet, CheckState::Amiss),
    );
    if lacking_words(core.latch.lacking()).is_some() {
        checks.lower();
    }
    checks
}

/// That the ledger is away, why, and what would be lost with this process.
fn away_words(why: &str, lacking: Lacking) -> String {
    let alone = match lacking.in_memory {
        0 => String::new(),
        some => format!("; {some} command(s) are in memory alone: a restart loses them"),
    };
    format!("unavailable: openings wait, kills do not ({why}){alone}")
}

/// What the ledger lacks though it can be written, and what it has not decided, if there is any of
/// it.
fn lacking_words(lacking: Lacking) -> Option<String> {
    let Lacking {
        on_disk,
        in_memory,
        undecided,
    } = lacking;
    let all = on_disk + in_memory;
    let alone = if in_memory > 0 {
        format!(", {in_memory} of them in memory alone")
    } else {
        String::new()
    };
    let owed = (all > 0).then(|| format!("{all} command(s) are still on their way into it{alone}"));
    let open = (undecided > 0)
        .then(|| format!("{undecided} command(s) are not decided yet: they may still happen"));
    let words: Vec<_> = owed.into_iter().chain(open).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// What nobody but this process was told of, if there is any of it.
fn alone_words(alone: usize) -> Option<String> {
    let why = "what would tell others was refused, see GET /v1/commands; send them again once that is mended";
    (alone > 0).then(|| format!("{alone} kill(s) are known to this process alone: {why}"))
}

/// What the log lost, if it lost something a moment ago.
fn log_words() -> Option<String> {
    let LostLines { lines, recently } = lost_lines();
    let what = "of its lines were lost, some within the last minute: stderr is not read, or cannot be written";
    recently.then(|| format!("{lines} {what}"))
}

/// The highest level in force, and whether anything is killed.
fn in_force(core: &AppCore) -> (Level, bool) {
    let all = core.gate.standings();
    let level = all
        .iter()
        .map(|standing| standing.level)
        .fold(Level::OPEN, Level::safer);
    (level, all.iter().any(|standing| !standing.holds.is_empty()))
}

/// `GET /livez`: it answers, so it lives.
pub(super) async fn livez(State(core): State<Arc<AppCore>>, RawQuery(query): RawQuery) -> Response {
    probe(&core, &[("process", &|| true)], query.as_deref())
}

/// `GET /readyz`: the listeners are up and the gate knows all there is.
pub(super) async fn readyz(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    RawQuery(query): RawQuery,
) -> Response {
    let listening = || doors.listening.load(Ordering::Acquire);
    probe(
        &core,
        &[("listeners", &listening), ("gate", &*core.health.loaded)],
        query.as_deref(),
    )
}

/// A check of a probe: its name, and whether all is well.
type Check<'a> = (&'a str, &'a dyn Fn() -> bool);

fn probe(core: &AppCore, checks: &[Check<'_>], query: Option<&str>) -> Response {
    let (mut all, mut text) = (true, String::new());
    for (name, check) in checks {
        let began = core.clock.elapsed();
        let fine = check();
        let took = core.clock.elapsed().saturating_sub(began).as_millis();
        let (mark, word) = if fine { ('+', "ok") } else { ('-', "not yet") };
        text.push_str(&format!("[{mark}]{name} {word} {took}ms\n"));
        all &= fine;
    }
    if !query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    }) {
        text = if all { "ok\n" } else { "not ready\n" }.to_owned();
    }
    (
        if all {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        text,
    )
        .into_response()
}

/// `GET /metrics`.
pub(super) async fn metrics(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    State(record): State<Arc<AppRecord>>,
) -> Response {
    let throttles = core.gate.standings().into_iter().map(|standing| {
        let verdicts = core.gate.verdicts(&standing.name).into_iter();
        ThrottleGauges {
            throttle: standing.name.to_string(),
            killed: standing.killed(),
            level: standing.level,
            confirmed_at: standing.confirmed_at,
            found: core.board.found(&standing.name),
            callers: core.gate.callers(&standing.name, core.clock.now()),
            verdicts: verdicts
                .map(|(admitted, reason, count)| (admitted, reason.as_str(), count))
                .collect(),
        }
    });
    let lacking = core.latch.lacking();
    let checks = all(
        &core,
        &doors,
        record
            .ledger
            .as_ref()
            .map(|_| record.ledger_look.last(core.clock.elapsed())),
    );
    let now = Scrape {
        at: core.clock.elapsed(),
        started: core.started,
        mode: core.process.as_str(),
        forgotten: doors.rates.forgotten(),
        commands_lacking: [
            ("disk", lacking.on_disk as u64),
            ("memory", lacking.in_memory as u64),
        ],
        health: checks.words(),
        checks: checks.all(),
        throttles: throttles.collect(),
    };
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        core.metrics.render(&now),
    )
        .into_response()
}
