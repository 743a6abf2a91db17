//! When a throttle is looked at though nothing woke it: at ticks of its own, so that thousands are
//! spread evenly, whatever woke them all at once.
//!
//! Pure; a moment is an argument.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::domain::throttle::ThrottleName;

use super::started::NextLook;

/// The period of the ticks: the control law's tick.
pub(super) const TICK: Duration = Duration::from_secs(5);

/// The pause while something asked for is not in force or not read back yet.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long until the next pass of a throttle, from this moment of the monotonic clock.
pub(super) fn pause(name: &ThrottleName, next: NextLook, now: Duration) -> Duration {
    let tick = until_tick(name, now);
    match next {
        NextLook::Tick(within) => within.map_or(tick, |within| within.min(tick)),
        NextLook::Soon(within) => within.map_or(LOOK_AGAIN, |within| within.min(LOOK_AGAIN)),
    }
}

/// How long until the next tick of a throttle: never longer than one, and never nothing.
fn until_tick(name: &ThrottleName, now: Duration) -> Duration {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let period = millis(TICK);
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let phase = hasher.finish() % period;
    let passed = (millis(now) + period - phase) % period;
    Duration::from_millis(period - passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> ThrottleName {
        ThrottleName::try_from(format!("t{number}")).unwrap()
    }

    /// Of 2,000 that were all woken at once, each tenth of a tick has its share.
    #[test]
    fn ticks_are_spread_evenly() {
        for now in [0, 1, 4_999, 5_000, 86_400_123] {
            let mut slots = [0_u32; 10];
            for number in 0..2_000 {
                let pause = until_tick(&name(number), Duration::from_millis(now));
                assert!(pause > Duration::ZERO && pause <= TICK, "{pause:?}");
                let slot = (pause - Duration::from_millis(1)).as_millis() / 500;
                slots[usize::try_from(slot).unwrap()] += 1;
            }
            assert!(
                slots.iter().all(|slot| (150..=250).contains(slot)),
                "{slots:?}"
            );
        }
    }

    /// The next pass after one at its tick is a whole tick later.
    #[test]
    fn a_tick_follows_a_tick_by_its_period() {
        let at = until_tick(&name(1), Duration::ZERO);
        assert_eq!(until_tick(&name(1), at), TICK);
        let late = at + Duration::from_millis(40);
        assert_eq!(until_tick(&name(1), late), TICK - Duration::from_millis(40));
    }

    #[test]
    fn what_is_not_read_back_is_looked_at_soon() {
        let soon = |within| pause(&name(1), NextLook::Soon(within), Duration::ZERO);
        assert_eq!(soon(None), LOOK_AGAIN);
        let sooner = Duration::from_millis(7);
        assert_eq!(soon(Some(sooner)), sooner);
        assert_eq!(soon(Some(TICK)), LOOK_AGAIN);
        let tick = pause(&name(1), NextLook::Tick(Some(sooner)), Duration::ZERO);
        assert_eq!(tick, sooner.min(until_tick(&name(1), Duration::ZERO)));
    }
}
