//! Power cuts: the service is killed with -9 at random under concurrent commands, again and again
//! on the same data.
//!
//! What was acknowledged is there afterwards, once; what was not is done once by asking again with
//! the same key; the chain is whole; what was killed stays killed from the first answer on. 10
//! rounds; 100 with ECHO_TEST_FULL=1.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::{Echo, KEY, http, program, run};

const WORKERS: u64 = 6;

/// A command and what became of it.
#[derive(Clone)]
struct Sent {
    path: &'static str,
    body: String,
    /// Idempotency-Key, request-id, and for an observation its source.
    id: String,
    /// Status and body, where an answer arrived.
    answer: Option<(u16, Value)>,
}

impl Sent {
    fn new(path: &'static str, id: String, level: f64) -> Self {
        let signals = json!({
            "throttle_pct": 1.0, "error_rate": 0.0, "latency_p99_ms": 100, "requests_per_minute": 0,
            "phi_static": 0.5, "phi_dynamic": 0.45, "temperature": 0.85, "susceptibility": 2.0,
        });
        let body = match path {
            "/control" => json!({ "current_state": signals, "target_throttle": level }).to_string(),
            "/observe" => json!({ "source": id, "error_rate": level }).to_string(),
            "/kill" => json!({ "reason": "r", "operator": "dana", "confirmation": "CONFIRM_KILL" })
                .to_string(),
            _ => String::new(),
        };
        Self {
            path,
            body,
            id,
            answer: None,
        }
    }

    /// Sends it; answers whether what came back is a replay.
    async fn send(&mut self, client: &reqwest::Client, echo: &str) -> bool {
        let request = client
            .post(format!("{echo}{}", self.path))
            .header("x-api-key", KEY);
        let request = request
            .header("idempotency-key", &self.id)
            .header("request-id", &self.id);
        let Ok(answer) = request.body(self.body.clone()).send().await else {
            return false;
        };
        let status = answer.status().as_u16();
        let replayed = answer.headers().contains_key("idempotent-replayed");
        if let Ok(body) = answer.json().await {
            self.answer = Some((status, body));
        }
        replayed
    }

    /// Whether it was done: then a retry has to repeat the answer. What was refused is looked at
    /// anew.
    fn is_done(&self) -> bool {
        matches!(self.answer, Some((200, _)))
    }

    /// Whether it was done, or refused because of a kill.
    fn is_answered(&self) -> bool {
        matches!(self.answer, Some((200 | 409, _)))
    }

    /// How many entries it may have: one if it was done, one for each time it was refused.
    fn entries(&self) -> std::ops::RangeInclusive<usize> {
        1..=if self.is_done() { 1 } else { 2 }
    }

    fn is(&self, path: &str, status: u16) -> bool {
        self.path == path
            && self
                .answer
                .as_ref()
                .is_some_and(|(found, _)| *found == status)
    }
}

/// Commands of many workers until the process dies.
async fn load(echo: &mut Echo, round: u64, random: &mut StdRng) -> Vec<Sent> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kills = random.random_bool(0.5);
    let kill_after = Duration::from_millis(random.random_range(0..250));
    let mut workers = tokio::task::JoinSet::new();
    let client = http();
    for worker in 0..WORKERS {
        let (all, client, url) = (Arc::clone(&all), client.clone(), echo.url(""));
        let mut random = StdRng::seed_from_u64(random.random());
        workers.spawn(async move {
            if worker == 0 {
                tokio::time::sleep(kill_after).await;
            }
            for number in 0.. {
                let path = match worker {
                    0 if kills && number < 2 => "/kill",
                    0 => return,
                    1 => "/observe",
                    _ => "/control",
                };
                let level = f64::from(random.random_range(0..=100u8)) / 100.0;
                let mut sent = Sent::new(path, format!("r{round}-w{worker}-{number}"), level);
                sent.send(&client, &url).await;
                let dead = sent.answer.is_none();
                all.lock().unwrap().push(sent);
                if dead {
                    return;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(random.random_range(20..400))).await;
    echo.process.kill_9();
    workers.join_all().await;
    all.lock().unwrap().clone()
}

/// Every row of a page route, newest first, as long as they are of this round.
async fn rows(echo: &Echo, table: &str, id: &str, round: u64) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let url = echo.url(&format!("/v1/{table}?limit=200{cursor}"));
        let page: Value = http()
            .get(url)
            .header("x-api-key", KEY)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let items = page["items"].as_array().unwrap();
        let older = items
            .iter()
            .any(|row| row[id].as_str().is_some_and(|id| older_than(id, round)));
        rows.extend(items.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) if !older => cursor = format!("&cursor={next}"),
            _ => return rows,
        }
    }
}

fn older_than(id: &str, round: u64) -> bool {
    id.strip_prefix('r')
        .and_then(|rest| rest.split('-').next()?.parse::<u64>().ok())
        .is_some_and(|of| of < round)
}

/// Asks everything again on the restarted service: what was answered is repeated, what was not is
/// done now.
async fn ask_again(echo: &Echo, sent: &mut [Sent], told: &str) {
    let client = http();
    for command in sent.iter_mut() {
        let before = command.clone();
        let replayed = command.send(&client, &echo.url("")).await;
        if before.is_done() {
            assert_eq!(
                (replayed, &command.answer),
                (true, &before.answer),
                "{told}: {} {}",
                before.path,
                before.id
            );
        }
        assert!(
            command.is_answered(),
            "{told}: {} {} was {:?}",
            command.path,
            command.id,
            command.answer
        );
    }
}

async fn look(echo: &Echo, sent: &[Sent], round: u64, told: &str) {
    let mut entries: HashMap<String, usize> = HashMap::new();
    let audit = rows(echo, "audit", "request_id", round).await;
    for entry in &audit {
        *entries
            .entry(entry["request_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    for state in rows(echo, "state", "source", round).await {
        *entries
            .entry(state["source"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    for command in sent {
        let found = entries.get(&command.id).copied().unwrap_or(0);
        let (path, id) = (command.path, &command.id);
        assert!(
            command.entries().contains(&found),
            "{told}: {path} {id} {:?}: {found} entries",
            command.answer
        );
    }
    let last = audit.iter().find(|entry| {
        sent.iter().any(|command| {
            command.is("/control", 200) && entry["request_id"] == command.id.as_str()
        })
    });
    let url = echo.url("/v1/throttles/default");
    let throttle: Value = http()
        .get(url)
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    if let Some(last) = last.filter(|_| throttle["holds"].as_array().is_none_or(Vec::is_empty)) {
        let declared = throttle["declared"]["throttlePercent"].as_f64().unwrap() / 100.0;
        let said: f64 = last["after"].as_str().unwrap().parse().unwrap();
        assert!(
            (declared - said).abs() < 0.006,
            "{told}: declared {declared}, last audited {last}"
        );
    }
}

fn verify(data: &Path) {
    let said = run(Command::new(program())
        .arg("verify")
        .arg("--data-dir")
        .arg(data));
    assert!(said.contains("head"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_survives_power_cuts_once() {
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let seed = std::env::var("ECHO_TEST_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut cut_off, mut killed) = (0, 0, 0);
    let mut echo = Echo::start("serve", &[], folder.path()).await;
    for round in 0..if full { 100 } else { 10 } {
        let told = format!("ECHO_TEST_SEED={seed}, round {round}");
        let mut sent = load(&mut echo, round, &mut random).await;
        verify(&folder.path().join("data"));
        let kill = sent.iter().any(|command| command.is("/kill", 200));
        acknowledged += sent.iter().filter(|command| command.is_answered()).count();
        cut_off += sent
            .iter()
            .filter(|command| command.answer.is_none())
            .count();
        killed += usize::from(kill);

        echo = Echo::start("serve", &[], folder.path()).await;
        if kill {
            assert_eq!(
                echo.verdict("default").await,
                (403, "kill".to_owned()),
                "{told}"
            );
        }
        ask_again(&echo, &mut sent, &told).await;
        if sent.iter().any(|command| command.path == "/kill") {
            assert_eq!(
                echo.verdict("default").await,
                (403, "kill".to_owned()),
                "{told}"
            );
        }
        look(&echo, &sent, round, &told).await;
        let mut revive = Sent::new("/revive", format!("r{round}-revive"), 0.0);
        revive.send(&http(), &echo.url("")).await;
        assert!(revive.is("/revive", 200), "{told}: {:?}", revive.answer);
    }
    verify(&folder.path().join("data"));
    println!("crash: {acknowledged} acknowledged, {cut_off} cut off, {killed} kills");
    assert!(
        acknowledged > 100 && cut_off > 0,
        "the load was none: {acknowledged} acknowledged, {cut_off} cut off"
    );
}
