//! What can go wrong with Airtable, named by what it means to us, and how its answers are read as
//! that.
//!
//! Knows nothing of requests: a status and a body in, a meaning out.

use serde_json::Value;
use strum::{IntoStaticStr, VariantArray};

/// The longest text of Airtable's that is kept: enough to tell a person what to fix, too short to
/// fill a log.
const MESSAGE_LIMIT: usize = 300;

/// Why Airtable did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AirtableError {
    /// No connection, or it broke.
    #[error("Airtable cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time. What was asked may have been done all the same.
    #[error("Airtable did not answer in time")]
    TimedOut,
    /// Too many requests in a second; everything is refused for 30 s.
    #[error("Airtable refuses every request for 30 s: too many in a second")]
    RateLimited,
    /// The calls of this month are used up.
    #[error("Airtable refuses every request until the month turns: the plan's calls are used up")]
    QuotaExhausted,
    /// It will never accept these records (or this schema change).
    #[error("Airtable rejects this ({kind}): {message}")]
    Rejected {
        /// Airtable's error type.
        kind: String,
        /// Airtable's words.
        message: String,
    },
    /// More than one record has the same key, so an upsert cannot know which is meant.
    #[error("more than one record in Airtable has this key: {0}")]
    AmbiguousMatch(String),
    /// The token is not accepted, or lacks a scope or this base.
    #[error(
        "Airtable does not allow this; the token needs this base and the scopes data.records:read, data.records:write, schema.bases:read, schema.bases:write: {0}"
    )]
    NotAllowed(String),
    /// A base, table or field is not there.
    #[error("not found in Airtable: {0}")]
    NotFound(String),
    /// A fault on Airtable's side, which may pass.
    #[error("Airtable answered {0}")]
    Unavailable(u16),
    /// An answer that is none of Airtable's documented ones.
    #[error("Airtable's answer was not understood: {0}")]
    Unreadable(String),
}

/// The kinds of [`AirtableError`], as metric labels and as what a retry goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Category {
    /// See [`AirtableError::Unreachable`].
    Unreachable,
    /// See [`AirtableError::TimedOut`].
    TimedOut,
    /// See [`AirtableError::RateLimited`].
    RateLimited,
    /// See [`AirtableError::QuotaExhausted`].
    QuotaExhausted,
    /// See [`AirtableError::Rejected`].
    Rejected,
    /// See [`AirtableError::AmbiguousMatch`].
    AmbiguousMatch,
    /// See [`AirtableError::NotAllowed`].
    NotAllowed,
    /// See [`AirtableError::NotFound`].
    NotFound,
    /// See [`AirtableError::Unavailable`].
    Unavailable,
    /// See [`AirtableError::Unreadable`].
    Unreadable,
}

impl Category {
    /// The fixed metric label.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl AirtableError {
    /// The kind: a fixed metric label, and what [`super::super::retry`] decides by.
    pub const fn category(&self) -> Category {
        match self {
            Self::Unreachable(_) => Category::Unreachable,
            Self::TimedOut => Category::TimedOut,
            Self::RateLimited => Category::RateLimited,
            Self::QuotaExhausted => Category::QuotaExhausted,
            Self::Rejected { .. } => Category::Rejected,
            Self::AmbiguousMatch(_) => Category::AmbiguousMatch,
            Self::NotAllowed(_) => Category::NotAllowed,
            Self::NotFound(_) => Category::NotFound,
            Self::Unavailable(_) => Category::Unavailable,
            Self::Unreadable(_) => Category::Unreadable,
        }
    }

    /// Whether the records themselves are at fault, so that sending fewer of them finds the one.
    pub const fn is_about_the_records(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::AmbiguousMatch(_))
    }

    /// What an answer that is not a 2xx means.
    pub fn from_answer(status: u16, body: &[u8]) -> Self {
        let said = Said::read(body);
        match status {
            // 402: a limit of the plan other than calls. Like 401 and 403, only a person can change
            // it.
            401..=403 => Self::NotAllowed(said.text()),
            404 => Self::NotFound(said.text()),
            // Both 429s have one shape; only the type tells "slow down" from "no more this month".
            429 if said.kind == "PUBLIC_API_BILLING_LIMIT_EXCEEDED" => Self::QuotaExhausted,
            429 => Self::RateLimited,
            500..=599 => Self::Unavailable(status),
            // The schema we learned is no longer the base's: a matter of the table, not of this
            // record.
            422 if said.kind == "UNKNOWN_FIELD_NAME" => Self::NotFound(said.text()),
            422 if said.is_ambiguous_match() => Self::AmbiguousMatch(said.message),
            400..=499 => Self::Rejected {
                kind: said.kind,
                message: said.message,
            },
            _ => Self::Unreadable(format!("status {status}")),
        }
    }
}

/// What an error answer says.
struct Said {
    kind: String,
    message: String,
}

impl Said {
    /// Airtable has three shapes: `{"error":{"type","message"}}`, a bare `{"error":"NOT_FOUND"}`,
    /// and for both 429s `{"errors":[{"error","message"}]}`.
    fn read(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &body["error"];
        let first = &body["errors"][0];
        let kind = error["type"]
            .as_str()
            .or(error.as_str())
            .or(first["error"].as_str())
            .or(first["type"].as_str());
        let message = error["message"].as_str().or(first["message"].as_str());
        Self {
            kind: short(kind),
            message: short(message),
        }
    }

    fn text(&self) -> String {
        if self.message.is_empty() {
            self.kind.clone()
        } else {
            format!("{}: {}", self.kind, self.message)
        }
    }

    /// Airtable documents that such an upsert fails, but neither type nor words; so this goes by
    /// the words any phrasing of it must have. A phrasing it misses is still
    /// [`AirtableError::Rejected`], and parked alike.
    fn is_ambiguous_match(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        message.contains("match")
            && (message.contains("more than one") || message.contains("multiple"))
    }
}

fn short(text: Option<&str>) -> String {
    text.unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_LIMIT)
        .collect()
}
