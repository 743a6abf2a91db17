//! The override objects that commands of the REST API make and end: one for each hold, named by its
//! epoch.
//!
//! Knows objects, not what they do to gates.

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::hold::{Hold, HoldEffect, Scope, ScopedHold, Source};
use crate::domain::text;
use crate::ports::DesiredError;
use crate::source::crd_override::{
    CONFIRMATION, ClusterEchoOverride, ClusterEchoOverrideSpec, EchoOverride, EchoOverrideSpec,
    OverrideKill, REST_PREFIX, Selector, hold_effect,
};

use super::connect::{is_gone, lasts};

/// Longest word of why something was not done, characters: an API server's may be of any length.
const WHY_LIMIT: usize = 512;

/// Why a kill is not everybody's.
const UNHEARD: &str = "so that other gates hear of it by their level alone";

/// Makes the override of a hold that REST took; one that is there already is as good, if it stops
/// the same.
pub(super) async fn create(client: &Client, held: &ScopedHold) -> Result<(), DesiredError> {
    let kill = Some(OverrideKill {
        confirmation: CONFIRMATION.to_owned(),
    });
    let (operator, reason) = (held.hold.operator.clone(), held.hold.reason.clone());
    let metadata = ObjectMeta {
        name: Some(name_of(held)),
        ..ObjectMeta::default()
    };
    match &held.scope {
        Scope::All => {
            let selector = Selector::default();
            let spec = ClusterEchoOverrideSpec {
                selector,
                kill,
                throttle_percent: None,
                operator,
                reason,
            };
            made(
                &Api::all(client.clone()),
                &ClusterEchoOverride { metadata, spec },
                stops_all,
            )
            .await
        }
        Scope::One(throttle) => {
            let (namespace, short) = throttle
                .split()
                .ok_or_else(|| DesiredError::Unknown(throttle.clone()))?;
            let throttle_ref = Some(short.to_owned());
            let spec = EchoOverrideSpec {
                throttle_ref,
                selector: None,
                kill,
                throttle_percent: None,
                operator,
                reason,
            };
            let object = EchoOverride { metadata, spec };
            made(
                &Api::namespaced(client.clone(), namespace),
                &object,
                |found| stops_one(found, short),
            )
            .await
        }
    }
}

/// Deletes what a create may have made of a hold; answers whether it was read back as gone. What is
/// there in its place and stops something else is somebody else's.
pub(super) async fn unmake(client: &Client, held: &ScopedHold) -> Result<bool, DesiredError> {
    let name = name_of(held);
    match &held.scope {
        Scope::All => unmade(&Api::all(client.clone()), &name, stops_all).await,
        Scope::One(throttle) => {
            let (namespace, short) = throttle
                .split()
                .ok_or_else(|| DesiredError::Unknown(throttle.clone()))?;
            unmade(
                &Api::namespaced(client.clone(), namespace),
                &name,
                |found| stops_one(found, short),
            )
            .await
        }
    }
}

/// The epoch is in the name, so that asking twice makes one object.
pub(super) fn name_of(held: &ScopedHold) -> String {
    format!("{REST_PREFIX}{}", held.hold.epoch.0.to_ascii_lowercase())
}

fn stops_all(found: &ClusterEchoOverride) -> bool {
    found.spec.selector.match_labels.is_empty()
        && is_kill(found.spec.kill.as_ref(), found.spec.throttle_percent)
}

fn stops_one(found: &EchoOverride, short: &str) -> bool {
    let spec = &found.spec;
    spec.throttle_ref.as_deref() == Some(short)
        && spec.selector.is_none()
        && is_kill(spec.kill.as_ref(), spec.throttle_percent)
}

fn is_kill(kill: Option<&OverrideKill>, percent: Option<i32>) -> bool {
    hold_effect(kill, percent) == Some(HoldEffect::Kill)
}

/// Makes an object. Where one of its name is there it was made by an earlier try, or by somebody
/// who got ahead of us: then it stops nobody as ours would.
async fn made<K>(api: &Api<K>, object: &K, same: impl Fn(&K) -> bool) -> Result<(), DesiredError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let refused = |error| {
        failed(
            &error,
            &format!("the API server refuses its override, {UNHEARD}"),
        )
    };
    match api.create(&PostParams::default(), object).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(refused(error)),
    }
    let name = object.name_any();
    match api.get(&name).await {
        Ok(found) if same(&found) => Ok(()),
        Ok(_) => {
            let other = format!(
                "an override {name} that is not this kill was there before it, {UNHEARD}: delete it"
            );
            Err(DesiredError::Refused(other))
        }
        // Gone between the two: the next try makes it.
        Err(error) if is_gone(&error) => Err(DesiredError::Unavailable(format!(
            "override {name} went meanwhile"
        ))),
        Err(error) => Err(failed(
            &error,
            &format!("the API server does not show the override {name}, {UNHEARD}"),
        )),
    }
}

/// Deletes the override of a hold; answers whether it was gone already, which is as good.
pub(super) async fn delete(client: &Client, hold: &Hold) -> Result<bool, DesiredError> {
    let Source::Override {
        namespace,
        name,
        uid,
        ..
    } = &hold.source
    else {
        return Ok(true);
    };
    match namespace {
        Some(namespace) => {
            deleted::<EchoOverride>(&Api::namespaced(client.clone(), namespace), name, uid).await
        }
        None => deleted::<ClusterEchoOverride>(&Api::all(client.clone()), name, uid).await,
    }
}

async fn unmade<K>(
    api: &Api<K>,
    name: &str,
    same: impl Fn(&K) -> bool,
) -> Result<bool, DesiredError>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    match api.get(name).await {
        // It is on its way, as far as whoever has a finalizer on it lets it.
        Ok(found) if same(&found) && found.meta().deletion_timestamp.is_some() => Ok(false),
        Ok(found) if same(&found) => {
            deleted(api, name, found.meta().uid.as_deref().unwrap_or_default()).await
        }
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) => Err(failed(
            &error,
            &format!("the API server does not show the override {name}"),
        )),
    }
}

/// Deletes exactly this object.
async fn deleted<K>(api: &Api<K>, name: &str, uid: &str) -> Result<bool, DesiredError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let exactly = Preconditions {
        uid: Some(uid.to_owned()),
        ..Preconditions::default()
    };
    let params = DeleteParams {
        preconditions: Some(exactly),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(false),
        // Not there, or another object under its name: this one is gone either way.
        Err(error) if is_gone(&error) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(true),
        Err(error) => Err(failed(
            &error,
            &format!("the API server does not let the override {name} be deleted"),
        )),
    }
}

fn failed(error: &kube::Error, what: &str) -> DesiredError {
    let said = text::cut(text::kept(format!("{what}: {error}")), WHY_LIMIT);
    if lasts(error) {
        DesiredError::Refused(said)
    } else {
        DesiredError::Unavailable(said)
    }
}
