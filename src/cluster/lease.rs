//! Leadership after client-go: one Lease, taken by compare-and-swap on its resourceVersion.
//!
//! Whether another leader is alive is judged by our own monotonic clock since we last saw its Lease
//! change, never by the times written in it. When renewing fails for the deadline, we stop leading
//! before anybody else may start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ports::{Clock, Leadership};

use super::watched::WatchedState;

/// Name of the Lease that the leader holds.
pub const LEASE_NAME: &str = "echo-phoenix-operator";
/// How long a Lease lasts that is not renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long we lead without a renewal.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often we try.
const RETRY: Duration = Duration::from_secs(2);
/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(3);

/// Whether this process leads, as its candidate says.
pub struct LeaderFlag {
    watched: Arc<WatchedState>,
    leads: AtomicBool,
}

impl LeaderFlag {
    /// It does not lead yet; nor does it before `watched` has seen everything once.
    pub fn new(watched: Arc<WatchedState>) -> Self {
        Self {
            watched,
            leads: AtomicBool::new(false),
        }
    }

    /// Whether this process leads from now on.
    pub fn set_leader(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::AcqRel) != leads {
            tracing::info!(leads, "leadership changed");
            self.watched.forget_passes();
        }
    }
}

impl Leadership for LeaderFlag {
    fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire) && self.watched.loaded()
    }
}

/// One candidate.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    clock: Arc<dyn Clock>,
    leader: Arc<LeaderFlag>,
}

/// What a candidate has seen of the Lease: its version, and when that last changed by our clock.
#[derive(Clone, Debug, PartialEq)]
struct Sight {
    version: String,
    at: Duration,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// It is ours: renew it.
    Renew,
    /// It is free or its holder was silent for too long: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// The rule: what a candidate does about a Lease it sees.
pub fn judge(holder: Option<&str>, identity: &str, unchanged_for: Duration) -> LeaseAction {
    match holder {
        Some(holder) if holder == identity => LeaseAction::Renew,
        None | Some("") => LeaseAction::Take,
        Some(_) if unchanged_for > DURATION => LeaseAction::Take,
        Some(_) => LeaseAction::Wait,
    }
}

impl Candidate {
    /// A candidate in a namespace, under an identity that no other process has.
    pub fn new(
        client: Client,
        namespace: &str,
        identity: String,
        clock: Arc<dyn Clock>,
        leader: Arc<LeaderFlag>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity,
            clock,
            leader,
        }
    }

    /// Runs until told to stop; then gives the Lease up, so that the next one need not wait.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut sight: Option<Sight> = None;
        let mut renewed: Option<Duration> = None;
        while !shutdown.is_cancelled() {
            let began = self.clock.elapsed();
            match timeout(TRY_LIMIT, self.attempt(&mut sight)).await {
                // Counted from before the call: others count from after it.
                Ok(Ok(true)) => renewed = Some(began),
                Ok(Ok(false)) => renewed = None,
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the API server was silent about the lease"),
            }
            let leads =
                renewed.is_some_and(|at| self.clock.elapsed().saturating_sub(at) < DEADLINE);
            self.leader.set_leader(leads);
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(RETRY) => {}
            }
        }
        self.leader.set_leader(false);
        let _ = timeout(TRY_LIMIT, self.release()).await;
    }

    /// One try; true if the Lease is ours after it.
    async fn attempt(&self, sight: &mut Option<Sight>) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(LEASE_NAME).await? else {
            let metadata = ObjectMeta {
                name: Some(LEASE_NAME.to_owned()),
                ..ObjectMeta::default()
            };
            let lease = Lease {
                metadata,
                spec: Some(self.spec(None, true)),
            };
            return settled(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.resource_version().unwrap_or_default();
        let now = self.clock.elapsed();
        let seen = match sight.take() {
            Some(seen) if seen.version == version => seen,
            _ => Sight { version, at: now },
        };
        let unchanged_for = now.saturating_sub(seen.at);
        *sight = Some(seen);
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        let turn = judge(holder, &self.identity, unchanged_for);
        if turn == LeaseAction::Wait {
            return Ok(false);
        }
        lease.metadata.managed_fields = None;
        lease.spec = Some(self.spec(lease.spec.as_ref(), turn == LeaseAction::Take));
        settled(
            self.api
                .replace(LEASE_NAME, &PostParams::default(), &lease)
                .await,
        )
    }

    fn spec(&self, before: Option<&LeaseSpec>, taken: bool) -> LeaseSpec {
        let now = MicroTime(self.clock.now());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            renew_time: Some(now.clone()),
            acquire_time: before
                .filter(|_| !taken)
                .and_then(|spec| spec.acquire_time.clone())
                .or(Some(now)),
            lease_transitions: Some(transitions + i32::from(taken && before.is_some())),
            ..LeaseSpec::default()
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(LEASE_NAME).await? else {
            return Ok(());
        };
        let Some(spec) = lease.spec.as_mut() else {
            return Ok(());
        };
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = None;
        lease.metadata.managed_fields = None;
        self.api
            .replace(LEASE_NAME, &PostParams::default(), &lease)
            .await
            .map(|_| ())
    }
}

/// A write that lost against another candidate's is no error: it is not ours.
fn settled<T>(written: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
