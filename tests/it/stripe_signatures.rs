//! Our few lines against Stripe's own library: what it signs we accept, what it judges we judge
//! alike.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail loudly; Stripe's library reads the real clock, so this must too"
)]

use echo_phoenix::source::stripe::{WebhookSecrets, verify};
use serde_json::{Value, json};

use crate::python;

const SECRET: &str = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH";

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn ask(sign: &Value, judge: &Value) -> Value {
    let asked = json!({ "secret": SECRET, "sign": sign, "judge": judge });
    serde_json::from_str(&python::run(
        "stripe_signatures.py",
        &[],
        &asked.to_string(),
    ))
    .unwrap()
}

fn ours(header: &str, body: &str) -> bool {
    verify(
        header,
        body.as_bytes(),
        &WebhookSecrets::parse(SECRET),
        now(),
    )
    .is_ok()
}

#[test]
fn what_stripe_signs_is_accepted() {
    let body = |n: usize| {
        let text: String = (0..n * 37).map(|_| rand::random::<char>()).collect();
        json!({ "id": format!("evt_{n}"), "object": "event", "text": text }).to_string()
    };
    let bodies: Vec<String> = (0..20).map(body).collect();
    let sign: Vec<Value> = bodies.iter().map(|body| json!([now(), body])).collect();
    let answer = ask(&json!(sign), &json!([]));
    let headers = answer["signed"].as_array().unwrap();
    assert_eq!(headers.len(), 20);
    for (header, body) in headers.iter().zip(&bodies) {
        let header = header.as_str().unwrap();
        assert!(ours(header, body), "{header}\n{body}");
        assert!(!ours(header, &format!("{body} ")), "one blank more");
    }
}

const BODY: &str = r#"{"id":"evt_1","object":"event","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","object":"payment_intent"}}}"#;

/// What Stripe's library signed: now, 200 and 400 s ago, 200 and 400 s ahead; and the first one's
/// second and code.
struct Signed {
    t: i64,
    mac: String,
    good: String,
    recent: String,
    old: String,
    soon: String,
    future: String,
}

impl Signed {
    fn new() -> Self {
        let t = now();
        let answer = ask(
            &json!([
                [t, BODY],
                [t - 200, BODY],
                [t - 400, BODY],
                [t + 200, BODY],
                [t + 400, BODY]
            ]),
            &json!([]),
        );
        let signed: Vec<&str> = answer["signed"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| h.as_str().unwrap())
            .collect();
        let [good, recent, old, soon, future] = signed.as_slice() else {
            unreachable!("five were asked for")
        };
        let mac = good.split_once("v1=").unwrap().1;
        Self {
            t,
            mac: mac.to_owned(),
            good: (*good).to_owned(),
            recent: (*recent).to_owned(),
            old: (*old).to_owned(),
            soon: (*soon).to_owned(),
            future: (*future).to_owned(),
        }
    }

    /// Header, and what both must say.
    fn alike(&self) -> Vec<(String, bool)> {
        let (t, mac, wrong) = (self.t, &self.mac, "0".repeat(64));
        vec![
            (self.good.clone(), true),
            (self.recent.clone(), true),
            (self.old.clone(), false),
            (self.soon.clone(), true),
            (format!("v1={mac},t={t}"), true),
            (format!("t={t},v1={wrong},v1={mac}"), true),
            (format!("t={t},v1=,v1={mac}"), true),
            (format!("t={t},v1={mac},v0={wrong}"), true),
            (format!("t={t},v0={mac}"), false),
            (format!("t={t},v2={mac},v1={wrong}"), false),
            (format!("t={t},v1={wrong}"), false),
            (format!("t={t},v1={}", &mac[..63]), false),
            (format!("t={t},v1={mac}00"), false),
            (format!("t={},v1={mac}", t + 1), false),
            (format!("v1={mac}"), false),
            (format!("t={t}"), false),
            (format!("t=,v1={mac}"), false),
            (format!("t=x,v1={mac}"), false),
            (format!("t={t}, v1={mac}"), false),
            (format!("t={t};v1={mac}"), false),
            ("nonsense".to_owned(), false),
            (String::new(), false),
        ]
    }

    /// Where we differ, and why; Stripe's verdict first.
    fn differently(&self) -> Vec<(&'static str, String, bool, bool)> {
        let (t, mac) = (self.t, &self.mac);
        vec![
            (
                "a time far ahead is as strange as one long past; the library looks back only",
                self.future.clone(),
                true,
                false,
            ),
            (
                "two times: the library takes the first, we none",
                format!("t={t},t=1,v1={mac}"),
                true,
                false,
            ),
            (
                "upper case is the same number",
                format!("t={t},v1={}", mac.to_ascii_uppercase()),
                false,
                true,
            ),
            (
                "the library reads numbers generously, we only digits",
                format!("t=+{t},v1={mac}"),
                true,
                false,
            ),
            (
                "we take the digits as they came, since they were signed",
                format!("t=0{t},v1={mac}"),
                true,
                false,
            ),
            (
                "the library cuts a value at a second `=`",
                format!("t={t},v1={mac}=x"),
                true,
                false,
            ),
            (
                "nobody sends 17 signatures",
                format!("t={t},{}v1={mac}", "v1=00,".repeat(16)),
                true,
                false,
            ),
            (
                "nobody sends a header of more than 4 KiB",
                format!("t={t},v1={mac},x={}", "a".repeat(4096)),
                true,
                false,
            ),
        ]
    }
}

#[test]
fn stripes_library_judges_alike() {
    let signed = Signed::new();
    let (alike, differently) = (signed.alike(), signed.differently());
    let judge: Vec<Value> = alike
        .iter()
        .map(|(header, _)| header)
        .chain(differently.iter().map(|(_, header, ..)| header))
        .map(|h| json!([h, BODY]))
        .collect();
    let answer = ask(&json!([]), &json!(judge));
    let judged: Vec<bool> = answer["judged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|j| j.as_bool().unwrap())
        .collect();
    for ((header, expected), stripes) in alike.iter().zip(&judged) {
        assert_eq!(
            (ours(header, BODY), *stripes),
            (*expected, *expected),
            "(ours, Stripe's) of {header}"
        );
    }
    for ((why, header, theirs, our), stripes) in differently.iter().zip(&judged[alike.len()..]) {
        assert_eq!(
            (*stripes, ours(header, BODY)),
            (*theirs, *our),
            "(Stripe's, ours): {why}\n{header}"
        );
    }
}
