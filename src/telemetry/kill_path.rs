//! Where the kill path was proven, and when: what the self-test found, for `/metrics` and
//! `/health`.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

/// What was last found of one way to the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whether the last try admitted while open and refused while killed; otherwise what went
    /// wrong.
    pub found: Result<(), String>,
    /// When it last did, by the monotonic clock; none if it never did.
    pub proven_at: Option<Duration>,
}

/// Every way that is tried: `listener` and, by throttle, the canaries.
#[derive(Debug, Default)]
pub struct KillPath(Mutex<BTreeMap<String, Proof>>);

impl KillPath {
    /// Takes what one round found, way by way; ways that were not tried any more are forgotten.
    pub fn note(&self, found: Vec<(String, Result<(), String>)>, at: Duration) {
        let mut all = self.0.lock();
        let before = std::mem::take(&mut *all);
        for (via, found) in found {
            let earlier = before.get(&via).and_then(|proof| proof.proven_at);
            let proven_at = if found.is_ok() { Some(at) } else { earlier };
            all.insert(via, Proof { found, proven_at });
        }
    }

    /// Everything that is known.
    pub fn all(&self) -> Vec<(String, Proof)> {
        self.0
            .lock()
            .iter()
            .map(|(via, proof)| (via.clone(), proof.clone()))
            .collect()
    }

    /// What is wrong, if anything is; none before the first round.
    pub fn trouble(&self) -> Option<Result<(), String>> {
        let all = self.0.lock();
        let wrong = all.iter().find_map(|(via, proof)| {
            proof
                .found
                .as_ref()
                .err()
                .map(|why| format!("{via}: {why}"))
        });
        (!all.is_empty()).then(|| wrong.map_or(Ok(()), Err))
    }
}
