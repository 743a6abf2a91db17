//! What this process sent to the API server for holds of REST: which of their objects may be there,
//! whatever was heard.
//!
//! A create that nobody answered may land at any time later. Whoever sent it answers for it: what
//! may be there of a hold that has ended is looked for and deleted. Another object that bears the
//! hold's id is none of its business. Waits for nothing; knows no objects.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::hold::{Epoch, Scope, ScopedHold, Source};
use crate::ports::DesiredError;

use super::override_objects::name_of;

/// How long after it was sent a create may land: an API server gives up a request after 60 s,
/// whatever its client does.
const LANDS: Duration = Duration::from_secs(300);

/// The holds, by what was sent for each.
#[derive(Default)]
pub(super) struct Sent(Mutex<BTreeMap<Epoch, One>>);

struct One {
    held: ScopedHold,
    /// Creates of which nobody knows what became,
    unheard: usize,
    /// and when the newest of all was sent.
    at: Duration,
    /// Its object was made, and the record does not have the hold yet. None is made twice: whoever
    /// deletes one ends it.
    made: bool,
    /// It has ended.
    over: bool,
}

impl One {
    /// Whether something of it may land by now.
    fn may_come(&self, now: Duration) -> bool {
        self.unheard > 0 && now.saturating_sub(self.at) < LANDS
    }

    /// Whether anything of it may be there, or come.
    fn may_be(&self, now: Duration) -> bool {
        self.made || self.may_come(now)
    }

    /// Whether this object is the one that a create of ours makes.
    fn is_of(&self, source: &Source) -> bool {
        let Source::Override {
            namespace, name, ..
        } = source
        else {
            return false;
        };
        let home = match &self.held.scope {
            Scope::All => None,
            Scope::One(throttle) => throttle.split().map(|(namespace, _)| namespace),
        };
        namespace.as_deref() == home && *name == name_of(&self.held)
    }
}

impl Sent {
    /// A create is sent; false if there is nothing to be made: it was made, or the hold has ended.
    pub(super) fn begins(&self, held: &ScopedHold, now: Duration) -> bool {
        let mut all = self.0.lock();
        let new = || One {
            held: held.clone(),
            unheard: 0,
            at: now,
            made: false,
            over: false,
        };
        let one = all.entry(held.hold.epoch.clone()).or_insert_with(new);
        let begins = !(one.made || one.over);
        if begins {
            (one.unheard, one.at) = (one.unheard + 1, now);
        }
        begins
    }

    /// A create was answered; answers whether its hold has ended meanwhile. Who stops waiting for
    /// it has heard nothing.
    pub(super) fn heard(
        &self,
        epoch: &Epoch,
        made: &Result<(), DesiredError>,
        now: Duration,
    ) -> bool {
        let mut all = self.0.lock();
        let Some(one) = all.get_mut(epoch) else {
            return false;
        };
        // Whatever else an API server says, it may have made it.
        if !matches!(
            made,
            Err(DesiredError::Unavailable(_) | DesiredError::Undecided)
        ) {
            one.unheard = one.unheard.saturating_sub(1);
        }
        one.made |= made.is_ok();
        let (over, may_be) = (one.over, one.may_be(now));
        if !may_be {
            all.remove(epoch);
        }
        over
    }

    /// The record has this hold.
    pub(super) fn recorded(&self, epoch: &Epoch, now: Duration) {
        let mut all = self.0.lock();
        let Some(one) = all.get_mut(epoch).filter(|one| !one.over) else {
            return;
        };
        one.made = false;
        if !one.may_be(now) {
            all.remove(epoch);
        }
    }

    /// This hold has ended; answers it if an object of it may be there, or come.
    pub(super) fn over(&self, epoch: &Epoch) -> Option<ScopedHold> {
        let mut all = self.0.lock();
        let one = all.get_mut(epoch)?;
        one.over = true;
        Some(one.held.clone())
    }

    /// This object was deleted; answers the hold that has ended by that, if it is the one that was
    /// sent.
    pub(super) fn deleted(&self, epoch: &Epoch, source: &Source) -> Option<ScopedHold> {
        let mut all = self.0.lock();
        let one = all.get_mut(epoch).filter(|one| one.is_of(source))?;
        one.over = true;
        Some(one.held.clone())
    }

    /// Whether this object is what was sent for a hold that has ended. One that comes when nothing
    /// may land any more is somebody's new one.
    pub(super) fn is_left(&self, epoch: &Epoch, source: &Source, now: Duration) -> bool {
        self.0
            .lock()
            .get(epoch)
            .is_some_and(|one| one.over && one.may_be(now) && one.is_of(source))
    }

    /// Holds that have ended and of which something may be there, or come.
    pub(super) fn left_behind(&self, now: Duration) -> Vec<ScopedHold> {
        let mut all = self.0.lock();
        all.retain(|_, one| !one.over || one.may_be(now));
        all.values()
            .filter(|one| one.over)
            .map(|one| one.held.clone())
            .collect()
    }

    /// Nothing of this one is there now. What comes yet is looked for.
    pub(super) fn gone(&self, epoch: &Epoch) {
        if let Some(one) = self.0.lock().get_mut(epoch) {
            one.made = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::hold::{Hold, HoldEffect};

    const LATE: Result<(), DesiredError> = Err(DesiredError::Undecided);

    fn held() -> ScopedHold {
        let text = || "test".to_owned();
        let hold = Hold {
            epoch: Epoch("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned()),
            bite: HoldEffect::Kill,
            source: Source::Rest,
            reason: text(),
            operator: text(),
            taken_at: Timestamp::UNIX_EPOCH,
        };
        ScopedHold {
            scope: Scope::All,
            hold,
        }
    }

    fn object(namespace: Option<&str>) -> Source {
        Source::Override {
            namespace: namespace.map(str::to_owned),
            name: name_of(&held()),
            uid: "1".to_owned(),
            namespace_uid: None,
            definition_uid: None,
        }
    }

    /// Somebody's copy of its name is neither its end nor what it left behind.
    #[test]
    fn only_the_object_that_was_sent_ends_a_hold_and_is_left_behind() {
        let (sent, held, now) = (Sent::default(), held(), Duration::ZERO);
        let epoch = &held.hold.epoch;
        assert!(sent.begins(&held, now) && !sent.heard(epoch, &LATE, now));
        assert_eq!(sent.deleted(epoch, &object(Some("evil"))), None);
        assert!(sent.begins(&held, now), "it has not ended");
        assert!(sent.left_behind(now).is_empty());
        assert_eq!(sent.over(epoch), Some(held.clone()));
        assert!(
            !sent.begins(&held, now),
            "nothing is made of what has ended"
        );
        assert!(sent.is_left(epoch, &object(None), now));
        assert!(!sent.is_left(epoch, &object(Some("evil")), now));
        assert_eq!(sent.left_behind(now), [held]);
    }

    /// What comes when no create may land any more is somebody's new one.
    #[test]
    fn a_create_that_was_not_heard_may_land_for_so_long_and_no_longer() {
        let (sent, held) = (Sent::default(), held());
        let epoch = &held.hold.epoch;
        assert!(sent.begins(&held, Duration::ZERO));
        sent.over(epoch);
        let last = LANDS.saturating_sub(Duration::from_millis(1));
        assert!(sent.is_left(epoch, &object(None), last));
        assert!(!sent.is_left(epoch, &object(None), LANDS));
        assert!(sent.left_behind(LANDS).is_empty());
    }
}
