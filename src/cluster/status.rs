//! Writing what a pass found into the throttle's status, by server-side apply and only on change.
//!
//! The leader's alone. Gates open to what stands here, so it is written after the plan was applied
//! and never before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::domain::report::PassReport;
use crate::domain::throttle::ThrottleName;
use crate::ports::{Leadership, Report};
use crate::source::crd::EchoThrottle;
use crate::source::crd_status::EchoThrottleStatus;
use crate::source::status_rows::{self, HoldFacts};

use super::connect::is_gone;
use super::index::HoldState;
use super::watched::WatchedState;

/// Our name in managedFields.
const FIELD_MANAGER: &str = "echo-phoenix";
/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// The status writer.
pub struct StatusWriter {
    client: Client,
    watched: Arc<WatchedState>,
    leadership: Arc<dyn Leadership>,
    recorder: Recorder,
    written: Mutex<BTreeMap<ThrottleName, (String, EchoThrottleStatus)>>,
}

impl StatusWriter {
    /// A writer, which writes while this process leads; `pod` names it in Events.
    pub fn new(
        client: Client,
        watched: Arc<WatchedState>,
        leadership: Arc<dyn Leadership>,
        pod: String,
    ) -> Self {
        let reporter = Reporter {
            controller: "echo-phoenix".to_owned(),
            instance: Some(pod),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            watched,
            leadership,
            recorder,
            written: Mutex::default(),
        }
    }

    async fn write(&self, outcome: &PassReport) -> Result<(), kube::Error> {
        let name = &outcome.throttle.name;
        let Some((namespace, short)) = name.split() else {
            return Ok(());
        };
        let (uid, told) = {
            let index = self.watched.index();
            let Some(uid) = index.uid(name) else {
                return Ok(());
            };
            let holds = index
                .states(name)
                .into_iter()
                .map(|(hold, state)| (hold, state == HoldState::Orphaned));
            (
                uid,
                HoldFacts {
                    holds: holds.collect(),
                    ended: index.ended(name),
                },
            )
        };
        let api: Api<EchoThrottle> = Api::namespaced(self.client.clone(), namespace);
        // One report of a throttle at a time; others' are written beside it.
        let known = self.written.lock().await.get(name).cloned();
        let before = match known {
            Some((of, status)) if of == uid => status,
            // First write of this process: what stands there keeps its times.
            _ => api.get_status(short).await?.status.unwrap_or_default(),
        };
        let status = status_rows::status(outcome, &told, &before);
        if status != before {
            // Only the status: never a spec of ours. The UID keeps it off another object of the
            // same name.
            let body = json!({
                "apiVersion": EchoThrottle::api_version(&()),
                "kind": EchoThrottle::kind(&()),
                "metadata": { "name": short, "uid": uid },
                "status": status,
            });
            let params = PatchParams::apply(FIELD_MANAGER).force();
            let object = api
                .patch_status(short, &params, &Patch::Apply(&body))
                .await?;
            self.tell(&object, &before, &status).await;
        }
        let mut written = self.written.lock().await;
        written.insert(name.clone(), (uid, status));
        Ok(())
    }

    /// One Event for each condition that flipped; its reason tells them apart, since repeats are
    /// folded by it.
    async fn tell(
        &self,
        object: &EchoThrottle,
        before: &EchoThrottleStatus,
        after: &EchoThrottleStatus,
    ) {
        for now in &after.conditions {
            let was = before.conditions.iter().find(|c| c.kind == now.kind);
            let flipped = was.map_or(now.status == "True", |was| was.status != now.status);
            if !flipped
                || !matches!(
                    now.kind.as_str(),
                    "Killed" | "Drifted" | "Ready" | "Shedding"
                )
            {
                continue;
            }
            let bad = (now.kind == "Ready") != (now.status == "True");
            let event = Event {
                type_: if bad {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: now.reason.clone(),
                note: Some(now.message.chars().take(1000).collect()),
                action: now.kind.clone(),
                secondary: None,
            };
            let published = timeout(
                WRITE_LIMIT,
                self.recorder.publish(&event, &object.object_ref(&())),
            )
            .await;
            if !matches!(published, Ok(Ok(()))) {
                tracing::debug!(
                    throttle = object.name_any(),
                    "an Event was not written; the status says the same"
                );
            }
        }
    }
}

#[async_trait]
impl Report for StatusWriter {
    async fn report(&self, outcome: &PassReport) {
        let throttle = &outcome.throttle.name;
        if !self.leadership.leads() {
            return; // the gates open to what another one writes now
        }
        match timeout(WRITE_LIMIT * 2, self.write(outcome)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_gone(&error) => {
                tracing::info!(%throttle, "the throttle is gone; its gates keep what they have");
            }
            Ok(Err(error)) => {
                tracing::warn!(%throttle, %error, "the status was not written; it is written again at the next tick");
                self.written.lock().await.remove(throttle);
            }
            Err(_) => {
                tracing::warn!(%throttle, "the API server was silent about a status");
                self.written.lock().await.remove(throttle);
            }
        }
    }
}
