//! The override objects that commands of the REST API make and end: one for each hold, named by its epoch.
//!
//! Knows objects, not what they do to gates.

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::hold::{Bite, Hold, Scope, ScopedHold, Source};
use crate::domain::text;
use crate::ports::DesiredError;
use crate::source::crd_override::{
    CONFIRMATION, ClusterEchoOverride, ClusterEchoOverrideSpec, EchoOverride, EchoOverrideSpec, OverrideKill,
    REST_PREFIX, Selector, bite,
};

use super::connect::{is_gone, lasts};

/// Longest word of why something was not done, characters: an API server's may be of any length.
const WHY_LIMIT: usize = 512;

/// Why a kill is not everybody's.
const UNHEARD: &str = "so that no other gate hears of it";

/// Makes the override of a hold that REST took; one that is there already is as good, if it stops the same.
pub(super) async fn create(client: &Client, held: &ScopedHold) -> Result<(), DesiredError> {
    let kill = Some(OverrideKill { confirmation: CONFIRMATION.to_owned() });
    let (operator, reason) = (held.hold.operator.clone(), held.hold.reason.clone());
    // The epoch is in the name, so that asking twice makes one object.
    let name = format!("{REST_PREFIX}{}", held.hold.epoch.0.to_ascii_lowercase());
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    match &held.scope {
        Scope::All => {
            let selector = Selector::default();
            let spec = ClusterEchoOverrideSpec { selector, kill, throttle_percent: None, operator, reason };
            let stops = |found: &ClusterEchoOverrideSpec| {
                found.selector.match_labels.is_empty() && is_kill(found.kill.as_ref(), found.throttle_percent)
            };
            let same = |found: &ClusterEchoOverride| stops(&found.spec);
            made(&Api::all(client.clone()), &ClusterEchoOverride { metadata, spec }, same).await
        }
        Scope::One(throttle) => {
            let Some((namespace, short)) = throttle.split() else {
                return Err(DesiredError::Unknown(throttle.clone()));
            };
            let throttle_ref = Some(short.to_owned());
            let spec =
                EchoOverrideSpec { throttle_ref, selector: None, kill, throttle_percent: None, operator, reason };
            let same = |EchoOverride { spec: found, .. }: &EchoOverride| {
                found.throttle_ref.as_deref() == Some(short)
                    && found.selector.is_none()
                    && is_kill(found.kill.as_ref(), found.throttle_percent)
            };
            made(&Api::namespaced(client.clone(), namespace), &EchoOverride { metadata, spec }, same).await
        }
    }
}

fn is_kill(kill: Option<&OverrideKill>, percent: Option<i32>) -> bool {
    bite(kill, percent) == Some(Bite::Kill)
}

/// Makes an object. Where one of its name is there it was made by an earlier try, or by somebody who got ahead of us: then it
/// stops nobody as ours would.
async fn made<K>(api: &Api<K>, object: &K, same: impl Fn(&K) -> bool) -> Result<(), DesiredError>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let refused = |error| failed(&error, &format!("the API server refuses its override, {UNHEARD}"));
    match api.create(&PostParams::default(), object).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(refused(error)),
    }
    let name = object.name_any();
    match api.get(&name).await {
        Ok(found) if same(&found) => Ok(()),
        Ok(_) => {
            let other = format!("an override {name} that is not this kill was there before it, {UNHEARD}: delete it");
            Err(DesiredError::Refused(other))
        }
        // Gone between the two: the next try makes it.
        Err(error) if is_gone(&error) => Err(DesiredError::Unavailable(format!("override {name} went meanwhile"))),
        Err(error) => Err(failed(&error, &format!("the API server does not show the override {name}, {UNHEARD}"))),
    }
}

/// Deletes the override of a hold; one that is gone already is as good.
pub(super) async fn delete(client: &Client, hold: &Hold) -> Result<(), DesiredError> {
    let Source::Override { namespace, name, uid, .. } = &hold.source else { return Ok(()) };
    let exactly = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    let gone = match namespace {
        Some(namespace) => {
            Api::<EchoOverride>::namespaced(client.clone(), namespace).delete(name, &params).await.map(|_| ())
        }
        None => Api::<ClusterEchoOverride>::all(client.clone()).delete(name, &params).await.map(|_| ()),
    };
    match gone {
        Ok(()) => Ok(()),
        // Not there, or another object under its name: this one is gone either way.
        Err(error) if is_gone(&error) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
        Err(error) => Err(failed(&error, &format!("the API server does not let {} be deleted", hold.source))),
    }
}

fn failed(error: &kube::Error, what: &str) -> DesiredError {
    let said = text::cut(text::kept(format!("{what}: {error}")), WHY_LIMIT);
    if lasts(error) { DesiredError::Refused(said) } else { DesiredError::Unavailable(said) }
}
