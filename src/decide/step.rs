//! The next level in force: kill, control law or plain ramp, whichever the evidence calls for.
//!
//! Pure; the loop gathers what is needed and remembers what came out.

use crate::domain::level::Level;
use crate::domain::observation::Signals;

use super::law::{Credit, Evaluation, Input, Law};
use super::opening::open_without_source;
use super::verdict::Reason;
use super::waiting::Waiting;

/// All that the next level depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// The most restrictive of specification and holds.
    pub asked: Level,
    /// Whether a kill hold is in force.
    pub killed: bool,
    /// The level in force.
    pub current: Level,
    /// The lowest level since the tick under way began: within one, automation at most halves what
    /// that admits.
    pub tick_level: Level,
    /// What was measured lately, if anything was.
    pub signals: Option<Signals>,
    /// Whether a source is declared that has to report: without it nothing opens further than
    /// automation closes.
    pub source_declared: bool,
    /// Requests a minute the gates were offered in the last window.
    pub offered_rpm: f64,
    /// What may be waiting: offered since the stop, and in the hour before it.
    pub waiting: Waiting,
    /// Opening credit as it was last written down.
    pub credit: Credit,
    /// Seconds since it was written down.
    pub credit_age_s: f64,
    /// Seconds since the last step.
    pub elapsed_s: f64,
    /// Fastest opening without evidence, percent points a second.
    pub ramp_percent_per_second: f64,
}

/// The next level and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NextLevel {
    /// The level to put in force.
    pub level: Level,
    /// What decided it.
    pub reason: Reason,
    /// Whether it stands above what was asked for because of what was measured.
    pub shedding: bool,
    /// The credit to write down, where the law was asked and might open.
    pub credit: Option<Credit>,
    /// Whether a declared source is silent.
    pub stale: bool,
}

/// The next level where several sources were heard, each a situation of its own: the worst word
/// wins, so that a calm one does not end what another one's alarm began. Without any, a full stop.
pub fn worst(law: &Law, heard: &[Situation]) -> NextLevel {
    let all = heard.iter().map(|situation| next_level(law, situation));
    let by_level =
        |a: &NextLevel, b: &NextLevel| a.level.cmp(&b.level).then(a.shedding.cmp(&b.shedding));
    let stop = NextLevel {
        level: Level::STOP,
        reason: Reason::Unknown,
        shedding: false,
        credit: None,
        stale: false,
    };
    all.max_by(by_level).unwrap_or(stop)
}

/// Decides the next level.
pub fn next_level(law: &Law, s: &Situation) -> NextLevel {
    if s.killed {
        return NextLevel {
            level: Level::STOP,
            reason: Reason::Kill,
            shedding: false,
            credit: None,
            stale: false,
        };
    }
    let answer = s
        .signals
        .and_then(|signals| law.evaluate(&measured(s, signals)).ok());
    match answer {
        Some(answer) => by_law(s, &answer),
        None => by_ramp(law, s),
    }
}

/// What the control law is asked, where something was measured.
fn measured(s: &Situation, signals: Signals) -> Input {
    let signals = Signals {
        throttle_pct: s.current.fraction(),
        requests_per_minute: signals.requests_per_minute.max(s.offered_rpm),
        ..signals
    };
    Input {
        signals,
        target: s.asked,
        killed: false,
        // While it is being measured nothing opens, and no credit is spent.
        credit: if s.waiting == Waiting::Unmeasured {
            0.0
        } else {
            s.credit.at(s.credit_age_s)
        },
        waiting_rpm: if let Waiting::AtMost(rpm) = s.waiting {
            Some(rpm)
        } else {
            None
        },
    }
}

/// The next level by what the control law said of what was measured.
fn by_law(s: &Situation, answer: &Evaluation) -> NextLevel {
    let reason = if answer.level == Level::OPEN {
        Reason::None
    } else {
        Reason::from(answer.binding)
    };
    let shedding = answer.automatic > s.asked && answer.level >= answer.automatic;
    let spent = || s.credit.after(s.credit_age_s, s.current, answer);
    let credit = (s.waiting != Waiting::Unmeasured).then(spent);
    // However often it is asked within a tick: what is measured again is no second tick.
    let half = Level::saturating(f64::midpoint(1.0, s.tick_level.fraction()));
    let most = half.safer(s.current).safer(s.asked);
    NextLevel {
        level: answer.level.min(most),
        reason,
        shedding,
        credit,
        stale: false,
    }
}

/// The next level by time alone, where nothing was measured that the control law can go by.
fn by_ramp(law: &Law, s: &Situation) -> NextLevel {
    let ramp = s.ramp_percent_per_second;
    // A declared source that is silent: opening goes down to what automation alone would close to,
    // and holds there.
    let limit = Level::saturating(law.automatic_most).min(s.current);
    let towards = if s.source_declared {
        s.asked.safer(limit)
    } else {
        s.asked
    };
    let level = open_without_source(s.current, towards, s.elapsed_s, ramp, s.waiting, law);
    let reason = if level == Level::OPEN {
        Reason::None
    } else {
        Reason::Target
    };
    NextLevel {
        level,
        reason,
        shedding: false,
        credit: None,
        stale: s.source_declared,
    }
}
