//! The routes of the brake itself: measure, throttle, stop, start.

use serde_json::json;

use crate::config::Role;
use crate::http::route::{ALONE, Act, BodyLimit, Bucket, CommandKind, Door, Route, WITH_RECORD};
use crate::http::{control, kill, observe, wire};
use crate::source::rest::{ControlBody, KillBody, ObserveBody, ReviveBody};

/// What `/control` is for, and what its eight numbers are.
const CONTROL: &str = "\
What tightens is in force before the answer; what opens waits for the ledger and then goes step by step. Needs the role \
operator. Killed: 409, see `/revive`. The example is refused as it stands.

`target_throttle` alone is a plain declaration: the share of work to refuse from now on. `current_state` is for a monitor \
that has measured: then all eight of its fields are needed, and for three ticks (15 s) the control law takes them for true.

| field of `current_state` | what it is | calm |
|---|---|---|
| `throttle_pct` | share of work refused when it was measured, 0 to 1 | what is in force |
| `error_rate` | failed share of the admitted requests, 0 to 1 | 0 |
| `latency_p99_ms` | 99th percentile of the latency of admitted requests, milliseconds | 0 |
| `requests_per_minute` | requests offered, admitted or not | 0: nobody waits |
| `phi_static` | order parameter as declared, any number | as `phi_dynamic` |
| `phi_dynamic` | order parameter as observed; the law goes by how far it is from `phi_static` | as `phi_static` |
| `temperature` | scale of the noise in it, at least 0 | 0 |
| `susceptibility` | how strongly a change of level answers, at least 0; large ones slow the ramp | 1 |";

/// What all of them may be refused with.
const REFUSALS: &[u16] = &[400, 404, 408, 409, 413, 422, 503];

/// A command that takes a key of this role.
fn command(route: Route, kind: CommandKind, role: Role, summary: &'static str) -> Route {
    route
        .door(Door::Key(role))
        .act(Act::Command(kind))
        .summary("brake", summary)
}

pub(super) fn rows() -> Vec<Route> {
    vec![observe(), control(), kill(), revive()]
}

fn observe() -> Route {
    command(
        Route::post("/observe", observe::observe),
        CommandKind::Observe,
        Role::Operator,
        "Report a measurement, or ask for the state",
    )
    .only_in(ALONE)
    .text(
        "What was measured is evidence for three ticks of the control law. An unknown \
                 field is refused: a misspelt measurement would count as a calm one. The \
                 example is refused as it stands.",
    )
    .takes::<ObserveBody>(
        true,
        json!({
            "source": "the name of your monitor",
            "error_rate": "failed share of the admitted, 0 to 1",
        }),
    )
    .answers::<wire::ObserveResponse>(200, "Stored; this is the whole state")
    .refuses(&[400, 404, 408, 413, 422, 503])
}

fn control() -> Route {
    command(
        Route::post("/control", control::control),
        CommandKind::Control,
        Role::Operator,
        "Declare a level",
    )
    .only_in(ALONE)
    .text(CONTROL)
    .takes::<ControlBody>(
        true,
        json!({
            "target_throttle": "the share to refuse, 0 to 1",
            "operator": "who you are",
            "reason": "why",
        }),
    )
    .answers::<wire::ControlResponse>(200, "Declared; this is what follows from it")
    .refuses(REFUSALS)
}

fn kill() -> Route {
    command(
        Route::post("/kill", kill::kill),
        CommandKind::Kill,
        Role::Breaker,
        "Stop everything, or one throttle",
    )
    .only_in(WITH_RECORD)
    .bucket(Bucket::Kill)
    .body(BodyLimit::KILL)
    .text(
        "The gate is shut before the answer is given; it needs neither ledger nor \
                 cluster. Needs the role breaker. Killing twice answers the first epoch. \
                 Replayed after its end: 409. Nothing in `reason` and `operator` is a cause to \
                 refuse it. The example is refused as it stands.",
    )
    .takes::<KillBody>(
        true,
        json!({
            "reason": "why",
            "operator": "who you are",
            "confirmation": "type CONFIRM_KILL",
        }),
    )
    .answers::<wire::KillResponse>(200, "Stopped; this is what has been enforced")
    .refuses(REFUSALS)
}

fn revive() -> Route {
    command(
        Route::post("/revive", kill::revive),
        CommandKind::Revive,
        Role::Breaker,
        "End kills",
    )
    .only_in(WITH_RECORD)
    .text(
        "Ends what REST or an override holds, kills and levels on top of a manifest \
                 alike, then the level opens by the ramp. An empty body means everything. Not \
                 killed: nothing ends. Needs the role breaker. Replayed under a newer kill: \
                 409, with `held_by`. The example is refused as it stands.",
    )
    .takes::<ReviveBody>(
        false,
        json!({
            "epoch": "the epoch that status shows",
            "operator": "who you are",
            "reason": "why",
        }),
    )
    .answers::<wire::ReviveResponse>(200, "Ended, or nothing was killed")
    .refuses(REFUSALS)
}
