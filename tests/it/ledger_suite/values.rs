//! Values the ledger tests are made of.

use echo_phoenix::domain::audit::{
    AuditAction, AuditDraft, Change, ClientKey, CommandRecord, CommandResponse, IntentId,
    ThrottleRow,
};
use echo_phoenix::domain::drift::{Drift, DriftAction, Side, Who};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::payment::{EventKey, EventMeaning, PaymentEvidence};
use echo_phoenix::domain::throttle::{Owner, ThrottleName};
use jiff::Timestamp;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

/// What a command leaves behind: an entry of this action, and an answer that nobody keeps.
pub(crate) fn record(action: &str) -> CommandRecord {
    let body = serde_json::Map::from_iter([("audit_id".to_owned(), serde_json::Value::Null)]);
    let answer = CommandResponse::new(200, body, at(1));
    CommandRecord {
        once: ulid::Ulid::generate().to_string(),
        audit: draft(action),
        answer,
    }
}

/// A client's key, until then.
pub(crate) fn client_key(key: &str, until: i64) -> ClientKey {
    let text = |text: &str| text.to_owned();
    let (caller, route, digest) = (text("ann"), text("/control"), text("d"));
    ClientKey {
        caller,
        route,
        key: text(key),
        digest,
        expires_at: at(until),
    }
}

pub(crate) fn draft(action: &str) -> AuditDraft {
    AuditDraft {
        at: at(1),
        actor: "ops-key".to_owned(),
        operator: "ann".to_owned(),
        action: AuditAction::of_word(action),
        throttle: "default".to_owned(),
        before: "0.2".to_owned(),
        after: "1".to_owned(),
        reason: "fraud wave".to_owned(),
        binding_signal: "manual".to_owned(),
        request_id: "req-1".to_owned(),
    }
}

pub(crate) fn entry(action: &str) -> Change {
    Change {
        audit: vec![draft(action)],
        ..Change::default()
    }
}

pub(crate) fn hold(epoch: &str, scope: Scope, source: Source) -> ScopedHold {
    let hold = Hold {
        epoch: Epoch(epoch.to_owned()),
        bite: HoldEffect::Kill,
        source,
        reason: "fraud wave".to_owned(),
        operator: "ann".to_owned(),
        taken_at: at(0),
    };
    ScopedHold { scope, hold }
}

pub(crate) fn epoch(epoch: &str) -> Epoch {
    Epoch(epoch.to_owned())
}

pub(crate) fn kill(epoch: &str) -> ScopedHold {
    hold(epoch, Scope::All, Source::Rest)
}

/// A level above what somebody else declares of the throttle `default`.
pub(crate) fn at_least(epoch: &str, share: f64) -> ScopedHold {
    let held = hold(
        epoch,
        Scope::One(ThrottleName::default_throttle()),
        Source::Rest,
    );
    ScopedHold {
        hold: Hold {
            bite: HoldEffect::AtLeast(level(share)),
            ..held.hold
        },
        ..held
    }
}

pub(crate) fn taking(epoch: &str) -> Change {
    Change {
        holds_taken: vec![kill(epoch)],
        ..entry("kill")
    }
}

pub(crate) fn ending(epoch: &str) -> Change {
    Change {
        holds_ended: vec![Epoch(epoch.to_owned())],
        ..entry("revive")
    }
}

pub(crate) fn level(fraction: f64) -> Level {
    Level::new(fraction).unwrap()
}

pub(crate) fn row(generation: i64, declared: f64) -> ThrottleRow {
    let name = ThrottleName::default_throttle();
    let owner = Owner::Rest;
    ThrottleRow {
        name,
        declared: level(declared),
        effective: level(0.5),
        generation,
        owner,
        spec: None,
        offered: None,
    }
}

pub(crate) fn event(id: &str) -> PaymentEvidence {
    PaymentEvidence {
        key: EventKey {
            livemode: true,
            account: String::new(),
            event_id: id.to_owned(),
        },
        meaning: EventMeaning {
            kind: "payment_intent.succeeded".to_owned(),
            created: 1_790_000_000,
            object_id: "pi_1".to_owned(),
        },
        amount: Some(4_200),
        currency: Some("eur".to_owned()),
        raw: br#"{"id":"evt"}"#.to_vec(),
        signature: "t=1,v1=00".to_owned(),
        received_at: at(2),
    }
}

pub(crate) fn storing(event: PaymentEvidence) -> Change {
    Change {
        evidence: Some(event),
        ..entry("webhook")
    }
}

pub(crate) fn drift(id: &str, count: i64) -> Drift {
    Drift {
        id: id.to_owned(),
        throttle: ThrottleName::default_throttle(),
        target: "apps/v1/Deployment/checkout".into(),
        field: "spec.replicas".to_owned(),
        desired: "2".to_owned(),
        actual: "9".to_owned(),
        side: Side::Riskier,
        who: Some(Who {
            manager: "kubectl".to_owned(),
            operation: "Update".to_owned(),
            subresource: "scale".to_owned(),
            time: Some(at(3)),
        }),
        first_seen: at(3),
        last_seen: at(3 + count),
        count,
        action: DriftAction::Failed,
        error: Some("refused".to_owned()),
    }
}

pub(crate) fn drifting(id: &str, count: i64) -> Change {
    Change {
        drifts: vec![drift(id, count)],
        ..entry("drift")
    }
}

pub(crate) fn intent(id: &str) -> IntentId {
    IntentId(id.to_owned())
}

pub(crate) fn opening(id: &str) -> Change {
    Change {
        opens: vec![intent(id)],
        ..entry("scale_intent")
    }
}

pub(crate) fn settling(id: &str) -> Change {
    Change {
        settles: vec![intent(id)],
        ..entry("scale")
    }
}
