//! The live verdict table: where the throttle bites.
//!
//! State is swapped in atomically, so a verdict takes no lock and touches neither store nor
//! network. Holds are only ever added by [`Gate::hold`] and removed by [`Gate::end`] and
//! [`Gate::release`]: no level that anybody sets can lift a kill. Knows no HTTP library, no
//! Kubernetes and no SQL.

pub mod dialect;
mod draft;
pub mod entry;
mod salts;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::decide::refusal_rate::Counts;
use crate::decide::verdict::{Reason, Requester, Salt, Verdict, hour, point, verdict};
use crate::domain::ended::EndedHolds;
use crate::domain::hold::{Epoch, Hold, Scope};
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::target::GateSpec;
use crate::domain::throttle::ThrottleName;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{ArcSwap, Mutex};

pub use draft::Draft;
use draft::{Drafted, VerdictTable};
use salts::Salts;

/// What a proxy or an app asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// Method of the original request, as the proxy told it.
    pub method: &'a str,
    /// Path of the original request without its query, as the proxy told it.
    pub path: &'a str,
    /// Value of the header that names the caller, where the throttle has one.
    pub key: Option<&'a [u8]>,
}

/// What a gate answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictResponse {
    /// The verdict.
    pub verdict: Verdict,
    /// Milliseconds since the state behind it was last confirmed.
    pub state_age_ms: i64,
    /// Whole seconds a refused caller should wait, 1..=120; 0 when admitted.
    pub retry_after_s: u32,
}

/// Where one throttle stands, for reports.
#[derive(Clone, Debug, PartialEq)]
pub struct ThrottleSnapshot {
    /// Its name.
    pub name: ThrottleName,
    /// Level in force; a kill stands above it.
    pub level: Level,
    /// Holds that keep it shut.
    pub holds: Vec<Epoch>,
    /// Generation of the declaration it obeys.
    pub generation: i64,
    /// When the state behind its verdicts was last confirmed, by the monotonic clock.
    pub confirmed_at: Duration,
    /// Requests offered since the process started.
    pub offered: u64,
    /// Requests admitted since the process started.
    pub admitted: u64,
    /// Those of them that the level decided, and not a key or the allow-list.
    pub decided: Counts,
    /// Those that it decided by their caller's name; none where the throttle declares no key and
    /// none was given.
    pub named: Option<Counts>,
    /// Whether a caller was told something else than the level gives it: lately, and worked out
    /// again.
    pub contradicts: bool,
    /// How often the rule has changed: counts between which it did not were made under one rule.
    pub changes: u64,
    /// The number that its newest hold has among the gate's tightenings, whether it has ended or
    /// not; 0 if there was none.
    pub held: u64,
}

impl ThrottleSnapshot {
    /// Whether a kill holds.
    pub fn killed(&self) -> bool {
        !self.holds.is_empty()
    }
}

/// A level for one throttle, with what it follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelSetting {
    /// The level.
    pub level: Level,
    /// What decided it.
    pub reason: Reason,
    /// Generation of the declaration it follows from.
    pub generation: i64,
    /// When that was last confirmed, by the monotonic clock.
    pub at: Duration,
}

/// Every throttle this process answers for.
#[derive(Default)]
pub struct Gate {
    table: ArcSwap<VerdictTable>,
    /// Who changes the table holds this.
    writing: Mutex<EndedHolds>,
    changed: Notify,
    /// Tightenings so far: the number of the newest one.
    tightenings: AtomicU64,
    /// The number that the newest hold has among them.
    held: watch::Sender<u64>,
    /// Questions about throttles that nobody declared.
    unknown: AtomicU64,
    /// What the hour's salt follows from; none: from the hour alone.
    salts: Option<Salts>,
}

impl Gate {
    /// A gate of which nobody who does not know this secret can compute whom it refuses.
    pub fn with_secret(secret: &[u8]) -> Self {
        Self {
            salts: Some(Salts::new(secret)),
            ..Self::default()
        }
    }

    /// Answers one request. `now` only dates the state and picks the hour's salt.
    pub fn ask(&self, throttle: &str, question: Question<'_>, now: Moment) -> VerdictResponse {
        self.ask_by(throttle, |_| question, now)
    }

    /// Answers one request that is read once the throttle is known, since that says which header
    /// names the caller.
    pub fn ask_by<'q>(
        &self,
        throttle: &str,
        read: impl FnOnce(&GateSpec) -> Question<'q>,
        now: Moment,
    ) -> VerdictResponse {
        let table = self.table.load();
        let Some(entry) = table.get(throttle) else {
            let verdict = Verdict {
                admitted: false,
                reason: Reason::Unknown,
                generation: 0,
            };
            let number = self.unknown.fetch_add(1, Ordering::Relaxed);
            return VerdictResponse {
                verdict,
                state_age_ms: 0,
                retry_after_s: dialect::retry_after(&verdict, false, number),
            };
        };
        let question = read(entry.spec());
        let listed = entry.allows(question.method, question.path);
        let key = question.key.filter(|key| !key.is_empty());
        let second = now.wall.as_second();
        let point = key.map(|key| point(&self.salt(second), throttle, key));
        let verdict = verdict(
            &entry.rule,
            listed,
            point.map_or(Requester::Unkeyed(entry.accumulator()), Requester::Keyed),
        );
        let like_it = entry.count(verdict, point, hour(second));
        let state_age = now.elapsed.saturating_sub(entry.confirmed_at());
        let state_age_ms = i64::try_from(state_age.as_millis()).unwrap_or(i64::MAX);
        // A caller with a key is refused until the hour, and at a full stop so is everybody until
        // it opens.
        let soon = point.is_none() && entry.level != Level::STOP;
        let number = like_it.wrapping_add(u64::from(point.unwrap_or_default()));
        VerdictResponse {
            verdict,
            state_age_ms,
            retry_after_s: dialect::retry_after(&verdict, soon, number),
        }
    }

    /// The salt of the hour that this second lies in.
    fn salt(&self, unix_seconds: i64) -> Salt {
        self.salts.as_ref().map_or_else(
            || Salt::hourly(unix_seconds),
            |salts| salts.at(unix_seconds),
        )
    }

    /// Several changes that come into force at once, by one swap of the table. Keep it short:
    /// whoever closes waits for it.
    pub fn change<T>(&self, changes: impl FnOnce(&mut Draft<'_>) -> T) -> T {
        let mut ended = self.writing.lock();
        let old = self.table.load_full();
        let mut draft = Draft::of(&old, &mut ended, &self.tightenings);
        let told = changes(&mut draft);
        let Drafted {
            next,
            held,
            ignored,
        } = draft.done();
        if let Some(table) = next {
            self.table.store(Arc::new(table));
            self.changed.notify_one();
        }
        if let Some(number) = held {
            self.held.send_replace(number);
        }
        // What follows keeps nobody who closes: a table of thousands is freed, and a log is
        // written.
        drop(ended);
        for (throttle, what) in ignored {
            tracing::warn!(%throttle, "not applied: {what}");
        }
        told
    }

    /// [`Draft::declare`] alone.
    pub fn declare(&self, name: &ThrottleName, spec: &GateSpec, setting: LevelSetting) {
        self.change(|draft| draft.declare(name, spec, setting));
    }

    /// [`Draft::hold`] alone; answers which throttles hold it, by name. In force before it returns.
    pub fn hold(&self, scope: &Scope, hold: &Hold, at: Duration) -> Vec<ThrottleName> {
        let hold = Arc::new(hold.clone());
        self.change(|draft| draft.hold(scope, &hold, at))
    }

    /// [`Draft::end`] alone; answers which throttles held any of them.
    pub fn end(&self, ended: &[Epoch]) -> Vec<ThrottleName> {
        self.change(|draft| draft.end(ended))
    }

    /// [`Draft::release`] alone.
    pub fn release(&self, name: &ThrottleName, epoch: &Epoch) {
        self.change(|draft| draft.release(name, epoch));
    }

    /// Brings the self-test's own throttle to a state: killed by this hold, or open. No listing
    /// shows that throttle, and no command covers it.
    pub fn rehearse(&self, hold: Option<&Hold>, at: Duration) {
        self.change(|draft| draft.rehearse(hold, at));
    }

    /// [`Draft::set`] alone.
    pub fn set(&self, name: &ThrottleName, setting: LevelSetting) {
        self.change(|draft| draft.set(name, setting));
    }

    /// [`Draft::tighten`] alone.
    pub fn tighten(&self, name: &ThrottleName, setting: LevelSetting) {
        self.change(|draft| draft.tighten(name, setting));
    }

    /// The number of the newest tightening, holds included: what is decided from here on knows of
    /// all up to it.
    pub fn tightenings(&self) -> u64 {
        // One that is under way is not in the table yet.
        let _whole = self.writing.lock();
        self.tightenings.load(Ordering::SeqCst)
    }

    /// Waits for a hold that is newer than this tightening. For any number of waiters.
    pub async fn held_after(&self, known: u64) {
        let mut held = self.held.subscribe();
        // It fails only where the gate is gone, and whoever waits has the gate.
        let _newest = held.wait_for(|newest| *newest > known).await;
    }

    /// The same, for a hold of one throttle.
    pub async fn held_at_after(&self, name: &ThrottleName, known: u64) {
        let mut held = self.held.subscribe();
        let is_newer = |newest: &u64| *newest > known && self.newest_hold(name) > known;
        let _newest = held.wait_for(is_newer).await;
    }

    /// The throttles that have a hold which is newer than this tightening, be it over or not.
    pub fn held_since(&self, known: u64) -> Vec<ThrottleName> {
        let table = self.table.load();
        let held = table.listed().filter(|(_, entry)| entry.held() > known);
        held.map(|(name, _)| name.clone()).collect()
    }

    fn newest_hold(&self, name: &ThrottleName) -> u64 {
        let table = self.table.load();
        table.get(name.as_str()).map_or(0, |entry| entry.held())
    }

    /// Puts a throttle to a level that was decided when `known` was the newest tightening; answers
    /// whether it was done. What was tightened since is not opened: whoever decided did not know of
    /// it.
    pub fn set_knowing(&self, name: &ThrottleName, setting: LevelSetting, known: u64) -> bool {
        self.change(|draft| draft.set_knowing(name, setting, known))
    }

    /// Everything known, by name.
    pub fn standings(&self) -> Vec<ThrottleSnapshot> {
        self.table
            .load()
            .listed()
            .map(|(name, entry)| entry.standing(name.clone()))
            .collect()
    }

    /// One throttle, if it is known.
    pub fn standing(&self, name: &ThrottleName) -> Option<ThrottleSnapshot> {
        self.table
            .load()
            .get(name.as_str())
            .map(|entry| entry.standing(name.clone()))
    }

    /// Verdicts given on one throttle since the process started: whether admitted, why, how many.
    pub fn verdicts(&self, name: &ThrottleName) -> Vec<(bool, Reason, u64)> {
        self.table
            .load()
            .get(name.as_str())
            .map(|entry| entry.verdicts())
            .unwrap_or_default()
    }

    /// About how many callers one throttle has seen in the hour of its salt; none where it declares
    /// no key.
    pub fn callers(&self, name: &ThrottleName, now: Timestamp) -> Option<u64> {
        self.table
            .load()
            .get(name.as_str())?
            .callers(hour(now.as_second()))
    }

    /// The live kill holds of one throttle, oldest first.
    pub fn kills(&self, name: &ThrottleName) -> Vec<Hold> {
        let table = self.table.load();
        let holds = table
            .get(name.as_str())
            .into_iter()
            .flat_map(|entry| &entry.holds);
        holds.map(|hold| Hold::clone(hold)).collect()
    }

    /// Waits until something changed since the last time this was waited for. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
