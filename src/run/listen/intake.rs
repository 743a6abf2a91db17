//! One budget of bytes for all that clients have begun and not finished: heads and bodies on their way, answers not taken.
//!
//! When it is spent, those that hold most lose their connection, so that however many begin and do not go on, memory stays
//! what it is. A head's first bytes are free: whoever asks for a verdict or sends a kill holds nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;

use super::connection::Connection;
use crate::telemetry::Metrics;

/// What a request may hold without being counted.
pub(super) const FREE: u64 = 4096;
/// What hyper keeps free behind what it has read of a head; it doubles its buffer for it.
const AHEAD: u64 = 8192;
/// Which part of the budget is made free at once when it is spent, so that looking for holders is rare.
const SHARE: u64 = 16;

/// The budget of this process.
pub(in crate::run) struct Intake {
    budget: u64,
    held: AtomicU64,
    /// Whoever held something since the last look through them.
    holders: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Connections so far.
    connections: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Intake {
    /// So many bytes.
    pub(in crate::run) fn new(budget: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            held: AtomicU64::new(0),
            holders: Mutex::default(),
            connections: AtomicU64::new(0),
            metrics,
        })
    }

    /// The number of one more connection.
    pub(super) fn number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    fn spent(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.budget
    }

    /// Ends those that hold most, until a part of the budget is free. What they hold counts until they are gone.
    fn make_room(&self) {
        // Whoever finds somebody at it need not do it again.
        let Ok(mut holders) = self.holders.try_lock() else { return };
        holders.retain(|_, one| one.held.bytes() > 0);
        let bytes = |one: &Arc<Connection>| one.held.bytes();
        let going: u64 = holders.values().filter(|one| one.shall_end()).map(bytes).sum();
        let mut over = self.held.load(Ordering::Relaxed).saturating_sub(going);
        let enough = self.budget - self.budget / SHARE;
        let mut able: Vec<_> = holders.values().filter(|one| !one.shall_end() && one.waits().is_some()).collect();
        able.sort_unstable_by_key(|one| std::cmp::Reverse(bytes(one)));
        for one in able {
            if over <= enough {
                break;
            }
            over = over.saturating_sub(bytes(one));
            one.end();
            self.metrics.count_cut("intake");
        }
    }
}

/// What one connection holds. Only its own task changes it.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Read of the request that is on its way.
    read: AtomicU64,
    /// Most that a head of this connection took: the buffer behind it stays.
    head: AtomicU64,
    /// Of an answer, what waits to be taken.
    unsent: AtomicU64,
    /// What of all that is counted.
    counted: AtomicU64,
    /// Whether it ever was among the holders.
    listed: AtomicBool,
    /// Whether it let others go first, once for each time it reads.
    stood_back: AtomicBool,
}

impl Held {
    /// Bytes that are counted.
    fn bytes(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Whether more than a beginning of a request was read.
    pub(super) fn some(&self) -> bool {
        self.read.load(Ordering::Relaxed) > 0
    }
}

impl Connection {
    /// Bytes of a request came.
    pub(super) fn holds(self: &Arc<Self>, more: u64, of_a_head: bool) {
        let read = self.held.read.load(Ordering::Relaxed) + more;
        self.held.read.store(read, Ordering::Relaxed);
        if of_a_head && read > self.held.head.load(Ordering::Relaxed) {
            self.held.head.store(read, Ordering::Relaxed);
        }
        self.count();
    }

    /// The request has come whole, or will not be read any further.
    pub(super) fn came_whole(self: &Arc<Self>) {
        self.held.read.store(0, Ordering::Relaxed);
        self.count();
    }

    /// So much of an answer was not taken.
    pub(super) fn left_unsent(self: &Arc<Self>, bytes: u64) {
        if self.held.unsent.swap(bytes, Ordering::Relaxed) != bytes {
            self.count();
        }
    }

    fn count(self: &Arc<Self>) {
        let held = &self.held;
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let read = load(&held.read).max(buffer_of(load(&held.head)));
        let holds = read.saturating_sub(FREE) + load(&held.unsent).saturating_sub(FREE);
        let before = held.counted.swap(holds, Ordering::Relaxed);
        if holds == before {
            return;
        }
        if holds > before {
            self.intake.held.fetch_add(holds - before, Ordering::Relaxed);
        } else {
            self.intake.held.fetch_sub(before - holds, Ordering::Relaxed);
        }
        if before == 0 {
            held.listed.store(true, Ordering::Relaxed);
            let mut holders = self.intake.holders.lock().unwrap_or_else(PoisonError::into_inner);
            holders.insert(self.number, Arc::clone(self));
        }
    }

    /// Whether it may read on. While the budget is spent it makes room and lets those go first who lose their place.
    pub(super) fn may_read(self: &Arc<Self>, cx: &mut Context<'_>) -> bool {
        let held = &self.held;
        let free = held.read.load(Ordering::Relaxed) < FREE;
        if free || !self.intake.spent() || held.stood_back.swap(false, Ordering::Relaxed) {
            return true;
        }
        self.intake.make_room();
        held.stood_back.store(true, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        false
    }

    /// Gives back what it holds, at its end.
    pub(super) fn gives_back(&self) {
        let held = self.held.counted.swap(0, Ordering::Relaxed);
        self.intake.held.fetch_sub(held, Ordering::Relaxed);
        if self.held.listed.load(Ordering::Relaxed) {
            self.intake.holders.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        }
    }
}

/// The buffer behind so much of a head.
fn buffer_of(head: u64) -> u64 {
    if head <= FREE { head } else { (head + AHEAD).next_power_of_two() }
}
