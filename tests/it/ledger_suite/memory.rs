//! A ledger in memory: what the ports ask of a ledger, without a disk. It shows that a second
//! backend fits, and is as small as one can be that the whole suite holds for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use echo_phoenix::domain::audit::{
    AuditAction, AuditDraft, Change, ClientKey, CommandResponse, IntentId, Receipt, StateRow,
    ThrottleRow,
};
use echo_phoenix::domain::chain_head::ChainHead;
use echo_phoenix::domain::drift::Drift;
use echo_phoenix::domain::hold::{Epoch, Hold, ScopedHold, Source, ask_for_more};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::payment::{EventKey, EventMeaning, PaymentEvidence, Storing};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{
    JournalEntry, Ledger, LedgerError, LedgerUpkeep, Outbox, OutboxRow, Stored,
};
use echo_phoenix::store::{LedgerPlace, LedgerSnapshot, OpenError};
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Backend, TestLedger};

/// Who writes what no caller asked for.
const CHAINED: [&str; 3] = ["audit_log", "evidence_ledger", "reconciliation_log"];

/// The place of one: whoever opens it again finds what was committed before.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    tables: Arc<Mutex<Tables>>,
    /// Whether it cannot be opened.
    shut: Arc<AtomicBool>,
}

impl Backend for Memory {
    fn open(&self) -> Arc<dyn TestLedger> {
        Arc::new(self.ledger())
    }
}

impl Memory {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Whether it can be opened.
    pub(crate) fn open_from_now_on(&self, opens: bool) {
        self.shut.store(!opens, Ordering::SeqCst);
    }

    fn ledger(&self) -> MemoryLedger {
        MemoryLedger {
            place: self.clone(),
            closed: Mutex::new(false),
        }
    }
}

impl LedgerPlace for Memory {
    type Ledger = MemoryLedger;

    fn open(&self) -> Result<(MemoryLedger, LedgerSnapshot), OpenError> {
        if self.shut.load(Ordering::SeqCst) {
            return Err(OpenError::Io(std::io::ErrorKind::StorageFull.into()));
        }
        Ok((self.ledger(), self.snapshot()?))
    }

    fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError> {
        let tables = self.tables();
        Ok(LedgerSnapshot {
            stored: tables.stored(),
            journal: tables.journal,
            ..LedgerSnapshot::default()
        })
    }

    fn lacks(&self, entries: &[JournalEntry]) -> Result<usize, LedgerError> {
        let tables = self.tables();
        let has = |entry: &JournalEntry| {
            let held = entry.clone().hold().map(|held| held.hold.epoch);
            tables.commands.contains(&entry.record.once)
                || held.is_some_and(|epoch| tables.has_ended(&epoch).is_some())
        };
        Ok(entries.iter().filter(|entry| !has(entry)).count())
    }

    fn has(&self, once: &str) -> Result<bool, LedgerError> {
        Ok(self.tables().commands.contains(once))
    }

    fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        Ok(self.tables().answered(key))
    }
}

/// The ledger there.
pub(crate) struct MemoryLedger {
    place: Memory,
    closed: Mutex<bool>,
}

impl MemoryLedger {
    fn tables(&self) -> Result<MutexGuard<'_, Tables>, LedgerError> {
        if *self.closed.lock().unwrap() {
            return Err(LedgerError::Unavailable("it is closed".to_owned()));
        }
        Ok(self.place.tables())
    }

    /// Does something whole, or not at all.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Tables) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut tables = self.tables()?;
        let mut next = tables.clone();
        let told = change(&mut next)?;
        *tables = next;
        Ok(told)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        self.change(|tables| tables.commit(&change))
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        Ok(self.tables()?.stored())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.tables().map(drop)
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        Ok(self.tables()?.commands.contains(once))
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        let tables = self.tables()?;
        let owed = tables.outbox.iter().map(|(_, row)| row.clone());
        Ok(owed.take(limit).collect())
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        let is_it = |one: &OutboxRow, row: &OutboxRow| {
            (&one.table, &one.key, one.version) == (&row.table, &row.key, row.version)
        };
        let mut tables = self.tables()?;
        tables
            .outbox
            .retain(|(_, one)| !rows.iter().any(|row| is_it(one, row)));
        Ok(())
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        Ok(self.tables()?.answered(key))
    }
}

#[async_trait]
impl LedgerUpkeep for MemoryLedger {
    async fn begin(&self, at: Timestamp, holds: Vec<ScopedHold>) -> Result<Receipt, LedgerError> {
        self.change(|tables| Ok(tables.begin(at, &holds)))
    }

    async fn close_interrupted(&self, at: Timestamp) -> Result<Receipt, LedgerError> {
        self.change(|tables| Ok(tables.close_interrupted(at)))
    }

    async fn saw_journal(&self, ever: u64) -> Result<(), LedgerError> {
        let mut tables = self.tables()?;
        tables.journal = tables.journal.max(Some(ever));
        Ok(())
    }

    async fn prune(&self, states_before: Timestamp, now: Timestamp) -> Result<usize, LedgerError> {
        let mut tables = self.tables()?;
        let count = |tables: &Tables| tables.states.len() + tables.answers.len();
        let before = count(&tables);
        tables.states.retain(|state| state.at >= states_before);
        let expires = |answer: &CommandResponse| answer.key.as_ref().map(|key| key.expires_at);
        tables.answers.retain(|answer| expires(answer) >= Some(now));
        Ok(before - count(&tables))
    }

    async fn outbox(&self) -> Result<Outbox, LedgerError> {
        let rows = self.tables()?.outbox.len();
        Ok(Outbox {
            rows: i64::try_from(rows).unwrap(),
            dropped: 0,
        })
    }

    async fn heads(&self) -> Result<Vec<ChainHead>, LedgerError> {
        let tables = self.tables()?;
        let lengths = [tables.audit.len(), tables.events.len(), tables.drifts.len()];
        let heads = CHAINED.into_iter().zip(lengths).map(|(table, rows)| {
            let hash = match rows {
                0 => "0".repeat(64),
                _ => hex::encode(Sha256::digest(format!("{table} {rows}"))),
            };
            ChainHead {
                table,
                seq: i64::try_from(rows).unwrap(),
                hash,
            }
        });
        Ok(heads.collect())
    }

    fn can_close(&self) -> bool {
        true
    }

    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }
}

/// A hold that was heard of: what it is, if more than its end was, and whether it has ended.
#[derive(Clone)]
struct Known {
    epoch: Epoch,
    held: Option<ScopedHold>,
    ended: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Tables {
    audit: Vec<AuditDraft>,
    throttles: BTreeMap<ThrottleName, ThrottleRow>,
    /// In the order taken.
    holds: Vec<Known>,
    commands: BTreeSet<String>,
    /// Each with its client's key.
    answers: Vec<CommandResponse>,
    events: Vec<(EventKey, EventMeaning)>,
    states: Vec<StateRow>,
    drifts: Vec<Drift>,
    /// Those that are open: which, of which throttle, by which entry.
    intents: Vec<(IntentId, String, Option<i64>)>,
    /// Rows with their keys' place in the line, by that.
    outbox: Vec<(i64, OutboxRow)>,
    versions: i64,
    journal: Option<u64>,
}

fn refused<T>(why: &str) -> Result<T, LedgerError> {
    Err(LedgerError::Refused(why.to_owned()))
}

fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// What a change takes of what is known before it.
struct Standing(Vec<(Epoch, bool)>);

impl Standing {
    fn is_new(&self, held: &ScopedHold) -> bool {
        !self.0.iter().any(|(epoch, _)| *epoch == held.hold.epoch)
    }

    fn told(&self, mut receipt: Receipt) -> Receipt {
        for (epoch, ended) in &self.0 {
            receipt.over.extend(ended.then(|| epoch.clone()));
            receipt.known.push(epoch.clone());
        }
        receipt
    }
}

impl Tables {
    fn stored(&self) -> Stored {
        Stored {
            throttles: self.throttles.values().cloned().collect(),
            holds: self.live().cloned().collect(),
        }
    }

    fn live(&self) -> impl Iterator<Item = &ScopedHold> {
        let live = self.holds.iter().filter(|known| !known.ended);
        live.filter_map(|known| known.held.as_ref())
    }

    fn has_ended(&self, epoch: &Epoch) -> Option<bool> {
        let mut known = self.holds.iter().filter(|known| known.epoch == *epoch);
        known.next().map(|known| known.ended)
    }

    fn say(&mut self, draft: &AuditDraft) -> i64 {
        self.audit.push(draft.clone());
        i64::try_from(self.audit.len()).unwrap()
    }

    fn standing(&self, change: &Change) -> Standing {
        let epochs: BTreeSet<_> = change.takes().map(|held| &held.hold.epoch).collect();
        let known = epochs
            .into_iter()
            .filter_map(|epoch| Some((epoch.clone(), self.has_ended(epoch)?)));
        Standing(known.collect())
    }

    fn commit(&mut self, change: &Change) -> Result<Receipt, LedgerError> {
        let standing = self.standing(change);
        if let Some(first) = self.before(change, &standing)? {
            self.commands.extend(change.once.clone());
            return Ok(first);
        }
        let mut receipt = Receipt::default();
        if let Some(evidence) = &change.evidence {
            receipt.evidence = Some(self.store(evidence, &mut receipt.audit));
            if receipt.evidence != Some(Storing::Stored) {
                return Ok(receipt);
            }
        }
        if change.audit.is_empty()
            && !(change.holds_taken.is_empty() && change.holds_ended.is_empty())
        {
            return refused("a hold neither begins nor ends without an entry that says so");
        }
        let own = change.begins.iter();
        for (_, draft) in own.filter(|(held, _)| standing.is_new(held)) {
            receipt.audit.push(self.say(draft));
        }
        for draft in &change.audit {
            receipt.audit.push(self.say(draft));
        }
        for row in &change.throttles {
            self.put(row)?;
        }
        for held in change.takes().filter(|held| standing.is_new(held)) {
            self.holds.push(Known {
                epoch: held.hold.epoch.clone(),
                held: Some(held.clone()),
                ended: false,
            });
        }
        for epoch in &change.holds_ended {
            self.end(epoch);
        }
        self.states.extend(change.states.iter().cloned());
        for drift in &change.drifts {
            self.drift(drift);
        }
        self.intend(change, receipt.audit.last().copied())?;
        self.commands.extend(change.once.clone());
        if let Some(answer) = &change.answer {
            receipt.answer = Some(self.keep(answer, receipt.audit.last().copied()));
        }
        receipt.over = change.holds_ended.clone();
        Ok(standing.told(receipt))
    }

    /// What is answered to a change that was here before, by its id or by its client's key.
    fn before(
        &mut self,
        change: &Change,
        standing: &Standing,
    ) -> Result<Option<Receipt>, LedgerError> {
        let asked = change.answer.as_ref();
        let key = asked.and_then(|answer| answer.key.as_ref());
        let stops = |held: &ScopedHold| held.hold.is_kill() && standing.is_new(held);
        let was_here = |once: &String| self.commands.contains(once);
        let is_known = change.once.as_ref().is_some_and(was_here) && !change.takes().any(stops);
        let first = self.first(change, key, is_known);
        let told = asked.filter(|answer| is_known && answer.told && answer.sent.is_some());
        if let Some(told) = told {
            self.was_told(told);
        }
        let digest = |key: Option<&ClientKey>| key.map(|key| key.digest.clone());
        let is_other = |first: &CommandResponse| digest(first.key.as_ref()) != digest(key);
        let is_answered = asked.is_some_and(|answer| answer.sent.is_some());
        let other = first.as_ref().is_some_and(is_other);
        if other && !is_known && !is_answered && self.opens(change) {
            return refused("its Idempotency-Key was used for another request");
        }
        let first = first.filter(|first| !is_other(first));
        if !is_known && (first.is_none() || is_answered) {
            return Ok(None);
        }
        let first = first.map(|first| CommandResponse {
            replayed: !is_known,
            ..first
        });
        let ended = |epoch: &&Epoch| self.has_ended(epoch) == Some(true);
        let over = change.holds_ended.iter().filter(ended).cloned().collect();
        Ok(Some(standing.told(Receipt {
            repeated: true,
            answer: told.cloned().or(first).or_else(|| change.answer.clone()),
            over,
            ..Receipt::default()
        })))
    }

    /// What the client's key was answered before, where that is an answer to this change.
    fn first(
        &self,
        change: &Change,
        key: Option<&ClientKey>,
        is_known: bool,
    ) -> Option<CommandResponse> {
        let first = self.answered(key?)?;
        let asked = change.answer.as_ref();
        let expires = first.key.as_ref().map(|key| key.expires_at);
        let own = asked.and_then(CommandResponse::kill);
        let answers = expires > asked.map(|answer| answer.at)
            && first.kill() == own
            && (is_known && own.is_some() || !self.closes(change));
        answers.then_some(first)
    }

    /// The holds that a change ends and that are in force until then.
    fn ending(&self, change: &Change) -> Vec<&ScopedHold> {
        let ends = |held: &&ScopedHold| change.holds_ended.contains(&held.hold.epoch);
        self.live().filter(ends).collect()
    }

    fn closes(&self, change: &Change) -> bool {
        ask_for_more(change.takes(), &self.ending(change))
            || self.declares(change, |declared, stored| declared > stored)
    }

    fn opens(&self, change: &Change) -> bool {
        let (ending, taken) = (self.ending(change), change.takes().collect::<Vec<_>>());
        change.opens_elsewhere
            || ending.len() < change.holds_ended.len()
            || ask_for_more(ending, &taken)
            || self.declares(change, |declared, stored| declared < stored)
    }

    fn declares(&self, change: &Change, so: impl Fn(Level, Level) -> bool) -> bool {
        let stored = |name| {
            self.throttles
                .get(name)
                .map_or(Level::STOP, |row| row.declared)
        };
        let mut rows = change.throttles.iter();
        rows.any(|row| so(row.declared, stored(&row.name)))
    }

    fn answered(&self, key: &ClientKey) -> Option<CommandResponse> {
        let of = |own: bool| {
            let is_it = move |answer: &&CommandResponse| {
                let kept = answer.key.as_ref();
                kept.is_some_and(|kept| key.is(kept) && own != kept.caller.is_empty())
            };
            self.answers.iter().find(is_it).cloned()
        };
        of(true).or_else(|| of(false))
    }

    /// Keeps an answer for its client's key, in the place of one that has expired, or that the same
    /// request got before.
    fn keep(&mut self, answer: &CommandResponse, entry: Option<i64>) -> CommandResponse {
        let mut kept = answer.clone();
        let pending = kept
            .body
            .get("audit")
            .is_some_and(|audit| audit == "pending");
        if let Some(entry) = entry.filter(|_| !pending) {
            kept.set("audit_id", entry);
        }
        kept.write();
        kept.told = false;
        let Some(key) = kept.key.clone().filter(|_| kept.is_success()) else {
            return kept;
        };
        let owner = |key: &ClientKey| (key.caller.clone(), key.route.clone(), key.key.clone());
        let same = |one: &CommandResponse| one.key.as_ref().map(owner) == Some(owner(&key));
        match self.answers.iter_mut().find(|one| same(one)) {
            Some(one) => {
                let before = one.key.as_ref();
                if before.is_some_and(|b| b.expires_at <= kept.at || b.digest == key.digest) {
                    *one = kept.clone();
                }
            }
            None => self.answers.push(kept.clone()),
        }
        kept
    }

    /// What a client was told before the ledger knew: a retry hears the same, unless the request
    /// was done again since.
    fn was_told(&mut self, told: &CommandResponse) {
        let same = |one: &CommandResponse| {
            let same = |key: &ClientKey| told.key.as_ref().is_some_and(|own| own.is(key));
            let digest = |answer: &CommandResponse| answer.key.clone().map(|key| key.digest);
            one.key.as_ref().is_some_and(same) && digest(one) == digest(told) && one.at <= told.at
        };
        if let Some(one) = self.answers.iter_mut().find(|one| same(one)) {
            let at = one.at;
            *one = CommandResponse {
                told: false,
                at,
                ..told.clone()
            };
        }
    }

    fn store(&mut self, evidence: &PaymentEvidence, audit: &mut Vec<i64>) -> Storing {
        let known = self.events.iter().find(|(key, _)| *key == evidence.key);
        match known.map(|(_, meaning)| meaning.clone()) {
            None => {
                let event = (evidence.key.clone(), evidence.meaning.clone());
                self.events.push(event);
                Storing::Stored
            }
            Some(meaning) if meaning == evidence.meaning => Storing::Duplicate,
            Some(_) => {
                let (at, action) = (evidence.received_at, AuditAction::EvidenceConflict);
                let draft = AuditDraft::new(at, "stripe", action);
                audit.push(self.say(&draft));
                Storing::Conflict
            }
        }
    }

    /// The state of a throttle. What is declared changes with its generation alone.
    fn put(&mut self, row: &ThrottleRow) -> Result<(), LedgerError> {
        let Some(stored) = self.throttles.get_mut(&row.name) else {
            self.throttles.insert(row.name.clone(), row.clone());
            return Ok(());
        };
        if row.generation < stored.generation {
            return Err(LedgerError::Conflict(row.name.clone()));
        }
        let declared = if row.generation > stored.generation {
            row.declared
        } else {
            stored.declared
        };
        *stored = ThrottleRow {
            declared,
            spec: row.spec.clone().or_else(|| stored.spec.clone()),
            offered: row.offered.clone().or_else(|| stored.offered.clone()),
            ..row.clone()
        };
        Ok(())
    }

    /// Ends a hold; one that was never heard of is remembered as ended.
    fn end(&mut self, epoch: &Epoch) {
        match self.holds.iter_mut().find(|known| known.epoch == *epoch) {
            Some(known) => known.ended = true,
            None => self.holds.push(Known {
                epoch: epoch.clone(),
                held: None,
                ended: true,
            }),
        }
    }

    fn intend(&mut self, change: &Change, entry: Option<i64>) -> Result<(), LedgerError> {
        let last = change.audit.last();
        let throttle = last.map_or("", |draft| draft.throttle.as_str());
        for intent in &change.opens {
            if self.intents.iter().any(|(open, ..)| open == intent) {
                return Err(LedgerError::Unavailable("it is open".to_owned()));
            }
            let open = (intent.clone(), throttle.to_owned(), entry);
            self.intents.push(open);
        }
        for intent in &change.settles {
            let open = self.intents.iter().position(|(open, ..)| open == intent);
            let Some(open) = open else {
                return refused("it is not open, so it cannot have an outcome");
            };
            self.intents.remove(open);
        }
        Ok(())
    }

    /// A version of a drift, which the mirror then owes in its elder's place.
    fn drift(&mut self, drift: &Drift) {
        self.drifts.push(drift.clone());
        self.versions += 1;
        let who = drift.who.as_ref();
        let row = json!({
            "kind": "drift", "id": drift.id, "throttle": drift.throttle, "target": drift.target,
            "field": drift.field, "desired": drift.desired, "actual": drift.actual,
            "side": drift.side.as_str(), "who_manager": who.map(|who| &who.manager),
            "who_operation": who.map(|who| &who.operation),
            "who_subresource": who.map(|who| &who.subresource),
            "who_time": who.and_then(|who| who.time).map(time),
            "first_seen": time(drift.first_seen), "last_seen": time(drift.last_seen),
            "count": drift.count, "action": drift.action.as_str(), "error": drift.error,
        });
        let owed = OutboxRow {
            table: "reconciliation_log".to_owned(),
            key: drift.id.clone(),
            version: self.versions,
            row: row.to_string(),
        };
        match self.outbox.iter_mut().find(|(_, one)| one.key == owed.key) {
            Some((_, one)) => *one = owed,
            None => self.outbox.push((self.versions, owed)),
        }
    }

    fn begin(&mut self, at: Timestamp, holds: &[ScopedHold]) -> Receipt {
        let mut receipt = Receipt::default();
        for held in holds {
            if held.hold.source.is_declared() || self.has_ended(&held.hold.epoch).is_some() {
                continue;
            }
            let draft = AuditDraft {
                after: format!("held {}", held.hold.epoch),
                ..AuditDraft::own(at, AuditAction::Unaccounted)
            };
            receipt.audit.push(self.say(&draft));
            let hold = Hold {
                source: Source::Unaccounted,
                ..held.hold.clone()
            };
            self.holds.push(Known {
                epoch: hold.epoch.clone(),
                held: Some(ScopedHold {
                    scope: held.scope.clone(),
                    hold,
                }),
                ended: false,
            });
        }
        let draft = AuditDraft::own(at, AuditAction::Checkpoint);
        receipt.audit.push(self.say(&draft));
        receipt
    }

    fn close_interrupted(&mut self, at: Timestamp) -> Receipt {
        let mut receipt = Receipt::default();
        for (intent, throttle, entry) in std::mem::take(&mut self.intents) {
            let of = entry.map_or_else(String::new, |entry| format!(" of audit entry {entry}"));
            let draft = AuditDraft {
                throttle,
                before: "open".to_owned(),
                after: "interrupted".to_owned(),
                reason: format!("intent {}{of} had no outcome", intent.0),
                ..AuditDraft::own(at, AuditAction::IntentInterrupted)
            };
            receipt.audit.push(self.say(&draft));
        }
        receipt
    }
}
