//! How long a request may take: 30 s for its body, 30 s for what is done with it. (Its head has 10 s: see run/listen.)
//!
//! The body is read whole before a handler begins, so that whoever sends slowly keeps no part of the service busy.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::answer::{Problem, body};

/// Longest time for a body to arrive.
const BODY: Duration = Duration::from_secs(30);
/// Longest time for a handler.
const HANDLER: Duration = Duration::from_secs(30);

/// The whole body, within the route's size and the time.
pub(super) async fn whole(request: Request) -> Result<Bytes, Problem> {
    match timeout(BODY, Bytes::from_request(request, &())).await {
        Ok(read) => body(read),
        Err(_) => {
            let detail = format!("The body did not arrive within {} s.", BODY.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// Reads the body, then lets the handler work.
pub(super) async fn carry(request: Request, next: Next) -> Response {
    let (parts, content) = request.into_parts();
    // Only commands bear one; what else is sent is not waited for.
    let request = if parts.method == Method::POST {
        match whole(Request::from_parts(parts.clone(), content)).await {
            Ok(raw) => Request::from_parts(parts, Body::from(raw)),
            Err(problem) => return problem.into_response(),
        }
    } else {
        Request::from_parts(parts, Body::empty())
    };
    match timeout(HANDLER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a handler took too long and was given up");
            let detail = format!(
                "This took longer than {} s and was given up; look at /health before sending it again.",
                HANDLER.as_secs()
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}
