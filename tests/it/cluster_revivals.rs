//! Revivals in a cluster, against an API server that is a double: what it does not delete, and a
//! key that was used. Nothing ends but by its own command, and nobody waits for what cannot be
//! deleted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "the API server is a task of the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use echo_phoenix::cluster::desired::ClusterDesired;
use echo_phoenix::cluster::index::{Index, Override};
use echo_phoenix::cluster::lease::LeaderFlag;
use echo_phoenix::cluster::watched::WatchedState;
use echo_phoenix::domain::audit::{
    AuditAction, Change, ClientKey, CommandRecord, CommandResponse, Receipt,
};
use echo_phoenix::domain::history::PageAsk;
use echo_phoenix::domain::hold::{Epoch, Scope, Source};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::Gate;
use echo_phoenix::latch::{CommandOutcome, HoldRegistry, Latch};
use echo_phoenix::ports::{
    DesiredError, History, Ledger, LedgerError, OutboxRow, ReviveOutcome, Stored, Wake,
};
use echo_phoenix::run::clock::SystemClock;
use echo_phoenix::store::SqliteLedger;
use echo_phoenix::wake::WakeSet;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::ledger_suite::values::{client_key, hold, record};
use crate::support::eventually;

const SOON: Duration = Duration::from_secs(20);

/// What the API server answers to the deletion of overrides, by name; 200 where nothing is said.
/// And what it was asked to delete.
#[derive(Default)]
struct Server {
    refuses: Mutex<BTreeMap<String, StatusCode>>,
    deleted: Mutex<BTreeSet<String>>,
}

impl Server {
    fn says(&self, name: &str, status: StatusCode) {
        self.refuses.lock().unwrap().insert(name.to_owned(), status);
    }

    fn answer(&self, path: &str) -> (StatusCode, axum::Json<Value>) {
        let name = path.rsplit('/').next().unwrap().to_owned();
        let status = self
            .refuses
            .lock()
            .unwrap()
            .get(&name)
            .copied()
            .unwrap_or(StatusCode::OK);
        let said = if status.is_success() {
            "Success"
        } else {
            "Failure"
        };
        if status.is_success() {
            self.deleted.lock().unwrap().insert(name);
        }
        let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": said,
                           "message": "the webhook says no", "reason": "", "code": status.as_u16() });
        (status, axum::Json(body))
    }
}

/// A ledger that takes a revival, and does not say so in time.
struct Late {
    ledger: SqliteLedger,
    late: AtomicBool,
}

#[async_trait]
impl Ledger for Late {
    async fn commit(&self, change: Change) -> Result<Receipt, LedgerError> {
        let is_late = change
            .audit
            .iter()
            .any(|draft| draft.action == AuditAction::Revive)
            && self.late.load(Ordering::SeqCst);
        let receipt = self.ledger.commit(change).await;
        if is_late {
            Err(LedgerError::Undecided)
        } else {
            receipt
        }
    }

    async fn stored(&self) -> Result<Stored, LedgerError> {
        self.ledger.stored().await
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.ledger.check().await
    }

    async fn has(&self, once: &str) -> Result<bool, LedgerError> {
        self.ledger.has(once).await
    }

    async fn owed(&self, limit: usize) -> Result<Vec<OutboxRow>, LedgerError> {
        self.ledger.owed(limit).await
    }

    async fn delivered(&self, rows: &[OutboxRow]) -> Result<(), LedgerError> {
        self.ledger.delivered(rows).await
    }

    async fn answered(&self, key: &ClientKey) -> Result<Option<CommandResponse>, LedgerError> {
        self.ledger.answered(key).await
    }
}

struct House {
    _folder: TempDir,
    server: Arc<Server>,
    ledger: Arc<Late>,
    watched: Arc<WatchedState>,
    gate: Arc<Gate>,
    latch: Arc<Latch>,
}

fn name(short: &str) -> ThrottleName {
    ThrottleName::in_namespace("shop", short)
}

/// A revival, as its route records it.
fn revival(key: Option<&str>) -> CommandRecord {
    let mut record = record("revive");
    record.answer.body.insert("ended".to_owned(), json!([]));
    record.answer.body.insert("held_by".to_owned(), json!([]));
    record.answer.key = key.map(|key| client_key(key, 86_400));
    record
}

impl House {
    /// The throttles `a` and `b`, open.
    async fn new() -> Self {
        let server = Arc::new(Server::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::clone(&server);
        let routes = Router::new().fallback(move |request: Request| {
            std::future::ready(asked.answer(request.uri().path()))
        });
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let mut config = kube::Config::new(url.parse().unwrap());
        config.default_retry = false;
        let client = kube::Client::try_from(config).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(folder.path()).unwrap().0;
        let ledger = Arc::new(Late {
            ledger,
            late: AtomicBool::new(false),
        });
        let as_port: Arc<dyn Ledger> = Arc::<Late>::clone(&ledger);
        let gate = Arc::new(Gate::default());
        let wake: Arc<dyn Wake> = Arc::new(WakeSet::default());
        let holds = HoldRegistry::new(Arc::clone(&gate), Arc::clone(&wake), Vec::new());
        let holds = Arc::new(holds);
        let watched = Arc::new(WatchedState::new(
            Index::looked_at(),
            Arc::new(SystemClock),
            Arc::clone(&holds),
            wake,
        ));
        let leader = Arc::new(LeaderFlag::new(Arc::clone(&watched)));
        let desired = ClusterDesired::new(client, Arc::clone(&watched), leader, Some(as_port));
        let latch = Arc::new(Latch::with_registry(holds, Arc::new(desired), None));
        for short in ["a", "b"] {
            let object = json!({ "apiVersion": "echo-phoenix.dev/v1alpha1", "kind": "EchoThrottle", "spec": {},
                "metadata": { "name": short, "namespace": "shop", "uid": short, "generation": 1, "resourceVersion": "1" },
                "status": { "observedGeneration": 1,
                            "effective": { "levelMillionths": 0, "throttlePercent": 0, "reason": "none" } } });
            watched.index().throttle(
                &serde_json::from_value(object).unwrap(),
                Timestamp::UNIX_EPOCH,
            );
        }
        Self {
            _folder: folder,
            server,
            ledger,
            watched,
            gate,
            latch,
        }
    }

    /// An override kills a throttle.
    fn kill(&self, short: &str, epoch: &str) {
        let text = |text: &str| Some(text.to_owned());
        let source = Source::Override {
            namespace: text("shop"),
            name: epoch.to_owned(),
            uid: epoch.to_owned(),
            namespace_uid: None,
            definition_uid: None,
        };
        let hold = hold(epoch, Scope::One(name(short)), source).hold;
        let (namespace, throttle) = (text("shop"), text(short));
        let seen = Override {
            namespace,
            throttle,
            selector: None,
            hold,
            present: true,
        };
        let mut index = self.watched.index();
        // A pass of the loop sees what has ended, and lets go of it.
        for declared in index.declared() {
            index.show(&declared.name);
            index.let_go(&declared.name);
        }
        index.override_seen(&Epoch(epoch.to_owned()), seen);
        let views = index.views();
        drop(index);
        views
            .iter()
            .for_each(|view| self.latch.holds().follow(view, Duration::ZERO, &|_| false));
    }

    async fn revive(
        &self,
        short: &str,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError> {
        let scope = if short.is_empty() {
            Scope::All
        } else {
            Scope::One(name(short))
        };
        self.latch.revive(scope, None, record).await
    }

    /// What the gate holds.
    fn held(&self) -> Vec<String> {
        let mut holds: Vec<_> = self
            .gate
            .standings()
            .into_iter()
            .flat_map(|standing| standing.holds)
            .collect();
        holds.sort();
        holds.into_iter().map(|epoch| epoch.0).collect()
    }

    fn deleted(&self) -> Vec<String> {
        self.server
            .deleted
            .lock()
            .unwrap()
            .iter()
            .cloned()
            .collect()
    }

    /// Why, of every entry of this action, oldest first.
    async fn reasons(&self, action: &str) -> Vec<String> {
        let ask = PageAsk {
            limit: 50,
            ..PageAsk::default()
        };
        let items = self
            .ledger
            .ledger
            .audit(ask)
            .await
            .unwrap()
            .items
            .into_iter()
            .rev();
        items
            .filter(|item| item.action == action)
            .map(|item| item.reason)
            .collect()
    }
}

fn epochs(epochs: &[&str]) -> Vec<Epoch> {
    epochs
        .iter()
        .map(|epoch| Epoch((*epoch).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_under_a_used_key_deletes_and_ends_no_kill_that_it_did_not_end() {
    let house = House::new().await;
    house.kill("a", "k1");
    assert_eq!(
        house.revive("a", revival(Some("A"))).await.unwrap().ended,
        epochs(&["k1"])
    );
    house.kill("a", "k2");
    let again = house.revive("a", revival(Some("A"))).await.unwrap();
    assert!(again.repeated && again.ended.is_empty(), "{again:?}");
    assert_eq!(
        again.answer.unwrap().body["ended"],
        json!(["k1"]),
        "what was said then"
    );
    assert_eq!(
        (house.deleted(), house.held()),
        (vec!["k1".to_owned()], vec!["k2".to_owned()])
    );
    assert_eq!(
        house.revive("a", revival(None)).await.unwrap().ended,
        epochs(&["k2"])
    );
    assert_eq!(
        (house.reasons("revive").await.len(), house.held()),
        (2, vec![])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_that_is_not_decided_and_found_out_later() {
    let house = House::new().await;
    house.ledger.late.store(true, Ordering::SeqCst);
    for (kill, held) in [("k1", vec![]), ("k2", vec!["k2".to_owned()])] {
        house.kill("a", kill);
        let told = house.revive("a", revival(Some("A"))).await;
        assert!(matches!(told, Err(DesiredError::Undecided)), "{told:?}");
        let decided =
            async || (house.latch.doubts()[0].outcome != CommandOutcome::Undecided).then_some(());
        eventually("it is decided", SOON, decided).await;
        assert_eq!(
            (house.deleted(), house.held()),
            (vec!["k1".to_owned()], held)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_may_not_be_deleted_is_told_and_keeps_no_other_from_ending() {
    let house = House::new().await;
    house.kill("a", "k1");
    house.kill("a", "k2");
    house.server.says("k1", StatusCode::FORBIDDEN);
    let ended = house.revive("a", revival(Some("A"))).await.unwrap();
    assert_eq!(
        (&ended.ended, house.held()),
        (&epochs(&["k2"]), vec!["k1".to_owned()])
    );
    let stay: Vec<_> = ended
        .held_by
        .iter()
        .map(|hold| hold.epoch.0.as_str())
        .collect();
    assert_eq!(stay, ["k1"]);
    // Its client hears it, whoever asks again, and whoever reads the record.
    let told = house
        .ledger
        .answered(&client_key("A", 86_400))
        .await
        .unwrap()
        .unwrap();
    for body in [&ended.answer.unwrap().body, &told.body] {
        assert_eq!(
            (&body["ended"], &body["held_by"][0]["epoch"]),
            (&json!(["k2"]), &json!("k1")),
            "{body:?}"
        );
        assert!(
            body["warning"]
                .as_str()
                .unwrap()
                .contains("the webhook says no"),
            "{body:?}"
        );
    }
    let refused = house.reasons("revive_refused").await;
    assert!(
        refused.len() == 1 && refused[0].contains("the webhook says no"),
        "{refused:?}"
    );
    assert_eq!(house.latch.doubts(), [], "that is decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_cannot_be_deleted_now_keeps_nobody_from_reviving_and_ends_once_it_can_be()
{
    for (then, outcome) in [
        (StatusCode::OK, CommandOutcome::Done),
        (StatusCode::FORBIDDEN, CommandOutcome::NotDone),
    ] {
        let house = House::new().await;
        house.kill("a", "k1");
        house.kill("a", "k2");
        house.server.says("k1", StatusCode::INTERNAL_SERVER_ERROR);
        let told = house.revive("a", revival(None)).await;
        assert!(matches!(told, Err(DesiredError::Undecided)), "{told:?}");
        eventually("the other one ends", SOON, async || {
            (house.held() == ["k1"]).then_some(())
        })
        .await;
        assert_eq!(
            (&house.latch.doubts()[0].outcome, house.deleted()),
            (&CommandOutcome::Undecided, vec!["k2".to_owned()])
        );
        // Others revive; of the one that is stuck it is said that it is, and it is recorded once.
        house.kill("b", "k3");
        let ended = eventually("others revive", SOON, async || {
            house.revive("", revival(None)).await.ok()
        })
        .await;
        assert_eq!(ended.ended, epochs(&["k3"]));
        let waits = house.revive("a", revival(None)).await;
        assert!(
            matches!(waits, Err(DesiredError::Unavailable(_))),
            "{waits:?}"
        );
        assert_eq!(
            (house.reasons("revive").await.len(), house.held()),
            (2, vec!["k1".to_owned()])
        );
        house.server.says("k1", then);
        eventually("it is decided", SOON, async || {
            (house.latch.doubts()[0].outcome == outcome).then_some(())
        })
        .await;
        let left: &[&str] = if outcome == CommandOutcome::Done {
            &[]
        } else {
            &["k1"]
        };
        assert_eq!(house.held(), left);
        assert_eq!(house.reasons("revive_refused").await.len(), left.len());
    }
}
