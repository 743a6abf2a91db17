//! What another site is told: it gets kills and the declared level, never the automatic one and
//! never the ramp, which its own law makes.
//!
//! Its own holds are its own: only kills that this throttle sent are ended.

use super::{StepWords, TargetPlan, TargetStanding, drift};
use crate::decide::facts::{Facts, TargetRead};
use crate::domain::audit::AuditAction;
use crate::domain::drift::{Drift, DriftAction, Side};
use crate::domain::hold::{Epoch, Hold};
use crate::domain::level::Level;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::remote::own_kills;
use crate::domain::report::StatusRow;
use crate::domain::target::{
    Action, ReadBack, RemoteOrder, RemoteReadBack, RemoteSent, RemoteSpec, TargetMemory,
};
use crate::domain::throttle::Mode;

/// Longest reason that `/kill` takes, characters.
const REASON_LIMIT: usize = 1024;

/// One site while its step is found.
struct Site<'a> {
    facts: &'a Facts<'a>,
    spec: &'a RemoteSpec,
    sent: Option<RemoteSent>,
    observing: bool,
}

pub(super) fn plan(
    facts: &Facts<'_>,
    spec: &RemoteSpec,
    read: &TargetRead,
    known: Option<TargetMemory>,
) -> TargetPlan {
    let site = Site {
        facts,
        spec,
        sent: of(known),
        observing: facts.throttle.mode == Mode::Observe,
    };
    let kills: Vec<&Hold> = own_kills(&facts.throttle.holds).collect();
    match read {
        Ok(ReadBack::Remote(found)) if !kills.is_empty() => site.stop(found, &kills),
        Ok(ReadBack::Remote(found)) if !facts.killed => site.run(found),
        // Killed by another site alone: that is not passed on, and nothing opens meanwhile.
        Ok(ReadBack::Remote(_)) => site.stays(true),
        // Nobody can say what it is: a stop is asked for all the same.
        _ if !kills.is_empty() && !site.observing => {
            site.order(stop_order(&kills), Side::Safer, None)
        }
        _ => site.stays(false),
    }
}

/// What a site last acknowledged.
fn of(known: Option<TargetMemory>) -> Option<RemoteSent> {
    match known {
        Some(TargetMemory::Remote(sent)) => Some(sent),
        _ => None,
    }
}

impl Site<'_> {
    /// It has to be killed, by a hold of ours: one of its own may end at any time.
    fn stop(&self, found: &RemoteReadBack, kills: &[&Hold]) -> TargetPlan {
        if found.killed && !found.ours.is_empty() {
            return self.agrees(RemoteSent {
                killed: true,
                ..self.sent.unwrap_or_default()
            });
        }
        let drifted = self.observing || self.sent.is_some_and(|sent| sent.killed);
        let (actual, side) = match &found.others {
            Some(others) => (format!("killed by others: {others}"), Side::Safer),
            None => ("running".to_owned(), Side::Riskier),
        };
        let drift = drifted.then(|| self.drift("killed", "killed by us", actual, side));
        if self.observing {
            TargetPlan {
                reported: drift,
                ..self.stays(false)
            }
        } else {
            self.order(stop_order(kills), Side::Safer, drift)
        }
    }

    /// It has to run at the declared level.
    fn run(&self, found: &RemoteReadBack) -> TargetPlan {
        let asked = self.facts.asked;
        if !found.ours.is_empty() {
            if self.observing {
                return self.reports("killed by us".to_owned());
            }
            let order = RemoteOrder::Revive {
                epochs: found.ours.clone(),
            };
            return self.order(order, Side::Riskier, None);
        }
        // While it only observes, a throttle asks for nothing but kills.
        if self.observing {
            return self.stays(true);
        }
        if found.killed {
            let others = found.others.clone().unwrap_or_default();
            return match self.sent {
                Some(_) => self.reports(format!("killed by others: {others}")),
                None => self.stays(false),
            };
        }
        if found.declared.millionths() == asked.millionths() {
            return self.agrees(RemoteSent {
                level: Some(asked),
                killed: false,
            });
        }
        let acknowledged = self.sent.and_then(|sent| sent.level).map(Level::millionths);
        let (side, points) = if asked < found.declared {
            (Side::Riskier, Side::Safer)
        } else {
            (Side::Safer, Side::Riskier)
        };
        let drift = (acknowledged == Some(asked.millionths())).then(|| {
            let actual = found.declared.to_string();
            self.drift("declared", &asked.to_string(), actual, points)
        });
        let order = RemoteOrder::Level {
            from: found.declared,
            to: asked,
            effective: found.effective,
        };
        self.order(order, side, drift)
    }

    /// Nothing is done.
    fn stays(&self, agrees: bool) -> TargetPlan {
        TargetPlan {
            agrees,
            ..TargetPlan::nothing(self.sent.map(TargetMemory::Remote))
        }
    }

    /// It is what it should be, so it was told that.
    fn agrees(&self, sent: RemoteSent) -> TargetPlan {
        let known = self.stays(true);
        if self.observing {
            return known;
        }
        TargetPlan {
            memory: Some(TargetMemory::Remote(sent)),
            ..known
        }
    }

    fn order(&self, order: RemoteOrder, side: Side, corrects: Option<Drift>) -> TargetPlan {
        let step = Step {
            action: Action::Remote {
                target: self.spec.clone(),
                order,
            },
            side,
            corrects,
        };
        TargetPlan {
            step: Some(step),
            ..self.stays(false)
        }
    }

    /// It is killed and should run, and that is not ours to change.
    fn reports(&self, actual: String) -> TargetPlan {
        let killed = Drift {
            action: DriftAction::Reported,
            ..self.drift("killed", "running", actual, Side::Safer)
        };
        TargetPlan {
            reported: Some(killed),
            ..self.stays(false)
        }
    }

    /// Its API names no writer of a level; of a kill `actual` does.
    fn drift(&self, field: &str, desired: &str, actual: String, side: Side) -> Drift {
        let values = (desired.to_owned(), actual);
        drift(self.facts, self.spec.id(), field, values, side)
    }
}

fn stop_order(kills: &[&Hold]) -> RemoteOrder {
    let reasons = kills
        .iter()
        .map(|hold| format!("{} ({})", hold.reason, hold.operator));
    let reason = reasons
        .collect::<Vec<_>>()
        .join("; ")
        .chars()
        .take(REASON_LIMIT)
        .collect();
    let mut epochs: Vec<_> = kills.iter().map(|hold| hold.epoch.clone()).collect();
    epochs.sort();
    RemoteOrder::Kill { epochs, reason }
}

/// Whether a site was told the same a moment ago.
pub(super) fn is_repeated(facts: &Facts<'_>, target: &RemoteSpec, order: &RemoteOrder) -> bool {
    let known = facts.patience.get(&target.id());
    known.is_some_and(|known| !known.allows(order.kind(), facts.now.elapsed))
}

/// What a site took is remembered, also where something of its own holds.
pub(super) fn remembered(
    order: &RemoteOrder,
    done: &StepOutcome,
    planned: Option<TargetMemory>,
) -> Option<TargetMemory> {
    if !matches!(done, StepOutcome::Yes | StepOutcome::Held(_)) {
        return planned;
    }
    let mut sent = of(planned).unwrap_or_default();
    match order {
        RemoteOrder::Kill { .. } => sent.killed = true,
        RemoteOrder::Revive { .. } => sent.killed = false,
        RemoteOrder::Level { to, .. } => sent.level = Some(*to),
    }
    Some(TargetMemory::Remote(sent))
}

/// What the audit log is told.
pub(super) fn words(target: &RemoteSpec, order: &RemoteOrder) -> StepWords {
    let (before, after) = match order {
        RemoteOrder::Kill { .. } => ("not killed by us".to_owned(), "killed".to_owned()),
        RemoteOrder::Revive { epochs } => {
            (format!("killed {}", listed(epochs)), "opening".to_owned())
        }
        RemoteOrder::Level { from, to, .. } => (from.to_string(), to.to_string()),
    };
    let id = target.id();
    StepWords {
        intent: AuditAction::RemoteIntent,
        outcome: AuditAction::Remote,
        before: format!("{id} {before}"),
        after: format!("{id} {after}"),
    }
}

fn listed(epochs: &[Epoch]) -> String {
    let all: Vec<_> = epochs.iter().map(|epoch| epoch.0.as_str()).collect();
    all.join(",")
}

/// The row of a site, and why it does not obey.
pub(super) fn told(read: &TargetRead, stands: &TargetStanding<'_>) -> (StatusRow, Option<String>) {
    let found = match read {
        Ok(ReadBack::Remote(found)) => Some(found),
        _ => None,
    };
    let row = StatusRow::Site {
        acknowledged: of(stands.memory.copied()),
        observed: found.cloned(),
    };
    let wrong = found.and_then(|found| {
        let refusal = stands.refusal.clone();
        refusal.or_else(|| (!stands.agrees).then(|| differs(found)))
    });
    (row, wrong)
}

/// What a site is where it is not what it should be.
fn differs(found: &RemoteReadBack) -> String {
    match (&found.others, found.killed) {
        (Some(others), _) => format!("killed there by {others}, who has to end it there"),
        (None, true) => "killed there".to_owned(),
        (None, false) => format!("declared {} there", found.declared.percent_words()),
    }
}
