//! Many throttles, each of gate and scale, with a Deployment of one replica that nothing runs; and
//! what a watch sees of their replicas. Some of them are silent: a proxy is to swallow what reads
//! their workloads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::http::Method;
use echo_phoenix::cluster::connect;
use echo_phoenix::source::crd::EchoThrottle;
use echo_phoenix::source::crd_override::EchoOverride;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cluster::Cluster;

/// Requests of ours at the same time.
const AT_ONCE: usize = 16;

/// Replicas by the name of the Deployment, and when they were first seen to be so many.
type Seen = BTreeMap<String, (i64, Instant)>;

/// Throttles of one namespace; each has the name of its Deployment.
pub(crate) struct Fleet {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// When the first of them was made.
    pub(crate) began: Instant,
    /// Names of those whose workloads answer.
    pub(crate) answering: Vec<String>,
    /// Names of those whose workloads do not.
    pub(crate) silent: Vec<String>,
    seen: watch::Receiver<Seen>,
    watching: JoinHandle<()>,
}

/// Whether a request reads the workload of a silent throttle.
pub(crate) fn reads_a_silent_one(method: &Method, path: &str) -> bool {
    method == Method::GET && path.contains("/deployments/silent-")
}

impl Fleet {
    /// Makes them, open and settled nowhere yet, and waits until all are seen.
    pub(crate) async fn make(cluster: &Cluster, answering: usize, silent: usize) -> Self {
        let client = connect::client(Some(&cluster.kubeconfig())).await.unwrap();
        let namespace = cluster.namespace("fleet");
        let names = |what: &str, count| (0..count).map(|n| format!("{what}-{n}")).collect();
        let (sender, seen) = watch::channel(Seen::new());
        let deployments = Api::namespaced(client.clone(), &namespace);
        let fleet = Self {
            answering: names("answering", answering),
            silent: names("silent", silent),
            watching: tokio::spawn(look(deployments, sender)),
            client,
            namespace,
            began: Instant::now(),
            seen,
        };
        fleet
            .each(fleet.names(), async |name| {
                fleet.create::<Deployment>(deployment(name)).await;
                fleet.create::<EchoThrottle>(throttle(name)).await;
            })
            .await;
        let all = answering + silent;
        let mut seen = fleet.seen.clone();
        let listed = seen.wait_for(|seen| seen.len() == all);
        timeout(Duration::from_secs(30), listed)
            .await
            .expect("all are seen")
            .unwrap();
        fleet
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.answering.iter().chain(&self.silent)
    }

    /// Does something for each of these, several at a time.
    pub(crate) async fn each<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        act: impl AsyncFn(&'a str),
    ) {
        stream::iter(names)
            .for_each_concurrent(AT_ONCE, async |name| act(name).await)
            .await;
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Kills one by an override of its name; answers when the API server had answered.
    pub(crate) async fn kill(&self, name: &str) -> Instant {
        let spec = json!({
            "throttleRef": name, "kill": { "confirmation": "CONFIRM_KILL" },
            "operator": "dana", "reason": "double charges",
        });
        let object = json!({
            "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoOverride",
            "metadata": { "name": name }, "spec": spec,
        });
        self.create::<EchoOverride>(object).await;
        Instant::now()
    }

    /// Ends that kill.
    pub(crate) async fn end(&self, name: &str) {
        let api: Api<EchoOverride> = Api::namespaced(self.client.clone(), &self.namespace);
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// When its replicas were first seen to be so many, later than `since`; none if that takes
    /// longer than `limit` from now.
    pub(crate) async fn has(
        &self,
        name: &str,
        replicas: i64,
        since: Instant,
        limit: Duration,
    ) -> Option<Instant> {
        let mut seen = self.seen.clone();
        let it = |seen: &Seen| seen.get(name).copied();
        let is_so = |seen: &Seen| it(seen).is_some_and(|(now, at)| now == replicas && at >= since);
        let found = timeout(limit, seen.wait_for(is_so)).await.ok()?;
        it(&found.unwrap()).map(|(_, at)| at)
    }

    /// Its replicas, as they were seen last.
    pub(crate) fn replicas(&self, name: &str) -> i64 {
        self.seen.borrow()[name].0
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn look(deployments: Api<Deployment>, seen: watch::Sender<Seen>) {
    let mut events = watcher(deployments, watcher::Config::default())
        .default_backoff()
        .boxed();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(object) | Event::InitApply(object)) = event else {
            continue;
        };
        let at = Instant::now();
        let replicas = object.spec.as_ref().and_then(|spec| spec.replicas);
        let replicas = i64::from(replicas.unwrap());
        seen.send_if_modified(|seen| {
            let is_new = seen
                .get(&object.name_any())
                .is_none_or(|known| known.0 != replicas);
            if is_new {
                seen.insert(object.name_any(), (replicas, at));
            }
            is_new
        });
    }
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": "app" }] },
            },
        },
    })
}

fn throttle(name: &str) -> Value {
    json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoThrottle",
        "metadata": { "name": name },
        "spec": {
            "throttlePercent": 0,
            "ramp": { "maxPercentPerSecond": 100 },
            "targets": [
                { "gate": {} },
                { "scale": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name } },
            ],
        },
    })
}
