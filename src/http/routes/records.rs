//! The routes of the record: what is declared, what is in force, what happened.

use serde_json::{Value, json};

use crate::config::Role;
use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, StateItem};
use crate::http::route::{ALONE, Door, Route, WITH_RECORD};
use crate::http::{commands, pages, throttles, wire};

/// The names that a throttle may have.
fn name() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9.-]{1,317}$" })
}

fn record(route: Route, summary: &'static str) -> Route {
    route
        .door(Door::Key(Role::Reader))
        .summary("records", summary)
}

pub(super) fn rows() -> Vec<Route> {
    let throttles = record(
        Route::get("/v1/throttles", throttles::list),
        "All throttles",
    );
    let throttle = record(
        Route::get("/v1/throttles/{name}", throttles::one),
        "One throttle",
    );
    let commands = record(
        Route::get("/v1/commands", commands::list),
        "Commands whose outcome was not known when they were answered",
    );
    let audit = page(
        Route::get("/v1/audit", pages::audit),
        "The audit log",
        "action",
    );
    let drift = page(
        Route::get("/v1/drift", pages::drift),
        "Drifts, every version of each",
        "action",
    );
    let evidence = page(
        Route::get("/v1/evidence", pages::evidence),
        "Events of the payment provider, without their bodies",
        "kind",
    );
    let state = page(
        Route::get("/v1/state", pages::state),
        "Observations",
        "source",
    );
    vec![
        throttles
            .only_in(ALONE)
            .text(
                "What is declared, in force, sent and read back, as the last pass of the loop \
                 found it.",
            )
            .answers::<wire::Throttles>(200, "All throttles, by name")
            .refuses(&[503]),
        throttle
            .only_in(ALONE)
            .parameter(json!({
                "name": "name",
                "in": "path",
                "required": true,
                "example": "default",
                "schema": name(),
            }))
            .answers::<wire::Throttle>(200, "The throttle")
            .refuses(&[404, 503]),
        commands
            .only_in(WITH_RECORD)
            .text(
                "And what became of them: of one that was answered 503 with `may still happen`, \
                 and of a kill that was refused where others would hear of it. `checks.ledger` \
                 of `/health` counts those that are not decided. A process knows of those since \
                 its start, `since`, alone: what a process before answered so is decided, and \
                 `/v1/audit` has its entry if it was done, under the same `request_id`.",
            )
            .answers::<wire::Commands>(200, "The last of them, newest first")
            .refuses(&[503]),
        of_a_throttle(audit).answers::<wire::Page<AuditItem>>(200, "Entries, newest first"),
        of_a_throttle(drift).answers::<wire::Page<DriftItem>>(200, "Versions, newest first"),
        evidence.answers::<wire::Page<EvidenceItem>>(200, "Events, newest first"),
        of_a_throttle(state).answers::<wire::Page<StateItem>>(200, "Observations, newest first"),
    ]
}

/// A page of the record; `kind` is the column that can be asked for.
fn page(route: Route, summary: &'static str, kind: &str) -> Route {
    let time =
        json!({ "type": "string", "anyOf": [{ "format": "date-time" }, { "format": "date" }] });
    record(route, summary)
        .only_in(WITH_RECORD)
        .text(
            "Unknown parameters are refused. A page looks through so many rows and no more, so \
             it may hold fewer than asked for, or none: it was the last one where `next_cursor` \
             is null, and only there.",
        )
        .parameter(query(
            "cursor",
            "`next_cursor` of the page before",
            json!({ "type": "string" }),
        ))
        .parameter(query(
            "limit",
            "Most rows",
            json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }),
        ))
        .parameter(query(
            "since",
            "Only rows from then on; a date is its first moment in UTC",
            time.clone(),
        ))
        .parameter(query("until", "Only rows before then; likewise", time))
        .parameter(query(
            kind,
            "Only rows with this",
            json!({ "type": "string", "minLength": 1, "maxLength": 400 }),
        ))
        .refuses(&[422, 503])
}

/// A page whose rows are each of one throttle.
fn of_a_throttle(page: Route) -> Route {
    page.parameter(query("throttle", "Only rows of this throttle", name()))
}

fn query(name: &str, what: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "description": what, "schema": schema })
}
