//! What the targets told, put together: what the law reads of several gates.

use crate::decide::facts::TargetRead;
use crate::decide::waiting::Measured;
use crate::domain::level::Level;
use crate::domain::target::{ReadBack, TargetKind, TargetSpec};

/// One target with what it was found to be.
pub(super) type Read = (TargetSpec, TargetRead);

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
