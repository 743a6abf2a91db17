//! One request, one verdict: a hash and a compare over numbers that were worked out beforehand
//! (gate.md).
//!
//! Runs on the path of other people's requests. Must not know proxies, HTTP, clocks, locks or where
//! a rule is kept, and must not allocate.

use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU32, Ordering};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use siphasher::sip::SipHasher13;
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::law::Binding;

/// 2^32: the whole of the work in fixed point.
const WHOLE: u64 = 1 << 32;

/// Half of the whole: where an accumulator starts, see [`Accumulator`].
const HALF: u32 = 1 << 31;

/// Seconds after which another set of callers is refused, so that nobody is refused for ever.
const SALT_SECONDS: i64 = 3600;

/// Second half of the hash key where there is no secret. Fixed, because every gate must refuse the
/// same callers.
const SALT_DOMAIN: u64 = u64::from_be_bytes(*b"echo-phx");

/// Why a verdict is as it is; the value of `echo-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    /// Nothing stood in the way; for a denial: the rest of an opening that is under way.
    None,
    /// The declared throttle.
    Target,
    /// Automation, because of failed requests.
    Errors,
    /// Automation, because of latency.
    Latency,
    /// Automation, because of the order parameter.
    Order,
    /// The kill switch.
    Kill,
    /// The route is on the allow-list.
    AllowList,
    /// There is no such throttle.
    Unknown,
    /// The gate's state is too old to be believed.
    Stale,
}

impl Reason {
    /// The value on the wire and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<Binding> for Reason {
    fn from(binding: Binding) -> Reason {
        match binding {
            Binding::None => Reason::None,
            Binding::Target => Reason::Target,
            Binding::Errors => Reason::Errors,
            Binding::Latency => Reason::Latency,
            Binding::Order => Reason::Order,
        }
    }
}

/// What is in force for one throttle, in the form the hot path reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// q: share refused in fixed point, 0 (none) to 2^32 (all), from `Level::refusal_q32`. Anything
    /// above refuses all.
    pub refuse: u64,
    /// Whether the kill switch is on.
    pub killed: bool,
    /// What determined `refuse`; a throttled caller is told this.
    pub binding: Reason,
    /// Generation of the declaration this rule was made from.
    pub generation: i64,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass.
    pub admitted: bool,
    /// Why.
    pub reason: Reason,
    /// Generation of the rule that decided.
    pub generation: i64,
}

/// Error accumulator for callers without a key: no dice, and no run of bad luck.
///
/// Each request adds the admitted share; the one that carries over is admitted. It starts half
/// full, which rounds to the nearest instead of down: |admitted - (1-u)*n| <= 1/2 for every prefix
/// n in the order of the additions, from any number of threads, plus n * 2^-33 for the rounding of
/// u itself, and so below 1 for the first 2^32 requests.
#[derive(Debug)]
pub struct Accumulator(AtomicU32);

impl Default for Accumulator {
    fn default() -> Accumulator {
        Accumulator(AtomicU32::new(HALF))
    }
}

impl Accumulator {
    /// Whether the next request passes while the share `refuse` (0..=2^32) is refused.
    #[inline]
    pub fn admit(&self, refuse: u64) -> bool {
        if refuse == 0 {
            return true;
        }
        // Refusing all, and more than all, adds nothing and is refused; else the share is 1..2^32
        // and fits.
        let Ok(admitted @ 1..) = u32::try_from(WHOLE.saturating_sub(refuse)) else {
            return false;
        };
        // Relaxed: one counter, and nothing else is published through it.
        let before = self.0.fetch_add(admitted, Ordering::Relaxed);
        before.overflowing_add(admitted).1
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Requester<'a> {
    /// A caller with a key, as its [`point`]: the same callers pass as long as level and hour stay.
    Keyed(u32),
    /// A caller without: the accumulator of its shard counts.
    Unkeyed(&'a Accumulator),
}

/// The verdict on one request. Order of rules: allow-list, kill, throttle (gate.md).
#[inline]
#[must_use]
pub fn verdict(rule: &Rule, allow_listed: bool, caller: Requester<'_>) -> Verdict {
    let (admitted, reason) = if allow_listed {
        (true, Reason::AllowList)
    } else if rule.killed {
        (false, Reason::Kill)
    } else if throttle_admits(rule.refuse, caller) {
        (true, Reason::None)
    } else {
        (false, rule.binding)
    };
    Verdict {
        admitted,
        reason,
        generation: rule.generation,
    }
}

#[inline]
fn throttle_admits(refuse: u64, caller: Requester<'_>) -> bool {
    match caller {
        Requester::Keyed(point) => u64::from(point) >= refuse,
        Requester::Unkeyed(accumulator) => accumulator.admit(refuse),
    }
}

/// The hour that `unix_seconds` (UTC, seconds since 1970) lies in, counted from 1970: as long as a
/// salt stays.
#[must_use]
pub fn hour(unix_seconds: i64) -> i64 {
    unix_seconds.div_euclid(SALT_SECONDS)
}

/// What changes hourly in the hash of callers. The same for every process in the same hour that has
/// the same secret, so that many gates in a row refuse the same callers and not a new share each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u64; 2]);

impl Salt {
    /// The salt of an hour where there is no secret: whoever reads this can compute it.
    #[must_use]
    pub fn hourly(unix_seconds: i64) -> Salt {
        Salt([hour(unix_seconds).cast_unsigned(), SALT_DOMAIN])
    }

    /// The salt of an hour and a secret: HMAC-SHA256 of the hour (eight bytes, big end first), its
    /// first sixteen bytes. A caller that learns its points of one hour learns nothing of the next.
    #[must_use]
    pub fn of(secret: &[u8], unix_seconds: i64) -> Salt {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
            return Salt::hourly(unix_seconds);
        }; // takes any
        mac.update(&hour(unix_seconds).to_be_bytes());
        let mut halves = [0; 2];
        for (half, bytes) in halves
            .iter_mut()
            .zip(mac.finalize().into_bytes().chunks_exact(8))
        {
            *half = bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte));
        }
        Salt(halves)
    }
}

impl fmt::Debug for Salt {
    /// Never what it is: it tells who is refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

/// Where a caller stands, 0..2^32, evenly spread: it is admitted iff this is at least the share
/// refused.
#[inline]
#[must_use]
pub fn point(salt: &Salt, route: &str, key: &[u8]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(salt.0[0], salt.0[1]);
    hasher.write(route.as_bytes());
    // 0xff never occurs in UTF-8: no route and key can be cut differently and give the same bytes.
    hasher.write(&[0xff]);
    hasher.write(key);
    (hasher.finish() >> 32) as u32
}
