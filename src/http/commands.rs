//! `GET /v1/commands`: commands that were answered before it was known what becomes of them, and
//! what did.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::latch::{CommandOutcome, UndecidedCommand};

use super::AppCore;
use super::wire::{CommandStatus, Commands};

pub(super) async fn list(State(core): State<Arc<AppCore>>) -> Json<Commands> {
    let items = core.latch.doubts().into_iter().map(told).collect();
    Json(Commands {
        items,
        since: core.started.wall.to_string(),
    })
}

fn told(doubt: UndecidedCommand) -> CommandStatus {
    let UndecidedCommand {
        once,
        audit,
        outcome,
    } = doubt;
    let (outcome, why) = match outcome {
        CommandOutcome::Undecided => ("undecided", None),
        CommandOutcome::Done => ("done", None),
        CommandOutcome::NotDone => ("not_done", None),
        CommandOutcome::Refused(why) => ("refused", Some(why)),
    };
    CommandStatus {
        id: once,
        at: audit.at.to_string(),
        action: audit.action.as_str().to_owned(),
        throttle: audit.throttle,
        actor: audit.actor,
        operator: audit.operator,
        reason: audit.reason,
        request_id: audit.request_id,
        outcome,
        why,
    }
}
