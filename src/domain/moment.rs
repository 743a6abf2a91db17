//! A moment by both clocks: the wall clock's for records, the monotonic one's for every age.
//!
//! Knows no clock. Whoever subtracts takes `elapsed`: the wall clock may have been set in between.

use std::time::Duration;

use jiff::Timestamp;

/// One moment of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the wall clock said: for records and answers, and the hour of a salt.
    pub wall: Timestamp,
    /// Time since some fixed moment of this process, which nobody sets: for every age.
    pub elapsed: Duration,
}
