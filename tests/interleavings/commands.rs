//! Commands that cross, by the latch: with a ledger that fails and limits that end at any moment.
//! At rest gate, memory and ledger agree, and what was told is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use serde_json::Value;
use shuttle::future::{block_on, spawn, yield_now};

use crate::book::Book;
use crate::desired::ledger::LedgerDesired;
use crate::domain::audit::{AuditAction, AuditDraft, CommandRecord, CommandResponse, ThrottleRow};
use crate::domain::hold::{Epoch, Scope};
use crate::domain::level::Level;
use crate::domain::throttle::{Owner, ThrottleName};
use crate::gate::Gate;
use crate::gate_races::{NOW, name};
use crate::journal_races::Disk;
use crate::latch::{KillOrder, KillOutcome, Lacking, Latch, LevelOrder};
use crate::ports::{Desired, DesiredError, Journal, Ledger};
use crate::store::journal::FileJournal;
use crate::sync::no_limit_ends;
use crate::tries::{traced, tried};

const THROTTLES: [&str; 3] = ["default", "shop", "till"];

pub(crate) fn record(once: &str, action: &str) -> CommandRecord {
    let members = ["epoch", "audit", "durable", "already_killed"]
        .map(|member| (member.to_owned(), Value::Null));
    let answer = CommandResponse::new(200, members.into_iter().collect(), NOW.wall);
    CommandRecord {
        once: once.to_owned(),
        audit: AuditDraft::new(NOW.wall, "o", AuditAction::of_word(action)),
        answer,
    }
}

/// A service that was just started, with every throttle open.
struct Service {
    gate: Arc<Gate>,
    book: Arc<Book>,
    desired: Arc<LedgerDesired>,
    latch: Arc<Latch>,
    journal: Option<Arc<FileJournal>>,
}

/// What is done meanwhile: a command with its id, on one throttle or all of them.
#[derive(Clone, Copy, Debug)]
enum Does {
    Kill(&'static str, Option<&'static str>),
    Revive(&'static str, Option<&'static str>),
    Control(&'static str, &'static str, f64),
    /// The loop brings the gate in line, and tells the ledger what it lacks.
    Pass,
}

/// What a command was told, with its id.
type Told = (&'static str, Result<Said, DesiredError>);

#[derive(Debug)]
enum Said {
    Killed(Scope, Box<KillOutcome>),
    Revived(Vec<Epoch>),
    Declared,
}

fn scope(on: Option<&str>) -> Scope {
    on.map_or(Scope::All, |throttle| Scope::One(name(throttle)))
}

impl Service {
    fn start(journal: Option<Arc<FileJournal>>) -> Arc<Self> {
        no_limit_ends(false);
        let row = |text: &str| ThrottleRow {
            name: name(text),
            declared: Level::OPEN,
            effective: Level::OPEN,
            generation: 1,
            owner: Owner::Rest,
            spec: None,
            offered: None,
        };
        let (gate, book) = (
            Arc::new(Gate::default()),
            Arc::new(Book::new(THROTTLES.map(row))),
        );
        let ledger: Arc<dyn Ledger> = Arc::<Book>::clone(&book);
        let desired = Arc::new(LedgerDesired::new(ledger, book.has_now()));
        let kept = journal
            .as_ref()
            .map(|journal| Arc::<FileJournal>::clone(journal) as Arc<dyn Journal>);
        let known = Arc::<LedgerDesired>::clone(&desired);
        let wake = Arc::<LedgerDesired>::clone(&desired);
        let latch = Latch::new(Arc::clone(&gate), known, wake, kept, Vec::new());
        let latch = Arc::new(latch);
        latch.restore(NOW.elapsed);
        Arc::new(Self {
            gate,
            book,
            desired,
            latch,
            journal,
        })
    }

    async fn does(self: Arc<Self>, what: Does) -> Option<Told> {
        traced(|| format!("begins: {what:?}"));
        let told = self.told(what).await;
        traced(|| format!("told: {told:?}"));
        told
    }

    async fn told(&self, what: Does) -> Option<Told> {
        match what {
            Does::Kill(once, on) => {
                let (scope, text, record) = (scope(on), || "r".to_owned(), record(once, "kill"));
                let epoch = Epoch(format!("hold-{once}"));
                let (reason, operator, meant) = (text(), text(), scope.clone());
                let order = KillOrder {
                    scope,
                    reason,
                    operator,
                    epoch,
                    at: NOW,
                    record,
                };
                Some((
                    once,
                    self.latch
                        .kill(order)
                        .await
                        .map(|killed| Said::Killed(meant, Box::new(killed))),
                ))
            }
            Does::Revive(once, on) => {
                let ended = self
                    .latch
                    .revive(scope(on), None, record(once, "revive"))
                    .await;
                Some((once, ended.map(|ended| Said::Revived(ended.ended))))
            }
            Does::Control(once, throttle, level) => {
                let (throttle, level) = (name(throttle), Level::new(level).unwrap());
                let record = record(once, "control");
                let order = LevelOrder {
                    throttle,
                    level,
                    measured: None,
                    at: NOW.elapsed,
                    record,
                };
                Some((
                    once,
                    self.latch.declare(order).await.map(|_| Said::Declared),
                ))
            }
            Does::Pass => {
                self.pass().await;
                None
            }
        }
    }

    /// What a pass of the loop does of it; answers whether the ledger lacks nothing any more.
    async fn pass(&self) -> bool {
        self.desired.refresh().await;
        self.latch.restore(NOW.elapsed);
        self.latch.retry_pending().await
    }

    /// Waits until nothing is owed or in doubt any more.
    async fn rest(&self) {
        self.book.is_well();
        no_limit_ends(true);
        while !self.pass().await || self.latch.lacking() != Lacking::default() {
            yield_now().await;
        }
        // What the last one brought a second time is looked at by the next.
        self.pass().await;
    }

    fn kills(&self, throttle: &ThrottleName) -> BTreeSet<Epoch> {
        self.gate
            .kills(throttle)
            .into_iter()
            .map(|hold| hold.epoch)
            .collect()
    }

    /// Gate, memory and ledger have the same holds, none of them is owed, and every throttle has
    /// its declared level.
    fn agree(&self) {
        let (stored, declared) = (self.book.has_now(), self.desired.declared());
        let rows: BTreeMap<_, _> = stored
            .throttles
            .iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        for declared in &declared {
            let covers = stored
                .holds
                .iter()
                .filter(|held| held.scope.covers(&declared.name));
            let in_ledger: BTreeSet<_> = covers.map(|held| held.hold.epoch.clone()).collect();
            let in_memory: BTreeSet<_> = declared
                .holds
                .iter()
                .map(|hold| hold.epoch.clone())
                .collect();
            assert_eq!(
                (&self.kills(&declared.name), &in_memory),
                (&in_ledger, &in_ledger),
                "{}",
                declared.name.as_str()
            );
            let row = rows[&declared.name];
            assert_eq!(
                (declared.level, declared.generation),
                (row.declared, row.generation)
            );
            let bites = self.gate.standing(&declared.name).unwrap();
            assert!(
                bites.level >= declared.level,
                "{:?} of {:?}",
                bites.level,
                declared.level
            );
        }
        assert_eq!(
            self.journal
                .as_ref()
                .map_or(0, |journal| journal.pending().len()),
            0
        );
    }

    /// What was told is so: what was refused is in no ledger, everything else is; a kill shut all
    /// that it meant, and its hold was recorded.
    fn is_true(&self, told: &[Told]) {
        let (commands, holds) = (self.book.commands(), self.book.has_now().holds);
        let undecided = told
            .iter()
            .any(|(_, said)| matches!(said, Err(DesiredError::Undecided)));
        let ended = |epoch| {
            told.iter()
                .any(|(_, said)| matches!(said, Ok(Said::Revived(ended)) if ended.contains(epoch)))
        };
        for (once, said) in told {
            match said {
                Err(DesiredError::Undecided) => {}
                Err(error) => assert!(!commands.contains(*once), "{once} was refused: {error}"),
                Ok(Said::Killed(scope, killed)) => {
                    let meant: Vec<_> = THROTTLES
                        .map(name)
                        .into_iter()
                        .filter(|name| scope.covers(name))
                        .collect();
                    assert_eq!(
                        killed.throttles, meant,
                        "{once} was answered, and what it means is shut"
                    );
                    assert!(commands.contains(*once), "{once} is in no ledger");
                    let holds = holds.iter().any(|held| held.hold.epoch == killed.epoch);
                    assert!(
                        holds || undecided || ended(&killed.epoch),
                        "{once}: nobody ended {}",
                        killed.epoch
                    );
                }
                Ok(Said::Revived(ended)) if ended.is_empty() => {}
                Ok(_) => assert!(commands.contains(*once), "{once} is in no ledger"),
            }
        }
    }

    /// Does all of this at once, and looks when nothing is owed any more; then a revival ends all
    /// there is.
    fn at_once(self: &Arc<Self>, all: &[Does]) {
        let told = block_on(async {
            let tasks = all.iter().map(|one| spawn(Arc::clone(self).does(*one)));
            let told = join_all(tasks).await;
            self.rest().await;
            told.into_iter()
                .filter_map(Result::unwrap)
                .collect::<Vec<_>>()
        });
        self.agree();
        self.is_true(&told);
        let last = block_on(Arc::clone(self).does(Does::Revive("last", None)));
        assert!(
            last.is_some_and(|(_, said)| said.is_ok()),
            "nothing stands in the way of a revival at rest"
        );
        self.agree();
        assert!(
            THROTTLES
                .iter()
                .all(|text| self.kills(&name(text)).is_empty()),
            "and it leaves no ghost"
        );
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}

/// The race itself, with nothing beside it: more of its orders are tried.
#[test]
fn a_kill_beside_a_revival_has_shut_what_it_means_when_it_answers() {
    tried(4_000, || {
        let service = Service::start(None);
        service.book.is_well();
        no_limit_ends(true);
        assert!(block_on(Arc::clone(&service).does(Does::Kill("k1", None))).is_some());
        service.at_once(&[Does::Revive("r1", None), Does::Kill("k2", None)]);
    });
}

#[test]
fn a_kill_leans_on_no_hold_that_ends_and_none_that_ended_comes_back() {
    let disk = Disk::new();
    tried(1_500, move || {
        let (kill, revive) = (|once| Does::Kill(once, None), Does::Revive("r1", None));
        Service::start(Some(disk.journal())).at_once(&[kill("k1"), revive, kill("k2"), Does::Pass]);
    });
}

#[test]
fn kills_and_revivals_of_one_and_of_all_leave_gate_memory_and_ledger_at_one() {
    tried(1_500, || {
        let shop = Some("shop");
        let all = [
            Does::Kill("k1", shop),
            Does::Kill("k2", None),
            Does::Revive("r1", shop),
            Does::Kill("k3", shop),
            Does::Revive("r2", None),
            Does::Pass,
        ];
        Service::start(None).at_once(&all);
    });
}

/// Without a journal all that the ledger did not take is owed from memory.
#[test]
fn what_is_owed_from_memory_is_settled_once_and_in_its_order() {
    tried(1_500, || {
        let closes = |once| Does::Control(once, "shop", 0.9);
        let opens = Does::Control("c2", "shop", 0.1);
        let all = [
            closes("c1"),
            opens,
            Does::Kill("k1", Some("till")),
            Does::Pass,
            closes("c3"),
            Does::Pass,
        ];
        Service::start(None).at_once(&all);
    });
}

#[test]
fn what_the_journal_keeps_is_settled_once_and_in_its_order() {
    let disk = Disk::new();
    tried(1_000, move || {
        let all = [
            Does::Control("c1", "shop", 0.9),
            Does::Control("c2", "shop", 0.1),
            Does::Kill("k1", Some("shop")),
            Does::Pass,
            Does::Revive("r1", Some("shop")),
        ];
        Service::start(Some(disk.journal())).at_once(&all);
    });
}
