//! How long a request may take: 30 s for its body, 30 s for what is done with it. (Its head has 10 s: see run/listen.)
//!
//! The body is read whole before a handler begins, so that whoever sends slowly keeps no part of the service busy. Nor may
//! strangers' bodies fill the memory: of those larger than a command's only a few are read at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::answer::{Problem, body, too_large};
use super::refusal::table;
use super::{App, BODY_LIMIT, WEBHOOK_LIMIT};

/// Longest time for a body to arrive.
const BODY: Duration = Duration::from_secs(30);
/// Longest time for a handler.
const HANDLER: Duration = Duration::from_secs(30);

/// Bodies larger than a command's that may be in memory at once: 8 MiB. Stripe's events are rarely so large, and it sends
/// again what is refused.
const LARGE: usize = 8;

/// Places for large bodies.
pub struct Large(Semaphore);

impl Default for Large {
    fn default() -> Self {
        Self(Semaphore::new(LARGE))
    }
}

/// The whole body, within the route's size and the time.
pub(super) async fn whole(request: Request) -> Result<Bytes, Problem> {
    timeout(BODY, Bytes::from_request(request, &())).await.map_or_else(|_| Err(late()), body)
}

fn late() -> Problem {
    Problem::filled(&table::LATE, &[("seconds", &BODY.as_secs())])
}

/// A body that may be large, and its place if it is. The place is taken when the body turns out to need it: what a client
/// only announces keeps nobody out.
async fn gather(content: Body, large: &Large) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
    let (mut chunks, mut raw, mut place) = (content.into_data_stream(), Vec::new(), None);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::of(&table::BROKEN))?;
        if raw.len() + chunk.len() > WEBHOOK_LIMIT {
            return Err(too_large());
        }
        if raw.len() + chunk.len() > BODY_LIMIT && place.is_none() {
            let taken = large.0.try_acquire();
            place = Some(taken.map_err(|_| Problem::of(&table::MANY_LARGE))?);
        }
        raw.extend_from_slice(&chunk);
    }
    Ok((raw.into(), place))
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
    handled(request, next).await
}

/// The same where strangers may send large bodies.
pub(super) async fn carry_large(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (parts, content) = request.into_parts();
    let gathered = timeout(BODY, gather(content, &app.large)).await;
    match gathered.unwrap_or_else(|_| Err(late())) {
        Ok((raw, _place)) => handled(Request::from_parts(parts, Body::from(raw)), next).await,
        Err(problem) => problem.into_response(),
    }
}

async fn handled(request: Request, next: Next) -> Response {
    match timeout(HANDLER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a handler took too long and was given up");
            Problem::filled(&table::GIVEN_UP, &[("seconds", &HANDLER.as_secs())]).into_response()
        }
    }
}
