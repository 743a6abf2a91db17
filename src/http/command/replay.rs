//! The first answer to an `Idempotency-Key`, said again: unless what it says of a kill is true no
//! more.
//!
//! Knows what holds now; neither how that answer was found nor how a command is done.

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::domain::audit::CommandResponse;
use crate::domain::hold::{Epoch, HeldBy, Hold, Scope};
use crate::source::rest::{ReviveBody, parse};

use super::said;
use crate::http::AppCore;
use crate::http::answer::{ProblemResponse, named};
use crate::http::refusal::table;
use crate::http::route::CommandKind;

/// Answers as the first time, or tells what has come since.
pub(super) fn replay(
    core: &AppCore,
    kind: CommandKind,
    raw: &[u8],
    first: CommandResponse,
) -> Response {
    let mut response = match first.kill().filter(|epoch| !holds(core, epoch)) {
        // Nobody shall believe in a stop that is over, or may be in a moment,
        Some(epoch) => {
            let over = if is_held(core, epoch) {
                &table::MAY_END
            } else {
                &table::ENDED_SINCE
            };
            ProblemResponse::of(over)
                .with("epoch", epoch.into())
                .into_response()
        }
        // nor in an end that another stop has overtaken.
        None => match newer_holds(core, kind, raw, &first) {
            held if held.is_empty() => said(first),
            held => ProblemResponse::of(&table::HELD_SINCE)
                .with("held_by", json!(held))
                .into_response(),
        },
    };
    response.headers_mut().insert(
        named("idempotent-replayed"),
        HeaderValue::from_static("true"),
    );
    response
}

/// Kills that hold what a revival meant, and that did not when it came. No clock says which: it may
/// have been set since.
fn newer_holds(
    core: &AppCore,
    kind: CommandKind,
    raw: &[u8],
    first: &CommandResponse,
) -> Vec<HeldBy> {
    if kind != CommandKind::Revive {
        return Vec::new();
    }
    let asked: ReviveBody = parse(raw).unwrap_or_default(); // it was read when it came first; an empty one means all
    let scope = asked.throttle.map_or(Scope::All, Scope::One);
    let named = first
        .body
        .get("held_by")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let named: Vec<_> = named
        .filter_map(|held| held.get("epoch")?.as_str())
        .collect();
    let newer = |hold: &Hold| match (&first.stood, &asked.epoch) {
        (Some(stood), _) => !stood.contains(&hold.epoch),
        // Kept by a version before. Of one kill it says that this one has ended, which stays true
        // of all that were there.
        (None, Some(_)) => hold.taken_at > first.at,
        (None, None) => !named.contains(&hold.epoch.0.as_str()),
    };
    live_kills(core, &scope)
        .iter()
        .filter(|hold| newer(hold))
        .map(HeldBy::from)
        .collect()
}

/// Whether a kill holds, and nobody is about to end it: that it does, and then does not, would be
/// believed of it.
pub(super) fn holds(core: &AppCore, epoch: &str) -> bool {
    is_held(core, epoch) && !core.latch.is_ending(&Epoch(epoch.to_owned()))
}

fn is_held(core: &AppCore, epoch: &str) -> bool {
    let epoch = Epoch(epoch.to_owned());
    core.gate
        .standings()
        .iter()
        .any(|standing| standing.holds.contains(&epoch))
}

/// The kills of these throttles, each once.
pub(in crate::http) fn live_kills(core: &AppCore, scope: &Scope) -> Vec<Hold> {
    let names = core
        .gate
        .standings()
        .into_iter()
        .map(|standing| standing.name)
        .filter(|name| scope.covers(name));
    let mut kills: Vec<Hold> = Vec::new();
    for hold in names.flat_map(|name| core.gate.kills(&name)) {
        if !kills.iter().any(|known| known.epoch == hold.epoch) {
            kills.push(hold);
        }
    }
    kills
}
