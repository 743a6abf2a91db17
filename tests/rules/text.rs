//! Text of somebody else: what is kept, what is shown.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Source};
use echo_phoenix::domain::text::{
    NONE_GIVEN, cut, given, is_hidden, kept, shown, shown_json, shown_lines,
};
use echo_phoenix::source::crd_status::{ConditionStatus, EchoThrottleStatus};
use echo_phoenix::source::rest::{
    KillBody, ObserveBody, Shortened, confirmed, lossy, nearest, older, parse,
};
use echo_phoenix::source::status_rows::put_kills;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn what_moves_turns_or_hides_is_written_out_and_nothing_else_is() {
    for (text, said) in [
        ("double charges", "double charges"),
        (
            "\u{1b}[2J\u{1b}[1;1Hall is well",
            "\\u{1b}[2J\\u{1b}[1;1Hall is well",
        ),
        ("one\r\ntwo\tthree", "one\\u{d}\\u{a}two\\u{9}three"),
        ("\u{9b}31m", "\\u{9b}31m"),
        ("\u{202e}esrever\u{202c}", "\\u{202e}esrever\\u{202c}"),
        (
            "\u{2066}a\u{2069}\u{200f}\u{61c}",
            "\\u{2066}a\\u{2069}\\u{200f}\\u{61c}",
        ),
        (
            "zero\u{200b}width\u{2060}joined\u{200d}\u{200c}\u{feff}",
            "zero\\u{200b}width\\u{2060}joined\\u{200d}\\u{200c}\\u{feff}",
        ),
        (
            "line\u{2028}end\u{2029}\u{7f}",
            "line\\u{2028}end\\u{2029}\\u{7f}",
        ),
        ("tag\u{e0041}", "tag\\u{e0041}"),
        (
            "Ünïcödé 漢字 e\u{301} 😀 = <b> \"$(id)\" \\",
            "Ünïcödé 漢字 e\u{301} 😀 = <b> \"$(id)\" \\",
        ),
    ] {
        assert_eq!(shown(text), said);
    }
    assert_eq!(shown_lines("a\nb\u{1b}"), "a\nb\\u{1b}");
    let document = json!({ "reason": "\u{1b}\u{9b}\u{202e}\u{e0041}\n é" }).to_string();
    let said = shown_json(&document).into_owned();
    assert_eq!(said, r#"{"reason":"\u001b\u009b\u202e\udb40\udc41\n é"}"#);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&said)
            .unwrap()
            .to_string(),
        document,
        "it is the same document"
    );
}

proptest! {
    #[test]
    fn nothing_that_is_shown_does_anything(text in any::<String>()) {
        prop_assert!(!shown(&text).chars().any(is_hidden));
        prop_assert!(!shown_lines(&text).chars().any(|c| c != '\n' && is_hidden(c)));
        let document = json!({ &text: &text }).to_string();
        let said = shown_json(&document);
        prop_assert!(!said.chars().any(is_hidden));
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap(), json!({ &text: &text }));
    }

    /// However broken a body's text is, what can be read of it is read.
    #[test]
    fn any_text_at_all_leaves_a_kill_a_kill(reason in prop::collection::vec(any::<u8>(), 0..60)) {
        let quoted: Vec<u8> = reason.into_iter().filter(|b| *b != b'"' && *b != b'\\').collect();
        let body = [br#"{"confirmation":"CONFIRM_KILL","operator":"\ud800x","reason":""#, &quoted[..], br#""}"#].concat();
        let body = lossy(&body);
        prop_assert!(confirmed(&body).unwrap());
        let kill: KillBody = parse(&body).unwrap();
        prop_assert_eq!(kill.operator, "\u{fffd}x");
        prop_assert!(!kill.reason.trim().is_empty());
    }
}

#[test]
fn words_are_kept_as_they_came_but_for_nul_blanks_and_what_is_too_long() {
    assert_eq!(kept("a\0b\u{1b}".to_owned()), "a\\u{0}b\u{1b}");
    for blank in [
        "",
        " \t\n",
        "\u{2003}",
        "\u{2800}",
        "\u{3164} \u{3164}",
        "\u{200b}\u{feff}\u{2060}\u{ad}",
        "\u{e0041}",
    ] {
        assert_eq!(given(blank.to_owned(), 9), NONE_GIVEN);
    }
    assert_eq!(given("é".repeat(10), 10), "é".repeat(10));
    assert_eq!(given("é".repeat(11), 10), format!("{}…", "é".repeat(9)));
    assert_eq!(cut("abc".to_owned(), 3), "abc");
    assert_eq!(given("\0".repeat(9), 10).chars().count(), 10);
}

#[test]
fn a_kill_says_what_it_was_given() {
    let said = |body: &str| {
        let kill: KillBody = parse(&lossy(body.as_bytes())).unwrap();
        (kill.reason, kill.operator)
    };
    let none = || NONE_GIVEN.to_owned();
    assert_eq!(said(r#"{"confirmation":"CONFIRM_KILL"}"#), (none(), none()));
    assert_eq!(
        said(r#"{"confirmation":"CONFIRM_KILL","reason":null,"operator":"  "}"#),
        (none(), none())
    );
    let long = format!(
        r#"{{"confirmation":"x","reason":"{}","operator":"{}"}}"#,
        "r".repeat(5000),
        "o".repeat(5000)
    );
    let (reason, operator) = said(&long);
    assert_eq!(
        (reason.chars().count(), operator.chars().count()),
        (1024, 256)
    );
    assert!(reason.ends_with('…') && operator.ends_with('…'));
    for (escaped, read) in [
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (r"\\ud83d \u0041", "\\ud83d A"),
        (r"\u0000", "\\u{0}"),
    ] {
        assert_eq!(
            said(&format!(r#"{{"confirmation":"x","reason":"{escaped}"}}"#)).0,
            read,
            "{escaped}"
        );
    }
    for (raw, read) in [
        ("\"one\ntwo\t\u{1}\r\"", "one\ntwo\t\u{1}\r"),
        (r#""C:\pay \q \u12 \"said\"""#, r#"C:\pay \q \u12 "said""#),
        ("\"a\\\nb\"", "a\\\nb"),
        ("7", "7"),
        ("true", "true"),
        ("-0.5", "-0.5"),
        (r#"["a",1]"#, r#"["a",1]"#),
        (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
    ] {
        let body = format!(
            "\u{feff}{{\n\t\"confirmation\":\"CONFIRM_KILL\",\"reason\":{raw},\"operator\":{raw}}}\r\n"
        );
        assert!(confirmed(&lossy(body.as_bytes())).unwrap(), "{raw}");
        assert_eq!(said(&body), (read.to_owned(), read.to_owned()), "{raw}");
    }
    for refused in [
        r#"{"confirmation":"x","reson":"a"}"#,
        r#"{"confirmation":"x","throttle":7}"#,
        r#"{"reason":"a"}"#,
    ] {
        assert!(parse::<KillBody>(refused.as_bytes()).is_err(), "{refused}");
    }
}

#[test]
fn of_a_long_kill_only_its_words_are_shortened() {
    let short = |body: &[u8], size: usize| {
        let mut read = Shortened::default();
        body.chunks(size).for_each(|chunk| read.take(chunk));
        assert_eq!(read.seen(), body.len());
        read.kept().to_vec()
    };
    for unit in [
        "x",
        r"\n",
        r#"\""#,
        r"\\",
        r"\u0041",
        r"\ud83d\ude00",
        "é",
        "\n",
        "{",
        "\u{1f600}",
    ] {
        for shift in 1..13 {
            let long = format!("{}{}", "y".repeat(shift), unit.repeat(100_000));
            let body = format!(
                r#"{{"reason":"{long}","operator":"{long}","throttle":"pay","confirmation":"CONFIRM_KILL"}}"#
            );
            let kept = short(body.as_bytes(), 4096);
            assert!(kept.len() < 64 * 1024, "{unit}: {}", kept.len());
            let read: KillBody = parse(&lossy(&kept)).unwrap();
            assert_eq!(read.throttle.unwrap().as_str(), "pay", "{unit}");
            assert!(
                read.reason.chars().count() == 1024 && read.reason.ends_with('…'),
                "{unit}"
            );
        }
    }
    // What it stops is read as it stands: a name that is cut is no other name.
    let named = format!(
        r#"{{"throttle":"{}","confirmation":"CONFIRM_KILL"}}"#,
        "a".repeat(100_000)
    );
    assert!(parse::<KillBody>(&lossy(&short(named.as_bytes(), 7))).is_err());
    let blanks = format!(
        r#"{{"confirmation":"CONFIRM_KILL"{}}}"#,
        " ".repeat(100_000)
    );
    assert_eq!(short(blanks.as_bytes(), 1000), blanks.as_bytes());
}

proptest! {
    #[test]
    fn a_kill_of_ordinary_size_is_kept_byte_for_byte(body in prop::collection::vec(any::<u8>(), 0..300), size in 1..20_usize) {
        let mut read = Shortened::default();
        body.chunks(size).for_each(|chunk| read.take(chunk));
        prop_assert_eq!(read.kept(), &body[..]);
    }
}

#[test]
fn a_measurement_of_null_is_none_that_counts_as_calm() {
    for field in [
        "error_rate",
        "latency_p99_ms",
        "requests_per_minute",
        "phi_static",
        "phi_dynamic",
        "temperature",
    ] {
        let error = parse::<ObserveBody>(format!(r#"{{"source":"s","{field}":null}}"#).as_bytes())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{field}: expected a number, got null")
        );
    }
    assert!(parse::<ObserveBody>(br#"{"source":"s","throttle":null,"error_rate":0.5}"#).is_ok());
}

#[test]
fn a_condition_shows_the_words_of_a_kill_and_a_row_keeps_them() {
    let hold = Hold {
        epoch: Epoch("e".to_owned()),
        bite: HoldEffect::Kill,
        source: Source::Rest,
        reason: "\u{1b}[2Jopen".to_owned(),
        operator: "d\u{202e}ana".to_owned(),
        taken_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let killed = ConditionStatus {
        kind: "Killed".to_owned(),
        status: "False".to_owned(),
        ..ConditionStatus::default()
    };
    let mut status = EchoThrottleStatus {
        conditions: vec![killed],
        ..EchoThrottleStatus::default()
    };
    put_kills(&mut status, &[hold], jiff::Timestamp::UNIX_EPOCH);
    assert!(
        status.conditions[0]
            .message
            .ends_with("by d\\u{202e}ana: \\u{1b}[2Jopen"),
        "{}",
        status.conditions[0].message
    );
}

#[test]
fn the_nearest_name_is_told_where_one_is_near() {
    let known = ["error_rate", "latency_p99_ms", "source", "throttle"];
    for (name, meant) in [
        ("eror_rate", Some("error_rate")),
        ("errorRate", Some("error_rate")),
        ("latency", Some("latency_p99_ms")),
        ("Throttle", Some("throttle")),
        ("sauce", Some("source")),
        ("colour", None),
        ("x", None),
    ] {
        assert_eq!(nearest(name, &known), meant, "{name}");
    }
}

#[test]
fn an_earlier_version_gets_the_command_without_what_it_does_not_know() {
    let level = echo_phoenix::domain::level::Level::STOP;
    let body = json!({ "target_throttle": 0.5, "operator": "dana", "throttle": "default" });
    let unknown = json!([{ "field": "operator", "expected": "no such field; there are current_state, target_throttle, throttle" }]);
    let next = older(&body, &unknown, level).unwrap();
    assert_eq!(
        next,
        json!({ "target_throttle": 0.5, "throttle": "default" })
    );
    let missing =
        json!([{ "field": "current_state", "expected": "a value; the field is missing" }]);
    let next = older(&next, &missing, level).unwrap();
    assert_eq!(
        (
            next["current_state"].as_object().unwrap().len(),
            &next["current_state"]["throttle_pct"]
        ),
        (8, &json!(1.0))
    );
    assert_eq!(older(&next, &missing, level), None, "once is enough");
    let wrong = json!([{ "field": "target_throttle", "expected": "a number from 0 to 1, got 2" }]);
    assert_eq!(older(&body, &wrong, level), None, "what is wrong is told");
    assert_eq!(older(&body, &json!(null), level), None);
}
