//! Callers with a key: a level over them and what it comes to in requests are both told, and nobody
//! can compute whom it hits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and reads the clock itself"
)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use echo_phoenix::decide::verdict::{Salt, point};
use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, http, program, run};

fn declared(percent: i32) -> String {
    format!(
        "apiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: default}}\nspec: {{throttlePercent: \
         {percent}, targets: [{{gate: {{key: {{header: x-tenant}}}}}}]}}\n"
    )
}

async fn start(folder: &Path, percent: i32, more: &[(&str, String)]) -> Echo {
    let file = folder.join("echo.yaml");
    std::fs::write(&file, declared(percent)).unwrap();
    let variables = [&[("ECHO_MANIFEST", file.display().to_string())], more].concat();
    Echo::start("serve", &variables, folder).await
}

/// Each hour other callers are refused: what began in one and ended in the next is done again.
async fn within_an_hour(mut what: impl AsyncFnMut(i64)) {
    for _ in 0..3 {
        let hour = || Timestamp::now().as_second() / 3600;
        let began = hour();
        what(began).await;
        if hour() == began {
            return;
        }
    }
    panic!("three hours turned during the test");
}

/// Level and requests refused, each by its own name.
async fn metrics_tell(client: &Client, echo: &Echo, wanted: i32) {
    let metrics = client
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "echo_throttle_pct{throttle=\"default\"} 0.25".to_owned(),
        "echo_gate_callers{throttle=\"default\"} 3".to_owned(),
        format!(
            "echo_gate_refused_ratio{{throttle=\"default\"}} {}",
            f64::from(wanted) / 100.0
        ),
        "echo_enforced{throttle=\"default\"} 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|one| one == line),
            "{line} in {metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_tenants_are_told_as_callers_and_as_requests_and_stay_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let echo = start(folder.path(), 25, &[]).await;
    let client = http();
    let ask = async |tenant: usize| {
        let request = client
            .get(echo.url("/authz/nginx/default"))
            .header("x-tenant", format!("tenant-{tenant}"));
        request.send().await.unwrap().headers()["echo-decision"] == "deny"
    };
    within_an_hour(async |hour| {
        let mut refused = 0;
        for tenant in 0..3 {
            refused += i32::from(ask(tenant).await);
        }
        let wanted = [0, 33, 67, 100][refused as usize];
        let told = eventually(
            "a window was measured",
            Duration::from_secs(60),
            async || {
                for number in 0..150 {
                    ask(number % 3).await;
                }
                let request = client
                    .get(echo.url("/v1/throttles/default"))
                    .header("x-api-key", KEY);
                let throttle: Value = request.send().await.ok()?.json().await.ok()?;
                let over = Timestamp::now().as_second() / 3600 != hour;
                (over || throttle["observed"]["gates"]["refusedPercent"] == wanted)
                    .then_some(throttle)
            },
        )
        .await;
        if Timestamp::now().as_second() / 3600 != hour {
            return;
        }
        assert_eq!(told["observed"]["gates"]["callers"], 3, "{told}");
        let enforced = told["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["type"] == "Enforced")
            .unwrap();
        assert_eq!(
            (&enforced["status"], &enforced["message"]),
            (
                &json!("True"),
                &json!("25 % of callers refused, declared 25 %")
            )
        );
        metrics_tell(&client, &echo, wanted).await;
        let status = run(Command::new(program())
            .arg("status")
            .env("ECHO_URL", echo.url(""))
            .env("ECHO_API_KEY", KEY));
        let words = format!(
            "a share of callers, about 3 this hour; of the requests {wanted} % refused, measured"
        );
        assert!(status.contains(&words), "{status}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_an_app_names_are_told_as_callers_whatever_the_throttle_declares() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("echo.yaml");
    std::fs::write(&file, declared(50).replace("key: {header: x-tenant}", "")).unwrap();
    let echo = Echo::start(
        "serve",
        &[("ECHO_MANIFEST", file.display().to_string())],
        folder.path(),
    )
    .await;
    let get = async |path: &str| {
        http()
            .get(echo.url(path))
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap()
    };
    let status = || {
        run(Command::new(program())
            .arg("status")
            .env("ECHO_URL", echo.url(""))
            .env("ECHO_API_KEY", KEY))
    };
    within_an_hour(async |hour| {
        refused(&echo).await;
        eventually("they are told", Duration::from_secs(60), async || {
            let told: Value = get("/v1/throttles/default").await.json().await.ok()?;
            let over = Timestamp::now().as_second() / 3600 != hour;
            let enforced = told["conditions"]
                .as_array()?
                .iter()
                .find(|one| one["type"] == "Enforced")?;
            let seen = told["observed"]["gates"]["callers"]
                .as_u64()
                .is_some_and(|seen| seen.abs_diff(60) < 4);
            (over || (seen && enforced["message"] == "50 % of callers refused, declared 50 %"))
                .then_some(())
        })
        .await;
        if Timestamp::now().as_second() / 3600 == hour {
            let said = status();
            assert!(
                said.contains("50 % of callers refused")
                    && said.contains("the level is a share of callers"),
                "{said}"
            );
            let metrics = get("/metrics").await.text().await.unwrap();
            assert!(
                metrics.contains("echo_gate_callers{throttle=\"default\"}"),
                "{metrics}"
            );
        }
    })
    .await;
}

/// Which of many callers are refused now.
async fn refused(echo: &Echo) -> Vec<usize> {
    let mut refused = Vec::new();
    for caller in 0..60 {
        let body = json!({ "key": format!("tenant-{caller}") });
        let request = http()
            .post(echo.url("/v1/decide"))
            .header("x-api-key", KEY)
            .json(&body);
        if request.send().await.unwrap().json::<Value>().await.unwrap()["decision"] == "deny" {
            refused.push(caller);
        }
    }
    refused
}

fn computed(salt: &Salt) -> Vec<usize> {
    (0..60)
        .filter(|caller| point(salt, "default", format!("tenant-{caller}").as_bytes()) < 1 << 31)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_keeps_a_secret_so_that_nobody_computes_who_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/gate-secret");
    within_an_hour(async |hour| {
        let mut echo = start(folder.path(), 50, &[]).await;
        let secret = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            (
                secret.len(),
                std::fs::metadata(&file).unwrap().permissions().mode() & 0o777
            ),
            (64, 0o600)
        );
        assert!(
            !echo.process.said().contains(&secret),
            "a secret is not logged"
        );
        let before = refused(&echo).await;
        echo.process.kill_9();
        let echo = start(folder.path(), 50, &[]).await;
        let after = refused(&echo).await;
        drop(echo);
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            secret,
            "it outlives a restart"
        );
        let given = "0123456789abcdef0123456789abcdef";
        let echo = start(folder.path(), 50, &[("ECHO_GATE_SECRET", given.to_owned())]).await;
        let by_given = refused(&echo).await;
        if Timestamp::now().as_second() / 3600 == hour {
            assert_eq!(
                (&before, &before),
                (&after, &computed(&Salt::of(secret.as_bytes(), hour * 3600)))
            );
            assert_ne!(
                before,
                computed(&Salt::hourly(hour * 3600)),
                "what the hour alone would give"
            );
            assert_eq!(
                by_given,
                computed(&Salt::of(given.as_bytes(), hour * 3600)),
                "the variable comes first"
            );
        }
    })
    .await;
}

async fn health(echo: &Echo) -> Value {
    http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_others_laid_or_may_read_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/gate-secret");
    let elsewhere = folder.path().join("elsewhere");
    std::fs::write(&elsewhere, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o600)).unwrap();
    drop(start(folder.path(), 50, &[]).await);
    std::fs::remove_file(&file).unwrap();
    symlink(&elsewhere, &file).unwrap();
    let echo = start(folder.path(), 50, &[]).await;
    assert!(
        echo.process
            .said()
            .contains("the gate's secret is not kept"),
        "{}",
        echo.process.said()
    );
    drop(echo);
    assert!(file.is_symlink(), "left for whoever laid it to explain");
    assert_eq!(
        std::fs::read_to_string(&elsewhere).unwrap(),
        "0123456789abcdef0123456789abcdef"
    );
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(&elsewhere, &file).unwrap();
    // A file of ours is taken back, and what others may know or have chosen is told.
    let secret = "0123456789abcdef0123456789abcdef";
    for (mode, text, told, kept) in [
        (0o644, secret, "mode 0644", true),
        (0o666, secret, "mode 0666", false),
        (0o600, "x", "too short", false),
        (0o600, secret, "", true),
    ] {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        let echo = start(folder.path(), 50, &[]).await;
        let health = health(&echo).await;
        let said = health["checks"]["record"].as_str().unwrap_or_default();
        assert!(
            said.contains(told) && said.contains("gate-secret") != told.is_empty(),
            "{mode:o} {text}: {health}"
        );
        drop(echo);
        let now = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (std::fs::read_to_string(&file).unwrap() == text, now),
            (kept, 0o600),
            "{mode:o} {text}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    drop(start(folder.path(), 50, &[]).await);
    let made = std::fs::metadata(&file).unwrap();
    assert_eq!(
        (made.len(), made.permissions().mode() & 0o777),
        (64, 0o600),
        "an empty one is what a crash left behind"
    );
}

#[test]
fn a_secret_that_can_be_guessed_does_not_start_in_production() {
    let folder = tempfile::tempdir().unwrap();
    for role in ["serve", "operator", "gate"] {
        let mut command = Command::new(program());
        command
            .arg(role)
            .env_clear()
            .current_dir(folder.path())
            .env("ENVIRONMENT", "production");
        command
            .env("ECHO_API_KEY", "0123456789abcdef0123456789abcdef")
            .env("ECHO_LISTEN", "127.0.0.1:0");
        let done = command.env("ECHO_GATE_SECRET", "hunter2").output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{role}: {said}");
        assert!(
            said.contains("ECHO_GATE_SECRET: expected 32 characters or more")
                && !said.contains("hunter2"),
            "{role}: {said}"
        );
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}
