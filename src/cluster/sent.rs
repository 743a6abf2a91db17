//! What this process sent to the API server for holds of REST: which of their objects may be there, whatever was heard.
//!
//! A create that nobody answered may land at any time later. Whoever sent it answers for it: what may be there of a hold that
//! has ended is looked for and deleted. Waits for nothing; knows no objects.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::hold::{Epoch, ScopedHold};
use crate::ports::DesiredError;

/// The holds, by what was sent for each.
#[derive(Default)]
pub(super) struct Sent(Mutex<BTreeMap<Epoch, One>>);

struct One {
    held: ScopedHold,
    /// Creates of which nobody knows what became.
    unheard: usize,
    /// Its object was made, and the record does not have the hold yet. None is made twice: whoever deletes one ends it.
    made: bool,
    /// It has ended.
    over: bool,
}

impl One {
    /// Whether anything of it may be there, or come.
    fn may_be(&self) -> bool {
        self.made || self.unheard > 0
    }
}

impl Sent {
    /// A create is sent; false if there is nothing to be made: it was made, or the hold has ended.
    pub(super) fn begins(&self, held: &ScopedHold) -> bool {
        let mut all = self.lock();
        let new = || One { held: held.clone(), unheard: 0, made: false, over: false };
        let one = all.entry(held.hold.epoch.clone()).or_insert_with(new);
        let begins = !(one.made || one.over);
        one.unheard += usize::from(begins);
        begins
    }

    /// A create was answered; answers whether its hold has ended meanwhile. Who stops waiting for it has heard nothing.
    pub(super) fn heard(&self, epoch: &Epoch, made: &Result<(), DesiredError>) -> bool {
        let mut all = self.lock();
        let Some(one) = all.get_mut(epoch) else { return false };
        // Whatever else an API server says, it may have made it.
        if !matches!(made, Err(DesiredError::Unavailable(_) | DesiredError::Undecided)) {
            one.unheard = one.unheard.saturating_sub(1);
        }
        one.made |= made.is_ok();
        let (over, may_be) = (one.over, one.may_be());
        if !may_be {
            all.remove(epoch);
        }
        over
    }

    /// The record has this hold.
    pub(super) fn recorded(&self, epoch: &Epoch) {
        let mut all = self.lock();
        let Some(one) = all.get_mut(epoch).filter(|one| !one.over) else { return };
        one.made = false;
        if !one.may_be() {
            all.remove(epoch);
        }
    }

    /// This hold has ended; answers it if an object of it may be there, or come.
    pub(super) fn over(&self, epoch: &Epoch) -> Option<ScopedHold> {
        let mut all = self.lock();
        let one = all.get_mut(epoch)?;
        one.over = true;
        Some(one.held.clone())
    }

    /// Holds that have ended and of which something may be there.
    pub(super) fn left_behind(&self) -> Vec<ScopedHold> {
        self.lock().values().filter(|one| one.over).map(|one| one.held.clone()).collect()
    }

    /// Nothing of this one is there. What comes yet is seen as it comes.
    pub(super) fn gone(&self, epoch: &Epoch) {
        self.lock().remove(epoch);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Epoch, One>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
