//! The beginning of a pass: what the targets are.
//!
//! Reads have a limit each, so that one silent target cannot hold up the others.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::decide::facts::TargetRead;
use crate::decide::waiting::Measured;
use crate::domain::level::Level;
use crate::domain::target::{ReadBack, TargetKind, TargetSpec};
use crate::domain::throttle::Declared;

use super::ReconcileContext;

/// How long one target may take to say what it is.
const READ_LIMIT: Duration = Duration::from_secs(3);

/// One target with what it was found to be.
pub(super) type Read = (TargetSpec, TargetRead);

pub(super) async fn read(parts: &ReconcileContext, throttle: &Arc<Declared>) -> Vec<Read> {
    join_all(throttle.targets.iter().map(|spec| async move {
        let Some(target) = parts.targets.get(&spec.kind()) else {
            return (
                spec.clone(),
                Err("this process cannot act on such a target".to_owned()),
            );
        };
        let read = match timeout(READ_LIMIT, target.read(throttle, spec)).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", READ_LIMIT.as_secs())),
        };
        (spec.clone(), read)
    }))
    .await
}

/// What the gates were offered; none where no gate is. One that cannot be read leaves it unknown.
pub(super) fn measured(reads: &[Read]) -> Option<Measured> {
    let gates = reads
        .iter()
        .filter(|(spec, _)| spec.kind() == TargetKind::Gate);
    let of = |read: &TargetRead| match read {
        Ok(ReadBack::Gate(gate)) => Measured {
            rpm: gate.offered_rpm,
            from: gate.measured_from,
        },
        _ => Measured::default(),
    };
    gates.map(|(_, read)| of(read)).reduce(|all, one| Measured {
        rpm: all.rpm + one.rpm,
        from: all.from.min(one.from),
    })
}

/// The level that the gates were found at, where they tell.
pub(super) fn level(reads: &[Read]) -> Option<Level> {
    let told = |read: &Read| {
        if let Ok(ReadBack::Gate(gate)) = &read.1 {
            gate.level
        } else {
            None
        }
    };
    reads.iter().filter_map(told).max()
}

/// Whether a kill began at one of the gates since the last pass.
pub(super) fn held(reads: &[Read]) -> bool {
    reads
        .iter()
        .any(|(_, read)| matches!(read, Ok(ReadBack::Gate(gate)) if gate.held))
}
