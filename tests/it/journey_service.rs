//! Journey 1: the guide by curl against a service, nginx throttled, killed and revived, and a power
//! cut while killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::proxy::{NGINX_KIND, Proxy};
use crate::support::{Echo, KEY, curl, eventually, http, program, run};

/// The body of the guide's step 6, as printed there.
const STEP_6: &str = r#"{
    "current_state": {
      "throttle_pct": 1.0,
      "error_rate": 0.0,
      "latency_p99_ms": 100,
      "requests_per_minute": 0,
      "phi_static": 0.5,
      "phi_dynamic": 0.45,
      "temperature": 0.85,
      "susceptibility": 2.0
    },
    "target_throttle": 0.0
  }"#;
const STEP_KILL: &str =
    r#"{"reason": "Emergency stop", "operator": "your_name", "confirmation": "CONFIRM_KILL"}"#;
const JSON: &str = "Content-Type: application/json";

fn key() -> String {
    format!("X-API-Key: {KEY}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_is_true_and_a_kill_outlives_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let variables = [("ECHO_DATA_DIR", data.display().to_string())];
    let mut echo = Echo::start("serve", &variables, folder.path()).await;
    step_5(&echo);

    let backend = Backend::start().await;
    let nginx = Proxy::start(NGINX_KIND, folder.path(), echo.address, backend.address).await;
    go_live(&echo, &nginx, &backend).await;
    throttled(&echo, &nginx, &backend).await;
    killed_and_revived(&echo, &nginx, &backend).await;

    let kill = post(&echo.url("/kill"), STEP_KILL);
    assert_eq!(kill.0, 200);
    echo.process.kill_9();
    let listen = ("ECHO_LISTEN", echo.address.to_string());
    let again = [variables[0].clone(), listen];
    let mut echo = Echo::start("serve", &again, folder.path()).await;
    assert_eq!(
        echo.verdict("default").await,
        (403, "kill".to_owned()),
        "the first answer denies"
    );
    let _ = backend.taken();
    assert_eq!(
        http().get(nginx.url("/pay")).send().await.unwrap().status(),
        503
    );
    assert_eq!(backend.taken(), 0);

    let verified = run(Command::new(program())
        .args(["verify", "--data-dir"])
        .arg(&data));
    assert!(verified.starts_with("head "), "{verified}");
    assert!(echo.process.terminate().success(), "SIGTERM ends it with 0");
}

/// As the guide posts, with the key.
fn post(url: &str, body: &str) -> (u16, Value) {
    curl(&["-X", "POST", url, "-H", JSON, "-H", &key(), "-d", body])
}

fn step_5(echo: &Echo) {
    let (status, health) = curl(&[&echo.url("/health")]);
    assert_eq!(status, 200);
    let members: Vec<_> = health
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        [
            "status",
            "version",
            "mode",
            "uptime_seconds",
            "throttle_pct",
            "killed",
            "checks"
        ]
    );
    assert_eq!(
        (&health["status"], &health["version"]),
        (&json!("healthy"), &json!("2.4.0-secure"))
    );

    let observe = echo.url("/observe");
    let (status, seen) = post(&observe, r#"{"source":"test"}"#);
    assert_eq!(status, 200);
    let members: Vec<_> = seen
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(members[..2], ["state", "health"], "as the guide prints it");
    assert_eq!(seen["health"], "healthy");
    assert_eq!(
        seen["state"]["throttle_pct"], 1.0,
        "a service that was never opened is shut"
    );

    let (status, refused) = curl(&[
        "-X",
        "POST",
        &observe,
        "-H",
        JSON,
        "-d",
        r#"{"source":"test"}"#,
    ]);
    assert_eq!(
        (status, &refused["detail"]),
        (401, &json!("Missing API key. Include X-API-Key header."))
    );
    let (status, _) = curl(&[
        "-X",
        "POST",
        &observe,
        "-H",
        JSON,
        "-H",
        "X-API-Key: wrong",
        "-d",
        r#"{"source":"test"}"#,
    ]);
    assert_eq!(status, 403);
}

async fn go_live(echo: &Echo, nginx: &Proxy, backend: &Backend) {
    assert_eq!(
        http().get(nginx.url("/pay")).send().await.unwrap().status(),
        429,
        "shut until the guide's step 6"
    );
    let _ = backend.taken();
    let (status, answer) = post(&echo.url("/control"), STEP_6);
    assert_eq!(
        (status, &answer["throttle_pct"], &answer["audit"]),
        (200, &json!(0.0), &json!("recorded"))
    );
    // Nobody asks meanwhile: the service is idle, as the guide's is.
    eventually(
        "step 6 is in force within 5 s, and what a busy machine takes",
        Duration::from_secs(8),
        async || (curl(&[&echo.url("/health")]).1["throttle_pct"] == 0.0).then_some(()),
    )
    .await;
    let paid = http()
        .post(nginx.url("/pay"))
        .body("100")
        .send()
        .await
        .unwrap();
    assert!(
        paid.text().await.unwrap().starts_with("paid 3 "),
        "a POST's body reaches the app"
    );
}

/// A quarter is refused, to the request: the gate keeps an account, it throws no dice.
async fn throttled(echo: &Echo, nginx: &Proxy, backend: &Backend) {
    let body = STEP_6.replace("\"target_throttle\": 0.0", "\"target_throttle\": 0.25");
    let (status, answer) = post(&echo.url("/control"), &body);
    assert_eq!(
        (status, &answer["in_force"]),
        (200, &json!(0.25)),
        "tightening is in force when it is answered"
    );
    let _ = backend.taken();
    let (mut admitted, mut refused) = (0_u32, 0_u32);
    let client = http();
    for _ in 0..400 {
        let answer = client.get(nginx.url("/pay")).send().await.unwrap();
        match answer.status().as_u16() {
            200 => admitted += 1,
            429 => {
                assert!(answer.headers().contains_key("retry-after"));
                refused += 1;
            }
            other => panic!("unexpected status {other}"),
        }
    }
    assert!(
        (299..=301).contains(&admitted),
        "{admitted} admitted, {refused} refused"
    );
    assert_eq!(
        backend.taken(),
        usize::try_from(admitted).unwrap(),
        "the app sees exactly the admitted ones"
    );
}

async fn killed_and_revived(echo: &Echo, nginx: &Proxy, backend: &Backend) {
    let kill = echo.url("/kill");
    let unconfirmed = STEP_KILL.replace("CONFIRM_KILL", "yes");
    let (status, _) = post(&kill, &unconfirmed);
    assert_eq!(status, 400);
    assert_ne!(
        http().get(nginx.url("/pay")).send().await.unwrap().status(),
        503,
        "nothing moved"
    );

    let (status, first) = post(&kill, STEP_KILL);
    assert_eq!(
        (status, &first["killed"], &first["audit"]),
        (200, &json!(true), &json!("recorded"))
    );
    let (_, second) = post(&kill, STEP_KILL);
    assert_eq!(first["epoch"], second["epoch"], "killing twice is one kill");
    let _ = backend.taken();
    for _ in 0..50 {
        let answer = http().get(nginx.url("/pay")).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
    }
    assert_eq!(backend.taken(), 0);

    let (status, refused) = post(&echo.url("/control"), STEP_6);
    assert_eq!(status, 409);
    assert_eq!(refused["held_by"][0]["epoch"], first["epoch"]);

    let (status, revived) = curl(&["-X", "POST", &echo.url("/revive"), "-H", &key()]);
    assert_eq!((status, &revived["status"]), (200, &json!("revived")));
    eventually("it opens again", Duration::from_secs(10), async || {
        http()
            .get(nginx.url("/pay"))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
            .then_some(())
    })
    .await;
    let (_, again) = curl(&["-X", "POST", &echo.url("/revive"), "-H", &key()]);
    assert_eq!(again["status"], "already_running");
    let (status, metrics) = curl(&[&echo.url("/metrics"), "-H", &key()]);
    assert_eq!(status, 200);
    for name in [
        "echo_throttle_pct",
        "echo_killed",
        "echo_total_errors",
        "echo_webhook_events_total",
    ] {
        assert!(
            metrics.as_str().unwrap().contains(name),
            "{name} is missing"
        );
    }
}
