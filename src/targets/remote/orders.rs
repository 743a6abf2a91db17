//! What another site is told, and that what was heard before an order says nothing after it.
//!
//! Knows no throttle's state, here or there: what to tell was decided before.

use sha2::{Digest, Sha256};

use super::site::SiteCommand;
use super::{Known, Name, POLL_INTERVAL, Remotes};
use crate::domain::hold::Epoch;
use crate::domain::remote::sender;
use crate::domain::target::{RemoteOrder, RemoteSpec};
use crate::ports::TargetError;

impl Remotes {
    pub(super) async fn order(
        &self,
        name: &Name,
        spec: &RemoteSpec,
        order: &RemoteOrder,
    ) -> Result<(), TargetError> {
        let sender = sender(&self.installation, &name.0);
        match order {
            RemoteOrder::Kill { epochs, reason } => {
                let once = once(&sender, spec, epochs, reason);
                let killed = self
                    .sites
                    .tell(
                        spec,
                        &sender,
                        SiteCommand::Kill {
                            reason,
                            once: &once,
                        },
                    )
                    .await;
                if !matches!(killed, Err(TargetError::Conflict(_))) {
                    return killed;
                }
                // That kill was ended there since: this is another one.
                let once = format!("{once}-{}", hex::encode(rand::random::<[u8; 8]>()));
                self.sites
                    .tell(
                        spec,
                        &sender,
                        SiteCommand::Kill {
                            reason,
                            once: &once,
                        },
                    )
                    .await
            }
            RemoteOrder::Revive { epochs } => {
                for epoch in epochs {
                    self.sites
                        .tell(spec, &sender, SiteCommand::Revive { epoch })
                        .await?;
                }
                Ok(())
            }
            RemoteOrder::Level { to, effective, .. } => {
                self.sites
                    .tell(
                        spec,
                        &sender,
                        SiteCommand::Level {
                            to: *to,
                            effective: *effective,
                        },
                    )
                    .await
            }
        }
    }

    /// An order begins or ends: what is asked for before it is not heard after it. Answers which
    /// order that is.
    pub(super) fn turn(&self, name: &Name, spec: &RemoteSpec) -> u64 {
        let now = self.clock.elapsed();
        let mut all = self.known.lock();
        let known = all
            .entry(name.clone())
            .or_insert_with(|| Known::new(spec, now));
        known.orders += 1;
        known.orders
    }

    /// Nobody can say what became of an order: it is asked next, and not in its turn.
    pub(super) fn hasten(&self, name: &Name) {
        if let Some(known) = self.known.lock().get_mut(name) {
            known.at = known
                .at
                .min(self.clock.elapsed().saturating_sub(POLL_INTERVAL));
        }
        self.due.notify_one();
    }
}

/// An order that nobody waits for any more: it may have been obeyed or not, so what was heard
/// before says nothing.
pub(super) struct BrokenOff<'a> {
    pub(super) remotes: &'a Remotes,
    pub(super) name: &'a Name,
    pub(super) spec: &'a RemoteSpec,
}

impl Drop for BrokenOff<'_> {
    fn drop(&mut self) {
        self.remotes.turn(self.name, self.spec);
        if let Some(known) = self.remotes.known.lock().get_mut(self.name) {
            known.heard = None;
        }
        self.remotes.due.notify_one();
    }
}

/// The `Idempotency-Key` of a kill: the same for as long as the same kills here ask for it in the
/// same words.
fn once(sender: &str, spec: &RemoteSpec, epochs: &[Epoch], reason: &str) -> String {
    let mut digest = Sha256::new();
    for part in [sender, spec.throttle.as_str(), reason]
        .into_iter()
        .chain(epochs.iter().map(|epoch| epoch.0.as_str()))
    {
        digest.update(part);
        digest.update([0]);
    }
    format!("echo-phoenix-{}", hex::encode(digest.finalize()))
}
