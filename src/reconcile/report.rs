//! What a pass found of one throttle, as it is told.

use std::sync::Arc;

use super::ReconcileContext;
use super::gather::Read;
use super::memory::Memory;
use super::started::Pass;
use crate::decide::outcome::PlanOutcome;
use crate::decide::plan::Planned;
use crate::decide::precedence::most_restrictive;
use crate::decide::targets::{self, TargetStanding};
use crate::decide::verdict::Reason;
use crate::domain::level::Level;
use crate::domain::report::PassReport;
use crate::domain::throttle::Mode;

/// What is told of a pass.
pub(super) fn report(
    parts: &ReconcileContext,
    pass: &Pass<'_>,
    reads: &[Read],
    planned: &Planned,
    outcome: PlanOutcome,
    memory: &Memory,
) -> PassReport {
    let Pass { throttle, want, .. } = *pass;
    // What is declared is told as it is, also where it is only observed.
    let declared = most_restrictive(throttle.level, Mode::Enforce, &throttle.holds);
    let in_force = if want.killed {
        Level::STOP
    } else {
        memory.law.level
    };
    let observed = reads.iter().map(|(spec, read)| {
        let id = spec.id();
        let stands = TargetStanding {
            agrees: planned.agreeing.contains(&id),
            refusal: memory.sites.refusal(&id),
            memory: outcome.memory.get(&id),
            in_force,
        };
        targets::report(spec, read, stands)
    });
    let observed = observed.collect();
    PassReport {
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
        memory: outcome.memory,
        drifted: planned.open.keys().cloned().collect(),
        trouble: outcome.trouble,
    }
}
