//! The override objects behind commands, against a stand-in for the API server: only what was meant
//! is ended, only what stops counts as told to others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; its stand-in ends with it"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use echo_phoenix::cluster::desired::ClusterDesired;
use echo_phoenix::cluster::index::{Index, Override};
use echo_phoenix::cluster::lease::LeaderFlag;
use echo_phoenix::cluster::watched::{WatchedKind, WatchedState};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::Gate;
use echo_phoenix::latch::HoldRegistry;
use echo_phoenix::ports::{Desired, DesiredError, ReviveFilter, Wake};
use echo_phoenix::run::clock::SystemClock;
use echo_phoenix::source::crd_override::Selector;
use echo_phoenix::store::SqliteLedger;
use echo_phoenix::wake::WakeSet;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::ledger_suite::values::{epoch, hold, record};

const LOCAL: &str = "/apis/echo-phoenix.dev/v1alpha1/namespaces/shop/echooverrides";
const WIDE: &str = "/apis/echo-phoenix.dev/v1alpha1/clusterechooverrides";

/// What stands in for an API server: what it answers by method and path, and what it was asked to
/// delete.
#[derive(Default)]
struct Said {
    answers: Mutex<BTreeMap<String, (u16, Value)>>,
    deleted: Mutex<Vec<String>>,
    /// Whether it answers nothing at all.
    hangs: AtomicBool,
}

impl Said {
    fn say(&self, what: String, code: u16, answer: Value) {
        self.answers.lock().unwrap().insert(what, (code, answer));
    }

    fn deleted(&self) -> Vec<String> {
        std::mem::take(&mut *self.deleted.lock().unwrap())
    }
}

async fn answer(State(said): State<Arc<Said>>, method: Method, uri: Uri) -> Response {
    if said.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if method == Method::DELETE {
        said.deleted.lock().unwrap().push(uri.path().to_owned());
    }
    let known = said
        .answers
        .lock()
        .unwrap()
        .get(&format!("{method} {}", uri.path()))
        .cloned();
    let (code, body) = known.unwrap_or_else(|| {
        (
            200,
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }),
        )
    });
    let code = StatusCode::from_u16(code).unwrap();
    (
        code,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message })
}

/// The throttles `shop.checkout`, of the tier payments, and `shop.refunds`, as a process with a
/// ledger has seen them.
struct House {
    said: Arc<Said>,
    watched: Arc<WatchedState>,
    leader: Arc<LeaderFlag>,
    desired: ClusterDesired,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let said = Arc::new(Said::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&said));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let mut config = kube::Config::new(uri.parse().unwrap());
        config.default_retry = false;
        let client = kube::Client::try_from(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(SqliteLedger::open(folder.path()).unwrap().0);
        let wake: Arc<dyn Wake> = Arc::new(WakeSet::default());
        let holds = HoldRegistry::new(Arc::new(Gate::default()), Arc::clone(&wake), Vec::new());
        let watched = Arc::new(WatchedState::new(
            Index::looked_at(),
            Arc::new(SystemClock),
            Arc::new(holds),
            wake,
        ));
        let leader = Arc::new(LeaderFlag::new(Arc::clone(&watched)));
        let desired = ClusterDesired::new(
            client,
            Arc::clone(&watched),
            Arc::<LeaderFlag>::clone(&leader),
            Some(ledger),
        );
        for (name, tier) in [("checkout", "payments"), ("refunds", "money back")] {
            let throttle = json!({
                "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoThrottle", "spec": {},
                "metadata": { "name": name, "namespace": "shop", "uid": name, "generation": 1, "resourceVersion": "1",
                              "labels": { "tier": tier } },
            });
            watched
                .index()
                .throttle(
                    &serde_json::from_value(throttle).unwrap(),
                    Timestamp::UNIX_EPOCH,
                )
                .unwrap();
        }
        Self {
            said,
            watched,
            leader,
            desired,
            _folder: folder,
        }
    }

    /// An override that asks for a kill is seen: in all namespaces, or here; of one throttle, or by
    /// these labels.
    fn seen(
        &self,
        name: &str,
        namespace: Option<&str>,
        throttle: Option<&str>,
        labels: &[(&str, &str)],
    ) {
        let text = |text: &&str| (*text).to_owned();
        let source = Source::Override {
            namespace: namespace.as_ref().map(text),
            name: name.to_owned(),
            uid: name.to_owned(),
            namespace_uid: None,
            definition_uid: None,
        };
        let labels = labels.iter().map(|(name, value)| (text(name), text(value)));
        let seen = Override {
            namespace: namespace.as_ref().map(text),
            throttle: throttle.as_ref().map(text),
            selector: throttle.is_none().then(|| Selector {
                match_labels: labels.collect(),
            }),
            hold: hold(name, Scope::All, source).hold,
            present: true,
        };
        let _ = self.watched.index().override_seen(&epoch(name), seen);
    }

    /// What ends, and what stays.
    async fn end(&self, scope: &Scope, only: Option<&Epoch>) -> (Vec<String>, Vec<String>) {
        let meant = ReviveFilter {
            scope,
            epoch: only,
            spared: &|_| false,
            alone: &[],
        };
        let foreseen = self.desired.ending(meant);
        let ended = self.desired.end(meant, record("revive")).await.unwrap();
        assert_eq!(
            foreseen,
            ended.ended.iter().cloned().collect(),
            "what is found out later is of the same holds"
        );
        let names = |all: Vec<Epoch>| all.into_iter().map(|epoch| epoch.0).collect();
        (
            names(ended.ended),
            names(
                ended
                    .held_by
                    .into_iter()
                    .map(|Hold { epoch, .. }| epoch)
                    .collect(),
            ),
        )
    }

    async fn take(&self, scope: Scope) -> Result<(), DesiredError> {
        let held: ScopedHold = hold("01K", scope, Source::Rest);
        assert_eq!(held.hold.bite, HoldEffect::Kill);
        self.desired.take(held, record("kill")).await.map(drop)
    }
}

fn checkout() -> Scope {
    Scope::One(ThrottleName::in_namespace("shop", "checkout"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_of_one_throttle_ends_what_is_of_it_alone_and_names_what_is_wider() {
    let house = House::new().await;
    let nothing = Vec::<String>::new;
    house.seen("a-wide", None, None, &[]);
    house.seen("b-tier", Some("shop"), None, &[("tier", "payments")]);
    let wider = vec!["a-wide".to_owned(), "b-tier".to_owned()];
    assert_eq!(
        house.end(&checkout(), None).await,
        (nothing(), wider.clone()),
        "nothing could be ended here"
    );
    assert_eq!(house.said.deleted(), nothing());

    house.seen("c-only", Some("shop"), Some("checkout"), &[]);
    assert_eq!(
        house.end(&checkout(), None).await,
        (vec!["c-only".to_owned()], wider)
    );
    assert_eq!(house.said.deleted(), [format!("{LOCAL}/c-only")]);

    // Who names it, or all, means it.
    assert_eq!(
        house.end(&checkout(), Some(&epoch("b-tier"))).await,
        (vec!["b-tier".to_owned()], nothing())
    );
    assert_eq!(
        house.end(&Scope::All, None).await,
        (vec!["a-wide".to_owned()], nothing())
    );
    assert_eq!(
        house.said.deleted(),
        [format!("{LOCAL}/b-tier"), format!("{WIDE}/a-wide")]
    );
}

/// Whom a kill means, where its object is, what is there, and whether that stops the same.
fn found_in_its_place() -> [(Scope, &'static str, Value, bool); 7] {
    let confirmed = json!({ "confirmation": "CONFIRM_KILL" });
    let wide = |selector: Value| json!({ "selector": selector, "kill": confirmed });
    [
        (
            checkout(),
            LOCAL,
            json!({ "throttleRef": "checkout", "kill": confirmed }),
            true,
        ),
        (
            checkout(),
            LOCAL,
            json!({ "throttleRef": "checkout", "throttlePercent": 0 }),
            false,
        ),
        (
            checkout(),
            LOCAL,
            json!({ "throttleRef": "refunds", "kill": confirmed }),
            false,
        ),
        (
            checkout(),
            LOCAL,
            json!({ "selector": { "matchLabels": { "tier": "x" } }, "kill": confirmed }),
            false,
        ),
        (Scope::All, WIDE, wide(json!({})), true),
        (
            Scope::All,
            WIDE,
            wide(json!({ "matchLabels": { "tier": "x" } })),
            false,
        ),
        (
            Scope::All,
            WIDE,
            json!({ "selector": {}, "throttlePercent": 100 }),
            false,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_told_to_others_only_if_what_is_there_under_its_name_stops_the_same() {
    let house = House::new().await;
    let metadata = json!({ "name": "echo-01k", "namespace": "shop" });
    for (scope, path, mut spec, stops) in found_in_its_place() {
        let kind = if path == LOCAL {
            "EchoOverride"
        } else {
            "ClusterEchoOverride"
        };
        (spec["operator"], spec["reason"]) = (json!("eve"), json!("first"));
        let found = json!({ "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
        house.said.say(
            format!("POST {path}"),
            409,
            failure(409, "AlreadyExists", "it is there"),
        );
        house.said.say(format!("GET {path}/echo-01k"), 200, found);
        match house.take(scope).await {
            Ok(()) => assert!(stops, "{spec} is not this kill"),
            Err(DesiredError::Refused(why)) => {
                assert!(!stops && why.contains("echo-01k"), "{spec}: {why}")
            }
            other => panic!("{spec}: {other:?}"),
        }
    }
    // Where it is not shown, nobody knows what it does; where it went, the next try makes it.
    house.said.say(
        format!("GET {LOCAL}/echo-01k"),
        403,
        failure(403, "Forbidden", "no"),
    );
    assert!(matches!(
        house.take(checkout()).await,
        Err(DesiredError::Refused(_))
    ));
    house.said.say(
        format!("GET {LOCAL}/echo-01k"),
        404,
        failure(404, "NotFound", "no"),
    );
    assert!(matches!(
        house.take(checkout()).await,
        Err(DesiredError::Unavailable(_))
    ));
}

/// Whoever deletes the object ends the kill: it is not made anew while the record lacks it.
#[tokio::test(flavor = "multi_thread")]
async fn the_object_of_a_kill_is_made_once_however_often_others_are_told() {
    let house = House::new().await;
    let made = json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoOverride",
        "metadata": { "name": "echo-01k", "namespace": "shop" },
        "spec": { "throttleRef": "checkout", "kill": { "confirmation": "CONFIRM_KILL" }, "operator": "dana", "reason": "r" },
    });
    let held = hold("01K", checkout(), Source::Rest);
    house.said.say(
        format!("POST {LOCAL}"),
        503,
        failure(503, "ServiceUnavailable", "later"),
    );
    assert!(matches!(
        house.desired.announce(&held).await,
        Err(DesiredError::Unavailable(_))
    ));
    house.said.say(format!("POST {LOCAL}"), 201, made);
    house.desired.announce(&held).await.unwrap();
    house.said.say(
        format!("POST {LOCAL}"),
        403,
        failure(403, "Forbidden", "it would be made again"),
    );
    house.desired.announce(&held).await.unwrap();
    house.take(checkout()).await.unwrap();
    assert!(
        matches!(house.take(checkout()).await, Err(DesiredError::Refused(_))),
        "it is recorded: this is another try"
    );
}

/// A pass of the loop looks for a while, however many there are and whatever hangs.
#[tokio::test(flavor = "multi_thread")]
async fn looks_at_overrides_end_where_an_api_server_never_answers() {
    const MANY: usize = 200;
    let house = House::new().await;
    for number in 0..MANY {
        let name = format!("stop-{number:03}");
        house.seen(&name, Some("shop"), Some("checkout"), &[]);
        house.watched.index().override_missing(&epoch(&name));
    }
    WatchedKind::ALL
        .into_iter()
        .for_each(|kind| house.watched.listed(kind));
    house.leader.set_leader(true);
    house.said.hangs.store(true, Ordering::SeqCst);
    // One after the other they would take minutes.
    timeout(Duration::from_secs(60), house.desired.refresh())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_server_says_of_a_refusal_is_cut_where_it_comes_in() {
    let house = House::new().await;
    let long = format!("no\0{}", "x".repeat(50_000));
    for code in [403, 503] {
        house.said.say(
            format!("POST {LOCAL}"),
            code,
            failure(code, "Forbidden", &long),
        );
        let refused = house.take(checkout()).await.unwrap_err();
        let (DesiredError::Refused(why) | DesiredError::Unavailable(why)) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(
            (why.chars().count(), why.contains('\0')),
            (512, false),
            "{why}"
        );
    }
}
