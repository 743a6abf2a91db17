//! The door for levels: what tightens is in memory at once, everything else once the ledger has it.
//!
//! What becomes of a throttle that somebody else owns is `added`'s.

use async_trait::async_trait;

use super::LedgerDesired;
use super::ledger_calls::PATIENCE;
use super::state::hear;
use crate::domain::audit::{Change, CommandRecord, ThrottleRow};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::throttle::{Owner, ThrottleName};
use crate::ports::{Declaration, Declarations, DesiredError};
use crate::sync::timeout;

#[async_trait]
impl Declarations for LedgerDesired {
    fn tighten(&self, throttle: &ThrottleName, level: Level, measured: Option<&Measurement>) {
        self.state.lock().tighten(throttle, level, measured);
    }

    async fn declare(
        &self,
        throttle: &ThrottleName,
        level: Level,
        measured: Option<Measurement>,
        mut record: CommandRecord,
    ) -> Result<Declaration, DesiredError> {
        // Tightening waits for nobody: the loop must not open what the gate has just closed. Should
        // the ledger not take it, the tighter level stays until it does, and with it what was
        // measured.
        let seen = measured.as_ref();
        let tightened = self.state.lock().tighten(throttle, level, seen);
        let mut turn = timeout(PATIENCE, self.declaring.lock()).await.ok();
        let is_ours = match &mut turn {
            Some(turn) => self.file_first(turn, throttle).await,
            None => false,
        };
        if !is_ours {
            if tightened {
                self.state.lock().stuck(throttle);
            }
            return Err(DesiredError::Unavailable(
                "earlier declarations are not recorded yet".to_owned(),
            ));
        }
        let found = self.state.lock().get(throttle);
        let found = found.ok_or_else(|| DesiredError::Unknown(throttle.clone()))?;
        if found.owner != Owner::Rest {
            return self.tighten(&found, level, measured, record).await;
        }
        let (generation, effective) = (found.generation.saturating_add(1), found.stored);
        record.answer.set("generation", generation);
        let asked = record.answer.clone();
        let (name, owner) = (throttle.clone(), Owner::Rest);
        let row = ThrottleRow {
            name,
            declared: level,
            effective,
            generation,
            owner,
            spec: None,
            offered: found.offered,
        };
        let committed = self
            .commit(Change {
                throttles: vec![row],
                ..Change::of(record)
            })
            .await;
        let mut state = self.state.lock();
        let receipt = committed.inspect_err(|_| {
            if tightened {
                state.stuck(throttle);
            }
        })?;
        let level = state.arrived(throttle, level);
        if !receipt.repeated {
            state.change(throttle, |declared| {
                (declared.level, declared.generation) = (level, generation);
                if let Some(measured) = measured.filter(|_| !tightened) {
                    hear(declared, measured);
                }
            });
        }
        Ok(Declaration {
            generation,
            answer: receipt.answer.unwrap_or(asked),
        })
    }
}
