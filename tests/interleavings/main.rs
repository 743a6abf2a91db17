//! The orders in which threads may get to what they share: gate, latch, declared state and journal,
//! as src/ has them, built on shuttle's locks, atomics, queues and threads (`sync.rs`) in place of
//! those of src/sync.rs. Shuttle decides at each of them who goes on, and a test runs under
//! thousands of such orders; where a race is small, under all of them.
//!
//! What they find is shown with its schedule: ECHO_SCHEDULE=schedule in the environment of that
//! test alone runs it again, SHUTTLE_RANDOM_SEED=seed where there is one, and ECHO_TRACE=1 tells
//! the steps. Weak memory is not tried: every order here is one of whole steps.
//!
//! Time has no length here, a limit may be over at any look. How long things take, with disks that
//! hang and a process that ends at any write, is tests/model's, in virtual time and on one thread.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

mod book;
mod commands;
mod gate_races;
mod journal_races;
mod sync;
mod tries;

/// The program's own sources. They say `crate::sync`, which is ours here.
#[path = "../../src"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a part of the program, of which the tests ask a part"
)]
mod code {
    pub(crate) mod decide;
    pub(crate) mod desired {
        //! Of the declared state what threads share.
        pub(crate) mod ledger;
    }
    pub(crate) mod domain;
    pub(crate) mod gate;
    pub(crate) mod latch;
    pub(crate) mod ports;
    pub(crate) mod store {
        //! Of the store what threads share.
        pub(crate) mod journal;
    }
    pub(crate) mod wake;
}

use code::{decide, desired, domain, gate, latch, ports, store, wake};
