//! Who was woken and was not told of yet: each once, however often.
//!
//! Knows names and no throttle; what a wake is good for is the loop's to say.

use std::collections::BTreeSet;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::hold::Scope;
use crate::domain::throttle::ThrottleName;
use crate::ports::{Wake, Woken};
use crate::sync::Mutex;

/// Most names that are kept apart: about as many as passes can begin within a tick. More than that
/// are all of them, which costs no more than a tick does.
const APART: usize = 1_024;

/// Everyone who was woken since somebody last waited for that.
pub struct WakeSet {
    woken: Mutex<Woken>,
    changed: Notify,
}

impl Default for WakeSet {
    fn default() -> Self {
        Self {
            woken: Mutex::new(Woken::Throttles(BTreeSet::new())),
            changed: Notify::new(),
        }
    }
}

impl WakeSet {
    /// Everyone so far, if there is anybody.
    fn take(&self) -> Option<Woken> {
        let mut woken = self.woken.lock();
        if matches!(&*woken, Woken::Throttles(names) if names.is_empty()) {
            return None;
        }
        Some(std::mem::replace(
            &mut *woken,
            Woken::Throttles(BTreeSet::new()),
        ))
    }
}

#[async_trait]
impl Wake for WakeSet {
    fn wake(&self, whom: &Scope) {
        add(&mut self.woken.lock(), whom);
        self.changed.notify_one();
    }

    async fn woken(&self) -> Woken {
        loop {
            if let Some(woken) = self.take() {
                return woken;
            }
            self.changed.notified().await;
        }
    }
}

fn add(woken: &mut Woken, whom: &Scope) {
    let Woken::Throttles(names) = woken else {
        return;
    };
    match whom {
        Scope::One(name) if names.len() < APART || names.contains(name) => {
            names.insert(ThrottleName::clone(name));
        }
        Scope::One(_) | Scope::All => *woken = Woken::All,
    }
}
