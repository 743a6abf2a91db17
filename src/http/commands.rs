//! `GET /v1/commands`: commands that were answered before it was known what becomes of them, and
//! what did.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::latch::{Doubt, Outcome};

use super::App;
use super::wire::{Commands, DoubtedCommand};

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Commands> {
    let items = app.latch.doubts().into_iter().map(told).collect();
    Json(Commands {
        items,
        since: app.started.wall.to_string(),
    })
}

fn told(doubt: Doubt) -> DoubtedCommand {
    let Doubt {
        once,
        audit,
        outcome,
    } = doubt;
    let (outcome, why) = match outcome {
        Outcome::Undecided => ("undecided", None),
        Outcome::Done => ("done", None),
        Outcome::NotDone => ("not_done", None),
        Outcome::Refused(why) => ("refused", Some(why)),
    };
    DoubtedCommand {
        id: once,
        at: audit.at.to_string(),
        action: audit.action,
        throttle: audit.throttle,
        actor: audit.actor,
        operator: audit.operator,
        reason: audit.reason,
        request_id: audit.request_id,
        outcome,
        why,
    }
}
