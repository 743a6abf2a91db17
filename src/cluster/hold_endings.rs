//! What a live look finds of an override that went away: did a person delete this one, or did its
//! namespace or its definition go?
//!
//! A hold ends only when a live look finds the object gone while its namespace and its CRD are the
//! ones they were and nobody is deleting them: deleting a CRD shows ordinary DELETED events and
//! genuine NotFounds first. What cannot be told apart stays held.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta};
use kube::core::CustomResourceExt;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::domain::hold::{Hold, Source};
use crate::source::crd_override::{ClusterEchoOverride, EchoOverride};

use super::connect::is_gone;

/// How long one look may take, and all of a pass.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(2);

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

/// Looks at the override of a hold, then at what it lived in.
pub(super) async fn look_at(client: &Client, hold: &Hold) -> OverrideLookup {
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

/// The metadata of the definition that an override is of.
pub(super) async fn definition_of(client: &Client, hold: &Hold) -> Result<Option<ObjectMeta>, ()> {
    let name = match &hold.source {
        Source::Override {
            namespace: Some(_), ..
        } => EchoOverride::crd_name(),
        _ => ClusterEchoOverride::crd_name(),
    };
    meta_of::<CustomResourceDefinition>(&Api::all(client.clone()), name).await
}

/// The metadata of an object; `Ok(None)` if it is not there, an error if that cannot be told.
pub(super) async fn meta_of<K>(api: &Api<K>, name: &str) -> Result<Option<ObjectMeta>, ()>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    match timeout(LOOK_LIMIT, api.get_metadata(name)).await {
        Ok(Ok(found)) => Ok(Some(found.metadata)),
        Ok(Err(error)) if is_gone(&error) => Ok(None),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
