//! The key check: who may call a protected route.
//!
//! Digests are compared in constant time, so neither a key's bytes nor its length leak.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::App;
use super::answer::Problem;

/// Whose key a request bore, for audit entries.
#[derive(Clone, Debug)]
pub(super) struct Actor(pub(super) String);

/// Lets a request with a right key through.
pub(super) async fn check(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match judge(&app, request.headers()) {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn judge(app: &App, headers: &HeaderMap) -> Result<Actor, Problem> {
    let Some(configured) = app.keys.secret() else {
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "API key not configured"));
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let given =
        headers.get("x-api-key").map(axum::http::HeaderValue::as_bytes).or(bearer).filter(|key| !key.is_empty());
    let Some(given) = given else {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "Missing API key. Include X-API-Key header."));
    };
    if bool::from(Sha256::digest(given).ct_eq(&Sha256::digest(configured.as_bytes()))) {
        Ok(Actor(app.keys.name().to_owned()))
    } else {
        Err(Problem::new(StatusCode::FORBIDDEN, "Invalid API key"))
    }
}
