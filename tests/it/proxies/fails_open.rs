//! The recipe that stays open while nobody decides: a kill bites while Echo answers, and only then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{FAIL_OPEN, HERE, Kind, Street};
use crate::support::eventually;
use crate::support::plain::{PlainApp, request};

behind_each_proxy!(fails_open);

async fn fails_open(kind: Kind) {
    let app = PlainApp::start().await;
    let mut street = Street::open(kind, FAIL_OPEN, app.address).await;
    let pay = request(
        "POST",
        "/pay",
        "Content-Length: 0\r\nX-Envoy-Auth-Failure-Mode-Allowed: true\r\n",
    );
    street.kill(None).await;
    // Traefik asks every second whether Echo is alive: what it makes of the answer shows after a
    // few of them.
    let asking = Instant::now() + Duration::from_secs(if kind.name == "traefik" { 4 } else { 0 });
    let _ = app.taken();
    while Instant::now() < asking {
        assert_eq!(
            street.ask(HERE, &pay).await.status,
            kind.killed,
            "{}",
            kind.name
        );
    }
    assert_eq!(
        street.ask(HERE, &pay).await.status,
        kind.killed,
        "{}",
        kind.name
    );
    assert!(app.taken().is_empty(), "{}", kind.name);

    assert_eq!(street.post("/revive", "").await, 200);
    street.declare(0, 0).await;
    let broken = request("POST", "/break", "Content-Length: 0\r\n");
    assert!(
        street.ask(HERE, &broken).await.status >= 500,
        "{}",
        kind.name
    );
    assert_eq!(
        app.taken().len(),
        1,
        "{}: what the app failed is not sent to it again",
        kind.name
    );

    street.kill(None).await;
    street.echo.process.kill_9();
    eventually("it is open", Duration::from_secs(20), async || {
        (street.ask(HERE, &pay).await.status == 200).then_some(())
    })
    .await;
    let _ = app.taken();
    let body = request("POST", "/pay", "Content-Length: 3\r\n\r\n100");
    let body = &body[..body.len() - 2]; // the text's own empty line is the head's end
    assert_eq!(
        street.ask(HERE, body).await.status,
        200,
        "{}: a body passes",
        kind.name
    );
    assert_eq!(app.taken().len(), 1, "{}", kind.name);
}

mod by_its_size {
    behind_each_proxy!(super::no_size_opens);
}

/// Whatever the proxy takes of a request, Echo's refusal of it arrives: one that is lost is a
/// failure, which would open.
async fn no_size_opens(kind: Kind) {
    let app = PlainApp::start().await;
    let street = Street::open(kind, FAIL_OPEN, app.address).await;
    street.kill(None).await;
    let _ = app.taken();
    let of = |size: usize, headers: &str| {
        request(
            "POST",
            &format!("/pay?{}", "x".repeat(size)),
            &format!("Content-Length: 0\r\n{headers}"),
        )
    };
    let quoted = request(
        "POST",
        &format!("/{}", "\"".repeat(40_000)),
        "Content-Length: 0\r\n",
    );
    let named = String::from_utf8(of(46_000, ""))
        .unwrap()
        .replace("shop.example", &"h".repeat(46_000))
        .into_bytes();
    let all = [
        of(40_000, ""),
        of(47_000, ""),
        of(51_000, ""),
        of(60_000, ""),
        of(65_000, ""),
        of(1_003_520, ""),
        quoted,
        named,
    ];
    assert_eq!(
        street.ask(HERE, &all[0]).await.status,
        kind.killed,
        "{}",
        kind.name
    );
    for (number, asked) in all.into_iter().enumerate() {
        let asked = Arc::new(asked);
        let (to, mut askers) = (street.proxy.address, JoinSet::new());
        for _ in 0..16 {
            let asked = Arc::clone(&asked);
            askers.spawn(async move {
                for _ in 0..5 {
                    let mut stream = TcpStream::connect(to).await.unwrap();
                    // The proxy may refuse it before it has come.
                    if stream.write_all(&asked).await.is_ok() {
                        let _ =
                            timeout(Duration::from_secs(30), stream.read_to_end(&mut Vec::new()))
                                .await;
                    }
                }
            });
        }
        while let Some(done) = askers.join_next().await {
            done.unwrap();
        }
        let reached = app.taken().len();
        assert_eq!(
            reached,
            0,
            "{}: request {number}: {}",
            kind.name,
            street.proxy.said()
        );
    }
}
