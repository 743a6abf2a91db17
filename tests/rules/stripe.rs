//! Stripe's webhook: which headers hold, and what evidence an event becomes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use echo_phoenix::source::stripe::{
    BadSignature, NotAnEvent, WebhookSecrets, event, promises, verify,
};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use proptest::prelude::*;
use sha2::Sha256;
use strum::VariantArray as _;

const NOW: i64 = 1_790_000_000;
const SECRET: &str = "whsec_test_secret";
const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;

/// As Stripe's documentation defines it, independent of the code under test.
fn mac(secret: &str, t: &str, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&[t.as_bytes(), b".", body].concat());
    mac.finalize().into_bytes().to_vec()
}

fn sig(secret: &str, t: &str) -> String {
    hex::encode(mac(secret, t, BODY))
}

fn accepts(header: &str, secrets: &str) -> bool {
    verify(header, BODY, &WebhookSecrets::parse(secrets), NOW).is_ok()
}

/// What it is, what must be said of it, and the header.
type Case = (&'static str, Result<(), BadSignature>, String);

/// This second, a signature for it, and one by another secret.
fn signed() -> (String, String, String) {
    let t = NOW.to_string();
    let (s, other) = (sig(SECRET, &t), sig("whsec_other", &t));
    (t, s, other)
}

/// Which signatures count, and which are passed over.
fn signatures() -> Vec<Case> {
    let (t, s, other) = signed();
    vec![
        ("plain", Ok(()), format!("t={t},v1={s}")),
        ("signature first", Ok(()), format!("v1={s},t={t}")),
        ("with v0 beside", Ok(()), format!("t={t},v1={s},v0={other}")),
        (
            "v0 only",
            Err(BadSignature::Malformed),
            format!("t={t},v0={s}"),
        ),
        (
            "no signature",
            Err(BadSignature::Malformed),
            format!("t={t}"),
        ),
        (
            "several v1, the last matches",
            Ok(()),
            format!("t={t},v1={other},v1={other},v1={s}"),
        ),
        (
            "several v1, none matches",
            Err(BadSignature::NoMatch),
            format!("t={t},v1={other},v1={other}"),
        ),
        (
            "16 v1, none matches",
            Err(BadSignature::NoMatch),
            format!("t={t}{}", format!(",v1={other}").repeat(16)),
        ),
        (
            "malformed v1 skipped",
            Ok(()),
            format!("t={t},v1=,v1=zz,v1={}0,v1={s}", &s[..62]),
        ),
        (
            "only malformed v1",
            Err(BadSignature::Malformed),
            format!("t={t},v1={}", &s[..62]),
        ),
        (
            "v1 with something behind",
            Err(BadSignature::Malformed),
            format!("t={t},v1={s}="),
        ),
        (
            "uppercase hex",
            Ok(()),
            format!("t={t},v1={}", s.to_ascii_uppercase()),
        ),
    ]
}

/// How much a header may hold, and what beside the two.
fn lengths() -> Vec<Case> {
    let (t, s, other) = signed();
    let junk = "v1=zz,".repeat(14);
    let padding = |length: usize| {
        let good = format!("t={t},v1={s},x=");
        format!("{good}{}", "a".repeat(length - good.len()))
    };
    vec![
        ("16 v1", Ok(()), format!("t={t},{junk}v1={other},v1={s}")),
        (
            "17 v1",
            Err(BadSignature::Malformed),
            format!("t={t},{junk}v1=zz,v1={other},v1={s}"),
        ),
        ("4096 bytes", Ok(()), padding(4096)),
        ("4097 bytes", Err(BadSignature::Malformed), padding(4097)),
        (
            "unknown elements",
            Ok(()),
            format!("a=b,t={t},nonsense,,=,v2={other},v1={s},"),
        ),
        ("empty", Err(BadSignature::NoHeader), String::new()),
    ]
}

/// The second that was signed, and how far it may be.
fn seconds() -> Vec<Case> {
    let (t, s, _) = signed();
    let at = |t: i64| format!("t={t},v1={}", sig(SECRET, &t.to_string()));
    vec![
        ("no t", Err(BadSignature::Malformed), format!("v1={s}")),
        (
            "two t, equal",
            Err(BadSignature::Malformed),
            format!("t={t},t={t},v1={s}"),
        ),
        (
            "two t, one malformed",
            Err(BadSignature::Malformed),
            format!("t=x,t={t},v1={s}"),
        ),
        (
            "t empty",
            Err(BadSignature::Malformed),
            format!("t=,v1={}", sig(SECRET, "")),
        ),
        (
            "t with a sign",
            Err(BadSignature::Malformed),
            format!("t=+{t},v1={}", sig(SECRET, &format!("+{t}"))),
        ),
        (
            "t with 12 digits",
            Ok(()),
            format!("t=00{t},v1={}", sig(SECRET, &format!("00{t}"))),
        ),
        (
            "t with 13 digits",
            Err(BadSignature::Malformed),
            format!("t=000{t},v1={}", sig(SECRET, &format!("000{t}"))),
        ),
        (
            "t in other digits",
            Err(BadSignature::Malformed),
            format!("t=١٢٣,v1={}", sig(SECRET, "١٢٣")),
        ),
        (
            "space before an element makes it another",
            Err(BadSignature::Malformed),
            format!("t={t}, v1={s}"),
        ),
        ("300 s old", Ok(()), at(NOW - 300)),
        ("301 s old", Err(BadSignature::TooOld), at(NOW - 301)),
        ("300 s ahead", Ok(()), at(NOW + 300)),
        ("301 s ahead", Err(BadSignature::TooNew), at(NOW + 301)),
        (
            "farthest future",
            Err(BadSignature::TooNew),
            at(999_999_999_999),
        ),
        (
            "signed for another time",
            Err(BadSignature::NoMatch),
            format!("t={t},v1={}", sig(SECRET, &(NOW - 1).to_string())),
        ),
    ]
}

#[test]
fn headers_that_hold_and_headers_that_do_not() {
    for (what, expected, header) in [signatures(), lengths(), seconds()].concat() {
        let found = verify(&header, BODY, &WebhookSecrets::parse(SECRET), NOW);
        assert_eq!(found, expected, "{what}: {header}");
        // Of what the body decides the header says nothing; of all else the same.
        let promised = if expected == Err(BadSignature::NoMatch) {
            Ok(())
        } else {
            expected
        };
        assert_eq!(promises(&header, NOW), promised, "{what}: {header}");
    }
}

/// Of a time that nobody signed nothing is said but that nobody signed it; the header alone cannot
/// know.
#[test]
fn a_forged_time_is_no_old_one() {
    for t in [NOW - 301, NOW + 301, 0] {
        let header = format!("t={t},v1={}", sig("whsec_other", &t.to_string()));
        assert_eq!(
            verify(&header, BODY, &WebhookSecrets::parse(SECRET), NOW),
            Err(BadSignature::NoMatch),
            "{header}"
        );
        let age = if t < NOW {
            BadSignature::TooOld
        } else {
            BadSignature::TooNew
        };
        assert_eq!(promises(&header, NOW), Err(age), "{header}");
    }
}

#[test]
fn any_of_several_secrets_will_do() {
    let t = NOW.to_string();
    let header = |secret: &str| format!("t={t},v1={}", sig(secret, &t));
    for secret in ["whsec_old", "whsec_new"] {
        assert!(accepts(&header(secret), "whsec_old,whsec_new"), "{secret}");
        assert!(
            accepts(&header(secret), " whsec_old ,\twhsec_new\n"),
            "{secret}"
        );
    }
    assert!(!accepts(&header("whsec_gone"), "whsec_old,whsec_new"));
    assert!(
        !accepts(&header("old"), "whsec_old"),
        "the key is the whole secret"
    );
}

#[test]
fn an_empty_secret_accepts_nothing() {
    let t = NOW.to_string();
    for none in ["", " ", ",", " , ,\n"] {
        assert!(WebhookSecrets::parse(none).is_empty(), "{none:?}");
        assert!(
            !accepts(&format!("t={t},v1={}", sig("", &t)), none),
            "{none:?}"
        );
    }
}

#[test]
fn secrets_are_trimmed_told_and_never_shown() {
    let secrets = WebhookSecrets::parse("whsec_a, whsec_b\n");
    assert_eq!((secrets.len(), secrets.trimmed()), (2, 1));
    assert_eq!(format!("{secrets:?}"), "Secrets(2)");
}

#[test]
fn the_error_says_one_thing_to_whoever_sent_it_and_another_to_the_owner_of_the_secret() {
    for one in BadSignature::VARIANTS {
        assert_eq!(one.to_string(), "Invalid signature");
    }
    let words: Vec<_> = BadSignature::VARIANTS
        .iter()
        .map(|one| one.category())
        .collect();
    assert_eq!(
        words,
        ["no_header", "malformed", "no_match", "too_old", "too_new"]
    );
}

proptest! {
    /// Of the body, of the MAC itself, or of the time: one bit is enough.
    #[test]
    fn a_single_bit_breaks_it(body in proptest::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let secrets = WebhookSecrets::parse(SECRET);
        let t = NOW.to_string();
        let good = mac(SECRET, &t, &body);
        let header = |mac: &[u8]| format!("t={t},v1={}", hex::encode(mac));
        prop_assert_eq!(verify(&header(&good), &body, &secrets, NOW), Ok(()));

        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(verify(&header(&good), &changed, &secrets, NOW), Err(BadSignature::NoMatch));

        let mut forged = good.clone();
        forged[at.index(good.len())] ^= 1 << bit;
        prop_assert_eq!(verify(&header(&forged), &body, &secrets, NOW), Err(BadSignature::NoMatch));

        // The same in the header's text: all but a change of case, which is the same number.
        let mut text = header(&good).into_bytes();
        let index = at.index(text.len());
        let before = text[index];
        text[index] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(text.clone()) && !text.as_bytes()[index].eq_ignore_ascii_case(&before) {
            prop_assert!(verify(&text, &body, &secrets, NOW).is_err(), "{}", text);
        }
    }

    /// Whatever stands in a header, it is answered, and forged never accepted.
    #[test]
    fn no_header_is_too_strange(header in "[tv0-9a-f=, ]{0,200}", body in proptest::collection::vec(any::<u8>(), 0..50)) {
        prop_assert!(verify(&header, &body, &WebhookSecrets::parse(SECRET), NOW).is_err());
    }
}

fn read(body: &str) -> echo_phoenix::domain::payment::PaymentEvidence {
    event(body.as_bytes(), "t=1,v1=2", Timestamp::UNIX_EPOCH).unwrap()
}

#[test]
fn a_payment_intent_becomes_evidence() {
    let body = r#"{"id":"evt_1","object":"event","type":"payment_intent.succeeded","created":1700000000,"livemode":true,
        "account":"acct_1","data":{"object":{"id":"pi_1","amount":1099,"currency":"EUR"}}}"#;
    let evidence = read(body);
    assert_eq!(
        (
            evidence.key.livemode,
            evidence.key.account.as_str(),
            evidence.key.event_id.as_str()
        ),
        (true, "acct_1", "evt_1")
    );
    assert_eq!(evidence.meaning.kind, "payment_intent.succeeded");
    assert_eq!(
        (
            evidence.meaning.created,
            evidence.meaning.object_id.as_str()
        ),
        (1_700_000_000, "pi_1")
    );
    assert_eq!(
        (evidence.amount, evidence.currency.as_deref()),
        (Some(1099), Some("eur"))
    );
    assert_eq!(
        (evidence.raw.as_slice(), evidence.signature.as_str()),
        (body.as_bytes(), "t=1,v1=2")
    );
}

#[test]
fn of_a_refunded_charge_the_refunded_amount_counts() {
    let evidence = read(
        r#"{"id":"evt_2","type":"charge.refunded","data":{"object":{"id":"ch_1","amount":1099,"amount_refunded":99,"currency":"usd"}}}"#,
    );
    assert_eq!(evidence.amount, Some(99));
    let evidence = read(
        r#"{"id":"evt_3","type":"charge.succeeded","data":{"object":{"id":"ch_1","amount":1099,"amount_refunded":0}}}"#,
    );
    assert_eq!((evidence.amount, evidence.currency), (Some(1099), None));
}

#[test]
fn a_thin_event_names_its_object() {
    let evidence = read(
        r#"{"id":"evt_4","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered","livemode":false,
        "created":"2024-09-17T06:20:52.246Z","context":"acct_2","related_object":{"id":"mtr_1","type":"billing.meter"}}"#,
    );
    assert_eq!(
        evidence.meaning.kind,
        "v1.billing.meter.error_report_triggered"
    );
    assert_eq!(
        (
            evidence.meaning.created,
            evidence.meaning.object_id.as_str()
        ),
        (1_726_554_052, "mtr_1")
    );
    assert_eq!(
        (evidence.key.account.as_str(), evidence.amount),
        ("acct_2", None)
    );
}

#[test]
fn whatever_is_json_is_evidence() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for body in [
        "{}",
        "[]",
        "null",
        "7",
        "\"text\"",
        r#"{"type":"brand.new","id":7,"created":"soon"}"#,
        "[1e999]",
        &deep,
    ] {
        let evidence = read(body);
        assert!(evidence.key.event_id.starts_with("sha256:"), "{body}");
        assert_eq!(evidence.raw, body.as_bytes());
    }
    assert_ne!(read("{}").key, read("[]").key);
    assert_eq!(
        read(r#"{"id":"evt_5","type":"brand.new"}"#).meaning.kind,
        "brand.new"
    );
}

#[test]
fn what_is_no_json_is_no_event() {
    for body in ["", "{", "{}x", "id=evt_1", "{\"id\":\"\u{1}\"}"] {
        assert_eq!(
            event(body.as_bytes(), "", Timestamp::UNIX_EPOCH),
            Err(NotAnEvent),
            "{body:?}"
        );
    }
    assert_eq!(
        event(b"\"\xff\"", "", Timestamp::UNIX_EPOCH),
        Err(NotAnEvent)
    );
}
