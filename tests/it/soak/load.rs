//! The soak's load: verdicts, events, observations, commands, and somebody who looks at the level.
//! Whoever finds the service gone tries again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::world::World;
use crate::support::stripe::{event, signature};
use crate::support::{KEY, http};

/// Those that ask for verdicts; each 20 a second, so that something is always waiting.
const ASKERS: usize = 4;

/// One kind of it.
#[derive(Clone, Copy)]
enum Work {
    Verdict,
    Event(&'static str),
    Observation,
    Command,
    Look,
}

/// What runs until it is told to end.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// Starts all of it.
pub(super) fn start(world: &Arc<World>, secret: &'static str) -> Load {
    let mut load = Load {
        over: Arc::default(),
        tasks: JoinSet::new(),
    };
    let others = [
        Work::Event(secret),
        Work::Observation,
        Work::Command,
        Work::Look,
    ];
    for work in [Work::Verdict; ASKERS].into_iter().chain(others) {
        let (world, over) = (Arc::clone(world), Arc::clone(&load.over));
        load.tasks.spawn(async move {
            let client = http();
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                work.once(&world, &client, number).await;
                number += 1;
                sleep(work.pause()).await;
            }
        });
    }
    load
}

impl Load {
    pub(super) async fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
    }
}

/// Eight signals, calm but for this share of failed requests, as somebody at full stop sends them.
pub(super) fn signals(error_rate: f64) -> Value {
    json!({
        "throttle_pct": 1.0, "error_rate": error_rate, "latency_p99_ms": 100, "requests_per_minute": 0,
        "phi_static": 0.5, "phi_dynamic": 0.45, "temperature": 0.85, "susceptibility": 2.0,
    })
}

impl Work {
    fn pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::Verdict | Self::Event(_) => 50,
            Self::Look => 100,
            Self::Observation => 250,
            Self::Command => 400,
        })
    }

    /// Once; nothing while the service is down.
    async fn once(self, world: &World, client: &Client, number: u64) {
        // What breaks off was not acknowledged.
        let _ = match self {
            Self::Verdict => verdict(world, client).await,
            Self::Event(secret) => send(world, client, number, secret).await,
            Self::Observation => observe(world, client).await,
            Self::Command => command(world, client, number).await,
            Self::Look => look(world, client).await,
        };
    }
}

/// An answer, if there was one.
async fn answered(request: reqwest::RequestBuilder) -> Option<Response> {
    request.send().await.ok()
}

async fn verdict(world: &World, client: &Client) -> Option<()> {
    let url = world.url("/authz/nginx/default")?;
    let before = world.moment();
    let answer = answered(client.get(url)).await?;
    let reason = answer
        .headers()
        .get("echo-reason")
        .and_then(|reason| reason.to_str().ok())
        .unwrap_or_default();
    world.verdict(before, answer.status().as_u16(), reason);
    Some(())
}

async fn send(world: &World, client: &Client, number: u64, secret: &str) -> Option<()> {
    let url = world.url("/webhooks/stripe")?;
    let id = format!("evt_soak_{number}");
    let body = event(&id, 0);
    let signed = signature(secret, world.wall.now_s(), body.as_bytes());
    let answer = answered(
        client
            .post(url)
            .header("stripe-signature", signed)
            .body(body),
    )
    .await?;
    match answer.status().as_u16() {
        200 => world.event(id),
        // A clock that steps is noticed within a second; until then the signature is an hour off.
        // 503: not stored, and said so.
        400 | 503 => {}
        other => world.wrong(format!("an event was answered {other}")),
    }
    Some(())
}

async fn observe(world: &World, client: &Client) -> Option<()> {
    let body = json!({ "source": "soak", "error_rate": 0.0, "latency_p99_ms": 100.0 }).to_string();
    let answer = answered(
        client
            .post(world.url("/observe")?)
            .header("x-api-key", KEY)
            .body(body),
    )
    .await?;
    if !matches!(answer.status().as_u16(), 200 | 503) {
        world.wrong(format!("an observation was answered {}", answer.status()));
    }
    Some(())
}

/// A declaration somewhere in the lower half, so that there is always something to open to.
async fn command(world: &World, client: &Client, number: u64) -> Option<()> {
    let _only = world.commanding.lock().await;
    let url = world.url("/control")?;
    let id = format!("soak-{number}");
    let level = f64::from(rand::rng().random_range(0..=40_u8)) / 100.0;
    let body = json!({ "current_state": signals(0.0), "target_throttle": level }).to_string();
    let before = world.moment();
    world.declares(level);
    let request = client
        .post(url)
        .header("x-api-key", KEY)
        .header("request-id", &id)
        .header("idempotency-key", &id);
    let answer = answered(request.body(body)).await?;
    match answer.status().as_u16() {
        200 => {
            world.declared();
            world.command(id);
        }
        // Killed: refused, and audited.
        409 => {
            world.not_declared();
            world.command(id);
        }
        // An opening that the record did not take in time.
        503 => world.not_declared(),
        other => world.wrong(format!("a command was answered {other} at {before:?}")),
    }
    Some(())
}

async fn look(world: &World, client: &Client) -> Option<()> {
    let url = world.url("/health")?;
    let before = world.moment();
    let health: Value = answered(client.get(url)).await?.json().await.ok()?;
    match health["throttle_pct"].as_f64() {
        Some(level) => world.level(before, level),
        None => world.wrong(format!("/health said {health}")),
    }
    Some(())
}
