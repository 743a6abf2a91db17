//! The live verdict table: where the throttle bites.
//!
//! State is swapped in atomically, so a verdict takes no lock and touches neither store nor network. Holds are only ever
//! added by [`Gate::hold`] and removed by [`Gate::release`]: no level that anybody sets can lift a kill.
//! Knows no HTTP library, no Kubernetes and no SQL.

pub mod dialect;
pub mod entry;
mod salts;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::decide::bite::Counts;
use crate::decide::verdict::{Caller, Reason, Salt, Verdict, hour, point, verdict};
use crate::domain::hold::{Epoch, Hold, Scope};
use crate::domain::level::Level;
use crate::domain::moment::Moment;
use crate::domain::throttle::{GateSpec, ThrottleName};

use entry::Entry;
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
pub struct Reply {
    /// The verdict.
    pub verdict: Verdict,
    /// Milliseconds since the state behind it was last confirmed.
    pub state_age_ms: i64,
    /// Whole seconds a refused caller should wait, 1..=120; 0 when admitted.
    pub retry_after_s: u32,
}

/// Where one throttle stands, for reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
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
    /// Those that it decided by their caller's name; none where the throttle declares no key.
    pub named: Option<Counts>,
    /// Whether a caller was told something else than the level gives it: lately, and worked out again.
    pub contradicts: bool,
    /// How often the rule has changed: counts between which it did not were made under one rule.
    pub changes: u64,
}

impl Standing {
    /// Whether a kill holds.
    pub fn killed(&self) -> bool {
        !self.holds.is_empty()
    }
}

/// A level for one throttle, with what it follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
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
    table: ArcSwap<HashMap<String, Arc<Entry>>>,
    writing: Mutex<()>,
    changed: Notify,
    /// Tightenings so far: the number of the newest one.
    tightenings: AtomicU64,
    /// Questions about throttles that nobody declared.
    unknown: AtomicU64,
    /// What the hour's salt follows from; none: from the hour alone.
    salts: Option<Salts>,
}

impl Gate {
    /// A gate of which nobody who does not know this secret can compute whom it refuses.
    pub fn with_secret(secret: &[u8]) -> Self {
        Self { salts: Some(Salts::new(secret)), ..Self::default() }
    }

    /// Answers one request. `now` only dates the state and picks the hour's salt.
    pub fn ask(&self, throttle: &str, question: Question<'_>, now: Moment) -> Reply {
        self.ask_by(throttle, |_| question, now)
    }

    /// Answers one request that is read once the throttle is known, since that says which header names the caller.
    pub fn ask_by<'q>(&self, throttle: &str, read: impl FnOnce(&GateSpec) -> Question<'q>, now: Moment) -> Reply {
        let table = self.table.load();
        let Some(entry) = table.get(throttle) else {
            let verdict = Verdict { admitted: false, reason: Reason::Unknown, generation: 0 };
            let number = self.unknown.fetch_add(1, Ordering::Relaxed);
            return Reply { verdict, state_age_ms: 0, retry_after_s: dialect::retry_after(&verdict, false, number) };
        };
        let question = read(&entry.spec);
        let listed = entry.allows(question.method, question.path);
        let key = question.key.filter(|key| !key.is_empty());
        let second = now.wall.as_second();
        let point = key.map(|key| point(&self.salt(second), throttle, key));
        let verdict = verdict(&entry.rule, listed, point.map_or(Caller::Unkeyed(&entry.accumulator), Caller::Keyed));
        let like_it = entry.count(verdict, point, hour(second));
        let state_age = now.elapsed.saturating_sub(entry.confirmed_at);
        let state_age_ms = i64::try_from(state_age.as_millis()).unwrap_or(i64::MAX);
        // A caller with a key is refused until the hour, and at a full stop so is everybody until it opens.
        let soon = point.is_none() && entry.level != Level::STOP;
        let number = like_it.wrapping_add(u64::from(point.unwrap_or_default()));
        Reply { verdict, state_age_ms, retry_after_s: dialect::retry_after(&verdict, soon, number) }
    }

    /// The salt of the hour that this second lies in.
    fn salt(&self, unix_seconds: i64) -> Salt {
        self.salts.as_ref().map_or_else(|| Salt::hourly(unix_seconds), |salts| salts.at(unix_seconds))
    }

    /// Makes a throttle known, or changes how it reads requests; level and holds of a known one stay.
    /// What of it cannot be used is not applied, and told.
    pub fn declare(&self, name: &ThrottleName, spec: &GateSpec, setting: Setting) {
        self.change(name, |old| match old {
            Some(entry) if entry.spec == *spec => None,
            old => {
                for what in spec.ignored() {
                    tracing::warn!(throttle = %name, "not applied: {what}");
                }
                Some(old.map_or_else(|| Entry::new(spec.clone(), setting), |entry| entry.with_spec(spec.clone())))
            }
        });
    }

    /// Adds a hold to every throttle it covers that is known; answers which they are. Takes effect before it returns.
    pub fn hold(&self, scope: &Scope, hold: &Hold, at: Duration) -> Vec<ThrottleName> {
        let covered: Vec<_> = self.standings().into_iter().map(|s| s.name).filter(|name| scope.covers(name)).collect();
        for name in &covered {
            self.change(name, |old| old.map(|entry| entry.with_hold(hold.clone(), at)));
        }
        covered
    }

    /// Removes a hold that has ended; the level stays where it is, which after a kill is a full stop.
    pub fn release(&self, name: &ThrottleName, epoch: &Epoch) {
        self.change(name, |old| old.map(|entry| entry.without_hold(epoch)));
    }

    /// Brings the self-test's own throttle to a state: killed by this hold, or open. No listing shows that throttle, and no
    /// command covers it.
    pub fn rehearse(&self, hold: Option<&Hold>, at: Duration) {
        let open = Setting { level: Level::OPEN, reason: Reason::None, generation: 0, at };
        self.change(&ThrottleName::self_test(), |old| {
            let entry = old.map_or_else(|| Entry::new(GateSpec::default(), open), |entry| Entry::clone(entry));
            Some(match hold {
                Some(hold) => entry.with_hold(hold.clone(), at),
                None => entry.without_holds().with_setting(open),
            })
        });
    }

    /// Puts a throttle to a level. While a kill holds, the level that waits below it is a full stop, whatever is asked.
    pub fn set(&self, name: &ThrottleName, setting: Setting) {
        self.change(name, |old| old.map(|entry| entry.with_setting(setting)));
    }

    /// Raises a throttle to a level, never lowers it; and says so, for whoever has decided something lower before.
    pub fn tighten(&self, name: &ThrottleName, setting: Setting) {
        self.change(name, |old| {
            let number = self.tightenings.fetch_add(1, Ordering::SeqCst) + 1;
            old.map(|entry| entry.tightened_by(setting, number))
        });
    }

    /// The number of the newest tightening: what is decided from here on knows of all up to it.
    pub fn tightenings(&self) -> u64 {
        self.tightenings.load(Ordering::SeqCst)
    }

    /// Puts a throttle to a level that was decided when `known` was the newest tightening; answers whether it was done.
    /// What was tightened since is not opened: whoever decided did not know of it.
    pub fn set_knowing(&self, name: &ThrottleName, setting: Setting, known: u64) -> bool {
        let mut overtaken = false;
        self.change(name, |old| {
            overtaken = old.is_some_and(|entry| entry.tightened > known && setting.level < entry.level);
            old.filter(|_| !overtaken).map(|entry| entry.with_setting(setting))
        });
        !overtaken
    }

    /// Everything known, by name.
    pub fn standings(&self) -> Vec<Standing> {
        let table = self.table.load();
        let mut all: Vec<_> =
            table.iter().filter_map(|(name, e)| Some(e.standing(ThrottleName::try_from(name.clone()).ok()?))).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One throttle, if it is known.
    pub fn standing(&self, name: &ThrottleName) -> Option<Standing> {
        self.table.load().get(name.as_str()).map(|entry| entry.standing(name.clone()))
    }

    /// Verdicts given on one throttle since the process started: whether admitted, why, how many.
    pub fn verdicts(&self, name: &ThrottleName) -> Vec<(bool, Reason, u64)> {
        self.table.load().get(name.as_str()).map(|entry| entry.verdicts()).unwrap_or_default()
    }

    /// About how many callers one throttle has seen in the hour of its salt; none where it declares no key.
    pub fn callers(&self, name: &ThrottleName, now: Timestamp) -> Option<u64> {
        self.table.load().get(name.as_str())?.callers(hour(now.as_second()))
    }

    /// The live kill holds of one throttle, oldest first.
    pub fn kills(&self, name: &ThrottleName) -> Vec<Hold> {
        self.table.load().get(name.as_str()).map(|entry| entry.holds.clone()).unwrap_or_default()
    }

    /// Waits until something changed since the last time this was waited for. For one waiter.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change(&self, name: &ThrottleName, next: impl FnOnce(Option<&Arc<Entry>>) -> Option<Entry>) {
        let _one_writer: MutexGuard<'_, ()> = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.table.load_full();
        if let Some(entry) = next(old.get(name.as_str())) {
            let mut table = HashMap::clone(&old);
            table.insert(name.as_str().to_owned(), Arc::new(entry));
            self.table.store(Arc::new(table));
            self.changed.notify_one();
        }
    }
}
