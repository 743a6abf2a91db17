//! The kill path, once: whichever door a kill came through, the gate closes first, then the hold becomes durable, and the
//! loop does the rest.
//!
//! Nothing here waits for the ledger before it closes; nothing here opens before the ledger has it.

mod doubts;
mod enforced;
mod level;
mod obey;
mod owed;
mod record;
mod replay;
mod revive;
mod settle;
mod share;
mod told;
mod turn;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::domain::audit::{Answer, ClientKey, Record};
use crate::domain::hold::{Bite, Epoch, Hold, Scope, ScopedHold, Source};
use crate::domain::moment::Moment;
use crate::domain::remote::is_sender;
use crate::domain::throttle::ThrottleName;
use crate::gate::Gate;
use crate::ports::{Became, Desired, DesiredError, Effect, Journal};
use crate::sync::atomic::AtomicUsize;
use crate::sync::{Mutex, MutexGuard, lock, sleep, spawn, timeout};

use doubts::Doubts;
pub use doubts::{Doubt, Outcome};
pub use level::LevelOrder;
use record::LEDGER_PATIENCE;
pub use record::{AuditState, Brought, Lacking};

/// How often it is asked what became of a command that is not decided.
const AGAIN: Duration = Duration::from_secs(1);

/// A person's order to stop.
#[derive(Clone, Debug)]
pub struct KillOrder {
    /// What to stop.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// Who, as they say.
    pub operator: String,
    /// The id a new hold gets; opaque and unique.
    pub epoch: Epoch,
    /// When it came.
    pub at: Moment,
    /// What it leaves behind. In the answer `epoch`, `latched_at`, `already_killed`, `audit` and `durable` are set here.
    pub record: Record,
}

/// What a kill did.
#[derive(Clone, Debug, PartialEq)]
pub struct Killed {
    /// The hold that is in force; an older one if the scope was already killed.
    pub epoch: Epoch,
    /// When the gates closed.
    pub latched_at: Timestamp,
    /// Where its record stands.
    pub audit: AuditState,
    /// Whether it would survive the end of this process now.
    pub durable: bool,
    /// The throttles that are shut.
    pub throttles: Vec<ThrottleName>,
    /// What the client is answered.
    pub answer: Answer,
}

/// The kill path.
pub struct Latch {
    gate: Arc<Gate>,
    desired: Arc<dyn Desired>,
    journal: Option<Arc<dyn Journal>>,
    live: Mutex<Vec<Live>>,
    /// Commands that neither journal nor ledger took.
    owed: owed::Owed,
    /// Revivals go one at a time; kills never wait for it.
    reviving: Arc<tokio::sync::Mutex<()>>,
    /// Holds whose end is recorded and that the place where they live still has: others may revive meanwhile.
    carried: Mutex<BTreeSet<Epoch>>,
    /// Keys of the commands that open, or are not decided, by the id of each.
    opening: Mutex<BTreeMap<String, ClientKey>>,
    /// One level is recorded at a time, so that an opening does not meet the half-done record of a closing.
    levelling: Arc<tokio::sync::Mutex<()>>,
    /// Commands whose outcome was not known when their client was answered, and what became of them.
    doubts: Doubts,
    /// Commands whose client was told that the ledger lacks them.
    told: Mutex<BTreeSet<String>>,
    /// Commands of a journal of which it is not known yet whether the record has them.
    unasked: Mutex<BTreeSet<String>>,
    /// What was said of telling them again.
    again: told::Again,
    /// Commands that somebody is telling the ledger right now, and who.
    under_way: Mutex<BTreeMap<String, record::Teller>>,
    /// One of them is done.
    arrived: Notify,
    /// How often others were told again of what they lack: whose turn it is.
    turn: AtomicUsize,
    /// What the loop read back of throttles that are killed.
    found: Mutex<enforced::Found>,
}

/// A hold this door took.
struct Live {
    held: ScopedHold,
    audit: AuditState,
    durable: bool,
    /// A command to end it is under way: a kill that comes now must not lean on it.
    ending: bool,
    /// Its own command is telling journal and ledger of it: where its record stands is known in a moment.
    telling: bool,
    /// It comes from the journal of a process before, and the ledger, which may have its end, was not heard yet: nor on this.
    replayed: bool,
    /// It has ended somewhere, or is about to, by another door: a kill that comes now must not lean on it.
    doubted: bool,
    /// Nobody but this process has it, since what would tell others was refused: what is recorded once they hear of it after
    /// all, which is tried again and again, and by the next kill.
    alone: Option<Box<Record>>,
}

impl Live {
    fn new(held: ScopedHold, audit: AuditState, durable: bool) -> Self {
        Self {
            held,
            audit,
            durable,
            ending: false,
            telling: false,
            replayed: false,
            doubted: false,
            alone: None,
        }
    }
}

impl Latch {
    /// A latch over these parts; `known` are the holds this door took before and that have not ended.
    pub fn new(
        gate: Arc<Gate>,
        desired: Arc<dyn Desired>,
        journal: Option<Arc<dyn Journal>>,
        known: Vec<ScopedHold>,
    ) -> Self {
        let pending = journal
            .as_ref()
            .map(|journal| journal.pending())
            .unwrap_or_default();
        let replayed: BTreeSet<Epoch> = pending
            .into_iter()
            .filter_map(|entry| Some(entry.hold()?.hold.epoch))
            .collect();
        let known = known.into_iter().map(|held| Live {
            replayed: replayed.contains(&held.hold.epoch),
            ..Live::new(held, AuditState::Recorded, true)
        });
        let live = known.collect();
        Self {
            gate,
            desired,
            journal,
            live: Mutex::new(live),
            owed: owed::Owed::default(),
            reviving: Arc::default(),
            carried: Mutex::default(),
            opening: Mutex::default(),
            levelling: Arc::default(),
            doubts: Doubts::default(),
            told: Mutex::default(),
            unasked: Mutex::default(),
            again: told::Again::default(),
            under_way: Mutex::default(),
            arrived: Notify::new(),
            turn: AtomicUsize::new(0),
            found: Mutex::default(),
        }
    }

    /// The ledger has these, and no end of them, whatever the journal says.
    pub fn heard(&self, live: &[Epoch]) {
        self.lock()
            .iter_mut()
            .filter(|one| live.contains(&one.held.hold.epoch))
            .for_each(|one| one.replayed = false);
    }

    /// Stops. The gates are shut before anything that can fail is tried.
    ///
    /// # Errors
    /// [`DesiredError::Unknown`] if one throttle was named and there is none of that name.
    pub async fn kill(self: &Arc<Self>, order: KillOrder) -> Result<Killed, DesiredError> {
        let latch = Arc::clone(self);
        whole(async move { latch.kill_whole(order).await }).await
    }

    async fn kill_whole(&self, order: KillOrder) -> Result<Killed, DesiredError> {
        if let Scope::One(name) = &order.scope
            && self.gate.standing(name).is_none()
        {
            return Err(DesiredError::Unknown(name.clone()));
        }
        let Closed {
            scoped,
            fresh,
            alone,
            throttles,
        } = self.close(&order);
        let hold = &scoped.hold;
        let (epoch, latched_at) = (hold.epoch.clone(), hold.taken_at);
        let mut record = order.record;
        record.answer.set("epoch", epoch.0.as_str());
        record.answer.set("latched_at", latched_at.to_string());
        record.answer.set("already_killed", !fresh);
        record
            .answer
            .set("targets", self.enforced(hold, &throttles));
        record.audit.after = format!("killed {epoch}");
        if fresh {
            told::killed(&scoped.scope, hold, &record.audit);
        }
        let brought = if fresh || alone {
            let brought = self
                .bring(Effect::Hold(Box::new(scoped.clone())), None, record, None)
                .await;
            self.note(&epoch, |live| live.telling = false);
            self.arrived.notify_waiters();
            brought
        } else {
            record.audit.before.clone_from(&record.audit.after);
            // Of two at once the second says what became of the first one's hold, behind it.
            let _late = timeout(LEDGER_PATIENCE, self.told_of(&epoch)).await;
            self.bring(Effect::Nothing, None, record, Some(self.record_of(&epoch)))
                .await
        };
        self.desired.wake();
        let Brought {
            audit,
            durable,
            answer,
        } = brought;
        Ok(Killed {
            epoch,
            latched_at,
            audit,
            durable,
            throttles,
            answer,
        })
    }

    /// Shuts the gates by the hold that an order asks for. Under one lock with what marks holds to be ended: nobody leans on one that ends, or brings it back.
    fn close(&self, order: &KillOrder) -> Closed {
        let mut live = self.lock();
        let (scoped, fresh) = hold_for(&mut live, order);
        let alone = live
            .iter()
            .any(|live| live.alone.is_some() && live.held.hold.epoch == scoped.hold.epoch);
        let throttles = self.gate.hold(&order.scope, &scoped.hold, order.at.elapsed);
        Closed {
            scoped,
            fresh,
            alone,
            throttles,
        }
    }

    /// Finds out what became of a command that was not decided, however long its disk takes.
    async fn find_out(&self, once: &str, ending: &[Epoch]) -> Became {
        loop {
            match self.desired.became(once, ending).await {
                Ok(became) => return became,
                Err(error) => tracing::debug!(%error, once, "a command is not decided yet"),
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether a command to end this hold is under way, or not decided yet.
    pub fn is_ending(&self, epoch: &Epoch) -> bool {
        self.lock()
            .iter()
            .any(|live| live.ending && live.held.hold.epoch == *epoch)
    }

    /// Whether its own command has still to record this hold.
    pub fn owes(&self, epoch: &Epoch) -> bool {
        let owes = |live: &Live| live.telling || live.replayed || live.audit == AuditState::Pending;
        self.lock()
            .iter()
            .any(|live| live.held.hold.epoch == *epoch && owes(live))
    }

    fn note(&self, epoch: &Epoch, note: impl Fn(&mut Live)) {
        self.lock()
            .iter_mut()
            .filter(|live| live.held.hold.epoch == *epoch)
            .for_each(note);
    }

    /// Waits until the command that took this hold has told journal and ledger of it, or given that up.
    async fn told_of(&self, epoch: &Epoch) {
        loop {
            let arrived = self.arrived.notified();
            if !self
                .lock()
                .iter()
                .any(|live| live.telling && live.held.hold.epoch == *epoch)
            {
                return;
            }
            arrived.await;
        }
    }

    fn record_of(&self, epoch: &Epoch) -> (AuditState, bool) {
        let live = self.lock();
        let found = live.iter().find(|live| live.held.hold.epoch == *epoch);
        found.map_or((AuditState::Pending, false), |live| {
            (live.audit, live.durable)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Live>> {
        lock(&self.live)
    }
}

/// What closing came to.
struct Closed {
    scoped: ScopedHold,
    /// Whether the hold is new.
    fresh: bool,
    /// Whether it is one that nobody but this process has.
    alone: bool,
    /// The throttles that are shut.
    throttles: Vec<ThrottleName>,
}

/// The hold an order asks for: the one in force if there is one that covers it, otherwise a new one; and whether it is new.
fn hold_for(live: &mut Vec<Live>, order: &KillOrder) -> (ScopedHold, bool) {
    let covers = |held: &Scope| *held == Scope::All || *held == order.scope;
    // Another site ends its own kills: nobody here leans on one of them, and it leans on nobody's here.
    let shared = |by: &str| by == order.operator || !(is_sender(by) || is_sender(&order.operator));
    // Nor on one that ends by another door, with a file or an object, nor on one that nobody accounts for: a kill of today has
    // its own record, and ends by its own word.
    let counts = |held: &ScopedHold| held.hold.is_kill() && held.hold.source == Source::Rest;
    let joins =
        |held: &ScopedHold| counts(held) && covers(&held.scope) && shared(&held.hold.operator);
    if let Some(known) = live
        .iter()
        .find(|live| !live.ending && !live.replayed && !live.doubted && joins(&live.held))
    {
        return (known.held.clone(), false);
    }
    let hold = Hold {
        epoch: order.epoch.clone(),
        bite: Bite::Kill,
        source: Source::Rest,
        reason: order.reason.clone(),
        operator: order.operator.clone(),
        taken_at: order.at.wall,
    };
    let scoped = ScopedHold {
        scope: order.scope.clone(),
        hold,
    };
    live.push(Live {
        telling: true,
        ..Live::new(scoped.clone(), AuditState::Pending, false)
    });
    (scoped, true)
}

/// What is told of a command that was not decided.
fn outcome(became: &Became) -> Outcome {
    if became.done {
        Outcome::Done
    } else {
        Outcome::NotDone
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

/// Runs a command to its end even if its caller hangs up: half a kill would be in the gate and in no record.
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
