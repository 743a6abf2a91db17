//! How often one may knock: so many requests a minute for each right key, and for each client
//! without one.
//!
//! A right key is limited by itself alone, so that no stranger at its address can use up what it
//! has; a wrong one spends its client's limit like none. Proxies' verdicts, those of whoever has
//! the role `gate`, probes and a kill that is well made pass without; whatever else comes to
//! `/kill` shares one limit of its own, so that neither side can use up the other's. An event of
//! the webhook spends its client's limit only if it turns out to be nobody's (see `webhook`).

mod slots;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

use crate::config::{Caller, DoorArgs, Proxies};
use crate::source::rest::{confirmed, lossy};

use super::answer::ProblemResponse;
use super::client_ip::{self, ClientIp};
use super::keys;
use super::limits;
use super::refusal::{Refusal, table};
use super::route::{Bucket, Route};
use super::{AppCore, AppDoors};
use slots::{RateKey as Slot, Slots};

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

/// Labels of the metric: the limit of one client or one key was reached, or the one that requests
/// to `/kill` share which are no kill.
pub(super) const CLIENT: &str = "client";
const KEY: &str = "key";
const KILL: &str = "kill";

/// Limits of this process.
pub struct Rates {
    clients: Limit<Slot, Slots>,
    keys: Limit<Arc<str>, HashMapStateStore<Arc<str>>>,
    kill: Limit<NotKeyed, InMemoryState>,
    ticks: Ticks,
    proxies: Proxies,
    on_fly: bool,
    forgotten: Arc<AtomicU64>,
}

impl Rates {
    /// Limits as configured; `elapsed` must never go back.
    pub fn new(doors: &DoorArgs, elapsed: Elapsed) -> Self {
        Self::of(
            doors.rate_limit_per_minute,
            doors.trusted_proxies.clone().unwrap_or_default(),
            elapsed,
        )
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
            // As many as there are names of keys.
            keys: RateLimiter::new(quota, HashMapStateStore::default(), ticks.clone()),
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
        client_ip::address(peer, headers, &self.proxies, self.on_fly)
    }

    /// Takes one request of this address; or how long to wait, whole seconds, at least 1.
    ///
    /// # Errors
    /// If its limit is reached.
    pub fn take(&self, address: IpAddr) -> Result<(), u64> {
        self.knock(address, true)
    }

    /// Whether one more request of this address could be taken, without taking it.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn may(&self, address: IpAddr) -> Result<(), u64> {
        self.knock(address, false)
    }

    fn knock(&self, address: IpAddr, spends: bool) -> Result<(), u64> {
        self.clients
            .check_key(&Slot {
                client: ClientIp::of(address),
                spends,
            })
            .map_err(|until| self.wait(&until))
    }

    /// Takes one request of whoever has the key of this name.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_key(&self, name: &Arc<str>) -> Result<(), u64> {
        self.keys.check_key(name).map_err(|until| self.wait(&until))
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
pub(super) async fn limit(
    State(core): State<Arc<AppCore>>,
    State(doors): State<Arc<AppDoors>>,
    request: Request,
    next: Next,
) -> Response {
    let route = Route::of(&request);
    let caller = keys::caller(&doors, request.headers());
    let guessed = caller.is_none() && keys::is_given(request.headers());
    let (taken, bucket, request) = match route.map(|route| (route, route.bucket)) {
        Some((_, Bucket::Free)) => return next.run(request).await,
        Some((_, Bucket::FreeFor(role)))
            if caller.as_ref().is_some_and(|caller| caller.may(role)) =>
        {
            return next.run(request).await;
        }
        Some((route, Bucket::Own)) if route.takes_method(request.method()) => {
            return next.run(request).await;
        }
        Some((route, Bucket::Kill)) => match well_made(route, caller, request).await {
            Knock::Kill(request) => return next.run(request).await,
            Knock::Other(request) => (doors.rates.take_kill(), KILL, Ok(request)),
            Knock::Broken(problem) => (doors.rates.take_kill(), KILL, Err(problem)),
        },
        _ => match caller {
            Some(caller) => (doors.rates.take_key(&caller.name), KEY, Ok(request)),
            None => (
                doors.rates.take(client_ip::origin(&doors, &request)),
                CLIENT,
                Ok(request),
            ),
        },
    };
    match (taken, request) {
        (Ok(()), Ok(request)) => next.run(request).await,
        (Ok(()), Err(problem)) => problem.into_response(),
        (Err(wait), _) => {
            if guessed && !doors.keys.is_empty() {
                core.metrics.count_key_refused(keys::WRONG); // nobody looks at it any further
            }
            limited(&core, bucket, wait)
        }
    }
}

/// The refusal of what is above a limit.
pub(super) fn limited(core: &AppCore, bucket: &'static str, wait: u64) -> Response {
    core.metrics.count_limited(bucket);
    let refusal: &'static Refusal = match bucket {
        KILL => &table::LIMITED_KILL,
        KEY => &table::LIMITED_KEY,
        _ => &table::LIMITED,
    };
    let mut response = ProblemResponse::filled(refusal, &[("wait", &wait)]).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(wait));
    response
}

/// What came to `/kill`.
enum Knock {
    /// A kill: a key that may, and the confirmation.
    Kill(Request),
    /// Anything else.
    Other(Request),
    /// A body that did not arrive.
    Broken(ProblemResponse),
}

/// Reads the body of a kill only for whoever may kill.
async fn well_made(route: &Route, caller: Option<Caller>, request: Request) -> Knock {
    let may = caller.is_some_and(|caller| route.admits(&caller));
    if !may || !route.takes_method(request.method()) {
        return Knock::Other(request);
    }
    let (parts, content) = request.into_parts();
    match limits::kill(content, route.body).await {
        Ok(raw) => {
            // Read as the kill itself reads it, or a stray byte in the reason would have it wait
            // behind strangers.
            let kills = matches!(confirmed(&lossy(&raw)), Ok(true));
            let request = Request::from_parts(parts, Body::from(raw));
            if kills {
                Knock::Kill(request)
            } else {
                Knock::Other(request)
            }
        }
        Err(problem) => Knock::Broken(problem),
    }
}
