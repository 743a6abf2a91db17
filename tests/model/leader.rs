//! Declared state of a process that may not be the one that leads.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::audit::{CommandRecord, CommandResponse};
use echo_phoenix::domain::hold::{Epoch, ScopedHold};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::measurement::Measurement;
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::ports::{
    Declaration, Declarations, Desired, DesiredError, HoldTaken, Leadership, Resolution,
    ReviveFilter, ReviveOutcome,
};

use crate::outside::Outside;

/// What is declared, by whoever may or may not lead.
pub(crate) struct Led {
    pub(crate) declared: Arc<LedgerDesired>,
    pub(crate) outside: Arc<Outside>,
}

#[async_trait]
impl Desired for Led {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.declared.declared()
    }

    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.declared.find(name)
    }

    async fn refresh(&self) {
        self.declared.refresh().await;
    }

    fn declarations(&self) -> Option<&dyn Declarations> {
        Some(self)
    }

    fn hold(&self, hold: &ScopedHold, record: &CommandRecord) {
        self.declared.hold(hold, record);
    }

    async fn take(
        &self,
        hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        self.declared.take(hold, record).await
    }

    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        self.declared.end(meant, record).await
    }

    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch> {
        self.declared.ending(meant)
    }

    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError> {
        self.declared.resolve(once, ending).await
    }

    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError> {
        self.declared.note(record).await
    }
}

#[async_trait]
impl Declarations for Led {
    fn tighten(&self, throttle: &ThrottleName, level: Level, measured: Option<&Measurement>) {
        Declarations::tighten(self.declared.as_ref(), throttle, level, measured);
    }

    async fn declare(
        &self,
        throttle: &ThrottleName,
        level: Level,
        measured: Option<Measurement>,
        record: CommandRecord,
    ) -> Result<Declaration, DesiredError> {
        self.declared
            .declare(throttle, level, measured, record)
            .await
    }
}

impl Leadership for Led {
    fn leads(&self) -> bool {
        self.outside.leads()
    }
}
