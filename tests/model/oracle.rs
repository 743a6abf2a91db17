//! What each client was told, in order, and what follows from it for what is in force: nothing that
//! was acknowledged as shut is open, nothing that was refused opens, nothing that has ended bites.

mod holds;
mod levels;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use echo_phoenix::domain::level::Level;
use serde_json::Value;

use crate::commands::On;
use crate::life::Life;
use crate::seen::{Rare, sometimes};

/// A command that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) path: &'static str,
    pub(crate) body: String,
    pub(crate) key: Option<String>,
    pub(crate) what: What,
    /// Whether its key was another command's before.
    pub(crate) resent: bool,
    pub(crate) sent: u64,
    pub(crate) told: Option<Told>,
    /// Since when nothing more can come of it; of one whose client hung up that is not known before
    /// a rest or an end.
    pub(crate) done: Option<u64>,
    /// What it did was in memory alone when the process ended.
    pub(crate) lost: bool,
    /// A level of REST's for what a manifest declares: whether it was above that for as long as it
    /// was not answered.
    pub(crate) above: bool,
    /// Its client hung up.
    pub(crate) gone: bool,
    /// The process that answered it has ended.
    pub(crate) outlived: bool,
}

/// What a command means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Kill(On),
    Revive(On, Option<String>),
    Control { shop: bool, level: Level },
    Unconfirmed,
}

impl What {
    /// Where it is sent.
    fn path(&self) -> &'static str {
        match self {
            Self::Kill(_) | Self::Unconfirmed => "/kill",
            Self::Revive(..) => "/revive",
            Self::Control { .. } => "/control",
        }
    }
}

/// What its client was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) bytes: Bytes,
    pub(crate) replayed: bool,
}

/// What became of a command, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    Done,
    /// Refused: nothing was changed.
    Nothing,
    /// It may happen, or may have.
    Unknown,
}

impl Told {
    fn detail(&self) -> &str {
        self.body
            .get("detail")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// One that does not say it is durable for sure once the ledger has it.
    fn is_durable(&self) -> bool {
        self.body
            .get("durable")
            .and_then(Value::as_bool)
            .unwrap_or_else(|| self.body.get("audit_id") != Some(&Value::Null))
    }

    fn says(&self, member: &str) -> &str {
        self.body
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The holds that it says have ended.
    fn ended(&self) -> Vec<String> {
        let ended = self
            .body
            .get("ended")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        ended
            .filter_map(|epoch| epoch.as_str().map(str::to_owned))
            .collect()
    }
}

impl Asked {
    pub(crate) fn became(&self) -> Became {
        match &self.told {
            Some(told) if told.status == 200 && !self.lost => Became::Done,
            Some(told) if told.status == 200 || told.detail().contains("may still happen") => {
                Became::Unknown
            }
            Some(_) => Became::Nothing,
            None => Became::Unknown,
        }
    }
}

/// Everything that was sent, and what must hold for it.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) asked: Vec<Asked>,
    /// Counts what happens, in order.
    event: u64,
    holds: holds::Holds,
    levels: levels::Levels,
    /// What is wrong already.
    pub(crate) wrong: Option<String>,
    /// Names of commands are used once in a world.
    number: u64,
}

/// The oracle, for everybody who tells it something.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Oracle>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Oracle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Oracle {
    /// A command is sent.
    pub(crate) fn sent(&mut self, body: String, key: Option<String>, what: What) -> Asked {
        self.number += 1;
        let event = self.next();
        let id = format!("m-{}", self.number);
        let key = key.unwrap_or_default();
        let key = match key.as_str() {
            "" => None,
            "own" => Some(format!("k-{}", self.number)),
            other => Some(other.to_owned()),
        };
        let resent = key.is_some() && self.asked.iter().any(|asked| asked.key == key);
        if resent
            && self
                .asked
                .iter()
                .any(|asked| asked.key == key && asked.done.is_none())
        {
            sometimes(Rare::ReplayOverlap);
        }
        if matches!(what, What::Kill(_)) && self.asked.iter().any(Asked::is_undecided_revival) {
            sometimes(Rare::KillWhileUndecided);
        }
        let asked = Asked {
            id,
            path: what.path(),
            body,
            key,
            what,
            resent,
            sent: event,
            told: None,
            done: None,
            lost: false,
            above: true,
            gone: false,
            outlived: false,
        };
        crate::traced(|| {
            format!(
                "{} is sent to {}: {} {:?}",
                asked.id, asked.path, asked.body, asked.key
            )
        });
        self.asked.push(asked.clone());
        asked
    }

    fn next(&mut self) -> u64 {
        self.event += 1;
        self.event
    }

    /// The manifest declares this at most.
    pub(crate) fn declared(&mut self, ceiling: Level) {
        for asked in self.asked.iter_mut().filter(|asked| asked.done.is_none()) {
            asked.above &= matches!(&asked.what, What::Control { level, .. } if *level > ceiling);
        }
    }

    /// A client heard its answer.
    pub(crate) fn told(&mut self, id: &str, told: Told) {
        let event = self.next();
        crate::traced(|| format!("{id} is told {} {}", told.status, told.body));
        let Some(index) = self.asked.iter().position(|asked| asked.id == id) else {
            return;
        };
        let asked = &mut self.asked[index];
        asked.done = Some(event);
        asked.told = Some(told.clone());
        let asked = asked.clone();
        count(&asked, &told);
        if told.status >= 500
            && !told.detail().contains("Nothing was")
            && !told.detail().contains("may still happen")
        {
            self.wrong.get_or_insert_with(|| {
                format!(
                    "{} {:?} was answered {}: {}",
                    asked.id, asked.what, told.status, told.body
                )
            });
        }
        self.holds.told(&asked, &told);
        if let Some(wrong) = self.same_as_before(&asked, &told) {
            self.wrong.get_or_insert(wrong);
        }
    }

    /// A retry that is replayed hears what one before it heard: the first, or one whose key could
    /// not be looked up.
    fn same_as_before(&self, asked: &Asked, told: &Told) -> Option<String> {
        let same = |one: &&Asked| {
            one.key == asked.key && one.id != asked.id && one.body == asked.body && !one.lost
        };
        let before = self
            .asked
            .iter()
            .filter(same)
            .filter_map(|one| one.told.as_ref())
            .filter(|told| told.status == 200);
        let before: Vec<_> = before.map(|told| &told.bytes).collect();
        let other = told.replayed
            && told.status == 200
            && !before.is_empty()
            && !before.contains(&&told.bytes);
        other.then(|| {
            format!(
                "{} was told {:?}, and others with its key {before:?}",
                asked.id, told.bytes
            )
        })
    }

    pub(crate) fn hung_up(&mut self, id: &str) {
        self.next();
        self.asked
            .iter_mut()
            .filter(|asked| asked.id == id)
            .for_each(|asked| asked.gone = true);
    }

    /// The process ended: what was in memory alone may be gone, and what was under way is decided.
    pub(crate) fn crashed(&mut self) {
        let event = self.next();
        if self.asked.iter().any(|asked| asked.done.is_none()) {
            sometimes(Rare::CrashedUnderway);
        }
        for asked in &mut self.asked {
            asked.done.get_or_insert(event);
            asked.outlived = true;
            asked.lost |= asked.told.as_ref().is_some_and(|told| !told.is_durable());
        }
        self.holds.crashed();
    }

    /// Whether somebody still waits for an answer.
    pub(crate) fn waits_in_vain(&self) -> bool {
        self.asked
            .iter()
            .any(|asked| asked.told.is_none() && !asked.gone && !asked.outlived)
    }

    /// All is decided: what is in force now is what there is to start from.
    pub(crate) fn rested(&mut self, life: &Life) {
        self.next();
        self.count_decided(life);
        self.holds.rested(life);
        self.levels.rested(life);
        self.asked.clear();
    }

    fn count_decided(&self, life: &Life) {
        let held: BTreeSet<String> = life
            .gate
            .standings()
            .into_iter()
            .flat_map(|one| one.holds)
            .map(|epoch| epoch.0)
            .collect();
        for asked in self.asked.iter().filter(|asked| asked.is_undecided()) {
            match &asked.what {
                What::Revive(_, Some(epoch)) if !held.contains(epoch) => {
                    sometimes(Rare::ReviveHappened)
                }
                What::Revive(_, None) if held.is_empty() => sometimes(Rare::ReviveHappened),
                What::Control { shop: false, level } => {
                    let declared = life.declared("default").map(|declared| declared.level);
                    if declared == Some(*level) {
                        sometimes(Rare::OpenHappened);
                    }
                }
                _ => {}
            }
        }
    }

    /// What is not as it must be now.
    pub(crate) fn check(&self, life: &Life) -> Option<String> {
        let wrong = || {
            self.holds
                .check(&self.asked, life)
                .or_else(|| self.levels.check(&self.asked, life))
        };
        self.wrong
            .clone()
            .or_else(wrong)
            .or_else(|| life.ramp.wrong())
            .or_else(|| life.site.wrong())
    }
}

impl Asked {
    /// Whether it ended holds.
    pub(crate) fn opens(&self) -> bool {
        self.became() == Became::Done
            && self
                .told
                .as_ref()
                .is_some_and(|told| !told.ended().is_empty())
    }

    /// Whether it moved nothing, and may have been in memory alone when its process ended: of a
    /// kill that repeats one, what is told is told of that one.
    pub(crate) fn moved_nothing(&self) -> bool {
        let repeats = |told: &Told| {
            told.body["already_killed"] == Value::Bool(true) && told.says("audit") == "pending"
        };
        let none = |told: &Told| repeats(told) || told.says("status") == "already_running";
        self.outlived && self.told.as_ref().is_some_and(none)
    }

    /// What it is about; none: nothing.
    fn on(&self) -> Option<On> {
        match &self.what {
            What::Kill(on) | What::Revive(on, None) => Some(*on),
            What::Control { shop, .. } => Some(if *shop { On::Shop } else { On::Default }),
            // One hold, on whatever it is.
            What::Revive(_, Some(_)) | What::Unconfirmed => None,
        }
    }

    /// Whether two are about something that is the same.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let same = |(a, b): (On, On)| a == b || a == On::All || b == On::All;
        self.on().zip(other.on()).is_some_and(same)
    }

    fn is_undecided(&self) -> bool {
        self.told
            .as_ref()
            .is_some_and(|told| told.detail().contains("may still happen"))
    }

    fn is_undecided_revival(&self) -> bool {
        matches!(self.what, What::Revive(..)) && self.is_undecided()
    }
}

/// Counts what is rare.
fn count(asked: &Asked, told: &Told) {
    if told.replayed {
        match told.status {
            200 => sometimes(Rare::Replayed),
            _ if told.detail().contains("ended since") => sometimes(Rare::EndedSince),
            _ => sometimes(Rare::HeldSince),
        }
        return;
    }
    let rare = match (&asked.what, told.status) {
        (What::Kill(_), 200) => {
            if told.body["warning"]
                .as_str()
                .is_some_and(|warning| warning.contains("another kill"))
            {
                sometimes(Rare::Collided);
            } else if asked.resent {
                sometimes(Rare::KillAgain);
                sometimes(Rare::KeyUnknown);
            }
            if asked.body.contains(crate::doors::SITE) {
                sometimes(Rare::KillOfASite);
            }
            if told.body["already_killed"] == Value::Bool(true) {
                sometimes(Rare::KillLeans);
            }
            match (told.says("audit"), told.is_durable()) {
                ("recorded", _) => Rare::KillRecorded,
                (_, true) => Rare::KillPending,
                (_, false) => Rare::KillNotDurable,
            }
        }
        (What::Revive(..), 200) => Rare::Revived,
        (What::Revive(..), 503) if asked.became() == Became::Unknown => Rare::ReviveUndecided,
        (What::Revive(..), 503) => Rare::ReviveNothing,
        (What::Revive(..), 409) => Rare::ReviveConflict,
        (What::Control { shop, .. }, 200) => {
            if told.says("audit") == "pending" {
                sometimes(Rare::ClosePending);
            }
            if *shop { Rare::Held } else { Rare::Opened }
        }
        (What::Control { .. }, 503) if asked.became() == Became::Unknown => Rare::OpenUndecided,
        (What::Control { .. }, 503) => Rare::OpenNothing,
        (What::Control { .. }, 409) => Rare::ControlKilled,
        (What::Unconfirmed, 400..500) => Rare::RefusalRecorded,
        _ => return,
    };
    sometimes(rare);
}
