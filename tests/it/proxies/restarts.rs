//! A restart of Echo: a proxy that can wait for it refuses nothing, the others stay closed and come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{HERE, Kind, Street, THROUGH_A_RESTART, WHOLE_SITE};
use crate::support::Echo;
use crate::support::plain::{self, PlainApp, request};

/// Clients that ask all the time.
const CLIENTS: usize = 4;

behind_each_proxy!(restarts);

async fn restarts(kind: Kind) {
    let waits = kind.name != "nginx";
    let heading = if kind.name == "traefik" { THROUGH_A_RESTART } else { WHOLE_SITE };
    let app = PlainApp::start().await;
    let mut street = Street::open(kind, heading, app.address).await;
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (over, to) = (Arc::clone(&over), street.proxy.address);
            tokio::spawn(async move {
                let mut statuses = BTreeMap::<u16, usize>::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = plain::ask(to, HERE, &request("GET", "/pay", "")).await;
                    *statuses.entry(answer.status).or_default() += 1;
                }
                statuses
            })
        })
        .collect();
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
    over.store(true, Ordering::Relaxed);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for client in clients {
        for (status, number) in client.await.unwrap() {
            *statuses.entry(status).or_default() += number;
        }
    }
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
    let refused = tokio::spawn(plain_ask(street.proxy.address));
    street.echo = Echo::start("serve", &street.variables, street.folder.path()).await;
    let status = refused.await.unwrap();
    assert!(status == kind.killed || !waits && status == kind.undecided, "{}: {status}", kind.name);
    assert_eq!(plain_ask(street.proxy.address).await, kind.killed, "{}", kind.name);
    assert!(app.taken().is_empty(), "{}", kind.name);
}

async fn plain_ask(to: std::net::SocketAddr) -> u16 {
    plain::ask(to, HERE, &request("GET", "/pay", "")).await.status
}
