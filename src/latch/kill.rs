//! A person's order to stop: the gates first, by a hold that is new or that stands already; then
//! what is recorded and told of it.
//!
//! Waits for nothing before the gates are shut, and opens nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::persist::LEDGER_PATIENCE;
use super::registry::Live;
use super::{AuditState, Latch, Persisted, log_lines, whole};
use crate::domain::audit::{CommandRecord, CommandResponse};
use crate::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::domain::moment::Moment;
use crate::domain::remote::is_sender;
use crate::domain::throttle::ThrottleName;
use crate::ports::{DesiredError, Effect};
use crate::sync::timeout;

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
    /// What it leaves behind. In the answer `epoch`, `latched_at`, `already_killed`, `audit` and
    /// `durable` are set here.
    pub record: CommandRecord,
}

/// What a kill did.
#[derive(Clone, Debug, PartialEq)]
pub struct KillOutcome {
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
    pub answer: CommandResponse,
}

impl Latch {
    /// Stops. The gates are shut before anything that can fail is tried.
    ///
    /// # Errors
    /// [`DesiredError::Unknown`] if one throttle was named and there is none of that name.
    pub async fn kill(self: &Arc<Self>, order: KillOrder) -> Result<KillOutcome, DesiredError> {
        if let Scope::One(name) = &order.scope
            && self.gate.standing(name).is_none()
        {
            return Err(DesiredError::Unknown(name.clone()));
        }
        // Here, and in no task of its own: the gates wait for no other thread to begin one.
        let closed = self.close(&order);
        let latch = Arc::clone(self);
        whole(async move { Ok(latch.record_kill(order, closed).await) }).await
    }

    /// What is recorded and told of a kill whose gates are shut.
    async fn record_kill(&self, order: KillOrder, closed: Closed) -> KillOutcome {
        let Closed {
            scoped,
            fresh,
            alone,
            throttles,
        } = closed;
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
            log_lines::killed(&scoped.scope, hold, &record.audit);
        }
        let brought = if fresh || alone {
            let brought = self
                .persist(Effect::Hold(Box::new(scoped.clone())), None, record, None)
                .await;
            self.holds.note(&epoch, |live| live.telling = false);
            self.arrived.notify_waiters();
            brought
        } else {
            record.audit.before.clone_from(&record.audit.after);
            // Of two at once the second says what became of the first one's hold, behind it.
            let _late = timeout(LEDGER_PATIENCE, self.told_of(&epoch)).await;
            self.persist(Effect::Nothing, None, record, Some(self.record_of(&epoch)))
                .await
        };
        self.wake.wake(&order.scope);
        let Persisted {
            audit,
            durable,
            answer,
        } = brought;
        KillOutcome {
            epoch,
            latched_at,
            audit,
            durable,
            throttles,
            answer,
        }
    }

    /// Shuts the gates by the hold that an order asks for. Under one lock with what marks holds to
    /// be ended: nobody leans on one that ends, or brings it back.
    fn close(&self, order: &KillOrder) -> Closed {
        let mut live = self.holds.lock();
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

    /// Waits until the command that took this hold has told journal and ledger of it, or given that
    /// up.
    async fn told_of(&self, epoch: &Epoch) {
        loop {
            let arrived = self.arrived.notified();
            if !self
                .holds
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
        let live = self.holds.lock();
        let found = live.iter().find(|live| live.held.hold.epoch == *epoch);
        found.map_or((AuditState::Pending, false), |live| {
            (live.audit, live.durable)
        })
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

/// The hold an order asks for: the one in force if there is one that covers it, otherwise a new
/// one; and whether it is new.
fn hold_for(live: &mut Vec<Live>, order: &KillOrder) -> (ScopedHold, bool) {
    let covers = |held: &Scope| *held == Scope::All || *held == order.scope;
    // Another site ends its own kills: nobody here leans on one of them, and it leans on nobody's
    // here.
    let shared = |by: &str| by == order.operator || !(is_sender(by) || is_sender(&order.operator));
    // Nor on one that ends by another door, with a file or an object, nor on one that nobody
    // accounts for: a kill of today has its own record, and ends by its own word.
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
        bite: HoldEffect::Kill,
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
