//! What stands before every route: how a head has to be framed, whom it may be for, how large it
//! may be; and the sockets that it comes in by.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::stripe::signature;
use crate::support::{Echo, KEY, eventually, free_port, http, program};

const KILL: &str = r#"{"reason":"r","operator":"dana","confirmation":"CONFIRM_KILL"}"#;
const SOON: Duration = Duration::from_secs(10);

/// A request as written, and what is answered until the answer has its head or the connection ends.
async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let answered = async {
        while !said.windows(4).any(|four| four == b"\r\n\r\n")
            && stream.read_buf(&mut said).await.unwrap_or(0) > 0
        {}
    };
    timeout(SOON, answered).await.expect("it is answered");
    String::from_utf8_lossy(&said).into_owned()
}

fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

async fn with_a_gate(folder: &std::path::Path, variables: &[(&str, String)]) -> (Echo, SocketAddr) {
    let gate = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let secret = ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef".to_owned());
    let all = [&[("ECHO_GATE_LISTEN", gate.to_string()), secret], variables].concat();
    (Echo::start("serve", &all, folder).await, gate)
}

/// Version and headers, and what is answered: 0 for what is fine.
const HEADS: [(&str, &str, u16); 16] = [
    ("HTTP/1.1", "", 400),
    ("HTTP/1.1", "host: localhost\r\nhost: localhost\r\n", 400),
    ("HTTP/1.1", "host: localhost\r\nhost: other\r\n", 400),
    ("HTTP/1.0", "host: localhost\r\nhost: localhost\r\n", 400),
    ("HTTP/1.0", "", 0),
    ("HTTP/1.1", "host: x y\r\n", 400),
    ("HTTP/1.1", "host: localhost, localhost\r\n", 400),
    ("HTTP/1.1", "host: localhost,other\r\n", 400),
    ("HTTP/1.0", "host: localhost/x\r\n", 400),
    ("HTTP/1.1", "host: user@localhost\r\n", 400),
    ("HTTP/1.1", "host: [::1]:8080\r\n", 0),
    ("HTTP/1.1", "host: localhost\r\n", 0),
    (
        "HTTP/1.1",
        "host: localhost\r\ntransfer-encoding: gzip, chunked\r\n",
        501,
    ),
    (
        "HTTP/1.1",
        "host: localhost\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        501,
    ),
    (
        "HTTP/1.1",
        "host: localhost\r\ntransfer-encoding: chunked, chunked\r\n",
        501,
    ),
    (
        "HTTP/1.1",
        "host: localhost\r\ntransfer-encoding: Chunked\r\n",
        0,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_head_names_one_host_and_no_coding_but_chunked() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, gate) = with_a_gate(folder.path(), &[]).await;
    let places = [
        (echo.address, "GET", "/livez", 200),
        (echo.address, "POST", "/webhooks/stripe", 400),
        (echo.address, "GET", "/nowhere", 404),
        (echo.address, "GET", "/authz/nginx/default", 403),
        (echo.address, "POST", "/authz/forward/default", 429),
        (gate, "GET", "/authz/nginx/default", 403),
        (gate, "GET", "/authz/envoy/default/x", 429),
    ];
    for (address, method, path, fine) in places {
        for (version, headers, code) in HEADS {
            let answer = raw(
                address,
                &format!("{method} {path} {version}\r\n{headers}\r\n0\r\n\r\n"),
            )
            .await;
            let expected = match code {
                0 => fine,
                // Envoy takes a 5xx for a failure, and may fail open.
                501 if path.starts_with("/authz") => 400,
                other => other,
            };
            assert_eq!(
                status(&answer),
                expected,
                "{method} {path} {version} {headers:?}: {answer}"
            );
            assert!(
                code == 0 || answer.contains("problem+json"),
                "{headers:?}: {answer}"
            );
        }
    }
    // Whom it is for is asked before what it asks for.
    let length = KILL.len();
    let two = format!(
        "x-api-key: {KEY}\r\nhost: localhost\r\nhost: localhost\r\ncontent-length: {length}\r\n"
    );
    assert_eq!(
        status(
            &raw(
                echo.address,
                &format!("POST /kill HTTP/1.1\r\n{two}\r\n{KILL}")
            )
            .await
        ),
        400
    );
    assert_eq!(
        echo.verdict("default").await.1,
        "target",
        "nothing was killed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beyond_the_limit_is_refused_before_the_body_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, _) = with_a_gate(folder.path(), &[]).await;
    for (path, length, code) in [
        ("/observe", 64 * 1024 + 1, 413),
        ("/control", 10_000_000, 413),
        ("/kill", 10_000_000, 413),
        ("/revive", u64::MAX / 2, 413),
        ("/v1/decide", 10_000_000, 413),
        ("/webhooks/stripe", 1024 * 1024 + 1, 413),
    ] {
        let signed = signature("whsec_another", jiff::Timestamp::now().as_second(), b"");
        let signed = if path.starts_with("/webhooks") {
            format!("stripe-signature: {signed}\r\n")
        } else {
            String::new()
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n{signed}content-length: {length}\r\n\r\n"
        );
        let answer = raw(echo.address, &head).await;
        assert_eq!(status(&answer), code, "{path}: {answer}");
        assert!(answer.contains("problem+json"), "{answer}");
        let expecting = head.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
        assert_eq!(
            status(&raw(echo.address, &expecting).await),
            code,
            "{path}: who asks first is told first"
        );
    }
}

/// Requests of every kind, those that are refused too.
fn requests(client: &Client, echo: &Echo, gate: SocketAddr) -> Vec<RequestBuilder> {
    let get = |path: &str| client.get(echo.url(path)).header("x-api-key", KEY);
    let post = |path: &str| client.post(echo.url(path)).header("x-api-key", KEY);
    let groups: [Vec<_>; 4] = [
        [
            "/health",
            "/livez",
            "/readyz",
            "/docs",
            "/docs/start.js",
            "/openapi.json",
            "/metrics",
            "/nowhere",
        ]
        .map(get)
        .into(),
        [
            "/v1/audit",
            "/v1/throttles",
            "/v1/audit?limit=0",
            "/kill",
            "/authz/nginx/default",
        ]
        .map(get)
        .into(),
        [
            "/kill",
            "/observe",
            "/webhooks/stripe",
            "/v1/decide",
            "/authz/forward/default",
        ]
        .map(post)
        .into(),
        vec![
            post("/kill").body(KILL),
            client.get(echo.url("/metrics")),
            client.get(format!("http://{gate}/authz/nginx/default")),
            client.get(format!("http://{gate}/nowhere")),
        ],
    ];
    groups.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_or_guessed_at() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, gate) =
        with_a_gate(folder.path(), &[("RATE_LIMIT_PER_MINUTE", "30".to_owned())]).await;
    let client = http();
    let requests = || requests(&client, &echo, gate);
    let mut limited = 0;
    for request in requests().into_iter().chain(requests()) {
        let answer = request.send().await.unwrap();
        let said = |name: &str| {
            answer
                .headers()
                .get_all(name)
                .iter()
                .map(|v| v.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let (url, code) = (answer.url().clone(), answer.status());
        assert_eq!(said("cache-control"), ["no-store"], "{url} {code}");
        assert_eq!(said("x-content-type-options"), ["nosniff"], "{url} {code}");
        limited += usize::from(code == 429);
    }
    // Those that are refused by limit too.
    while limited == 0 {
        let answer = http().get(echo.url("/health")).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        limited += usize::from(answer.status() == 429);
    }
}

async fn no_other_site_posts(echo: &Echo) {
    let post = async |site: &str| {
        let request = http()
            .post(echo.url("/revive"))
            .header("x-api-key", KEY)
            .header("sec-fetch-site", site);
        request.send().await.unwrap().status().as_u16()
    };
    let codes = [
        post("cross-site").await,
        post("same-origin").await,
        post("same-site").await,
        post("none").await,
    ];
    assert_eq!(codes, [403, 200, 200, 200]);
    let get = http()
        .get(echo.url("/health"))
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(get.status(), 200, "only what changes something");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_development_a_name_that_is_not_ours_is_refused_and_no_other_site_posts() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, gate) = with_a_gate(folder.path(), &[]).await;
    let ask = async |path: &str, host: &str| {
        let answer = raw(
            echo.address,
            &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {KEY}\r\n\r\n"),
        )
        .await;
        status(&answer)
    };
    let port = echo.address.port();
    for path in ["/health", "/docs", "/v1/audit", "/livez"] {
        for host in [
            "localhost",
            "127.0.0.1",
            "[::1]:8080",
            "echo.localhost:80",
            &format!("localhost:{port}"),
        ] {
            assert_eq!(ask(path, host).await, 200, "{path} {host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.7:8080",
            "",
            "0.0.0.0",
        ] {
            assert_eq!(ask(path, host).await, 403, "{path} {host}");
        }
    }
    // Proxies hand on whatever host their clients asked for.
    assert_eq!(ask("/authz/nginx/default", "shop.example").await, 403);
    let proxied = raw(
        gate,
        "GET /authz/envoy/default/ HTTP/1.1\r\nhost: shop.example\r\n\r\n",
    )
    .await;
    assert!(
        status(&proxied) == 429 && proxied.contains("echo-decision"),
        "{proxied}"
    );

    no_other_site_posts(&echo).await;
    drop(echo);

    let folder = tempfile::tempdir().unwrap();
    let staging = [("ENVIRONMENT", "staging".to_owned())];
    let (echo, _) = with_a_gate(folder.path(), &staging).await;
    let answer = raw(
        echo.address,
        "GET /health HTTP/1.1\r\nhost: echo.example\r\n\r\n",
    )
    .await;
    assert_eq!(
        status(&answer),
        200,
        "out there it has a name that nobody told it"
    );
}

async fn unread(echo: &Echo) -> [u64; 4] {
    let text = http()
        .get(echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let of = |labels: &str| {
        let name = format!("echo_requests_unread_total{{{labels}}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&name)?.parse().ok())
            .unwrap_or(u64::MAX)
    };
    [
        ("api", "malformed"),
        ("api", "too_large"),
        ("gate", "malformed"),
        ("gate", "too_large"),
    ]
    .map(|(listener, why)| of(&format!("listener=\"{listener}\",why=\"{why}\"")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_would_serve_finds_its_verdict_and_what_cannot_be_read_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, gate) = with_a_gate(folder.path(), &[]).await;
    let ask = async |address: SocketAddr, headers: &str| {
        status(
            &raw(
                address,
                &format!("GET /authz/nginx/default HTTP/1.1\r\nhost: x\r\n{headers}\r\n"),
            )
            .await,
        )
    };
    let fields = |count: usize| "a: b\r\n".repeat(count);
    for address in [echo.address, gate] {
        for headers in [
            fields(95),
            fields(200),
            format!("cookie: {}\r\n", "c".repeat(40_000)),
            format!("cookie: {}\r\n", "c".repeat(60_000)),
        ] {
            assert_eq!(ask(address, &headers).await, 403, "{} bytes", headers.len());
        }
    }
    assert_eq!(unread(&echo).await, [0; 4]);
    for address in [echo.address, gate] {
        assert_eq!(ask(address, &fields(300)).await, 431);
        assert_eq!(
            ask(address, &format!("cookie: {}\r\n", "c".repeat(70_000))).await,
            431
        );
        assert_eq!(ask(address, "no colon here\r\n").await, 400);
    }
    eventually("they are counted", SOON, async || {
        (unread(&echo).await == [1, 2, 1, 2]).then_some(())
    })
    .await;
}

/// Whoever gathers metrics needs no key there: the listener is one that only proxies and they can
/// reach.
#[tokio::test(flavor = "multi_thread")]
async fn the_listener_of_verdicts_tells_metrics_without_a_key_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (_echo, gate) =
        with_a_gate(folder.path(), &[("ENVIRONMENT", "production".to_owned())]).await;
    let ask = async |method: &str, path: &str| {
        raw(gate, &format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
            .await
    };
    let metrics = ask("GET", "/metrics").await;
    assert!(
        status(&metrics) == 200 && metrics.contains("text/plain; version=0.0.4"),
        "{metrics}"
    );
    let url = format!("http://{gate}/metrics");
    let text = http().get(url).send().await.unwrap().text().await.unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("echo_killed{")),
        "{text}"
    );
    for (method, path, code) in [
        ("POST", "/metrics", 405),
        ("GET", "/health", 404),
        ("POST", "/kill", 404),
        ("GET", "/v1/audit", 404),
    ] {
        assert_eq!(status(&ask(method, path).await), code, "{method} {path}");
    }
}

/// A client that sends all it has before it reads: what it is answered meanwhile must not be lost
/// with the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_arrives_however_much_its_client_still_sends() {
    let folder = tempfile::tempdir().unwrap();
    let (echo, gate) = with_a_gate(folder.path(), &[]).await;
    let filler = "x".repeat(1 << 20);
    let key = format!("host: localhost\r\nx-api-key: {KEY}\r\n");
    let large = format!("{key}content-length: {}\r\n\r\n{filler}", filler.len());
    let all = [
        (
            gate,
            format!(
                "GET /authz/forward/default HTTP/1.1\r\nhost: x\r\nx-forwarded-uri: /{filler}\r\n\r\n"
            ),
            431,
        ),
        (
            echo.address,
            format!("GET /health HTTP/1.1\r\n{key}cookie: {filler}\r\n\r\n"),
            431,
        ),
        (
            echo.address,
            format!("GET /health HTTP/1.1\r\nno colon here\r\n{filler}"),
            400,
        ),
        (
            echo.address,
            format!("POST /control HTTP/1.1\r\n{large}"),
            413,
        ),
        (
            echo.address,
            format!("POST /nowhere HTTP/1.1\r\n{large}"),
            404,
        ),
    ];
    for (address, text, wanted) in all {
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(text.as_bytes())
                .await
                .expect("it is taken");
            let mut said = Vec::new();
            let read = timeout(SOON, stream.read_to_end(&mut said))
                .await
                .expect("it is answered");
            assert!(read.is_ok(), "{wanted}: {read:?}");
            let said = String::from_utf8_lossy(&said);
            assert_eq!(status(&said), wanted, "{}", &text[..40]);
            // So that its client does not send its next command on a connection that is about to
            // end.
            assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
        }
    }
}

/// Starts it as systemd does: sockets from 3 on, by these names.
fn handed(folder: &std::path::Path, names: &str, api: &TcpListener, gate: &TcpListener) -> Command {
    let mut command = Command::new("sh");
    // Our two ends come in as stdin and stdout, since a process started from here gets no others.
    let script =
        r#"export LISTEN_PID=$$ LISTEN_FDS=2; exec "$0" serve 3<&0 4<&1 </dev/null >/dev/null"#;
    command
        .arg("-c")
        .arg(script)
        .arg(program())
        .env_clear()
        .current_dir(folder);
    command
        .env("LISTEN_FDNAMES", names)
        .env("ECHO_API_KEY", KEY)
        .env("ECHO_LISTEN", "127.0.0.1:1");
    let own = |listener: &TcpListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    command
        .stdin(own(api))
        .stdout(own(gate))
        .stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_socket_that_systemd_keeps_open_a_restart_refuses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (api, gate) = (listen(), listen());
    let (at, gate_at) = (api.local_addr().unwrap(), gate.local_addr().unwrap());
    let livez = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let asks = "GET /authz/nginx/default HTTP/1.1\r\nhost: x\r\n\r\n";
    for round in 0..2 {
        // Asked before it runs: the socket is there.
        let early = tokio::spawn(async move { (raw(at, livez).await, raw(gate_at, asks).await) });
        let mut process = handed(folder.path(), "gate:api", &gate, &api)
            .spawn()
            .unwrap();
        let (probe, verdict) = early.await.unwrap();
        assert_eq!(
            (status(&probe), status(&verdict)),
            (200, 403),
            "round {round}"
        );
        assert_eq!(
            status(&raw(gate_at, livez).await),
            404,
            "each has its own routes"
        );
        let _ = Command::new("kill").arg(process.id().to_string()).status();
        assert!(process.wait().unwrap().success());
    }
    for names in ["api:other", "api:api"] {
        let code = handed(folder.path(), names, &api, &gate)
            .spawn()
            .unwrap()
            .wait()
            .unwrap()
            .code();
        assert_eq!(code, Some(2), "{names}");
    }
}

/// Proxies open a connection for one request: one that is taken is not closed before that request.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_taken_just_before_the_end_has_its_first_request_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (mut echo, gate) = with_a_gate(folder.path(), &[]).await;
    let mut opened = TcpStream::connect(gate).await.unwrap();
    // Connections are taken in order: whoever is answered was taken after that one.
    let asks = "GET /authz/nginx/default HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(status(&raw(gate, asks).await), 403);
    let end = tokio::task::spawn_blocking(move || echo.process.terminate());
    eventually("no more are taken", SOON, async || {
        TcpStream::connect(gate).await.is_err().then_some(())
    })
    .await;
    opened.write_all(asks.as_bytes()).await.unwrap();
    let mut said = String::new();
    timeout(SOON, opened.read_to_string(&mut said))
        .await
        .unwrap()
        .unwrap();
    assert!(
        status(&said) == 403 && said.contains("\r\nconnection: close\r\n"),
        "{said}"
    );
    assert!(end.await.unwrap().success());
}

/// docs/systemd.md, as printed: sockets by the names that are taken, and flags and variables that
/// there are.
#[test]
fn the_units_of_the_document_name_what_is_there() {
    let document = std::fs::read_to_string("docs/systemd.md").unwrap();
    let lines = |key: &str| {
        document
            .lines()
            .filter_map(|line| line.strip_prefix(key))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines("FileDescriptorName="), ["api", "gate"]);
    assert_eq!(lines("ExecStart="), ["/usr/local/bin/echo-phoenix serve"]);
    let reference =
        crate::support::run(Command::new(program()).args(["reference", "configuration"]));
    for variable in lines("Environment=")
        .iter()
        .flat_map(|line| line.split(' '))
    {
        let name = variable.split('=').next().unwrap();
        assert!(reference.contains(&format!("`{name}`")), "{name}");
    }
    let stop = lines("TimeoutStopSec=")[0]
        .strip_suffix('s')
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert!(stop > 30, "it may take 30 s to end");
}
