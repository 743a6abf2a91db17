//! The kill lane: watches throttles and overrides and moves the gate on the event itself.
//!
//! In every process, leader or not. No queue, no waiting for a complete list, no retry behind its
//! back. Because a watch can die silently, overrides are also listed every two seconds; a list adds
//! holds and never ends one.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::hold::{Epoch, Hold, Source};
use crate::source::crd::EchoThrottle;
use crate::source::crd_override::{ClusterEchoOverride, EchoOverride, REST_PREFIX, hold_effect};

use super::index::{Override, OverrideKind};
use super::watched::{WatchedKind, WatchedState};

/// How long one watch call lasts; a silently dead one is noticed 5 s later.
const WATCH_SECONDS: u32 = 25;
/// How often overrides are listed.
const LIST_EVERY: Duration = Duration::from_secs(2);
/// How long a list may take.
const LIST_LIMIT: Duration = Duration::from_secs(2);
/// Pause after a failed watch: short, since a kill may be waiting behind it.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// Longest pause after failures in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An object that asks for a hold.
pub trait OverrideResource:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
    /// Its kind.
    const KIND: OverrideKind;
    /// The hold it asks for and on what; `None` if it asks for nothing clear.
    fn asks(&self) -> Option<Override>;
}

impl OverrideResource for EchoOverride {
    const KIND: OverrideKind = OverrideKind::Namespaced;

    fn asks(&self) -> Option<Override> {
        let spec = &self.spec;
        Some(Override {
            namespace: Some(self.namespace()?),
            throttle: spec.throttle_ref.clone(),
            selector: spec.selector.clone(),
            hold: hold(
                self,
                hold_effect(spec.kill.as_ref(), spec.throttle_percent)?,
                &spec.operator,
                &spec.reason,
            )?,
            present: true,
        })
    }
}

impl OverrideResource for ClusterEchoOverride {
    const KIND: OverrideKind = OverrideKind::ClusterWide;

    fn asks(&self) -> Option<Override> {
        let spec = &self.spec;
        Some(Override {
            namespace: None,
            throttle: None,
            selector: Some(spec.selector.clone()),
            hold: hold(
                self,
                hold_effect(spec.kill.as_ref(), spec.throttle_percent)?,
                &spec.operator,
                &spec.reason,
            )?,
            present: true,
        })
    }
}

fn hold<K: Resource>(
    object: &K,
    bite: crate::domain::hold::HoldEffect,
    operator: &str,
    reason: &str,
) -> Option<Hold> {
    let meta = object.meta();
    Some(Hold {
        epoch: epoch_of(object)?,
        bite,
        source: Source::Override {
            namespace: meta.namespace.clone(),
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            namespace_uid: None,
            definition_uid: None,
        },
        reason: reason.to_owned(),
        operator: operator.to_owned(),
        taken_at: meta.creation_timestamp.as_ref()?.0,
    })
}

/// The id of the hold behind an override: its UID, or the ULID that `POST /kill` put into its name.
fn epoch_of<K: Resource>(object: &K) -> Option<Epoch> {
    let named = object
        .meta()
        .name
        .as_deref()
        .and_then(|name| name.strip_prefix(REST_PREFIX));
    let ulid = named.and_then(|text| ulid::Ulid::from_string(&text.to_ascii_uppercase()).ok());
    ulid.map(|ulid| ulid.to_string())
        .or_else(|| object.meta().uid.clone())
        .map(Epoch)
}

/// The kill lane.
pub struct Lane {
    client: Client,
    watched: Arc<WatchedState>,
}

impl Lane {
    /// A lane that feeds this.
    pub fn new(client: Client, watched: Arc<WatchedState>) -> Self {
        Self { client, watched }
    }

    /// Runs until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let all = async {
            tokio::join!(
                self.throttles(),
                self.overrides::<EchoOverride>(),
                self.overrides::<ClusterEchoOverride>(),
                self.list_overrides(),
            )
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = all => {}
        }
    }

    async fn throttles(&self) {
        let mut events = watcher(Api::<EchoThrottle>::all(self.client.clone()), config()).boxed();
        let mut trouble = WatchBackoff::with("echothrottles");
        while let Some(event) = events.next().await {
            if matches!(&event, Ok(seen) if !matches!(seen, Event::Init)) {
                trouble.over();
            }
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    self.watched.throttle(&object)
                }
                Ok(Event::Delete(object)) => self.watched.throttle_gone(&object),
                Ok(Event::InitDone) => self.watched.listed(WatchedKind::Throttles),
                Ok(Event::Init) => {}
                Err(error) => trouble.after(&error).await,
            }
        }
    }

    async fn overrides<K: OverrideResource>(&self) {
        let mut events = watcher(Api::<K>::all(self.client.clone()), config()).boxed();
        let mut listed = Vec::new();
        let mut trouble = WatchBackoff::with(match K::KIND {
            OverrideKind::Namespaced => "echooverrides",
            OverrideKind::ClusterWide => "clusterechooverrides",
        });
        while let Some(event) = events.next().await {
            if matches!(&event, Ok(seen) if !matches!(seen, Event::Init)) {
                trouble.over();
            }
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::Apply(object)) => self.seen(&object),
                Ok(Event::InitApply(object)) => {
                    listed.extend(epoch_of(&object));
                    self.seen(&object);
                }
                Ok(Event::Delete(object)) => {
                    if let Some(epoch) = epoch_of(&object) {
                        self.watched.override_missing(&epoch);
                    }
                }
                Ok(Event::InitDone) => {
                    self.watched.overrides_listed(K::KIND, &listed);
                    self.watched.listed(WatchedKind::Overrides(K::KIND));
                }
                Err(error) => {
                    self.watched.overrides_doubted(K::KIND);
                    trouble.after(&error).await;
                }
            }
        }
    }

    fn seen<K: OverrideResource>(&self, object: &K) {
        match object.asks() {
            Some(seen) => self.watched.override_seen(seen),
            None => tracing::warn!(
                name = object.meta().name,
                "an override asks for nothing clear; it is ignored"
            ),
        }
    }

    async fn list_overrides(&self) {
        loop {
            sleep(LIST_EVERY).await;
            let cached = ListParams::default().match_any();
            let local = Api::<EchoOverride>::all(self.client.clone());
            if let Ok(Ok(list)) = timeout(LIST_LIMIT, local.list(&cached)).await {
                list.items.iter().for_each(|object| self.seen(object));
            }
            let wide = Api::<ClusterEchoOverride>::all(self.client.clone());
            if let Ok(Ok(list)) = timeout(LIST_LIMIT, wide.list(&cached)).await {
                list.items.iter().for_each(|object| self.seen(object));
            }
        }
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The pause after a failure: doubled while it goes on, so that a kind that is gone costs little,
/// and told once.
struct WatchBackoff {
    what: &'static str,
    pause: Duration,
}

impl WatchBackoff {
    fn with(what: &'static str) -> Self {
        Self {
            what,
            pause: AFTER_ERROR,
        }
    }

    async fn after(&mut self, error: &watcher::Error) {
        if self.pause == AFTER_ERROR {
            tracing::warn!(%error, what = self.what, "a watch failed; gates keep what they have");
        } else {
            tracing::debug!(%error, what = self.what, "a watch still fails");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn over(&mut self) {
        self.pause = AFTER_ERROR;
    }
}
