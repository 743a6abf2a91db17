//! The routes of the process itself: how it is, and what it answers.

use serde_json::json;

use crate::config::Role;
use crate::http::route::{Bucket, Door, Route};
use crate::http::{docs, health, wire};

/// A probe of a platform, which must not be kept from asking.
fn probe(route: Route, summary: &'static str) -> Route {
    route
        .door(Door::Proxy)
        .bucket(Bucket::Free)
        .summary("service", summary)
        .parameter(json!({
            "name": "verbose",
            "in": "query",
            "description": "One line for each check",
            "allowEmptyValue": true,
            "schema": { "type": "string" },
        }))
        .says(200, "Yes", &["text/plain; charset=utf-8"])
        .says(503, "Not yet", &["text/plain; charset=utf-8"])
}

pub(super) fn rows() -> Vec<Route> {
    let (livez, readyz) = (
        Route::get("/livez", health::livez),
        Route::get("/readyz", health::readyz),
    );
    vec![
        Route::get("/health", health::health)
            .summary("service", "How it is, for people and monitors")
            .text("A killed system is healthy: nobody must restart it for that.")
            .answers::<wire::Health>(200, "`healthy` or `degraded`")
            .answers::<wire::Health>(503, "`unhealthy`: the ledger is gone"),
        probe(livez, "Is the process sound"),
        probe(readyz, "Are the listeners up and the gate loaded"),
        Route::get("/metrics", health::metrics)
            .door(Door::Key(Role::Reader))
            .also_for_proxies(health::metrics)
            .summary("service", "Metrics, for Prometheus")
            .says(
                200,
                "Prometheus text; docs/metrics.md lists them",
                &["text/plain"],
            ),
        Route::get("/openapi.json", || async {
            docs::description(super::description())
        })
        .summary("service", "This description")
        .says(200, "OpenAPI 3.1", &["application/json"]),
        Route::get("/docs", docs::page)
            .summary("service", "A page to read and try the API")
            .says(200, "The page", &["text/html; charset=utf-8"]),
        Route::get("/docs/{file}", docs::asset)
            .summary("service", "What the page is made of")
            .parameter(json!({
                "name": "file",
                "in": "path",
                "required": true,
                "schema": {
                    "type": "string",
                    "enum": ["start.js", "swagger-ui-bundle.js", "swagger-ui.css"],
                },
            }))
            .says(
                200,
                "The file",
                &["text/javascript; charset=utf-8", "text/css; charset=utf-8"],
            )
            .refuses(&[404]),
    ]
}
