//! How a verdict is said so that a given proxy understands it: one answer does not survive every proxy.
//!
//! Pure: a status and header values; who sends them is `http`'s.

use crate::decide::verdict::{Reason, Verdict};

/// A verdict as one proxy wants to hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Status of the answer to the proxy.
    pub status: u16,
    /// Status the proxy's client should get, where the proxy cannot carry it itself.
    pub echo_status: Option<u16>,
}

/// nginx `auth_request`: anything but 2xx, 401 and 403 becomes a 500, so the real status travels in a header.
pub fn nginx(verdict: &Verdict) -> Spoken {
    if verdict.admitted {
        return Spoken { status: 200, echo_status: None };
    }
    Spoken { status: 403, echo_status: Some(if stopped(verdict) { 503 } else { 429 }) }
}

/// Seconds a refused caller should wait, spread over callers so that they do not come back together.
///
/// `number` is that of the refusal: spread by Knuth's multiplicative hash, no dice.
pub fn retry_after(verdict: &Verdict, number: u64) -> u32 {
    if verdict.admitted {
        return 0;
    }
    let spread = u32::try_from((number.wrapping_mul(2_654_435_761) >> 16) & 0xffff).unwrap_or(0);
    if stopped(verdict) { 30 + spread % 91 } else { 1 + spread % 10 }
}

/// Whether nothing gets through, rather than a share.
fn stopped(verdict: &Verdict) -> bool {
    matches!(verdict.reason, Reason::Kill | Reason::Unknown)
}
