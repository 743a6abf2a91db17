//! Deletes the objects of holds that have ended: a create that nobody heard of lands when it will,
//! and what nobody takes away would stop throttles that come later, and gates that have forgotten
//! its end.
//!
//! Only what this process sent, and knows to have ended by a command or by its record, is deleted.
//! Each is tried again until nothing of it can come any more, the less often the longer it takes.
//! Knows nothing of what a gate does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use kube::Client;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::hold::{Epoch, ScopedHold};
use crate::ports::DesiredError;

use super::override_objects;
use super::watched::WatchedState;

/// How often what is left behind is tried again, at first and at last.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// How long the API server may take for one.
const LIMIT: Duration = Duration::from_secs(2);
/// Objects that are deleted at the same time.
const AT_ONCE: usize = 8;

/// When one is tried again.
struct Next {
    at: Duration,
    pause: Duration,
    told: bool,
}

/// Deletes what is left behind until told to stop.
pub async fn run(client: Client, watched: Arc<WatchedState>, stop: CancellationToken) {
    let mut known = BTreeMap::<Epoch, Next>::new();
    let all = async {
        loop {
            let seen = tokio::select! {
                () = watched.left_behind() => true,
                () = sleep(RETRY_BACKOFF.0) => false,
            };
            let (left, now) = (watched.sent_and_over(), watched.elapsed());
            known.retain(|epoch, _| left.iter().any(|held| held.hold.epoch == *epoch));
            // What was seen to come is there now: it does not wait for its turn.
            let due = |held: &ScopedHold| {
                known
                    .get(&held.hold.epoch)
                    .is_none_or(|next| seen || next.at <= now)
            };
            let due: Vec<_> = left.into_iter().filter(due).collect();
            let swept = due.iter().map(|held| async {
                (
                    held.hold.epoch.clone(),
                    sweep(&client, &watched, held).await,
                )
            });
            let swept: Vec<_> = stream::iter(swept.collect::<Vec<_>>())
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            for (epoch, became) in swept {
                again(&mut known, epoch, became, now);
            }
            // However often something is seen.
            sleep(RETRY_BACKOFF.0).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = all => {}
    }
}

/// When one is tried again that was tried at this time, and of which this became.
fn again(
    known: &mut BTreeMap<Epoch, Next>,
    epoch: Epoch,
    became: Result<bool, DesiredError>,
    now: Duration,
) {
    let pause = known.get(&epoch).map_or(RETRY_BACKOFF.0, |next| {
        (next.pause * 2).min(RETRY_BACKOFF.1)
    });
    let told = known.get(&epoch).is_some_and(|next| next.told);
    // Of one that is not there, or not there yet, there is nothing to tell.
    let tells = !matches!(became, Ok(true));
    if tells && !told {
        tell(&epoch, became.err());
    }
    known.insert(
        epoch,
        Next {
            at: now + pause,
            pause,
            told: told || tells,
        },
    );
}

/// Deletes it; answers whether it was read back as gone.
async fn sweep(
    client: &Client,
    watched: &WatchedState,
    held: &ScopedHold,
) -> Result<bool, DesiredError> {
    let late = || {
        Err(DesiredError::Unavailable(
            "the API server does not answer".to_owned(),
        ))
    };
    let gone = timeout(LIMIT, override_objects::unmake(client, held))
        .await
        .unwrap_or_else(|_| late())?;
    if gone {
        watched.sent().gone(&held.hold.epoch);
    }
    Ok(gone)
}

fn tell(epoch: &Epoch, error: Option<DesiredError>) {
    match error {
        None => {
            tracing::warn!(%epoch, "an override was there after its hold had ended: it is deleted")
        }
        Some(error) => {
            tracing::warn!(%epoch, %error, "an override may be there though its hold has ended")
        }
    }
}
