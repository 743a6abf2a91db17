//! The outbox worker: takes what the ledger owes, upserts it, tells the ledger what arrived. For
//! ever, and patiently.
//!
//! Decides nothing about rows ([`super::backlog`], [`super::rows`]) nor about pauses
//! ([`super::retry`]); never on the way of a kill, a verdict or a commit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::airtable::{Airtable, AirtableError};
use super::backlog::Backlog;
use super::counters::MirrorCounters;
use super::retry::{Pause, RetryPolicy};
use super::rows::Layout;
use super::tables::TABLES;
use crate::ports::{Clock, Ledger, LedgerError, OutboxRow};

/// How often to look without being woken: with a request's time it keeps a record's five seconds.
const TICK: Duration = Duration::from_secs(2);

/// What a worker is made of.
pub struct WorkerParts {
    /// The base.
    pub airtable: Airtable,
    /// Who knows what is owed.
    pub ledger: Arc<dyn Ledger>,
    /// For waiting times, and for when the month turns.
    pub clock: Arc<dyn Clock>,
    /// Notified when something new is owed.
    pub wake: Arc<Notify>,
    /// Where it tells how it is doing.
    pub counters: Arc<MirrorCounters>,
    /// How long to pause.
    pub policy: RetryPolicy,
    /// A number from 0 to 1, another each time.
    pub jitter: fn() -> f64,
}

/// See the module.
pub struct Worker {
    parts: WorkerParts,
    /// By table; empty until the base's schema was read, and again after it proved to be another.
    layouts: BTreeMap<&'static str, Layout>,
    backlog: Backlog,
    /// Failures in a row.
    attempt: u32,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("airtable", &self.parts.airtable)
            .finish_non_exhaustive()
    }
}

/// What to do after a pass.
enum Next {
    Again,
    Idle,
    Rest(Pause),
}

/// Why a pass ended early.
enum PassError {
    Airtable(AirtableError),
    Ledger(LedgerError),
}

impl From<AirtableError> for PassError {
    fn from(error: AirtableError) -> Self {
        Self::Airtable(error)
    }
}

impl From<LedgerError> for PassError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Worker {
    /// A worker; it does nothing before [`Self::run`].
    pub fn new(parts: WorkerParts) -> Self {
        Self {
            parts,
            layouts: BTreeMap::new(),
            backlog: Backlog::default(),
            attempt: 0,
        }
    }

    /// Works until shutdown. A request under way is dropped then: upserting it again is harmless.
    pub async fn run(&mut self, shutdown: CancellationToken) {
        shutdown
            .run_until_cancelled_owned(async { self.forever().await })
            .await;
    }

    async fn forever(&mut self) {
        loop {
            let next = self.pass().await;
            let backlog = &self.backlog;
            self.parts
                .counters
                .set_backlog(backlog.parked(), backlog.oldest_since());
            match next {
                Next::Again => {}
                Next::Idle => drop(tokio::time::timeout(TICK, self.parts.wake.notified()).await),
                Next::Rest(pause) => self.rest(pause).await,
            }
        }
    }

    /// A wake does not shorten this: more work is no reason to ask a server that said no.
    async fn rest(&self, pause: Pause) {
        match pause {
            Pause::For(time) => tokio::time::sleep(time).await,
            Pause::Until { moment, at_most } => {
                self.parts
                    .counters
                    .set_quota_until(Some(moment.as_second()));
                // Looked at in ticks: the wall clock may be set meanwhile, either way.
                let began = self.parts.clock.elapsed();
                let waits = |clock: &dyn Clock| {
                    clock.now() < moment && clock.elapsed().saturating_sub(began) < at_most
                };
                while waits(self.parts.clock.as_ref()) {
                    tokio::time::sleep(TICK).await;
                }
                self.parts.counters.set_quota_until(None);
            }
        }
    }

    async fn pass(&mut self) -> Next {
        match self.send_next().await {
            Ok(next) => {
                self.attempt = 0;
                next
            }
            Err(PassError::Ledger(error)) => {
                warn!(%error, "the mirror cannot ask the ledger what is owed");
                Next::Idle
            }
            Err(PassError::Airtable(error)) => Next::Rest(self.pause_after(&error)),
        }
    }

    fn pause_after(&mut self, error: &AirtableError) -> Pause {
        self.attempt = self.attempt.saturating_add(1);
        // The base is not what we learned; reading its schema again is one call.
        if matches!(
            error,
            AirtableError::NotFound(_)
                | AirtableError::NotAllowed(_)
                | AirtableError::Unreadable(_)
        ) {
            self.layouts.clear();
        }
        let parts = &self.parts;
        let pause = parts.policy.pause(
            error.category(),
            self.attempt,
            parts.clock.now(),
            (parts.jitter)(),
        );
        warn!(%error, category = error.category().label(), attempt = self.attempt, ?pause, "the mirror pauses");
        pause
    }

    async fn send_next(&mut self) -> Result<Next, PassError> {
        let owed = self.parts.ledger.owed(self.backlog.wanted()).await?;
        let rows = self.backlog.next(owed, self.parts.clock.elapsed());
        let Some(table) = rows.first().map(|row| row.table.clone()) else {
            return Ok(Next::Idle);
        };
        // Told before it is tried, so that a long wait shows while it lasts.
        self.parts
            .counters
            .set_backlog(self.backlog.parked(), self.backlog.oldest_since());
        let Some(table) = TABLES.iter().find(|t| t.name == table) else {
            rows.iter()
                .for_each(|row| self.park(row, &"this version mirrors no such table"));
            return Ok(Next::Again);
        };
        if !self.layouts.contains_key(table.name) {
            self.learn().await?;
        }
        self.deliver(table.name, rows).await?;
        Ok(Next::Again)
    }

    /// Learns where things are in the base. Delivering half a record would look like a whole one,
    /// so all of it must be there.
    async fn learn(&mut self) -> Result<(), AirtableError> {
        let found = self.counted(self.parts.airtable.schema().await)?;
        for table in TABLES {
            let layout = Layout::learn(table, &found).map_err(|lacking| {
                let lacking = lacking.to_string().trim_end().replace('\n', "; ");
                AirtableError::NotFound(format!(
                    "run `echo-phoenix setup-airtable`; the base lacks: {lacking}"
                ))
            });
            self.layouts.insert(table.name, self.counted(layout)?);
        }
        Ok(())
    }

    /// Sends rows of one table; where Airtable rejects some, finds which by halves and sets those
    /// aside.
    async fn deliver(&mut self, table: &str, rows: Vec<OutboxRow>) -> Result<(), PassError> {
        let mut batches = VecDeque::from([rows]);
        while let Some(rows) = batches.pop_front() {
            match self.upsert(table, &rows).await {
                Ok(sent) => self.settle(&sent).await?,
                Err(error) if error.is_about_the_records() => match rows.as_slice() {
                    [row] => self.park(row, &error),
                    rows => batches.extend(
                        rows.chunks(if rows.len() > 5 { 5 } else { 1 })
                            .map(<[OutboxRow]>::to_vec),
                    ),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Upserts rows; answers those that were sent.
    async fn upsert(
        &mut self,
        table: &str,
        rows: &[OutboxRow],
    ) -> Result<Vec<OutboxRow>, AirtableError> {
        let Some(layout) = self.layouts.get(table).cloned() else {
            return Ok(Vec::new());
        };
        let (mut records, mut sent) = (Vec::new(), Vec::new());
        for row in rows {
            match layout.record(&row.key, &row.row) {
                Ok(record) => {
                    records.push(record);
                    sent.push(row.clone());
                }
                Err(error) => self.park(row, &error),
            }
        }
        if !records.is_empty() {
            let airtable = &self.parts.airtable;
            self.counted(
                airtable
                    .upsert(layout.table_id(), &[layout.key_field_id()], &records)
                    .await,
            )?;
        }
        Ok(sent)
    }

    /// If the ledger misses this, the rows stay owed and are upserted once more.
    async fn settle(&mut self, sent: &[OutboxRow]) -> Result<(), LedgerError> {
        self.parts.ledger.delivered(sent).await?;
        self.backlog.delivered(sent);
        self.parts.counters.add_delivered(sent.len());
        if self.attempt > 0 {
            info!("the mirror reaches Airtable again");
        }
        self.attempt = 0;
        Ok(())
    }

    fn park(&mut self, row: &OutboxRow, why: &dyn fmt::Display) {
        warn!(table = row.table, key = row.key, version = row.version, %why, "a row is set aside: Airtable will not have it");
        self.backlog.park(row);
    }

    fn counted<T>(&self, result: Result<T, AirtableError>) -> Result<T, AirtableError> {
        result.inspect_err(|error| self.parts.counters.add_failed(error.category()))
    }
}
