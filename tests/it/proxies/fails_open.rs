//! The recipe that stays open while nobody decides: a kill bites while Echo answers, and only then.

use std::time::{Duration, Instant};

use super::{FAIL_OPEN, HERE, Kind, Street};
use crate::support::eventually;
use crate::support::plain::{PlainApp, request};

behind_each_proxy!(fails_open);

async fn fails_open(kind: Kind) {
    let app = PlainApp::start().await;
    let mut street = Street::open(kind, FAIL_OPEN, app.address).await;
    let pay = request("POST", "/pay", "Content-Length: 0\r\nX-Envoy-Auth-Failure-Mode-Allowed: true\r\n");
    street.kill(None).await;
    // Traefik asks every second whether Echo is alive: what it makes of the answer shows after a few of them.
    let asking = Instant::now() + Duration::from_secs(if kind.name == "traefik" { 4 } else { 0 });
    let _ = app.taken();
    while Instant::now() < asking {
        assert_eq!(street.ask(HERE, &pay).await.status, kind.killed, "{}", kind.name);
    }
    assert_eq!(street.ask(HERE, &pay).await.status, kind.killed, "{}", kind.name);
    assert!(app.taken().is_empty(), "{}", kind.name);

    assert_eq!(street.post("/revive", "").await, 200);
    street.declare(0, 0).await;
    let broken = request("POST", "/break", "Content-Length: 0\r\n");
    assert!(street.ask(HERE, &broken).await.status >= 500, "{}", kind.name);
    assert_eq!(app.taken().len(), 1, "{}: what the app failed is not sent to it again", kind.name);

    street.kill(None).await;
    street.echo.process.kill_9();
    eventually("it is open", Duration::from_secs(20), async || {
        (street.ask(HERE, &pay).await.status == 200).then_some(())
    })
    .await;
    let _ = app.taken();
    let body = request("POST", "/pay", "Content-Length: 3\r\n\r\n100");
    let body = &body[..body.len() - 2]; // the text's own empty line is the head's end
    assert_eq!(street.ask(HERE, body).await.status, 200, "{}: a body passes", kind.name);
    assert_eq!(app.taken().len(), 1, "{}", kind.name);
}
