//! Every route as people read it: who may call it, what it takes, what it answers.

use serde_json::{Value, json};

use crate::domain::history::{AuditItem, DriftItem, EvidenceItem, StateItem};
use crate::http::wire;
use crate::source::rest::{ControlBody, DecideBody, KillBody, ObserveBody, ReviveBody};

use super::Door::{Key, Open, Proxy};
use super::{Route, reference};

/// What one must know before reading any route.
pub(super) const ABOUT: &str = "\
The brake of a system that moves money. A *level* is the share of work refused, 0 to 1: 0 is open, 1 is a full stop. \
A *kill* stands above every level until it is ended.

- Refusals are RFC 9457 problems and always bear `detail`.
- Commands take an `Idempotency-Key`: one that its caller sends again to the same route under it is done once and answered alike for a day, byte for byte. Refusals are not kept.
- An unknown field is refused with the nearest name there is, and all that is wrong with a body is named at once.
- Every answer bears `request-id`, which the log and the audit entry bear too.";

pub(super) fn tags() -> Value {
    json!([
        { "name": "brake", "description": "Measure, throttle, stop, start" },
        { "name": "records", "description": "What is declared, what is in force, what happened" },
        { "name": "verdicts", "description": "What proxies and apps ask for every request" },
        { "name": "payments", "description": "Events of the payment provider" },
        { "name": "service", "description": "How this process is" },
    ])
}

/// Parameters that several routes share, by name.
pub(super) fn parameters() -> Value {
    let header = |name: &str, what: &str, schema: Value| json!({ "name": name, "in": "header", "description": what, "schema": schema });
    json!({
        "request-id": header("request-id", "Names the request; one is made where it is missing or malformed",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$" })),
        "traceparent": header("traceparent", "W3C trace context", json!({
            "type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$" })),
        "Idempotency-Key": header("Idempotency-Key", "Makes sending the same command again safe",
            json!({ "type": "string", "pattern": "^[ -~]{1,255}$" })),
    })
}

pub(super) fn all() -> Vec<Route> {
    let mut all = brake();
    all.extend(records());
    all.extend(verdicts());
    all.extend(payments());
    all.extend(service());
    all
}

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

/// A command: a body, a key, an `Idempotency-Key`.
fn command(path: &'static str, summary: &'static str) -> Route {
    Route::new("post", path, "brake", Key, summary)
        .parameter(reference("parameters", "Idempotency-Key"))
}

fn brake() -> Vec<Route> {
    vec![
        command("/observe", "Report a measurement, or ask for the state")
            .text(
                "What was measured is evidence for three ticks of the control law. An unknown field is refused: a \
                   misspelt measurement would count as a calm one. The example is refused as it stands.",
            )
            .takes::<ObserveBody>(
                true,
                json!({ "source": "the name of your monitor", "error_rate": "failed share of the admitted, 0 to 1" }),
            )
            .answers::<wire::ObserveResponse>(200, "Stored; this is the whole state")
            .refuses(&[400, 404, 408, 413, 422, 503]),
        command("/control", "Declare a level")
            .text(CONTROL)
            .takes::<ControlBody>(
                true,
                json!({ "target_throttle": "the share to refuse, 0 to 1", "operator": "who you are", "reason": "why" }),
            )
            .answers::<wire::ControlResponse>(200, "Declared; this is what follows from it")
            .refuses(&[400, 404, 408, 409, 413, 422, 503]),
        command("/kill", "Stop everything, or one throttle")
            .text(
                "The gate is shut before the answer is given; it needs neither ledger nor cluster. Needs the role \
                   breaker. Killing twice answers the first epoch. Replayed after its end: 409. Nothing in `reason` \
                   and `operator` is a cause to refuse it. The example is refused as it stands.",
            )
            .takes::<KillBody>(
                true,
                json!({ "reason": "why", "operator": "who you are", "confirmation": "type CONFIRM_KILL" }),
            )
            .answers::<wire::KillResponse>(200, "Stopped; this is what has been enforced")
            .refuses(&[400, 404, 408, 409, 413, 422, 503]),
        command("/revive", "End kills")
            .text(
                "Ends what REST or an override holds, kills and levels on top of a manifest alike, then the level opens by the ramp. \
                   An empty body means everything. Not killed: nothing ends. Needs the role breaker. Replayed under a newer kill: 409, with `held_by`. The example \
                   is refused as it stands.",
            )
            .takes::<ReviveBody>(
                false,
                json!({ "epoch": "the epoch that status shows", "operator": "who you are", "reason": "why" }),
            )
            .answers::<wire::ReviveResponse>(200, "Ended, or nothing was killed")
            .refuses(&[400, 404, 408, 409, 413, 422, 503]),
    ]
}

fn records() -> Vec<Route> {
    let name = json!({
        "name": "name", "in": "path", "required": true, "example": "default",
        "schema": { "type": "string", "pattern": "^[a-z0-9.-]{1,317}$" },
    });
    vec![
        Route::new("get", "/v1/throttles", "records", Key, "All throttles")
            .text("What is declared, in force, sent and read back, as the last pass of the loop found it.")
            .answers::<wire::Throttles>(200, "All throttles, by name")
            .refuses(&[503]),
        Route::new("get", "/v1/throttles/{name}", "records", Key, "One throttle")
            .parameter(name)
            .answers::<wire::Throttle>(200, "The throttle")
            .refuses(&[404, 503]),
        Route::new("get", "/v1/commands", "records", Key, "Commands whose outcome was not known when they were answered")
            .text(
                "And what became of them: of one that was answered 503 with `may still happen`, and of a kill that was \
                 refused where others would hear of it. `checks.ledger` of `/health` counts those that are not decided. \
                 A process knows of those since its start, `since`, alone: what a process before answered so is decided, and \
                 `/v1/audit` has its entry if it was done, under the same `request_id`.",
            )
            .answers::<wire::Commands>(200, "The last of them, newest first")
            .refuses(&[503]),
        page("/v1/audit", "The audit log", "action", true)
            .answers::<wire::Page<AuditItem>>(200, "Entries, newest first"),
        page("/v1/drift", "Drifts, every version of each", "action", true)
            .answers::<wire::Page<DriftItem>>(200, "Versions, newest first"),
        page("/v1/evidence", "Events of the payment provider, without their bodies", "kind", false)
            .answers::<wire::Page<EvidenceItem>>(200, "Events, newest first"),
        page("/v1/state", "Observations", "source", true)
            .answers::<wire::Page<StateItem>>(200, "Observations, newest first"),
    ]
}

/// A page of the record; `kind` is the column that can be asked for.
fn page(path: &'static str, summary: &'static str, kind: &str, by_throttle: bool) -> Route {
    let query = |name: &str, what: &str, schema: Value| json!({ "name": name, "in": "query", "description": what, "schema": schema });
    let time =
        json!({ "type": "string", "anyOf": [{ "format": "date-time" }, { "format": "date" }] });
    let route = Route::new("get", path, "records", Key, summary)
        .text(
            "Unknown parameters are refused. A page looks through so many rows and no more, so it may hold fewer than \
             asked for, or none: it was the last one where `next_cursor` is null, and only there.",
        )
        .parameter(query("cursor", "`next_cursor` of the page before", json!({ "type": "string" })))
        .parameter(query(
            "limit",
            "Most rows",
            json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }),
        ))
        .parameter(query("since", "Only rows from then on; a date is its first moment in UTC", time.clone()))
        .parameter(query("until", "Only rows before then; likewise", time))
        .parameter(query(kind, "Only rows with this", json!({ "type": "string", "minLength": 1, "maxLength": 400 })))
        .refuses(&[422, 503]);
    let name = json!({ "type": "string", "pattern": "^[a-z0-9.-]{1,317}$" });
    if by_throttle {
        route.parameter(query("throttle", "Only rows of this throttle", name))
    } else {
        route
    }
}

fn verdicts() -> Vec<Route> {
    let header = |name: &str, what: &str| json!({ "name": name, "in": "header", "description": what, "schema": { "type": "string" } });
    let throttle = json!({ "name": "throttle", "in": "path", "required": true, "schema": { "type": "string" }, "example": "default" });
    let rest = json!({ "name": "asked", "in": "path", "required": true, "schema": { "type": "string" }, "example": "pay" });
    let verdict = |path: &'static str, proxy: &'static str| {
        Route::new("get", path, "verdicts", Proxy, proxy)
            .text(
                "Any method. Headers of the answer: `echo-decision`, `echo-reason`, `echo-throttle`, \
                   `echo-generation`, `echo-state-age-ms`; refused, also `retry-after`. An unknown throttle is refused \
                   like a kill. In production whoever asks from elsewhere than loopback gets 403 and a problem, unless \
                   it asks on ECHO_GATE_LISTEN.",
            )
            .parameter(throttle.clone())
            .says(200, "Admitted", &[])
    };
    vec![
        verdict("/authz/nginx/{throttle}", "A verdict for nginx `auth_request`")
            .parameter(header("X-Original-Method", "Method of the original request"))
            .parameter(header("X-Original-URL", "URL of the original request"))
            .says(403, "Refused; `echo-status` is the status for the client, 429 or 503", &[]),
        verdict("/authz/forward/{throttle}", "A verdict for Traefik `forwardAuth` and Caddy `forward_auth`")
            .parameter(header("X-Forwarded-Method", "Method of the original request"))
            .parameter(header("X-Forwarded-Uri", "Path and query of the original request"))
            .says(403, "In production, asked from elsewhere than loopback", &[])
            .says(429, "Throttled", &[])
            .says(503, "Killed", &[]),
        verdict("/authz/envoy/{throttle}", "A verdict for Envoy `ext_authz` over HTTP, asked by hand")
            .says(403, "Killed", &[])
            .says(429, "Throttled", &[]),
        verdict("/authz/envoy/{throttle}/", "A verdict for Envoy `ext_authz` over HTTP, asked for `/`")
            .says(403, "Killed", &[])
            .says(429, "Throttled", &[]),
        verdict("/authz/envoy/{throttle}/{asked}", "A verdict for Envoy `ext_authz` over HTTP")
            .parameter(rest)
            .says(403, "Killed", &[])
            .says(429, "Throttled", &[]),
        Route::new("post", "/v1/decide", "verdicts", Key, "A verdict for an app")
            .text(
                "Always 200, so that a verdict is never taken for a fault. An empty body asks about `default`. Each \
                   verdict counts as offered load, so it takes a key of the role `gate`.",
            )
            .takes::<DecideBody>(false, json!({ "throttle": "default", "key": "tenant-7", "route": "POST /refunds" }))
            .answers::<wire::DecideResponse>(200, "The verdict")
            .refuses(&[400, 408, 413, 422, 503]),
    ]
}

fn payments() -> Vec<Route> {
    let signature = json!({
        "name": "Stripe-Signature", "in": "header", "required": true, "schema": { "type": "string" },
        "description": "As Stripe makes it, over the raw body",
    });
    let mut webhook = Route::new("post", "/webhooks/stripe", "payments", Open, "Take an event of Stripe")
        .text(
            "200 comes after the event is durable. An event that comes again changes nothing and is answered alike. What \
             is signed spends no limit; what nobody signed spends that of its address.",
        )
        .parameter(signature)
        .answers::<wire::WebhookResponse>(200, "The event is durable")
        .refuses(&[400, 408, 413, 503]);
    webhook.body = Some(json!({
        "required": true,
        "description": "The event exactly as Stripe signed it, at most 1 MiB",
        "content": { "application/json": { "schema": { "type": "object" } } },
    }));
    vec![webhook]
}

fn service() -> Vec<Route> {
    let verbose = json!({
        "name": "verbose", "in": "query", "description": "One line for each check", "allowEmptyValue": true,
        "schema": { "type": "string" },
    });
    let probe = |path: &'static str, summary: &'static str| {
        Route::new("get", path, "service", Proxy, summary)
            .parameter(verbose.clone())
            .says(200, "Yes", &["text/plain; charset=utf-8"])
            .says(503, "Not yet", &["text/plain; charset=utf-8"])
    };
    vec![
        Route::new("get", "/health", "service", Open, "How it is, for people and monitors")
            .text("A killed system is healthy: nobody must restart it for that.")
            .answers::<wire::Health>(200, "`healthy` or `degraded`")
            .answers::<wire::Health>(503, "`unhealthy`: the ledger is gone"),
        probe("/livez", "Is the process sound"),
        probe("/readyz", "Are the listeners up and the gate loaded"),
        Route::new("get", "/metrics", "service", Key, "Metrics, for Prometheus").says(
            200,
            "Prometheus text; docs/metrics.md lists them",
            &["text/plain"],
        ),
        Route::new("get", "/openapi.json", "service", Open, "This description").says(
            200,
            "OpenAPI 3.1",
            &["application/json"],
        ),
        Route::new("get", "/docs", "service", Open, "A page to read and try the API").says(
            200,
            "The page",
            &["text/html; charset=utf-8"],
        ),
        Route::new("get", "/docs/{file}", "service", Open, "What the page is made of")
            .parameter(json!({ "name": "file", "in": "path", "required": true, "schema": {
                "type": "string", "enum": ["start.js", "swagger-ui-bundle.js", "swagger-ui.css"] } }))
            .says(200, "The file", &["text/javascript; charset=utf-8", "text/css; charset=utf-8"])
            .refuses(&[404]),
    ]
}
