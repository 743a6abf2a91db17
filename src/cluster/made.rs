//! The override objects that commands of the REST API make and end: one for each hold, named by its epoch.
//!
//! Knows objects, not what they do to gates.

use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};

use crate::domain::hold::{Hold, Scope, ScopedHold, Source};
use crate::ports::DesiredError;
use crate::source::crd_override::{
    CONFIRMATION, ClusterEchoOverride, ClusterEchoOverrideSpec, EchoOverride, EchoOverrideSpec, OverrideKill,
    REST_PREFIX, Selector,
};

use super::connect::{is_gone, lasts};

/// Makes the override of a hold that REST took; one that is there already is as good.
pub(super) async fn create(client: &Client, held: &ScopedHold) -> Result<(), DesiredError> {
    let kill = Some(OverrideKill { confirmation: CONFIRMATION.to_owned() });
    let (operator, reason) = (held.hold.operator.clone(), held.hold.reason.clone());
    // The epoch is in the name, so that asking twice makes one object.
    let name = format!("{REST_PREFIX}{}", held.hold.epoch.0.to_ascii_lowercase());
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    let params = PostParams::default();
    let made = match &held.scope {
        Scope::All => {
            let spec = ClusterEchoOverrideSpec {
                selector: Selector::default(),
                kill,
                throttle_percent: None,
                operator,
                reason,
            };
            let object = ClusterEchoOverride { metadata, spec };
            Api::all(client.clone()).create(&params, &object).await.map(|_| ())
        }
        Scope::One(throttle) => {
            let Some((namespace, short)) = throttle.split() else {
                return Err(DesiredError::Unknown(throttle.clone()));
            };
            let throttle_ref = Some(short.to_owned());
            let spec =
                EchoOverrideSpec { throttle_ref, selector: None, kill, throttle_percent: None, operator, reason };
            let object = EchoOverride { metadata, spec };
            Api::namespaced(client.clone(), namespace).create(&params, &object).await.map(|_| ())
        }
    };
    match made {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(failed(&error, "the API server refuses its override, so that no other gate hears of it")),
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
    let said = format!("{what}: {error}");
    if lasts(error) { DesiredError::Refused(said) } else { DesiredError::Unavailable(said) }
}
