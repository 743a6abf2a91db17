//! Journey 4: a payment event signed by Stripe's own library becomes evidence once; a forged one
//! becomes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it has a clock"
)]

use reqwest::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::python;
use crate::support::{Echo, http};

const SECRET: &str = "whsec_journey_four";

async fn deliver(echo: &Echo, body: &str, signature: &str) -> (StatusCode, Value) {
    let request = http()
        .post(echo.url("/webhooks/stripe"))
        .header("stripe-signature", signature);
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// The header that Stripe's own library makes for a body, now.
fn signed(body: &str) -> String {
    let asked = json!({ "secret": SECRET, "sign": [[jiff::Timestamp::now().as_second(), body]], "judge": [] });
    let told: Value = serde_json::from_str(&python::run(
        "stripe_signatures.py",
        &[],
        &asked.to_string(),
    ))
    .unwrap();
    told["signed"][0].as_str().unwrap().to_owned()
}

fn event(pending: u32) -> String {
    json!({
        "id": "evt_journey", "object": "event", "type": "payment_intent.succeeded", "created": 1_790_000_000,
        "livemode": false, "api_version": "2026-10-01", "pending_webhooks": pending,
        "data": { "object": { "id": "pi_1", "object": "payment_intent", "amount": 4200, "currency": "eur", "status": "succeeded" } },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_evidence_once_and_a_forged_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let variables = [
        ("ECHO_DATA_DIR", data.display().to_string()),
        ("STRIPE_WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    let mut echo = Echo::start("serve", &variables, folder.path()).await;

    let body = event(1);
    let first = deliver(&echo, &body, &signed(&body)).await;
    assert_eq!(first.0, 200);
    echo.process.kill_9(); // acknowledged means stored
    let mut echo = Echo::start("serve", &variables, folder.path()).await;
    let again = event(2);
    assert_eq!(
        deliver(&echo, &again, &signed(&again)).await,
        first,
        "a duplicate gets the first answer"
    );

    let forged = event(1).replace("4200", "1");
    let (status, refused) = deliver(&echo, &forged, &signed(&body)).await;
    assert_eq!(
        (status.as_u16(), &refused["detail"]),
        (400, &json!("Invalid signature"))
    );
    let (status, _) = deliver(&echo, &body, "").await;
    assert_eq!(status, 400);
    assert!(echo.process.terminate().success());

    let ledger = Connection::open(data.join("ledger.db")).unwrap();
    let query = "SELECT count(*), max(amount), max(currency), max(raw) FROM evidence_ledger";
    let (rows, amount, currency, raw): (i64, i64, String, Vec<u8>) = ledger
        .query_row(query, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!(
        (rows, amount, currency.as_str(), raw.as_slice()),
        (1, 4200, "eur", body.as_bytes())
    );
    let alarms: i64 = ledger
        .query_row(
            "SELECT count(*) FROM audit_log WHERE action = 'evidence_conflict'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(alarms, 0, "another rendering of the same event is no alarm");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_the_part_is_off_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("STRIPE_WEBHOOK_SECRET", "whsec_PLACEHOLDER".to_owned())];
    let echo = Echo::start("serve", &variables, folder.path()).await;
    let (status, refused) = deliver(&echo, "{}", "t=1,v1=00").await;
    assert_eq!(status, 503);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("STRIPE_WEBHOOK_SECRET")
    );
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        health["status"], "healthy",
        "a part that is off does not degrade health"
    );
    assert!(
        health["checks"]["stripe"]
            .as_str()
            .unwrap()
            .contains("STRIPE_WEBHOOK_SECRET")
    );
}
