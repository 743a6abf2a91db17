//! The whole site under one throttle: open, a share, stopped, killed, revived, and nobody deciding.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::{KILL, Kind, Street, WHOLE_SITE, untouched};
use crate::support::backend::Backend;

/// Connections that are kept alive.
const CONNECTIONS: usize = 8;

behind_each_proxy!(obeys);

/// What a client may write to fool the gate: verdicts, routes that are always admitted, and names
/// of callers.
pub(super) fn forged(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request
        .header("echo-decision", "allow")
        .header("echo-status", "200")
        .header("x-original-url", "http://shop/refunds")
        .header("x-original-method", "OPTIONS")
        .header("x-forwarded-uri", "/refunds")
        .header("x-forwarded-method", "OPTIONS")
        .header("x-envoy-original-path", "/refunds")
        .header("x-envoy-original-method", "OPTIONS")
        .header("x-real-ip", "192.0.2.1")
        .header("x-forwarded-for", "192.0.2.1")
}

type Statuses = BTreeMap<u16, usize>;

/// Sends many requests; answers how often each status came. What the app got is the number of
/// admitted ones, exactly.
async fn ask(
    street: &Street,
    backend: &Backend,
    number: usize,
    prepare: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
) -> Statuses {
    let _ = backend.taken();
    let sent = (0..number).map(|_| {
        let request = prepare(street.client.get(street.proxy.url("/pay")));
        async move {
            request
                .send()
                .await
                .unwrap_or_else(|e| panic!("{e}\n{}", street.proxy.said()))
                .status()
                .as_u16()
        }
    });
    let all: Vec<u16> = futures::stream::iter(sent)
        .buffer_unordered(CONNECTIONS)
        .collect()
        .await;
    let mut statuses = Statuses::new();
    for status in all {
        *statuses.entry(status).or_default() += 1;
    }
    assert_eq!(
        backend.taken(),
        statuses.get(&200).copied().unwrap_or(0),
        "{}: {statuses:?}",
        street.kind.name
    );
    statuses
}

fn all(status: u16, number: usize) -> Statuses {
    Statuses::from([(status, number)])
}

async fn refuses_a_quarter(kind: Kind, street: &Street, backend: &Backend, number: usize) {
    street.declare(25, 0).await;
    let statuses = ask(street, backend, number, forged).await;
    let refused = statuses.get(&429).copied().unwrap_or(0);
    assert_eq!(
        refused + statuses.get(&200).copied().unwrap_or(0),
        number,
        "{}: {statuses:?}",
        kind.name
    );
    let off = refused.abs_diff(number / 4);
    assert!(
        off <= number / 100,
        "{}: {refused} of {number} refused at 25 %",
        kind.name
    );
}

async fn refuses_all(kind: Kind, street: &Street, backend: &Backend, few: usize) {
    street.declare(100, 0).await;
    assert_eq!(
        ask(street, backend, few, forged).await,
        all(429, few),
        "{}",
        kind.name
    );
    always_admitted(street).await;
    let refused = street
        .client
        .get(street.proxy.url("/pay"))
        .send()
        .await
        .unwrap();
    let wait: u32 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=120).contains(&wait), "{}", kind.name);
}

async fn killed_and_revived(kind: Kind, street: &Street, backend: &Backend, few: usize) {
    assert_eq!(street.post("/kill", KILL).await, 200);
    assert_eq!(
        ask(street, backend, few, forged).await,
        all(kind.killed, few),
        "{}: no connection stays open",
        kind.name
    );
    let killed = street
        .client
        .get(street.proxy.url("/pay"))
        .send()
        .await
        .unwrap();
    assert!(
        killed.headers().contains_key("retry-after"),
        "{}",
        kind.name
    );
    let told = killed.headers().contains_key("echo-reason");
    assert_eq!(
        told,
        ["caddy", "traefik"].contains(&kind.name),
        "{}: who hands on the verdict's own headers",
        kind.name
    );
    always_admitted(street).await;
    assert_eq!(street.post("/revive", "").await, 200);
}

async fn obeys(kind: Kind) {
    let full = std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1");
    let number = if full { 20_000 } else { 2_000 };
    let few = if full { number } else { 300 };
    let backend = Backend::start().await;
    let street = Street::open(kind, WHOLE_SITE, backend.address).await;
    assert_eq!(
        ask(&street, &backend, few, |request| request).await,
        all(200, few),
        "{}",
        kind.name
    );
    untouched::passes_as_it_is(&street).await;

    refuses_a_quarter(kind, &street, &backend, number).await;

    refuses_all(kind, &street, &backend, few).await;

    street.declare(0, 0).await;
    assert_eq!(
        ask(&street, &backend, few, |request| request).await,
        all(200, few),
        "{}",
        kind.name
    );
    killed_and_revived(kind, &street, &backend, few).await;
    street.declare(0, 0).await;
    assert_eq!(
        ask(&street, &backend, few, |request| request).await,
        all(200, few),
        "{}",
        kind.name
    );

    undecided(street, &backend).await;
}

/// What is on the list passes, with a query too.
async fn always_admitted(street: &Street) {
    for path in ["/refunds", "/refunds?order=%3Cb%3E"] {
        let refund = street
            .client
            .get(street.proxy.url(path))
            .send()
            .await
            .unwrap();
        assert_eq!(
            refund.status(),
            200,
            "{}: a route that is on the list",
            street.kind.name
        );
    }
    let options = street
        .client
        .request(reqwest::Method::OPTIONS, street.proxy.url("/pay"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        options.status(),
        204,
        "{}: a method that is on the list",
        street.kind.name
    );
}

/// Nobody decides: nobody passes.
async fn undecided(mut street: Street, backend: &Backend) {
    street.echo.process.kill_9();
    let kind = street.kind;
    assert_eq!(
        ask(&street, backend, 16, forged).await,
        Statuses::from([(kind.undecided, 16)]),
        "{}",
        kind.name
    );
}
