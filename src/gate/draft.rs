//! Changes of the table that come into force together.
//!
//! Made under the lock of the one who writes; what is still to be said of them is said after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::verdict::Reason;
use crate::domain::ended::EndedHolds;
use crate::domain::hold::{Epoch, Hold, Scope, Source};
use crate::domain::level::Level;
use crate::domain::target::GateSpec;
use crate::domain::throttle::ThrottleName;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::LevelSetting;
use super::entry::GateEntry;

/// Every throttle.
#[derive(Clone, Default)]
pub(super) struct VerdictTable {
    entries: HashMap<ThrottleName, Arc<GateEntry>>,
    /// The names that listings show, in order: kept, since a kill of all tells them.
    names: Arc<[ThrottleName]>,
}

impl VerdictTable {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<GateEntry>> {
        self.entries.get(name)
    }

    /// Everything that listings show, by name.
    pub(super) fn listed(&self) -> impl Iterator<Item = (&ThrottleName, &Arc<GateEntry>)> {
        self.names
            .iter()
            .filter_map(|name| self.entries.get_key_value(name))
    }
}

/// The next table, made from the one in force.
pub struct Draft<'a> {
    old: &'a VerdictTable,
    /// None until something differs.
    new: Option<VerdictTable>,
    /// Whether it has a throttle more.
    grown: bool,
    ended: &'a mut EndedHolds,
    tightenings: &'a AtomicU64,
    /// The number of its newest hold, if it adds one.
    held: Option<u64>,
    /// What of a specification is not applied.
    ignored: Vec<(ThrottleName, String)>,
}

/// What came of a draft.
pub(super) struct Drafted {
    /// The next table, if it differs.
    pub(super) next: Option<VerdictTable>,
    /// The number of its newest hold, if there is one more.
    pub(super) held: Option<u64>,
    /// What is to be told.
    pub(super) ignored: Vec<(ThrottleName, String)>,
}

impl<'a> Draft<'a> {
    pub(super) fn of(
        old: &'a VerdictTable,
        ended: &'a mut EndedHolds,
        tightenings: &'a AtomicU64,
    ) -> Self {
        Self {
            old,
            new: None,
            grown: false,
            ended,
            tightenings,
            held: None,
            ignored: Vec::new(),
        }
    }

    pub(super) fn done(mut self) -> Drafted {
        self.list();
        Drafted {
            next: self.new,
            held: self.held,
            ignored: self.ignored,
        }
    }

    fn table(&self) -> &VerdictTable {
        self.new.as_ref().unwrap_or(self.old)
    }

    fn next(&mut self) -> &mut VerdictTable {
        self.new.get_or_insert_with(|| self.old.clone())
    }

    fn entry(&self, name: &ThrottleName) -> Option<&GateEntry> {
        self.table().get(name.as_str()).map(Arc::as_ref)
    }

    fn change(&mut self, name: &ThrottleName, change: impl FnOnce(&mut GateEntry)) {
        if self.entry(name).is_some()
            && let Some(entry) = self.next().entries.get_mut(name)
        {
            change(Arc::make_mut(entry));
        }
    }

    /// Brings the list of names in line with the throttles there are.
    fn list(&mut self) {
        if let Some(table) = self
            .new
            .as_mut()
            .filter(|_| std::mem::take(&mut self.grown))
        {
            let mut names: Vec<_> = table
                .entries
                .keys()
                .filter(|name| !name.is_hidden())
                .cloned()
                .collect();
            names.sort_unstable();
            table.names = names.into();
        }
    }

    fn names(&mut self) -> Vec<ThrottleName> {
        self.list();
        self.table().names.to_vec()
    }

    fn add(&mut self, name: &ThrottleName, entry: GateEntry) {
        self.next().entries.insert(name.clone(), Arc::new(entry));
        self.grown = true;
    }

    /// Makes a throttle known, or changes how it reads requests; level and holds of a known one
    /// stay. What of it cannot be used is not applied, and told.
    pub fn declare(&mut self, name: &ThrottleName, spec: &GateSpec, setting: LevelSetting) {
        let known = self.entry(name);
        if known.is_some_and(|entry| entry.spec() == spec) {
            return;
        }
        let is_new = known.is_none();
        self.ignored
            .extend(spec.ignored().into_iter().map(|what| (name.clone(), what)));
        if is_new {
            self.add(name, GateEntry::new(spec, setting));
        } else {
            self.change(name, |entry| entry.respecify(spec));
        }
    }

    /// Adds a hold to every throttle it covers that is known; tells each of them, by name. One of
    /// `POST /kill` that has ended adds nothing: whoever brings it was overtaken. What a
    /// declaration or an object holds, holds for as long as it is seen.
    pub fn hold(&mut self, scope: &Scope, hold: &Arc<Hold>, at: Duration) -> Vec<ThrottleName> {
        if hold.source == Source::Rest && self.ended.has(&hold.epoch) {
            return Vec::new();
        }
        let number = self.tightenings.load(Ordering::SeqCst) + 1;
        let mut is_new = false;
        let held = match scope {
            Scope::One(name) => {
                self.change(name, |entry| is_new = entry.hold(hold, at, number));
                self.entry(name).map(|_| name.clone()).into_iter().collect()
            }
            Scope::All => {
                let all = self
                    .next()
                    .entries
                    .iter_mut()
                    .filter(|(name, _)| !name.is_hidden());
                for (_, entry) in all {
                    is_new |= Arc::make_mut(entry).hold(hold, at, number);
                }
                self.names()
            }
        };
        if is_new {
            self.tightenings.store(number, Ordering::SeqCst);
            self.held = Some(number);
        }
        held
    }

    /// Ends holds, on whatever they are, and tells that; the level stays where it is, which after a
    /// kill is a full stop.
    pub fn end(&mut self, ended: &[Epoch]) -> Vec<ThrottleName> {
        ended.iter().for_each(|epoch| self.ended.add(epoch));
        let meant: std::collections::HashSet<_> = ended.iter().collect();
        let holds = |entry: &GateEntry| entry.holds.iter().any(|hold| meant.contains(&hold.epoch));
        let all = self.table().entries.iter();
        let held = all.filter(|(_, entry)| holds(entry));
        let names: Vec<ThrottleName> = held.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.change(name, |entry| entry.release(|epoch| meant.contains(epoch)));
        }
        names
    }

    /// Removes a hold from one throttle; it may hold others, and come again.
    pub fn release(&mut self, name: &ThrottleName, epoch: &Epoch) {
        if self
            .entry(name)
            .is_some_and(|entry| entry.is_held_by(epoch))
        {
            self.change(name, |entry| entry.release(|held| held == epoch));
        }
    }

    /// Puts a throttle to a level. While a kill holds, the level that waits below it is a full
    /// stop, whatever is asked.
    pub fn set(&mut self, name: &ThrottleName, setting: LevelSetting) {
        match self.entry(name) {
            Some(entry) if !entry.differs_from(&setting) => entry.confirm(setting.at),
            _ => self.change(name, |entry| entry.set(setting)),
        }
    }

    /// The same for a level that was decided when `known` was the newest tightening; answers
    /// whether it was done. What was tightened since is not opened: whoever decided did not know of
    /// it.
    pub(super) fn set_knowing(
        &mut self,
        name: &ThrottleName,
        setting: LevelSetting,
        known: u64,
    ) -> bool {
        let overtaken = self
            .entry(name)
            .is_some_and(|entry| entry.tightened > known && setting.level < entry.level);
        if !overtaken {
            self.set(name, setting);
        }
        !overtaken
    }

    /// Raises a throttle to a level, never lowers it; and says so, for whoever has decided
    /// something lower before.
    pub fn tighten(&mut self, name: &ThrottleName, setting: LevelSetting) {
        let number = self.tightenings.fetch_add(1, Ordering::SeqCst) + 1;
        self.change(name, |entry| entry.tighten(setting, number));
    }

    pub(super) fn rehearse(&mut self, hold: Option<&Hold>, at: Duration) {
        let (name, open) = (
            ThrottleName::self_test(),
            LevelSetting {
                level: Level::OPEN,
                reason: Reason::None,
                generation: 0,
                at,
            },
        );
        if self.entry(&name).is_none() {
            self.add(&name, GateEntry::new(&GateSpec::default(), open));
        }
        self.change(&name, |entry| match hold {
            // Nothing that anybody decides is of this throttle.
            Some(hold) => {
                entry.hold(&Arc::new(hold.clone()), at, 0);
            }
            None => {
                entry.release(|_| true);
                entry.set(open);
            }
        });
    }
}
