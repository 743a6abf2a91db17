//! A gate's own Lease: what it obeys, told every ten seconds, and at once when a hold came or went.
//!
//! This is the leader's read-back of the gates (`gates.rs`); nobody else reads it, and no gate
//! waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::hold::Epoch;
use crate::domain::throttle::ThrottleName;
use crate::latch::HoldRegistry;
use crate::latch::watch::Obeyed;
use crate::ports::Clock;

use super::watched::WatchedState;

/// Label of the Leases that gates keep.
pub const ROLE_LABEL: (&str, &str) = ("echo-phoenix.dev/role", "gate");
/// Annotation with a [`GateReport`].
pub const GATE_REPORT: &str = "echo-phoenix.dev/obeys";
/// How often a gate speaks when nothing happens.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// Pause after a failed write.
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// Throttles whose counters fit into one Lease: at about 60 bytes each, far below the 256 KiB of
/// annotations.
const COUNTED: usize = 1000;
/// Shortest window over which a rate is told.
const WINDOW: Duration = Duration::from_secs(5);

/// What a gate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateReport {
    /// The newest kill hold it obeys; empty for none.
    pub newest_hold: String,
    /// Digest of all kill holds it obeys, see [`digest`].
    pub holds_digest: String,
    /// Requests offered a minute, by throttle, where any were.
    #[serde(default)]
    pub offered_rpm: BTreeMap<String, u64>,
}

/// A digest of who is killed by what, the same for the same set in any order.
pub fn digest(kills: impl IntoIterator<Item = (ThrottleName, Epoch)>) -> String {
    let mut all: Vec<_> = kills
        .into_iter()
        .map(|(name, epoch)| format!("{name}={epoch}\n"))
        .collect();
    all.sort();
    let mut hash = Sha256::new();
    all.iter().for_each(|line| hash.update(line.as_bytes()));
    hex::encode(hash.finalize())
}

/// Tells what the gate of this process obeys.
pub struct Heartbeat {
    /// The way to the API server.
    pub client: Client,
    /// Where the Lease lives.
    pub namespace: String,
    /// Name that no other gate has.
    pub identity: String,
    /// What was seen; only throttles that still exist are spoken of.
    pub watched: Arc<WatchedState>,
    /// What holds here.
    pub holds: Arc<HoldRegistry>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Heartbeat {
    /// Runs until told to stop; then takes its Lease away, so that a gate that left is not counted
    /// as silent.
    pub async fn run(self, shutdown: CancellationToken) {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = format!("echo-phoenix-gate-{}", self.identity);
        let mut last: Option<(Duration, BTreeMap<ThrottleName, u64>)> = None;
        let mut rates = BTreeMap::new();
        let mut moved = false;
        while !shutdown.is_cancelled() {
            let obeyed = self.obeyed();
            self.measure(&obeyed, &mut last, &mut rates);
            let word = word(&obeyed, &rates);
            let pause = match timeout(WRITE_LIMIT, self.write(&api, &name, &word)).await {
                // Once more as soon as there is a whole window since: the leader opens by that.
                Ok(Ok(())) => {
                    if moved {
                        WINDOW
                    } else {
                        HEARTBEAT_INTERVAL
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the heartbeat was not written");
                    AFTER_ERROR
                }
                Err(_) => AFTER_ERROR,
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(pause) => moved = false,
                () = self.watched.gates_moved() => moved = true,
            }
        }
        let _ = timeout(WRITE_LIMIT, api.delete(&name, &DeleteParams::default())).await;
    }

    fn obeyed(&self) -> Vec<Obeyed> {
        let mut all = self.holds.obeyed();
        let index = self.watched.index();
        all.retain(|one| index.find(&one.name).is_some());
        all
    }

    fn measure(
        &self,
        obeyed: &[Obeyed],
        last: &mut Option<(Duration, BTreeMap<ThrottleName, u64>)>,
        rates: &mut BTreeMap<String, u64>,
    ) {
        let now = self.clock.elapsed();
        let elapsed = last.as_ref().map(|(at, _)| now.saturating_sub(*at));
        if elapsed.is_some_and(|elapsed| elapsed < WINDOW) {
            return;
        }
        rates.clear();
        if let (Some((_, before)), Some(elapsed)) = (last.as_ref(), elapsed) {
            for one in obeyed {
                let more =
                    one.offered - before.get(&one.name).copied().unwrap_or(0).min(one.offered);
                let seconds = elapsed.as_secs().max(1);
                if more > 0 && rates.len() < COUNTED {
                    rates.insert(one.name.to_string(), more * 60 / seconds);
                }
            }
        }
        *last = Some((
            now,
            obeyed
                .iter()
                .map(|one| (one.name.clone(), one.offered))
                .collect(),
        ));
    }

    async fn write(
        &self,
        api: &Api<Lease>,
        name: &str,
        word: &GateReport,
    ) -> Result<(), kube::Error> {
        let text = serde_json::to_string(word).unwrap_or_default();
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(30),
            renew_time: Some(MicroTime(self.clock.now())),
            ..LeaseSpec::default()
        };
        let params = PostParams::default();
        match api.get_opt(name).await? {
            Some(mut lease) => {
                lease.metadata.managed_fields = None;
                lease.annotations_mut().insert(GATE_REPORT.to_owned(), text);
                lease.spec = Some(spec);
                api.replace(name, &params, &lease).await.map(|_| ())
            }
            None => {
                let labels = BTreeMap::from([(ROLE_LABEL.0.to_owned(), ROLE_LABEL.1.to_owned())]);
                let annotations = BTreeMap::from([(GATE_REPORT.to_owned(), text)]);
                let metadata = ObjectMeta {
                    name: Some(name.to_owned()),
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                };
                api.create(
                    &params,
                    &Lease {
                        metadata,
                        spec: Some(spec),
                    },
                )
                .await
                .map(|_| ())
            }
        }
    }
}

fn word(obeyed: &[Obeyed], rates: &BTreeMap<String, u64>) -> GateReport {
    let kills = obeyed.iter().flat_map(|one| {
        one.kills
            .iter()
            .map(|epoch| (one.name.clone(), epoch.clone()))
    });
    let newest = obeyed.iter().filter_map(|one| one.kills.last()).next_back();
    GateReport {
        newest_hold: newest.map(|epoch| epoch.0.clone()).unwrap_or_default(),
        holds_digest: digest(kills),
        offered_rpm: rates.clone(),
    }
}
