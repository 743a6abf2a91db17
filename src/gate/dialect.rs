//! How a verdict is asked for and said so that a given proxy understands it: one answer does not
//! survive every proxy.
//!
//! Pure: paths, a status and header values; who receives and sends them is `http`'s.

use strum::{EnumString, IntoStaticStr};

use crate::decide::verdict::{Reason, Verdict};

/// The proxies that are spoken to, by the word in the path of their endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Dialect {
    /// Envoy `ext_authz` over HTTP, Istio.
    Envoy,
    /// nginx `auth_request`, ingress-nginx `auth-url`.
    Nginx,
    /// Traefik `forwardAuth`, Caddy `forward_auth`.
    Forward,
}

/// A verdict as one proxy wants to hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Status of the answer to the proxy.
    pub status: u16,
    /// Status the proxy's client should get, where the proxy cannot carry it itself.
    pub echo_status: Option<u16>,
}

impl Dialect {
    /// Its word in the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the path of an endpoint, `/authz/DIALECT/THROTTLE` and what follows: dialect,
    /// throttle, and the rest of the path, which begins with a slash or is empty. Nothing is
    /// decoded: a throttle's name has nothing to decode, so one that is written otherwise is
    /// unknown.
    pub fn of_path(path: &str) -> Option<(Self, &str, &str)> {
        let (dialect, rest) = path.strip_prefix("/authz/")?.split_once('/')?;
        let dialect = dialect.parse().ok()?;
        let (throttle, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some((dialect, throttle, rest))
    }

    /// Words a verdict.
    ///
    /// Envoy reads any 5xx as a fault of ours, and may then let the request through. nginx turns
    /// all but 2xx, 401 and 403 into a 500, so the real status travels in a header. The others hand
    /// status and headers to their client as they are.
    pub fn says(self, verdict: &Verdict) -> Spoken {
        if verdict.admitted {
            return Spoken {
                status: 200,
                echo_status: None,
            };
        }
        let (throttled, killed) = match self {
            Self::Envoy => (429, 403),
            Self::Nginx | Self::Forward => (429, 503),
        };
        let status = if stopped(verdict) { killed } else { throttled };
        match self {
            Self::Nginx => Spoken {
                status: 403,
                echo_status: Some(status),
            },
            Self::Envoy | Self::Forward => Spoken {
                status,
                echo_status: None,
            },
        }
    }
}

/// A path as it came, cut at `?` and nowhere else: what an app makes of a `#` is not known. Never
/// decoded or normalised.
pub fn path_of(address: &str) -> &str {
    address.split_once('?').map_or(address, |(path, _)| path)
}

/// The path of an http address, likewise. One with an odd host has none: its path may begin
/// elsewhere than we think.
pub fn path_of_url(address: &str) -> &str {
    let after = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix("https://"))
        .unwrap_or_default();
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    path_of(after.trim_start_matches(|char| u8::try_from(char).is_ok_and(host)))
}

/// Seconds a refused caller should wait, spread over callers so that they do not come back
/// together. `soon`: whether another try within seconds may be admitted, which it may not while
/// nothing is, nor by a caller that is refused until the hour.
///
/// `number` is another one for each refusal: what is left of its multiple of the golden ratio lies
/// evenly for numbers in a row (Knuth's multiplicative hash), no dice.
pub fn retry_after(verdict: &Verdict, soon: bool, number: u64) -> u32 {
    if verdict.admitted {
        return 0;
    }
    let (least, most) = if soon && !stopped(verdict) {
        (1, 10)
    } else {
        (30, 120)
    };
    let spread = number.wrapping_mul(2_654_435_761) & 0xffff_ffff;
    least + u32::try_from((spread * (most - u64::from(least) + 1)) >> 32).unwrap_or(0)
}

/// Whether nothing gets through, rather than a share.
fn stopped(verdict: &Verdict) -> bool {
    matches!(verdict.reason, Reason::Kill | Reason::Unknown)
}
