//! A journal on the disk of an operator that still has a kill which its ledger has, and which was
//! revived: nobody hears of it again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::domain::audit::{AuditAction, AuditDraft, CommandRecord, CommandResponse};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::ports::{Effect, Journal, JournalEntry};
use echo_phoenix::store::FileJournal;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Installed, PATIENCE, shop};
use crate::support::{Echo, KEY, eventually, http};

async fn post(echo: &Echo, path: &str, body: &Value) -> Value {
    let answer = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .json(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// A command as the journal has it; its id is the kill's.
fn entry(throttle: &str, epoch: &str) -> JournalEntry {
    let (at, text) = (Timestamp::UNIX_EPOCH, || "test".to_owned());
    let scope = Scope::One(ThrottleName::try_from(throttle.to_owned()).unwrap());
    let (bite, source) = (HoldEffect::Kill, Source::Rest);
    let hold = Hold {
        epoch: Epoch(epoch.to_owned()),
        bite,
        source,
        reason: text(),
        operator: text(),
        taken_at: at,
    };
    let audit = AuditDraft {
        throttle: throttle.to_owned(),
        ..AuditDraft::new(at, "test", AuditAction::Kill)
    };
    let answer = CommandResponse::new(200, serde_json::Map::default(), at);
    let record = CommandRecord {
        once: epoch.to_owned(),
        audit,
        answer,
    };
    JournalEntry {
        effect: Effect::Hold(Box::new(ScopedHold { scope, hold })),
        record,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_tells_nobody_of_a_kill_that_was_revived_and_that_its_journal_still_has()
 {
    let (cluster, _turn) = Cluster::turn().await;
    let installed = Installed::into(&cluster);
    let mut operator = installed.operator("op", &[]).await;
    let namespace = cluster.namespace("shop");
    let throttle = format!("{namespace}.checkout");
    cluster.feed("apply", &shop(&namespace)).unwrap();
    eventually("it admits", PATIENCE, async || {
        (operator.verdict(&throttle).await.0 == 200).then_some(())
    })
    .await;
    let kill = json!({ "throttle": throttle, "reason": "double charges", "operator": "dana", "confirmation": "CONFIRM_KILL" });
    let epoch = post(&operator, "/kill", &kill).await["epoch"].clone();
    assert_eq!(
        post(&operator, "/revive", &json!({ "throttle": throttle })).await["ended"],
        json!([epoch])
    );
    operator.process.kill_9();

    let file = installed.folder.path().join("op").join("journal");
    let journal = FileJournal::open(&file).unwrap();
    journal
        .append(&entry(&throttle, epoch.as_str().unwrap()))
        .await
        .unwrap();
    tokio::task::spawn_blocking(move || journal.close())
        .await
        .unwrap();

    let operator = installed.operator("op", &[]).await;
    assert!(
        FileJournal::open(&file).unwrap().pending().is_empty(),
        "its ledger has it"
    );
    eventually("it holds nowhere", PATIENCE, async || {
        let (_, reason) = operator.verdict(&throttle).await;
        (reason != "kill" && reason != "unknown").then_some(())
    })
    .await;
    assert_eq!(
        cluster
            .kubectl(&["get", "echooverrides", "-n", &namespace, "-o", "name"])
            .trim(),
        ""
    );
    cluster.kubectl(&[
        "delete",
        "echothrottles",
        "--all",
        "-n",
        &namespace,
        "--wait=true",
    ]);
}
