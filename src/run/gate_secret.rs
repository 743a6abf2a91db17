//! What makes the gate's hourly salt: a secret, so that nobody can compute which callers are refused.
//!
//! A service without a cluster makes one beside its ledger. The gates of a cluster refuse the same callers only if all of
//! them have the same, so there it has to be given.

use std::io;
use std::path::Path;

use crate::config::{Environment, GateSecretArgs};
use crate::gate::Gate;

use super::{RunError, kept};

/// Its file in the data folder.
const FILE: &str = "gate-secret";

/// A gate whose salt follows from the configured secret, or from the one that is kept in this folder; without both from the
/// hour alone.
///
/// # Errors
/// If the configured one cannot be used.
pub(super) fn gate(args: &GateSecretArgs, environment: Environment, data: Option<&Path>) -> Result<Gate, RunError> {
    args.check(environment)?;
    match (args.gate_secret.given(), data) {
        (Some(secret), _) => Ok(Gate::with_secret(secret.as_bytes())),
        (None, Some(data)) => Ok(Gate::with_secret(of_folder(data).as_bytes())),
        (None, None) => {
            tracing::warn!(
                "ECHO_GATE_SECRET is not set: whoever reads the code can compute which callers with a key are refused; set \
                 the same one for the operator and all gates"
            );
            Ok(Gate::default())
        }
    }
}

/// The secret in the data folder, made if there is none. Where none can be kept, or the one there is not to be trusted, one
/// for this process alone: the next one refuses other callers, and that is all.
fn of_folder(data: &Path) -> String {
    let path = data.join(FILE);
    kept_or_made(&path).unwrap_or_else(|error| {
        tracing::warn!(
            file = %path.display(), %error,
            "the gate's secret is not kept: other callers are refused after a restart; mend the file, or set ECHO_GATE_SECRET"
        );
        random()
    })
}

fn kept_or_made(path: &Path) -> io::Result<String> {
    if let Some(known) = kept::read(path, None)? {
        return Ok(known);
    }
    let secret = random();
    kept::make(path, &secret)?;
    tracing::info!(file = %path.display(), "ECHO_GATE_SECRET is not set: made one");
    Ok(secret)
}

fn random() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}
