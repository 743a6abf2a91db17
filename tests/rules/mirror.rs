//! The mirror's pure parts: what a base lacks, what a row becomes, how long to wait.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::time::Duration;

use echo_phoenix::mirror::airtable::{AirtableError, BadToken, Category, Token};
use echo_phoenix::mirror::retry::{Pause, RetryPolicy};
use echo_phoenix::mirror::rows::{BadRow, Layout};
use echo_phoenix::mirror::tables::{FoundField, FoundTable, RECONCILIATION_LOG, TABLES, diff};
use jiff::Timestamp;
use serde_json::json;
use strum::VariantArray as _;

/// The table as it ought to be, with ids that tell what they are of.
fn found() -> FoundTable {
    let field = |f: &echo_phoenix::mirror::tables::Field| FoundField {
        id: format!("fld_{}", f.name),
        name: f.name.to_owned(),
        kind: f.kind.airtable_type().to_owned(),
    };
    FoundTable {
        id: "tbl1".to_owned(),
        name: "reconciliation_log".to_owned(),
        fields: RECONCILIATION_LOG.all_fields().map(field).collect(),
    }
}

#[test]
fn an_empty_base_lacks_the_table() {
    let text = diff(TABLES, &[]).to_string();
    assert!(
        text.starts_with(
            "+ table reconciliation_log\n+   id singleLineText\n+   throttle singleLineText\n"
        ),
        "{text}"
    );
    assert!(text.contains("\n+   count number\n"), "{text}");
}

#[test]
fn a_whole_base_lacks_nothing_and_more_is_no_matter() {
    let mut more = found();
    more.fields.push(FoundField {
        id: "fldX".to_owned(),
        name: "Notes".to_owned(),
        kind: "richText".to_owned(),
    });
    let other = FoundTable {
        id: "tbl2".to_owned(),
        name: "Holidays".to_owned(),
        fields: vec![],
    };
    assert_eq!(diff(TABLES, &[other, more]).to_string(), "");
}

#[test]
fn a_missing_field_is_added_and_a_conflicting_one_only_told() {
    let mut lacking = found();
    lacking.fields.retain(|f| f.name != "error");
    for field in &mut lacking.fields {
        match field.name.as_str() {
            "count" => field.kind = "singleLineText".to_owned(),
            // Longer text takes what a line takes.
            "desired" => field.kind = "multilineText".to_owned(),
            _ => {}
        }
    }
    assert_eq!(
        diff(TABLES, &[lacking]).to_string(),
        "+ field reconciliation_log.error multilineText\n\
         ! field reconciliation_log.count is singleLineText, expected number: rename or convert it, it is not changed\n"
    );
}

#[test]
fn a_row_becomes_cells_by_field_id() {
    let layout = Layout::learn(&RECONCILIATION_LOG, &[found()]).unwrap();
    let row = json!({
        "id": "ignored: the ledger's key counts", "throttle": "a.b", "who_manager": null, "count": 3,
        "first_seen": "2026-10-01T02:03:04.123456789+02:00", "last_seen": "not a time", "raw_body": "stays at home",
    });
    let record = layout.record("01K", &row.to_string()).unwrap();
    let expected = json!({
        "fld_id": "01K", "fld_throttle": "a.b", "fld_who_manager": null, "fld_count": 3,
        "fld_first_seen": "2026-10-01T00:03:04.123Z", "fld_last_seen": "not a time",
    });
    assert_eq!(serde_json::Value::Object(record), expected);
    assert_eq!(layout.record("01K", "[]"), Err(BadRow));
    assert_eq!(layout.record("01K", "{"), Err(BadRow));
}

#[test]
fn half_a_table_has_no_layout() {
    let mut lacking = found();
    lacking.fields.pop();
    assert!(Layout::learn(&RECONCILIATION_LOG, &[lacking]).is_err());
    assert!(Layout::learn(&RECONCILIATION_LOG, &[]).is_err());
}

#[test]
fn pauses() {
    let policy = RetryPolicy::default();
    let now: Timestamp = "2026-10-20T12:00:00Z".parse().unwrap();
    let pause = |category, attempt, jitter| policy.pause(category, attempt, now, jitter);
    let seconds = |s| Pause::For(Duration::from_secs(s));
    assert_eq!(pause(Category::RateLimited, 1, 0.0), seconds(30));
    assert_eq!(pause(Category::RateLimited, 9, 1.0), seconds(30));
    for category in [
        Category::Unavailable,
        Category::Unreachable,
        Category::TimedOut,
        Category::Unreadable,
    ] {
        assert_eq!(pause(category, 1, 1.0), seconds(1), "{category:?}");
        assert_eq!(
            pause(category, 1, 0.0),
            Pause::For(Duration::from_millis(500))
        );
        assert_eq!(pause(category, 4, 1.0), seconds(8));
        assert_eq!(pause(category, 7, 1.0), seconds(60), "capped");
        assert_eq!(pause(category, u32::MAX, 1.0), seconds(60));
        assert_eq!(pause(category, u32::MAX, 0.0), seconds(30));
    }
    assert_eq!(pause(Category::NotAllowed, 1, 0.0), seconds(300));
}

#[test]
fn a_spent_quota_waits_for_the_month() {
    let until = |now: &str| {
        let now = now.parse::<Timestamp>().unwrap();
        match RetryPolicy::default().pause(Category::QuotaExhausted, 1, now, 0.5) {
            Pause::Until { moment, at_most } => {
                assert_eq!(
                    now + at_most,
                    moment,
                    "the wall clock may be put back: it is no longer than this"
                );
                moment
            }
            Pause::For(time) => panic!("a spent quota waits for a date, not {time:?}"),
        }
    };
    let at = |moment: &str| moment.parse::<Timestamp>().unwrap();
    assert_eq!(until("2026-10-20T12:00:00Z"), at("2026-11-01T00:00:00Z"));
    assert_eq!(until("2026-12-31T23:59:59Z"), at("2027-01-01T00:00:00Z"));
    assert_eq!(until("2028-02-29T00:00:00Z"), at("2028-03-01T00:00:00Z"));
    // Airtable's month may turn later than ours: not another month for that.
    assert_eq!(until("2026-11-01T00:00:00Z"), at("2026-11-01T01:00:00Z"));
    assert_eq!(until("2026-11-02T23:30:00Z"), at("2026-11-03T00:30:00Z"));
    assert_eq!(until("2026-11-03T00:30:00Z"), at("2026-12-01T00:00:00Z"));
}

#[test]
fn answers_mean_something() {
    let table = [
        (
            401,
            r#"{"error":{"type":"AUTHENTICATION_REQUIRED","message":"Authentication required"}}"#,
            Category::NotAllowed,
        ),
        (
            403,
            r#"{"error":{"type":"INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND","message":"…"}}"#,
            Category::NotAllowed,
        ),
        (404, r#"{"error":"NOT_FOUND"}"#, Category::NotFound),
        (
            422,
            r#"{"error":{"type":"UNKNOWN_FIELD_NAME","message":"Unknown field name: \"x\""}}"#,
            Category::NotFound,
        ),
        (
            422,
            r#"{"error":{"type":"INVALID_VALUE_FOR_COLUMN","message":"Field \"count\" cannot accept the provided value"}}"#,
            Category::Rejected,
        ),
        (
            422,
            r#"{"error":{"type":"WHATEVER","message":"More than one record matches"}}"#,
            Category::AmbiguousMatch,
        ),
        (413, "<html>", Category::Rejected),
        (
            429,
            r#"{"errors":[{"error":"RATE_LIMIT_REACHED","message":"Rate limit exceeded. Please try again later"}]}"#,
            Category::RateLimited,
        ),
        (
            429,
            r#"{"errors":[{"error":"PUBLIC_API_BILLING_LIMIT_EXCEEDED","message":"…"}]}"#,
            Category::QuotaExhausted,
        ),
        (
            429,
            r#"{"error":{"type":"PUBLIC_API_BILLING_LIMIT_EXCEEDED"}}"#,
            Category::QuotaExhausted,
        ),
        (429, "", Category::RateLimited),
        (503, "", Category::Unavailable),
        (302, "", Category::Unreadable),
    ];
    for (status, body, category) in table {
        assert_eq!(
            AirtableError::from_answer(status, body.as_bytes()).category(),
            category,
            "{status} {body}"
        );
    }
    for (number, category) in Category::VARIANTS.iter().copied().enumerate() {
        assert_eq!(category as usize, number, "the counters go by it");
    }
}

#[test]
fn only_a_personal_access_token_is_one() {
    assert!(Token::parse("patAbc.0123\n").is_ok());
    assert_eq!(
        Token::parse("keyAbcdefghijkl").unwrap_err(),
        BadToken::ApiKey
    );
    assert!(BadToken::ApiKey.to_string().contains("2024"));
    for bad in ["", "Bearer pat1", "pat with space", "paté"] {
        assert_eq!(Token::parse(bad).unwrap_err(), BadToken::NotAToken, "{bad}");
    }
    let shown = format!("{:?}", Token::parse("patSecret").unwrap());
    assert!(!shown.contains("Secret"), "{shown}");
}
