//! Whose pass may begin: one at a time for each throttle, and so many at a time in all.
//!
//! What is killed, or has just been, has places of its own: however many others are slow, a stop
//! finds one. Pure: knows no time; when a throttle is due is its caller's to say.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::throttle::ThrottleName;

/// Passes that read and close at the same time in one lane: each waits for its calls a moment.
pub(super) const PLACES: usize = 64;

/// Which places a pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PassLane {
    /// Everybody's.
    Normal,
    /// Those of throttles that are killed, or whose kill has just ended here.
    Kill,
}

/// Where one throttle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    /// Nothing is to be done.
    Idle,
    /// It waits for a place.
    Ready(PassLane),
    /// Its pass is under way: where it has a place, if it still needs one; whether another one is to
    /// follow at once, and where.
    Running(Option<PassLane>, Option<PassLane>),
}

/// Every throttle, and the passes under way.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    throttles: BTreeMap<ThrottleName, LaneState>,
    kill: Queue,
    normal: Queue,
}

/// Who waits in one lane, and how many are under way. A name stays here when it changes its lane:
/// then its state says so, and it is passed over.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<ThrottleName>,
    running: usize,
}

impl Lanes {
    /// Whether this throttle is known.
    pub(super) fn knows(&self, name: &ThrottleName) -> bool {
        self.throttles.contains_key(name)
    }

    /// Whether a pass of this throttle is under way.
    pub(super) fn is_running(&self, name: &ThrottleName) -> bool {
        matches!(self.throttles.get(name), Some(LaneState::Running(..)))
    }

    /// A pass of this throttle is due: it begins once there is a place, or follows the one under
    /// way.
    pub(super) fn wake(&mut self, name: &ThrottleName, lane: PassLane) {
        let state = self
            .throttles
            .entry(name.clone())
            .or_insert(LaneState::Idle);
        match *state {
            LaneState::Running(own, again) => {
                *state = LaneState::Running(own, Some(again.map_or(lane, |again| again.max(lane))));
            }
            LaneState::Ready(waits) if waits >= lane => {}
            LaneState::Idle | LaneState::Ready(_) => {
                *state = LaneState::Ready(lane);
                self.queue(lane).waiting.push_back(name.clone());
            }
        }
    }

    /// The next pass to begin, if one is due and has a place. Whatever is killed comes first.
    pub(super) fn begin(&mut self) -> Option<ThrottleName> {
        for lane in [PassLane::Kill, PassLane::Normal] {
            while self.queue(lane).running < PLACES
                && let Some(name) = self.queue(lane).waiting.pop_front()
            {
                let Some(state) = self.throttles.get_mut(&name) else {
                    continue;
                };
                if *state == LaneState::Ready(lane) {
                    *state = LaneState::Running(Some(lane), None);
                    self.queue(lane).running += 1;
                    return Some(name);
                }
            }
        }
        None
    }

    /// A pass has done what closes, and waits for nothing from here on but the record: it gives its
    /// place back.
    pub(super) fn rest(&mut self, name: &ThrottleName) {
        if let Some(LaneState::Running(place, _)) = self.throttles.get_mut(name) {
            let place = place.take();
            self.give_back(place);
        }
    }

    fn give_back(&mut self, place: Option<PassLane>) {
        if let Some(lane) = place {
            self.queue(lane).running -= 1;
        }
    }

    /// A pass has ended.
    pub(super) fn end(&mut self, name: &ThrottleName) {
        let Some(state) = self.throttles.get_mut(name) else {
            return;
        };
        let LaneState::Running(place, again) = *state else {
            return;
        };
        *state = LaneState::Idle;
        self.give_back(place);
        if let Some(lane) = again {
            self.wake(name, lane);
        }
    }

    /// Forgets a throttle that is declared no more; one whose pass is under way stays until that
    /// has ended, and false says so.
    pub(super) fn forget(&mut self, name: &ThrottleName) -> bool {
        let runs = self.is_running(name);
        if !runs {
            self.throttles.remove(name);
        }
        !runs
    }

    fn queue(&mut self, lane: PassLane) -> &mut Queue {
        match lane {
            PassLane::Kill => &mut self.kill,
            PassLane::Normal => &mut self.normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> ThrottleName {
        ThrottleName::try_from(format!("t{number}")).unwrap()
    }

    fn begun(lanes: &mut Lanes) -> Vec<ThrottleName> {
        std::iter::from_fn(|| lanes.begin()).collect()
    }

    /// However many others wait, what is killed has a place; and it comes first.
    #[test]
    fn a_kill_finds_a_place_while_all_others_are_slow() {
        let mut lanes = Lanes::default();
        for number in 0..500 {
            lanes.wake(&name(number), PassLane::Normal);
        }
        assert_eq!(begun(&mut lanes).len(), PLACES);
        lanes.wake(&name(499), PassLane::Kill);
        lanes.wake(&name(500), PassLane::Kill);
        assert_eq!(begun(&mut lanes), [name(499), name(500)]);
        lanes.end(&name(0));
        assert_eq!(begun(&mut lanes), [name(PLACES)], "in order");
        lanes.rest(&name(1));
        lanes.rest(&name(1));
        assert_eq!(begun(&mut lanes), [name(PLACES + 1)], "once");
        lanes.end(&name(1));
        assert_eq!(begun(&mut lanes), []);
    }

    #[test]
    fn no_throttle_has_two_passes_and_none_is_forgotten() {
        let mut lanes = Lanes::default();
        lanes.wake(&name(0), PassLane::Normal);
        lanes.wake(&name(0), PassLane::Normal);
        assert_eq!(begun(&mut lanes), [name(0)]);
        lanes.wake(&name(0), PassLane::Normal);
        lanes.wake(&name(0), PassLane::Kill);
        assert_eq!(begun(&mut lanes), []);
        assert!(!lanes.forget(&name(0)), "its pass is under way");
        lanes.end(&name(0));
        assert_eq!(begun(&mut lanes), [name(0)], "once");
        lanes.end(&name(0));
        assert_eq!(begun(&mut lanes), []);
        assert!(lanes.forget(&name(0)) && !lanes.knows(&name(0)));
        lanes.end(&name(0));
    }

    /// Whoever changes its lane leaves nothing behind that takes a place later.
    #[test]
    fn places_come_back_whatever_happens() {
        let mut lanes = Lanes::default();
        for round in 0..3 * PLACES {
            let one = name(round % 7);
            lanes.wake(&one, PassLane::Normal);
            lanes.wake(&one, PassLane::Kill);
            for one in begun(&mut lanes) {
                lanes.wake(&one, PassLane::Normal);
                lanes.end(&one);
            }
            for one in begun(&mut lanes) {
                lanes.end(&one);
            }
        }
        assert_eq!(begun(&mut lanes), []);
        assert_eq!((lanes.kill.running, lanes.normal.running), (0, 0));
        assert!(lanes.normal.waiting.is_empty() && lanes.kill.waiting.is_empty());
    }
}
