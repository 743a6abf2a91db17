//! What opens a throttle again: never more than the ramp earned while anybody may be waiting,
//! across restarts, short kills, quiet clients and lulls; and at once where nobody is.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it has a task of its own and reads the clock itself"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::support::{Echo, KEY, eventually, http};

/// The default ramp, fraction of the dial a second.
const RAMP: f64 = 0.02;
/// What may be opened before its time, in the dial: a step of the law, whose credit is full at
/// first; and a late look.
const SLACK: f64 = 0.13;

async fn serve(folder: &Path) -> Echo {
    let variables = [("ECHO_DATA_DIR", folder.join("data").display().to_string())];
    Echo::start("serve", &variables, folder).await
}

async fn post(echo: &Echo, path: &str, body: Value) {
    let answer = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer.status().as_u16(),
        200,
        "{path}: {:?}",
        answer.text().await
    );
}

/// The end of a kill waits for the record, which a busy disk may keep it from for a while.
async fn revive(echo: &Echo) {
    eventually("it is revived", Duration::from_secs(20), async || {
        let asked = http()
            .post(echo.url("/revive"))
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap();
        (asked.status().as_u16() == 200).then_some(())
    })
    .await;
}

async fn kill(echo: &Echo) {
    post(
        echo,
        "/kill",
        json!({ "reason": "test", "operator": "test", "confirmation": "CONFIRM_KILL" }),
    )
    .await;
}

/// Declares full operation, and says that all is calm: the law opens, a tenth of the dial in a
/// tick.
async fn go_live(echo: &Echo) {
    let state = json!({
        "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
        "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.85, "susceptibility": 1.0,
    });
    let body = json!({ "current_state": state, "target_throttle": 0.0 }).to_string();
    eventually("it is declared", Duration::from_secs(20), async || {
        let asked = http()
            .post(echo.url("/control"))
            .header("x-api-key", KEY)
            .body(body.clone())
            .send()
            .await
            .unwrap();
        (asked.status().as_u16() == 200).then_some(())
    })
    .await;
}

async fn level(echo: &Echo) -> f64 {
    let health: Value = http()
        .get(echo.url("/health"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    health["throttle_pct"].as_f64().unwrap()
}

async fn open(echo: &Echo) {
    go_live(echo).await;
    eventually(
        "an idle service is open within 5 s",
        Duration::from_secs(8),
        async || (level(echo).await == 0.0).then_some(()),
    )
    .await;
}

/// Clients that come thirty times a second, whatever they hear.
struct Crowd(JoinHandle<()>);

impl Crowd {
    fn come(echo: &Echo) -> Self {
        let (client, url) = (http(), echo.url("/authz/nginx/default"));
        Self(tokio::spawn(async move {
            let mut often = tokio::time::interval(Duration::from_millis(33));
            loop {
                often.tick().await;
                let _ = client.get(&url).send().await;
            }
        }))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches for so long that the level is never lower than what the ramp has earned since `began` at
/// `from`; answers it.
async fn earned_only(echo: &Echo, began: Instant, from: f64, time: Duration) -> f64 {
    let watched = Instant::now();
    loop {
        let now = level(echo).await;
        let earned = RAMP * began.elapsed().as_secs_f64();
        assert!(
            now >= from - earned - SLACK,
            "{now} is lower than {from} and the {earned:.3} that the ramp has earned"
        );
        if watched.elapsed() > time {
            return now;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Killed under load, revived: the ramp. Restarted in the middle of it, by a crash and by hand: it
/// goes on where it was. Killed, restarted and revived: the ramp again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_neither_ends_a_ramp_nor_forgets_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = serve(folder.path()).await;
    open(&echo).await;
    let mut crowd = Crowd::come(&echo);
    sleep(Duration::from_secs(6)).await;
    kill(&echo).await;
    revive(&echo).await;
    let revived = Instant::now();
    eventually("the ramp runs", Duration::from_secs(20), async || {
        (level(&echo).await < 0.97).then_some(())
    })
    .await;
    let mut reached = earned_only(&echo, revived, 1.0, Duration::from_secs(1)).await;
    for by_hand in [false, true] {
        drop(crowd);
        if by_hand {
            assert!(echo.process.terminate().success());
        } else {
            echo.process.kill_9();
        }
        let began = Instant::now();
        echo = serve(folder.path()).await;
        crowd = Crowd::come(&echo);
        let from = level(&echo).await;
        assert!(
            from >= reached - SLACK,
            "it starts at {from}, and was at {reached}"
        );
        reached = earned_only(&echo, began, from, Duration::from_secs(5)).await;
        assert!(reached > 0.5, "{reached}");
    }
    kill(&echo).await;
    drop(crowd);
    echo.process.kill_9();
    let echo = serve(folder.path()).await;
    revive(&echo).await;
    let revived = Instant::now();
    let reached = earned_only(&echo, revived, 1.0, Duration::from_secs(8)).await;
    assert!(
        reached > 0.7,
        "nobody comes now, and many had come before: {reached}"
    );
    eventually("and it goes on", Duration::from_secs(20), async || {
        (level(&echo).await < 0.95).then_some(())
    })
    .await;
}

/// An opening is asked for before anybody could have been measured.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_right_after_a_start_under_load_goes_by_the_ramp() {
    let folder = tempfile::tempdir().unwrap();
    let echo = serve(folder.path()).await;
    let _crowd = Crowd::come(&echo);
    let began = Instant::now();
    go_live(&echo).await;
    let reached = earned_only(&echo, began, 1.0, Duration::from_secs(8)).await;
    assert!(reached > 0.7, "{reached}");
    eventually("and it opens", Duration::from_secs(20), async || {
        (level(&echo).await < 0.95).then_some(())
    })
    .await;
}

/// A kill of three seconds, and a crowd in it: nobody came before, nobody comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_kill_under_load_opens_by_the_ramp() {
    let folder = tempfile::tempdir().unwrap();
    let echo = serve(folder.path()).await;
    open(&echo).await;
    kill(&echo).await;
    let crowd = Crowd::come(&echo);
    sleep(Duration::from_secs(3)).await;
    drop(crowd);
    revive(&echo).await;
    let reached = earned_only(&echo, Instant::now(), 1.0, Duration::from_secs(9)).await;
    assert!(reached > 0.7, "{reached}");
}

/// Whoever obeys Retry-After is quiet, and comes again: before the kill, or between it and its end.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_clients_are_not_gone() {
    comes_goes_and_comes_again(true).await;
}

/// Who came while it was killed and is silent when it ends is in a lull, not gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_lull_in_a_storm_is_no_end_of_it() {
    comes_goes_and_comes_again(false).await;
}

async fn comes_goes_and_comes_again(before_the_kill: bool) {
    let folder = tempfile::tempdir().unwrap();
    let echo = serve(folder.path()).await;
    open(&echo).await;
    if !before_the_kill {
        kill(&echo).await;
    }
    let crowd = Crowd::come(&echo);
    sleep(Duration::from_secs(6)).await;
    drop(crowd);
    if before_the_kill {
        sleep(Duration::from_secs(11)).await; // two whole windows of silence
        kill(&echo).await;
    }
    sleep(Duration::from_secs(11)).await;
    revive(&echo).await;
    let revived = Instant::now();
    earned_only(&echo, revived, 1.0, Duration::from_secs(4)).await;
    let _back = Crowd::come(&echo);
    let reached = earned_only(&echo, revived, 1.0, Duration::from_secs(4)).await;
    assert!(reached > 0.7 && reached < 1.0, "{reached}");
}

/// And where nobody ever came, an end of a kill is an end: the guide's steps on an idle service.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_is_open_again_as_soon_as_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = serve(folder.path()).await;
    open(&echo).await;
    kill(&echo).await;
    revive(&echo).await;
    eventually(
        "five seconds of silence are enough",
        Duration::from_secs(12),
        async || (level(&echo).await == 0.0).then_some(()),
    )
    .await;
    kill(&echo).await;
    echo.process.kill_9();
    let echo = serve(folder.path()).await;
    revive(&echo).await;
    eventually(
        "and two after a start",
        Duration::from_secs(12),
        async || (level(&echo).await == 0.0).then_some(()),
    )
    .await;
}
