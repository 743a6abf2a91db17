//! The gates of a cluster as a target: read back from the Lease each of them keeps.
//!
//! There is nothing to apply: gates close on what they see, and open to the status the leader writes after the pass.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::timeout;

use crate::domain::plan::{Action, GateReadBack, ReadBack};
use crate::domain::throttle::{Declared, TargetSpec, ThrottleName};
use crate::ports::{Clock, Target, TargetError};

use super::desired::ClusterDesired;
use super::heartbeat::{ROLE_LABEL, WORD, Word, digest};

/// A gate that was silent for longer is gone; before that it counts as one that does not obey.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// A gate that was silent for longer does not count as obeying.
const SILENT_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How long a list may take.
const LIST_LIMIT: Duration = Duration::from_secs(2);
/// One list serves all throttles of a pass.
const FRESH: SignedDuration = SignedDuration::from_millis(500);

/// What the gates said, each with when, as of one list.
type Heard = (Timestamp, Vec<(Timestamp, Word)>);

/// The gates of a cluster.
pub struct ClusterGates {
    api: Api<Lease>,
    desired: Arc<ClusterDesired>,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<Heard>>,
}

impl ClusterGates {
    /// Gates whose Leases are in this namespace.
    pub fn new(client: Client, namespace: &str, desired: Arc<ClusterDesired>, clock: Arc<dyn Clock>) -> Self {
        Self { api: Api::namespaced(client, namespace), desired, clock, last: Mutex::new(None) }
    }

    async fn words(&self) -> Result<Vec<(Timestamp, Word)>, TargetError> {
        let now = self.clock.now();
        let cached = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, words)) = cached
            && now.duration_since(at) < FRESH
        {
            return Ok(words);
        }
        let labelled = ListParams::default().labels(&format!("{}={}", ROLE_LABEL.0, ROLE_LABEL.1));
        let list = match timeout(LIST_LIMIT, self.api.list(&labelled)).await {
            Ok(Ok(list)) => list,
            Ok(Err(error)) => return Err(TargetError::Unavailable(error.to_string())),
            Err(_) => {
                return Err(TargetError::Unavailable(
                    "the API server did not list the gates' leases in time".to_owned(),
                ));
            }
        };
        let words: Vec<_> = list.items.iter().filter_map(heard).collect();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, words.clone()));
        Ok(words)
    }
}

fn heard(lease: &Lease) -> Option<(Timestamp, Word)> {
    let at = lease.spec.as_ref()?.renew_time.as_ref()?.0;
    let word = serde_json::from_str(lease.annotations().get(WORD)?).ok()?;
    Some((at, word))
}

#[async_trait]
impl Target for ClusterGates {
    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let now = self.clock.now();
        let expected = digest(self.desired.index().declared().into_iter().flat_map(|declared| {
            let name = declared.name.clone();
            let kills = declared.holds.into_iter().filter(|hold| hold.is_kill());
            kills.map(move |hold| (name.clone(), hold.epoch))
        }));
        let words = self.words().await?;
        let alive: Vec<_> = words.iter().filter(|(at, _)| now.duration_since(*at) < GONE_AFTER).collect();
        let obeying =
            alive.iter().filter(|(at, word)| now.duration_since(*at) < SILENT_AFTER && word.holds_digest == expected);
        let offered: u64 = alive.iter().filter_map(|(_, word)| word.offered_rpm.get(throttle.name.as_str())).sum();
        let oldest = alive.iter().map(|(at, _)| now.duration_since(*at).as_secs()).max().unwrap_or(0);
        Ok(ReadBack::Gate(GateReadBack {
            gates: i32::try_from(alive.len()).unwrap_or(i32::MAX),
            obeying: i32::try_from(obeying.count()).unwrap_or(i32::MAX),
            oldest_age_s: oldest,
            offered_rpm: f64::from(u32::try_from(offered).unwrap_or(u32::MAX)),
            refused: None,
            off: false,
        }))
    }

    async fn apply(&self, _throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        match action {
            Action::SetGate { .. } => Ok(()),
            Action::Scale { .. } => Err(TargetError::Refused("a gate has no replicas".to_owned())),
            Action::Remote { .. } => Err(TargetError::Refused("a gate is here".to_owned())),
        }
    }
}
