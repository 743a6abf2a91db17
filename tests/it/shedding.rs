//! Automatic shedding by what is observed: several sources, and one entry at the start and the end
//! of an episode.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads the clock itself"
)]

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Echo, KEY, eventually, http};

const SOON: Duration = Duration::from_secs(10);
/// What somebody measured is believed for 15 s; then a tick, and the ramp.
const LATER: Duration = Duration::from_secs(60);

async fn post(echo: &Echo, path: &str, body: Value) -> Value {
    let answer = http()
        .post(echo.url(path))
        .header("x-api-key", KEY)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.json().await.unwrap()
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

async fn observe(echo: &Echo, source: &str, error_rate: f64) {
    post(
        echo,
        "/observe",
        json!({ "source": source, "error_rate": error_rate, "requests_per_minute": 6000 }),
    )
    .await;
}

/// One start and one end, which says how far it came.
fn told_once(page: &Value) {
    let of = |action: &str| {
        let items = page["items"].as_array().unwrap();
        items
            .iter()
            .filter(|item| item["action"] == action)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (starts, ends) = (of("shed_start"), of("shed_end"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "{page}");
    let said = ends[0]["reason"].as_str().unwrap();
    let most: f64 = said
        .strip_prefix("refused up to ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((0.75..=0.9).contains(&most), "{said}");
}

#[tokio::test]
async fn an_alarm_closes_by_halves_and_a_calm_voice_does_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let echo = opened(folder.path()).await;

    for _ in 0..4 {
        observe(&echo, "alarm", 1.0).await;
    }
    eventually("it closes", SOON, async || {
        (level(&echo).await >= 0.5).then_some(())
    })
    .await;
    let at_once = level(&echo).await;
    assert!(
        (0.5..0.76).contains(&at_once),
        "four words within a tick are one tick: {at_once}"
    );
    observe(&echo, "calm", 0.0).await;
    eventually("the alarm goes on", SOON, async || {
        (level(&echo).await >= 0.75).then_some(())
    })
    .await;
    // Nobody speaks any more: the episode ends, and is told with how far it came.
    let page = eventually("it is open again", LATER, async || {
        let answer = http()
            .get(echo.url("/v1/audit?limit=200"))
            .header("x-api-key", KEY)
            .send()
            .await
            .ok()?;
        let page: Value = answer.json().await.ok()?;
        page["items"]
            .as_array()?
            .iter()
            .any(|item| item["action"] == "shed_end")
            .then_some(page)
    })
    .await;
    told_once(&page);
}

/// A service that is open.
async fn opened(folder: &Path) -> Echo {
    let echo = Echo::start("serve", &[], folder).await;
    let state = json!({
        "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
        "phi_static": 0.5, "phi_dynamic": 0.5, "temperature": 0.85, "susceptibility": 2.0,
    });
    let open = json!({ "current_state": state, "target_throttle": 0.0 });
    post(&echo, "/control", open).await;
    reaches(&echo, "it is open", |level| level == 0.0).await;
    echo
}

/// Waits for a level.
async fn reaches(echo: &Echo, what: &str, is: impl Fn(f64) -> bool) {
    let reached = async || is(level(echo).await).then_some(());
    eventually(what, SOON, reached).await;
}

/// What somebody says of the alarm is not stored.
async fn is_not_stored(echo: &Echo, error_rate: f64, id: &str) {
    let body = json!({ "source": "alarm", "error_rate": error_rate, "requests_per_minute": 6000 });
    let answer = http()
        .post(echo.url("/observe"))
        .header("x-api-key", KEY)
        .header("request-id", id)
        .body(body.to_string())
        .send();
    assert_eq!(answer.await.unwrap().status().as_u16(), 503);
}

/// Whose it was that was not stored is in the log.
fn is_logged(echo: &Echo) {
    let said = echo.process.said();
    let told = said
        .lines()
        .filter(|line| line.contains("an observation was not stored"))
        .collect::<Vec<_>>();
    for part in [
        r#""actor":"ECHO_API_KEY""#,
        r#""throttle":"default""#,
        r#""source":"alarm""#,
        r#""request_id":"less""#,
    ] {
        let last = told.last().unwrap();
        assert!(last.contains(part), "{part} is not in {told:?}");
    }
}

/// What began while the ledger could not be written is in it afterwards: the episode with its time,
/// and the level in force.
#[tokio::test]
async fn an_episode_that_began_while_the_ledger_was_locked_is_recorded_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let echo = opened(folder.path()).await;

    let other = rusqlite::Connection::open(folder.path().join("data/ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Timestamp::now();
    is_not_stored(&echo, 1.0, "alarm").await;
    reaches(&echo, "it counts, and it closes", |level| level >= 0.5).await;
    let closed = Timestamp::now();
    // Somebody says less under the alarm's name, which is not stored either: it goes on closing, by
    // the word that was worse.
    eventually("it closes further", SOON, async || {
        is_not_stored(&echo, 0.035, "less").await;
        (level(&echo).await >= 0.75).then_some(())
    })
    .await;
    is_logged(&echo);
    // Its intent was refused, and the passes after it found it closed.
    let freed = Timestamp::now();
    other.execute_batch("ROLLBACK").unwrap();

    let start = eventually("the episode is recorded", SOON, async || {
        let answer = http()
            .get(echo.url("/v1/audit?limit=200"))
            .header("x-api-key", KEY)
            .send()
            .await
            .ok()?;
        let page: Value = answer.json().await.ok()?;
        page["items"]
            .as_array()?
            .iter()
            .find(|item| item["action"] == "shed_start")
            .cloned()
    })
    .await;
    let at: Timestamp = start["at"].as_str().unwrap().parse().unwrap();
    assert!(began <= at && at <= closed, "{began} {start} {closed}");
    assert!(closed < freed);
    let row = "SELECT effective FROM system_throttle";
    eventually("the level in force is in the ledger", SOON, async || {
        let stored: f64 = other.query_row(row, [], |row| row.get(0)).unwrap();
        (stored >= 0.5).then_some(())
    })
    .await;
}
