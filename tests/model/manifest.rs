//! The manifest of a service: what its file says now, and whether the ledger has it. Taken over as
//! `run::manifest` does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::FromFile;
use echo_phoenix::latch::Latch;
use echo_phoenix::ports::Clock;
use echo_phoenix::source::manifest::parse;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::seen::{Rare, sometimes};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the file's throttle acts on: the gate here, and another site.
const TARGETS: &str = "  targets: [{gate: {}}, {remote: {url: 'https://there.example', apiKeyEnv: ECHO_REMOTE_KEY_THERE}}]\n";

/// The file, which outlives a process.
pub(crate) struct Manifest {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    file: Vec<FromFile>,
    /// What a pass obeys.
    obeyed: Vec<FromFile>,
    taken: bool,
    /// Levels that may be declared by the file: those since it was last taken, whichever the ledger
    /// has.
    levels: Vec<Level>,
    /// Whether a pass has seen that the file has a kill.
    kills: bool,
    /// Whether the file had no kill when it was last taken, and has none since.
    free: bool,
}

impl Manifest {
    pub(crate) fn new() -> Self {
        let state = State {
            file: file(5, false),
            obeyed: Vec::new(),
            taken: false,
            levels: vec![level(5)],
            kills: false,
            free: true,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Another text in the file's place.
    pub(crate) fn write(&self, fifths: u8, kill: bool) {
        self.lock().file = file(fifths, kill);
        self.changed.notify_one();
    }

    /// The least level that it may be that the file declares.
    pub(crate) fn floor(&self) -> Level {
        self.lock()
            .levels
            .iter()
            .copied()
            .min()
            .unwrap_or(Level::STOP)
    }

    /// The most that it may be that the file declares.
    pub(crate) fn ceiling(&self) -> Level {
        let state = self.lock();
        state
            .levels
            .iter()
            .copied()
            .chain([state.file[0].level])
            .max()
            .unwrap_or(Level::STOP)
    }

    /// Whether its kill must hold.
    pub(crate) fn kills(&self) -> bool {
        self.lock().kills
    }

    /// Whether none of its kills may hold any more.
    pub(crate) fn is_free(&self) -> bool {
        self.lock().free
    }

    /// Whether the ledger has all of it.
    pub(crate) fn taken(&self) -> bool {
        let state = self.lock();
        state.taken && state.obeyed == state.file
    }

    /// Looks at the file and brings what it declares into force.
    pub(crate) async fn pass(&self, declared: &LedgerDesired, latch: &Latch, clock: &dyn Clock) {
        let file = {
            let mut state = self.lock();
            if state.obeyed != state.file {
                state.obeyed = state.file.clone();
                state.taken = false;
                let level = state.file[0].level;
                state.levels.push(level);
            }
            if state.taken {
                return;
            }
            state.obeyed.clone()
        };
        let at = clock.now();
        declared.foresee(&file, at);
        latch.restore(clock.elapsed());
        if file[0].kill.is_some() {
            let mut state = self.lock();
            (state.kills, state.free) = (true, false);
            sometimes(Rare::FileKilled);
        } else {
            self.lock().kills = false;
        }
        let done = declared.take_over(&file, at).await;
        latch.restore(clock.elapsed());
        if !done.spent.is_empty() {
            latch.holds().let_go(&done.spent);
            sometimes(Rare::FileSpent);
        }
        if !done.ended.is_empty() {
            latch.holds().let_go(&done.ended);
            sometimes(Rare::FileKillEnded);
        }
        if done.owed.is_some() {
            sometimes(Rare::FileWaits);
            return;
        }
        let mut state = self.lock();
        state.taken = true;
        state.levels = vec![file[0].level];
        state.free = file[0].kill.is_none();
    }

    pub(crate) async fn run(
        self: Arc<Self>,
        declared: Arc<LedgerDesired>,
        latch: Arc<Latch>,
        clock: Arc<dyn Clock>,
    ) {
        loop {
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep(LOOK) => {}
            }
            self.pass(&declared, &latch, clock.as_ref()).await;
        }
    }

    /// A process started anew: it reads the file again.
    pub(crate) fn starts(&self) {
        let mut state = self.lock();
        (state.taken, state.obeyed) = (false, Vec::new());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A level in fifths.
pub(crate) fn level(fifths: u8) -> Level {
    Level::new(f64::from(fifths) / 5.0).expect("a level")
}

fn file(fifths: u8, kill: bool) -> Vec<FromFile> {
    let kill = if kill {
        "  kill: {reason: model, operator: model, confirmation: CONFIRM_KILL}\n"
    } else {
        ""
    };
    let percent = u32::from(fifths) * 20;
    let text = format!(
        "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: shop}}\n\
         spec:\n  throttlePercent: {percent}\n{TARGETS}{kill}"
    );
    parse(&text).expect("a manifest")
}
