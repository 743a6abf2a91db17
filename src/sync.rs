//! What threads share and wait with, under one name, where the order in which they get to it
//! decides what holds: gate, latch, declared state and journal. `tests/interleavings` builds these
//! with a `sync` of its own, which tries such orders.
//!
//! Here it is nothing but other names for the standard library's, `parking_lot`'s, `arc_swap`'s and
//! tokio's. Its locks are not poisoned: a panic elsewhere must not take the brake's memory with it.
//! Knows nothing of ours.

pub(crate) use std::sync::{atomic, mpsc};
pub(crate) use std::thread;

pub(crate) use arc_swap::ArcSwap;
pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use tokio::spawn;
pub(crate) use tokio::time::{sleep, timeout};
