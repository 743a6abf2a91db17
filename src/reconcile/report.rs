//! Telling what a pass found of one throttle.

use std::sync::Arc;

use super::gather::Read;
use super::memory::Memory;
use super::{Pass, ReconcileContext};
use crate::decide::outcome::PlanOutcome;
use crate::decide::plan::Planned;
use crate::decide::precedence::most_restrictive;
use crate::decide::verdict::Reason;
use crate::domain::report::{PassReport, TargetReport};
use crate::domain::throttle::Mode;

/// Tells it whoever hears reports, if anybody does.
pub(super) async fn report(
    parts: &ReconcileContext,
    pass: &Pass<'_>,
    reads: &[Read],
    planned: &Planned,
    outcome: PlanOutcome,
    memory: &Memory,
) {
    let Some(to) = &parts.report else { return };
    let Pass { throttle, want, .. } = *pass;
    // What is declared is told as it is, also where it is only observed.
    let declared = most_restrictive(throttle.level, Mode::Enforce, &throttle.holds);
    let observed = reads
        .iter()
        .map(|(spec, read)| TargetReport {
            target: spec.id(),
            agrees: planned.agreeing.contains(&spec.id()),
            refusal: memory.sites.refusal(&spec.id()),
            read: read.clone(),
        })
        .collect();
    let told = PassReport {
        throttle: Arc::clone(throttle),
        at: parts.clock.now(),
        declared: declared.level,
        effective: memory.law.level,
        offered: memory.law.offer.rates().clone(),
        binding: if want.killed {
            Reason::Kill.as_str()
        } else {
            memory.law.reason.as_str()
        },
        source: declared.source,
        shedding: memory.law.shed.is_some(),
        stale: pass.next.stale,
        damped: planned.damped,
        observed,
        remembered: planned.remembered.clone(),
        acknowledged: outcome.acknowledged,
        sent: outcome.sent,
        drifted: planned.open.keys().cloned().collect(),
        trouble: outcome.trouble,
    };
    to.report(&told).await;
}
