//! How often one may knock: so many requests a minute for each client, before any key is looked at.
//!
//! Proxies' verdicts, probes and a kill that is well made pass without; whatever else comes to `/kill` shares one limit of
//! its own, so that neither side can use up the other's.

mod slots;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

use crate::config::{DoorArgs, Proxies, Role};
use crate::source::rest::confirmed;

use super::App;
use super::answer::Problem;
use super::client::{self, Client};
use super::keys;
use super::limits;
use super::refusal::table;
use slots::Slots;

/// Time since some moment, by a clock that only goes forward.
pub type Elapsed = Arc<dyn Fn() -> Duration + Send + Sync>;

#[derive(Clone)]
struct Ticks(Elapsed);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

type Limit<K, S> = RateLimiter<K, S, Ticks, NoOpMiddleware<Duration>>;

/// Labels of the metric: one client's limit was reached, or the one that requests to `/kill` share which are no kill.
const CLIENT: &str = "client";
const KILL: &str = "kill";

/// Limits of this process.
pub struct Rates {
    clients: Limit<Client, Slots>,
    kill: Limit<NotKeyed, InMemoryState>,
    ticks: Ticks,
    proxies: Proxies,
    on_fly: bool,
    forgotten: Arc<AtomicU64>,
}

impl Rates {
    /// Limits as configured; `elapsed` must never go back.
    pub fn new(doors: &DoorArgs, elapsed: Elapsed) -> Self {
        Self::of(doors.rate_limit_per_minute, doors.trusted_proxies.clone().unwrap_or_default(), elapsed)
            .on_fly(doors.fly_app_name.is_some())
    }

    /// So many requests a minute, with these proxies in front.
    pub fn of(per_minute: NonZeroU32, proxies: Proxies, elapsed: Elapsed) -> Self {
        let quota = Quota::per_minute(per_minute);
        let ticks = Ticks(elapsed);
        let slots = Slots::default();
        Self {
            forgotten: slots.forgotten(),
            clients: RateLimiter::new(quota, slots, ticks.clone()),
            kill: RateLimiter::new(quota, InMemoryState::default(), ticks.clone()),
            ticks,
            proxies,
            on_fly: false,
        }
    }

    fn on_fly(self, on_fly: bool) -> Self {
        Self { on_fly, ..self }
    }

    /// The address a request comes from.
    pub fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        client::address(peer, headers, &self.proxies, self.on_fly)
    }

    /// Takes one request of this address; or how long to wait, whole seconds, at least 1.
    ///
    /// # Errors
    /// If its limit is reached.
    pub fn take(&self, address: IpAddr) -> Result<(), u64> {
        self.clients.check_key(&Client::of(address)).map_err(|until| self.wait(&until))
    }

    /// Takes one request to `/kill` that is no kill.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_kill(&self) -> Result<(), u64> {
        self.kill.check().map_err(|until| self.wait(&until))
    }

    /// Clients that were forgotten before their limit had renewed, because too many came at once.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn wait(&self, until: &NotUntil<Duration>) -> u64 {
        let wait = until.wait_time_from(self.ticks.now());
        (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
    }
}

/// Lets through what is within its limit.
pub(super) async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let (taken, bucket, request) = match route {
        Some("/livez" | "/readyz" | "/v1/decide") => return next.run(request).await,
        Some("/kill") => match well_made(&app, request).await {
            Knock::Kill(request) => return next.run(request).await,
            Knock::Other(request) => (app.rates.take_kill(), KILL, Ok(request)),
            Knock::Broken(problem) => (app.rates.take_kill(), KILL, Err(problem)),
        },
        _ => (app.rates.take(client::origin(&app, &request)), CLIENT, Ok(request)),
    };
    match (taken, request) {
        (Ok(()), Ok(request)) => next.run(request).await,
        (Ok(()), Err(problem)) => problem.into_response(),
        (Err(wait), _) => {
            app.metrics.count_limited(bucket);
            let refusal = if bucket == KILL { &table::LIMITED_KILL } else { &table::LIMITED };
            let mut response = Problem::filled(refusal, &[("wait", &wait)]).into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
            response
        }
    }
}

/// What came to `/kill`.
enum Knock {
    /// A kill: a key that may, and the confirmation.
    Kill(Request),
    /// Anything else.
    Other(Request),
    /// A body that did not arrive.
    Broken(Problem),
}

/// Reads the body of a kill only for whoever may kill.
async fn well_made(app: &App, request: Request) -> Knock {
    let may = keys::caller(app, request.headers()).is_some_and(|caller| caller.may(Role::Breaker));
    if !may || request.method() != Method::POST {
        return Knock::Other(request);
    }
    let (parts, content) = request.into_parts();
    match limits::whole(Request::from_parts(parts.clone(), content)).await {
        Ok(raw) => {
            let kills = matches!(confirmed(&raw), Ok(true));
            let request = Request::from_parts(parts, Body::from(raw));
            if kills { Knock::Kill(request) } else { Knock::Other(request) }
        }
        Err(problem) => Knock::Broken(problem),
    }
}
