//! What another site is told: it gets kills and the declared level, never the automatic one and
//! never the ramp, which its own law makes.
//!
//! Its own holds are its own: only kills that this throttle sent are ended.

use super::{Facts, Planned, drift};
use crate::domain::drift::{Drift, DriftAction, Side};
use crate::domain::hold::Hold;
use crate::domain::level::Level;
use crate::domain::plan::{Action, ReadBack, RemoteOrder, Step};
use crate::domain::remote::{RemoteReadBack, RemoteSent, own_kills};
use crate::domain::throttle::{Mode, RemoteSpec};

/// Longest reason that `/kill` takes, characters.
const REASON_LIMIT: usize = 1024;

/// One site while its steps are found.
struct Site<'a> {
    facts: &'a Facts<'a>,
    spec: &'a RemoteSpec,
    id: String,
    sent: Option<RemoteSent>,
    observing: bool,
}

pub(super) fn plan_remote(
    facts: &Facts<'_>,
    spec: &RemoteSpec,
    read: &Result<ReadBack, String>,
    out: &mut Planned,
) {
    let id = spec.id();
    let sent = facts.throttle.sent.get(&id).copied();
    let site = Site {
        facts,
        spec,
        id,
        sent,
        observing: facts.throttle.mode == Mode::Observe,
    };
    let kills: Vec<&Hold> = own_kills(&facts.throttle.holds).collect();
    match read {
        Ok(ReadBack::Remote(found)) if !kills.is_empty() => site.stop(found, &kills, out),
        Ok(ReadBack::Remote(found)) if !facts.killed => site.run(found, out),
        // Killed by another site alone: that is not passed on, and nothing opens meanwhile.
        Ok(ReadBack::Remote(_)) => out.agreeing.push(site.id),
        // Nobody can say what it is: a stop is asked for all the same.
        _ if !kills.is_empty() && !site.observing => {
            site.order(stop_order(&kills), Side::Safer, None, out)
        }
        _ => {}
    }
}

impl Site<'_> {
    /// It has to be killed, by a hold of ours: one of its own may end at any time.
    fn stop(self, found: &RemoteReadBack, kills: &[&Hold], out: &mut Planned) {
        if found.killed && !found.ours.is_empty() {
            let sent = RemoteSent {
                killed: true,
                ..self.sent.unwrap_or_default()
            };
            return self.agrees(sent, out);
        }
        let drifted = self.observing || self.sent.is_some_and(|sent| sent.killed);
        let (actual, side) = match &found.others {
            Some(others) => (format!("killed by others: {others}"), Side::Safer),
            None => ("running".to_owned(), Side::Riskier),
        };
        let drift = drifted.then(|| self.drift("killed", "killed by us", actual, side));
        if self.observing {
            out.plan.reported.extend(drift);
        } else {
            self.order(stop_order(kills), Side::Safer, drift, out);
        }
    }

    /// It has to run at the declared level.
    fn run(self, found: &RemoteReadBack, out: &mut Planned) {
        let asked = self.facts.asked;
        if !found.ours.is_empty() {
            if self.observing {
                out.plan
                    .reported
                    .push(self.killed("killed by us".to_owned()));
                return;
            }
            let order = RemoteOrder::Revive {
                epochs: found.ours.clone(),
            };
            return self.order(order, Side::Riskier, None, out);
        }
        // While it only observes, a throttle asks for nothing but kills.
        if self.observing {
            return out.agreeing.push(self.id);
        }
        if found.killed {
            let others = found.others.clone().unwrap_or_default();
            if self.sent.is_some() {
                out.plan
                    .reported
                    .push(self.killed(format!("killed by others: {others}")));
            }
            return;
        }
        if found.declared.millionths() == asked.millionths() {
            return self.agrees(
                RemoteSent {
                    level: Some(asked),
                    killed: false,
                },
                out,
            );
        }
        let acknowledged = self.sent.and_then(|sent| sent.level).map(Level::millionths);
        let points = if asked > found.declared {
            Side::Riskier
        } else {
            Side::Safer
        };
        let drift = (acknowledged == Some(asked.millionths())).then(|| {
            self.drift(
                "declared",
                &asked.to_string(),
                found.declared.to_string(),
                points,
            )
        });
        let order = RemoteOrder::Level {
            from: found.declared,
            to: asked,
            effective: found.effective,
        };
        let side = if asked < found.declared {
            Side::Riskier
        } else {
            Side::Safer
        };
        self.order(order, side, drift, out);
    }

    fn agrees(self, sent: RemoteSent, out: &mut Planned) {
        if !self.observing {
            out.sent.insert(self.id.clone(), sent);
        }
        out.agreeing.push(self.id);
    }

    fn order(self, order: RemoteOrder, side: Side, corrects: Option<Drift>, out: &mut Planned) {
        out.plan.steps.push(Step {
            action: Action::Remote {
                target: self.spec.clone(),
                order,
            },
            side,
            corrects,
        });
    }

    /// It is killed and should run, and that is not ours to change.
    fn killed(&self, actual: String) -> Drift {
        Drift {
            action: DriftAction::Reported,
            ..self.drift("killed", "running", actual, Side::Safer)
        }
    }

    /// Its API names no writer of a level; of a kill `actual` does.
    fn drift(&self, field: &str, desired: &str, actual: String, side: Side) -> Drift {
        drift(
            self.facts,
            &self.id,
            field,
            (desired.to_owned(), actual),
            side,
        )
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
