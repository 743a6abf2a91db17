//! Declarations that a manifest file owns.
//!
//! The file's word is taken over once the ledger has it; what is safer of it holds before that.
//! Knows no files.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use jiff::Timestamp;

use super::LedgerDesired;
use super::manifest_diff::{ThrottleChange, manifest_changes};
use super::state::DeclaredState;
use crate::domain::audit::Receipt;
use crate::domain::hold::{Epoch, Scope};
use crate::domain::level::Level;
use crate::domain::throttle::{Declared, FromFile, Owner, ThrottleName};
use crate::ports::{DesiredError, Wake};

/// Throttles taken over in one turn: as many as share one write to the disk.
const AT_ONCE: usize = 64;

/// What taking over a manifest came to.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Throttles that changed.
    pub changed: Vec<ThrottleName>,
    /// Holds of the file that ended, for the gate to let go.
    pub ended: Vec<Epoch>,
    /// Holds that had ended before they came, and in whose place others hold: likewise.
    pub spent: Vec<Epoch>,
    /// Throttles that the file owned and no longer names: they keep their last state.
    pub left: Vec<ThrottleName>,
    /// Why the ledger does not have all of it yet.
    pub owed: Option<DesiredError>,
}

/// A file that is being taken over, or that the ledger does not have all of yet.
pub(super) struct Taking {
    /// What it declares of the throttles that differ from it.
    file: BTreeMap<ThrottleName, FromFile>,
    at: Timestamp,
    /// Those that it has still to declare, or whose kills the ledger is not known to have.
    left: BTreeSet<ThrottleName>,
    /// What became of the change before is not known: until it is nothing of the file can be
    /// declared.
    undecided: bool,
    taken: Taken,
}

impl LedgerDesired {
    /// What is safer in a file than what is declared, in memory at once: the loop must not open
    /// what closes. What is new stands at what the file declares.
    pub fn foresee(&self, file: &[FromFile], at: Timestamp) {
        let mut state = self.state.lock();
        let before = state.forget_foreseen();
        for ThrottleChange {
            before,
            after,
            begins,
            ..
        } in manifest_changes(&state.known(), state.in_ledger(), file, at)
        {
            if before.is_none() {
                // Nothing is in force of it until the ledger has it.
                state.put(Declared {
                    generation: 0,
                    level: Level::STOP,
                    stored: Level::STOP,
                    ..after.clone()
                });
            }
            state.foresee(&after.name, after.level);
            state.adopt_holds(&begins);
        }
        drop(state);
        // What is not foreseen of them any more holds no longer.
        self.woken.wake_each(&before);
    }

    /// Takes over what a file declares, each throttle by itself: one that changes is an audit
    /// entry, and a kill that begins or ends another one, by the word by which all such are found.
    /// What the ledger does not take now is told; what [`LedgerDesired::foresee`] tightened of it
    /// stays.
    ///
    /// Whoever else declares has a turn after every few: nobody waits for a whole file. What they
    /// declare of a throttle that the file has still to declare comes behind that, as it would if
    /// the file were done: it does not undo what is newer. So it is, too, while the ledger does not
    /// have all of the file.
    pub async fn take_over(&self, file: &[FromFile], at: Timestamp) -> Taken {
        let _one_file = self.files.lock().await;
        let mut turn = self.declaring.lock().await;
        let before = turn.take().map(|taking| taking.taken).unwrap_or_default();
        let begun = self.begun(file, at, before).await;
        let differ: Vec<_> = begun.left.iter().cloned().collect();
        *turn = Some(begun);
        let mut tried = BTreeSet::new();
        while let Some(taking) = turn.as_mut().filter(|taking| !taking.undecided) {
            let some: Vec<_> = taking
                .left
                .difference(&tried)
                .take(AT_ONCE)
                .cloned()
                .collect();
            tried.extend(some.iter().cloned());
            // A ledger that takes nothing is not asked for the rest.
            if some.is_empty() || !self.take_some(taking, some).await {
                break;
            }
            // Who waits for it has it next.
            drop(turn);
            turn = self.declaring.lock().await;
        }
        self.woken.wake_each(&differ);
        let undecided = turn.as_ref().is_some_and(|taking| taking.undecided);
        let mut taken = turn
            .as_mut()
            .map(|taking| std::mem::take(&mut taking.taken))
            .unwrap_or_default();
        // Of a part that somebody stopped waiting for nobody heard why.
        taken.owed = taken.owed.or(undecided.then_some(DesiredError::Undecided));
        if taken.owed.is_none() {
            *turn = None;
        }
        taken
    }

    /// Lets a file that is being taken over have a throttle before somebody else declares it;
    /// answers whether it has.
    pub(super) async fn file_first(
        &self,
        turn: &mut Option<Taking>,
        throttle: &ThrottleName,
    ) -> bool {
        match turn
            .as_mut()
            .filter(|taking| taking.left.contains(throttle))
        {
            Some(taking) if taking.undecided => false,
            Some(taking) => self.take_some(taking, vec![throttle.clone()]).await,
            None => true,
        }
    }

    /// What there is to be taken over, beside what others had taken over before they declared.
    async fn begun(&self, file: &[FromFile], at: Timestamp, before: Taken) -> Taking {
        let looked = self.look_again().await;
        let (now, moves) = {
            let mut state = self.state.lock();
            let now = state.known();
            let moves = manifest_changes(&now, state.in_ledger(), file, at);
            // In the place of one that has ended.
            moves.iter().for_each(|one| state.adopt_holds(&one.begins));
            (now, moves)
        };
        let is_left = |one: &&Declared| {
            one.owner == Owner::Manifest && !file.iter().any(|f| f.name == one.name)
        };
        let left = now
            .iter()
            .filter(is_left)
            .map(|one| one.name.clone())
            .collect();
        let mut taken = Taken {
            left,
            owed: None,
            ..before
        };
        let left: BTreeSet<_> = moves.iter().map(|one| one.after.name.clone()).collect();
        let undecided = looked.is_err();
        match looked {
            Ok(spent) => taken.spent.extend(spent),
            Err(error) => taken.owed = Some(error),
        }
        let file = file.iter().filter(|one| left.contains(&one.name));
        Taking {
            file: file.map(|one| (one.name.clone(), one.clone())).collect(),
            at,
            left,
            undecided,
            taken,
        }
    }

    /// Takes over these of a file's throttles, as they are declared by now; answers whether the
    /// ledger took any.
    async fn take_some(&self, taking: &mut Taking, some: Vec<ThrottleName>) -> bool {
        let at = taking.at;
        let moves = {
            let state = self.state.lock();
            let now: Vec<_> = some.iter().filter_map(|name| state.get(name)).collect();
            let file: Vec<_> = some
                .iter()
                .filter_map(|name| taking.file.get(name))
                .cloned()
                .collect();
            manifest_changes(&now, state.in_ledger(), &file, at)
        };
        // Whoever stops waiting hears of none of them, and each may be made all the same.
        taking.undecided = true;
        self.state.lock().doubts_file = true;
        let answers = join_all(moves.iter().map(|one| self.commit(one.change(at)))).await;
        let takes_any = answers.is_empty() || answers.iter().any(Result::is_ok);
        let Taking {
            left,
            taken,
            undecided,
            ..
        } = taking;
        *undecided = answers
            .iter()
            .any(|answer| matches!(answer, Err(DesiredError::Undecided)));
        // Not before that is known: whoever stops waiting leaves them to the next turn.
        for name in &some {
            left.remove(name);
        }
        let mut state = self.state.lock();
        let (ended, spent) = (taken.ended.len(), taken.spent.len());
        for (one, answer) in moves.iter().zip(answers) {
            match answer {
                Ok(receipt) => taken.one(&mut state, one, &receipt),
                Err(error) => {
                    // What is refused for good is in nobody's way.
                    if !matches!(error, DesiredError::Refused(_)) {
                        left.insert(one.after.name.clone());
                    }
                    taken.owed = taken.owed.take().or(Some(error));
                }
            }
        }
        state.doubts_file = *undecided;
        let gone = [&taken.ended[ended..], &taken.spent[spent..]].concat();
        drop(state);
        self.release(&gone);
        takes_any
    }

    /// Finds out what became of a change of the file that was not decided: a kill whose end the
    /// ledger has is none, and if it is in the file again, the next one is. Answers those.
    async fn look_again(&self) -> Result<Vec<Epoch>, DesiredError> {
        if !self.state.lock().doubts_file {
            return Ok(Vec::new());
        }
        let stored = self.decided().await?;
        let ended = self.state.lock().look_again(&stored);
        self.woken.wake(&Scope::All);
        Ok(ended)
    }
}

impl Taken {
    /// The ledger has one of them: memory goes by it.
    fn one(&mut self, state: &mut DeclaredState, one: &ThrottleChange, receipt: &Receipt) {
        if one.declares {
            state.put(one.after.clone());
            self.changed.push(one.after.name.clone());
        }
        for held in &one.begins {
            let epoch = &held.hold.epoch;
            if receipt.over.contains(epoch) && !one.ended.contains(epoch) {
                // The next number is the file's, and holds before this one is let go.
                state.adopt_holds(&[one.anew(held)]);
                self.spent.push(epoch.clone());
                let spent = format!("hold {epoch} of it had ended before: it is asked again");
                self.owed = self.owed.take().or(Some(DesiredError::Unavailable(spent)));
            } else {
                state.has(epoch);
            }
        }
        self.ended.extend(one.ended.iter().cloned());
    }
}
