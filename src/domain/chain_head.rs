//! The head of a chained table: number and hash of its newest row, as it leaves the machine.
//!
//! Pure text. A head that lives elsewhere is what tells a table whose end was cut from one that is
//! whole; which tables there are is the store's to say.

use std::fmt;

/// Bits of a hash that a metric bears: a double holds 53 exactly.
pub const METRIC_BITS: usize = 48;

/// The newest row of one chained table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The guide's name of the table.
    pub table: &'static str,
    /// The row's number; 0 before the first.
    pub seq: i64,
    /// Its hash, hex; 64 zeros before the first. Where it was typed, its first 12 digits or more.
    pub hash: String,
}

impl ChainHead {
    /// The first 48 bits of the hash as a number, which a double holds exactly.
    pub fn hash48(&self) -> u64 {
        self.hash
            .get(..METRIC_BITS / 4)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .unwrap_or_default()
    }
}

/// As `verify --head` takes it.
impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.table, self.seq, self.hash)
    }
}
