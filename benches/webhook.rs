//! What the webhook takes: signed events over HTTP, each another one, from 64 senders on
//! connections that stay open, against the real program on a real disk. An event counts once it is
//! answered 200, so once it is durable.
//!
//! The senders are this process: what they cost is in the figure. Events are signed before the
//! clock starts. With `BASE` the two programs take turns, batch by batch, and each pair gives one
//! ratio. Prints, and asserts only that all were accepted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock and its variables, and stops when something fails"
)]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests' support, of which a measurement needs a part"
)]
#[path = "../tests/it/support.rs"]
mod support;
#[allow(dead_code, reason = "not every measurement needs all of it")]
mod versus;

use std::net::SocketAddr;
use std::time::Instant;

use support::stripe::{event, signature};
use support::{Echo, program};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use versus::{base, median};

const SENDERS: usize = 64;
/// Events of each sender in one batch.
const EACH: usize = 300;
/// Pairs of batches, the first one to warm up.
const BATCHES: usize = 12;
const SECRET: &str = "whsec_made_up_for_a_measurement";

/// Requests of one sender, as they go over the wire.
fn requests(batch: usize, sender: usize) -> Vec<Vec<u8>> {
    let second = jiff::Timestamp::now().as_second();
    let one = |number| {
        let body = event(&format!("evt_{batch}_{sender}_{number}"), 600);
        let signed = signature(SECRET, second, body.as_bytes());
        let length = body.len();
        format!(
            "POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\nstripe-signature: {signed}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    (0..EACH).map(one).collect()
}

/// Sends them one after the other, each once the one before is answered.
async fn send(address: SocketAddr, requests: Vec<Vec<u8>>) {
    let (read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let mut read = BufReader::new(read);
    let (mut line, mut body) = (String::new(), Vec::new());
    for request in requests {
        write.write_all(&request).await.unwrap();
        line.clear();
        read.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            assert!(read.read_line(&mut line).await.unwrap() > 0, "cut off");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        body.resize(length, 0);
        read.read_exact(&mut body).await.unwrap();
    }
}

/// One batch: events a second.
async fn batch(echo: &Echo, number: usize) -> f64 {
    let all: Vec<_> = (0..SENDERS)
        .map(|sender| requests(number, sender))
        .collect();
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for requests in all {
        senders.spawn(send(echo.address, requests));
    }
    senders.join_all().await;
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let events = (SENDERS * EACH) as f64;
    events / began.elapsed().as_secs_f64()
}

async fn start(program: &std::path::Path) -> (Echo, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("STRIPE_WEBHOOK_SECRET", SECRET.to_owned())];
    (
        Echo::start_of(program, "serve", &variables, folder.path()).await,
        folder,
    )
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let ours = start(&program()).await;
    let base = match base() {
        Some(base) => Some(start(&base).await),
        None => None,
    };
    let (mut figures, mut ratios) = (Vec::new(), Vec::new());
    for number in 0..BATCHES {
        let (mut own, mut other) = (0.0, None);
        // Who goes first changes with every pair.
        for ours_now in [number % 2 == 0, number % 2 == 1] {
            match &base {
                _ if ours_now => own = batch(&ours.0, number).await,
                Some((base, _)) => other = Some(batch(base, number).await),
                None => {}
            }
        }
        let versus = other
            .map(|other| format!("  base {other:.0}/s  ratio {:.3}", own / other))
            .unwrap_or_default();
        println!(
            "batch {number}: {own:.0} events/s{versus}{}",
            if number == 0 {
                "  (warm-up, not counted)"
            } else {
                ""
            }
        );
        if number > 0 {
            figures.push(own);
            ratios.extend(other.map(|other| own / other));
        }
    }
    println!(
        "signed distinct events from {SENDERS} senders, median of {}: {:.0}/s",
        figures.len(),
        median(figures)
    );
    if !ratios.is_empty() {
        println!(
            "against BASE, median of {} pairs: {:.3} of its events",
            ratios.len(),
            median(ratios)
        );
    }
}
