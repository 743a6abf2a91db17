//! What the loop does beside all passes: a live look at what is declared, the holds that came and
//! went, and what the ledger is owed.
//!
//! No pass waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use tokio::time::sleep;

use crate::domain::throttle::Declared;

use super::patience::LedgerPatience;
use super::ticks::{LOOK_AGAIN, TICK};
use super::{LoopContext, ReconcileContext};

/// Shortest pause between two rounds: each goes over all throttles.
const PAUSE: Duration = Duration::from_millis(50);

/// Round after round: at every tick, when something was declared, and when a gate is held; each
/// second while the ledger is owed anything.
pub(super) async fn keep_up(shared: &LoopContext) {
    let parts = &shared.parts;
    loop {
        let known = parts.gate.tightenings();
        join(parts.desired.refresh(), record(shared, known)).await;
        let rest = sleep(PAUSE);
        let pause = if shared.records.is_clear() {
            TICK
        } else {
            LOOK_AGAIN
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.news.notified() => {}
            () = parts.gate.held_after(known) => {}
        }
        rest.await;
    }
}

/// Brings the record up to date, once.
pub(super) async fn record(shared: &LoopContext, known: u64) {
    let parts = &shared.parts;
    let patience = LedgerPatience {
        parts,
        throttle: None,
        known,
        hurries: false,
    };
    parts.latch.hold_alone(parts.clock.elapsed());
    if parts.leadership.leads() {
        shared.records.catch_up(&patience).await;
    } else {
        shared.records.settle(&patience).await;
    }
}

/// Everything declared, with the kills of this process.
pub(super) fn declared(parts: &ReconcileContext) -> Vec<Arc<Declared>> {
    let declared = parts.desired.declared().into_iter();
    declared
        .map(|throttle| parts.latch.with_its_kills(throttle))
        .collect()
}
