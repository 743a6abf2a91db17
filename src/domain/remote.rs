//! Another Echo Phoenix that obeys this one: how a kill tells whose it is.
//!
//! Knows no HTTP; the words that travel in a kill's `operator` are made and read here alone.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::hold::Hold;
use super::throttle::name::ThrottleName;

/// What the operator of a kill begins with that another site sent.
const SENDER: &str = "echo-phoenix ";
/// Characters of an installation's id, a ULID.
const ID: usize = 26;
/// Longest throttle name that travels whole: an operator is at most 256 characters.
const WHOLE: usize = 200;

/// The operator of the kills that a throttle of an installation sends: people can read it, and it
/// is the same after a restart of either side, so that a hold of ours is known again.
#[must_use]
pub fn sender(installation: &str, throttle: &ThrottleName) -> String {
    let name = throttle.as_str();
    if name.len() <= WHOLE {
        return format!("{SENDER}{installation}/{name}");
    }
    // Names are ASCII.
    let mut text = format!("{SENDER}{installation}/{}~", &name[..WHOLE - 40]);
    for byte in Sha256::digest(name).iter().take(8) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether a kill's operator is another site, and not a person here.
#[must_use]
pub fn is_sender(operator: &str) -> bool {
    let Some((id, _)) = operator
        .strip_prefix(SENDER)
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    id.len() == ID
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

/// The kills that are sent on to other sites: those that were not sent by one. A site names every
/// site that shall obey it; a kill that was passed on could come back in a circle, and then nobody
/// could end it.
pub fn own_kills(holds: &[Hold]) -> impl Iterator<Item = &Hold> {
    holds
        .iter()
        .filter(|hold| hold.is_kill() && !is_sender(&hold.operator))
}
