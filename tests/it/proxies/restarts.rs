//! A restart of Echo: a proxy that can wait for it refuses nothing, the others stay closed and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::{HERE, Kind, Street, THROUGH_A_RESTART, WHOLE_SITE};
use crate::support::Echo;
use crate::support::plain::{self, PlainApp, request};

/// How many.
const CLIENTS: usize = 4;

behind_each_proxy!(restarts);

/// Clients that ask all the time, and what they got.
struct Clients {
    over: Arc<AtomicBool>,
    asking: Vec<JoinHandle<BTreeMap<u16, usize>>>,
}

impl Clients {
    fn start(to: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ask = |_| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut statuses = BTreeMap::<u16, usize>::new();
                while !over.load(Ordering::Relaxed) {
                    *statuses.entry(pay(to).await).or_default() += 1;
                }
                statuses
            })
        };
        let asking = (0..CLIENTS).map(ask).collect();
        Self { over, asking }
    }

    /// How often each status came.
    async fn end(self) -> BTreeMap<u16, usize> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::<u16, usize>::new();
        for client in self.asking {
            for (status, number) in client.await.unwrap() {
                *all.entry(status).or_default() += number;
            }
        }
        all
    }
}

async fn restarts(kind: Kind) {
    let waits = kind.name != "nginx";
    let heading = if kind.name == "traefik" { THROUGH_A_RESTART } else { WHOLE_SITE };
    let app = PlainApp::start().await;
    let mut street = Street::open(kind, heading, app.address).await;
    let clients = Clients::start(street.proxy.address);
    for by_signal in [true, false, true, false] {
        if by_signal {
            assert!(street.echo.process.terminate().success());
        } else {
            street.echo.process.kill_9();
        }
        street.echo = Echo::start("serve", &street.variables, street.folder.path()).await;
        let after = street.ask(HERE, &request("GET", "/pay", "")).await;
        assert_eq!(after.status, 200, "{}: it is back", kind.name);
    }
    let mut statuses = clients.end().await;
    let admitted = statuses.remove(&200).unwrap_or(0);
    assert!(admitted > 0, "{}", kind.name);
    if !waits {
        statuses.remove(&kind.undecided);
    }
    assert!(statuses.is_empty(), "{}: {admitted} admitted, else {statuses:?}\n{}", kind.name, street.proxy.said());

    // Killed, waiting changes nothing: it is refused at once, and through a restart too.
    street.kill(None).await;
    let _ = app.taken();
    street.echo.process.kill_9();
    let refused = tokio::spawn(pay(street.proxy.address));
    street.echo = Echo::start("serve", &street.variables, street.folder.path()).await;
    let status = refused.await.unwrap();
    assert!(status == kind.killed || !waits && status == kind.undecided, "{}: {status}", kind.name);
    assert_eq!(pay(street.proxy.address).await, kind.killed, "{}", kind.name);
    assert!(app.taken().is_empty(), "{}", kind.name);
}

async fn pay(to: SocketAddr) -> u16 {
    plain::ask(to, HERE, &request("GET", "/pay", "")).await.status
}
