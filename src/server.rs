//! Listeners, connections and the budget of what they hold: bound before anything is promised,
//! served until told to stop. Knows who asks only by an address, and nothing of what is asked.
//!
//! A connection may be slow, but not at the cost of others: a head has 10 s, and when all places
//! are taken those lose theirs who hold most of them, and of these who have kept us waiting
//! longest. So however many connections are held open, a kill finds its way in. What they have
//! begun to send is bounded by one budget: see `connection/intake`.

mod attended;
mod cgroup;
mod connection;
mod doors;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::http::{self, App, ClientIp};

use attended::Attended;
use connection::{Coarse, Connection, Intake};

pub(crate) use doors::{Doors, ListenError};

/// How often connections are looked at.
const SCANS_PER_SECOND: u64 = 4;
const SCAN_INTERVAL: Duration = Duration::from_millis(1000 / SCANS_PER_SECOND);
/// Longest time for a head, from its first byte, or from the start of the connection.
const HEAD: Duration = Duration::from_secs(10);
/// Once we are stopping, for whatever we wait for of a client...
const AT_THE_END: u64 = SCANS_PER_SECOND;
/// ...and how long that may go on, however it trickles.
const LAST_CALL: u64 = 3 * SCANS_PER_SECOND;
/// Longest time for nothing between two requests, or for an answer that is not taken. Longer than
/// what common proxies keep a connection for (nginx 60 s, Traefik 90 s, Caddy 120 s): whoever asks
/// shall be the one who ends it.
const IDLE: Duration = Duration::from_secs(180);
/// Most connections of a listener: each costs up to 32 kB before it holds anything of the budget,
/// in a machine of 256 MB.
const MOST: usize = 2048;
/// Which part of the places is made free at once when all are taken.
const SHARE: usize = 16;
/// Files that are not connections: the record, the journal, calls of ours.
const OTHER_FILES: u64 = 256;
/// Pause after a connection could not be taken, so that a lack of files does not become a busy
/// loop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What answers on the API's listener and on that of verdicts, by their names, until told to stop.
pub(crate) fn served(
    doors: Doors,
    routes: Router,
    app: &App,
    stop: &CancellationToken,
) -> Vec<(&'static str, impl Future<Output = ()> + Send + use<>)> {
    let verdicts = doors.verdicts.map(|listener| {
        let routes = http::proxy_router(app.clone());
        ("gate", routes, listener)
    });
    let listeners = std::iter::once(("api", routes, doors.api)).chain(verdicts);
    let served = listeners.map(|(name, routes, listener)| {
        announce(name, &listener);
        let (app, intake) = (app.clone(), Arc::clone(&doors.intake));
        let served = Served::new(name, routes, app, intake, stop.clone());
        (name, served.run(listener))
    });
    served.collect()
}

/// How many connections a listener may have: no more than half the files we may open, since there
/// are two listeners.
fn places() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = 2 * MOST as u64 + OTHER_FILES;
    // What we may raise we raise: the usual 1024 are few.
    let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let mut now = limit.current.unwrap_or(wanted);
    if now < raised
        && setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(raised),
                ..limit
            },
        )
        .is_ok()
    {
        now = raised;
    }
    usize::try_from(now.saturating_sub(OTHER_FILES) / 2)
        .unwrap_or(MOST)
        .clamp(16, MOST)
}

/// The connections of one listener.
struct Served {
    name: &'static str,
    most: usize,
    coarse: Arc<Coarse>,
    open: Vec<Arc<Connection>>,
    tasks: JoinSet<()>,
    routes: Router,
    app: App,
    intake: Arc<Intake>,
    stop: CancellationToken,
    /// Connections that could not be taken and have not been told.
    not_taken: u64,
}

impl Served {
    fn new(
        name: &'static str,
        routes: Router,
        app: App,
        intake: Arc<Intake>,
        stop: CancellationToken,
    ) -> Self {
        let (coarse, open, tasks) = Default::default();
        Self {
            name,
            most: places(),
            coarse,
            open,
            tasks,
            routes,
            app,
            intake,
            stop,
            not_taken: 0,
        }
    }

    /// Serves until told to stop, then lets what is under way finish.
    async fn run(mut self, listener: TcpListener) {
        let (stop, mut look) = (self.stop.clone(), interval(SCAN_INTERVAL));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => self.look(),
                taken = listener.accept() => match taken {
                    Ok((stream, peer)) => self.take(stream, peer),
                    Err(error) => {
                        self.not_taken(&error);
                        sleep(ACCEPT_BACKOFF).await;
                    }
                },
            }
        }
        // Who has been let in by the system already is answered, too.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.take(stream, peer);
        }
        drop(listener);
        for since_the_stop in 0_u64.. {
            if self.tasks.is_empty() {
                return;
            }
            look.tick().await;
            self.look_at_the_end(since_the_stop);
        }
    }

    /// Forgets who is gone and ends who takes too long.
    fn look(&mut self) {
        self.coarse.advance();
        self.forget();
        self.app.doors.strangers.tell();
        let looks = |limit: Duration| limit.as_secs() * SCANS_PER_SECOND;
        for connection in self
            .open
            .iter()
            .filter(|connection| !connection.shall_end())
        {
            if let Some(why) = connection.overdue(looks(HEAD), looks(IDLE)) {
                self.app.core.metrics.count_cut(why);
                connection.end();
            }
        }
    }

    /// The same while we are stopping: what we have work for is finished, a client is not waited
    /// for.
    fn look_at_the_end(&mut self, since_the_stop: u64) {
        self.coarse.advance();
        self.forget();
        let patience = if since_the_stop < LAST_CALL {
            AT_THE_END.min(since_the_stop)
        } else {
            0
        };
        let late = |connection: &&Arc<Connection>| {
            since_the_stop >= AT_THE_END && !connection.shall_end() && connection.waited(patience)
        };
        for connection in self.open.iter().filter(late) {
            self.app.core.metrics.count_cut("slow");
            connection.end();
        }
    }

    /// Tells that connections cannot be taken, once a minute.
    fn not_taken(&mut self, error: &std::io::Error) {
        self.not_taken += 1;
        if self.app.doors.strangers.due("accept") {
            tracing::warn!(%error, count = self.not_taken, "connections could not be taken");
            self.not_taken = 0;
        }
    }

    fn forget(&mut self) {
        let before = self.open.len();
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|connection| !connection.ended());
        self.app
            .core
            .metrics
            .count_connections(signed(self.open.len()) - signed(before));
    }

    /// Takes a connection; if no place can be had for it, it is dropped.
    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.open.len() >= self.most {
            self.forget();
        }
        if self.open.len() >= self.most && !self.make_room() {
            self.app.core.metrics.count_cut("crowded");
            return;
        }
        let _ = stream.set_nodelay(true);
        let client = ClientIp::of(peer.ip());
        let connection = Arc::new(Connection::new(
            client,
            Arc::clone(&self.coarse),
            Arc::clone(&self.intake),
        ));
        self.open.push(Arc::clone(&connection));
        self.app.core.metrics.count_connections(1);
        let attended = Attended {
            listener: self.name,
            routes: self.routes.clone(),
            app: self.app.clone(),
            connection,
            stop: self.stop.clone(),
        };
        self.tasks.spawn(attended.run(stream, peer));
    }

    /// Ends some of those that wait for nothing but their client, so that looking for them is rare:
    /// first of whoever holds most, then those that wait longest.
    fn make_room(&mut self) -> bool {
        let mut held = HashMap::new();
        for connection in &self.open {
            *held.entry(connection.client).or_insert(0_usize) += 1;
        }
        let held =
            |connection: &Connection| held.get(&connection.client).copied().unwrap_or_default();
        let waiting = self
            .open
            .iter()
            .filter_map(|one| Some((Reverse(held(one)), one.waits()?, one)));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(held, since, _)| (*held, *since));
        for (_, _, connection) in waiting.iter().take(self.most.div_ceil(SHARE)) {
            connection.end();
            self.app.core.metrics.count_cut("crowded");
        }
        let some = !waiting.is_empty();
        let before = self.open.len();
        self.open.retain(|connection| !connection.shall_end());
        self.app
            .core
            .metrics
            .count_connections(signed(self.open.len()) - signed(before));
        some
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Tells where we listen, for people and for tests.
fn announce(what: &str, listener: &TcpListener) {
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "{what} listens"),
        Err(error) => tracing::warn!(%error, "{what} listens somewhere"),
    }
}
