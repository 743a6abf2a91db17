//! The hour's salt: worked out once an hour, read with every verdict, without a lock.

use std::sync::Arc;

use crate::decide::verdict::{Salt, hour};
use crate::sync::ArcSwap;

/// The salt of a secret.
pub(super) struct Salts {
    secret: Box<[u8]>,
    /// The hour asked for last, and its salt.
    known: ArcSwap<(i64, Salt)>,
}

impl Salts {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self {
            secret: secret.into(),
            known: ArcSwap::from_pointee((0, Salt::of(secret, 0))),
        }
    }

    /// The salt of the hour that `unix_seconds` lies in. Whoever is first in an hour works it out;
    /// two at once get the same.
    pub(super) fn at(&self, unix_seconds: i64) -> Salt {
        let known = self.known.load();
        let hour = hour(unix_seconds);
        if known.0 == hour {
            return known.1;
        }
        let salt = Salt::of(&self.secret, unix_seconds);
        self.known.store(Arc::new((hour, salt)));
        salt
    }
}
