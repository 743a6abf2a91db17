//! The leader's look at overrides: holds whose object is gone end or are told to be orphaned, and
//! where live ones live is learned.
//!
//! What a look finds, and what that means, is `hold_endings`'.

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use tokio::time::timeout;

use crate::cluster::hold_endings::{LOOK_LIMIT, OverrideLookup, definition_of, look_at, meta_of};
use crate::cluster::index::HoldState;
use crate::cluster::watched::WatchedState;
use crate::domain::hold::{Epoch, Hold, Source};

/// Overrides that are looked at at the same time.
pub(super) const AT_ONCE: usize = 8;

/// Looks at every override hold that needs it, for as long as the loop lets itself be kept by that;
/// `turn`: how many looks there were, which says where this one begins.
pub(super) async fn look(client: &Client, watched: &WatchedState, turn: usize) {
    let mut holds: Vec<_> = watched.index().override_holds().into_iter().collect();
    let first = turn % holds.len().max(1);
    holds.rotate_left(first);
    let looks = holds
        .into_iter()
        .map(|(epoch, (hold, state))| look_once(client, watched, epoch, hold, state));
    let looks = stream::iter(looks.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect::<()>();
    if timeout(LOOK_LIMIT, looks).await.is_err() {
        tracing::debug!("not every override was looked at: the others come first in the next pass");
    }
}

async fn look_once(
    client: &Client,
    watched: &WatchedState,
    epoch: Epoch,
    hold: Hold,
    state: HoldState,
) {
    match state {
        HoldState::Live => learn_home(client, watched, &epoch, &hold).await,
        HoldState::Orphaned | HoldState::Over => {}
        HoldState::Missing => match look_at(client, &hold).await {
            OverrideLookup::There => watched.index().found(&epoch),
            OverrideLookup::Ended => {
                tracing::info!(%epoch, source = %hold.source, "a hold ended: its override was deleted");
                watched.end_hold(&hold);
            }
            OverrideLookup::Orphaned => {
                tracing::warn!(%epoch, source = %hold.source, "a hold lost its home; it stays until /revive");
                watched
                    .index()
                    .note(&epoch, |_, state| *state = HoldState::Orphaned);
            }
            OverrideLookup::Unknown => {}
        },
    }
}

/// Notes which namespace and definition a live override lives in, so that others of the same name
/// are told from them.
async fn learn_home(client: &Client, watched: &WatchedState, epoch: &Epoch, hold: &Hold) {
    let Source::Override {
        namespace,
        namespace_uid,
        definition_uid,
        ..
    } = &hold.source
    else {
        return;
    };
    let namespace_done = namespace.is_none() || namespace_uid.is_some();
    if namespace_done && definition_uid.is_some() {
        return;
    }
    let definition = definition_of(client, hold)
        .await
        .ok()
        .flatten()
        .and_then(|meta| meta.uid);
    let home = match namespace {
        Some(name) => meta_of::<Namespace>(&Api::all(client.clone()), name)
            .await
            .ok()
            .flatten()
            .and_then(|meta| meta.uid),
        None => None,
    };
    watched.index().note(epoch, |hold, _| {
        if let Source::Override {
            namespace_uid,
            definition_uid,
            ..
        } = &mut hold.source
        {
            *namespace_uid = namespace_uid.take().or(home.clone());
            *definition_uid = definition_uid.take().or(definition.clone());
        }
    });
}
