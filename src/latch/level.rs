//! Declaring a level: what is safer closes at once and is journalled, what opens waits for the
//! ledger.

use std::sync::Arc;
use std::time::Duration;

use super::persist::LEDGER_PATIENCE;
use super::turn::Turn;
use super::{AuditState, Latch, Persisted, log_lines, outcome, owned, whole};
use crate::decide::precedence::most_restrictive;
use crate::decide::verdict::Reason;
use crate::domain::audit::CommandRecord;
use crate::domain::hold::{Hold, Scope, Source};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::throttle::{Mode, Owner, ThrottleName};
use crate::gate::LevelSetting;
use crate::ports::{Declarations, DesiredError, Effect};
use crate::sync::timeout;

/// A person's order for a level.
#[derive(Clone, Debug)]
pub struct LevelOrder {
    /// Of which throttle.
    pub throttle: ThrottleName,
    /// The level to declare.
    pub level: Level,
    /// What whoever orders it measured, if they did.
    pub measured: Option<Measurement>,
    /// When it came, by the monotonic clock.
    pub at: Duration,
    /// What it leaves behind.
    pub record: CommandRecord,
}

impl Latch {
    /// Declares a level. The loop is not woken: that is for whoever orders, when all is said.
    ///
    /// # Errors
    /// [`DesiredError::Unknown`] if there is no such throttle; [`DesiredError::Unavailable`] if it
    /// opens and cannot be made durable: then nothing was changed. [`DesiredError::Undecided`] if
    /// that is not known.
    pub async fn declare(self: &Arc<Self>, order: LevelOrder) -> Result<Persisted, DesiredError> {
        let latch = Arc::clone(self);
        whole(async move { latch.declare_whole(order).await }).await
    }

    async fn declare_whole(self: &Arc<Self>, order: LevelOrder) -> Result<Persisted, DesiredError> {
        let LevelOrder {
            throttle,
            level,
            measured,
            at,
            mut record,
        } = order;
        let door = self.declarations(&throttle)?;
        let declared = self.desired.find(&throttle);
        let declared = declared.ok_or_else(|| DesiredError::Unknown(throttle.clone()))?;
        let floor =
            (declared.owner != Owner::Rest && level < declared.level).then_some(declared.level);
        let audit = record.audit.clone();
        let holds: Vec<_> = declared
            .holds
            .iter()
            .filter(|hold| !hold.is_kill())
            .cloned()
            .collect();
        if level < most_restrictive(declared.level, Mode::Enforce, &holds).level {
            let opened = self.open(door, &throttle, level, measured, record).await?;
            if !opened.answer.replayed {
                log_lines::declared(&throttle, level, floor, &audit);
            }
            return Ok(opened);
        }
        let setting = LevelSetting {
            level,
            reason: Reason::Target,
            generation: declared.generation,
            at,
        };
        // In this order: a pass that does not know the declaration yet is then overtaken at the
        // gate.
        door.tighten(&throttle, level, measured.as_ref());
        if declared.mode == Mode::Enforce {
            self.gate.tighten(&throttle, setting);
        }
        if let Some(standing) = self.gate.standing(&throttle) {
            record.answer.set("in_force", standing.level.fraction());
        }
        record.answer.set("generation", declared.generation);
        log_lines::declared(&throttle, level, floor, &audit);
        // It holds already. Its record does not wait for ever for somebody else's.
        let _one_at_a_time = timeout(LEDGER_PATIENCE, self.levelling.lock()).await;
        Ok(self
            .persist(Effect::Level { throttle, level }, measured, record, None)
            .await)
    }

    /// The door for levels.
    pub(super) fn declarations(
        &self,
        throttle: &ThrottleName,
    ) -> Result<&dyn Declarations, DesiredError> {
        let door = self.desired.declarations();
        door.ok_or_else(|| DesiredError::NotDeclaredHere(throttle.clone()))
    }

    /// Opening: the ledger first.
    async fn open(
        self: &Arc<Self>,
        door: &dyn Declarations,
        throttle: &ThrottleName,
        level: Level,
        measured: Option<Measurement>,
        mut record: CommandRecord,
    ) -> Result<Persisted, DesiredError> {
        let turn = Turn::wait(
            self,
            &self.levelling,
            &record,
            "an earlier command is not recorded yet",
        )
        .await?;
        // What is journalled happened before: the ledger gets it first, or this opening would be
        // undone by it.
        self.catch_up(&Scope::One(throttle.clone())).await?;
        AuditState::Recorded.tell(&mut record.answer, true);
        let (once, audit) = (record.once.clone(), record.audit.clone());
        // Those that a level above what somebody else declares may take the place of.
        let found = self.desired.find(throttle);
        let holds = found.into_iter().flat_map(|one| one.holds.clone());
        let replaces = |hold: &Hold| hold.source == Source::Rest && !hold.is_kill();
        let ending: Vec<_> = holds.filter(replaces).map(|hold| hold.epoch).collect();
        let opened = door.declare(throttle, level, measured, record).await;
        if matches!(opened, Err(DesiredError::Undecided)) {
            // Its caller is told so, and nothing else opens until it is known.
            self.doubts.undecided(&once, &audit);
            let (latch, scope) = (Arc::clone(self), Scope::One(throttle.clone()));
            owned(async move {
                let became = latch.poll_outcome(&once, &ending).await;
                latch.doubts.decided(&once, outcome(&became));
                latch.wake.wake(&scope);
                drop(turn);
            });
        }
        let opened = opened?;
        Ok(Persisted {
            audit: AuditState::Recorded,
            durable: true,
            answer: opened.answer,
        })
    }
}
