//! Too much of everything: one client far above its limit, a million addresses, connections that
//! never get on with it. Whatever comes, the others are served and a kill finds its way in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads the clock and its own variables itself"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::stripe::signature;
use crate::support::{Echo, KEY, eventually, http, program};

const KILL: &str = r#"{"reason":"flood","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
/// In the middle of any of this: the guide's limit for an emergency stop.
const SOON: Duration = Duration::from_secs(5);

async fn get(echo: &Echo, path: &str, from: &str) -> u16 {
    http()
        .get(echo.url(path))
        .header("x-forwarded-for", from)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// A kill from this address: its status, and how long it took.
async fn kill(echo: &Echo, from: &str) -> (u16, Duration) {
    let began = Instant::now();
    let request = http()
        .post(echo.url("/kill"))
        .header("x-api-key", KEY)
        .header("x-forwarded-for", from);
    let status = request.body(KILL).send().await.unwrap().status().as_u16();
    (status, began.elapsed())
}

async fn memory(echo: &Echo) -> f64 {
    let request = http()
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .header("x-forwarded-for", "198.51.100.200");
    let text = request.send().await.unwrap().text().await.unwrap();
    let of = text.lines().find_map(|line| {
        line.strip_prefix("process_resident_memory_bytes ")?
            .parse()
            .ok()
    });
    of.unwrap_or_else(|| panic!("no memory in:\n{text}"))
}

async fn behind_a_proxy(folder: &std::path::Path) -> Echo {
    Echo::start(
        "serve",
        &[
            ("RATE_LIMIT_PER_MINUTE", "100".to_owned()),
            ("ECHO_TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ],
        folder,
    )
    .await
}

/// Sends requests over one connection, some at once, one for each name; answers how many were
/// answered 404, which is what a route that is not there says to whoever is let in.
async fn pour(echo: &Echo, names: impl Iterator<Item = String>) -> usize {
    let (read, mut write) = TcpStream::connect(echo.address).await.unwrap().into_split();
    let mut read = BufReader::new(read);
    let names: Vec<_> = names.collect();
    let mut admitted = 0;
    for some in names.chunks(64) {
        let requests: String = some
            .iter()
            .map(|name| {
                format!("GET /x HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {name}\r\n\r\n")
            })
            .collect();
        write.write_all(requests.as_bytes()).await.unwrap();
        for _ in some {
            let mut line = String::new();
            read.read_line(&mut line).await.unwrap();
            admitted += usize::from(line.contains(" 404 "));
            let mut length = 0;
            loop {
                line.clear();
                read.read_line(&mut line).await.unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            read.read_exact(&mut body).await.unwrap();
        }
    }
    admitted
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_far_above_its_limit_costs_nobody_else_anything() {
    let folder = tempfile::tempdir().unwrap();
    let echo = behind_a_proxy(folder.path()).await;
    let began = Instant::now();
    let over = AtomicBool::new(false);
    let flood = async {
        let admitted = pour(&echo, (0..1000).map(|_| "203.0.113.66".to_owned())).await;
        // It goes on at that pace until the others are done.
        while !over.load(Ordering::Relaxed) {
            pour(&echo, (0..64).map(|_| "203.0.113.66".to_owned())).await;
        }
        admitted
    };
    let others = async {
        for round in 0..20 {
            for end in 1..=5 {
                assert_eq!(
                    get(&echo, "/health", &format!("198.51.100.{end}")).await,
                    200,
                    "round {round}"
                );
            }
        }
        // From the very address that floods.
        let (status, took) = kill(&echo, "203.0.113.66").await;
        assert_eq!(status, 200);
        assert!(took < SOON, "{took:?}");
        over.store(true, Ordering::Relaxed);
    };
    let (admitted, ()) = tokio::join!(flood, others);
    let came_back = usize::try_from(began.elapsed().as_secs() * 100 / 60).unwrap() + 1;
    assert!(
        (100..=100 + came_back).contains(&admitted),
        "of 1000 at once {admitted} were let in"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_addresses_costs_a_fixed_amount_of_memory() {
    let all = if std::env::var_os("ECHO_TEST_FULL").is_some() {
        1_000_000
    } else {
        100_000
    };
    let folder = tempfile::tempdir().unwrap();
    let echo = behind_a_proxy(folder.path()).await;
    // Buffers, threads and the like are there before we begin to count.
    let warm = (0..8).map(|lane| {
        pour(
            &echo,
            (0..500).map(move |n| format!("2001:db8:ffff:{:x}::1", lane * 500 + n)),
        )
    });
    futures::future::join_all(warm).await;
    let limited = "203.0.113.66";
    pour(&echo, (0..120).map(|_| limited.to_owned())).await;
    let before = memory(&echo).await;

    let done = AtomicUsize::new(0);
    let lanes = (0..8).map(|lane| {
        let done = &done;
        let echo = &echo;
        async move {
            let share = all / 8;
            let names = (lane * share..(lane + 1) * share)
                .map(|n| format!("2001:db8:{:x}:{:x}::1", n >> 16, n & 0xffff));
            let admitted = pour(echo, names).await;
            done.fetch_add(1, Ordering::Relaxed);
            admitted
        }
    });
    let meanwhile = async {
        let mut worst = Duration::ZERO;
        while done.load(Ordering::Relaxed) == 0 {
            let (status, took) = kill(&echo, limited).await;
            assert_eq!(status, 200);
            worst = worst.max(took);
            assert_eq!(get(&echo, "/livez", "198.51.100.1").await, 200);
            sleep(Duration::from_millis(200)).await;
        }
        worst
    };
    let (admitted, worst) = tokio::join!(futures::future::join_all(lanes), meanwhile);
    assert_eq!(
        admitted.iter().sum::<usize>(),
        all,
        "each came once, so none was above its limit"
    );
    assert!(worst < SOON, "a kill took {worst:?}");
    let grown = memory(&echo).await - before;
    println!(
        "{all} addresses: {:.1} MB more, slowest kill {worst:?}",
        grown / 1e6
    );
    assert!(grown < 20e6, "{} MB", grown / 1e6);
}

/// A connection that begins and does not go on.
async fn half(echo: &Echo, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(echo.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Few files, so that a few hundred connections are too many: 32 places remain.
async fn cramped(folder: &std::path::Path) -> Echo {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("ulimit -n 320; exec \"$0\" serve")
        .arg(program());
    Echo::launch(command, "serve", &[], folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_held_open_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let echo = cramped(folder.path()).await;
    // Half heads, half bodies of whoever needs no key, and connections that say nothing at all.
    let slow = [
        "GET /health HTT",
        "POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        "",
    ];
    let over = Arc::new(AtomicBool::new(false));
    let flood = async {
        let mut held = Vec::new();
        while !over.load(Ordering::Relaxed) {
            for text in slow.iter().cycle().take(30) {
                held.push(half(&echo, text).await);
            }
            if held.len() > 300 {
                held.drain(..30);
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    // Another machine, as far as this one can be two.
    let other = "127.0.0.2".parse::<std::net::IpAddr>().unwrap();
    let other = || {
        reqwest::Client::builder()
            .no_proxy()
            .timeout(SOON)
            .local_address(other)
            .build()
            .unwrap()
    };
    let meanwhile = async {
        sleep(Duration::from_millis(500)).await;
        for _ in 0..20 {
            let killed = other()
                .post(echo.url("/kill"))
                .header("x-api-key", KEY)
                .body(KILL)
                .send()
                .await
                .unwrap();
            assert_eq!(killed.status(), 200);
            assert_eq!(
                other()
                    .get(echo.url("/health"))
                    .send()
                    .await
                    .unwrap()
                    .status(),
                200
            );
        }
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(flood, meanwhile);
    assert!(
        !echo.process.said().contains("could not be taken"),
        "it never ran out of files"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_ten_seconds_however_it_trickles_and_an_idle_connection_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = Echo::start("serve", &[], folder.path()).await;
    // One request, then nothing: kept.
    let mut idle = half(&echo, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = [0; 1024];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    let began = Instant::now();
    let trickle = async {
        let (mut read, mut write) = half(&echo, "GET /livez HTTP/1.1\r\n").await.into_split();
        let drip = async {
            loop {
                sleep(Duration::from_millis(500)).await;
                if write.write_all(b"x-a: b\r\n").await.is_err() {
                    break;
                }
            }
        };
        let mut rest = Vec::new();
        tokio::select! {
            _ = read.read_to_end(&mut rest) => {}
            () = drip => {}
        }
        began.elapsed()
    };
    let silent = async {
        let mut stream = half(&echo, "").await;
        let _ = stream.read(&mut [0; 16]).await;
        began.elapsed()
    };
    let limit = Duration::from_secs(20);
    let ended = timeout(limit, async { tokio::join!(trickle, silent) })
        .await
        .expect("both are ended");
    for took in [ended.0, ended.1] {
        assert!(
            (Duration::from_millis(9500)..Duration::from_secs(13)).contains(&took),
            "{took:?}"
        );
    }
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(
        idle.read(&mut answer).await.unwrap() > 0,
        "still served after {:?}",
        began.elapsed()
    );
    eventually("the cut ones are counted", SOON, async || {
        let request = http().get(echo.url("/metrics")).header("x-api-key", KEY);
        let text = request.send().await.unwrap().text().await.unwrap();
        text.contains("echo_connections_cut_total{why=\"slow\"} 2")
            .then_some(())
    })
    .await;
    // A half head does not keep the process from ending.
    let _held = half(&echo, "GET /livez HTT").await;
    let began = Instant::now();
    assert!(echo.process.terminate().success());
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_thirty_seconds_and_its_refusal_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start(
        "serve",
        &[("STRIPE_WEBHOOK_SECRET", "whsec_0123456789".to_owned())],
        folder.path(),
    )
    .await;
    let slow = async |path: &str| {
        // Without a header that could be Stripe's the webhook does not wait for a body.
        let signed = signature("whsec_another", jiff::Timestamp::now().as_second(), b"");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\nstripe-signature: {signed}\r\ncontent-length: 5000\r\n\r\n{{"
        );
        let began = Instant::now();
        let (mut read, mut write) = half(&echo, &head).await.into_split();
        let drip = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                if write.write_all(b" ").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut said = vec![0; 4096];
        let length =
            tokio::select! { length = read.read(&mut said) => length.unwrap(), () = drip => 0 };
        (
            String::from_utf8_lossy(&said[..length]).into_owned(),
            began.elapsed(),
        )
    };
    let all = ["/observe", "/kill", "/v1/decide", "/webhooks/stripe"].map(slow);
    let answers = timeout(Duration::from_secs(45), futures::future::join_all(all))
        .await
        .expect("all are answered");
    for (said, took) in answers {
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        assert!(
            said.contains("application/problem+json")
                && said.contains("\"detail\":\"The body did not arrive"),
            "{said}"
        );
        assert!(
            (Duration::from_secs(29)..Duration::from_secs(35)).contains(&took),
            "{took:?}"
        );
    }
}

/// Nobody needs a key to send a webhook, so what strangers may keep in memory is counted.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_of_strangers_have_few_places_and_small_ones_do_not_need_any() {
    let folder = tempfile::tempdir().unwrap();
    let echo = Echo::start(
        "serve",
        &[("STRIPE_WEBHOOK_SECRET", "whsec_0123456789".to_owned())],
        folder.path(),
    )
    .await;
    // What anybody can write who has a clock.
    let signed = signature("whsec_another", jiff::Timestamp::now().as_second(), b"");
    let head = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\nstripe-signature: {signed}\r\ncontent-length: 1000000\r\n\r\n"
    );
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut stream = half(&echo, &head).await;
        // One that is refused may close while we still write.
        let _ = stream.write_all(&[b' '; 200_000]).await;
        held.push(stream);
    }
    // Those that have a place are waited for; a place is waited for too, for two seconds.
    let answers = held.iter_mut().map(|stream| async {
        let mut said = vec![0; 512];
        let length = timeout(Duration::from_secs(8), stream.read(&mut said))
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
    });
    let codes: Vec<_> = futures::future::join_all(answers)
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(held.len() - codes.len(), 2, "one client has two: {codes:?}");
    assert!(
        codes.iter().all(|code| code == "503" || code == "closed"),
        "{codes:?}"
    );
    let small = http()
        .post(echo.url("/webhooks/stripe"))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(
        small.status(),
        400,
        "a small one is read and found to be forged"
    );
    assert_eq!(kill(&echo, "198.51.100.1").await.0, 200);
    drop(held);
    eventually("places are given back", SOON, async || {
        let large = http()
            .post(echo.url("/webhooks/stripe"))
            .header("stripe-signature", &signed);
        let large = large.body(vec![b' '; 300_000]).send().await.unwrap();
        (large.status() == 400).then_some(())
    })
    .await;
}
