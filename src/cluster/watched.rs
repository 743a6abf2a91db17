//! What the watches have shown, and what follows at once: every event moves the index, and the
//! gates of this process.
//!
//! Asks no API server and no ledger, and waits for nothing.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::latch::HoldRegistry;
use crate::ports::{Clock, Wake};
use crate::source::crd::EchoThrottle;

use super::index::{Index, Override, OverrideKind};
use super::sent_overrides::Sent;

/// A kind of objects that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchedKind {
    /// What is declared.
    Throttles,
    /// What people hold.
    Overrides(OverrideKind),
}

impl WatchedKind {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::Throttles,
        Self::Overrides(OverrideKind::Namespaced),
        Self::Overrides(OverrideKind::ClusterWide),
    ];

    /// What stands for it where several are counted.
    fn bit(self) -> u8 {
        match self {
            Self::Throttles => 1,
            Self::Overrides(OverrideKind::Namespaced) => 1 << 1,
            Self::Overrides(OverrideKind::ClusterWide) => 1 << 2,
        }
    }
}

/// What a process of a cluster has seen.
pub struct WatchedState {
    index: Mutex<Index>,
    clock: Arc<dyn Clock>,
    /// What holds here.
    holds: Arc<HoldRegistry>,
    wake: Arc<dyn Wake>,
    /// What was sent for holds of REST.
    sent: Sent,
    /// Something of a hold that has ended is there, or may be.
    left: Notify,
    /// Kinds that have been listed once.
    listed: AtomicU8,
    gates_changed: Notify,
}

impl WatchedState {
    /// Nothing seen yet, but what the index has. Every event moves the gates of `holds`, and wakes
    /// whom it concerns.
    pub fn new(
        index: Index,
        clock: Arc<dyn Clock>,
        holds: Arc<HoldRegistry>,
        wake: Arc<dyn Wake>,
    ) -> Self {
        Self {
            index: Mutex::new(index),
            clock,
            holds,
            wake,
            sent: Sent::default(),
            left: Notify::new(),
            listed: AtomicU8::new(0),
            gates_changed: Notify::new(),
        }
    }

    /// A watch has shown everything there was at its start.
    pub fn listed(&self, kind: WatchedKind) {
        self.listed.fetch_or(kind.bit(), Ordering::AcqRel);
        self.wake.wake(&Scope::All);
    }

    /// Whether every kind has been listed once: a gate knows all there is, the loop may act.
    pub fn loaded(&self) -> bool {
        let listed = self.listed.load(Ordering::Acquire);
        WatchedKind::ALL.iter().all(|kind| listed & kind.bit() != 0)
    }

    /// Waits until the kill lane has moved a gate.
    pub async fn gates_moved(&self) {
        self.gates_changed.notified().await;
    }

    /// What was seen, for reading.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    pub(super) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Waits until something of a hold that has ended is there, or may be.
    pub(super) async fn left_behind(&self) {
        self.left.notified().await;
    }

    /// Something of a hold that has ended is there, or may be.
    pub(super) fn leaves_behind(&self) {
        self.left.notify_one();
    }

    /// The time that this process goes by.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Holds that have ended and of which something that this process sent may be there, or come.
    pub(super) fn sent_and_over(&self) -> Vec<ScopedHold> {
        self.sent.left_behind(self.clock.elapsed())
    }

    /// Another process leads, or this one does from now on: what passes have seen says nothing to
    /// the next.
    pub(super) fn forget_passes(&self) {
        self.index().forget_shown();
        self.wake.wake(&Scope::All);
    }

    /// A pass of a throttle begins: what earlier ones have seen end goes, and what it sees end goes
    /// with the next.
    pub(super) fn begin_pass(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        if self.index().let_go(name) {
            self.follow(slice::from_ref(name));
        }
        let (ended, declared) = {
            let mut index = self.index();
            (index.show(name), index.find(name))
        };
        if ended {
            self.wake.wake(&Scope::One(name.clone()));
        }
        declared
    }

    pub(super) fn throttle(&self, object: &EchoThrottle) {
        let name = self.index().throttle(object, self.clock.now());
        self.follow(name.as_slice());
    }

    pub(super) fn throttle_gone(&self, object: &EchoThrottle) {
        let name = self.index().throttle_gone(object);
        self.wake.wake_each(name.as_slice());
    }

    pub(super) fn override_seen(&self, seen: Override) {
        let epoch = seen.hold.epoch.clone();
        if self
            .sent
            .is_left(&epoch, &seen.hold.source, self.clock.elapsed())
        {
            return self.leaves_behind();
        }
        let touched = self.index().override_seen(&epoch, seen);
        self.follow(&touched);
    }

    pub(super) fn override_missing(&self, epoch: &Epoch) {
        let held = self.index().override_missing(epoch);
        self.wake.wake_each(&held);
    }

    pub(super) fn overrides_listed(&self, kind: OverrideKind, listed: &[Epoch]) {
        let held = self.index().overrides_listed(kind, listed);
        self.wake.wake_each(&held);
    }

    pub(super) fn overrides_doubted(&self, kind: OverrideKind) {
        let held = self.index().overrides_doubted(kind);
        self.wake.wake_each(&held);
    }

    /// Ends a hold whose object was deleted, wherever that object held; the gates know once a pass
    /// of the loop has seen it.
    pub(super) fn end_hold(&self, hold: &Hold) {
        if let Some(sent) = self.sent.deleted(&hold.epoch, &hold.source) {
            return self.over_as(&hold.epoch, Some(&sent.scope));
        }
        let touched = self.index().end_of(hold);
        if !self.index().holds(&hold.epoch) {
            // It goes with the next pass: no kill leans on it any more.
            self.holds.doubt(&hold.epoch);
        }
        self.follow(&touched);
    }

    /// Ends a hold everywhere that a command ended, or that has ended as the record has it: what is
    /// there of it, or comes, is nobody's any more.
    pub(super) fn over(&self, epoch: &Epoch) {
        let sent = self.sent.over(epoch);
        self.over_as(epoch, sent.as_ref().map(|sent| &sent.scope));
    }

    fn over_as(&self, epoch: &Epoch, sent: Option<&Scope>) {
        let mut touched = self.index().over(epoch);
        if touched.is_empty() {
            touched = self.let_go_here(epoch);
        }
        touched.extend(
            sent.map(|scope| self.index().refuse(epoch, scope))
                .unwrap_or_default(),
        );
        self.follow(&touched);
        self.leaves_behind();
    }

    /// Lets the gate of this process go of a hold that no object bore: no event says later that it
    /// opens. Answers where.
    fn let_go_here(&self, epoch: &Epoch) -> Vec<ThrottleName> {
        let all = self.holds.obeyed().into_iter();
        let held = all.filter(|one| one.kills.contains(epoch));
        let held: Vec<_> = held.map(|one| one.name).collect();
        self.holds.let_go(std::slice::from_ref(epoch));
        held
    }

    fn follow(&self, names: &[ThrottleName]) {
        if names.is_empty() {
            return;
        }
        let now = self.clock.elapsed();
        let index = self.index();
        for view in names.iter().filter_map(|name| index.view(name)) {
            self.holds.follow(&view, now, &|epoch| index.holds(epoch));
        }
        drop(index);
        self.wake.wake_each(names);
        self.gates_changed.notify_one();
    }
}
