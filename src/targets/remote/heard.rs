//! What another site says of a throttle: its level, and who killed it there. Pure.
//!
//! Knows neither when it was asked nor what it was told.

use super::site::{Row, short};
use crate::domain::hold::Epoch;
use crate::domain::level::Level;
use crate::domain::target::{RemoteReadBack, RemoteSpec};
use crate::ports::TargetError;
use crate::source::crd_status::EchoThrottleStatus;

/// Kills of ours at one site that are ended with one order; there is one, but for a site that
/// counts otherwise.
const OURS: usize = 4;

/// What a site says of a throttle.
pub(super) fn read(
    rows: &[Row],
    spec: &RemoteSpec,
    sender: &str,
) -> Result<RemoteReadBack, TargetError> {
    let row = rows.iter().find(|row| row.name == spec.throttle.as_str());
    let row =
        row.ok_or_else(|| TargetError::Refused(format!("it has no throttle {}", spec.throttle)))?;
    let EchoThrottleStatus {
        declared,
        effective,
        holds,
        ..
    } = &row.status;
    let declared = declared
        .as_ref()
        .and_then(|declared| match declared.level_millionths {
            Some(millionths) => Level::from_millionths(millionths).ok(),
            None => Level::from_percent(declared.throttle_percent).ok(),
        });
    let declared = declared
        .ok_or_else(|| TargetError::Refused("it does not say what it has declared".to_owned()))?;
    let effective = effective
        .as_ref()
        .and_then(|effective| Level::from_millionths(effective.level_millionths).ok());
    let (ours, others): (Vec<_>, Vec<_>) = holds
        .iter()
        .filter(|hold| hold.throttle_percent.is_none())
        .partition(|hold| hold.kind == "Rest" && hold.operator == sender);
    let who = others
        .iter()
        .take(3)
        .map(|hold| format!("{} ({})", short(&hold.operator), short(&hold.reason)));
    let who = who.collect::<Vec<_>>().join("; ");
    Ok(RemoteReadBack {
        declared,
        effective: effective.unwrap_or(declared),
        killed: !(ours.is_empty() && others.is_empty()),
        ours: ours
            .iter()
            .take(OURS)
            .map(|hold| Epoch(hold.epoch.clone()))
            .collect(),
        others: (!others.is_empty()).then_some(who),
    })
}
