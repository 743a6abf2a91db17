//! Replicas of a workload as a target: anything in the throttle's namespace that has
//! `spec.replicas`.
//!
//! What is remembered and what is asked are one merge patch that bears the resourceVersion that was
//! read: there is no moment in which one is written and the other is not, and a change in between
//! is a conflict, never overwritten. It goes to the object and not to `/scale`, because at 0
//! replicas `/scale` forgets who owns them, and from then on the API server records nobody: the
//! next person who scales by hand would go unnamed (measured on 1.37.2). Never server-side apply:
//! leaving out a field we own would undo it, and an absent object would be created.

use std::time::Duration;

use async_trait::async_trait;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use crate::domain::drift::Who;
use crate::domain::target::{Action, ReadBack, ScaleReadBack, ScaleSpec, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{Target, TargetError};

/// Where the replicas of before a stop are remembered on the workload itself.
pub const REMEMBERED: &str = "echo-phoenix.dev/replicas-before";
/// Our name in managedFields.
pub const FIELD_MANAGER: &str = "echo-phoenix";
/// How long one call to the API server may take.
const CALL_LIMIT: Duration = Duration::from_secs(2);

/// Workloads of a cluster.
pub struct Workloads {
    client: Client,
}

impl Workloads {
    /// A target that acts through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(
        &self,
        throttle: &ThrottleName,
        spec: &ScaleSpec,
    ) -> Result<Api<DynamicObject>, TargetError> {
        let Some((namespace, _)) = throttle.split() else {
            return Err(TargetError::Refused(format!(
                "throttle {throttle} has no namespace, so it has no workloads"
            )));
        };
        let (group, version) = spec
            .api_version
            .split_once('/')
            .unwrap_or(("", &spec.api_version));
        let kind = GroupVersionKind::gvk(group, version, &spec.kind);
        Ok(Api::namespaced_with(
            self.client.clone(),
            namespace,
            &ApiResource::from_gvk(&kind),
        ))
    }
}

#[async_trait]
impl Target for Workloads {
    async fn read(&self, throttle: &Declared, spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let TargetSpec::Scale(spec) = spec else {
            return Err(TargetError::Refused("not a workload".to_owned()));
        };
        let api = self.api(&throttle.name, spec)?;
        let Some(object) = limited(api.get_opt(&spec.name)).await? else {
            return Ok(ReadBack::Absent);
        };
        // The API server fills in the default of 1, so an absent number is one of a kind without
        // the field.
        let Some(replicas) = object
            .data
            .pointer("/spec/replicas")
            .and_then(serde_json::Value::as_i64)
        else {
            return Err(TargetError::Refused(format!(
                "{} {} has no spec.replicas",
                spec.kind, spec.name
            )));
        };
        Ok(ReadBack::Scale(ScaleReadBack {
            replicas,
            remembered: object
                .annotations()
                .get(REMEMBERED)
                .and_then(|text| text.parse().ok()),
            resource_version: object.resource_version().unwrap_or_default(),
            who: who_wrote_replicas(&object),
        }))
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::Scale {
            target,
            from,
            to,
            remember,
            resource_version,
        } = action
        else {
            return Err(TargetError::Refused(
                "a workload has no verdicts".to_owned(),
            ));
        };
        let api = self.api(throttle, target)?;
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let mut patch = json!({ "metadata": {
            "resourceVersion": resource_version,
            "annotations": { REMEMBERED: remember.map(|replicas| replicas.to_string()) },
        }});
        if from != to {
            patch["spec"] = json!({ "replicas": to });
        }
        limited(api.patch(&target.name, &params, &Patch::Merge(&patch)))
            .await
            .map(|_| ())
    }
}

async fn limited<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, TargetError> {
    match timeout(CALL_LIMIT, call).await {
        Err(_) => Err(TargetError::Unavailable(format!(
            "the API server did not answer within {} s",
            CALL_LIMIT.as_secs()
        ))),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Error::Api(status))) if status.is_conflict() => {
            Err(TargetError::Conflict(status.message.clone()))
        }
        Ok(Err(Error::Api(status)))
            if status.is_forbidden() || status.is_not_found() || status.is_invalid() =>
        {
            Err(TargetError::Refused(status.message.clone()))
        }
        Ok(Err(error)) => Err(TargetError::Unavailable(error.to_string())),
    }
}

/// Who wrote `spec.replicas` last, as managedFields have it: somebody else's entry if there is one,
/// the newest of them.
fn who_wrote_replicas(object: &DynamicObject) -> Option<Who> {
    let owners = object.managed_fields().iter().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.pointer("/f:spec/f:replicas").is_some())
    });
    let owner = owners.max_by_key(|entry| {
        let ours = entry.manager.as_deref() == Some(FIELD_MANAGER);
        // Entries of /scale bear no time; whoever used it is rather the one than whoever once
        // applied the whole object.
        (
            !ours,
            entry.subresource.is_some(),
            entry.time.as_ref().map(|time| time.0),
        )
    })?;
    Some(Who {
        manager: owner.manager.clone().unwrap_or_default(),
        operation: owner.operation.clone().unwrap_or_default(),
        subresource: owner.subresource.clone().unwrap_or_default(),
        time: owner.time.as_ref().map(|time| time.0),
    })
}
