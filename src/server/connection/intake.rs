//! One budget of bytes for all that clients have begun and not finished: heads and bodies on their
//! way, answers not taken.
//!
//! When it is spent, those that hold most lose their connection, so that however many begin and do
//! not go on, memory stays what it is. A head's first bytes are free: whoever asks for a verdict or
//! sends a kill holds nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use parking_lot::Mutex;

use super::Connection;
use crate::telemetry::Metrics;

/// What a request may hold without being counted.
pub(super) const FREE: u64 = 4096;
/// What hyper keeps free behind what it has read of a head; it doubles its buffer for it.
const AHEAD: u64 = 8192;
/// Which part of the budget is made free at once when it is spent, so that looking for holders is
/// rare.
const SHARE: u64 = 16;

/// The budget of this process.
pub(in crate::server) struct Intake {
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
    pub(in crate::server) fn new(budget: u64, metrics: Arc<Metrics>) -> Arc<Self> {
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

    /// Ends those that hold most, until a part of the budget is free. What they hold counts until
    /// they are gone.
    fn make_room(&self) {
        // Whoever finds somebody at it need not do it again.
        let Some(mut holders) = self.holders.try_lock() else {
            return;
        };
        holders.retain(|_, one| one.held.bytes() > 0);
        let bytes = |one: &Arc<Connection>| one.held.bytes();
        let going: u64 = holders
            .values()
            .filter(|one| one.shall_end())
            .map(bytes)
            .sum();
        let mut over = self.held.load(Ordering::Relaxed).saturating_sub(going);
        let enough = self.budget - self.budget / SHARE;
        // As they hold at one look: they go on reading meanwhile, and what changes while it is
        // sorted has no order.
        let able = holders
            .values()
            .filter(|one| !one.shall_end() && one.waits().is_some());
        let mut able: Vec<_> = able.map(|one| (bytes(one), one)).collect();
        able.sort_unstable_by_key(|(holds, _)| std::cmp::Reverse(*holds));
        for (holds, one) in able {
            if over <= enough {
                break;
            }
            over = over.saturating_sub(holds);
            one.end();
            self.metrics.count_cut("intake");
        }
    }
}

/// What one connection holds. Only its own task changes it.
#[derive(Debug, Default)]
pub(super) struct ConnectionBytes {
    /// Read of the request that is on its way, with what came before it in the same piece.
    read: AtomicU64,
    /// The last piece that was read.
    piece: AtomicU64,
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

impl ConnectionBytes {
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
        self.held.piece.store(more, Ordering::Relaxed);
        if of_a_head && read > self.held.head.load(Ordering::Relaxed) {
            self.held.head.store(read, Ordering::Relaxed);
        }
        self.count();
    }

    /// The request has come whole, or will not be read any further. What its last piece has beyond
    /// it is the beginning of the next one, in the same buffer; a small one is not worth asking how
    /// much that is.
    pub(super) fn came_whole(self: &Arc<Self>) {
        let piece = self.held.piece.load(Ordering::Relaxed);
        let rest = if piece > FREE { piece } else { 0 };
        self.held.read.store(rest, Ordering::Relaxed);
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
        let (read, head) = (load(&held.read), load(&held.head));
        let read = buffer_of(head) + body_of(read.saturating_sub(head));
        let holds = read.saturating_sub(FREE) + load(&held.unsent).saturating_sub(FREE);
        let before = held.counted.swap(holds, Ordering::Relaxed);
        if holds == before {
            return;
        }
        if holds > before {
            self.intake
                .held
                .fetch_add(holds - before, Ordering::Relaxed);
        } else {
            self.intake
                .held
                .fetch_sub(before - holds, Ordering::Relaxed);
        }
        if before == 0 {
            held.listed.store(true, Ordering::Relaxed);
            let mut holders = self.intake.holders.lock();
            holders.insert(self.number, Arc::clone(self));
        }
    }

    /// Whether it may read on. While the budget is spent it makes room and lets those go first who
    /// lose their place.
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
            self.intake.holders.lock().remove(&self.number);
        }
    }
}

/// What so much of a body takes: a vector that doubles, and hyper's buffer, out of which it is
/// copied.
fn body_of(bytes: u64) -> u64 {
    if bytes <= FREE {
        bytes
    } else {
        bytes.next_power_of_two() + 2 * AHEAD
    }
}

/// The buffer behind so much of a head.
fn buffer_of(head: u64) -> u64 {
    if head <= FREE {
        head
    } else {
        (head + AHEAD).next_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::Coarse;
    use super::*;
    use crate::http::ClientIp;

    /// A connection, and the budget it has to itself.
    fn alone() -> Option<(Arc<Connection>, Arc<Intake>)> {
        let intake = Intake::new(32 << 20, Arc::new(Metrics::new().ok()?));
        let client = ClientIp::of(Ipv4Addr::LOCALHOST.into());
        Some((
            Arc::new(Connection::new(
                client,
                Arc::<Coarse>::default(),
                Arc::clone(&intake),
            )),
            intake,
        ))
    }

    #[test]
    fn half_a_head_is_counted_with_what_came_before_it_in_the_same_piece() {
        let Some((connection, intake)) = alone() else {
            return assert!(alone().is_some());
        };
        let held = || intake.held.load(Ordering::Relaxed);
        // Forty small requests and the beginning of a large head come at once; the rest of it
        // follows.
        connection.holds(8191, true);
        for _ in 0..40 {
            connection.came_whole(); // when it begins...
            connection.came_whole(); // ...and when it is answered
        }
        (0..6).for_each(|_| connection.holds(4096, true));
        // The buffer begins with the first of them, and hyper keeps 8 KiB free behind the last
        // byte.
        assert_eq!(held(), 65_536 - FREE);
        // A whole request later the buffer is as large as it was.
        connection.came_whole();
        assert_eq!(held(), 65_536 - FREE);
        connection.gives_back();
        assert_eq!(held(), 0);
    }

    #[test]
    fn a_body_is_counted_with_the_vector_and_the_buffer_behind_it() {
        let Some((connection, intake)) = alone() else {
            return assert!(alone().is_some());
        };
        connection.holds(300, true);
        (0..8).for_each(|_| connection.holds(4000, false));
        assert_eq!(
            intake.held.load(Ordering::Relaxed),
            300 + 32_768 + 16_384 - FREE
        );
    }

    #[test]
    fn small_requests_one_after_the_other_hold_nothing() {
        let Some((connection, intake)) = alone() else {
            return assert!(alone().is_some());
        };
        for _ in 0..1000 {
            connection.holds(FREE, true);
            assert!(connection.held.some());
            connection.came_whole();
            assert!(!connection.held.some());
            assert_eq!(intake.held.load(Ordering::Relaxed), 0);
        }
    }
}
