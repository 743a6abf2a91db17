//! Where the record stands, looked up each minute: its ends, and what the mirror is owed.

use super::families::{self, Samples};

/// What is told of the record: all at once, so that no row is ever said with another one's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordGauges {
    /// Where the chained tables end.
    pub heads: Vec<TableHead>,
    /// Rows that wait for the mirror.
    pub outbox_rows: u64,
    /// Rows the mirror was owed and will not get.
    pub outbox_dropped: u64,
}

/// Where one chained table of the ledger ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableHead {
    /// The guide's name of the table.
    pub table: &'static str,
    /// Number of its newest row.
    pub seq: u64,
    /// The first 48 bits of that row's hash, which a double holds exactly.
    pub hash48: u64,
}

impl RecordGauges {
    /// Each family with its samples.
    pub(super) fn samples(&self) -> [Samples<'_>; 4] {
        let heads = |value: &dyn Fn(&TableHead) -> u64| {
            self.heads
                .iter()
                .map(|head| (vec![head.table], float(value(head))))
                .collect()
        };
        [
            (&families::HEAD_SEQ, heads(&|head| head.seq)),
            (&families::HEAD_HASH, heads(&|head| head.hash48)),
            (&families::OUTBOX, vec![(vec![], float(self.outbox_rows))]),
            (
                &families::DROPPED,
                vec![(vec![], float(self.outbox_dropped))],
            ),
        ]
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a count above 2^53 may lose its last digit"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
