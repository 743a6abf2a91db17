//! What threads share and wait with, under one name, where the order in which they get to it
//! decides what holds: gate, latch, declared state and journal. `tests/interleavings` builds these
//! with a `sync` of its own, which tries such orders.
//!
//! Here it is nothing but other names for the standard library's, `arc_swap`'s and tokio's. Knows
//! nothing of ours.

pub(crate) use std::sync::{Mutex, MutexGuard, atomic, mpsc};
pub(crate) use std::thread;

pub(crate) use arc_swap::ArcSwap;
pub(crate) use tokio::spawn;
pub(crate) use tokio::time::{sleep, timeout};

/// Locks a mutex; a panic elsewhere must not take the brake's memory with it, so poison is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
