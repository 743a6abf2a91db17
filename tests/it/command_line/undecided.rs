//! What `status` says of an order that was answered before anybody knew what becomes of it.

use super::*;
use crate::support::slow_disk::SlowDisk;

const REVIVE: [&str; 5] = ["revive", "--reason", "payments are right again", "--operator", "dana"];

#[tokio::test(flavor = "multi_thread")]
async fn a_revival_that_is_not_decided_is_shown_until_it_is_and_then_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SlowDisk::new(folder.path());
    let echo = Echo::start("serve", &disk.variables(), folder.path()).await;
    let (folder, url) = (folder.path(), echo.url(""));
    let status = || out(&ask(folder, &url, &["status"]));
    assert_eq!(ask(folder, &url, &KILL).status.code(), Some(0));
    assert!(!status().contains("before their outcome was known"), "{}", status());

    disk.stall(&["/data/ledger.db"], Duration::from_secs(60));
    let revived = ask(folder, &url, &REVIVE);
    assert_eq!(revived.status.code(), Some(1), "{}", out(&revived));
    assert!(err(&revived).contains("may still happen"), "{}", err(&revived));
    let told = status();
    for words in ["revive of all by dana", "not decided yet: it may still happen", "KILLED"] {
        assert!(told.contains(words), "{words} is not in\n{told}");
    }
    disk.flow();
    eventually("what became of it is told", Duration::from_secs(30), async || {
        let told = status();
        assert!(told.contains("revive of all by dana"), "{told}");
        told.contains(": it was done").then_some(())
    })
    .await;
    let request = http().get(echo.url("/v1/commands")).header("x-api-key", KEY);
    let told: Value = request.send().await.unwrap().json().await.unwrap();
    let one = &told["items"][0];
    assert_eq!((&one["action"], &one["operator"], &one["outcome"]), (&json!("revive"), &json!("dana"), &json!("done")));
    let json: Value = serde_json::from_str(&out(&ask(folder, &url, &["status", "-o", "json"]))).unwrap();
    assert_eq!(json["commands"], told["items"]);
    let request = http().get(echo.url("/v1/audit?action=revive")).header("x-api-key", KEY);
    let audit: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(audit["items"][0]["request_id"], one["request_id"], "and the record has it");
    assert_eq!(http().get(echo.url("/v1/commands")).send().await.unwrap().status(), 401);
}
