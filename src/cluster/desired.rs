//! Declared state as the cluster has it: Git owns specs, people own overrides, and every event moves the gate at once.
//!
//! Implements `ports::Desired` over the index. Whether this process leads is the lease's word.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use tokio::sync::Notify;

use crate::domain::audit::{AuditDraft, Change};
use crate::domain::evidence::Evidence;
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold, Source};
use crate::domain::level::Level;
use crate::domain::throttle::{Declared, ThrottleName};
use crate::latch::Latch;
use crate::ports::{Clock, Desired, DesiredError, Ended, Ledger, Meant};
use crate::source::crd::EchoThrottle;
use crate::source::crd_override::{
    CONFIRMATION, ClusterEchoOverride, ClusterEchoOverrideSpec, EchoOverride, EchoOverrideSpec, OverrideKill,
    REST_PREFIX, Selector,
};

use super::connect::is_gone;
use super::endings;
use super::index::{HoldState, Index, Override};

/// All three kinds have been listed once.
const ALL_LISTED: u8 = 0b111;

/// Declared state of a cluster.
pub struct ClusterDesired {
    client: Client,
    clock: Arc<dyn Clock>,
    ledger: Option<Arc<dyn Ledger>>,
    index: Mutex<Index>,
    latch: OnceLock<Arc<Latch>>,
    leads: AtomicBool,
    listed: AtomicU8,
    changed: Notify,
    gates_changed: Notify,
}

impl ClusterDesired {
    /// Nothing seen yet. Commands of people are written to `ledger`; a gate process has none and takes none.
    pub fn new(client: Client, clock: Arc<dyn Clock>, ledger: Option<Arc<dyn Ledger>>) -> Self {
        Self {
            client,
            clock,
            ledger,
            index: Mutex::default(),
            latch: OnceLock::new(),
            leads: AtomicBool::new(false),
            listed: AtomicU8::new(0),
            changed: Notify::new(),
            gates_changed: Notify::new(),
        }
    }

    /// From now on every event moves this latch's gate. Only the first call counts.
    pub fn moves(&self, latch: Arc<Latch>) {
        // The latch needs us and we need it; `run` ties the knot once, before any event.
        let _ = self.latch.set(latch);
    }

    /// Whether this process leads from now on.
    pub fn lead(&self, leads: bool) {
        if self.leads.swap(leads, Ordering::AcqRel) != leads {
            tracing::info!(leads, "leadership changed");
            self.changed.notify_one();
        }
    }

    /// A watch has shown everything there was at its start.
    pub fn listed(&self, kind: u8) {
        self.listed.fetch_or(1 << kind, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Whether every kind has been listed once: a gate knows all there is, the loop may act.
    pub fn loaded(&self) -> bool {
        self.listed.load(Ordering::Acquire) == ALL_LISTED
    }

    /// Waits until the kill lane has moved a gate.
    pub async fn gates_moved(&self) {
        self.gates_changed.notified().await;
    }

    /// What was seen, for reading.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn throttle(&self, object: &EchoThrottle) {
        let name = self.index().throttle(object, self.clock.now());
        self.follow(name.as_slice());
    }

    pub(super) fn throttle_gone(&self, object: &EchoThrottle) {
        self.index().throttle_gone(object);
    }

    pub(super) fn override_seen(&self, seen: Override) {
        let epoch = seen.hold.epoch.clone();
        let touched = self.index().override_seen(&epoch, seen);
        self.follow(&touched);
    }

    pub(super) fn override_missing(&self, epoch: &Epoch) {
        self.index().override_missing(epoch);
        self.changed.notify_one();
    }

    pub(super) fn overrides_listed(&self, namespaced: bool, listed: &[Epoch]) {
        self.index().overrides_listed(namespaced, listed);
        self.changed.notify_one();
    }

    pub(super) fn overrides_doubted(&self, namespaced: bool) {
        if self.index().overrides_doubted(namespaced) {
            self.changed.notify_one();
        }
    }

    /// Ends a hold everywhere and lets the gates know.
    pub(super) fn end_hold(&self, epoch: &Epoch) {
        let touched = self.index().end(epoch);
        self.follow(&touched);
    }

    fn follow(&self, names: &[ThrottleName]) {
        if names.is_empty() {
            return;
        }
        let now = self.clock.now();
        if let Some(latch) = self.latch.get() {
            let index = self.index();
            for view in names.iter().filter_map(|name| index.view(name)) {
                latch.follow(&view, now);
            }
        }
        self.changed.notify_one();
        self.gates_changed.notify_one();
    }

    /// Writes a person's command to the record, before anything of it is done.
    async fn record(&self, change: Change) -> Result<Option<i64>, DesiredError> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let receipt = ledger.commit(change).await.map_err(|error| DesiredError::Unavailable(error.to_string()))?;
        Ok(receipt.audit.first().copied())
    }

    async fn delete(&self, hold: &Hold) -> Result<(), DesiredError> {
        let Source::Override { namespace, name, uid, .. } = &hold.source else { return Ok(()) };
        let exactly = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        let gone = match namespace {
            Some(namespace) => {
                Api::<EchoOverride>::namespaced(self.client.clone(), namespace).delete(name, &params).await.map(|_| ())
            }
            None => Api::<ClusterEchoOverride>::all(self.client.clone()).delete(name, &params).await.map(|_| ()),
        };
        match gone {
            Ok(()) => Ok(()),
            // Not there, or another object under its name: this one is gone either way.
            Err(error) if is_gone(&error) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            Err(error) => Err(DesiredError::Unavailable(format!("{} could not be deleted: {error}", hold.source))),
        }
    }
}

#[async_trait]
impl Desired for ClusterDesired {
    fn declared(&self) -> Vec<Arc<Declared>> {
        self.index().declared().into_iter().map(Arc::new).collect()
    }

    async fn refresh(&self) {
        if self.leads() {
            endings::look(&self.client, self).await;
        }
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire) && self.loaded()
    }

    async fn declare(
        &self,
        throttle: &ThrottleName,
        _level: Level,
        _audit: AuditDraft,
    ) -> Result<(i64, Option<i64>), DesiredError> {
        Err(DesiredError::Unavailable(format!(
            "in a cluster Git owns the level of {throttle}: change spec.throttlePercent, or create an EchoOverride to tighten it"
        )))
    }

    async fn take(&self, held: ScopedHold, audit: AuditDraft) -> Result<(), DesiredError> {
        self.record(Change { audit: vec![audit], holds_taken: vec![held.clone()], ..Change::default() }).await?;
        let kill = Some(OverrideKill { confirmation: CONFIRMATION.to_owned() });
        let (operator, reason) = (held.hold.operator.clone(), held.hold.reason.clone());
        // The epoch is in the name, so that asking twice makes one object.
        let name = format!("{REST_PREFIX}{}", held.hold.epoch.0.to_ascii_lowercase());
        let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
        let params = PostParams::default();
        let made = match held.scope {
            Scope::All => {
                let spec = ClusterEchoOverrideSpec {
                    selector: Selector::default(),
                    kill,
                    throttle_percent: None,
                    operator,
                    reason,
                };
                let object = ClusterEchoOverride { metadata, spec };
                Api::all(self.client.clone()).create(&params, &object).await.map(|_| ())
            }
            Scope::One(throttle) => {
                let Some((namespace, short)) = throttle.split() else { return Err(DesiredError::Unknown(throttle)) };
                let throttle_ref = Some(short.to_owned());
                let spec =
                    EchoOverrideSpec { throttle_ref, selector: None, kill, throttle_percent: None, operator, reason };
                let object = EchoOverride { metadata, spec };
                Api::namespaced(self.client.clone(), namespace).create(&params, &object).await.map(|_| ())
            }
        };
        match made {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(DesiredError::Unavailable(error.to_string())),
        }
    }

    async fn end(&self, meant: Meant<'_>, audit: AuditDraft) -> Result<Ended, DesiredError> {
        let all = self.declared();
        let names: Vec<_> = all.iter().map(|d| &d.name).filter(|name| meant.scope.covers(name)).collect();
        let held: Vec<(Hold, HoldState)> = names.iter().flat_map(|name| self.index().states(name)).collect();
        let meant = held
            .into_iter()
            .filter(|(hold, _)| meant.epoch.is_none_or(|only| *only == hold.epoch) && !(meant.spared)(&hold.epoch));
        let (stay, end): (Vec<_>, Vec<_>) = meant.partition(|(hold, _)| hold.source == Source::Spec);
        let mut ended = Ended { held_by: stay.into_iter().map(|(hold, _)| hold).collect(), ..Ended::default() };
        if end.is_empty() {
            return Ok(ended);
        }
        ended.audit_id = self.record(Change { audit: vec![audit], ..Change::default() }).await?;
        for (hold, state) in end {
            if ended.ended.contains(&hold.epoch) {
                continue; // one override may hold several throttles
            }
            if state == HoldState::Live {
                self.delete(&hold).await?;
            }
            self.end_hold(&hold.epoch);
            ended.ended.push(hold.epoch);
        }
        Ok(ended)
    }

    fn observe(&self, throttle: &ThrottleName, _evidence: Evidence) {
        tracing::debug!(%throttle, "signals of clusters come from gates");
    }

    fn wake(&self) {
        self.changed.notify_one();
    }

    async fn woken(&self) {
        self.changed.notified().await;
    }
}
