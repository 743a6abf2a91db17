//! Making what was done durable: the journal first, the ledger next; and telling the ledger again
//! what it lacks.
//!
//! Nothing here closes or opens a gate.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::poll;

use super::announce::shared;
use super::in_flight::InFlightCommand;
use super::telling::{AuditState, Persisted, Telling};
use super::{Latch, log_lines, owned, whole};
use crate::domain::audit::{CommandRecord, CommandResponse};
use crate::domain::hold::ScopedHold;
use crate::domain::measurement::Measurement;
use crate::ports::{DesiredError, Effect, HoldTaken, JournalEntry};
use crate::sync::{MutexGuard, timeout};

/// How long a command waits for the ledger before it answers `pending`. The gate has been shut
/// since before the wait.
pub(super) const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// How long it waits for the journal before it answers `durable: false`. What was begun is written
/// all the same.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits for the journal to note what its client is told. A note that is not there in
/// time lets a retry hear the ledger's words after a restart.
const NOTE_PATIENCE: Duration = Duration::from_millis(250);

/// How long the journal is alone with its disk and a processor: as a rule it is done by then, and
/// the ledger, whose commit takes more of both, keeps no verdict from the gate that has just been
/// shut. One that is slow keeps nobody waiting.
const HEAD_START: Duration = Duration::from_millis(5);

/// Why a command is not in the ledger whose effect is settled without it.
pub(super) const UNNOTED: &str = "that it has no effect beyond this process could not be recorded";

/// Whether an entry is in the ledger.
pub(super) enum EntryOutcome {
    /// It is, and this is what its client is told.
    Told(Box<CommandResponse>),
    /// It is, as one that holds in this process alone; and this is what its client is told.
    Alone(Box<CommandResponse>),
    /// It never will be, since what it means is gone.
    LetGo,
    /// Not yet, and why. Whoever asked says so: of a command once, of what is told again when that
    /// changes.
    NotYet(String),
    /// It was refused for good, and that could not be recorded in time. It may be all the same, and
    /// then a start has nothing to bring: what it closed does not outlive this process for sure.
    Unnoted,
}

impl Latch {
    /// Makes durable what is in force already: journal, then ledger. What neither takes is owed
    /// from memory.
    ///
    /// `hold`: where the record of the hold stands that a repeated kill repeats, which is what
    /// counts to its caller. What is told is fixed before anything is stored: a retry has to hear
    /// it again.
    pub(super) async fn persist(
        &self,
        effect: Effect,
        measured: Option<Measurement>,
        record: CommandRecord,
        hold: Option<(AuditState, bool)>,
    ) -> Persisted {
        let telling = Telling {
            effect: &effect,
            record: &record,
            hold,
        };
        let owed = telling.owing(true);
        // Until it is known here too what its client is told: whoever settled it before would not
        // replay that.
        let _under_way = InFlightCommand::of(self, owed.record.once.clone());
        let entry = telling.entry(AuditState::Recorded, true);
        // Memory, other sites and objects of a cluster hear of it by the second, and wait for no
        // disk that is slow.
        let unkept = OnceLock::new();
        let journalled = async {
            let durable = timeout(JOURNAL_PATIENCE, self.journalled(&owed, &unkept))
                .await
                .unwrap_or(false);
            if durable {
                self.note_durable(&effect, true);
            }
            durable
        };
        if let Effect::Hold(hold) = &effect {
            // Before a record of it is counted: what is kept of memory says how many records it
            // knows of.
            self.desired.hold(hold, &entry.record);
        }
        let (durable, entered) =
            with_a_head_start(journalled, self.commit_entry(&entry, measured)).await;
        let durable = match entered {
            EntryOutcome::Told(answer) => {
                log_lines::kept_by_the_ledger_alone(&owed.record, unkept.get());
                let (audit, durable) = telling.told(AuditState::Recorded, true);
                return Persisted {
                    audit,
                    durable,
                    answer: *answer,
                };
            }
            EntryOutcome::Alone(answer) => {
                return Persisted {
                    audit: AuditState::Recorded,
                    durable: false,
                    answer: *answer,
                };
            }
            EntryOutcome::LetGo => durable,
            EntryOutcome::NotYet(why) => {
                log_lines::not_taken(&owed.record, &why, durable, unkept.get());
                durable
            }
            EntryOutcome::Unnoted => {
                log_lines::not_taken(&owed.record, UNNOTED, false, unkept.get());
                self.note_durable(&effect, false);
                false
            }
        };
        self.pending_for(&telling, owed, durable).await
    }

    /// Whether the hold of a command is on a disk. One that is here alone is told as that, whatever
    /// the disk has: its command is on record, and a start settles it.
    fn note_durable(&self, effect: &Effect, durable: bool) {
        if let Effect::Hold(hold) = effect {
            self.holds.note(&hold.hold.epoch, |live| {
                live.durable = durable && live.alone.is_none();
            });
        }
    }

    /// What the client of a command is told that the ledger is owed.
    async fn pending_for(
        &self,
        telling: &Telling<'_>,
        owed: JournalEntry,
        durable: bool,
    ) -> Persisted {
        let owed = if durable { owed } else { telling.owing(false) };
        let answer = owed.record.answer.clone();
        self.owe(owed.clone(), durable);
        if durable && answer.key.is_some() {
            self.note_told(owed).await;
        }
        let (audit, durable) = telling.told(AuditState::Pending, durable);
        Persisted {
            audit,
            durable,
            answer,
        }
    }

    /// The ledger is owed a command, and its client is told so; from memory where the journal has
    /// not got it.
    fn owe(&self, entry: JournalEntry, durable: bool) {
        self.told().insert(entry.record.once.clone());
        if !durable {
            let given_up = self.owed.push(entry);
            self.told().retain(|once| !given_up.contains(once));
        }
    }

    /// A client with a key is told that the ledger is owed its command: the ledger may have it all
    /// the same, in other words, and a process after this one has to repeat what was told.
    async fn note_told(&self, mut entry: JournalEntry) {
        entry.record.answer.told = true;
        let noted = timeout(NOTE_PATIENCE, self.journalled(&entry, &OnceLock::new())).await;
        if !noted.unwrap_or(false) {
            let once = entry.record.once;
            tracing::debug!(
                once,
                "what a client was told of its record is not in the journal"
            );
        }
    }

    /// Makes the record of a command durable that moved nothing.
    pub async fn record(self: &Arc<Self>, record: CommandRecord) -> Persisted {
        let (latch, answer) = (Arc::clone(self), record.answer.clone());
        let brought =
            whole(async move { Ok(latch.persist(Effect::Nothing, None, record, None).await) })
                .await;
        brought.unwrap_or_else(|error| {
            tracing::error!(%error, "a command that moved nothing was not recorded");
            Persisted {
                audit: AuditState::Pending,
                durable: false,
                answer,
            }
        })
    }

    pub(super) fn told(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.told.lock()
    }

    /// Writes an entry to the journal; answers whether it is on the disk, and leaves why not.
    async fn journalled(&self, entry: &JournalEntry, unkept: &OnceLock<String>) -> bool {
        let Some(journal) = self.journal.clone() else {
            return false;
        };
        let Err(error) = journal.append(entry).await else {
            return true;
        };
        let _first = unkept.set(error.to_string());
        false
    }

    /// Brings an entry to the ledger, with what was measured when it came: that is for the moment,
    /// and kept nowhere.
    pub(super) async fn commit_entry(
        &self,
        entry: &JournalEntry,
        measured: Option<Measurement>,
    ) -> EntryOutcome {
        let mut record = entry.record.clone();
        let once = record.once.clone();
        record.answer.told = self.told().contains(&once);
        let brought = async {
            let (answer, over) = match &entry.effect {
                Effect::Hold(hold) => {
                    let HoldTaken { answer, over } =
                        self.desired.take(ScopedHold::clone(hold), record).await?;
                    (answer, over.then_some(&hold.hold.epoch))
                }
                Effect::Level { throttle, level } => (
                    self.declarations(throttle)?
                        .declare(throttle, *level, measured, record)
                        .await?
                        .answer,
                    None,
                ),
                Effect::Nothing => (self.desired.note(record).await?, None),
            };
            Ok((answer, over))
        };
        match timeout(LEDGER_PATIENCE, brought).await {
            Ok(Ok((answer, over))) => {
                match over {
                    None => self.note_of(entry, None),
                    // A start without the ledger did not know that it had ended.
                    Some(over) => {
                        tracing::warn!(epoch = %over, "a kill of the journal has ended, as the ledger has it");
                        self.conclude(std::slice::from_ref(over), std::slice::from_ref(over));
                    }
                }
                self.entered(&once).await;
                EntryOutcome::Told(Box::new(answer))
            }
            Ok(Err(DesiredError::Refused(why))) => self.alone(entry, &why).await,
            Ok(Err(DesiredError::Unknown(throttle))) => {
                tracing::error!(%throttle, once, "a journalled command means a throttle that is gone; it is let go");
                // It was there all the same, and the journal settles nothing that the ledger lacks.
                let noted = timeout(LEDGER_PATIENCE, self.desired.note(entry.record.clone())).await;
                if !matches!(noted, Ok(Ok(_))) {
                    return EntryOutcome::NotYet(UNNOTED.to_owned());
                }
                self.entered(&once).await;
                EntryOutcome::LetGo
            }
            Ok(Err(error)) => EntryOutcome::NotYet(error.to_string()),
            Err(_) => {
                EntryOutcome::NotYet(format!("no answer within {} s", LEDGER_PATIENCE.as_secs()))
            }
        }
    }

    /// A command that was refused for good where it would be heard by others: what it closed here
    /// stays shut, and the record and its client are told that it is no more than that. Nothing
    /// else waits for it any longer.
    async fn alone(&self, entry: &JournalEntry, why: &str) -> EntryOutcome {
        let once = entry.record.once.clone();
        tracing::error!(
            once,
            why,
            "a command was refused for good; what it closed here stays shut, and nobody else heard it"
        );
        let mut record = entry.record.clone();
        record.audit.after = format!("{}, here alone", record.audit.after);
        // Whatever an API server says: the words of whoever stopped come first, and whole.
        record.audit.reason = format!("{}; {why}", record.audit.reason);
        record.answer.set("durable", false);
        record
            .answer
            .warn(&format!("it is known to this process alone, and what its loop acts on stops while it leads: {why}"));
        let Ok(Ok(answer)) = timeout(LEDGER_PATIENCE, self.desired.note(record)).await else {
            return EntryOutcome::Unnoted;
        };
        self.note_of(entry, Some(why));
        self.entered(&once).await;
        EntryOutcome::Alone(Box::new(answer))
    }

    /// The hold of an entry is recorded; why nobody but this process has it, if that is so.
    pub(super) fn note_of(&self, entry: &JournalEntry, alone: Option<&str>) {
        let Effect::Hold(hold) = &entry.effect else {
            return;
        };
        let (epoch, mut all) = (&hold.hold.epoch, self.holds.lock());
        // Where it has ended meanwhile there is nothing to be said of it.
        let Some(live) = all.iter_mut().find(|live| live.held.hold.epoch == *epoch) else {
            return;
        };
        (live.audit, live.durable, live.replayed) = (AuditState::Recorded, alone.is_none(), false);
        live.alone = alone.map(|_| Box::new(shared(&entry.record)));
        match alone {
            Some(why) => self.doubts.refused(
                epoch,
                &entry.record.once,
                &entry.record.audit,
                why.to_owned(),
            ),
            None => self.doubts.shared(epoch),
        }
    }

    pub(super) async fn entered(&self, once: &str) {
        self.owed.entered(once);
        self.told().remove(once);
        let (Some(journal), once) = (self.journal.clone(), once.to_owned()) else {
            return;
        };
        let mut settling = Box::pin(async move {
            if let Err(error) = journal.settle(&once).await {
                tracing::warn!(%error, "the journal could not be settled; it will be replayed, which changes nothing");
            }
        });
        // Begun here, so that it is pending no more; nobody's answer waits for the disk to know it
        // too.
        if poll!(&mut settling).is_pending() {
            owned(settling);
        }
    }
}

/// Both: one after the other where the first is quick, otherwise side by side.
async fn with_a_head_start<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let mut first = pin!(first);
    match timeout(HEAD_START, &mut first).await {
        Ok(done) => (done, second.await),
        Err(_) => tokio::join!(first, second),
    }
}
