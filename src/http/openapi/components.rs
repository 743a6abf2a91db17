//! What several routes share in the description: the words before all of them, groups, parameters,
//! headers and refusals.

use schemars::Schema;
use serde_json::{Value, json};

use super::reference;

/// What one must know before reading any route.
pub(super) const ABOUT: &str = "\
The brake of a system that moves money. A *level* is the share of work refused, 0 to 1: 0 is open, 1 is a full stop. \
A *kill* stands above every level until it is ended.

- Refusals are RFC 9457 problems and always bear `detail`.
- Commands take an `Idempotency-Key`: one that its caller sends again to the same route under it is done once and answered alike for a day, byte for byte. Refusals are not kept.
- An unknown field is refused with the nearest name there is, and all that is wrong with a body is named at once.
- Every answer bears `request-id`, which the log and the audit entry bear too.";

/// The groups that routes stand in.
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

/// Every refusal there is.
pub(super) fn refusals(problem: &Schema) -> Value {
    let all = [
        (
            400,
            "The body is no JSON (with `path`), a kill bears no confirmation, a signature is wrong, or a header is malformed, missing or there twice",
        ),
        (401, "There is no key: include `X-API-Key`"),
        (
            403,
            "The key is wrong, or its role may not do this; or in development it is for a host that is not loopback, or posted by another site's page",
        ),
        (404, "There is no such throttle or file"),
        (408, "The body took too long"),
        (
            409,
            "It cannot be done as things stand; `held_by` names who holds what",
        ),
        (413, "The body is larger than the route takes"),
        (422, "The fields in `errors` are not what the route takes"),
        (429, "Too many requests of this address"),
        (
            500,
            "No key is configured, or something of ours went wrong: it is in the log",
        ),
        (
            501,
            "The body is sent in a transfer coding that is not known here",
        ),
        (
            503,
            "A part that this needs is off or does not answer; nothing was changed",
        ),
    ];
    let one = |(status, what): (u16, &str)| {
        let mut headers = json!({ "request-id": reference("headers", "request-id") });
        if status == 409 {
            headers["idempotent-replayed"] = reference("headers", "idempotent-replayed");
        }
        if status == 429 {
            headers["Retry-After"] = reference("headers", "Retry-After");
        }
        let content = json!({ "application/problem+json": { "schema": problem } });
        (
            status.to_string(),
            json!({ "description": what, "headers": headers, "content": content }),
        )
    };
    Value::Object(all.into_iter().map(one).collect())
}

/// Headers that several answers bear.
pub(super) fn headers() -> Value {
    json!({
        "request-id": { "description": "Id of the request: the one that was sent, or one that was made", "schema": { "type": "string" } },
        "idempotent-replayed": { "description": "The answer is of a command that was done before under this caller's Idempotency-Key; nothing was done now", "schema": { "const": "true" } },
        "Retry-After": { "description": "Seconds to wait", "schema": { "type": "integer", "minimum": 0 } },
    })
}
