//! Data folders that the release before left behind (tests/fixtures): they open without an alarm,
//! keep what was killed, and verify, before the first start as well as after it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Echo, KEY, eventually, http, program, run};

/// A folder as the release before left it.
pub(crate) fn left_behind(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    run(Command::new("tar")
        .arg("xzf")
        .arg(format!("tests/fixtures/data-of-2.4.0/{name}.tar.gz"))
        .arg("-C")
        .arg(&data));
    (folder, data)
}

fn verify(data: &Path) {
    let said = run(Command::new(program())
        .arg("verify")
        .arg("--data-dir")
        .arg(data));
    assert!(said.contains("head "), "{said}");
}

async fn get(echo: &Echo, path: &str) -> (u16, Value) {
    let answer = http()
        .get(echo.url(path))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn no_alarm(echo: &Echo) {
    eventually("it is healthy", Duration::from_secs(30), async || {
        let (status, health) = get(echo, "/health").await;
        assert!(!health.to_string().contains("unaccounted"), "{health}");
        ((status, &health["status"]) == (200, &json!("healthy"))).then_some(())
    })
    .await;
}

async fn opens_killed_and_verifies(name: &str) {
    let (folder, data) = left_behind(name);
    if name != "manifest" {
        verify(&data);
    }
    for start in ["first", "second"] {
        let mut echo = Echo::start("serve", &[], folder.path()).await;
        assert_eq!(
            echo.verdict("default").await,
            (403, "kill".to_owned()),
            "{name}, {start} start"
        );
        no_alarm(&echo).await;
        verify(&data);
        assert!(echo.process.terminate().success());
    }
    let echo = Echo::start("serve", &[], folder.path()).await;
    eventually("it is revived", Duration::from_secs(30), async || {
        let revived = http()
            .post(echo.url("/revive"))
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap();
        revived.status().is_success().then_some(())
    })
    .await;
    no_alarm(&echo).await;
    verify(&data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_folder_of_the_release_before_keeps_its_kill() {
    opens_killed_and_verifies("settled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_that_the_release_before_left_in_its_journal_alone_is_kept() {
    opens_killed_and_verifies("pending").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_and_a_person_held_under_the_release_before_still_holds() {
    let (folder, data) = left_behind("manifest");
    let file = folder.path().join("throttles.yaml");
    let of = |name: &str, level: u8, kill: &str| {
        format!(
            "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: {name}}}\n\
             spec: {{throttlePercent: {level}{kill}}}\n"
        )
    };
    let kill = ", kill: {reason: recount, operator: lee, confirmation: CONFIRM_KILL}";
    std::fs::write(
        &file,
        format!("{}---\n{}", of("shop", 25, ""), of("pay", 0, kill)),
    )
    .unwrap();
    let variables = [("ECHO_MANIFEST", file.display().to_string())];
    for _ in 0..2 {
        let mut echo = Echo::start("serve", &variables, folder.path()).await;
        assert_eq!(echo.verdict("pay").await, (403, "kill".to_owned()));
        no_alarm(&echo).await;
        eventually(
            "what a person held is seen",
            Duration::from_secs(20),
            async || {
                let (_, shop) = get(&echo, "/v1/throttles/shop").await;
                (shop["holds"][0]["throttlePercent"] == 60).then_some(())
            },
        )
        .await;
        verify(&data);
        assert!(echo.process.terminate().success());
    }
}
