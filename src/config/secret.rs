//! A value that must not be shown, and what of it counts as not set.
//!
//! Knows no variable, nor what a secret is for.

use std::fmt;

/// A value that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself; `None` if it is empty or a placeholder of the guide.
    pub fn given(&self) -> Option<&str> {
        let text = self.0.trim();
        (!not_set(text)).then_some(text)
    }
}

/// What the guide writes where a value will stand; … is any text.
pub const PLACEHOLDERS: [&str; 5] = [
    "whsec_PLACEHOLDER",
    "YOUR_…",
    "…_YOUR_KEY",
    "…_YOUR_SECRET",
    "…...",
];

/// Whether a value says that none is set: nothing, or what the guide writes where a value will
/// stand.
pub(super) fn not_set(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || text.ends_with('…')
        || PLACEHOLDERS.iter().any(|known| {
            match (known.strip_suffix('…'), known.strip_prefix('…')) {
                (Some(lead), _) => text.starts_with(lead),
                (None, Some(tail)) => text.ends_with(tail),
                (None, None) => text == *known,
            }
        })
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.given().is_some() {
            "(set)"
        } else {
            "(not set)"
        })
    }
}
