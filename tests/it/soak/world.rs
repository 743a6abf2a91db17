//! What the soak's parts know of each other: where the service is, what it must be, what it
//! acknowledged, and what was seen that must not be.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::support::wall::Wall;

/// Fastest opening under load: 2 points a second, whoever gives it (see `Law` and the spec's ramp).
const RAMP_PER_S: f64 = 0.02;
/// What may be opened beyond that at any one moment: two ticks of 5 s, one that was due and one
/// that was late.
const SLACK: f64 = 2.0 * 5.0 * RAMP_PER_S;
/// A level is told in whole percent.
const ROUNDING: f64 = 0.006;

/// Everything that is shared.
pub(super) struct World {
    pub(super) wall: Wall,
    pub(super) began: Instant,
    /// Whoever commands; one at a time.
    pub(super) commanding: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    address: Option<SocketAddr>,
    /// Counts kills; odd while one was acknowledged and nobody asked for its end.
    kills: u64,
    /// Lowest level that the declaration in force, or one on its way, allows.
    declared: Vec<f64>,
    /// Down to what the ramp may have opened by now, and when that was: from the highest level
    /// before, by the ramp.
    earned: Option<(Instant, f64)>,
    /// Until when the law lets nothing open further than to this level.
    alarmed: Option<(Instant, f64)>,
    events: Vec<String>,
    commands: Vec<String>,
    wrong: Vec<String>,
}

/// A state at one moment, for whoever asks something that takes a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    at: Instant,
    kills: u64,
    declared: f64,
    /// Lowest level that the law allows.
    alarmed: f64,
}

impl Moment {
    fn killed(self) -> bool {
        self.kills % 2 == 1
    }
}

impl World {
    pub(super) fn new(folder: &Path) -> Self {
        let state = State {
            declared: vec![1.0],
            ..State::default()
        };
        Self {
            wall: Wall::new(folder),
            began: Instant::now(),
            commanding: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn up(&self, address: SocketAddr) {
        self.state().address = Some(address);
    }

    pub(super) fn down(&self) {
        self.state().address = None;
    }

    /// Where it is, while it is anywhere.
    pub(super) fn url(&self, path: &str) -> Option<String> {
        self.state()
            .address
            .map(|address| format!("http://{address}{path}"))
    }

    /// A kill was acknowledged, or must be found in force.
    pub(super) fn is_killed(&self) {
        let mut state = self.state();
        state.kills += 1 - state.kills % 2;
    }

    /// Somebody is about to end it.
    pub(super) fn is_to_open(&self) {
        let mut state = self.state();
        state.kills += state.kills % 2;
        state.earned = Some((Instant::now(), 1.0));
    }

    /// The law was told something by which it holds this level for a while.
    pub(super) fn is_alarmed(&self, lasts: Duration, level: f64) {
        self.state().alarmed = Some((Instant::now() + lasts, level));
    }

    /// A declaration is on its way: until it is answered either may be in force.
    pub(super) fn declares(&self, level: f64) {
        self.state().declared.push(level);
    }

    /// The last declaration was acknowledged.
    pub(super) fn declared(&self) {
        let mut state = self.state();
        let last = state.declared.pop().unwrap();
        state.declared = vec![last];
    }

    /// The last declaration was refused.
    pub(super) fn not_declared(&self) {
        self.state().declared.pop();
    }

    pub(super) fn moment(&self) -> Moment {
        let state = self.state();
        let at = Instant::now();
        let declared = state.declared.iter().copied().fold(1.0, f64::min);
        let alarmed = state
            .alarmed
            .filter(|(until, _)| at < *until)
            .map_or(0.0, |(_, level)| level);
        Moment {
            at,
            kills: state.kills,
            declared,
            alarmed,
        }
    }

    pub(super) fn event(&self, id: String) {
        self.state().events.push(id);
    }

    pub(super) fn command(&self, id: String) {
        self.state().commands.push(id);
    }

    pub(super) fn acknowledged(&self) -> (Vec<String>, Vec<String>) {
        let state = self.state();
        (state.events.clone(), state.commands.clone())
    }

    /// A verdict that was asked for at `before` and is here.
    pub(super) fn verdict(&self, before: Moment, status: u16, reason: &str) {
        let after = self.moment();
        if before.killed() && after.kills == before.kills && (status, reason) != (403, "kill") {
            self.wrong(format!("{status} {reason} while killed"));
        }
    }

    /// The level in force, asked for at `before`.
    pub(super) fn level(&self, before: Moment, level: f64) {
        let after = self.moment();
        let mut state = self.state();
        let floor = before.declared.min(after.declared);
        if level < floor - ROUNDING && !(before.killed() || after.killed()) {
            state
                .wrong
                .push(format!("level {level} below the declared {floor}"));
        }
        let held = before.alarmed.min(after.alarmed);
        if level < held - ROUNDING {
            state
                .wrong
                .push(format!("level {level} while the law holds {held}"));
        }
        if after.kills != before.kills {
            return;
        }
        // However it was stopped and started in between.
        let ramp = state.earned.map_or(0.0, |(at, level)| {
            level - after.at.duration_since(at).as_secs_f64() * RAMP_PER_S
        });
        if level < ramp - SLACK - ROUNDING {
            state
                .wrong
                .push(format!("level {level} where the ramp is at {ramp:.3}"));
        }
        state.earned = Some((after.at, ramp.max(level)));
    }

    pub(super) fn wrong(&self, what: String) {
        self.state().wrong.push(what);
    }

    /// Fails with what was seen that must not be.
    pub(super) fn is_sound(&self, what: &str) {
        let wrong = &self.state().wrong;
        assert!(
            wrong.is_empty(),
            "{what}: {} things were wrong, the first: {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
    }
}
