//! What is known to whoever commands: what must hold by what was answered, and what was seen that
//! must not be.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What became of a command, by its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// 200.
    Done,
    /// Refused for what it is, which is audited.
    Refused,
    /// 503, and nothing of it was done, nor will be.
    Nothing,
    /// 503, and it may still happen.
    Undecided,
    /// What an earlier one with its key was answered; whether that was a 200.
    Replayed(bool),
    /// Its client had hung up.
    Unheard,
}

/// A command that was sent.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) what: &'static str,
    /// Its request-id, unique.
    pub(super) id: String,
    pub(super) became: Became,
    pub(super) took: Duration,
    /// It said that it would not outlive a power cut yet, and there may have been one since.
    pub(super) may_be_lost: bool,
}

/// What must hold at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sure {
    turn: u64,
    killed: bool,
    reviving: bool,
    /// Levels of which each may be the one that is declared, in percent.
    levels: Vec<i64>,
}

#[derive(Default)]
struct State {
    /// Counts whatever changes what must hold.
    turn: u64,
    /// A kill was answered, and no revival was sent since.
    killed: bool,
    reviving: bool,
    revivals: u64,
    /// Not everything was shut while a revival was under way.
    opened: bool,
    levels: Vec<i64>,
    commands: Vec<Told>,
    events: Vec<String>,
    events_refused: u64,
    verdicts: Vec<Duration>,
    calm: Vec<Duration>,
    wrong: Vec<String>,
}

/// All of it.
pub(super) struct Known(Mutex<State>);

/// A kill on its way, or a revival.
pub(super) struct Sent {
    revivals: u64,
    reviving: bool,
    killed: bool,
}

impl Known {
    pub(super) fn new(level: i64) -> Self {
        Self(Mutex::new(State {
            levels: vec![level],
            ..State::default()
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn sure(&self) -> Sure {
        let state = self.state();
        let State {
            turn,
            killed,
            reviving,
            ..
        } = *state;
        Sure {
            turn,
            killed,
            reviving,
            levels: state.levels.clone(),
        }
    }

    pub(super) fn is_killed(&self) -> bool {
        self.state().killed
    }

    pub(super) fn kills(&self) -> Sent {
        let state = self.state();
        Sent {
            revivals: state.revivals,
            reviving: state.reviving,
            killed: state.killed,
        }
    }

    /// A kill was answered with a yes: from here on everything is shut, unless a revival came in
    /// between.
    pub(super) fn killed(&self, sent: &Sent) {
        let mut state = self.state();
        let alone = !(sent.reviving || state.reviving) && sent.revivals == state.revivals;
        if alone && !state.killed {
            (state.killed, state.turn) = (true, state.turn + 1);
        }
    }

    pub(super) fn revives(&self) -> Sent {
        let mut state = self.state();
        let sent = Sent {
            revivals: state.revivals,
            reviving: state.reviving,
            killed: state.killed,
        };
        (state.killed, state.reviving, state.opened, state.turn) =
            (false, true, false, state.turn + 1);
        sent
    }

    pub(super) fn revived(&self, sent: &Sent, became: Became) {
        let mut state = self.state();
        let stays = sent.killed && became == Became::Nothing;
        if stays && state.opened {
            state.wrong.push(
                "it opened while a revival was under way of which nothing was done".to_owned(),
            );
        }
        (state.killed, state.reviving) = (stays, false);
        (state.revivals, state.turn) = (state.revivals + 1, state.turn + 1);
    }

    /// A declaration is on its way: until it is answered either may hold.
    pub(super) fn declares(&self, level: i64) {
        self.state().levels.push(level);
    }

    pub(super) fn declared(&self, became: Became) {
        let mut state = self.state();
        match became {
            Became::Done | Became::Replayed(true) => {
                state.levels = state.levels.last().copied().into_iter().collect()
            }
            Became::Undecided | Became::Unheard => {}
            Became::Refused | Became::Nothing | Became::Replayed(false) => drop(state.levels.pop()),
        }
    }

    /// A verdict that was asked for at `before` and is here.
    pub(super) fn verdict(&self, before: &Sure, reason: &str, took: Duration) {
        let mut state = self.state();
        state.verdicts.push(took);
        if reason == "kill" {
            return;
        }
        state.opened |= before.reviving && before.turn == state.turn;
        if before.killed && before.turn == state.turn {
            state
                .wrong
                .push(format!("a verdict is {reason} while killed"));
        }
    }

    /// How long the same takes a service whose disk is well.
    pub(super) fn calm(&self, took: Duration) {
        self.state().calm.push(took);
    }

    /// The declared level, and the one in force, asked for at `before`.
    pub(super) fn level(&self, before: &Sure, declared: Option<i64>, in_force: Option<f64>) {
        let mut state = self.state();
        let may: Vec<i64> = before.levels.iter().chain(&state.levels).copied().collect();
        if let Some(declared) = declared.filter(|declared| !may.contains(declared)) {
            state
                .wrong
                .push(format!("{declared} % is declared, where it may be {may:?}"));
        }
        let lowest = may.iter().copied().min().unwrap_or_default();
        if let Some(level) = in_force.filter(|level| level * 100.0 < lowest as f64 - 1e-6) {
            state.wrong.push(format!(
                "the level is {level}, where {may:?} % may be declared"
            ));
        }
    }

    pub(super) fn told(&self, told: Told) {
        self.state().commands.push(told);
    }

    pub(super) fn event(&self, id: String, stored: bool) {
        let mut state = self.state();
        if stored {
            state.events.push(id);
        } else {
            state.events_refused += 1;
        }
    }

    pub(super) fn wrong(&self, what: String) {
        self.state().wrong.push(what);
    }

    /// Everything so far is in the ledger.
    pub(super) fn settled(&self) {
        self.state()
            .commands
            .iter_mut()
            .for_each(|told| told.may_be_lost = false);
    }

    pub(super) fn commands(&self) -> Vec<Told> {
        self.state().commands.clone()
    }

    /// The events that were acknowledged, and how many were not.
    pub(super) fn events(&self) -> (Vec<String>, u64) {
        let state = self.state();
        (state.events.clone(), state.events_refused)
    }

    /// How long verdicts took, there and where all is well; sorted.
    pub(super) fn verdicts(&self) -> [Vec<Duration>; 2] {
        let state = self.state();
        [state.verdicts.clone(), state.calm.clone()].map(|mut all| {
            all.sort();
            all
        })
    }

    /// Fails with what was seen that must not be.
    pub(super) fn is_sound(&self, what: &str) {
        let wrong = &self.state().wrong;
        let first = &wrong[..wrong.len().min(5)];
        assert!(
            wrong.is_empty(),
            "{what}: {} things were wrong, the first: {first:#?}",
            wrong.len()
        );
    }
}
