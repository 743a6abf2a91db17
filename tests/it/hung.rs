//! What never answers: a pipe where a file of the record should be, certificates on a mount that is
//! gone. Nobody hangs for it without a word.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::slow_disk::SlowDisk;
use crate::support::{Echo, KEY, Process, eventually, free_port, http, program, run};

/// A command, which has 20 s to end by itself; and what it says on stderr.
fn ended(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(program())
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null());
    command
        .env("PATH", "/usr/bin:/bin")
        .env("ECHO_LISTEN", "127.0.0.1:0")
        .envs(variables.iter().copied());
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn pipe(path: &Path) {
    run(Command::new("mkfifo").args(["-m", "600"]).arg(path));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_file_of_the_record_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    drop(Echo::start("serve", &[], folder.path()).await);
    for name in [
        "ledger.db",
        "ledger.db-wal",
        "journal",
        "last-state",
        "lock",
        "installation",
    ] {
        let (file, aside) = (data.join(name), data.join("aside"));
        let there = fs::rename(&file, &aside).is_ok();
        pipe(&file);
        let (code, said) = ended(folder.path(), &["serve"], &[]);
        assert_eq!(code, Some(2), "{name}: {said}");
        for word in ["ECHO_DATA_DIR", &format!("/{name}: "), "no regular file"] {
            assert!(said.contains(word), "{name} does not say {word}: {said}");
        }
        if name == "ledger.db" {
            for arguments in [["verify"].as_slice(), &["backup", "copy"]] {
                let (code, said) = ended(folder.path(), arguments, &[]);
                assert_eq!(code, Some(1), "{arguments:?}: {said}");
                assert!(
                    said.contains("ledger.db: it is no regular file"),
                    "{arguments:?}: {said}"
                );
            }
        }
        fs::remove_file(&file).unwrap();
        if there {
            fs::rename(&aside, &file).unwrap();
        }
    }
    drop(Echo::start("serve", &[], folder.path()).await);
}

/// A service says what it waits for, and a signal ends it.
async fn a_service_says_what_it_waits_for(folder: &Path, file: (&str, &str)) {
    let mut command = Command::new(program());
    command
        .arg("serve")
        .env_clear()
        .current_dir(folder)
        .env("ECHO_LISTEN", "127.0.0.1:0");
    command
        .env("ECHO_DATA_DIR", folder.join("another"))
        .env(file.0, file.1);
    let mut waits = Process::start(&mut command, &folder.join("waits.log"));
    eventually(
        "it says what it waits for",
        Duration::from_secs(30),
        async || waits.said().contains("SSL_CERT_FILE").then_some(()),
    )
    .await;
    assert!(
        waits.said().contains("the start waits for it"),
        "{}",
        waits.said()
    );
    waits.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_answer_hold_up_no_order_over_http_and_are_named_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certificates.pem");
    pipe(&certificates);
    let file = ("SSL_CERT_FILE", certificates.to_str().unwrap());
    let echo = Echo::start("serve", &[], folder.path()).await;
    let kill = [
        "kill",
        "--confirm",
        "CONFIRM_KILL",
        "--operator",
        "dana",
        "--reason",
        "its certificates are gone",
    ];
    let (code, said) = ended(
        folder.path(),
        &kill,
        &[file, ("ECHO_URL", &echo.url("")), ("ECHO_API_KEY", KEY)],
    );
    assert_eq!(
        (code, echo.verdict("default").await.1.as_str()),
        (Some(0), "kill"),
        "{said}"
    );
    // Nor do certificates that are none.
    let none = ("SSL_CERT_FILE", "/dev/null");
    let (code, said) = ended(
        folder.path(),
        &["status"],
        &[none, ("ECHO_URL", &echo.url("")), ("ECHO_API_KEY", KEY)],
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = ended(
        folder.path(),
        &kill,
        &[
            file,
            ("ECHO_URL", "https://127.0.0.1:1"),
            ("ECHO_API_KEY", KEY),
        ],
    );
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("SSL_CERT_FILE") && said.contains("no answer within 5 s"),
        "{said}"
    );
    a_service_says_what_it_waits_for(folder.path(), file).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_right_after_the_first_answer_ends_the_process_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let port = free_port().to_string();
        let mut command = Command::new(program());
        command
            .arg("serve")
            .env_clear()
            .current_dir(folder.path())
            .env("ECHO_LISTEN", format!("127.0.0.1:{port}"));
        let mut process = Process::start(&mut command, &folder.path().join(format!("{round}.log")));
        let client = http();
        eventually("it answers", Duration::from_secs(30), async || {
            let answer = client
                .get(format!("http://127.0.0.1:{port}/livez"))
                .send()
                .await
                .ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        let ended = process.terminate();
        assert!(
            ended.success(),
            "round {round}: {ended}:\n{}",
            process.said()
        );
    }
}

async fn post(echo: &Echo, path: &str, body: Value) -> Value {
    let request = http().post(echo.url(path)).header("x-api-key", KEY);
    let answer = request.json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {answer:?}");
    answer.json().await.unwrap()
}

/// What was refused before is refused, and a kill bites, whatever of the record does not sync; and
/// once it does, all of it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_sync_keeps_no_start_from_refusing_nor_from_stopping() {
    for parts in [
        "/data/ledger.db",
        "/data/last-state",
        "/data/journal",
        "/data/",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk = SlowDisk::new(folder.path());
        let mut echo = Echo::start("serve", &disk.variables(), folder.path()).await;
        let kill = |reason: &str| json!({ "reason": reason, "operator": "dana", "confirmation": "CONFIRM_KILL" });
        let first = post(&echo, "/kill", kill("before")).await;
        echo.process.kill_9();

        disk.stall(&[parts], Duration::from_secs(120));
        let mut echo = Echo::start("serve", &disk.variables(), folder.path()).await;
        let killed = (403, "kill".to_owned());
        assert_eq!(echo.verdict("default").await, killed, "{parts}");
        let second = post(&echo, "/kill", kill("after")).await;
        assert_eq!(second["epoch"], first["epoch"], "{parts}: it is known");
        disk.flow();
        eventually("the record is whole", Duration::from_secs(30), async || {
            let health = http().get(echo.url("/health")).send().await.ok()?;
            let health: Value = health.json().await.ok()?;
            (health["checks"]["ledger"] == "ok").then_some(())
        })
        .await;
        let page = http().get(echo.url("/v1/audit")).header("x-api-key", KEY);
        let page: Value = page.send().await.unwrap().json().await.unwrap();
        let kills = page["items"].as_array().unwrap();
        let kills: Vec<_> = kills.iter().filter(|one| one["action"] == "kill").collect();
        assert_eq!(kills.len(), 2, "{parts}: {page}");
        post(
            &echo,
            "/revive",
            json!({ "operator": "dana", "reason": "over" }),
        )
        .await;
        echo.process.kill_9();
        echo = Echo::start("serve", &disk.variables(), folder.path()).await;
        assert_ne!(echo.verdict("default").await, killed, "{parts}");
    }
}
