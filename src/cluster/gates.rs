//! The gates of a cluster as a target: read back from the Lease each of them keeps.
//!
//! There is nothing to apply: gates close on what they see, and open to the status the leader
//! writes after the pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::domain::target::{Action, GateReadBack, ReadBack, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{Clock, Target, TargetError};

use super::heartbeat::{GATE_REPORT, GateReport, ROLE_LABEL, digest};
use super::watched::WatchedState;

/// A gate that was silent for longer is gone; before that it counts as one that does not obey.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// A gate that was silent for longer does not count as obeying.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// How long a list may take.
const LIST_LIMIT: Duration = Duration::from_secs(2);
/// One list serves all throttles of a pass.
const FRESH: Duration = Duration::from_millis(500);

/// What one gate said last.
#[derive(Clone, Debug)]
struct Heard {
    /// Version of its Lease: another one is another word, even if it says the same.
    version: String,
    /// When that was seen first, by our clock. What the gate wrote down is by a clock of its own,
    /// and never asked.
    at: Duration,
    /// When the word before was seen first: what this one counts began no later than that was read.
    before: Option<Duration>,
    word: GateReport,
}

/// What all of them said, by the name of their Lease.
#[derive(Debug, Default)]
struct Words {
    /// When they were listed last.
    listed: Option<Duration>,
    heard: BTreeMap<String, Heard>,
}

/// What was declared, and what gates that obey it say they hold.
type ExpectedDigest = (Vec<Arc<Declared>>, String);

/// The gates of a cluster.
pub struct ClusterGates {
    api: Api<Lease>,
    watched: Arc<WatchedState>,
    clock: Arc<dyn Clock>,
    words: Mutex<Words>,
    expected: Mutex<Option<ExpectedDigest>>,
    /// Throttles are read at the same time, and one list serves them all.
    listing: tokio::sync::Mutex<()>,
}

impl ClusterGates {
    /// Gates whose Leases are in this namespace.
    pub fn new(
        client: Client,
        namespace: &str,
        watched: Arc<WatchedState>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            watched,
            clock,
            words: Mutex::default(),
            expected: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
        }
    }

    async fn words(&self) -> Result<Vec<Heard>, TargetError> {
        let _one_at_a_time = self.listing.lock().await;
        let now = self.clock.elapsed();
        {
            let words = self.words.lock();
            if words
                .listed
                .is_some_and(|at| now.saturating_sub(at) < FRESH)
            {
                return Ok(words.heard.values().cloned().collect());
            }
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
        let mut words = self.words.lock();
        words.listed = Some(now);
        let mut before = std::mem::take(&mut words.heard);
        for lease in &list.items {
            let Some(heard) = heard(lease, now) else {
                continue;
            };
            let name = lease.name_any();
            let heard = match before.remove(&name) {
                Some(known) if known.version == heard.version => known,
                known => Heard {
                    before: known.map(|known| known.at),
                    ..heard
                },
            };
            words.heard.insert(name, heard);
        }
        Ok(words.heard.values().cloned().collect())
    }

    /// The digest of the kills that these throttles have: worked out once for all that are read
    /// until one of them changes.
    fn expected(&self, all: Vec<Arc<Declared>>) -> String {
        let mut expected = self.expected.lock();
        let same = |(known, _): &&ExpectedDigest| {
            let mut both = known.iter().zip(&all);
            known.len() == all.len() && both.all(|(known, one)| Arc::ptr_eq(known, one))
        };
        if let Some((_, digest)) = expected.as_ref().filter(same) {
            return digest.clone();
        }
        let digest = digest_of(all.iter().map(Arc::as_ref));
        *expected = Some((all, digest.clone()));
        digest
    }
}

/// The digest of the kills that these throttles have.
fn digest_of<'a>(all: impl Iterator<Item = &'a Declared>) -> String {
    digest(all.flat_map(|declared| {
        let kills = declared.holds.iter().filter(|hold| hold.is_kill());
        kills.map(|hold| (declared.name.clone(), hold.epoch.clone()))
    }))
}

fn heard(lease: &Lease, at: Duration) -> Option<Heard> {
    let word = serde_json::from_str(lease.annotations().get(GATE_REPORT)?).ok()?;
    Some(Heard {
        version: lease.resource_version()?,
        at,
        before: None,
        word,
    })
}

#[async_trait]
impl Target for ClusterGates {
    async fn read(&self, throttle: &Declared, _spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let all = self.watched.index().declared();
        let is_told =
            |one: &Arc<Declared>| one.name != throttle.name || one.holds == throttle.holds;
        let expected = if all.iter().all(is_told) {
            self.expected(all)
        } else {
            // A kill that no object tells of yet is obeyed by nobody who goes by objects.
            digest_of(all.iter().map(|one| {
                if one.name == throttle.name {
                    throttle
                } else {
                    one.as_ref()
                }
            }))
        };
        let words = self.words().await?;
        let now = self.clock.elapsed();
        let age = |one: &Heard| now.saturating_sub(one.at);
        let alive: Vec<_> = words.iter().filter(|one| age(one) < GONE_AFTER).collect();
        let obeying = alive
            .iter()
            .filter(|one| age(one) < SILENT_AFTER && one.word.holds_digest == expected);
        let offered: u64 = alive
            .iter()
            .filter_map(|one| one.word.offered_rpm.get(throttle.name.as_str()))
            .sum();
        // Whole once every gate has spoken twice since: what it says then it counted after the
        // first time.
        let from = alive.iter().map(|one| one.before).min().flatten();
        let oldest = alive
            .iter()
            .map(|one| age(one).as_secs())
            .max()
            .unwrap_or(0);
        Ok(ReadBack::Gate(GateReadBack {
            gates: i32::try_from(alive.len()).unwrap_or(i32::MAX),
            obeying: i32::try_from(obeying.count()).unwrap_or(i32::MAX),
            oldest_age_s: i64::try_from(oldest).unwrap_or(i64::MAX),
            offered_rpm: f64::from(u32::try_from(offered).unwrap_or(u32::MAX)),
            measured_from: from,
            level: None,
            // A hold that has ended is declared until a pass has seen it.
            held: false,
            refused: None,
            off: false,
            callers: None,
        }))
    }

    async fn apply(&self, _throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        match action {
            Action::SetGate { .. } => Ok(()),
            _ => Err(TargetError::Refused("a gate has no replicas".to_owned())),
        }
    }
}
