//! The routes of payments: events of the payment provider.

use serde_json::json;

use crate::http::route::{ALONE, Act, BodyLimit, Bucket, Route};
use crate::http::{webhook, wire};

pub(super) fn rows() -> Vec<Route> {
    vec![
        Route::post("/webhooks/stripe", webhook::stripe)
            .only_in(ALONE)
            .act(Act::Event)
            .bucket(Bucket::Own)
            .body(BodyLimit::EVENT)
            .summary("payments", "Take an event of Stripe")
            .text(
                "200 comes after the event is durable. An event that comes again changes \
                 nothing and is answered alike. What is signed spends no limit; what nobody \
                 signed spends that of its address.",
            )
            .parameter(json!({
                "name": "Stripe-Signature",
                "in": "header",
                "required": true,
                "schema": { "type": "string" },
                "description": "As Stripe makes it, over the raw body",
            }))
            .takes_raw(json!({
                "required": true,
                "description": "The event exactly as Stripe signed it, at most 1 MiB",
                "content": { "application/json": { "schema": { "type": "object" } } },
            }))
            .answers::<wire::WebhookResponse>(200, "The event is durable")
            .refuses(&[400, 408, 413, 503]),
    ]
}
