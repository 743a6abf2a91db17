//! What is looked up at the moment of asking, as samples: gauges, and counts that others keep.
//!
//! Counts nothing itself, and writes no text.

use std::time::Duration;

use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::telemetry::families::{self, Samples};
use crate::telemetry::kill_path::Proof;
use crate::telemetry::ledger_gauges::float;
use crate::telemetry::{lost_lines, process};

/// Verdicts: whether admitted, why (a word of a fixed set), how many.
pub type Verdicts = Vec<(bool, &'static str, u64)>;

/// What the loop found of one throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopFindings {
    /// Whether it is in force everywhere.
    pub enforced: bool,
    /// Differences that are open.
    pub drifts: usize,
    /// Whole percent its gate was measured to refuse, where enough was asked.
    pub refused_percent: Option<i32>,
}

/// Where one throttle stands, for its gauges.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleGauges {
    /// The throttle's name.
    pub throttle: String,
    /// Level in force.
    pub level: Level,
    /// Whether a kill holds.
    pub killed: bool,
    /// When the state behind it was last confirmed, by the monotonic clock.
    pub confirmed_at: Duration,
    /// What the loop found; none where no loop runs.
    pub found: Option<LoopFindings>,
    /// Callers seen in this hour, about; only where the throttle declares a key.
    pub callers: Option<u64>,
    /// Verdicts so far.
    pub verdicts: Verdicts,
}

/// What is looked up at the moment of asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// The moment, by the monotonic clock.
    pub at: Duration,
    /// When the process started.
    pub started: Moment,
    /// Its role.
    pub mode: &'static str,
    /// Commands the ledger lacks, by where they are.
    pub commands_lacking: [(&'static str, u64); 2],
    /// Clients forgotten by the rate limit.
    pub forgotten: u64,
    /// Words for how it is, and which of them it is.
    pub health: Vec<(&'static str, bool)>,
    /// Its parts that are on, and whether each is well.
    pub checks: Vec<(&'static str, bool)>,
    /// Its throttles.
    pub throttles: Vec<ThrottleGauges>,
}

impl Scrape {
    /// Each throttle's level, and what the loop found of it.
    pub(super) fn in_force(&self) -> [Samples<'_>; 5] {
        let flag = |is: bool| f64::from(u8::from(is));
        [
            (
                &families::LEVEL,
                self.of_each(|one| Some(one.level.fraction())),
            ),
            (
                &families::KILLED,
                self.of_each(|one| Some(flag(one.killed))),
            ),
            (
                &families::STATE_AGE,
                self.of_each(|one| Some(age(one.confirmed_at, self.at))),
            ),
            (
                &families::ENFORCED,
                self.of_each(|one| Some(flag(one.found?.enforced))),
            ),
            (
                &families::DRIFTS,
                self.of_each(|one| Some(float(one.found?.drifts as u64))),
            ),
        ]
    }

    /// What the gates were asked, and what they said.
    pub(super) fn asked(&self) -> [Samples<'_>; 3] {
        let said = |admitted: bool| if admitted { "allow" } else { "deny" };
        let verdicts = self.throttles.iter().flat_map(|one| {
            one.verdicts.iter().map(move |(admitted, why, count)| {
                (
                    vec![one.throttle.as_str(), said(*admitted), *why],
                    float(*count),
                )
            })
        });
        [
            (
                &families::REFUSED,
                self.of_each(|one| Some(f64::from(one.found?.refused_percent?) / 100.0)),
            ),
            (
                &families::CALLERS,
                self.of_each(|one| Some(float(one.callers?))),
            ),
            (&families::VERDICTS, verdicts.collect()),
        ]
    }

    /// How the process is, and its parts.
    pub(super) fn health(&self) -> [Samples<'_>; 2] {
        [
            (&families::HEALTH, &self.health),
            (&families::CHECK, &self.checks),
        ]
        .map(|(of, found)| {
            let samples = found
                .iter()
                .map(|(name, is)| (vec![*name], f64::from(u8::from(*is))));
            (of, samples.collect())
        })
    }

    /// What is not where it should be: commands, clients, lines of the log.
    pub(super) fn lost(&self) -> [Samples<'_>; 3] {
        let lacking = self
            .commands_lacking
            .iter()
            .map(|(place, count)| (vec![*place], float(*count)));
        [
            (&families::LACKING, lacking.collect()),
            (&families::FORGOTTEN, vec![(vec![], float(self.forgotten))]),
            (
                &families::LOG_LOST,
                vec![(vec![], float(lost_lines().lines))],
            ),
        ]
    }

    /// Which program this is, since when it runs, and what it uses.
    pub(super) fn process(&self) -> [Samples<'_>; 6] {
        let usage = process::usage();
        let used = |value: Option<f64>| value.map(|value| (vec![], value)).into_iter().collect();
        [
            (
                &families::BUILD,
                vec![(vec![env!("CARGO_PKG_VERSION"), self.mode], 1.0)],
            ),
            (
                &families::UPTIME,
                vec![(vec![], age(self.started.elapsed, self.at))],
            ),
            (
                &families::START,
                vec![(vec![], self.started.wall.as_duration().as_secs_f64())],
            ),
            (&families::MEMORY, used(usage.memory)),
            (&families::CPU, used(usage.cpu)),
            (&families::FILES, used(usage.files)),
        ]
    }

    /// A sample of each throttle that has one.
    fn of_each(&self, value: impl Fn(&ThrottleGauges) -> Option<f64>) -> Vec<(Vec<&str>, f64)> {
        self.throttles
            .iter()
            .filter_map(|one| Some((vec![one.throttle.as_str()], value(one)?)))
            .collect()
    }
}

/// Whether each way of the kill path was proven, and how long ago.
pub(super) fn proven(proofs: &[(String, Proof)], now: Duration) -> [Samples<'_>; 2] {
    let ok = |proof: &Proof| f64::from(u8::from(proof.found.is_ok()));
    let proven = proofs
        .iter()
        .map(|(via, proof)| (vec![via.as_str()], ok(proof)));
    let ages = proofs
        .iter()
        .filter_map(|(via, proof)| Some((vec![via.as_str()], age(proof.proven_at?, now))));
    [
        (&families::KILL_PATH, proven.collect()),
        (&families::KILL_PATH_AGE, ages.collect()),
    ]
}

/// Seconds between two moments of the monotonic clock.
fn age(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64()
}
