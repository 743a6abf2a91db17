//! How long a request may take: 30 s for its body, 30 s for what is done with it. (Its head has 10
//! s: see server.)
//!
//! The body is read whole before a handler begins, so that whoever sends slowly keeps no part of
//! the service busy. Nor may strangers' bodies fill the memory: of those larger than a command's
//! only a few are read at a time, and of one client only two, so that one alone keeps nobody out.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::source::rest::Shortened;

use super::answer::{ProblemResponse, too_large};
use super::client_ip::ClientIp;
use super::refusal::table;
use super::route::{BodyLimit, Route, Verb};

/// Longest time for a body to arrive.
const BODY: Duration = Duration::from_secs(30);
/// Longest time for a handler.
const HANDLER: Duration = Duration::from_secs(30);

/// Bodies larger than a command's that may be in memory at once: 8 MiB. Stripe's events are rarely
/// so large, and it sends again what is refused.
const LARGE: usize = 8;
/// How many of these one client may have.
const LARGE_OF_ONE: usize = 2;
/// How long a body waits for a place: Stripe's own bodies are read in no time, so one is soon free.
const PLACE: Duration = Duration::from_secs(2);

/// Places for large bodies.
#[derive(Default)]
pub struct Large {
    held: Mutex<Vec<ClientIp>>,
    freed: Notify,
}

impl Large {
    /// A place, if there is one for this client within the time.
    async fn place(&self, client: ClientIp) -> Option<LargeBodyPermit<'_>> {
        let waiting = async {
            loop {
                // Made before the look, so that it hears of every place that is freed after it.
                let freed = self.freed.notified();
                if let Some(place) = self.try_place(client) {
                    return place;
                }
                freed.await;
            }
        };
        timeout(PLACE, waiting).await.ok()
    }

    fn try_place(&self, client: ClientIp) -> Option<LargeBodyPermit<'_>> {
        let mut held = self.held.lock();
        let of_this_one = held.iter().filter(|holder| **holder == client).count();
        (held.len() < LARGE && of_this_one < LARGE_OF_ONE).then(|| {
            held.push(client);
            LargeBodyPermit { of: self, client }
        })
    }
}

/// A place that is given back with this value.
pub(super) struct LargeBodyPermit<'a> {
    of: &'a Large,
    client: ClientIp,
}

impl Drop for LargeBodyPermit<'_> {
    fn drop(&mut self) {
        let mut held = self.of.held.lock();
        if let Some(index) = held.iter().position(|holder| *holder == self.client) {
            held.swap_remove(index);
        }
        drop(held);
        self.of.freed.notify_waiters();
    }
}

/// Why a body that may be large was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread<E> {
    /// The connection broke off.
    Broken,
    /// It took too long.
    Late,
    /// It is larger than the route takes.
    TooLarge,
    /// It is large, and found no place.
    Crowded,
    /// It is large, and should not be.
    Refused(E),
}

/// The whole body of a command, within its size and the time.
pub(super) async fn whole(content: Body, limit: BodyLimit) -> Result<Bytes, ProblemResponse> {
    // What is announced to be too large is not waited for.
    if content.size_hint().lower() > limit.kept() as u64 {
        return Err(too_large());
    }
    // Copied as it comes: the buffers it comes in are larger than what is in them, and there may be
    // one for every byte.
    let gathered = async {
        let (mut chunks, mut raw) = (content.into_data_stream(), Vec::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| ProblemResponse::of(&table::BROKEN))?;
            if raw.len() + chunk.len() > limit.kept() {
                return Err(too_large());
            }
            raw.extend_from_slice(&chunk);
        }
        Ok(raw.into())
    };
    timeout(BODY, gathered)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// The body of a kill: of its texts only the beginning is kept, so a long reason keeps nobody from
/// stopping.
pub(super) async fn kill(content: Body, limit: BodyLimit) -> Result<Bytes, ProblemResponse> {
    if content.size_hint().lower() > limit.most() as u64 {
        return Err(unread_kill());
    }
    let gathered = async {
        let (mut chunks, mut read) = (content.into_data_stream(), Shortened::default());
        while let Some(chunk) = chunks.next().await {
            read.take(&chunk.map_err(|_| ProblemResponse::of(&table::BROKEN))?);
            if read.seen() > limit.most() || read.kept().len() > limit.kept() {
                return Err(unread_kill());
            }
        }
        Ok(Bytes::copy_from_slice(read.kept()))
    };
    timeout(BODY, gathered)
        .await
        .unwrap_or_else(|_| Err(late()))
}

fn unread_kill() -> ProblemResponse {
    ProblemResponse::of(&table::KILL_TOO_LARGE)
}

pub(super) fn late() -> ProblemResponse {
    ProblemResponse::filled(&table::LATE, &[("seconds", &BODY.as_secs())])
}

/// A body that strangers may send, and its place if it is large and may be. The place is taken when
/// the body turns out to need it: what a client only announces keeps nobody out.
pub(super) async fn gather<E: Copy>(
    content: Body,
    limit: BodyLimit,
    large: &Large,
    client: ClientIp,
    may_be_large: Result<(), E>,
) -> Result<(Bytes, Option<LargeBodyPermit<'_>>), Unread<E>> {
    if content.size_hint().lower() > limit.most() as u64 {
        return Err(Unread::TooLarge);
    }
    let gathering = async {
        let (mut chunks, mut raw, mut place) = (content.into_data_stream(), Vec::new(), None);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Unread::Broken)?;
            if raw.len() + chunk.len() > limit.most() {
                return Err(Unread::TooLarge);
            }
            if raw.len() + chunk.len() > limit.kept() && place.is_none() {
                may_be_large.map_err(Unread::Refused)?;
                place = Some(large.place(client).await.ok_or(Unread::Crowded)?);
            }
            raw.extend_from_slice(&chunk);
        }
        Ok((raw.into(), place))
    };
    timeout(BODY, gathering).await.unwrap_or(Err(Unread::Late))
}

/// Reads the body, then lets the handler work. What is sent where none is read is not waited for.
pub(super) async fn buffer_body(
    State(route): State<&'static Route>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, content) = request.into_parts();
    let raw = match route.body {
        BodyLimit::Unread => Bytes::new(),
        limit => match whole(content, limit).await {
            Ok(raw) => raw,
            Err(problem) => return problem.into_response(),
        },
    };
    let orders = route.verb == Verb::Post;
    let given_up = |problem: ProblemResponse| {
        if orders { problem.undecided() } else { problem }.into_response()
    };
    let request = Request::from_parts(parts, Body::from(raw));
    in_time(next.run(request)).await.unwrap_or_else(given_up)
}

/// Lets a handler work, for as long as one may.
pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, ProblemResponse> {
    timeout(HANDLER, work).await.map_err(|_| {
        tracing::error!("a handler took too long and was given up");
        ProblemResponse::filled(&table::GIVEN_UP, &[("seconds", &HANDLER.as_secs())])
    })
}
