//! Callers with a name: the same ones pass over every way, and raising the level only removes some.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Street;
use crate::support::KEY;

const CALLERS: usize = 120;

pub(super) async fn are_nested(street: &Street) {
    // Each hour other callers are refused: what began in one and ended in the next is asked again.
    for _ in 0..3 {
        let hour = || Timestamp::now().as_second() / 3600;
        let began = hour();
        let mut before: Option<BTreeSet<usize>> = None;
        for percent in [25, 60] {
            street.declare(25, percent).await;
            let (passed, decided) = (over_the_proxy(street).await, over_decide(street).await);
            if hour() != began {
                continue;
            }
            assert_eq!(passed, decided, "{}: at {percent} %", street.kind.name);
            let refused = CALLERS - passed.len();
            let wanted = CALLERS * percent as usize / 100;
            assert!(
                refused.abs_diff(wanted) <= CALLERS / 5,
                "{}: {refused} of {CALLERS} at {percent} %",
                street.kind.name
            );
            assert!(before.is_none_or(|before| passed.is_subset(&before)), "{}: nested", street.kind.name);
            before = Some(passed);
        }
        if hour() == began {
            return;
        }
    }
    panic!("three hours turned during the test");
}

async fn over_the_proxy(street: &Street) -> BTreeSet<usize> {
    let mut passed = BTreeSet::new();
    for caller in 0..CALLERS {
        let request = street.client.get(street.proxy.url("/tenants/pay")).header("x-tenant", format!("shop-{caller}"));
        match request.send().await.unwrap().status().as_u16() {
            200 => drop(passed.insert(caller)),
            status => assert_eq!(status, 429, "{}", street.kind.name),
        }
    }
    passed
}

async fn over_decide(street: &Street) -> BTreeSet<usize> {
    let mut passed = BTreeSet::new();
    for caller in 0..CALLERS {
        let body = json!({ "throttle": "tenants", "key": format!("shop-{caller}") });
        let request = street.client.post(street.echo.url("/v1/decide")).header("x-api-key", KEY).json(&body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        if answer["decision"] == "allow" {
            passed.insert(caller);
        }
    }
    passed
}
