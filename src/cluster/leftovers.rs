//! Deletes the objects of holds that have ended: a create that nobody heard of lands when it will, and what nobody takes away
//! would stop throttles that come later, and gates that have forgotten its end.
//!
//! Each is tried again until it is read back as gone. Only what this process knows to have ended, by a command or by its
//! record, is deleted; knows nothing of what a gate does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use kube::Client;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::hold::{Epoch, Hold, ScopedHold};
use crate::ports::DesiredError;

use super::desired::ClusterDesired;
use super::made;

/// How often what is left behind is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the API server may take for one.
const LIMIT: Duration = Duration::from_secs(2);
/// Objects that are deleted at the same time.
const AT_ONCE: usize = 8;

/// An object that is left behind.
enum Left {
    /// It may be there: a create was sent.
    Sent(ScopedHold),
    /// It was seen.
    Seen(Hold),
}

/// Deletes what is left behind until told to stop.
pub async fn run(client: Client, desired: Arc<ClusterDesired>, stop: CancellationToken) {
    let mut told = BTreeSet::new();
    let all = async {
        loop {
            tokio::select! {
                () = desired.left_behind() => {}
                () = sleep(AGAIN) => {}
            }
            let left = desired.sent().left_behind().into_iter().map(Left::Sent);
            let left: Vec<_> = left.chain(desired.index().left_behind().into_iter().map(Left::Seen)).collect();
            told.retain(|epoch| left.iter().any(|left| left.epoch() == epoch));
            let swept = left.iter().map(|left| async { (left.epoch().clone(), left.sweep(&client, &desired).await) });
            let swept: Vec<_> = stream::iter(swept.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).collect().await;
            for (epoch, became) in swept {
                // Of one that is gone already, as a list of a moment ago still shows it, there is nothing to tell.
                if !matches!(became, Ok(true)) && told.insert(epoch.clone()) {
                    tell(&epoch, became.err());
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = all => {}
    }
}

impl Left {
    fn epoch(&self) -> &Epoch {
        match self {
            Self::Sent(held) => &held.hold.epoch,
            Self::Seen(hold) => &hold.epoch,
        }
    }

    /// Deletes it; answers whether it was read back as gone.
    async fn sweep(&self, client: &Client, desired: &ClusterDesired) -> Result<bool, DesiredError> {
        let late = || Err(DesiredError::Unavailable("the API server does not answer".to_owned()));
        match self {
            Self::Sent(held) => {
                let gone = timeout(LIMIT, made::unmake(client, held)).await.unwrap_or_else(|_| late())?;
                if gone {
                    desired.sent().gone(self.epoch());
                }
                Ok(gone)
            }
            Self::Seen(hold) => {
                let gone = timeout(LIMIT, made::delete(client, hold)).await.unwrap_or_else(|_| late())?;
                if gone {
                    desired.index().swept(hold);
                }
                Ok(gone)
            }
        }
    }
}

fn tell(epoch: &Epoch, error: Option<DesiredError>) {
    match error {
        None => tracing::warn!(%epoch, "an override was there after its hold had ended: it is deleted"),
        Some(error) => tracing::warn!(%epoch, %error, "an override may be there though its hold has ended"),
    }
}
