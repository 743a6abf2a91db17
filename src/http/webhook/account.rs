//! What became of webhook events: which was accepted last, which refused and why. So a secret that
//! fits no more is told, not found out by payments that are missing.
//!
//! Strangers may cause refusals, so there is at most one line of the log a minute for each reason.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use strum::{IntoStaticStr, VariantArray as _};

use crate::source::stripe::BadSignature;

/// Shortest time between two lines about the same reason.
const QUIET: Duration = Duration::from_secs(60);

/// Why an event was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Why {
    /// Its signature does not hold.
    Signature(BadSignature),
    /// Its client sent too much that nobody signed.
    Limited,
    /// No secret is set.
    Off,
    /// It is larger than an event may be.
    TooLarge,
    /// It did not arrive in time.
    Late,
    /// It did not arrive whole.
    Broken,
    /// It is large, and too many such were being read.
    Crowded,
    /// It is signed, and no event.
    NoEvent,
    /// The ledger did not take it.
    NotStored,
}

impl Why {
    /// What is no matter of the signature.
    const OTHERS: [Self; 8] = [
        Self::Limited,
        Self::Off,
        Self::TooLarge,
        Self::Late,
        Self::Broken,
        Self::Crowded,
        Self::NoEvent,
        Self::NotStored,
    ];

    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let signatures = BadSignature::VARIANTS.iter().copied();
        signatures.map(Self::Signature).chain(Self::OTHERS)
    }

    /// Fixed metric label.
    pub(super) fn category(self) -> &'static str {
        match self {
            Self::Signature(why) => why.category(),
            other => other.into(),
        }
    }

    /// Whether nobody who has a secret is known to have sent it.
    pub(super) const fn is_nobodys(self) -> bool {
        matches!(
            self,
            Self::Signature(_) | Self::Off | Self::TooLarge | Self::Late | Self::Broken
        )
    }

    /// What it means, and what to do.
    const fn words(self) -> &'static str {
        match self {
            Self::Signature(BadSignature::NoHeader) => {
                "no Stripe-Signature header: Stripe always sends one"
            }
            Self::Signature(BadSignature::Malformed) => {
                "its Stripe-Signature header is none of Stripe's"
            }
            Self::Signature(BadSignature::NoMatch) => {
                "no secret of STRIPE_WEBHOOK_SECRET made its signature: compare it with the endpoint's in Stripe's Dashboard"
            }
            Self::Signature(BadSignature::TooOld) => {
                "signed more than 5 minutes ago: sent again by somebody, or this machine's clock is fast"
            }
            Self::Signature(BadSignature::TooNew) => {
                "signed for more than 5 minutes ahead: this machine's clock is slow"
            }
            Self::Limited => "its address sent too many that nobody signed",
            Self::Off => "STRIPE_WEBHOOK_SECRET is not set",
            Self::TooLarge => "larger than 1 MiB",
            Self::Late => "its body took more than 30 s",
            Self::Broken => "its body did not arrive whole",
            Self::Crowded => {
                "over 64 KiB, and too many such were being read; Stripe sends it again"
            }
            Self::NoEvent => "signed, and no event",
            Self::NotStored => "the ledger did not take it; Stripe sends it again",
        }
    }
}

/// What became of webhook events since the process started.
#[derive(Default)]
pub struct WebhookAccount(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    accepted: Option<Timestamp>,
    refused: Option<(Timestamp, Why)>,
    /// Refused since the last one was accepted.
    since_accepted: u64,
    /// For each reason that was told: when, and how many came since.
    told: Vec<(Why, Duration, u64)>,
}

impl WebhookAccount {
    /// Notes what became of an event. `elapsed`: by the clock that nobody sets.
    pub(super) fn note(&self, found: Result<(), Why>, at: Timestamp, elapsed: Duration) {
        let untold = {
            let mut entries = self.0.lock();
            match found {
                Ok(()) => {
                    (entries.accepted, entries.since_accepted) = (Some(at), 0);
                    return;
                }
                Err(why) => entries.refuse(why, at, elapsed),
            }
        };
        if let (Err(why), Some(number)) = (found, untold) {
            tracing::warn!(
                reason = why.category(),
                number,
                "webhook events were refused: {}",
                why.words()
            );
        }
    }

    /// For `/health`: when the last was accepted, when the last was refused and why.
    pub fn words(&self) -> String {
        let entries = self.0.lock();
        let accepted = entries.accepted.map_or_else(
            || "none accepted since the start".to_owned(),
            |at| format!("last accepted {}", at.strftime(FORM)),
        );
        let Some((at, why)) = entries.refused else {
            return accepted;
        };
        let (since, category, words) = (entries.since_accepted, why.category(), why.words());
        format!(
            "{accepted}; {since} refused since, last refused {}, {category}: {words}",
            at.strftime(FORM)
        )
    }
}

/// Whole seconds, RFC 3339.
const FORM: &str = "%Y-%m-%dT%H:%M:%SZ";

impl Entries {
    /// Notes a refusal; answers how many of its reason the log has not been told of, if it is to be
    /// told now.
    fn refuse(&mut self, why: Why, at: Timestamp, elapsed: Duration) -> Option<u64> {
        self.refused = Some((at, why));
        self.since_accepted += 1;
        let Some((_, told_at, untold)) = self.told.iter_mut().find(|(known, ..)| *known == why)
        else {
            self.told.push((why, elapsed, 0));
            return Some(1);
        };
        *untold += 1;
        (elapsed.saturating_sub(*told_at) >= QUIET).then(|| {
            *told_at = elapsed;
            std::mem::take(untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{BadSignature, Entries, WebhookAccount, Why};

    #[test]
    fn a_reason_is_logged_once_a_minute_with_how_often_it_came() {
        let mut entries = Entries::default();
        let no_match = Why::Signature(BadSignature::NoMatch);
        let mut refuse =
            |why, seconds| entries.refuse(why, Timestamp::UNIX_EPOCH, Duration::from_secs(seconds));
        assert_eq!(refuse(no_match, 0), Some(1));
        assert_eq!(
            [1, 2, 59].map(|at| refuse(no_match, at)),
            [None, None, None]
        );
        assert_eq!(
            refuse(Why::Late, 59),
            Some(1),
            "another reason is another line"
        );
        assert_eq!(refuse(no_match, 60), Some(4));
        assert_eq!(refuse(no_match, 61), None);
    }

    #[test]
    fn the_last_of_both_is_told_and_an_accepted_one_ends_the_count() {
        let account = WebhookAccount::default();
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        assert_eq!(account.words(), "none accepted since the start");
        account.note(
            Err(Why::Signature(BadSignature::NoMatch)),
            at(60),
            Duration::ZERO,
        );
        account.note(
            Err(Why::Signature(BadSignature::NoMatch)),
            at(61),
            Duration::ZERO,
        );
        let words = account.words();
        let refused = "none accepted since the start; 2 refused since, last refused 1970-01-01T00:01:01Z, no_match: no secret";
        assert!(words.starts_with(refused), "{words}");
        account.note(Ok(()), at(62), Duration::ZERO);
        let words = account.words();
        assert!(
            words.starts_with("last accepted 1970-01-01T00:01:02Z; 0 refused since, last refused"),
            "{words}"
        );
    }
}
