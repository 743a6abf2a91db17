//! The leader's look at overrides that went away: did a person delete this one, or did its
//! namespace or its definition go?
//!
//! A hold ends only when a live look finds the object gone while its namespace and its CRD are the
//! ones they were and nobody is deleting them: deleting a CRD shows ordinary DELETED events and
//! genuine NotFounds first. What cannot be told apart stays held.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta};
use kube::core::CustomResourceExt;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::domain::hold::{Epoch, Hold, Source};
use crate::source::crd_override::{ClusterEchoOverride, EchoOverride};

use super::connect::is_gone;
use super::desired::ClusterDesired;
use super::index::HoldState;

/// Overrides that are looked at at the same time.
const AT_ONCE: usize = 8;

/// How long one look may take, and all of a pass.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// What a look at an override found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OverrideLookup {
    /// It is there.
    There,
    /// It is gone, and what it lived in is what it was.
    Ended,
    /// It is gone, and so is what it lived in.
    Orphaned,
    /// Nobody can tell now.
    Unknown,
}

/// Looks at every override hold that needs it, for as long as the loop lets itself be kept by that.
pub(super) async fn look(client: &Client, desired: &ClusterDesired) {
    let mut holds: Vec<_> = desired.index().override_holds().into_iter().collect();
    let first = desired.next_look(AT_ONCE) % holds.len().max(1);
    holds.rotate_left(first);
    let looks = holds
        .into_iter()
        .map(|(epoch, (hold, state))| look_once(client, desired, epoch, hold, state));
    let looks = stream::iter(looks.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect::<()>();
    if timeout(LOOK_LIMIT, looks).await.is_err() {
        tracing::debug!("not every override was looked at: the others come first in the next pass");
    }
}

async fn look_once(
    client: &Client,
    desired: &ClusterDesired,
    epoch: Epoch,
    hold: Hold,
    state: HoldState,
) {
    match state {
        HoldState::Live => learn_home(client, desired, &epoch, &hold).await,
        HoldState::Orphaned | HoldState::Over => {}
        HoldState::Missing => match look_at(client, &hold).await {
            OverrideLookup::There => desired.index().found(&epoch),
            OverrideLookup::Ended => {
                tracing::info!(%epoch, source = %hold.source, "a hold ended: its override was deleted");
                desired.end_hold(&hold);
            }
            OverrideLookup::Orphaned => {
                tracing::warn!(%epoch, source = %hold.source, "a hold lost its home; it stays until /revive");
                desired
                    .index()
                    .note(&epoch, |_, state| *state = HoldState::Orphaned);
            }
            OverrideLookup::Unknown => {}
        },
    }
}

/// Notes which namespace and definition a live override lives in, so that others of the same name
/// are told from them.
async fn learn_home(client: &Client, desired: &ClusterDesired, epoch: &Epoch, hold: &Hold) {
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
    desired.index().note(epoch, |hold, _| {
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

async fn look_at(client: &Client, hold: &Hold) -> OverrideLookup {
    let Source::Override {
        namespace,
        name,
        uid,
        namespace_uid,
        definition_uid,
    } = &hold.source
    else {
        return OverrideLookup::Unknown;
    };
    // The object first: what it lived in is looked at after it was seen gone.
    let object = match namespace {
        Some(namespace) => {
            meta_of::<EchoOverride>(&Api::namespaced(client.clone(), namespace), name).await
        }
        None => meta_of::<ClusterEchoOverride>(&Api::all(client.clone()), name).await,
    };
    match object {
        Err(()) => return OverrideLookup::Unknown,
        Ok(Some(meta)) if meta.uid.as_deref() == Some(uid.as_str()) => {
            return OverrideLookup::There;
        }
        Ok(_) => {}
    }
    let Ok(definition) = definition_of(client, hold).await else {
        return OverrideLookup::Unknown;
    };
    let mut home = same_home(
        definition.as_ref(),
        definition_uid.as_deref(),
        hold.taken_at,
    );
    if let Some(namespace) = namespace {
        let Ok(meta) = meta_of::<Namespace>(&Api::all(client.clone()), namespace).await else {
            return OverrideLookup::Unknown;
        };
        home = home && same_home(meta.as_ref(), namespace_uid.as_deref(), hold.taken_at);
    }
    if home {
        OverrideLookup::Ended
    } else {
        OverrideLookup::Orphaned
    }
}

/// Whether what a hold lived in is still the same and nobody is deleting it. Where its UID was
/// never learned, it must at least be as old as the hold.
pub(super) fn same_home(
    found: Option<&ObjectMeta>,
    uid: Option<&str>,
    taken_at: Timestamp,
) -> bool {
    let Some(meta) = found else { return false };
    let same = match uid {
        Some(uid) => meta.uid.as_deref() == Some(uid),
        None => meta
            .creation_timestamp
            .as_ref()
            .is_some_and(|created| created.0 <= taken_at),
    };
    same && meta.deletion_timestamp.is_none()
}

async fn definition_of(client: &Client, hold: &Hold) -> Result<Option<ObjectMeta>, ()> {
    let name = match &hold.source {
        Source::Override {
            namespace: Some(_), ..
        } => EchoOverride::crd_name(),
        _ => ClusterEchoOverride::crd_name(),
    };
    meta_of::<CustomResourceDefinition>(&Api::all(client.clone()), name).await
}

/// The metadata of an object; `Ok(None)` if it is not there, an error if that cannot be told.
async fn meta_of<K>(api: &Api<K>, name: &str) -> Result<Option<ObjectMeta>, ()>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    match timeout(LOOK_LIMIT, api.get_metadata(name)).await {
        Ok(Ok(found)) => Ok(Some(found.metadata)),
        Ok(Err(error)) if is_gone(&error) => Ok(None),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
