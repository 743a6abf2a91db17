//! One id a request, from its caller or made here: in the answer, the log and the audit entry.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// The id of the request at hand.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

/// Longest id that is accepted.
const LIMIT: usize = 128;

/// Its header.
pub(super) const NAME: HeaderName = HeaderName::from_static("request-id");

/// The id the caller gave, if it is one.
pub(super) fn given(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(NAME).filter(|value| value.to_str().is_ok_and(fits))
}

/// Accepts or makes the id, and answers it.
pub(super) async fn carry(mut request: Request, next: Next) -> Response {
    let given = given(request.headers()).and_then(|value| value.to_str().ok());
    let id = given.map_or_else(|| ulid::Ulid::generate().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(NAME, value);
    }
    response
}

fn fits(id: &str) -> bool {
    (1..=LIMIT).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
