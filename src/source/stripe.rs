//! IN: Stripe's webhook. Is this body really Stripe's, and what does it say.
//!
//! Two questions in this order: [`verify`] works on raw bytes and parses nothing, [`event`] parses
//! what was verified. [`promises`] looks at the header alone, for who has to decide whether a body
//! is worth reading. Knows nothing of HTTP, of storing, or of what an event is good for.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strum::{IntoStaticStr, VariantArray};
use subtle::{Choice, ConstantTimeEq};

mod event;

pub use event::{NotAnEvent, event};

/// Longest header that is looked at, bytes. Stripe's own have some 150.
const HEADER_LIMIT: usize = 4096;

/// Most signatures in a header: Stripe sends one for each live secret, at most a handful.
const SIGNATURE_LIMIT: usize = 16;

/// How far a header's time may be from ours, either way, seconds.
const TOLERANCE_S: u64 = 300;

const MAC_BYTES: usize = 32;

/// The webhook secrets, `whsec_…`; several while one is being replaced. Shown in no log, error or
/// `Debug`.
#[derive(Clone, Default)]
pub struct WebhookSecrets {
    secrets: Vec<String>,
    trimmed: usize,
}

impl WebhookSecrets {
    /// Reads `STRIPE_WEBHOOK_SECRET`: comma-separated. Whitespace around a secret is never part of
    /// it (a line end slips in easily), so it is cut off with a warning; what is empty counts as
    /// not set.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for (index, part) in text.split(',').enumerate() {
            let secret = part.trim();
            if secret.is_empty() {
                continue;
            }
            if secret.len() != part.len() {
                read.trimmed += 1;
                tracing::warn!(
                    position = index + 1,
                    "STRIPE_WEBHOOK_SECRET: whitespace around a secret was cut off"
                );
            }
            read.secrets.push(secret.to_owned());
        }
        read
    }

    /// Whether none is set: then no event can be accepted.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// How many had whitespace around them.
    pub fn trimmed(&self) -> usize {
        self.trimmed
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.secrets.len())
    }
}

/// Why a signature does not hold. Its words are the same for all: whoever forges would learn from
/// the difference. The owner of the secret is told the category, in log, metric and `/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[error("Invalid signature")]
pub enum BadSignature {
    /// There is no header.
    NoHeader,
    /// The header names no time, no signature of today's scheme, or too much of either.
    Malformed,
    /// No secret made any of the signatures.
    NoMatch,
    /// A secret made it, more than five minutes ago.
    TooOld,
    /// A secret made it, for a time more than five minutes ahead.
    TooNew,
}

impl BadSignature {
    /// Fixed metric label. Sending the same again cannot help.
    pub fn category(self) -> &'static str {
        self.into()
    }
}

/// Whether the body, exactly as it came, was signed with one of the secrets within five minutes of
/// now.
///
/// # Errors
/// With the first reason why not.
pub fn verify(
    header: &str,
    body: &[u8],
    secrets: &WebhookSecrets,
    now_unix: i64,
) -> Result<(), BadSignature> {
    let signed = SignatureHeader::read(header)?;
    // All of them are compared, always: neither which secret matched nor which signature shows in
    // the time taken.
    let mut matched = Choice::from(0);
    for secret in &secrets.secrets {
        let ours = mac(secret, signed.time_text, body)?;
        for theirs in &signed.signatures {
            matched |= ours.ct_eq(theirs);
        }
    }
    // The age comes second: of a time nobody signed nothing is said, not even that it is old.
    if bool::from(matched) {
        signed.within_tolerance(now_unix)
    } else {
        Err(BadSignature::NoMatch)
    }
}

/// Whether a header could be that of an event sent within five minutes of now, whoever wrote it: of
/// a time that nobody may have signed.
///
/// # Errors
/// With the first reason why not.
pub fn promises(header: &str, now_unix: i64) -> Result<(), BadSignature> {
    SignatureHeader::read(header)?.within_tolerance(now_unix)
}

/// HMAC-SHA-256 over `t.body`; the key is the whole secret, its `whsec_` included.
fn mac(secret: &str, time_text: &str, body: &[u8]) -> Result<[u8; MAC_BYTES], BadSignature> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| BadSignature::NoMatch)?;
    mac.update(time_text.as_bytes());
    mac.update(b".");
    mac.update(body);
    Ok(mac.finalize().into_bytes().into())
}

/// What a `Stripe-Signature` header holds.
struct SignatureHeader<'a> {
    time: i64,
    /// The digits as they came: they are what was signed.
    time_text: &'a str,
    signatures: Vec<[u8; MAC_BYTES]>,
}

impl<'a> SignatureHeader<'a> {
    fn read(header: &'a str) -> Result<Self, BadSignature> {
        if header.is_empty() {
            return Err(BadSignature::NoHeader);
        }
        Self::parse(header).ok_or(BadSignature::Malformed)
    }

    fn parse(header: &'a str) -> Option<Self> {
        if header.len() > HEADER_LIMIT {
            return None;
        }
        let mut time_text = None;
        let mut seen = 0;
        let mut signatures = Vec::new();
        for (name, value) in header
            .split(',')
            .filter_map(|element| element.split_once('='))
        {
            match name {
                // Two times: which one was signed would be the sender's choice.
                "t" if time_text.replace(value).is_some() => return None,
                "v1" => {
                    seen += 1;
                    // A malformed one is skipped: a proxy's scribble must not cost the good one
                    // beside it.
                    signatures.extend(decode(value));
                }
                // `v0` is Stripe's of test mode and proves nothing; whatever else there will be
                // neither.
                _ => {}
            }
        }
        if seen > SIGNATURE_LIMIT || signatures.is_empty() {
            return None;
        }
        let time_text = time_text?;
        let digits =
            (1..=12).contains(&time_text.len()) && time_text.bytes().all(|b| b.is_ascii_digit());
        let time = if digits {
            time_text.parse().ok()?
        } else {
            return None;
        };
        Some(Self {
            time,
            time_text,
            signatures,
        })
    }

    fn within_tolerance(&self, now_unix: i64) -> Result<(), BadSignature> {
        match self.time.abs_diff(now_unix) {
            0..=TOLERANCE_S => Ok(()),
            _ if self.time < now_unix => Err(BadSignature::TooOld),
            _ => Err(BadSignature::TooNew),
        }
    }
}

fn decode(text: &str) -> Option<[u8; MAC_BYTES]> {
    let mut bytes = [0; MAC_BYTES];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}
