//! A restart of Echo: a proxy that can wait for it refuses nothing, the others stay closed and come
//! back.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{HERE, Kind, Street, THROUGH_A_RESTART, WHOLE_SITE, prepare};
use crate::support::plain::{self, PlainApp, request};
use crate::support::proxy::{NGINX_KIND, Proxy};
use crate::support::{Echo, KEY, eventually, http, program};

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
    let heading = if kind.name == "traefik" {
        THROUGH_A_RESTART
    } else {
        WHOLE_SITE
    };
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
    assert!(
        statuses.is_empty(),
        "{}: {admitted} admitted, else {statuses:?}\n{}",
        kind.name,
        street.proxy.said()
    );

    // Killed, waiting changes nothing: it is refused at once, and through a restart too.
    street.kill(None).await;
    let _ = app.taken();
    street.echo.process.kill_9();
    let refused = tokio::spawn(pay(street.proxy.address));
    street.echo = Echo::start("serve", &street.variables, street.folder.path()).await;
    let status = refused.await.unwrap();
    assert!(
        status == kind.killed || !waits && status == kind.undecided,
        "{}: {status}",
        kind.name
    );
    assert_eq!(
        pay(street.proxy.address).await,
        kind.killed,
        "{}",
        kind.name
    );
    assert!(app.taken().is_empty(), "{}", kind.name);
}

async fn pay(to: SocketAddr) -> u16 {
    plain::ask(to, HERE, &request("GET", "/pay", ""))
        .await
        .status
}

/// A process on sockets that somebody else keeps open.
struct Handed(Child);

impl Drop for Handed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts Echo as systemd does, with its sockets from 3 on, and waits until it answers.
async fn handed(
    folder: &Path,
    variables: &[(&str, String)],
    api: &TcpListener,
    gate: &TcpListener,
) -> Handed {
    let mut command = Command::new("sh");
    // Our two ends come in as stdin and stdout, since a process started from here gets no others.
    let script =
        r#"export LISTEN_PID=$$ LISTEN_FDS=2; exec "$0" serve 3<&0 4<&1 </dev/null >/dev/null"#;
    command
        .arg("-c")
        .arg(script)
        .arg(program())
        .env_clear()
        .current_dir(folder);
    command
        .env("LISTEN_FDNAMES", "api:gate")
        .env("ECHO_API_KEY", KEY);
    command.envs(
        variables
            .iter()
            .filter(|(name, _)| *name == "ECHO_MANIFEST")
            .map(|(name, value)| (*name, value)),
    );
    let own = |listener: &TcpListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    let echo = Handed(
        command
            .stdin(own(api))
            .stdout(own(gate))
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let ready = format!("http://{}/readyz", api.local_addr().unwrap());
    eventually("it is ready", Duration::from_secs(20), async || {
        http()
            .get(&ready)
            .send()
            .await
            .ok()?
            .status()
            .is_success()
            .then_some(())
    })
    .await;
    echo
}

/// What nginx alone cannot: where the port stays open, requests wait for a restart.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_waits_where_the_port_stays_open() {
    let app = PlainApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (variables, _) = prepare(folder.path(), "");
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (api, gate) = (listen(), listen());
    let mut echo = handed(folder.path(), &variables, &api, &gate).await;
    let recipe = NGINX_KIND.recipe(WHOLE_SITE);
    let port = crate::support::free_port();
    let nginx = Proxy::with(
        NGINX_KIND,
        &recipe,
        folder.path(),
        port,
        gate.local_addr().unwrap(),
        app.address,
    )
    .await;
    eventually("it is open", Duration::from_secs(30), async || {
        (pay(nginx.address).await == 200).then_some(())
    })
    .await;
    let clients = Clients::start(nginx.address);
    for _ in 0..3 {
        let _ = Command::new("kill").arg(echo.0.id().to_string()).status();
        assert!(echo.0.wait().unwrap().success());
        echo = handed(folder.path(), &variables, &api, &gate).await;
    }
    let statuses = clients.end().await;
    assert_eq!(statuses.into_keys().collect::<Vec<_>>(), [200]);
}
