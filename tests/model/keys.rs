//! A key that was used, and that cannot be looked up: over the doors, on a service whose reads fail
//! or hang. Nothing opens a second time, what closes is done and recorded, and what is replayed
//! says so.

use std::sync::Arc;
use std::time::Duration;

use echo_phoenix::store::LEDGER_FILE;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::commands::{DiskFault, LedgerFault};
use crate::doors;
use crate::life::Life;
use crate::manifest::Manifest;
use crate::oracle::Told;
use crate::outside::Outside;
use crate::site::Site;

/// Longer than anything waits.
const LONG: u16 = 60_000;
/// What keeps a key from being looked up.
const UNREADABLE: [DiskFault; 2] = [DiskFault::Fails, DiskFault::Hangs];

struct Service {
    outside: Arc<Outside>,
    manifest: Arc<Manifest>,
    life: Life,
}

impl Service {
    /// A service whose throttle `shop` a manifest declares, at 0.2.
    async fn new() -> Self {
        Self::over(&Arc::new(Outside::new())).await
    }

    /// The same, over what a process before may have left.
    async fn over(outside: &Arc<Outside>) -> Self {
        let (outside, manifest, site) = (
            Arc::clone(outside),
            Arc::new(Manifest::new()),
            Arc::new(Site::new()),
        );
        outside.starts();
        manifest.starts();
        manifest.write(1, false);
        let life = Life::start(&outside, &manifest, &site, false)
            .await
            .unwrap();
        let service = Self {
            outside,
            manifest,
            life,
        };
        sleep(Duration::from_secs(2)).await;
        assert_eq!(service.declared("shop"), 0.2);
        service
    }

    async fn post(&self, path: &str, key: &str, id: &str, body: &Value) -> Told {
        doors::ask(
            &self.life.routes,
            path,
            id,
            (!key.is_empty()).then_some(key),
            body.to_string(),
        )
        .await
    }

    /// The same while nothing can be looked up.
    async fn unread(
        &self,
        fault: DiskFault,
        path: &str,
        key: &str,
        id: &str,
        body: &Value,
    ) -> Told {
        self.outside.reads_are(fault, LONG);
        let told = self.post(path, key, id, body).await;
        self.outside.heal();
        told
    }

    fn declared(&self, name: &str) -> f64 {
        self.life.declared(name).unwrap().level.fraction()
    }

    /// What holds `shop` above its manifest.
    fn held(&self) -> Vec<String> {
        self.life
            .declared("shop")
            .unwrap()
            .holds
            .iter()
            .map(|hold| format!("{:?}", hold.bite))
            .collect()
    }

    /// The numbers of the entries that the record has of a request.
    fn entries(&self, id: &str) -> Vec<i64> {
        let file =
            rusqlite::Connection::open(self.outside.folder.path().join(LEDGER_FILE)).unwrap();
        let mut rows = file
            .prepare("SELECT seq FROM audit_log WHERE request_id = ?1")
            .unwrap();
        let rows = rows.query_map([id], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// The record has what it was not told in time.
    async fn settled(&self) {
        self.outside.heal();
        sleep(Duration::from_secs(12)).await;
        assert!(self.life.latch.retry_pending().await);
    }
}

/// A process over what is outside, for as long as a case takes; then it dies.
fn process(outside: &Arc<Outside>, case: impl AsyncFnOnce(Service)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        case(Service::over(outside).await).await;
        outside.ends();
    });
}

/// A ledger may take what it does not answer: it has the command in other words than those that
/// the client was told.
#[test]
fn a_retry_after_a_restart_hears_what_its_client_was_told_of_a_record_that_was_pending() {
    let all = [
        ("/kill", kill()),
        ("/control", control("default", 1.0)),
        ("/revive", json!({})),
    ];
    for (path, body) in all {
        let outside = Arc::new(Outside::new());
        let mut first = None;
        process(&outside, async |service| {
            service.outside.ledger_is(LedgerFault::HangsAfter, LONG);
            let told = service.post(path, "k", "first", &body).await;
            assert_eq!(told.body["audit_id"], Value::Null, "{path}");
            assert_ne!(told.body.get("durable"), Some(&json!(false)), "{path}");
            first = Some(told);
        });
        process(&outside, async |service| {
            assert_eq!(service.entries("first").len(), 1, "the ledger has it");
            let again = service.post(path, "k", "again", &body).await;
            same(&again, &first.unwrap(), true, path);
            service.settled().await;
            let later = service.post(path, "k", "later", &body).await;
            assert_eq!(later.bytes, again.bytes, "{path}");
        });
    }
}

fn kill() -> Value {
    json!({ "reason": "double charges", "operator": "dana", "confirmation": "CONFIRM_KILL" })
}

fn control(throttle: &str, target: f64) -> Value {
    json!({ "throttle": throttle, "target_throttle": target, "operator": "dana" })
}

fn same(told: &Told, first: &Told, replayed: bool, what: &str) {
    assert_eq!((told.status, &told.bytes), (200, &first.bytes), "{what}");
    assert_eq!((first.status, told.replayed), (200, replayed), "{what}");
}

#[tokio::test(start_paused = true)]
async fn each_route_that_takes_a_key_says_that_it_replays_whenever_it_does() {
    for fault in UNREADABLE {
        let service = Service::new().await;
        let none = json!({});
        for (route, path, body) in [
            ("an opening", "/control", control("default", 0.4)),
            (
                "a level above a manifest's",
                "/control",
                control("shop", 0.6),
            ),
            (
                "a level that a manifest outdoes",
                "/control",
                control("shop", 0.1),
            ),
            (
                "an observation",
                "/observe",
                json!({ "source": "monitor", "error_rate": 0.01 }),
            ),
            ("a revival of what runs", "/revive", none.clone()),
            ("a kill", "/kill", kill()),
        ] {
            let what = format!("{route}, {fault:?}");
            let first = service.post(path, route, "first", &body).await;
            assert!(!first.replayed, "{what}");
            same(
                &service.post(path, route, "again", &body).await,
                &first,
                true,
                &what,
            );
            same(
                &service.unread(fault, path, route, "unread", &body).await,
                &first,
                true,
                &what,
            );
            assert_eq!(
                (service.entries("again"), service.entries("unread")),
                (vec![], vec![]),
                "{what}"
            );
        }
        let first = service.post("/revive", "r", "first", &none).await;
        assert_eq!(first.body["status"], "revived");
        same(
            &service.unread(fault, "/revive", "r", "unread", &none).await,
            &first,
            true,
            "a revival",
        );
        let newer = service.post("/kill", "", "newer", &kill()).await;
        let told = service.unread(fault, "/revive", "r", "unread", &none).await;
        assert_eq!((told.status, told.replayed), (409, true), "{}", told.body);
        assert_eq!(
            told.body["held_by"][0]["epoch"], newer.body["epoch"],
            "{}",
            told.body
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_level_of_a_manifests_throttle_is_not_lowered_twice_under_one_key() {
    for fault in UNREADABLE {
        let service = Service::new().await;
        service
            .post("/control", "", "a", &control("shop", 0.6))
            .await;
        let lowered = service
            .post("/control", "k", "b", &control("shop", 0.4))
            .await;
        assert_eq!(
            (lowered.status, service.held()),
            (200, vec!["AtLeast(Level(0.4))".to_owned()]),
            "{}",
            lowered.body
        );
        service
            .post("/control", "", "c", &control("shop", 0.8))
            .await;
        let again = service
            .unread(fault, "/control", "k", "d", &control("shop", 0.4))
            .await;
        same(&again, &lowered, true, "a lowering");
        assert_eq!(
            (service.held(), service.entries("d")),
            (vec!["AtLeast(Level(0.8))".to_owned()], vec![])
        );
        // What tightens is done again, is recorded, and is what a retry hears.
        service
            .post("/control", "", "e", &control("shop", 0.3))
            .await;
        let again = service
            .unread(fault, "/control", "k", "f", &control("shop", 0.4))
            .await;
        assert_eq!(
            (again.status, again.replayed),
            (200, false),
            "{}",
            again.body
        );
        assert_eq!(service.held(), ["AtLeast(Level(0.4))"]);
        assert_eq!(json!(service.entries("f")), json!([again.body["audit_id"]]));
        same(
            &service
                .post("/control", "k", "g", &control("shop", 0.4))
                .await,
            &again,
            true,
            "a retry",
        );
        assert_eq!(service.manifest.ceiling().fraction(), 0.2);
    }
}

/// The second kill under a key was done: as one of its own or by the newer one that it leans on;
/// recorded, or owed.
fn is_done_again(second: &Told, first: &Told, newer: Option<&Value>, owed: bool, what: &str) {
    assert_eq!(
        (second.status, second.replayed),
        (200, false),
        "{what}: {}",
        second.body
    );
    assert_ne!(second.body["epoch"], first.body["epoch"], "{what}");
    let leans = newer.is_some();
    let leant_on = newer.is_none_or(|newer| second.body["epoch"] == *newer);
    assert!(
        leant_on && second.body["already_killed"] == leans,
        "{what}: {}",
        second.body
    );
    let warning = second.body["warning"].as_str().unwrap_or_default();
    assert!(
        warning.contains("did not say whether this Idempotency-Key was used before"),
        "{what}: {warning}"
    );
    assert_eq!(
        second.body["audit"],
        if owed { "pending" } else { "recorded" },
        "{what}: {}",
        second.body
    );
}

/// What a kill under a used key does whose first stop is over: it is another one, or leans on one;
/// recorded, or owed first.
#[tokio::test(start_paused = true)]
async fn a_kill_that_is_done_again_under_its_key_is_recorded_and_replayed_for_as_long_as_it_holds()
{
    for (leans, owed, fault) in [
        (false, false, DiskFault::Fails),
        (false, false, DiskFault::Hangs),
        (false, true, DiskFault::Fails),
        (true, false, DiskFault::Fails),
        (true, false, DiskFault::Hangs),
        (true, true, DiskFault::Fails),
    ] {
        let (service, what) = (
            Service::new().await,
            format!("leans: {leans}, owed: {owed}, {fault:?}"),
        );
        let first = service.post("/kill", "k", "first", &kill()).await;
        service.post("/revive", "", "over", &json!({})).await;
        let newer = match leans {
            true => Some(service.post("/kill", "", "newer", &kill()).await.body["epoch"].clone()),
            false => None,
        };
        if owed {
            service.outside.ledger_is(LedgerFault::Locked, LONG);
        }
        service.outside.reads_are(fault, LONG);
        let second = service.post("/kill", "k", "second", &kill()).await;
        is_done_again(&second, &first, newer.as_ref(), owed, &what);
        if owed {
            same(
                &service.post("/kill", "k", "retry", &kill()).await,
                &second,
                true,
                &what,
            );
        }
        service.settled().await;
        let entries = service.entries("second");
        assert_eq!(entries.len(), 1, "{what}");
        if !owed {
            assert_eq!(second.body["audit_id"], entries[0], "{what}");
        }
        same(
            &service.post("/kill", "k", "third", &kill()).await,
            &second,
            true,
            &what,
        );
        assert_eq!(
            (service.entries("retry"), service.entries("third")),
            (vec![], vec![]),
            "{what}"
        );
        service.post("/revive", "", "ends", &json!({})).await;
        let over = service.post("/kill", "k", "fourth", &kill()).await;
        assert_eq!(
            (over.status, over.replayed),
            (409, true),
            "{what}: {}",
            over.body
        );
        assert_eq!(over.body["epoch"], second.body["epoch"], "{what}");
    }
}
