//! What can go wrong between a command and its answer, told apart by what it means for the person
//! who sent it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::answers::HeldRow;

/// What a process answers that has no key at all.
const NO_KEY_THERE: &str = "API key not configured";
/// What is answered of an order that is not decided.
const MAY_STILL: &str = "may still happen";

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered.
    #[error("{url} does not answer: {why}")]
    Silent {
        /// What was asked.
        url: String,
        /// What the connection said.
        why: String,
        /// Whether it may have arrived all the same.
        sent: bool,
    },
    /// Somebody answered who is not this service, or not this version of it.
    #[error("{url} answered {status} with {what}")]
    Strange {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What came.
        what: String,
    },
    /// The service said no.
    #[error("{0}")]
    Refused(Box<ApiRefusal>),
}

/// A refusal of the service, as it worded it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {} ({status}): {detail}", if *.undecided { "is not decided" } else { "was refused" })]
pub struct ApiRefusal {
    /// What was asked.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// Seconds to wait, where the service said so.
    pub retry_after: Option<String>,
    /// Who keeps it killed, where that is why.
    pub held_by: Vec<HeldRow>,
    /// What is wrong with which field, where that is why; null otherwise.
    pub errors: Value,
    /// Whether it may have been done all the same, or may still happen: then it is no refusal.
    pub undecided: bool,
}

impl ApiRefusal {
    pub(super) fn read(path: &str, status: u16, retry_after: Option<String>, body: &Value) -> Self {
        let detail = body
            .get("detail")
            .and_then(Value::as_str)
            .unwrap_or("without a word why")
            .to_owned();
        let held_by = body
            .get("held_by")
            .and_then(|held| Vec::deserialize(held).ok())
            .unwrap_or_default();
        let errors = body.get("errors").cloned().unwrap_or_default();
        // A service of the version before says it in these words alone.
        let undecided = body
            .get("outcome")
            .is_some_and(|outcome| outcome == "unknown")
            || detail.contains(MAY_STILL);
        Self {
            path: path.to_owned(),
            status,
            detail,
            retry_after,
            held_by,
            errors,
            undecided,
        }
    }
}

impl ApiRefusal {
    /// How long to wait until the same request is taken, where it only came too early.
    pub(super) fn pause(&self) -> Option<Duration> {
        let seconds = || self.retry_after.as_ref()?.trim().parse().ok();
        (self.status == 429).then(|| Duration::from_secs(seconds().unwrap_or(1).max(1)))
    }
}

impl ClientError {
    pub(super) fn of(url: &str, error: &reqwest::Error) -> Self {
        // The last cause is the one that a person can do something about.
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let why = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            cause.to_string()
        };
        Self::Silent {
            url: url.to_owned(),
            why,
            sent: !error.is_connect(),
        }
    }

    /// Whether the same request may get through later: nobody answered, or something on the way
    /// did.
    pub fn is_transport(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Strange { status, .. } => matches!(status, 502..=504),
            Self::Refused(_) => false,
        }
    }

    /// Whether the service may have done what it was asked, though it did not say so.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Silent { sent, .. } => *sent,
            Self::Strange { .. } => true,
            Self::Refused(refusal) => refusal.undecided,
        }
    }

    /// Whether it is certain that the service did nothing of what it was asked.
    pub fn did_nothing(&self) -> bool {
        match self {
            Self::Silent { sent, .. } => !sent,
            // A 409 to a kill is the answer to one that was done and ended; a 5xx leaves it open.
            Self::Refused(refusal) => match refusal.status {
                400..500 => refusal.status != 409,
                // Said before anything else is looked at: a process without any key does nothing
                // for anybody.
                500 => refusal.detail == NO_KEY_THERE,
                _ => false,
            },
            Self::Strange { .. } => false,
        }
    }

    /// The same, after other attempts of which one may have arrived.
    pub(super) fn with_sent(self, any: bool) -> Self {
        match self {
            Self::Silent { url, why, sent } => Self::Silent {
                url,
                why,
                sent: sent || any,
            },
            other => other,
        }
    }
}
