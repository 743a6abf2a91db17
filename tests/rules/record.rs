//! What the record is given: a command's answer and its change, and the words it keeps.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use echo_phoenix::domain::audit::{
    AuditAction, AuditDraft, Change, CommandRecord, CommandResponse,
};
use echo_phoenix::domain::drift::{DriftAction, Side};
use jiff::Timestamp;
use serde_json::json;

fn answer() -> CommandResponse {
    let body = json!({ "status": "killed", "audit_id": null })
        .as_object()
        .unwrap()
        .clone();
    CommandResponse::new(200, body, Timestamp::UNIX_EPOCH)
}

#[test]
fn an_answer_learns_only_the_members_it_has() {
    let mut answer = answer();
    answer.set("audit_id", 7);
    answer.set("held_by", "nobody asked");
    assert_eq!(
        serde_json::Value::Object(answer.body),
        json!({ "status": "killed", "audit_id": 7 })
    );
}

#[test]
fn a_command_leaves_one_entry_one_answer_and_its_own_id() {
    let audit = AuditDraft {
        at: Timestamp::UNIX_EPOCH,
        actor: "ops-key".to_owned(),
        operator: "ada".to_owned(),
        action: AuditAction::Kill,
        throttle: String::new(),
        before: "open".to_owned(),
        after: "killed".to_owned(),
        reason: "fraud".to_owned(),
        binding_signal: String::new(),
        request_id: "r-1".to_owned(),
    };
    let change = Change::of(CommandRecord {
        once: "c-1".to_owned(),
        audit: audit.clone(),
        answer: answer(),
    });
    let expected = Change {
        audit: vec![audit],
        once: Some("c-1".to_owned()),
        answer: Some(answer()),
        ..Change::default()
    };
    assert_eq!(change, expected);
}

#[test]
fn words_of_a_drift_are_those_it_is_stored_by() {
    for (side, word) in [(Side::Safer, "safer"), (Side::Riskier, "riskier")] {
        assert_eq!(
            (side.as_str(), serde_json::to_value(side).unwrap()),
            (word, json!(word))
        );
    }
    for (outcome, word) in [
        (DriftAction::Corrected, "corrected"),
        (DriftAction::Reported, "reported"),
        (DriftAction::Failed, "failed"),
    ] {
        assert_eq!(
            (outcome.as_str(), serde_json::to_value(outcome).unwrap()),
            (word, json!(word))
        );
    }
}

#[test]
fn an_action_is_kept_as_its_word_and_a_word_that_is_not_written_today_stays_what_it_is() {
    let words = [
        "control",
        "control_refused",
        "kill",
        "kill_refused",
        "revive",
        "revive_refused",
        "observe_refused",
        "declare",
        "override",
        "hold_ended",
        "unaccounted",
        "shed_start",
        "shed_end",
        "scale_intent",
        "scale",
        "remote_intent",
        "remote",
        "intent_interrupted",
        "checkpoint",
        "commands_not_kept",
        "webhook_unreadable",
        "evidence_conflict",
    ];
    let other = ["intent_refused", "Kill", "?", ""];
    for word in words.into_iter().chain(other) {
        let action = AuditAction::of_word(word);
        let is_other = matches!(action, AuditAction::Other(_));
        assert_eq!((action.as_str(), is_other), (word, other.contains(&word)));
        let kept = serde_json::to_value(&action).unwrap();
        assert_eq!(kept, json!(word));
        let read: AuditAction = serde_json::from_value(kept).unwrap();
        assert_eq!(read, action);
    }
}
