//! Where we listen: on addresses of our own, or on sockets that systemd listens on and hands over,
//! so that whoever comes while this process is started again waits instead of being refused.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as Handed};
use std::sync::Arc;

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::cgroup;
use super::connection::Intake;
use crate::config::{ConfigError, ListenArgs};
use crate::telemetry::Metrics;

/// Names that a handed socket may have, as systemd's `FileDescriptorName=` gives them.
const NAMES: [&str; 2] = ["api", "gate"];

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// What is configured cannot be listened on.
    #[error(transparent)]
    Config(ConfigError),
    /// What should work did not.
    #[error("{0}")]
    Failed(String),
}

impl ListenError {
    fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// Listeners that are bound and not served yet.
pub(crate) struct Doors {
    pub(super) api: TcpListener,
    pub(super) verdicts: Option<TcpListener>,
    pub(super) intake: Arc<Intake>,
}

impl Doors {
    /// Binds, or takes over, what is asked for.
    pub(crate) async fn open(
        args: &ListenArgs,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ListenError> {
        let [api, verdicts] = handed(args.doors.listen_fd_names.as_deref())?;
        let api = match api {
            Some(api) => taken(api, "ECHO_LISTEN")?,
            None => bind(args.listen, "ECHO_LISTEN").await?,
        };
        let verdicts = match (verdicts, args.gate_listen) {
            (Some(verdicts), _) => Some(taken(verdicts, "ECHO_GATE_LISTEN")?),
            (None, Some(address)) => Some(bind(address, "ECHO_GATE_LISTEN").await?),
            (None, None) => None,
        };
        let budget = args
            .doors
            .intake_bytes
            .unwrap_or_else(|| cgroup::budget(cgroup::memory_limit()));
        Ok(Self {
            api,
            verdicts,
            intake: Intake::new(budget, Arc::clone(metrics)),
        })
    }

    /// The listener that proxies ask.
    pub(crate) fn asked_by_proxies(&self) -> &TcpListener {
        self.verdicts.as_ref().unwrap_or(&self.api)
    }
}

/// Sockets that were handed over, in the order of [`NAMES`]. Without names the first is the API's,
/// the second the gate's.
fn handed(names: Option<&str>) -> Result<[Option<Handed>; 2], ListenError> {
    let mut all = ListenFd::from_env();
    let names: Vec<_> = names
        .map(|names| names.split(':').collect())
        .unwrap_or_default();
    let mut found = [None, None];
    for index in 0..all.len() {
        let name = names
            .get(index)
            .copied()
            .or(NAMES.get(index).copied().filter(|_| names.is_empty()))
            .unwrap_or("");
        let place = NAMES
            .iter()
            .position(|known| *known == name)
            .and_then(|place| found.get_mut(place));
        let Some(place) = place.filter(|place: &&mut Option<Handed>| place.is_none()) else {
            return Err(ListenError::Config(ConfigError {
                variable: "LISTEN_FDNAMES",
                expected: format!("one socket named api and at most one named gate, not `{name}`"),
                fix: "Write FileDescriptorName=api into the .socket unit of the API, gate into the gate's, one ListenStream= in each.".to_owned(),
            }));
        };
        let socket = all.take_tcp_listener(index).map_err(|error| {
            ListenError::failed(
                &format!("socket {name} that was handed over listens on no TCP port"),
                error,
            )
        })?;
        *place = socket;
    }
    Ok(found)
}

fn taken(socket: Handed, instead_of: &'static str) -> Result<TcpListener, ListenError> {
    tracing::info!("a socket was handed over; {instead_of} is not looked at");
    let listener = socket
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(socket));
    listener
        .map_err(|error| ListenError::failed("a socket that was handed over cannot be used", error))
}

/// Binds an address; the error names the variable.
async fn bind(address: SocketAddr, variable: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("cannot listen on {address}: {error}");
        let wrong = |expected: &str, fix: &str| {
            let fix = format!("{what}. {fix}");
            ListenError::Config(ConfigError { variable, expected: expected.to_owned(), fix })
        };
        match error.kind() {
            ErrorKind::AddrNotAvailable => {
                wrong("an address of this machine", "Name one of its own; 0.0.0.0 or [::] means all of them.")
            }
            ErrorKind::PermissionDenied => {
                wrong("a port that this process may listen on", "Name one above 1023, or allow it the one it asks for.")
            }
            ErrorKind::AddrInUse => ListenError::Failed(format!(
                "{variable}: {what}. Another process has it: stop that one, or set {variable} to another port."
            )),
            _ => ListenError::Failed(format!("{variable}: {what}")),
        }
    })
}
