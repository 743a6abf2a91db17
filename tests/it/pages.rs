//! `/v1/audit`, `/v1/drift`, `/v1/evidence` and `/v1/state`: newest first, page by page, and a
//! query that is wrong is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::Path;

use echo_phoenix::domain::audit::Change;
use echo_phoenix::domain::history::PageAsk;
use echo_phoenix::ports::{History, Ledger};
use echo_phoenix::store::SqliteLedger;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, http};

async fn get(echo: &Echo, path: &str) -> (u16, Value) {
    let answer = http()
        .get(echo.url(path))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn post(echo: &Echo, path: &str, body: &str) {
    let sent = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    assert!(
        sent.status().is_success(),
        "{path}: {}",
        sent.text().await.unwrap()
    );
}

/// Every page of a route, as the numbers on it.
async fn numbers(echo: &Echo, path: &str, number: &str) -> Vec<Vec<i64>> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = get(echo, &format!("{path}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        pages.push(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item[number].as_i64().unwrap())
                .collect(),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return pages,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_back_from_the_newest_row_and_leave_none_out() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    for n in 1..=5 {
        post(&echo, "/observe", &format!(r#"{{"source":"s{}"}}"#, n % 2)).await;
    }
    assert_eq!(
        numbers(&echo, "/v1/state?limit=2", "id").await,
        [vec![5, 4], vec![3, 2], vec![1]]
    );
    assert_eq!(
        numbers(&echo, "/v1/state?limit=5", "id").await,
        [vec![5, 4, 3, 2, 1]],
        "no empty page follows"
    );
    assert_eq!(
        numbers(&echo, "/v1/state?limit=2&source=s1", "id").await,
        [vec![5, 3], vec![1]]
    );
    assert_eq!(
        numbers(&echo, "/v1/state?limit=9&throttle=other", "id").await,
        [Vec::<i64>::new()]
    );
    let (_, all) = get(&echo, "/v1/state").await;
    let third = all["items"][2]["at"].as_str().unwrap().to_owned();
    assert_eq!(
        numbers(&echo, &format!("/v1/state?since={third}"), "id").await,
        [vec![5, 4, 3]]
    );
    assert_eq!(
        numbers(&echo, &format!("/v1/state?until={third}"), "id").await,
        [vec![2, 1]]
    );
    assert_eq!(all["items"][0]["state"]["throttle_pct"], 1.0);

    post(
        &echo,
        "/kill",
        r#"{"reason":"r","operator":"dana","confirmation":"CONFIRM_KILL"}"#,
    )
    .await;
    let (_, killed) = get(&echo, "/v1/audit?action=kill&throttle=").await;
    assert_eq!(killed["status"], 422, "an empty name is no throttle's");
    let (_, killed) = get(&echo, "/v1/audit?action=kill").await;
    let entry = &killed["items"][0];
    let members: Vec<_> = entry
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = "seq at actor operator action throttle before after reason binding_signal request_id prev_hash hash";
    assert_eq!(members, expected.split(' ').collect::<Vec<_>>());
    let who = (&entry["actor"], &entry["operator"], &entry["reason"]);
    assert_eq!(
        (&entry["action"], who),
        (
            &json!("kill"),
            (&json!("ECHO_API_KEY"), &json!("dana"), &json!("r"))
        )
    );
    for empty in ["/v1/drift", "/v1/evidence"] {
        assert_eq!(
            get(&echo, empty).await,
            (200, json!({ "items": [], "next_cursor": null })),
            "{empty}"
        );
    }
}

/// Where, the query, and the parameter that is wrong in it.
fn wrong_queries(cursor: &str) -> [(&'static str, String, &'static str); 14] {
    [
        ("/v1/audit", format!("cursor={cursor}"), "cursor"), // of another table
        ("/v1/state", "cursor=zz".to_owned(), "cursor"),
        (
            "/v1/state",
            format!("cursor={}", hex::encode("state:-1")),
            "cursor",
        ),
        ("/v1/state", "cursor=".to_owned(), "cursor"),
        ("/v1/state", "limit=0".to_owned(), "limit"),
        ("/v1/state", "limit=201".to_owned(), "limit"),
        ("/v1/state", "limit=1e2".to_owned(), "limit"),
        ("/v1/state", "limit=5&limit=6".to_owned(), "limit"),
        ("/v1/state", "since=yesterday".to_owned(), "since"),
        ("/v1/state", "until=2026-02-31".to_owned(), "until"),
        ("/v1/state", "throttle=No%20Name".to_owned(), "throttle"),
        ("/v1/state", "source=".to_owned(), "source"),
        ("/v1/evidence", "throttle=default".to_owned(), "throttle"), // events are of no throttle
        ("/v1/audit", "Limit=5".to_owned(), "Limit"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_is_refused_by_the_name_of_its_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    post(&echo, "/observe", r#"{"source":"a"}"#).await;
    post(&echo, "/observe", r#"{"source":"b"}"#).await;
    let (_, page) = get(&echo, "/v1/state?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    for (path, query, name) in wrong_queries(&cursor) {
        let (status, problem) = get(&echo, &format!("{path}?{query}")).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (422, &json!(name)),
            "{path}?{query}: {problem}"
        );
    }
    let (status, problem) = get(&echo, "/v1/audit?throtle=default").await;
    let said = problem["errors"][0]["expected"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        (status, said.as_str()),
        (422, "no such parameter here; did you mean throttle?")
    );
    let many: Vec<_> = (0..2000).map(|index| format!("x{index}=1")).collect();
    let (status, problem) = get(&echo, &format!("/v1/audit?{}", many.join("&"))).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("query")),
        "{problem}"
    );
    assert_eq!(
        problem["errors"].as_array().unwrap().len(),
        1,
        "not looked at one by one"
    );
    let (status, problem) = get(&echo, "/v1/state?limit=0&colour=red").await;
    assert_eq!(
        (status, problem["errors"].as_array().unwrap().len()),
        (422, 2),
        "all that is wrong, at once"
    );
    assert_eq!(
        http()
            .get(echo.url("/v1/audit"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_key_who_and_why_are_three_fields() {
    let folder = tempfile::tempdir().unwrap();
    let keys = (
        "ECHO_API_KEYS",
        "ops:operator:k-ops-0123456789abcdef0123456789ab".to_owned(),
    );
    let echo = Echo::start("serve", &[keys], folder.path()).await;
    let signals = json!({
        "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
        "phi_static": 0.5, "phi_dynamic": 0.45, "temperature": 0.85, "susceptibility": 2.0,
    });
    let control = json!({
        "current_state": signals, "target_throttle": 0.5, "operator": "lee", "reason": "lunch (long)",
    });
    let sent = http()
        .post(echo.url("/control"))
        .header("x-api-key", "k-ops-0123456789abcdef0123456789ab");
    assert_eq!(
        sent.body(control.to_string())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        200
    );
    post(
        &echo,
        "/kill",
        r#"{"reason":"double charges","operator":"dana","confirmation":"CONFIRM_KILL"}"#,
    )
    .await;
    post(&echo, "/revive", r#"{"reason":"fixed","operator":"kim"}"#).await;
    let (_, page) = get(&echo, "/v1/audit").await;
    for (action, actor, operator, reason) in [
        ("control", "ops", "lee", "lunch (long)"),
        ("kill", "ECHO_API_KEY", "dana", "double charges"),
        ("revive", "ECHO_API_KEY", "kim", "fixed"),
    ] {
        let entry = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["action"] == action)
            .unwrap();
        let found = (&entry["actor"], &entry["operator"], &entry["reason"]);
        assert_eq!(
            found,
            (&json!(actor), &json!(operator), &json!(reason)),
            "{action}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_held_everything_is_found_under_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start("serve", &[], folder.path()).await;
    post(
        &echo,
        "/kill",
        r#"{"reason":"r","operator":"dana","confirmation":"CONFIRM_KILL"}"#,
    )
    .await;
    post(&echo, "/revive", "").await;
    post(
        &echo,
        "/kill",
        r#"{"reason":"r","operator":"dana","confirmation":"CONFIRM_KILL","throttle":"default"}"#,
    )
    .await;
    let actions = async |query: &str| {
        let (_, page) = get(&echo, &format!("/v1/audit?{query}")).await;
        let items = page["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["action"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        actions("throttle=default&action=kill").await,
        ["kill", "kill"]
    );
    assert_eq!(
        actions("throttle=default").await,
        ["kill", "revive", "kill"],
        "newest first, and nothing but what held it"
    );
    assert_eq!(actions("throttle=other").await, ["revive", "kill"]);
    assert_eq!(actions("throttle=default&limit=1").await, ["kill"]);
}

/// A ledger whose first entry is a kill of everything, with 35,000 others after it.
async fn with_many_entries(folder: &Path) -> SqliteLedger {
    let (ledger, _) = SqliteLedger::open(folder).unwrap();
    let mut first = crate::ledger_suite::values::draft("kill");
    first.throttle = String::new();
    ledger
        .commit(Change {
            audit: vec![first],
            ..Change::default()
        })
        .await
        .unwrap();
    for _ in 0..35 {
        let audit = vec![crate::ledger_suite::values::draft("control"); 1000];
        ledger
            .commit(Change {
                audit,
                ..Change::default()
            })
            .await
            .unwrap();
    }
    ledger
}

/// However many rows there are, one page looks through a bounded part, and the pages together find
/// everything once.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_looks_through_a_bounded_part_and_none_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = with_many_entries(folder.path()).await;
    let throttle = Some(echo_phoenix::domain::throttle::ThrottleName::default_throttle());
    for (kind, expected) in [
        (Some("kill".to_owned()), vec![1]),
        (Some("nothing".to_owned()), vec![]),
    ] {
        let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
        loop {
            let ask = PageAsk {
                before,
                limit: 50,
                throttle: throttle.clone(),
                kind: kind.clone(),
                ..PageAsk::default()
            };
            let page = ledger.audit(ask).await.unwrap();
            found.extend(page.items.iter().map(|item| item.seq));
            pages += 1;
            match page.next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        assert_eq!((found, pages), (expected, 2), "{kind:?}");
    }
    // What is an ordinary number of other entries hides none, whatever it is asked by.
    for since in [None, Some(jiff::Timestamp::UNIX_EPOCH)] {
        let kind = Some("kill".to_owned());
        let ask = PageAsk {
            before: Some(20_002),
            limit: 50,
            throttle: throttle.clone(),
            kind,
            since,
            ..PageAsk::default()
        };
        let page = ledger.audit(ask).await.unwrap();
        assert_eq!(
            (page.items.len(), page.next),
            (1, None),
            "on the first page"
        );
    }
    // Clients that leave take their questions with them.
    for _ in 0..64 {
        let asked = ledger.audit(PageAsk {
            limit: 50,
            ..PageAsk::default()
        });
        let _left = tokio::time::timeout(std::time::Duration::ZERO, asked).await;
    }
    assert_eq!(
        ledger
            .audit(PageAsk {
                limit: 1,
                ..PageAsk::default()
            })
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}
