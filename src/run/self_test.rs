//! The kill path proves itself once a minute: a throttle of its own is opened and killed, and asked
//! for over the network.
//!
//! It has to be admitted while open, so that a gate which refuses everything proves nothing, and
//! refused while killed. A throttle's canary URL is asked as well, because only that proves the
//! proxy. No real throttle is touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::HostArgs;
use crate::domain::hold::{Epoch, Hold, HoldEffect, Source};
use crate::domain::target::{NO_USER, bears_user};
use crate::domain::throttle::ThrottleName;
use crate::gate::Gate;
use crate::http::App;
use crate::ports::{Clock, Desired};
use crate::telemetry::Metrics;

use super::RunError;
use super::awaited::Awaited;

/// What it is, in an error.
const WHAT: &str = "the kill path's self-test";
/// How often.
const TEST_INTERVAL: Duration = Duration::from_secs(60);
/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(5);
/// What a proxy may answer for a refusal of ours.
const REFUSALS: [u16; 3] = [403, 429, 503];

/// What it needs.
pub(super) struct SelfTest {
    gate: Arc<Gate>,
    desired: Arc<dyn Desired>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    listener: String,
    canaries: Option<HostArgs>,
    http: reqwest::Client,
}

/// One way to the gate.
struct Way {
    via: String,
    url: String,
    /// Whether a proxy stands in between, which may say a refusal in its own words.
    proxied: bool,
}

/// Connections to ask by: made before a port is open, since certificates are read for it.
///
/// # Errors
/// If none can be made.
pub(super) fn client() -> Result<reqwest::Client, RunError> {
    let _awaited = Awaited::on_certificates();
    let http = reqwest::Client::builder()
        .user_agent(concat!(
            "echo-phoenix-self-test/",
            env!("CARGO_PKG_VERSION")
        ))
        .timeout(LIMIT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // A connection that lives on would not notice that nobody is let in any more.
        .pool_max_idle_per_host(0);
    http.build().map_err(|e| RunError::failed(WHAT, e))
}

impl SelfTest {
    /// `listener`: the one that proxies ask. `canaries`: the hosts of canary URLs that are asked,
    /// which works where this process is the only gate behind them: of many, another one would
    /// answer.
    ///
    /// # Errors
    /// If the listener does not say where it is.
    pub(super) fn new(
        http: reqwest::Client,
        app: &App,
        listener: &TcpListener,
        canaries: Option<HostArgs>,
    ) -> Result<Arc<Self>, RunError> {
        let address = reachable(
            listener
                .local_addr()
                .map_err(|e| RunError::failed(WHAT, e))?,
        );
        let listener = format!("http://{address}/authz/nginx/{}", ThrottleName::self_test());
        Ok(Arc::new(Self {
            gate: Arc::clone(&app.core.gate),
            desired: Arc::clone(&app.core.desired),
            clock: Arc::clone(&app.core.clock),
            metrics: Arc::clone(&app.core.metrics),
            listener,
            canaries,
            http,
        }))
    }

    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let round = async {
                self.round().await;
                sleep(TEST_INTERVAL).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = round => {}
            }
        }
    }

    async fn round(&self) {
        let ways = self.ways();
        let at = self.clock.moment();
        self.gate.rehearse(None, at.elapsed);
        let open = self.ask(&ways).await;
        self.gate.rehearse(Some(&hold(at.wall)), at.elapsed);
        let killed = self.ask(&ways).await;
        let all = ways.iter().zip(open.iter().zip(&killed));
        let mut found: Vec<_> = all
            .map(|(way, (open, killed))| (way.via.clone(), judge(way, open, killed)))
            .collect();
        found.extend(
            self.canaries(true)
                .map(|(via, _)| (via, Err(format!("canaryUrl is not asked: {NO_USER}")))),
        );
        for (via, found) in &found {
            if let Err(why) = found {
                tracing::error!(via, why, "the kill path is not proven");
            }
        }
        self.metrics.kill_path().note(found, self.clock.elapsed());
    }

    fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way {
            via: "listener".to_owned(),
            url: self.listener.clone(),
            proxied: false,
        }];
        ways.extend(self.canaries(false).map(|(via, url)| Way {
            via,
            url,
            proxied: true,
        }));
        ways
    }

    /// The URLs behind real proxies, by throttle: those that may be asked, or those that bear a
    /// password, which no door takes any more.
    fn canaries(&self, with_user: bool) -> impl Iterator<Item = (String, String)> {
        let declared = if self.canaries.is_some() {
            self.desired.declared()
        } else {
            Vec::new()
        };
        let urls = declared
            .into_iter()
            .filter_map(|one| Some((one.name.to_string(), one.gate().canary_url?)));
        urls.filter(move |(_, url)| bears_user(url) == with_user)
    }

    /// Status and reason of each way's answer.
    async fn ask(&self, ways: &[Way]) -> Vec<Result<(u16, String), String>> {
        futures::future::join_all(ways.iter().map(|way| async {
            if let Some(hosts) = self.canaries.as_ref().filter(|_| way.proxied) {
                hosts.check(&way.url)?;
            }
            let answer = self
                .http
                .get(&way.url)
                .send()
                .await
                .map_err(|error| told(&error))?;
            let reason = answer
                .headers()
                .get("echo-reason")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            Ok((answer.status().as_u16(), reason.to_owned()))
        }))
        .await
    }
}

/// Without the URL: a canary's may bear a secret.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        format!("no answer within {} s", LIMIT.as_secs())
    } else {
        "cannot be reached".to_owned()
    }
}

fn judge(
    way: &Way,
    open: &Result<(u16, String), String>,
    killed: &Result<(u16, String), String>,
) -> Result<(), String> {
    let (open, _) = open.as_ref().map_err(Clone::clone)?;
    let (killed, reason) = killed.as_ref().map_err(Clone::clone)?;
    if !(200..300).contains(open) {
        return Err(format!(
            "answered {open} while the self-test's throttle was open, expected 2xx"
        ));
    }
    if !REFUSALS.contains(killed) || !(reason == "kill" || way.proxied) {
        return Err(format!(
            "answered {killed} while the self-test's throttle was killed, expected a refusal"
        ));
    }
    Ok(())
}

fn hold(at: Timestamp) -> Hold {
    Hold {
        epoch: Epoch("self-test".to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "self-test".to_owned(),
        operator: "echo-phoenix".to_owned(),
        taken_at: at,
    }
}

/// An address bound to everything is reached over loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
