//! One throttle as it was seen, with the holds on it.
//!
//! Pure; see the index for who calls this.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::decide::precedence::most_restrictive;
use crate::domain::hold::{Epoch, Hold, HoldEffect, Source};
use crate::domain::level::Level;
use crate::domain::offered::Offered;
use crate::domain::target::{GateSpec, TargetId, TargetMemory, TargetSpec};
use crate::domain::throttle::{Declared, Mode, Owner, ThrottleName};
use crate::source::crd::EchoThrottle;
use crate::source::crd_override::{CONFIRMATION, Selector};
use crate::source::crd_status::{ENDED_LIMIT, EchoThrottleStatus, HoldStatus};
use crate::source::status_rows;

/// Where the object behind a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// It is there.
    Live,
    /// It was not seen lately; the leader has to look.
    Missing,
    /// It went away with its namespace or its resource definition: only a person ends it.
    Orphaned,
    /// It has ended, and holds until a pass of the loop has seen it: it was a stop, however short
    /// it was.
    Over,
}

/// Which of both kinds of overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideKind {
    /// In a namespace, of throttles there.
    Namespaced,
    /// Of throttles anywhere.
    ClusterWide,
}

impl OverrideKind {
    /// The kind of one that is in this namespace, if it is in any.
    pub(super) fn within(namespace: Option<&str>) -> Self {
        match namespace {
            Some(_) => Self::Namespaced,
            None => Self::ClusterWide,
        }
    }
}

/// An override as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Namespace; none for the cluster-wide kind.
    pub namespace: Option<String>,
    /// The one throttle it means.
    pub throttle: Option<String>,
    /// The throttles it means, by label.
    pub selector: Option<Selector>,
    /// The hold it asks for.
    pub hold: Hold,
    /// Whether it is still there.
    pub present: bool,
}

impl Override {
    /// Whether it means this throttle.
    pub fn covers(&self, name: &ThrottleName, labels: &BTreeMap<String, String>) -> bool {
        let Some((namespace, short)) = name.split() else {
            return false;
        };
        self.namespace.as_deref().is_none_or(|own| own == namespace)
            && match (&self.throttle, &self.selector) {
                (Some(throttle), None) => throttle == short,
                (None, Some(selector)) => selector.matches(labels),
                _ => false,
            }
    }
}

#[derive(Clone, Debug)]
pub(super) struct IndexedHold {
    pub(super) hold: Hold,
    pub(super) state: HoldState,
    /// Whether a pass of the loop has it in what it goes by.
    pub(super) shown: bool,
}

impl IndexedHold {
    fn new(hold: Hold, state: HoldState) -> Self {
        Self {
            hold,
            state,
            shown: false,
        }
    }

    /// Whether it has ended, and a pass has seen it.
    pub(super) fn goes(&self) -> bool {
        self.state == HoldState::Over && self.shown
    }

    pub(super) fn is_override(&self) -> bool {
        matches!(self.hold.source, Source::Override { .. })
    }
}

/// One throttle.
#[derive(Debug, Default)]
pub(super) struct IndexedThrottle {
    pub(super) uid: String,
    pub(super) generation: i64,
    version: u64,
    pub(super) level: Level,
    pub(super) mode: Mode,
    ramp: f64,
    targets: Vec<TargetSpec>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) holds: BTreeMap<Epoch, IndexedHold>,
    pub(super) ended: VecDeque<Epoch>,
    pub(super) effective: Option<(Level, i64)>,
    memory: BTreeMap<TargetId, TargetMemory>,
    pub(super) gone: bool,
    /// Whether a loop goes by it, which sees each hold before it goes.
    looked_at: bool,
}

impl IndexedThrottle {
    pub(super) fn new(looked_at: bool) -> Self {
        Self {
            looked_at,
            ..Self::default()
        }
    }

    /// Takes an object in; false if it is older than what was applied, or cannot be understood.
    pub(super) fn apply(&mut self, object: &EchoThrottle, now: Timestamp) -> bool {
        let uid = object.meta().uid.clone().unwrap_or_default();
        let generation = object.meta().generation.unwrap_or_default();
        // Comparable since Kubernetes 1.35 (KEP-5504); where it is no number, order of arrival has
        // to do.
        let version = object
            .resource_version()
            .and_then(|text| text.parse().ok())
            .unwrap_or(self.version);
        let Ok(level) = object.spec.level() else {
            return false;
        };
        if uid == self.uid && (generation < self.generation || version < self.version) {
            return false;
        }
        if uid != self.uid {
            // Another object of the same name: what was written about the old one says nothing of
            // it.
            if version < self.version {
                return false;
            }
            (self.effective, self.memory) = (None, BTreeMap::new());
        }
        self.spec_hold(object, &uid, generation, now);
        (
            self.uid,
            self.generation,
            self.version,
            self.level,
            self.gone,
        ) = (uid, generation, version, level, false);
        self.mode = object.spec.domain_mode();
        self.ramp = f64::from(object.spec.ramp.max_percent_per_second);
        self.targets = object.spec.domain_targets();
        self.labels = object.labels().clone();
        if let Some(status) = &object.status {
            self.status(status);
        }
        true
    }

    fn spec_hold(&mut self, object: &EchoThrottle, uid: &str, generation: i64, now: Timestamp) {
        let kill = object
            .spec
            .kill
            .as_ref()
            .filter(|kill| kill.confirmation == CONFIRMATION);
        let epoch = Epoch(format!("{uid}/{generation}"));
        let over: Vec<_> = self
            .holds
            .values()
            .filter(|held| held.hold.source == Source::Spec)
            .map(|h| h.hold.epoch.clone())
            .collect();
        for old in over
            .into_iter()
            .filter(|old| kill.is_none() || *old != epoch)
        {
            self.is_over(&old);
        }
        if let Some(kill) = kill {
            let hold = Hold {
                epoch: epoch.clone(),
                bite: HoldEffect::Kill,
                source: Source::Spec,
                reason: kill.reason.clone(),
                operator: kill.operator.clone(),
                taken_at: now,
            };
            if !self.ended.contains(&epoch) {
                self.holds
                    .entry(epoch)
                    .or_insert(IndexedHold::new(hold, HoldState::Live));
            }
        }
    }

    fn status(&mut self, status: &EchoThrottleStatus) {
        for epoch in &status.ended_holds {
            self.end(&Epoch(epoch.clone()));
        }
        if status.observed_generation >= self.generation {
            // Whoever wrote it went by this specification, so it has seen the ones before end.
            let is_past = |held: &&IndexedHold| {
                held.state == HoldState::Over && held.hold.source == Source::Spec
            };
            let past: Vec<_> = self
                .holds
                .values()
                .filter(is_past)
                .map(|held| held.hold.epoch.clone())
                .collect();
            past.iter().for_each(|epoch| self.end(epoch));
        }
        for told in status.holds.iter().filter(|told| told.kind != "Spec") {
            let Some(hold) = told_hold(told) else {
                continue;
            };
            if self.ended.contains(&hold.epoch) {
                continue;
            }
            let state = if told.state.is_empty() {
                HoldState::Missing
            } else {
                HoldState::Orphaned
            };
            // Known already: what we saw ourselves is newer, but for the UIDs that only the leader
            // looks up.
            let held = self
                .holds
                .entry(hold.epoch.clone())
                .or_insert_with(|| IndexedHold::new(hold.clone(), state));
            if held.is_override() {
                held.hold.source = hold.source;
            }
        }
        self.effective = status.effective.as_ref().and_then(|effective| {
            Level::from_millionths(effective.level_millionths)
                .ok()
                .map(|level| (level, status.observed_generation))
        });
        self.memory = status_rows::memory(status);
    }

    /// Whether seeing this hold is no news: it is known to be live, or to have ended.
    pub(super) fn knows(&self, epoch: &Epoch) -> bool {
        let state = self.holds.get(epoch).map(|held| held.state);
        self.ended.contains(epoch) || matches!(state, Some(HoldState::Live | HoldState::Over))
    }

    /// Adds a hold; answers whether anything changed. An ended one never bites again.
    pub(super) fn hold(&mut self, epoch: &Epoch, seen: &Override) -> bool {
        if self.ended.contains(epoch) {
            return false;
        }
        match self.holds.get_mut(epoch) {
            Some(held) if held.state == HoldState::Over => false,
            Some(held) => {
                let news = held.state == HoldState::Missing;
                held.state = HoldState::Live;
                news
            }
            None => {
                self.holds.insert(
                    epoch.clone(),
                    IndexedHold::new(seen.hold.clone(), HoldState::Live),
                );
                true
            }
        }
    }

    /// A hold has ended: at once, or where a loop looks, once that has seen it.
    pub(super) fn is_over(&mut self, epoch: &Epoch) {
        match self.holds.get_mut(epoch) {
            Some(held) if self.looked_at => held.state = HoldState::Over,
            _ => self.end(epoch),
        }
    }

    /// Lets go of what is over and was seen.
    pub(super) fn let_go(&mut self) {
        let goes = self.holds.values().filter(|held| held.goes());
        let goes: Vec<_> = goes.map(|held| held.hold.epoch.clone()).collect();
        goes.iter().for_each(|epoch| self.end(epoch));
    }

    /// Knows the end of a hold that is not here; answers whether that is news.
    pub(super) fn know_end(&mut self, epoch: &Epoch) -> bool {
        let news = !(self.holds.contains_key(epoch) || self.ended.contains(epoch));
        if news {
            self.end(epoch);
        }
        news
    }

    pub(super) fn end(&mut self, epoch: &Epoch) {
        self.holds.remove(epoch);
        if !self.ended.contains(epoch) {
            self.ended.push_back(epoch.clone());
        }
        while self.ended.len() > ENDED_LIMIT {
            self.ended.pop_front();
        }
    }

    pub(super) fn gate_spec(&self) -> GateSpec {
        let gate = self.targets.iter().find_map(|t| {
            if let TargetSpec::Gate(gate) = t {
                Some(gate.clone())
            } else {
                None
            }
        });
        gate.unwrap_or_default()
    }

    pub(super) fn declared(&self, name: &ThrottleName) -> Declared {
        let holds: Vec<Hold> = self.holds.values().map(|held| held.hold.clone()).collect();
        let asked = most_restrictive(self.level, self.mode, &holds).level;
        Declared {
            owner: Owner::Cluster,
            generation: self.generation,
            stored: self.effective.map_or(asked, |(level, _)| level),
            // What another process measured is not known here; what nobody ever led is new.
            offered: self.effective.is_none().then(Offered::new_throttle),
            holds,
            mode: self.mode,
            ramp_percent_per_second: self.ramp,
            targets: self.targets.clone(),
            memory: self.memory.clone(),
            ..Declared::bare(name.clone(), self.level)
        }
    }
}

fn told_hold(told: &HoldStatus) -> Option<Hold> {
    let bite = match told.throttle_percent {
        None => HoldEffect::Kill,
        Some(percent) => HoldEffect::AtLeast(Level::from_percent(percent).ok()?),
    };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Some(Hold {
        epoch: Epoch(told.epoch.clone()),
        bite,
        source: Source::Override {
            namespace: some(&told.namespace),
            name: told.name.clone(),
            uid: told.uid.clone(),
            namespace_uid: some(&told.namespace_uid),
            definition_uid: some(&told.definition_uid),
        },
        reason: told.reason.clone(),
        operator: told.operator.clone(),
        taken_at: told.taken_at.parse().ok()?,
    })
}
