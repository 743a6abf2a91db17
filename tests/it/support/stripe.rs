//! What Stripe sends, signed as its documentation says, for whoever needs more of it than its own
//! library makes in time.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header of a body that was signed at this second.
pub(crate) fn signature(secret: &str, second: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{second}.").as_bytes());
    mac.update(body);
    format!("t={second},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// An event with this id, with so much text that it is at least so many bytes long.
pub(crate) fn event(id: &str, bytes: usize) -> String {
    serde_json::json!({
        "id": id, "object": "event", "type": "payment_intent.succeeded", "created": 1_790_000_000, "livemode": false,
        "api_version": "2026-10-01", "pending_webhooks": 1,
        "data": { "object": {
            "id": format!("pi_{id}"), "object": "payment_intent", "amount": 4200, "currency": "eur", "status": "succeeded",
            "description": "x".repeat(bytes),
        } },
    })
    .to_string()
}
