//! Stripe's door under load and under attack: whose limit an event spends, who gets a place for a
//! large one, and how a secret that fits no more is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; the service reads the real clock, so this must too"
)]

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::stripe::{event, signature};
use crate::support::{Echo, KEY, eventually, http};

const SECRET: &str = "whsec_the_door_of_stripe";
const SOON: Duration = Duration::from_secs(10);

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

async fn service(folder: &Path) -> Echo {
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "100".to_owned()),
        ("STRIPE_WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    Echo::start("serve", &variables, folder).await
}

/// A client at another address of this machine.
fn from(address: &str) -> Client {
    Client::builder()
        .no_proxy()
        .timeout(SOON)
        .local_address(address.parse::<IpAddr>().unwrap())
        .build()
        .unwrap()
}

async fn send(client: &Client, echo: &Echo, body: &str, header: &str) -> u16 {
    let request = client
        .post(echo.url("/webhooks/stripe"))
        .header("stripe-signature", header);
    request
        .body(body.to_owned())
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn send_signed(client: &Client, echo: &Echo, body: &str) -> u16 {
    send(
        client,
        echo,
        body,
        &signature(SECRET, now(), body.as_bytes()),
    )
    .await
}

async fn metric(echo: &Echo, series: &str) -> f64 {
    let text = http()
        .get(echo.url("/metrics"))
        .bearer_auth(KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {series} in:\n{text}"))
}

async fn refused(echo: &Echo, reason: &str) -> f64 {
    metric(
        echo,
        &format!("echo_webhook_refused_total{{reason=\"{reason}\"}}"),
    )
    .await
}

/// The head of an event of so many bytes, and the first of them.
async fn begin(echo: &Echo, header: &str, announced: usize, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(echo.address).await.unwrap();
    let signed = if header.is_empty() {
        String::new()
    } else {
        format!("stripe-signature: {header}\r\n")
    };
    let head = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\n{signed}content-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Who is refused may be cut off while it still sends.
    let _ = stream.write_all(&vec![b' '; sent]).await;
    stream
}

/// The status of an answer; none if there is none within this time.
async fn answer(stream: &mut TcpStream, limit: Duration) -> Option<String> {
    let mut said = vec![0; 512];
    let length = timeout(limit, stream.read(&mut said))
        .await
        .ok()?
        .unwrap_or(0);
    Some(
        String::from_utf8_lossy(&said[..length])
            .split(' ')
            .nth(1)
            .unwrap_or("closed")
            .to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_events_spend_no_limit_and_what_nobody_signed_does() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let client = from("127.0.0.1");
    for number in 0..200 {
        assert_eq!(
            send_signed(&client, &echo, &event(&format!("evt_{number}"), 0)).await,
            200,
            "event {number}"
        );
    }
    assert_eq!(metric(&echo, "echo_webhook_events_total").await, 200.0);
    assert_eq!(metric(&echo, "echo_webhook_events_rejected").await, 0.0);

    let forged = signature("whsec_another", now(), b"{}");
    let mut forgeries = 0;
    // One of them comes back every 0.6 s.
    while send(&client, &echo, "{}", &forged).await == 400 {
        forgeries += 1;
        assert!(forgeries < 400, "failures spend the limit");
    }
    assert!(forgeries >= 100, "all of it: {forgeries}");
    let good = event("evt_late", 0);
    let mut unread = begin(&echo, &signature(SECRET, now(), good.as_bytes()), 5000, 0).await;
    assert_eq!(
        answer(&mut unread, SOON).await.as_deref(),
        Some("429"),
        "refused before its body is there"
    );
    assert_eq!(
        send_signed(&from("127.0.0.2"), &echo, &good).await,
        200,
        "another client is another client"
    );
    let limited = refused(&echo, "limited").await;
    assert!(limited >= 2.0, "{limited}");
    assert_eq!(refused(&echo, "no_match").await, f64::from(forgeries));
    assert_eq!(
        metric(&echo, "echo_webhook_events_total").await,
        201.0 + f64::from(forgeries) + limited
    );
    assert_eq!(
        metric(&echo, "echo_webhook_events_rejected").await,
        f64::from(forgeries) + limited
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_refused_was_received() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let client = from("127.0.0.1");
    let status = send_signed(&client, &echo, &event("evt_huge", 1024 * 1024)).await;
    assert_eq!((status, refused(&echo, "too_large").await), (413, 1.0));
    assert_eq!(
        (
            send(&client, &echo, "{}", "").await,
            refused(&echo, "no_header").await
        ),
        (400, 1.0)
    );
    assert_eq!(
        (
            send(&client, &echo, "{}", "t=1").await,
            refused(&echo, "malformed").await
        ),
        (400, 1.0)
    );
    assert_eq!(
        (
            send_signed(&client, &echo, "{").await,
            refused(&echo, "no_event").await
        ),
        (400, 1.0)
    );
    assert_eq!(metric(&echo, "echo_webhook_events_total").await, 4.0);
    assert_eq!(metric(&echo, "echo_webhook_events_rejected").await, 4.0);
    drop(echo);
    // The values that a guide writes where a secret will stand are none.
    for placeholder in ["whsec_...", "whsec_…", "whsec_PLACEHOLDER", ""] {
        let off = [
            ("STRIPE_WEBHOOK_SECRET", placeholder.to_owned()),
            ("STRIPE_SECRET_KEY", "sk_live_...".to_owned()),
        ];
        let echo = Echo::start("serve", &off, folder.path()).await;
        assert_eq!(
            send_signed(&client, &echo, "{}").await,
            503,
            "{placeholder:?}"
        );
        assert_eq!(
            (
                refused(&echo, "off").await,
                metric(&echo, "echo_webhook_events_total").await
            ),
            (1.0, 1.0)
        );
        let health: Value = http()
            .get(echo.url("/health"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(
            health["checks"]["stripe"], "off: set STRIPE_WEBHOOK_SECRET",
            "{placeholder:?}"
        );
        assert!(health["checks"].get("webhooks").is_none(), "{health}");
    }
}

fn large(id: &str) -> String {
    event(id, 200_000)
}

/// Twelve slow bodies that no secret can have signed: none keeps a place, so a large event is
/// taken at once.
async fn what_cannot_be_signed_gets_no_place(echo: &Echo) {
    let stale = signature(SECRET, now() - 600, b"");
    let mut slow = Vec::new();
    for header in ["", "t=1,v1=zz", stale.as_str()]
        .into_iter()
        .cycle()
        .take(12)
    {
        slow.push(begin(echo, header, 1_000_000, 100_000).await);
    }
    for stream in &mut slow {
        let told = answer(stream, SOON)
            .await
            .expect("refused without waiting for the rest");
        assert!(told == "400" || told == "closed", "{told}");
    }
    assert_eq!(
        send_signed(&from("127.0.0.2"), echo, &large("evt_1")).await,
        200
    );
    drop(slow);
}

/// A place that is freed within the two seconds is taken.
async fn a_place_that_is_freed_is_taken(echo: &Echo, three: Vec<TcpStream>) {
    let good = large("evt_waits");
    let mut waiting = begin(
        echo,
        &signature(SECRET, now(), good.as_bytes()),
        good.len(),
        0,
    )
    .await;
    waiting
        .write_all(&good.as_bytes()[..100_000])
        .await
        .unwrap();
    assert_eq!(
        answer(&mut waiting, Duration::from_millis(300)).await,
        None,
        "no place yet"
    );
    drop(three);
    waiting
        .write_all(&good.as_bytes()[100_000..])
        .await
        .unwrap();
    assert_eq!(answer(&mut waiting, SOON).await.as_deref(), Some("200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_gets_no_place_and_what_might_be_two() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    what_cannot_be_signed_gets_no_place(&echo).await;

    // A fresh header can be made up by anybody; it is worth two places.
    let fresh = signature("whsec_another", now(), b"");
    let began = Instant::now();
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(begin(&echo, &fresh, 1_000_000, 100_000).await);
    }
    let others = async {
        for number in 2..8 {
            let status =
                send_signed(&from("127.0.0.2"), &echo, &large(&format!("evt_{number}"))).await;
            assert_eq!(status, 200, "another client has places of its own");
        }
    };
    let answers = three
        .iter_mut()
        .map(|stream| async { (answer(stream, SOON).await, began.elapsed()) });
    let (told, ()) = tokio::join!(futures::future::join_all(answers), others);
    let refusals: Vec<_> = told
        .iter()
        .filter_map(|(told, took)| Some((told.as_deref()?, *took)))
        .collect();
    let [(status, took)] = refusals[..] else {
        panic!("two are read, one is not: {told:?}")
    };
    assert!(
        (status == "503" || status == "closed") && took >= Duration::from_millis(1900),
        "{status} after {took:?}"
    );
    assert_eq!(refused(&echo, "crowded").await, 1.0);

    a_place_that_is_freed_is_taken(&echo, three).await;
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

/// The log tells each reason once a minute, however often it was met.
async fn told_once_a_minute(echo: &Echo) {
    let lines = eventually("the log tells it", SOON, async || {
        let said = echo.process.said();
        let lines: Vec<_> = said
            .lines()
            .filter(|line| line.contains("webhook events were refused"))
            .map(str::to_owned)
            .collect();
        (lines.len() >= 3).then_some(lines)
    })
    .await;
    let of = |reason: &str| {
        lines
            .iter()
            .filter(|line| line.contains(&format!("\"reason\":\"{reason}\"")))
            .count()
    };
    assert_eq!(
        ["no_match", "too_old", "too_new"].map(of),
        [1, 1, 1],
        "one line a reason and minute: {lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_fits_no_more_is_told_and_changes_no_health() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path()).await;
    let client = from("127.0.0.1");
    assert_eq!(
        health(&echo).await["checks"]["webhooks"],
        "none accepted since the start"
    );
    assert_eq!(send_signed(&client, &echo, &event("evt_1", 0)).await, 200);
    let told = health(&echo).await["checks"]["webhooks"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        told.starts_with("last accepted 20") && !told.contains("refused"),
        "{told}"
    );

    let body = event("evt_2", 0);
    for _ in 0..30 {
        let rotated = signature("whsec_rotated_in_the_dashboard", now(), body.as_bytes());
        assert_eq!(send(&client, &echo, &body, &rotated).await, 400);
    }
    let now_told = health(&echo).await;
    let words = now_told["checks"]["webhooks"].as_str().unwrap();
    assert!(
        words.starts_with(&told),
        "when the last was accepted stays: {words}"
    );
    assert!(
        words.contains("; 30 refused since, last refused 20"),
        "{words}"
    );
    assert!(
        words.contains("no_match: no secret of STRIPE_WEBHOOK_SECRET made its signature"),
        "{words}"
    );
    assert_eq!(now_told["status"], "healthy");

    for (ahead, reason) in [(-400, "too_old"), (400, "too_new")] {
        let header = signature(SECRET, now() + ahead, body.as_bytes());
        assert_eq!(send(&client, &echo, &body, &header).await, 400);
        assert_eq!(refused(&echo, reason).await, 1.0, "{reason}");
        let words = health(&echo).await["checks"]["webhooks"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(words.contains(reason) && words.contains("clock"), "{words}");
    }
    told_once_a_minute(&echo).await;
}
