//! What is remembered of each client: a table of fixed size, so that a million addresses cost no
//! more than a thousand.
//!
//! When a client finds no room it takes the place of the one nearby that has used least of its
//! limit. So nobody is ever refused for another's sake: whoever is forgotten starts afresh, which
//! only allows more; and those who knock most, whom the limit is for, are remembered longest.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use super::super::client_ip::ClientIp;

/// Places that a client may have. Eight are looked through in no time, and with so many the fullest
/// set is hardly fuller than the others.
const PLACES: usize = 8;
/// Sets of places: 65,536 clients within the minute, some 2 MB.
const SETS: usize = 8192;

/// A client that knocks; or, if it does not spend, one of whom is asked whether it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RateKey {
    pub(super) client: ClientIp,
    pub(super) spends: bool,
}

/// A client, and when its limit will have renewed, nanoseconds of the limiter's clock.
type Place = Option<(ClientIp, u64)>;

/// The table. Where a client stands is decided by a hash with a secret, so nobody can aim at
/// somebody else's place.
pub(super) struct Slots {
    sets: Vec<Mutex<[Place; PLACES]>>,
    secret: RandomState,
    forgotten: Arc<AtomicU64>,
}

impl Default for Slots {
    fn default() -> Self {
        let sets = (0..SETS).map(|_| Mutex::new([None; PLACES])).collect();
        Self {
            sets,
            secret: RandomState::new(),
            forgotten: Arc::default(),
        }
    }
}

impl Slots {
    /// Counts clients that were forgotten while they had more than one request to make up for.
    pub(super) fn forgotten(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.forgotten)
    }

    fn set(&self, client: ClientIp) -> Option<&Mutex<[Place; PLACES]>> {
        let hash = self.secret.hash_one(client) % self.sets.len() as u64;
        self.sets.get(usize::try_from(hash).ok()?)
    }
}

impl StateStore for Slots {
    type Key = RateKey;

    fn measure_and_replace<T, F, E>(
        &self,
        RateKey { client, spends }: &RateKey,
        measure: F,
    ) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(set) = self.set(*client) else {
            return measure(None).map(|(told, _)| told);
        };
        let mut places = set.lock();
        if let Some((_, until)) = places
            .iter_mut()
            .flatten()
            .find(|(known, _)| known == client)
        {
            let (told, next) = measure(Some(Nanos::from(*until)))?;
            if *spends {
                *until = next.into();
            }
            return Ok(told);
        }
        let (told, next) = measure(None)?;
        if !spends {
            return Ok(told);
        }
        let next = u64::from(next);
        // An empty place is less than any other.
        if let Some(place) = places
            .iter_mut()
            .min_by_key(|place| place.map(|(_, until)| until))
        {
            if place.is_some_and(|(_, until)| until > next) {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
            *place = Some((*client, next));
        }
        Ok(told)
    }
}
