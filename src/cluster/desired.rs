//! Declared state as the cluster has it: Git owns specs, people own overrides, and commands make and
//! delete these.
//!
//! Implements `ports::Desired` over what was seen. What an event moves is none of its business.

mod lookups;
mod revived;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use tokio::time::timeout;

use crate::domain::audit::{Change, CommandRecord, CommandResponse, Receipt};
use crate::domain::hold::{Epoch, HeldBy, Hold, Scope, ScopedHold};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{
    Declarations, Desired, DesiredError, EndProgress, HoldTaken, Leadership, Ledger, LedgerError,
    Resolution, ReviveFilter, ReviveOutcome,
};

use super::index::HoldState;
use super::override_objects;
use super::watched::WatchedState;

/// How long the ledger may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an API server may take to make an object; a loop that waits for one lets itself be kept
/// for twice as long.
const MAKING: Duration = Duration::from_secs(1);

/// Declared state of a cluster.
pub struct ClusterDesired {
    client: Client,
    /// What is seen of it.
    watched: Arc<WatchedState>,
    leadership: Arc<dyn Leadership>,
    ledger: Option<Arc<dyn Ledger>>,
    /// How many looks at overrides there were: whose turn it is.
    looks: AtomicUsize,
}

impl ClusterDesired {
    /// What is declared as far as it was seen. Commands of people are written to `ledger`; a gate
    /// process has none and takes none.
    pub fn new(
        client: Client,
        watched: Arc<WatchedState>,
        leadership: Arc<dyn Leadership>,
        ledger: Option<Arc<dyn Ledger>>,
    ) -> Self {
        Self {
            client,
            watched,
            leadership,
            ledger,
            looks: AtomicUsize::new(0),
        }
    }

    /// Writes a person's command to the record, before anything of it is done.
    async fn record(&self, change: Change) -> Result<Receipt, DesiredError> {
        let Some(ledger) = &self.ledger else {
            return Ok(Receipt {
                answer: change.answer,
                ..Receipt::default()
            });
        };
        ledger.commit(change).await.map_err(not_recorded)
    }

    /// What a command to end holds comes to: the holds that stay, and those that end.
    fn endings(&self, meant: ReviveFilter<'_>) -> (Vec<Hold>, BTreeSet<Epoch>) {
        let all = self.declared();
        let names = all
            .iter()
            .map(|declared| &declared.name)
            .filter(|name| meant.scope.covers(name));
        let held: Vec<(Hold, HoldState)> = names
            .flat_map(|name| self.watched.index().states(name))
            .collect();
        let is_meant = |hold: &Hold| {
            meant.epoch.is_none_or(|only| *only == hold.epoch) && !(meant.spared)(&hold.epoch)
        };
        let whole = meant.epoch.is_some() || *meant.scope == Scope::All;
        let ends = |hold: &Hold| {
            !hold.source.is_declared() && (whole || self.watched.index().is_of_one(&hold.epoch))
        };
        let held = held
            .into_iter()
            .filter(|(_, state)| *state != HoldState::Over)
            .map(|(hold, _)| hold);
        let (end, stay): (Vec<_>, Vec<_>) = held.filter(is_meant).partition(ends);
        (stay, end.into_iter().map(|hold| hold.epoch).collect())
    }
}

fn not_recorded(error: LedgerError) -> DesiredError {
    match error {
        LedgerError::Undecided => DesiredError::Undecided,
        error => DesiredError::Unavailable(error.to_string()),
    }
}

#[async_trait]
impl Desired for ClusterDesired {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.watched.index().declared()
    }

    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.watched.index().find(name)
    }

    fn begin(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.watched.begin_pass(name)
    }

    async fn refresh(&self) {
        if self.leadership.leads() {
            let turn = self.looks.fetch_add(lookups::AT_ONCE, Ordering::Relaxed);
            lookups::look(&self.client, &self.watched, turn).await;
        }
    }

    /// Git owns the levels.
    fn declarations(&self) -> Option<&dyn Declarations> {
        None
    }

    /// The object first: it is what every gate hears of, and a stop waits for no ledger.
    async fn take(
        &self,
        held: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError> {
        let (asked, epoch) = (record.answer.clone(), held.hold.epoch.clone());
        self.announce(&held).await?;
        let receipt = self
            .record(Change {
                holds_taken: vec![held],
                ..Change::of(record)
            })
            .await?;
        let over = receipt.over.contains(&epoch);
        if over {
            self.watched.over(&epoch);
        } else {
            self.watched.sent().recorded(&epoch, self.watched.elapsed());
        }
        Ok(HoldTaken {
            over,
            answer: receipt.answer.unwrap_or(asked),
        })
    }

    async fn announce(&self, held: &ScopedHold) -> Result<(), DesiredError> {
        let epoch = &held.hold.epoch;
        if self.watched.index().is_over(epoch)
            || !self.watched.sent().begins(held, self.watched.elapsed())
        {
            return Ok(());
        }
        let late = || {
            Err(DesiredError::Unavailable(
                "the API server does not answer".to_owned(),
            ))
        };
        // Who is not heard, by us or because nobody waits for this, may have made it all the same.
        let made = timeout(MAKING, override_objects::create(&self.client, held))
            .await
            .unwrap_or_else(|_| late());
        if self
            .watched
            .sent()
            .heard(epoch, &made, self.watched.elapsed())
        {
            self.watched.leaves_behind();
        }
        made
    }

    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        mut record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        let (held_by, mut epochs) = self.endings(meant);
        epochs.extend(meant.alone.iter().cloned());
        let mut ended = ReviveOutcome {
            held_by,
            ..ReviveOutcome::default()
        };
        record.answer.set(
            "held_by",
            serde_json::json!(ended.held_by.iter().map(HeldBy::from).collect::<Vec<_>>()),
        );
        record.answer.set("ended", serde_json::json!(epochs));
        if epochs.is_empty() {
            ended.answer = Some(record.answer);
            return Ok(ended);
        }
        let stays = |hold: &Hold| hold.is_kill() && !epochs.contains(&hold.epoch);
        let all = self.declared();
        let mut names = all
            .iter()
            .map(|declared| &declared.name)
            .filter(|name| meant.scope.covers(name));
        if names.any(|name| {
            self.watched
                .index()
                .states(name)
                .iter()
                .any(|(hold, _)| stays(hold))
        }) {
            "killed".clone_into(&mut record.audit.after);
        }
        let epochs: Vec<Epoch> = epochs.into_iter().collect();
        self.end_recorded(record, epochs, ended).await
    }

    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch> {
        self.endings(meant).1
    }

    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError> {
        let Some(ledger) = &self.ledger else {
            return Ok(Resolution::default());
        };
        let asked = async {
            ledger.check().await?;
            ledger.has(once).await
        };
        let late = LedgerError::Unavailable("it does not answer".to_owned());
        if !timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(late))
            .map_err(not_recorded)?
        {
            return Ok(Resolution::default());
        }
        let all = self.watched.index().override_holds();
        let stays = |epoch: &Epoch| {
            all.get(epoch)
                .is_some_and(|(_, state)| *state != HoldState::Over)
        };
        Ok(Resolution {
            done: true,
            ended: ending
                .iter()
                .filter(|epoch| !stays(epoch))
                .cloned()
                .collect(),
        })
    }

    async fn resume_end(
        &self,
        record: &CommandRecord,
        ending: &[Epoch],
    ) -> Result<EndProgress, DesiredError> {
        let ending = self.ended_by(record, ending).await?;
        self.delete_overrides(record, &ending)
            .await
            .map(|(went, _)| went)
    }

    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError> {
        let asked = record.answer.clone();
        Ok(self
            .record(Change::of(record))
            .await?
            .answer
            .unwrap_or(asked))
    }
}
