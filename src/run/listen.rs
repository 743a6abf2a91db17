//! Listeners: bound before anything is promised, served until told to stop.
//!
//! A connection may be slow, but not at the cost of others: a head has 10 s, and when all places are taken those lose
//! theirs who hold most of them, and of these who have kept us waiting longest. So however many connections are held
//! open, a kill finds its way in.

mod connection;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;
use crate::http::{self, App, Client};
use crate::telemetry::Metrics;

use super::RunError;
use super::supervise::Supervisor;
use connection::{Coarse, Connection, Watched};

/// How often connections are looked at.
const LOOKS_A_SECOND: u64 = 4;
const LOOK: Duration = Duration::from_millis(1000 / LOOKS_A_SECOND);
/// Longest time for a head, from its first byte, or from the start of the connection.
const HEAD: Duration = Duration::from_secs(10);
/// The same once we are stopping.
const HEAD_AT_THE_END: Duration = Duration::from_secs(1);
/// Longest time for nothing between two requests, or for an answer that is not taken. Longer than what common proxies
/// keep a connection for (nginx 60 s, Traefik 90 s, Caddy 120 s): whoever asks shall be the one who ends it.
const IDLE: Duration = Duration::from_secs(180);
/// Largest head, bytes; also what a connection that is held open costs at most.
const HEAD_SIZE: usize = 32 * 1024;
/// Most connections of a listener.
const MOST: usize = 4096;
/// Which part of the places is made free at once when all are taken.
const SHARE: usize = 16;
/// Files that are not connections: the record, the journal, calls of ours.
const OTHER_FILES: u64 = 256;
/// Pause after a connection could not be taken, so that a lack of files does not become a busy loop.
const BREATH: Duration = Duration::from_millis(50);

/// Binds an address; the error names the variable.
pub(super) async fn bind(address: SocketAddr, variable: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("cannot listen on {address}: {error}");
        let wrong = |expected: &str, fix: &str| {
            let fix = format!("{what}. {fix}");
            RunError::Config(ConfigError { variable, expected: expected.to_owned(), fix })
        };
        match error.kind() {
            ErrorKind::AddrNotAvailable => {
                wrong("an address of this machine", "Name one of its own; 0.0.0.0 or [::] means all of them.")
            }
            ErrorKind::PermissionDenied => {
                wrong("a port that this process may listen on", "Name one above 1023, or allow it the one it asks for.")
            }
            ErrorKind::AddrInUse => RunError::Failed(format!(
                "{variable}: {what}. Another process has it: stop that one, or set {variable} to another port."
            )),
            _ => RunError::Failed(format!("{variable}: {what}")),
        }
    })
}

/// Binds an address that may be there.
pub(super) async fn bind_if(
    address: Option<SocketAddr>,
    variable: &'static str,
) -> Result<Option<TcpListener>, RunError> {
    match address {
        Some(address) => bind(address, variable).await.map(Some),
        None => Ok(None),
    }
}

/// Begins to answer on the API's listener and on that of verdicts: the last to start, the first to stop.
pub(super) fn start(
    supervisor: &mut Supervisor,
    (api, routes): (TcpListener, Router),
    verdicts: Option<TcpListener>,
    app: Arc<App>,
) {
    let (stop, metrics) = (supervisor.stage(), Arc::clone(&app.metrics));
    announce("api", &api);
    supervisor.start("api", serve(api, routes, Arc::clone(&metrics), stop.clone()));
    if let Some(listener) = verdicts {
        announce("gate", &listener);
        supervisor.start("gate", serve(listener, http::verdict_routes(Arc::clone(&app)), metrics, stop));
    }
    app.listening.store(true, Ordering::Release);
}

/// Serves until told to stop, then lets what is under way finish.
async fn serve(listener: TcpListener, routes: Router, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut served = Served {
        most: places(),
        coarse: Arc::default(),
        open: Vec::new(),
        tasks: JoinSet::new(),
        routes,
        metrics,
        stop: stop.clone(),
    };
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = look.tick() => served.look(HEAD),
            taken = listener.accept() => match taken {
                Ok((stream, peer)) => served.take(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    sleep(BREATH).await;
                }
            },
        }
    }
    drop(listener);
    while !served.tasks.is_empty() {
        look.tick().await;
        served.look(HEAD_AT_THE_END);
    }
}

/// How many connections a listener may have: no more than half the files we may open, since there are two listeners.
fn places() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * MOST as u64 + OTHER_FILES;
    // What we may raise we raise: the usual 1024 are few.
    let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let mut now = limit.current.unwrap_or(wanted);
    if now < raised && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }).is_ok() {
        now = raised;
    }
    usize::try_from(now.saturating_sub(OTHER_FILES) / 2).unwrap_or(MOST).clamp(16, MOST)
}

/// The connections of one listener.
struct Served {
    most: usize,
    coarse: Arc<Coarse>,
    open: Vec<Arc<Connection>>,
    tasks: JoinSet<()>,
    routes: Router,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Served {
    /// Forgets who is gone and ends who takes too long.
    fn look(&mut self, head: Duration) {
        self.coarse.advance();
        self.forget();
        let looks = |limit: Duration| limit.as_secs() * LOOKS_A_SECOND;
        for connection in self.open.iter().filter(|connection| !connection.shall_end()) {
            if let Some(why) = connection.overdue(looks(head), looks(IDLE)) {
                self.metrics.count_cut(why);
                connection.end();
            }
        }
    }

    fn forget(&mut self) {
        let before = self.open.len();
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.ended());
        self.metrics.count_connections(signed(self.open.len()) - signed(before));
    }

    /// Takes a connection; if no place can be had for it, it is dropped.
    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.open.len() >= self.most {
            self.forget();
        }
        if self.open.len() >= self.most && !self.make_room() {
            self.metrics.count_cut("crowded");
            return;
        }
        let _ = stream.set_nodelay(true);
        let connection = Arc::new(Connection::new(Client::of(peer.ip()), Arc::clone(&self.coarse)));
        self.open.push(Arc::clone(&connection));
        self.metrics.count_connections(1);
        self.tasks.spawn(attend(stream, peer, self.routes.clone(), connection, self.stop.clone()));
    }

    /// Ends some of those that wait for nothing but their client, so that looking for them is rare: first of whoever holds
    /// most, then those that wait longest.
    fn make_room(&mut self) -> bool {
        let mut held = HashMap::new();
        for connection in &self.open {
            *held.entry(connection.client).or_insert(0_usize) += 1;
        }
        let held = |connection: &Connection| held.get(&connection.client).copied().unwrap_or_default();
        let waiting = self.open.iter().filter_map(|one| Some((Reverse(held(one)), one.waits()?, one)));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(held, since, _)| (*held, *since));
        for (_, _, connection) in waiting.iter().take(self.most.div_ceil(SHARE)) {
            connection.end();
            self.metrics.count_cut("crowded");
        }
        let some = !waiting.is_empty();
        let before = self.open.len();
        self.open.retain(|connection| !connection.shall_end());
        self.metrics.count_connections(signed(self.open.len()) - signed(before));
        some
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One connection from its start to its end.
async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    connection: Arc<Connection>,
    stop: CancellationToken,
) {
    let _ended = connection.tell_the_end();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let mut request = request.map(|body| connection.begins(body));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answering = routes.call(request);
        async {
            let answer = answering.await;
            connection.answers();
            answer as Result<_, Infallible>
        }
    });
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&connection)));
    let mut builder = http1::Builder::new();
    let serving = builder.max_buf_size(HEAD_SIZE).serve_connection(io, service);
    let mut serving = std::pin::pin!(serving);
    let mut stopping = false;
    loop {
        tokio::select! {
            // How a client ends its connection is its own affair.
            _ = serving.as_mut() => return,
            () = connection.told_to_end() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells where we listen, for people and for tests.
fn announce(what: &str, listener: &TcpListener) {
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "{what} listens"),
        Err(error) => tracing::warn!(%error, "{what} listens somewhere"),
    }
}
