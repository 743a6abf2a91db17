//! The gates of a throttle: the level they are put to, and whether they refuse what they should.

use super::{TargetPlan, TargetStanding, drift};
use crate::decide::facts::{Facts, TargetRead};
use crate::decide::precedence::most_restrictive;
use crate::domain::drift::{Drift, Side};
use crate::domain::level::{Level, nearest_percent};
use crate::domain::plan::Step;
use crate::domain::report::StatusRow;
use crate::domain::target::{Action, ReadBack, TargetId, TargetMemory};
use crate::domain::throttle::Mode;

/// Gates agree when all of them obey and none is off; the step that moves them is of all at once.
pub(super) fn plan(read: &TargetRead, known: Option<TargetMemory>) -> TargetPlan {
    let agrees = matches!(
        read,
        Ok(ReadBack::Gate(found)) if found.obeying == found.gates && !found.off
    );
    TargetPlan {
        agrees,
        ..TargetPlan::nothing(known)
    }
}

/// The step that puts gates to a level.
pub(in super::super) fn set_gate(facts: &Facts<'_>, level: Level) -> Step {
    Step {
        action: Action::SetGate {
            level,
            reason: facts.next.reason.as_str(),
            generation: facts.throttle.generation,
        },
        side: if level < facts.current {
            Side::Riskier
        } else {
            Side::Safer
        },
        corrects: None,
    }
}

/// What a throttle that only observes would refuse, and does not.
pub(in super::super) fn observed_level(facts: &Facts<'_>) -> Option<Drift> {
    let Facts {
        throttle, current, ..
    } = *facts;
    let declared = most_restrictive(throttle.level, Mode::Enforce, &throttle.holds).level;
    let differs = throttle.mode == Mode::Observe && !facts.killed && declared != current;
    let side = if declared > current {
        Side::Riskier
    } else {
        Side::Safer
    };
    differs.then(|| {
        drift(
            facts,
            TargetId::gate(),
            "level",
            (declared.to_string(), current.to_string()),
            side,
        )
    })
}

/// The row of gates, and what is wrong with those that refuse another share than they should.
pub(super) fn told(read: &TargetRead, stands: &TargetStanding<'_>) -> (StatusRow, Option<String>) {
    let Ok(ReadBack::Gate(gate)) = read else {
        return (StatusRow::None, None);
    };
    let row = StatusRow::Gates {
        count: gate.gates,
        obeying: gate.obeying,
        refused: gate.refused,
        callers: gate.callers,
    };
    if gate.off && gate.callers.is_some() {
        let wrong = "callers were told something else than the level gives them";
        return (row, Some(wrong.to_owned()));
    }
    let refused = gate.refused.filter(|_| gate.off).map(nearest_percent);
    let wrong = refused.map(|refused| {
        format!(
            "refuses {refused} % of what is asked, not {}",
            stands.in_force.percent_words()
        )
    });
    (row, wrong)
}
