//! Who may knock: whose address counts, how often one client may, and whose key is whose.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use echo_phoenix::config::{Keys, Proxies, Role};
use echo_phoenix::http::{ClientIp, Rates, address};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let one = |(name, value): &(&str, &str)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )
    };
    all.iter().map(one).collect()
}

const XFF: &str = "x-forwarded-for";
const FLY: &str = "fly-client-ip";
const PROXIES: &str = "10.0.0.0/8, 192.0.2.7, fd00::/8";

/// Peer, headers, whether on Fly, and whom that makes the client.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool, &'a str);

/// Whom each of them makes the client.
const CLIENTS: &[Case] = &[
    (
        "203.0.113.1",
        &[(XFF, "198.51.100.1"), (FLY, "198.51.100.2")],
        true,
        "203.0.113.1",
    ),
    ("10.1.2.3", &[], false, "10.1.2.3"),
    ("10.1.2.3", &[(XFF, "198.51.100.1")], false, "198.51.100.1"),
    (
        "::ffff:10.1.2.3",
        &[(XFF, "198.51.100.1")],
        false,
        "198.51.100.1",
    ),
    ("192.0.2.8", &[(XFF, "198.51.100.1")], false, "192.0.2.8"),
    // What stands left of the last stranger is the stranger's invention.
    (
        "10.1.2.3",
        &[(XFF, "1.1.1.1, 198.51.100.1, 10.9.9.9")],
        false,
        "198.51.100.1",
    ),
    (
        "10.1.2.3",
        &[
            (XFF, "1.1.1.1"),
            (XFF, "198.51.100.1"),
            (XFF, "192.0.2.7,fd00::1"),
        ],
        false,
        "198.51.100.1",
    ),
    (
        "10.1.2.3",
        &[(XFF, "10.4.4.4, 10.5.5.5")],
        false,
        "10.4.4.4",
    ),
    (
        "10.1.2.3",
        &[(XFF, "198.51.100.1:4711")],
        false,
        "198.51.100.1",
    ),
    (
        "10.1.2.3",
        &[(XFF, "[2001:db8::1]:443")],
        false,
        "2001:db8::1",
    ),
    (
        "10.1.2.3",
        &[(XFF, "198.51.100.1, unknown")],
        false,
        "10.1.2.3",
    ),
    (
        "10.1.2.3",
        &[(XFF, "198.51.100.1, unknown, 10.9.9.9")],
        false,
        "10.9.9.9",
    ),
    ("10.1.2.3", &[(XFF, "\u{e9}")], false, "10.1.2.3"),
    // Fly's proxy overwrites its header; any other hands on what a client wrote there.
    (
        "10.1.2.3",
        &[(XFF, "198.51.100.1"), (FLY, "198.51.100.2")],
        true,
        "198.51.100.2",
    ),
    (
        "10.1.2.3",
        &[(XFF, "198.51.100.1"), (FLY, "198.51.100.2")],
        false,
        "198.51.100.1",
    ),
    ("10.1.2.3", &[(FLY, "198.51.100.2")], false, "10.1.2.3"),
    ("10.1.2.3", &[(FLY, "198.51.100.2")], true, "198.51.100.2"),
    (
        "10.1.2.3",
        &[(FLY, "198.51.100.2"), (FLY, "198.51.100.3")],
        true,
        "10.1.2.3",
    ),
    (
        "10.1.2.3",
        &[(FLY, "nobody"), (XFF, "198.51.100.1")],
        true,
        "198.51.100.1",
    ),
];

#[test]
fn a_header_is_believed_only_of_a_declared_proxy() {
    let proxies: Proxies = PROXIES.parse().unwrap();

    for (peer, said, on_fly, expected) in CLIENTS {
        let found = address(ip(peer), &headers(said), &proxies, *on_fly);
        assert_eq!(found, ip(expected), "{peer} {said:?} on_fly={on_fly}");
    }
}

#[test]
fn proxies_are_addresses_or_cidrs_and_what_is_neither_is_named_by_its_number() {
    for good in [
        "",
        "10.0.0.1",
        "::1",
        "10.0.0.0/8,::/0",
        " 10.0.0.1 , fd00::/8,",
    ] {
        assert!(good.parse::<Proxies>().is_ok(), "{good}");
    }
    for (bad, number) in [
        ("localhost", "number 1"),
        ("10.0.0.1,10.0.0.0/33", "number 2"),
        ("::1,,x", "number 3"),
    ] {
        assert!(
            bad.parse::<Proxies>().unwrap_err().contains(number),
            "{bad}"
        );
    }
}

#[test]
fn a_net_of_ipv4_addresses_matches_however_it_is_written() {
    let cases = [
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ("::ffff:10.0.0.7/128", "10.0.0.7", true),
        ("::ffff:10.0.0.7/120", "10.0.0.9", true),
        ("::ffff:0:0/96", "203.0.113.9", true),
        ("::ffff:0:0/96", "2001:db8::1", false),
        ("::/0", "10.1.2.3", false),
        ("::/0", "2001:db8::1", true),
        ("2001:db8::/32", "2001:db8::1", true),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
    ];
    for (net, address, inside) in cases {
        assert_eq!(
            net.parse::<Proxies>().unwrap().contains(ip(address)),
            inside,
            "{net} {address}"
        );
    }
}

#[test]
fn an_ipv6_customer_is_one_client_and_so_is_a_mapped_address() {
    assert_eq!(
        ClientIp::of(ip("2001:db8:1:2::1")),
        ClientIp::of(ip("2001:db8:1:2:ffff::9"))
    );
    assert_ne!(
        ClientIp::of(ip("2001:db8:1:2::1")),
        ClientIp::of(ip("2001:db8:1:3::1"))
    );
    assert_eq!(
        ClientIp::of(ip("::ffff:192.0.2.1")),
        ClientIp::of(ip("192.0.2.1"))
    );
    assert_ne!(ClientIp::of(ip("192.0.2.1")), ClientIp::of(ip("192.0.2.2")));
}

/// Limits, and the clock they go by.
fn rates(per_minute: u32) -> (Rates, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&clock);
    let elapsed = Arc::new(move || Duration::from_millis(read.load(Ordering::Relaxed)));
    (
        Rates::of(
            NonZeroU32::new(per_minute).unwrap(),
            Proxies::default(),
            elapsed,
        ),
        clock,
    )
}

#[test]
fn the_burst_is_the_full_limit_and_comes_back_evenly() {
    let (rates, clock) = rates(60);
    for _ in 0..60 {
        assert_eq!(rates.take(ip("192.0.2.1")), Ok(()));
    }
    assert_eq!(
        rates.take(ip("192.0.2.1")),
        Err(1),
        "one comes back each second"
    );
    assert_eq!(
        rates.take(ip("192.0.2.2")),
        Ok(()),
        "another one is another one"
    );
    clock.store(999, Ordering::Relaxed);
    assert_eq!(rates.take(ip("192.0.2.1")), Err(1));
    clock.store(3000, Ordering::Relaxed);
    assert_eq!(
        [(); 4].map(|()| rates.take(ip("192.0.2.1")).is_ok()),
        [true, true, true, false]
    );
    clock.store(63_000, Ordering::Relaxed);
    assert_eq!(
        (0..100)
            .filter(|_| rates.take(ip("192.0.2.1")).is_ok())
            .count(),
        60
    );
}

#[test]
fn kills_that_are_none_share_a_limit_of_their_own() {
    let (rates, _clock) = rates(10);
    assert_eq!((0..20).filter(|_| rates.take_kill().is_ok()).count(), 10);
    assert_eq!(rates.take(ip("192.0.2.1")), Ok(()));
}

#[test]
fn whether_there_is_room_is_asked_without_taking_it() {
    let (rates, _clock) = rates(3);
    let client = ip("192.0.2.1");
    for _ in 0..10 {
        assert_eq!(rates.may(client), Ok(()));
    }
    assert_eq!(
        [(); 4].map(|()| rates.take(client).is_ok()),
        [true, true, true, false]
    );
    assert_eq!(
        (rates.may(client), rates.may(ip("192.0.2.2"))),
        (Err(20), Ok(())),
        "and how long there is none"
    );
}

#[test]
fn a_key_has_a_limit_of_its_own() {
    let (rates, _clock) = rates(3);
    let (red, ops) = ("red".into(), "ops".into());
    while rates.take(ip("192.0.2.1")).is_ok() {}
    assert_eq!(
        [(); 4].map(|()| rates.take_key(&red).is_ok()),
        [true, true, true, false]
    );
    assert_eq!(rates.take_key(&ops), Ok(()));
}

/// A million strangers at once: nobody is refused for them, and who had reached the limit does not
/// get off.
#[test]
fn a_flood_of_addresses_neither_refuses_anybody_nor_frees_who_is_limited() {
    let (rates, clock) = rates(100);
    let abuser = ip("192.0.2.1");
    while rates.take(abuser).is_ok() {}
    for prefix in 0..1_000_000_u128 {
        let stranger = Ipv6Addr::from_bits(0x2001_0db8 << 96 | prefix << 64 | 1);
        assert_eq!(rates.take(stranger.into()), Ok(()));
    }
    assert!(
        rates.take(abuser).is_err(),
        "a flood does not wash a limit away"
    );
    // 934,464 had to go to make room for others, but each had used no more than who came next.
    assert_eq!(rates.forgotten(), 0);
    clock.store(61_000, Ordering::Relaxed);
    assert_eq!(rates.take(abuser), Ok(()));
}

const NOBODY: &str = "nobody-has-this-key";

#[test]
fn a_key_has_its_name_and_its_roles() {
    let more = "ci:reader:k-ci, oncall:operator:k-oncall ,oncall:breaker:k-oncall,shop:gate:k-shop,red:breaker:k:with:colons,\
                red:breaker:k-red-next,,later:reader:YOUR_KEY";
    let keys = Keys::parse(Some("k-main"), more).unwrap();
    let may = |key: &str| {
        let caller = keys.whose(key.as_bytes())?;
        let roles =
            [Role::Reader, Role::Gate, Role::Operator, Role::Breaker].map(|role| caller.may(role));
        Some((caller.name.to_string(), roles))
    };
    let expect = |name: &str, roles| Some((name.to_owned(), roles));
    assert_eq!(
        may("k-main"),
        expect("ECHO_API_KEY", [true, true, true, true])
    );
    assert_eq!(may("k-ci"), expect("ci", [true, false, false, false]));
    assert_eq!(may("k-oncall"), expect("oncall", [true, false, true, true]));
    assert_eq!(may("k-shop"), expect("shop", [true, true, false, false]));
    assert_eq!(
        may("k:with:colons"),
        expect("red", [true, false, false, true])
    );
    assert_eq!(
        may("k-red-next"),
        expect("red", [true, false, false, true]),
        "while one replaces the other, both open"
    );
    for none in [
        "", "k", "k-mai", "k-main ", "K-MAIN", NOBODY, "YOUR_KEY", "ci",
    ] {
        assert_eq!(may(none), None, "{none}");
    }
    assert!(Keys::parse(None, "").unwrap().is_empty() && keys.whose(b"").is_none());
    assert!(Keys::default().whose(NOBODY.as_bytes()).is_none());
}

#[test]
fn a_malformed_entry_is_named_by_number_and_never_by_what_it_holds() {
    let secret = "s3cr3t-0123456789";
    let cases = [
        (secret.to_owned(), 1),
        (format!("a:reader:k,{secret}:reader"), 2),
        (format!("a:reader:k,b:{secret}:k2"), 2),
        (format!("a:reader:k,,b:Reader:{secret}"), 3),
        (format!(":reader:{secret}"), 1),
        (format!("a b:reader:{secret}"), 1),
        (format!("{}:reader:{secret}", "n".repeat(65)), 1),
        (format!("ECHO_API_KEY:reader:{secret}"), 1),
        (format!("a:reader:{secret},b:reader:{secret}"), 2),
        (format!("a:reader:with space {secret}"), 1),
        ("a:reader:".to_owned(), 1),
    ];
    for (text, number) in cases {
        let error = Keys::parse(Some("main"), &text).unwrap_err();
        let said = format!("{error} {error:?}");
        assert_eq!(error.variable, "ECHO_API_KEYS", "{text}");
        assert!(
            said.contains(&format!("entry {number}:")) && said.contains("name:role:key"),
            "{text}: {said}"
        );
        assert!(error.fix.contains("openssl rand"), "{text}: {said}");
        assert!(!said.contains(secret), "{text}: {said}");
    }
    assert_eq!(
        Keys::parse(Some("with space"), "").unwrap_err().variable,
        "ECHO_API_KEY"
    );
    assert!(
        Keys::parse(Some("main"), "a:reader:main").is_err(),
        "a reader with the key of all roles is a mistake"
    );
    let keys = Keys::parse(Some(secret), &format!("a:reader:{secret}2")).unwrap();
    assert!(!format!("{keys:?}").contains(secret));
}

proptest! {
    /// Whatever stands there, reading it neither fails nor tells it.
    #[test]
    fn any_text_is_keys_or_an_error_that_keeps_it(text in "[a-z:,]{0,40}[!-~]{12}") {
        if let Err(error) = Keys::parse(None, &text) {
            let said = error.to_string();
            prop_assert!(!said.contains(&text[text.len() - 12..]), "{}", said);
        }
    }

    /// Of a stranger no header counts.
    #[test]
    fn a_stranger_is_who_it_is(peer in any::<u32>(), said in "[ -~]{0,60}") {
        let peer = IpAddr::V4(peer.into());
        let proxies: Proxies = PROXIES.parse().unwrap();
        prop_assume!(!proxies.contains(peer));
        prop_assert_eq!(address(peer, &headers(&[(XFF, &said), (FLY, &said)]), &proxies, true), peer);
    }

    /// Of a proxy the last stranger counts, whatever was there before.
    #[test]
    fn the_last_hop_that_a_proxy_saw_counts(invented in "[ -+--~]{0,60}", client in any::<u32>()) {
        let proxies: Proxies = PROXIES.parse().unwrap();
        let client = IpAddr::V4(client.into());
        prop_assume!(!proxies.contains(client));
        let said = format!("{invented}, {client}, 10.0.0.2");
        prop_assert_eq!(address(ip("10.0.0.1"), &headers(&[(XFF, &said)]), &proxies, false), client);
    }
}
