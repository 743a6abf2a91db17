//! OUT: the mirror in Airtable, a window on the ledger that people can read without a key to the
//! service.
//!
//! The ledger is the truth: nothing here is on a hot path, and nothing waits for Airtable. Knows no
//! Kubernetes, no HTTP server, no SQL; what it owes it learns from [`crate::ports::Ledger`].

pub mod airtable;
mod backlog;
pub mod counters;
pub mod retry;
pub mod rows;
pub mod setup;
pub mod tables;
pub mod worker;
