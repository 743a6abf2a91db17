//! What watches show: every event moves the index, and the gates of this process at once.
//!
//! Asks no API server and no ledger, and waits for nothing.

use super::ClusterDesired;
use crate::cluster::index::Override;
use crate::domain::hold::{Epoch, Hold, Scope};
use crate::domain::throttle::ThrottleName;
use crate::ports::Wake;
use crate::source::crd::EchoThrottle;

impl ClusterDesired {
    pub(in crate::cluster) fn throttle(&self, object: &EchoThrottle) {
        let name = self.index().throttle(object, self.clock.now());
        self.follow(name.as_slice());
    }

    pub(in crate::cluster) fn throttle_gone(&self, object: &EchoThrottle) {
        let name = self.index().throttle_gone(object);
        self.woken.wake_each(name.as_slice());
    }

    pub(in crate::cluster) fn override_seen(&self, seen: Override) {
        let epoch = seen.hold.epoch.clone();
        if self
            .sent
            .is_left(&epoch, &seen.hold.source, self.clock.elapsed())
        {
            return self.left.notify_one();
        }
        let touched = self.index().override_seen(&epoch, seen);
        self.follow(&touched);
    }

    pub(in crate::cluster) fn override_missing(&self, epoch: &Epoch) {
        let held = self.index().override_missing(epoch);
        self.woken.wake_each(&held);
    }

    pub(in crate::cluster) fn overrides_listed(&self, namespaced: bool, listed: &[Epoch]) {
        let held = self.index().overrides_listed(namespaced, listed);
        self.woken.wake_each(&held);
    }

    pub(in crate::cluster) fn overrides_doubted(&self, namespaced: bool) {
        let held = self.index().overrides_doubted(namespaced);
        self.woken.wake_each(&held);
    }

    /// Ends a hold whose object was deleted, wherever that object held; the gates know once a pass
    /// of the loop has seen it.
    pub(in crate::cluster) fn end_hold(&self, hold: &Hold) {
        if let Some(sent) = self.sent.deleted(&hold.epoch, &hold.source) {
            return self.over_as(&hold.epoch, Some(&sent.scope));
        }
        let touched = self.index().end_of(hold);
        if let Some(latch) = self.latch.get()
            && !self.index().holds(&hold.epoch)
        {
            // It goes with the next pass: no kill leans on it any more.
            latch.doubt(&hold.epoch);
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
        self.left.notify_one();
    }

    /// Lets the gate of this process go of a hold that no object bore: no event says later that it
    /// opens. Answers where.
    fn let_go_here(&self, epoch: &Epoch) -> Vec<ThrottleName> {
        let Some(latch) = self.latch.get() else {
            return Vec::new();
        };
        let held = latch
            .obeyed()
            .into_iter()
            .filter(|one| one.kills.contains(epoch));
        let held: Vec<_> = held.map(|one| one.name).collect();
        latch.let_go(std::slice::from_ref(epoch));
        held
    }

    pub(super) fn follow(&self, names: &[ThrottleName]) {
        if names.is_empty() {
            return;
        }
        let now = self.clock.elapsed();
        if let Some(latch) = self.latch.get() {
            let index = self.index();
            for view in names.iter().filter_map(|name| index.view(name)) {
                latch.follow(&view, now, &|epoch| index.holds(epoch));
            }
        }
        self.woken.wake_each(names);
        self.gates_changed.notify_one();
    }
}
