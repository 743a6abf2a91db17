//! What a throttle is called.
//!
//! Knows nothing of what is declared of it, so that whatever names a throttle need not either.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest accepted throttle name: a namespace (63) and a name (253) of Kubernetes with their dot.
pub const NAME_LIMIT: usize = 317;

/// A throttle's name; in a cluster it is `namespace.name` (namespaces hold no dot).
// Shared text: thousands of them are told at once when everything is stopped.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9.-]{1,317}$"))]
pub struct ThrottleName(Arc<str>);

/// Why a text is no throttle name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no throttle name: expected 1 to {NAME_LIMIT} of a-z, 0-9, `-` and `.`")]
pub struct BadName(String);

impl ThrottleName {
    /// The name that [`Self::self_test`] has.
    const SELF_TEST: &str = "_self-test";

    /// The throttle of a service that declares none.
    pub fn default_throttle() -> Self {
        Self("default".into())
    }

    /// The throttle on which the kill path proves itself; nobody can declare one of this name.
    pub fn self_test() -> Self {
        Self(Self::SELF_TEST.into())
    }

    /// Whether it is that one, which no listing shows and no command covers.
    pub fn is_hidden(&self) -> bool {
        self.as_str() == Self::SELF_TEST
    }

    /// The name of a throttle in a cluster.
    pub fn in_namespace(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}.{name}").into())
    }

    /// Namespace and name of a throttle in a cluster; `None` where there is no namespace.
    pub fn split(&self) -> Option<(&str, &str)> {
        self.0.split_once('.')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ThrottleName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        let fits = (1..=NAME_LIMIT).contains(&text.len())
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(BadName(text.chars().take(80).collect()))
        }
    }
}

impl From<ThrottleName> for String {
    fn from(name: ThrottleName) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for ThrottleName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ThrottleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
