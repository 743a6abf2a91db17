//! The routes of verdicts: what proxies and apps ask for every request.

use serde_json::{Value, json};

use crate::config::Role;
use crate::http::route::{Act, Bucket, Door, Route};
use crate::http::{authz, decide, wire};
use crate::source::rest::DecideBody;

/// A verdict for a proxy; on the listener that proxies alone can reach they are believed.
fn verdict(route: Route, summary: &'static str) -> Route {
    route
        .door(Door::Proxy)
        .act(Act::Verdict)
        .bucket(Bucket::Free)
        .also_for_proxies(authz::trusted)
        .summary("verdicts", summary)
        .text(
            "Any method. Headers of the answer: `echo-decision`, `echo-reason`, \
             `echo-throttle`, `echo-generation`, `echo-state-age-ms`; refused, also \
             `retry-after`. An unknown throttle is refused like a kill. In production whoever \
             asks from elsewhere than loopback gets 403 and a problem, unless it asks on \
             ECHO_GATE_LISTEN.",
        )
        .parameter(json!({
            "name": "throttle",
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
            "example": "default",
        }))
        .says(200, "Admitted", &[])
}

fn header(name: &str, what: &str) -> Value {
    json!({ "name": name, "in": "header", "description": what, "schema": { "type": "string" } })
}

pub(super) fn rows() -> Vec<Route> {
    let nginx = verdict(
        Route::any("/authz/nginx/{throttle}", authz::public),
        "A verdict for nginx `auth_request`",
    );
    let forward = verdict(
        Route::any("/authz/forward/{throttle}", authz::public),
        "A verdict for Traefik `forwardAuth` and Caddy `forward_auth`",
    );
    let by_hand = verdict(
        Route::any("/authz/envoy/{throttle}", authz::public),
        "A verdict for Envoy `ext_authz` over HTTP, asked by hand",
    );
    let root = verdict(
        Route::any("/authz/envoy/{throttle}/", authz::public),
        "A verdict for Envoy `ext_authz` over HTTP, asked for `/`",
    );
    let envoy = verdict(
        Route::any("/authz/envoy/{throttle}/{*asked}", authz::public),
        "A verdict for Envoy `ext_authz` over HTTP",
    );
    vec![
        nginx
            .parameter(header(
                "X-Original-Method",
                "Method of the original request",
            ))
            .parameter(header("X-Original-URL", "URL of the original request"))
            .says(
                403,
                "Refused; `echo-status` is the status for the client, 429 or 503",
                &[],
            ),
        forward
            .parameter(header(
                "X-Forwarded-Method",
                "Method of the original request",
            ))
            .parameter(header(
                "X-Forwarded-Uri",
                "Path and query of the original request",
            ))
            .says(
                403,
                "In production, asked from elsewhere than loopback",
                &[],
            )
            .says(429, "Throttled", &[])
            .says(503, "Killed", &[]),
        to_envoy(by_hand),
        to_envoy(root),
        to_envoy(envoy.parameter(json!({
            "name": "asked",
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
            "example": "pay",
        }))),
        decide(),
    ]
}

/// What Envoy is told: never a 5xx, which it takes for a failure of ours.
fn to_envoy(route: Route) -> Route {
    route.says(403, "Killed", &[]).says(429, "Throttled", &[])
}

/// A verdict for an app or an SDK.
fn decide() -> Route {
    Route::post("/v1/decide", decide::decide)
        .door(Door::Key(Role::Gate))
        .act(Act::Verdict)
        .bucket(Bucket::FreeFor(Role::Gate))
        .summary("verdicts", "A verdict for an app")
        .text(
            "Always 200, so that a verdict is never taken for a fault. An empty body asks \
                 about `default`. Each verdict counts as offered load, so it takes a key of the \
                 role `gate`.",
        )
        .takes::<DecideBody>(
            false,
            json!({ "throttle": "default", "key": "tenant-7", "route": "POST /refunds" }),
        )
        .answers::<wire::DecideResponse>(200, "The verdict")
        .refuses(&[400, 408, 413, 422, 503])
}
