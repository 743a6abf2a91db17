//! What the record needs once a minute: its heads leave the machine, what gates counted is written
//! down, and what may be forgotten goes.
//!
//! A head that lives elsewhere (logs are shipped, metrics scraped) is what tells a table whose end
//! was cut: `verify --head`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::supervise::Supervisor;
use crate::decide::clocks::Agreement;
use crate::domain::audit::{Change, StateRow};
use crate::domain::chain_head::ChainHead;
use crate::domain::throttle::ThrottleName;
use crate::gate::{Gate, ThrottleSnapshot};
use crate::http::{App, watch_ledger};
use crate::ports::{Clock, Ledger, LedgerError, LedgerUpkeep};
use crate::store::StandbyLedger;
use crate::telemetry::{Metrics, RecordGauges, TableHead};

/// How often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long observations are kept; of all else only clients' keys are ever forgotten, after their
/// day.
const STATES_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Who counted, in `system_state`.
const GATE: &str = "gate";

/// Starts it.
pub(super) fn keep_up(supervisor: &mut Supervisor, ledger: &Arc<StandbyLedger>, app: &App) {
    let upkeep = Arc::new(Upkeep {
        ledger: Arc::<StandbyLedger>::clone(ledger),
        record: Arc::<StandbyLedger>::clone(ledger),
        gate: Arc::clone(&app.core.gate),
        metrics: Arc::clone(&app.core.metrics),
        clock: Arc::clone(&app.core.clock),
    });
    supervisor.keep_up("upkeep", move |stop| Arc::clone(&upkeep).run(stop));
    let app = app.clone();
    supervisor.keep_up("ledger-look", move |stop| watch_ledger(app.clone(), stop));
}

/// What it looks after, and where it tells.
struct Upkeep {
    ledger: Arc<dyn Ledger>,
    /// The same, as it is kept.
    record: Arc<dyn LedgerUpkeep>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

/// What was counted of each throttle when it was last written down.
type Counted = HashMap<ThrottleName, (u64, u64)>;

impl Upkeep {
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (mut counted, mut dropped, mut agreement) = (Counted::new(), 0, None);
        loop {
            if let Err(error) = self.look(&mut dropped).await {
                tracing::warn!(%error, "the ledger's heads cannot be told");
            }
            if let Err(error) = self.write_counts(&mut counted).await {
                tracing::warn!(%error, "what gates counted was not written down");
            }
            if let Err(error) = self.prune(&mut agreement).await {
                tracing::warn!(%error, "old observations and expired keys were not removed");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(UPKEEP_INTERVAL) => {}
            }
        }
    }

    /// `dropped`: how many rows of the outbox were gone when that was last told.
    async fn look(&self, dropped: &mut i64) -> Result<(), LedgerError> {
        let (heads, outbox) = (self.record.heads().await?, self.record.outbox().await?);
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        let head = |head: &ChainHead| TableHead {
            table: head.table,
            seq: number(head.seq),
            hash48: head.hash48(),
        };
        self.metrics.set_record(RecordGauges {
            heads: heads.iter().map(head).collect(),
            outbox_rows: number(outbox.rows),
            outbox_dropped: number(outbox.dropped),
        });
        let heads: Vec<_> = heads.iter().map(ChainHead::to_string).collect();
        tracing::info!(heads = heads.join(" "), "ledger heads");
        if outbox.dropped > *dropped {
            let said = "too many rows waited for the mirror: the oldest will not get there; the ledger has them";
            tracing::warn!(dropped = outbox.dropped, "{said}");
            *dropped = outbox.dropped;
        }
        Ok(())
    }

    /// One observation of each throttle that was asked for since.
    async fn write_counts(&self, counted: &mut Counted) -> Result<(), LedgerError> {
        let at = self.clock.now();
        let all = self.gate.standings();
        let states: Vec<_> = all
            .iter()
            .filter_map(|standing| row(standing, counted, at))
            .collect();
        if states.is_empty() {
            return Ok(());
        }
        self.ledger
            .commit(Change {
                states,
                ..Change::default()
            })
            .await?;
        *counted = all
            .into_iter()
            .map(|one| (one.name, (one.offered, one.admitted)))
            .collect();
        Ok(())
    }

    /// Forgets what may be forgotten, a little at a time; only by a wall clock that can be
    /// believed.
    async fn prune(&self, agreement: &mut Option<Agreement>) -> Result<(), LedgerError> {
        let moment = self.clock.moment();
        let agreed = Agreement::seen(*agreement, moment);
        *agreement = Some(agreed);
        if !agreed.is_long(moment) {
            return Ok(());
        }
        let now = moment.wall;
        let states_before = now.checked_sub(STATES_KEPT).unwrap_or_default();
        while self.record.prune(states_before, now).await? > 0 {}
        Ok(())
    }
}

/// What a gate counted since it was last written down; nothing if nobody asked.
fn row(standing: &ThrottleSnapshot, counted: &Counted, at: Timestamp) -> Option<StateRow> {
    let (offered, admitted) = counted.get(&standing.name).copied().unwrap_or_default();
    let offered = standing.offered.saturating_sub(offered);
    let state = json!({
        "throttle_pct": standing.level.fraction(), "killed": standing.killed(),
        "offered": offered, "admitted": standing.admitted.saturating_sub(admitted),
    });
    let throttle = standing.name.clone();
    (offered > 0).then(|| StateRow {
        at,
        source: GATE.to_owned(),
        throttle,
        state: state.to_string(),
    })
}
