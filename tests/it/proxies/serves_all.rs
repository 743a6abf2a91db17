//! An open throttle refuses nothing that the app would serve, however odd. What a proxy refuses by
//! itself is none of Echo's: it is not asked.

use super::{HERE, Kind, Street, WHOLE_SITE};
use crate::support::KEY;
use crate::support::plain::{PlainApp, path, request};

behind_each_proxy!(serves_all);

/// What it is, path, headers, and who refuses it by itself.
type Odd = (&'static str, String, String, &'static [&'static str]);

/// Requests that parsers stumble over.
fn odd() -> Vec<Odd> {
    [odd_paths(), odd_headers()].concat()
}

fn odd_paths() -> Vec<Odd> {
    vec![
        (
            "angle brackets in the query",
            "/pay?q=<b>".into(),
            String::new(),
            &[],
        ),
        (
            "quotes in the query",
            "/pay?q=\"a\"'b'".into(),
            String::new(),
            &[],
        ),
        (
            "what no URL may have, in the query",
            "/pay?q={a}|^`[]\\".into(),
            String::new(),
            &[],
        ),
        (
            "broken percent signs in the query",
            "/pay?q=%zz%".into(),
            String::new(),
            &[],
        ),
        (
            "Latin-1 in the query",
            "/pay?q=\u{e9}".into(),
            String::new(),
            &["envoy"],
        ),
        (
            "what no URL may have, in the path",
            "/pay{a}|^`[]<>\"".into(),
            String::new(),
            &[],
        ),
        (
            "Latin-1 in the path",
            "/caf\u{e9}".into(),
            String::new(),
            &["envoy"],
        ),
        (
            "a fragment",
            "/pay#part".into(),
            String::new(),
            &["envoy", "traefik"],
        ),
        (
            "a long query",
            format!("/pay?q={}", "x".repeat(7_000)),
            String::new(),
            &[],
        ),
    ]
}

fn odd_headers() -> Vec<Odd> {
    let plain = || "/pay".to_owned();
    let many = |number: usize| {
        (0..number)
            .map(|n| format!("X-H{n}: v\r\n"))
            .collect::<String>()
    };
    let cookies = (0..10)
        .map(|n| format!("Cookie: c{n}={}\r\n", "x".repeat(4_000)))
        .collect();
    vec![
        (
            "Latin-1 in a header",
            plain(),
            "X-Name: \u{e9}\r\n".into(),
            &[],
        ),
        ("95 headers", plain(), many(95), &[]),
        (
            "a cookie of 40 KiB",
            plain(),
            format!("Cookie: c={}\r\n", "x".repeat(40 << 10)),
            &[],
        ),
        ("40 KiB of cookies", plain(), cookies, &[]),
        (
            "a long Authorization",
            plain(),
            format!("Authorization: Bearer {}\r\n", "x".repeat(6_000)),
            &[],
        ),
    ]
}

async fn serves_all(kind: Kind) {
    let app = PlainApp::start().await;
    let street = Street::open(kind, WHOLE_SITE, app.address).await;
    for (what, asked, headers, refused_by) in odd() {
        let _ = app.taken();
        let before = verdicts(&street).await;
        let answer = street.ask(HERE, &request("GET", &asked, &headers)).await;
        let verdicts = verdicts(&street).await - before;
        let own = refused_by.contains(&kind.name);
        let wanted = if own { (400, 0, 0) } else { (200, 1, 1) };
        assert_eq!(
            (answer.status, app.taken().len(), verdicts),
            wanted,
            "{}: {what}: {}",
            kind.name,
            street.proxy.said()
        );
        if !own {
            let before_the_query = path(&answer.body).split('?').next().unwrap().len();
            assert!(
                before_the_query >= 4,
                "{}: {what}: {}",
                kind.name,
                answer.body
            );
        }
    }
    street.kill(None).await;
    for (what, asked, headers, refused_by) in odd() {
        let answer = street.ask(HERE, &request("GET", &asked, &headers)).await;
        let wanted = if refused_by.contains(&kind.name) {
            400
        } else {
            kind.killed
        };
        assert_eq!(answer.status, wanted, "{}: killed: {what}", kind.name);
    }
    assert!(app.taken().is_empty(), "{}", kind.name);
}

/// Verdicts given for `default` so far.
async fn verdicts(street: &Street) -> usize {
    let said = street
        .client
        .get(street.echo.url("/metrics"))
        .header("x-api-key", KEY)
        .send()
        .await
        .unwrap();
    let said = said.text().await.unwrap();
    let ours = said.lines().filter(|line| {
        line.starts_with("echo_gate_verdicts_total{") && line.contains("throttle=\"default\"")
    });
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}
