//! One throttle as it was seen, with what is declared of it as that was last asked for.
//!
//! Whoever changes anything of it makes what is declared be worked out anew: that is no caller's to
//! remember. Whoever only looks leaves it. Knows nothing of other throttles.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use super::indexed::IndexedThrottle;
use crate::domain::throttle::{Declared, ThrottleName};

/// A throttle, and what is declared of it.
#[derive(Debug)]
pub(super) struct CachedThrottle {
    known: IndexedThrottle,
    declared: OnceLock<Arc<Declared>>,
}

impl CachedThrottle {
    pub(super) fn new(known: IndexedThrottle) -> Self {
        Self {
            known,
            declared: OnceLock::new(),
        }
    }

    /// What is declared of it; one that is gone is nobody's to act on.
    pub(super) fn declared(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        if self.known.gone {
            return None;
        }
        let declared = self
            .declared
            .get_or_init(|| Arc::new(self.known.declared(name)));
        Some(Arc::clone(declared))
    }
}

impl Deref for CachedThrottle {
    type Target = IndexedThrottle;

    fn deref(&self) -> &IndexedThrottle {
        &self.known
    }
}

impl DerefMut for CachedThrottle {
    fn deref_mut(&mut self) -> &mut IndexedThrottle {
        self.declared.take();
        &mut self.known
    }
}
