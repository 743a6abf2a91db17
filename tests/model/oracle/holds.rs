//! Kills: acknowledged ones bite until a revival may have ended them, ended ones never again.

use std::collections::BTreeMap;

use echo_phoenix::domain::hold::Source;
use serde_json::Value;

use super::{Asked, Became, Told, What};
use crate::commands::On;
use crate::life::Life;

/// What is known of kills.
#[derive(Default)]
pub(super) struct Holds {
    /// Holds by their id, on what, as they were when everything was at rest.
    standing: Vec<(String, On)>,
    acknowledged: Vec<Acknowledged>,
    /// Ids that have ended, and who said so.
    ended: BTreeMap<String, String>,
}

/// That a kill was answered as done.
struct Acknowledged {
    epoch: String,
    on: On,
    sent: u64,
    durable: bool,
    by: String,
}

impl Holds {
    pub(super) fn told(&mut self, asked: &Asked, told: &Told) {
        match (&asked.what, told.status) {
            (What::Kill(on), 200) => {
                let Some(epoch) = told.body.get("epoch").and_then(Value::as_str) else {
                    return;
                };
                let (epoch, by) = (epoch.to_owned(), asked.id.clone());
                self.acknowledged.push(Acknowledged {
                    epoch,
                    on: *on,
                    sent: asked.sent,
                    durable: told.is_durable(),
                    by,
                });
            }
            // What a retry hears is the ledger's word, which the gate may not have yet.
            (What::Revive(..), 200) if !told.replayed => {
                self.ended.extend(
                    told.ended()
                        .into_iter()
                        .map(|epoch| (epoch, asked.id.clone())),
                );
            }
            _ => {}
        }
    }

    pub(super) fn crashed(&mut self) {
        self.acknowledged.retain(|one| one.durable);
    }

    pub(super) fn rested(&mut self, life: &Life) {
        self.acknowledged.clear();
        let of = |name: &str| -> Vec<String> {
            life.kills(name)
                .into_iter()
                .map(|hold| hold.epoch.0)
                .collect()
        };
        let (default, shop) = (of("default"), of("shop"));
        self.standing.clear();
        for epoch in &default {
            let on = if shop.contains(epoch) {
                On::All
            } else {
                On::Default
            };
            self.standing.push((epoch.clone(), on));
        }
        self.standing.extend(
            shop.iter()
                .filter(|epoch| !default.contains(epoch))
                .map(|epoch| (epoch.clone(), On::Shop)),
        );
    }

    pub(super) fn check(&self, asked: &[Asked], life: &Life) -> Option<String> {
        let held = |epoch: &str, on: On| {
            names(on)
                .iter()
                .find(|name| !life.holds(name, epoch))
                .copied()
        };
        for (epoch, on) in &self.standing {
            if epoch.contains('@') {
                continue; // it ends by its file
            }
            if let Some(open) = held(epoch, *on)
                && !asked.iter().any(|revive| may_end(revive, epoch, *on, 0))
            {
                return Some(format!(
                    "{open} is held by {epoch} no more, which held at rest, and nobody may have ended it"
                ));
            }
        }
        for Acknowledged {
            epoch,
            on,
            sent,
            by,
            ..
        } in &self.acknowledged
        {
            if let Some(open) = held(epoch, *on)
                && !asked
                    .iter()
                    .any(|revive| may_end(revive, epoch, *on, *sent))
            {
                return Some(format!(
                    "{open} is not killed by {epoch}, which {by} was told, and nobody may have ended it"
                ));
            }
        }
        for (epoch, by) in &self.ended {
            if let Some(name) = ["default", "shop"]
                .iter()
                .find(|name| life.holds(name, epoch))
            {
                return Some(format!(
                    "{name} is held by {epoch}, which has ended, as {by} was told"
                ));
            }
        }
        let held = life
            .kills("shop")
            .iter()
            .any(|hold| hold.source == Source::Manifest);
        (life.manifest.kills() && !held)
            .then(|| "shop is open, and its manifest has a kill".to_owned())
    }
}

/// Whether a revival may have ended a hold that was acknowledged to a command sent at this moment.
fn may_end(revive: &Asked, epoch: &str, on: On, sent: u64) -> bool {
    let What::Revive(scope, by_epoch) = &revive.what else {
        return false;
    };
    if revive.done.is_some_and(|done| done < sent) {
        return false; // it was over before the kill came
    }
    let meant = match by_epoch {
        Some(one) => one == epoch,
        None => *scope == On::All || *scope == on,
    };
    match revive.became() {
        Became::Nothing => false,
        Became::Unknown => meant,
        Became::Done => revive
            .told
            .as_ref()
            .is_some_and(|told| told.ended().iter().any(|one| one == epoch)),
    }
}

fn names(on: On) -> &'static [&'static str] {
    match on {
        On::All => &["default", "shop"],
        On::Default => &["default"],
        On::Shop => &["shop"],
    }
}
