//! The kill path, once: whichever door a kill came through, the gate closes first, then the hold
//! becomes durable, and the loop does the rest.
//!
//! Nothing here waits for the ledger before it closes; nothing here opens before the ledger has it.

mod announce;
mod enforced;
mod in_flight;
mod kill;
mod lacking;
mod level;
mod log_lines;
mod persist;
mod registry;
mod replay;
mod restore;
mod retry;
mod revive;
mod telling;
mod turn;
mod undecided;
mod unpersisted;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::audit::ClientKey;
use crate::domain::hold::{Epoch, ScopedHold};
use crate::gate::Gate;
use crate::ports::{Desired, DesiredError, Journal, Resolution, Wake};
use crate::sync::atomic::AtomicUsize;
use crate::sync::{Mutex, sleep, spawn};

pub use kill::{KillOrder, KillOutcome};
pub use lacking::Lacking;
pub use level::LevelOrder;
pub use registry::HoldRegistry;
use registry::Live;
pub use telling::{AuditState, Persisted};
use undecided::UndecidedCommands;
pub use undecided::{CommandOutcome, UndecidedCommand};

/// How often it is asked what became of a command that is not decided.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The kill path.
pub struct Latch {
    gate: Arc<Gate>,
    desired: Arc<dyn Desired>,
    wake: Arc<dyn Wake>,
    journal: Option<Arc<dyn Journal>>,
    /// What holds here.
    holds: Arc<HoldRegistry>,
    /// Commands that neither journal nor ledger took.
    owed: unpersisted::UnpersistedCommands,
    /// Revivals go one at a time; kills never wait for it.
    reviving: Arc<tokio::sync::Mutex<()>>,
    /// Holds whose end is recorded and that the place where they live still has: others may revive
    /// meanwhile.
    carried: Mutex<BTreeSet<Epoch>>,
    /// Keys of the commands that open, or are not decided, by the id of each.
    opening: Mutex<BTreeMap<String, ClientKey>>,
    /// One level is recorded at a time, so that an opening does not meet the half-done record of a
    /// closing.
    levelling: Arc<tokio::sync::Mutex<()>>,
    /// Commands whose outcome was not known when their client was answered, and what became of
    /// them.
    doubts: UndecidedCommands,
    /// Commands whose client was told that the ledger lacks them.
    told: Mutex<BTreeSet<String>>,
    /// Commands of a journal of which it is not known yet whether the record has them.
    unasked: Mutex<BTreeSet<String>>,
    /// What was said of telling them again.
    again: log_lines::RetryFailures,
    /// Commands that somebody is telling the ledger right now, and who.
    under_way: Mutex<BTreeMap<String, in_flight::Teller>>,
    /// One of them is done.
    arrived: Notify,
    /// How often others were told again of what they lack: whose turn it is.
    turn: AtomicUsize,
    /// What the loop read back of throttles that are killed.
    found: Mutex<enforced::EnforcedTargets>,
}

impl Latch {
    /// A latch over these parts; `wake`: who acts on what is commanded; `known` are the holds this
    /// door took before and that have not ended.
    pub fn new(
        gate: Arc<Gate>,
        desired: Arc<dyn Desired>,
        wake: Arc<dyn Wake>,
        journal: Option<Arc<dyn Journal>>,
        known: Vec<ScopedHold>,
    ) -> Self {
        let holds = HoldRegistry::new(gate, wake, known);
        Self::with_registry(Arc::new(holds), desired, journal)
    }

    /// The same, where others move what holds here too.
    pub fn with_registry(
        holds: Arc<HoldRegistry>,
        desired: Arc<dyn Desired>,
        journal: Option<Arc<dyn Journal>>,
    ) -> Self {
        let pending = journal
            .as_ref()
            .map(|journal| journal.pending())
            .unwrap_or_default();
        let told = pending
            .iter()
            .filter(|entry| entry.record.answer.told)
            .map(|entry| entry.record.once.clone())
            .collect();
        let replayed: BTreeSet<Epoch> = pending
            .into_iter()
            .filter_map(|entry| Some(entry.hold()?.hold.epoch))
            .collect();
        for live in &mut *holds.lock() {
            live.replayed = replayed.contains(&live.held.hold.epoch);
        }
        Self {
            gate: Arc::clone(&holds.gate),
            desired,
            wake: Arc::clone(&holds.wake),
            journal,
            holds,
            owed: unpersisted::UnpersistedCommands::default(),
            reviving: Arc::default(),
            carried: Mutex::default(),
            opening: Mutex::default(),
            levelling: Arc::default(),
            doubts: UndecidedCommands::default(),
            told: Mutex::new(told),
            unasked: Mutex::default(),
            again: log_lines::RetryFailures::default(),
            under_way: Mutex::default(),
            arrived: Notify::new(),
            turn: AtomicUsize::new(0),
            found: Mutex::default(),
        }
    }

    /// What holds here.
    pub fn holds(&self) -> &HoldRegistry {
        &self.holds
    }

    /// The ledger has these, and no end of them, whatever the journal says.
    pub fn heard(&self, live: &[Epoch]) {
        self.holds
            .lock()
            .iter_mut()
            .filter(|one| live.contains(&one.held.hold.epoch))
            .for_each(|one| one.replayed = false);
    }

    /// Finds out what became of a command that was not decided, however long its disk takes.
    async fn poll_outcome(&self, once: &str, ending: &[Epoch]) -> Resolution {
        loop {
            match self.desired.resolve(once, ending).await {
                Ok(became) => return became,
                Err(error) => tracing::debug!(%error, once, "a command is not decided yet"),
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether a command to end this hold is under way, or not decided yet.
    pub fn is_ending(&self, epoch: &Epoch) -> bool {
        self.holds
            .lock()
            .iter()
            .any(|live| live.ending && live.held.hold.epoch == *epoch)
    }

    /// Whether its own command has still to record this hold.
    pub fn owes(&self, epoch: &Epoch) -> bool {
        let owes = |live: &Live| live.telling || live.replayed || live.audit == AuditState::Pending;
        self.holds
            .lock()
            .iter()
            .any(|live| live.held.hold.epoch == *epoch && owes(live))
    }
}

/// What is told of a command that was not decided.
fn outcome(became: &Resolution) -> CommandOutcome {
    if became.done {
        CommandOutcome::Done
    } else {
        CommandOutcome::NotDone
    }
}

/// Lets a task go on by itself that has somebody else's outcome to find out.
#[allow(
    clippy::disallowed_methods,
    reason = "it ends once a disk answers, and holds no door open"
)]
fn owned(task: impl Future<Output = ()> + Send + 'static) {
    spawn(task);
}

/// Runs a command to its end even if its caller hangs up: half a kill would be in the gate and in
/// no record.
#[allow(
    clippy::disallowed_methods,
    reason = "it ends by itself within the ledger's patience, and its answer is waited for"
)]
async fn whole<T: Send + 'static>(
    command: impl Future<Output = Result<T, DesiredError>> + Send + 'static,
) -> Result<T, DesiredError> {
    let ended = spawn(command).await;
    ended.unwrap_or_else(|error| {
        Err(DesiredError::Unavailable(format!(
            "the command broke off: {error}"
        )))
    })
}
