//! A ledger in memory that refuses some changes, and of some does not know whether it will make
//! them.
//!
//! Like the real one it makes one change after the other, each command once, and no hold twice.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use shuttle::rand::{Rng, thread_rng};

use crate::domain::audit::{Change, ClientKey, CommandResponse, Receipt, ThrottleRow};
use crate::domain::hold::{Epoch, ScopedHold};
use crate::domain::throttle::ThrottleName;
use crate::ports::{Ledger, LedgerError, OutboxRow, Stored};
use crate::sync::{Mutex, others_may_go_on};
use crate::tries::traced;

#[derive(Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    /// Whether every change is made.
    well: bool,
    throttles: BTreeMap<ThrottleName, ThrottleRow>,
    holds: Vec<ScopedHold>,
    over: BTreeSet<Epoch>,
    commands: BTreeSet<String>,
    /// What was begun and is not decided.
    begun: Vec<Change>,
}

impl Book {
    pub(crate) fn new(throttles: impl IntoIterator<Item = ThrottleRow>) -> Self {
        let throttles = throttles
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        Self(Mutex::new(Pages {
            throttles,
            ..Pages::default()
        }))
    }

    pub(crate) fn is_well(&self) {
        self.0.lock().well = true;
    }

    /// What it has.
    pub(crate) fn has_now(&self) -> Stored {
        let pages = self.0.lock();
        Stored {
            throttles: pages.throttles.values().cloned().collect(),
            holds: pages.holds.clone(),
        }
    }

    /// The commands it has.
    pub(crate) fn commands(&self) -> BTreeSet<String> {
        self.0.lock().commands.clone()
    }
}

impl Pages {
    /// What was begun is made, or never will be.
    fn decide(&mut self) {
        for change in std::mem::take(&mut self.begun) {
            let made = self.well || thread_rng().gen_bool(0.5);
            traced(|| format!("ledger: {:?} is decided, made: {made}", change.once));
            if made {
                let _nobody_hears_of_it = self.make(change);
            }
        }
    }

    fn make(&mut self, change: Change) -> Result<Receipt, LedgerError> {
        let is_new = |pages: &Self, held: &ScopedHold| {
            !pages.over.contains(&held.hold.epoch)
                && !pages
                    .holds
                    .iter()
                    .any(|one| one.hold.epoch == held.hold.epoch)
        };
        let is_known = change
            .once
            .as_ref()
            .is_some_and(|once| self.commands.contains(once));
        let repeated = is_known
            && !change
                .takes()
                .any(|held| held.hold.is_kill() && is_new(self, held));
        if !repeated {
            for row in &change.throttles {
                if self
                    .throttles
                    .get(&row.name)
                    .is_some_and(|known| known.generation >= row.generation)
                {
                    return Err(LedgerError::Conflict(row.name.clone()));
                }
            }
            self.throttles.extend(
                change
                    .throttles
                    .iter()
                    .map(|row| (row.name.clone(), row.clone())),
            );
            for held in change.takes() {
                if is_new(self, held) {
                    self.holds.push(held.clone());
                }
            }
            self.holds
                .retain(|held| !change.holds_ended.contains(&held.hold.epoch));
            self.over.extend(change.holds_ended.iter().cloned());
            self.commands.extend(change.once.clone());
        }
        let asked = change
            .takes()
            .map(|held| &held.hold.epoch)
            .chain(&change.holds_ended);
        let over = asked
            .filter(|epoch| self.over.contains(epoch))
            .cloned()
            .collect();
        Ok(Receipt {
            repeated,
            over,
            answer: change.answer,
            ..Receipt::default()
        })
    }
}

#[async_trait]
impl Ledger for Book {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        let what = format!(
            "{:?}, takes {}, ends {:?}",
            change.once,
            change.takes().count(),
            change.holds_ended
        );
        others_may_go_on().await; // whoever stops waiting here withdraws it
        let done = {
            let mut pages = self.0.lock();
            pages.decide();
            match if pages.well {
                7
            } else {
                thread_rng().gen_range(0..8)
            } {
                0 => Err(LedgerError::Unavailable("away".to_owned())),
                1 => {
                    pages.begun.push(change);
                    Err(LedgerError::Undecided)
                }
                _ => pages.make(change),
            }
        };
        traced(|| format!("ledger: {what}: {done:?}"));
        others_may_go_on().await; // and here does not hear that it is made
        done
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        Ok(self.has_now())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.0.lock().decide();
        Ok(())
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        Ok(self.0.lock().commands.contains(once))
    }

    async fn owed(&self, _limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        Ok(Vec::new())
    }

    async fn delivered(&self, _rows: &[OutboxRow]) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn answered(&self, _key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        Ok(None)
    }
}
