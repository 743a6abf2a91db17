//! The API server of a cluster: it keeps objects, lists them and shows what changes; it hangs,
//! fails and answers late. It asks nobody who they are, knows no rules of resources and no
//! selectors.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use echo_phoenix::ports::Clock;
use futures::StreamExt;
use futures::stream::unfold;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::commands::DiskFault;
use crate::outside::{Outside, Place};

/// How long a watch lasts, as its clients ask for.
const WATCH: Duration = Duration::from_secs(25);

/// How both kinds of overrides end.
const OVERRIDES: &str = "echooverrides";

/// What an object is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    plural: String,
    /// Empty for what is in none.
    namespace: String,
    name: String,
}

/// What a request means.
struct Asked {
    key: Key,
    /// Whether it means the status alone.
    status: bool,
    watches: bool,
    from: u64,
}

/// What becomes of objects that are to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Creates {
    #[default]
    Well,
    /// They are refused for good.
    Refused,
    /// Each lands once it is let go, whoever waits for it then.
    KeptBack,
}

/// The server.
pub(crate) struct ApiServer {
    outside: Arc<Outside>,
    kept: Mutex<Kept>,
    changed: Notify,
    creates: Mutex<Creates>,
    /// Where it answers nobody who makes an override.
    silent: Mutex<Option<&'static str>>,
    let_go: Notify,
}

#[derive(Default)]
struct Kept {
    version: u64,
    objects: BTreeMap<Key, Value>,
    /// What it was asked to make, by kind and namespace, whether it did or hung.
    asked_for: Vec<Key>,
    /// What happened, each with its version.
    log: Vec<(u64, Key, &'static str, Value)>,
}

impl ApiServer {
    pub(crate) fn new(outside: &Arc<Outside>) -> Arc<Self> {
        Arc::new(Self {
            outside: Arc::clone(outside),
            kept: Mutex::default(),
            changed: Notify::new(),
            creates: Mutex::default(),
            silent: Mutex::default(),
            let_go: Notify::new(),
        })
    }

    /// A client of it; called by the runtime that it is used in.
    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let routes = Router::new()
            .fallback(answered)
            .with_state(Arc::clone(self));
        Client::new(routes, "default")
    }

    /// Makes or replaces an object, whatever is wrong with the server.
    pub(crate) fn put(&self, plural: &str, namespace: &str, object: Value) {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.keep(
            Key {
                plural: plural.to_owned(),
                namespace: namespace.to_owned(),
                name,
            },
            object,
        );
    }

    /// How many objects there are of a kind.
    pub(crate) fn count(&self, plural: &str) -> usize {
        self.lock()
            .objects
            .keys()
            .filter(|key| key.plural == plural)
            .count()
    }

    /// How many of a kind it was asked to make, by whoever did not wait for it to answer.
    pub(crate) fn asked_for(&self, plural: &str) -> usize {
        self.lock()
            .asked_for
            .iter()
            .filter(|asked| asked.plural == plural)
            .count()
    }

    /// How many overrides in a namespace.
    pub(crate) fn asked_for_in(&self, namespace: &str) -> usize {
        let is_one =
            |asked: &&Key| asked.plural.ends_with(OVERRIDES) && asked.namespace == namespace;
        self.lock().asked_for.iter().filter(is_one).count()
    }

    /// How many objects were ever made of a kind.
    pub(crate) fn made(&self, plural: &str) -> usize {
        self.lock()
            .log
            .iter()
            .filter(|(_, key, what, _)| key.plural == plural && *what == "ADDED")
            .count()
    }

    /// From now on this becomes of what is to be made; what was kept back stays so.
    pub(crate) fn creates(&self, creates: Creates) {
        *self.creates.lock().unwrap_or_else(PoisonError::into_inner) = creates;
    }

    /// From now on it answers nobody who makes an override in this namespace; in none, it answers
    /// all.
    pub(crate) fn is_silent_in(&self, namespace: Option<&'static str>) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = namespace;
    }

    /// What was kept back lands.
    pub(crate) fn let_go(&self) {
        self.let_go.notify_waiters();
    }

    fn keep(&self, key: Key, mut object: Value) -> Value {
        let mut kept = self.lock();
        kept.version += 1;
        let version = kept.version;
        let known = kept.objects.get(&key);
        let spec_is_new = known.is_none_or(|known| known["spec"] != object["spec"]);
        let generation = known
            .and_then(|known| known["metadata"]["generation"].as_i64())
            .unwrap_or_default();
        let meta = &mut object["metadata"];
        match known {
            Some(known) => {
                meta["uid"] = known["metadata"]["uid"].clone();
                meta["creationTimestamp"] = known["metadata"]["creationTimestamp"].clone();
            }
            None => {
                meta["uid"] = json!(format!("00000000-0000-4000-8000-{version:012}"));
                meta["creationTimestamp"] = json!(Clock::now(self.outside.as_ref()).to_string());
            }
        }
        meta["generation"] = json!(generation + i64::from(spec_is_new));
        meta["resourceVersion"] = json!(version.to_string());
        if !key.namespace.is_empty() {
            meta["namespace"] = json!(key.namespace);
        }
        let what = if known.is_some() { "MODIFIED" } else { "ADDED" };
        kept.objects.insert(key.clone(), object.clone());
        kept.log.push((version, key, what, object.clone()));
        drop(kept);
        self.changed.notify_waiters();
        object
    }

    fn remove(&self, key: &Key) {
        let mut kept = self.lock();
        let Some(mut object) = kept.objects.remove(key) else {
            return;
        };
        kept.version += 1;
        let version = kept.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        kept.log.push((version, key.clone(), "DELETED", object));
        drop(kept);
        self.changed.notify_waiters();
    }

    /// What comes first of this kind after a version.
    fn next(&self, of: &Key, from: u64) -> Option<(u64, Value)> {
        let kept = self.lock();
        let meant = |version: &u64, key: &Key| *version > from && of.covers(key);
        let found = kept
            .log
            .iter()
            .find(|(version, key, ..)| meant(version, key))?;
        Some((found.0, json!({ "type": found.2, "object": found.3 })))
    }

    fn watch(self: Arc<Self>, of: Key, from: u64) -> Response {
        let events = unfold(from, move |from| {
            let (server, of) = (Arc::clone(&self), of.clone());
            async move {
                loop {
                    let changed = server.changed.notified();
                    // What hangs shows nothing either.
                    server.outside.healed(Place::Api).await;
                    if let Some((version, event)) = server.next(&of, from) {
                        return Some((
                            Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))),
                            version,
                        ));
                    }
                    changed.await;
                }
            }
        });
        Body::from_stream(events.take_until(Box::pin(sleep(WATCH)))).into_response()
    }

    fn list(&self, of: &Key) -> Response {
        let kept = self.lock();
        let items: Vec<_> = kept
            .objects
            .iter()
            .filter(|(key, _)| of.covers(key))
            .map(|(_, object)| object)
            .collect();
        let version = kept.version.to_string();
        said(
            json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": version }, "items": items }),
        )
    }

    fn answer(self: &Arc<Self>, method: &Method, asked: Asked, body: &Value) -> Response {
        let Asked {
            mut key,
            status,
            watches,
            from,
        } = asked;
        if *method == Method::POST {
            body["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut key.name);
        }
        let found = self.lock().objects.get(&key).cloned();
        match (method, found) {
            (&Method::GET, _) if key.name.is_empty() && watches => {
                Arc::clone(self).watch(key, from)
            }
            (&Method::GET, _) if key.name.is_empty() => self.list(&key),
            (&Method::POST, Some(_)) => refused(StatusCode::CONFLICT, "AlreadyExists", &key.name),
            (&Method::POST, None) => said(self.keep(key, body.clone())),
            (_, None) => refused(StatusCode::NOT_FOUND, "NotFound", &key.name),
            (&Method::GET, Some(found)) => said(found),
            (&Method::PUT, Some(found))
                if other(
                    &body["metadata"]["resourceVersion"],
                    &found,
                    "resourceVersion",
                ) =>
            {
                refused(StatusCode::CONFLICT, "Conflict", &key.name)
            }
            (&Method::PUT, Some(_)) => said(self.keep(key, body.clone())),
            (&Method::PATCH, Some(found))
                if status && !other(&body["metadata"]["uid"], &found, "uid") =>
            {
                let mut patched = found;
                patched["status"] = body["status"].clone();
                said(self.keep(key, patched))
            }
            (&Method::DELETE, Some(found))
                if !other(&body["preconditions"]["uid"], &found, "uid") =>
            {
                self.remove(&key);
                said(json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }))
            }
            (_, Some(_)) => refused(StatusCode::CONFLICT, "Conflict", &key.name),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    /// Whether it is one of a collection.
    fn covers(&self, key: &Self) -> bool {
        self.plural == key.plural && (self.namespace.is_empty() || self.namespace == key.namespace)
    }
}

impl Asked {
    fn makes_override(&self, method: &Method) -> bool {
        *method == Method::POST && self.key.plural.ends_with(OVERRIDES)
    }

    /// A request by its path: `/api/v1/…` or `/apis/group/version/…`.
    fn of(uri: &Uri) -> Self {
        let mut words: Vec<&str> = uri
            .path()
            .split('/')
            .filter(|word| !word.is_empty())
            .collect();
        words.drain(..if words.first() == Some(&"api") { 2 } else { 3 });
        let namespace = if words.len() > 2 && words[0] == "namespaces" {
            words.drain(..2).nth(1)
        } else {
            None
        };
        let word = |index: usize| words.get(index).copied().unwrap_or_default().to_owned();
        let query: BTreeMap<_, _> =
            url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
        Self {
            key: Key {
                plural: word(0),
                namespace: namespace.unwrap_or_default().to_owned(),
                name: word(1),
            },
            status: word(2) == "status",
            watches: query.contains_key("watch"),
            from: query
                .get("resourceVersion")
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// Whether what is asked for is another one than there is.
fn other(asked: &Value, found: &Value, member: &str) -> bool {
    !asked.is_null() && *asked != found["metadata"][member]
}

async fn answered(
    State(server): State<Arc<ApiServer>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if method == Method::POST {
        let asked = Asked::of(&uri);
        let silent = *server.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent =
            asked.makes_override(&method) && silent == Some(asked.key.namespace.as_str());
        server.lock().asked_for.push(asked.key);
        if is_silent {
            std::future::pending::<()>().await;
        }
    }
    match server.outside.api() {
        Some(DiskFault::Fails) => {
            return refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "a fault",
            );
        }
        // Nothing is done for a client that has given up.
        Some(DiskFault::Hangs) => server.outside.healed(Place::Api).await,
        Some(DiskFault::HangsAfter) | None => {}
    }
    let creates = *server
        .creates
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let asked = Asked::of(&uri);
    let answer = match creates {
        Creates::Refused if asked.makes_override(&method) => {
            refused(StatusCode::FORBIDDEN, "Forbidden", &asked.key.plural)
        }
        Creates::KeptBack if asked.makes_override(&method) => {
            let late = Arc::clone(&server);
            let lands = tokio::spawn(async move {
                late.let_go.notified().await;
                late.answer(&method, asked, &body)
            });
            lands.await.expect("an answer")
        }
        _ => server.answer(&method, asked, &body),
    };
    if server.outside.api() == Some(DiskFault::HangsAfter) {
        server.outside.healed(Place::Api).await;
    }
    answer
}

fn said(body: Value) -> Response {
    axum::Json(body).into_response()
}

fn refused(code: StatusCode, reason: &str, what: impl Display) -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": format!("{reason}: {what}"), "metadata": {},
    });
    (code, axum::Json(status)).into_response()
}
