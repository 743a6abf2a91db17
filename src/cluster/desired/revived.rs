//! The end of holds that the record has: their overrides are deleted, and whoever asked is told
//! what the API server refuses.
//!
//! Knows objects and the record; not in which turn revivals come, nor what a gate does.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ClusterDesired, not_recorded};
use crate::cluster::index::HoldState;
use crate::cluster::override_objects;
use crate::domain::audit::{AuditAction, Change, CommandRecord, CommandResponse};
use crate::domain::hold::{Epoch, HeldBy, Hold};
use crate::ports::{DesiredError, EndProgress, ReviveOutcome};

/// Overrides that are deleted at the same time.
const LANES: usize = 8;

/// How long the API server may take for as many as are deleted at the same time. Another revival
/// waits for as long.
const DELETING: Duration = Duration::from_secs(4);

/// A hold that stays, since its override may not be deleted: why.
pub(super) type RefusedDelete = (Hold, String);

impl ClusterDesired {
    /// Records the end of these holds, and ends them.
    pub(super) async fn end_recorded(
        &self,
        record: CommandRecord,
        epochs: Vec<Epoch>,
        mut ended: ReviveOutcome,
    ) -> Result<ReviveOutcome, DesiredError> {
        let receipt = self
            .record(Change {
                opens_elsewhere: true,
                ..Change::of(record.clone())
            })
            .await?;
        let said = receipt
            .answer
            .as_ref()
            .filter(|_| receipt.repeated)
            .map(told_ended);
        // Under a key that was used nothing ends that did not end then.
        let epochs: Vec<_> = epochs
            .into_iter()
            .filter(|e| said.as_ref().is_none_or(|said| said.contains(e)))
            .collect();
        let (went, refused) = match self.delete_overrides(&record, &epochs).await {
            Ok((went, refused)) if went.left.is_empty() => (went, refused),
            // The record says so, and some may be gone: it is done as soon as it can be.
            _ => return Err(DesiredError::Undecided),
        };
        ended
            .held_by
            .extend(refused.iter().map(|(hold, _)| hold.clone()));
        ended.answer = receipt.answer.map(|answer| without(answer, &refused));
        (ended.ended, ended.repeated) = (went.ended, receipt.repeated);
        Ok(ended)
    }

    /// Those of these holds that a command ended that the record has: under a key that was used,
    /// those that ended then.
    pub(super) async fn ended_by(
        &self,
        record: &CommandRecord,
        ending: &[Epoch],
    ) -> Result<Vec<Epoch>, DesiredError> {
        let (Some(key), Some(ledger)) = (&record.answer.key, &self.ledger) else {
            return Ok(ending.to_vec());
        };
        let said = ledger
            .answered(key)
            .await
            .map_err(not_recorded)?
            .as_ref()
            .map(told_ended)
            .unwrap_or_default();
        Ok(ending
            .iter()
            .filter(|epoch| said.contains(epoch))
            .cloned()
            .collect())
    }

    /// Deletes the overrides of these holds, and ends them everywhere. What is refused for good is
    /// recorded, and stays.
    pub(super) async fn delete_overrides(
        &self,
        record: &CommandRecord,
        ending: &[Epoch],
    ) -> Result<(EndProgress, Vec<RefusedDelete>), DesiredError> {
        let (all, mut went, mut refused) = (
            self.watched.index().override_holds(),
            EndProgress::default(),
            Vec::new(),
        );
        for some in ending.chunks(LANES) {
            let live = some.iter().map(|epoch| {
                all.get(epoch)
                    .filter(|(_, state)| *state == HoldState::Live)
            });
            let tried = join_all(live.map(|live| self.delete(live.map(|(hold, _)| hold)))).await;
            for (epoch, tried) in some.iter().zip(tried) {
                match tried {
                    Ok(()) => {
                        self.watched.over(epoch);
                        went.ended.push(epoch.clone());
                    }
                    Err((hold, DesiredError::Refused(why))) => refused.push((hold.clone(), why)),
                    Err((_, error)) => {
                        tracing::warn!(%error, %epoch, "its end is recorded, and not done yet");
                        went.left.push(epoch.clone());
                    }
                }
            }
        }
        went.refused = !refused.is_empty();
        self.tell_refused(record, &refused).await?;
        Ok((went, refused))
    }

    async fn delete<'a>(&self, live: Option<&'a Hold>) -> Result<(), (&'a Hold, DesiredError)> {
        let Some(hold) = live else { return Ok(()) };
        let late = || {
            Err(DesiredError::Unavailable(
                "the API server does not answer".to_owned(),
            ))
        };
        let deleted = timeout(DELETING, override_objects::delete(&self.client, hold))
            .await
            .unwrap_or_else(|_| late());
        deleted.map(drop).map_err(|error| (hold, error))
    }

    /// Records what stays against what the record said before, and has it said to whoever asks
    /// again under the same key.
    async fn tell_refused(
        &self,
        record: &CommandRecord,
        refused: &[RefusedDelete],
    ) -> Result<(), DesiredError> {
        for (hold, why) in refused {
            tracing::error!(epoch = %hold.epoch, why, "a revival is recorded, and was refused for good");
            // Of each hold once, however often it is tried to tell.
            let once = format!("{}/{}", record.once, hold.epoch);
            let mut audit = record.audit.clone();
            audit.action = AuditAction::ReviveRefused;
            audit.before.clone_from(&record.audit.after);
            audit.after = format!("held {}", hold.epoch);
            // Whatever an API server says: the words of whoever asked come first, and whole.
            audit.reason = format!("{}; refused: {why}", audit.reason);
            let answer = CommandResponse {
                key: None,
                ..record.answer.clone()
            };
            self.record(Change::of(CommandRecord {
                once,
                audit,
                answer,
            }))
            .await?;
        }
        let (Some(key), Some(ledger), false) =
            (&record.answer.key, &self.ledger, refused.is_empty())
        else {
            return Ok(());
        };
        let Some(first) = ledger.answered(key).await.map_err(not_recorded)? else {
            return Ok(());
        };
        let mut answer = without(first, refused);
        answer.told = true;
        answer.write();
        self.record(Change {
            once: Some(record.once.clone()),
            answer: Some(answer),
            ..Change::default()
        })
        .await?;
        Ok(())
    }
}

/// The holds that an answer says have ended.
fn told_ended(answer: &CommandResponse) -> BTreeSet<Epoch> {
    let ended = answer
        .body
        .get("ended")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    ended
        .filter_map(Value::as_str)
        .map(|epoch| Epoch(epoch.to_owned()))
        .collect()
}

/// An answer that says of these that they stay.
fn without(mut answer: CommandResponse, refused: &[RefusedDelete]) -> CommandResponse {
    let mut ended = told_ended(&answer);
    let refused: Vec<_> = refused
        .iter()
        .filter(|(hold, _)| ended.remove(&hold.epoch))
        .collect();
    if refused.is_empty() {
        return answer;
    }
    let stay = refused.iter().map(|(hold, _)| json!(HeldBy::from(hold)));
    let held_by = answer
        .body
        .get("held_by")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .cloned();
    let held_by: Vec<_> = held_by.chain(stay).collect();
    answer.sent = None;
    answer.set("ended", json!(ended));
    answer.set("held_by", held_by);
    refused.iter().for_each(|(_, why)| answer.warn(why));
    answer
}
