//! The declared state of a process without a cluster: what REST and a manifest file declare, over
//! the ledger.
//!
//! Knows ports and no SQL, no journal and no route; nothing here acts on what is declared.

mod ledger;
mod manifest_file;

pub use ledger::{LedgerDesired, Taken};
pub(crate) use manifest_file::{ManifestFile, ManifestPoll};
