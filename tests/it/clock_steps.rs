//! Steps of the wall clock, an hour and a year either way, under the real binary: no ramp is earned
//! by them, and one old calm report opens nothing. With ECHO_TEST_FULL=1; the same rules by a clock
//! of the test's own are part of every run (`reconcile`, tests/rules).
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its variable and the clock itself"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::wall::Wall;
use crate::support::{Echo, KEY, eventually, http};

const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 86_400;
/// Each of them, and back.
const STEPS: [i64; 4] = [HOUR, -HOUR, YEAR, -YEAR];
const SOON: Duration = Duration::from_secs(40);

fn is_full() -> bool {
    std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1")
}

async fn post(echo: &Echo, path: &str, body: Value) {
    eventually(path, SOON, async || {
        let sent = http()
            .post(echo.url(path))
            .header("x-api-key", KEY)
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        (sent.status().as_u16() == 200).then_some(())
    })
    .await;
}

async fn throttle(echo: &Echo) -> Value {
    let sent = http()
        .get(echo.url("/v1/throttles/checkout"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    sent.json().await.unwrap()
}

async fn level(echo: &Echo) -> f64 {
    // Before its first look the loop has nothing to tell.
    throttle(echo).await["effective"]["levelMillionths"]
        .as_f64()
        .map_or(1.0, |millionths| millionths / 1e6)
}

async fn start(wall: &Wall, folder: &std::path::Path, more: &str) -> Echo {
    let file = folder.join("echo.yaml");
    let text = format!(
        "---\napiVersion: echo-phoenix.dev/v1alpha1\nkind: EchoThrottle\nmetadata: {{name: checkout}}\nspec:\n  throttlePercent: 0\n{more}"
    );
    std::fs::write(&file, text).unwrap();
    let mut variables = wall.variables();
    variables.push(("ECHO_MANIFEST", file.display().to_string()));
    Echo::start("serve", &variables, folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ramp_is_earned_by_a_step_of_the_wall_clock() {
    if !is_full() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let wall = Wall::new(folder.path());
    let echo = start(&wall, folder.path(), "").await;
    eventually("it is open", SOON, async || {
        (level(&echo).await == 0.0).then_some(())
    })
    .await;
    let (client, url) = (http(), echo.url("/authz/nginx/checkout"));
    let crowd = tokio::spawn(async move {
        loop {
            let _ = client.get(&url).send().await;
            sleep(Duration::from_millis(20)).await;
        }
    });
    sleep(Duration::from_secs(6)).await;
    post(
        &echo,
        "/kill",
        json!({ "reason": "t", "operator": "t", "confirmation": "CONFIRM_KILL" }),
    )
    .await;
    post(&echo, "/revive", json!({ "reason": "t", "operator": "t" })).await;
    let revived = Instant::now();
    eventually("the ramp runs", SOON, async || {
        (level(&echo).await < 1.0).then_some(())
    })
    .await;
    for step in STEPS {
        for step in [step, -step] {
            wall.step(step);
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(3) {
                let (now, earned) = (level(&echo).await, 0.02 * revived.elapsed().as_secs_f64());
                assert!(
                    now >= 1.0 - earned - 0.05,
                    "{step} s: {now} is lower than the {earned} that was earned"
                );
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    assert!(level(&echo).await < 0.9, "and it goes on");
    crowd.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_report_is_no_younger_for_a_step_of_the_wall_clock() {
    if !is_full() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let wall = Wall::new(folder.path());
    let echo = start(&wall, folder.path(), "  signals:\n    source: monitor\n").await;
    post(
        &echo,
        "/kill",
        json!({ "reason": "t", "operator": "t", "confirmation": "CONFIRM_KILL" }),
    )
    .await;
    post(&echo, "/revive", json!({ "reason": "t", "operator": "t" })).await;
    for step in STEPS {
        post(
            &echo,
            "/observe",
            json!({ "source": "monitor", "throttle": "checkout", "error_rate": 0.15 }),
        )
        .await;
        wall.step(step);
        eventually("the report is old after three ticks", SOON, async || {
            let found = throttle(&echo).await;
            let stale = found["conditions"]
                .as_array()?
                .iter()
                .find(|one| one["type"] == "SignalsStale")?
                .clone();
            (stale["status"] == "True").then_some(())
        })
        .await;
        assert!(
            level(&echo).await >= 0.9 - 1e-6,
            "{step} s: silence opens a tenth, and no more"
        );
    }
}
