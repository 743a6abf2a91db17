//! What strangers begin and do not finish: it holds a bounded amount of memory, which comes back;
//! it keeps nobody out, does not stretch the end of the process, and fills no log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads the clock and its own variables itself"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::stripe::signature;
use crate::support::{Echo, KEY, eventually, http};

const KILL: &str = r#"{"reason":"flood","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
const SOON: Duration = Duration::from_secs(10);
/// Two loaded cores, and a build that is not optimised.
const LATER: Duration = Duration::from_secs(60);
/// The smallest budget there is.
const BUDGET: usize = 4 << 20;

async fn metrics(echo: &Echo) -> String {
    http()
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

async fn metric(echo: &Echo, name: &str) -> f64 {
    let text = metrics(echo).await;
    let of = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    of.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

async fn memory(echo: &Echo) -> f64 {
    metric(echo, "process_resident_memory_bytes").await
}

/// A connection from one of many addresses, with a beginning of something; none if it is not let in
/// any more.
async fn begin(echo: &Echo, index: usize, sent: &[u8]) -> Option<TcpStream> {
    let [high, low] = u16::try_from(index % 60_000).unwrap().to_be_bytes();
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, high, low.max(1)), 0));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    let mut stream = timeout(SOON, socket.connect(echo.address))
        .await
        .ok()?
        .ok()?;
    stream.write_all(sent).await.ok()?;
    Some(stream)
}

fn head(bytes: usize) -> Vec<u8> {
    format!(
        "GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "a".repeat(bytes)
    )
    .into_bytes()
}

/// The head of an event that anybody can write who has a clock: without, its body is not waited
/// for.
fn webhook(framing: &str) -> String {
    let signed = signature("whsec_another", jiff::Timestamp::now().as_second(), b"");
    format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\nstripe-signature: {signed}\r\n{framing}\r\n\r\n"
    )
}

fn body(bytes: usize) -> Vec<u8> {
    format!("{}{}", webhook("content-length: 65000"), "b".repeat(bytes)).into_bytes()
}

/// As many pieces as bytes.
fn crumbs(bytes: usize) -> Vec<u8> {
    format!(
        "{}{}",
        webhook("transfer-encoding: chunked"),
        "1\r\nb\r\n".repeat(bytes / 6)
    )
    .into_bytes()
}

/// Requests whose answers nobody takes.
fn answers(bytes: usize) -> Vec<u8> {
    let one = "GET /docs/nothing HTTP/1.1\r\nhost: localhost\r\n\r\n";
    one.repeat(bytes / one.len()).into_bytes()
}

/// A whole request with a large head, and then nothing: the buffer behind it stays.
fn idle(bytes: usize) -> Vec<u8> {
    format!(
        "GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "a".repeat(bytes)
    )
    .into_bytes()
}

/// Whole requests, and behind them, in the same breath, half a head.
fn behind(requests: usize, bytes: usize) -> Vec<u8> {
    let whole = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
        .repeat(requests)
        .into_bytes();
    [whole, head(bytes)].concat()
}

/// A head of many small fields, of which the end is missing.
fn fields(count: usize) -> Vec<u8> {
    let fields: String = (0..count)
        .map(|number| format!("x-{number}: a\r\n"))
        .collect();
    format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{fields}").into_bytes()
}

/// Room for the connections of these tests beside those of others, which run in the same process.
fn many_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(20_000, |most| most.min(20_000));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            ..limit
        },
    )
    .unwrap();
}

async fn service(folder: &std::path::Path, variables: &[(&str, String)]) -> Echo {
    many_files();
    let secret = ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef".to_owned());
    Echo::start("serve", &[&[secret], variables].concat(), folder).await
}

/// A kill and a verdict, while it goes on.
async fn a_kill_gets_through(echo: &Echo) {
    let kill = http()
        .post(echo.url("/kill"))
        .header("x-api-key", KEY)
        .body(KILL);
    assert_eq!(kill.send().await.unwrap().status(), 200);
    assert_eq!(echo.verdict("default").await, (403, "kill".to_owned()));
}

/// Whether a connection was not ended; what it was answered is read away.
fn is_left(stream: &TcpStream) -> bool {
    loop {
        match stream.try_read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_requests_have_one_budget_and_whoever_holds_most_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let echo = service(folder.path(), &[("ECHO_INTAKE_BYTES", BUDGET.to_string())]).await;
    // Somebody slow, who holds next to nothing: a kill of which the last byte is still to come.
    let request = format!(
        "POST /kill HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{KILL}",
        KILL.len()
    );
    let (begun, last) = request.as_bytes().split_at(request.len() - 1);
    let mut small = begin(&echo, 1, begun).await.unwrap();
    let before = memory(&echo).await;
    for (kind, part) in [head, body, idle].into_iter().enumerate() {
        let cut = metric(&echo, "echo_connections_cut_total{why=\"intake\"}").await;
        let mut held = Vec::new();
        // Five times the budget.
        for index in 0..5 * BUDGET / 60_000 {
            held.extend(begin(&echo, 1000 * (kind + 1) + index, &part(60_000)).await);
        }
        eventually("some are cut", LATER, async || {
            (metric(&echo, "echo_connections_cut_total{why=\"intake\"}").await > cut + 50.0)
                .then_some(())
        })
        .await;
        a_kill_gets_through(&echo).await;
        // Whoever still stands back has to read on before it can be cut.
        let left = eventually(
            "as many are left as the budget has room for",
            LATER,
            async || {
                let left = held.iter().filter(|stream| is_left(stream)).count();
                (left * 55_000 < 2 * BUDGET).then_some(left)
            },
        )
        .await;
        let grown = memory(&echo).await - before;
        println!(
            "kind {kind}: {left} of {} are left, {:.1} MB more",
            held.len(),
            grown / 1e6
        );
        // Each costs more than it holds, in this build some 27 kB.
        assert!(grown < 48e6, "kind {kind}: {} MB", grown / 1e6);
    }
    small.write_all(last).await.unwrap();
    let mut said = vec![0; 1024];
    let length = timeout(SOON, small.read(&mut said)).await.unwrap().unwrap();
    assert!(
        said[..length].starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&said[..length])
    );
}

/// What strangers send, made to a size, and two sizes of it.
type Form = (fn(usize) -> Vec<u8>, [usize; 2]);

/// The measure of it: more connections than there are places, on the default budget.
#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_under_half_requests() {
    let full = std::env::var_os("ECHO_TEST_FULL").is_some();
    let forms: [Form; 7] = [
        (head, [31_000, 60_000]),
        (body, [31_000, 60_000]),
        (|bytes| behind(1, bytes), [31_000, 31_000]),
        (|bytes| behind(40, bytes), [31_000, 31_000]),
        (idle, [31_000, 16_000]),
        (fields, [240, 240]),
        (
            |count| [fields(count), b"\r\n".to_vec(), fields(count)].concat(),
            [240, 240],
        ),
    ];
    for (kind, (part, sizes)) in forms.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let echo = service(folder.path(), &[]).await;
        a_kill_gets_through(&echo).await;
        let before = memory(&echo).await;
        // Few connections cost what the budget gives them and some kB each; a build that is not
        // optimised twice that.
        let (count, limit, soon) = if full {
            (5000, 96e6, 30)
        } else {
            (600, before + 64e6, 90)
        };
        let mut held = Vec::new();
        for index in 0..count {
            held.extend(begin(&echo, index, &part(sizes[index % 2])).await);
        }
        let mut most = memory(&echo).await;
        a_kill_gets_through(&echo).await;
        most = most.max(memory(&echo).await);
        println!(
            "kind {kind}, {count}: {:.1} MB before, {:.1} while",
            before / 1e6,
            most / 1e6
        );
        assert!(most < limit, "kind {kind}: {} MB", most / 1e6);
        // What strangers took is given back once they are gone.
        drop(held);
        eventually(
            "the memory is given back",
            Duration::from_secs(soon),
            async || (memory(&echo).await < before + 16e6).then_some(()),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_does_not_keep_the_process_from_ending() {
    let folder = tempfile::tempdir().unwrap();
    let mut echo = service(folder.path(), &[]).await;
    let mut held = Vec::new();
    for (index, part) in [body(10), head(10), crumbs(60), answers(900_000)]
        .iter()
        .enumerate()
    {
        held.push(begin(&echo, index, part).await.unwrap());
    }
    // One that trickles on.
    let mut trickling = begin(&echo, 9, &body(1)).await.unwrap();
    let trickle = tokio::spawn(async move {
        while trickling.write_all(b"b").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    assert!(echo.process.terminate().success());
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    trickle.await.unwrap();
}

/// Sends the same request so often over one connection; answers how many were answered.
async fn pour(echo: &Echo, request: &str, count: usize) -> usize {
    let (mut read, mut write) = TcpStream::connect(echo.address).await.unwrap().into_split();
    let all = request.repeat(count);
    let sends = async { write.write_all(all.as_bytes()).await.is_ok() };
    let reads = async {
        let (mut answers, mut some) = (0, Vec::new());
        while answers < count && read.read_buf(&mut some).await.unwrap_or(0) > 0 {
            answers += some.windows(9).filter(|text| text == b"HTTP/1.1 ").count();
            some.drain(..some.len().saturating_sub(8));
        }
        answers
    };
    tokio::join!(sends, reads).1
}

/// A request of this client.
fn of(line: &str, client: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {client}\r\n\r\n")
}

/// Lines of answers, once the five of the person are there.
async fn answered(echo: &Echo) -> Vec<String> {
    eventually("the last lines are written", SOON, async || {
        let said = echo.process.said();
        let lines: Vec<_> = said
            .lines()
            .filter(|line| line.contains("\"answered\""))
            .map(str::to_owned)
            .collect();
        (lines
            .iter()
            .filter(|line| line.contains("192.0.2.1"))
            .count()
            == 5)
            .then_some(lines)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_to_strangers_fills_no_log_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("RATE_LIMIT_PER_MINUTE", "50".to_owned()),
        ("ECHO_TRUSTED_PROXIES", "127.0.0.1".to_owned()),
    ];
    let echo = service(folder.path(), &variables).await;
    let began = Instant::now();
    // One client: above its limit, without a key, at a route that has no limit, at /kill, framed
    // wrongly.
    for line in [
        "POST /observe",
        "GET /health",
        "POST /nowhere",
        "POST /v1/decide",
        "POST /kill",
        "GET /v1/audit",
    ] {
        assert_eq!(
            pour(&echo, &of(line, "203.0.113.66"), 300).await,
            300,
            "{line}"
        );
    }
    // And many, each within its limit.
    let clients: String = (0..1500)
        .map(|n| {
            of(
                "POST /observe",
                &format!("198.18.{}.{}", n / 250, n % 250 + 1),
            )
        })
        .collect();
    assert_eq!(pour(&echo, &clients, 1).await, 1);
    let seconds = began.elapsed().as_secs() + 1;
    // A person with a key who gets something wrong is told every time.
    for _ in 0..5 {
        let wrong = http()
            .post(echo.url("/observe"))
            .header("x-api-key", KEY)
            .header("x-forwarded-for", "192.0.2.1");
        assert_eq!(wrong.body("{").send().await.unwrap().status(), 400);
    }
    let lines = answered(&echo).await;
    let of_one = lines
        .iter()
        .filter(|line| line.contains("203.0.113.66"))
        .count();
    assert!((1..=6).contains(&of_one), "one a status: {of_one}");
    let of_all = lines.len() as u64;
    assert!(
        of_all <= 5 + 20 * (seconds + 1),
        "{of_all} lines in {seconds} s"
    );
    let limited = metric(&echo, "echo_rate_limited_total{bucket=\"client\"}").await;
    assert!(limited > 800.0, "{limited}");
}
