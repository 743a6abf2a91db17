//! What makes the gate's hourly salt: a secret, so that nobody can compute which callers are
//! refused.
//!
//! A service without a cluster makes one beside its ledger. The gates of a cluster refuse the same
//! callers only if all of them have the same, so there it has to be given.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::config::{Environment, GateSecretArgs};
use crate::gate::Gate;
use crate::store::private;

use super::{RunError, kept};

/// Its file in the data folder.
const FILE: &str = "gate-secret";
/// Fewest bytes that nobody tries out.
const SHORTEST: usize = 32;
/// Modes by which others may write.
const OTHERS_WRITE: u32 = 0o022;

/// A gate whose salt follows from the configured secret, or from the one that is kept in this
/// folder; without both from the hour alone.
///
/// What is not as it should be with the one that is kept goes to `told`.
///
/// # Errors
/// If the configured one cannot be used.
pub(super) fn gate(
    args: &GateSecretArgs,
    environment: Environment,
    kept: Option<(&Path, &mut Vec<String>)>,
) -> Result<Gate, RunError> {
    args.check(environment)?;
    match (args.gate_secret.given(), kept) {
        (Some(secret), _) => Ok(Gate::with_secret(secret.as_bytes())),
        (None, Some((data, told))) => Ok(Gate::with_secret(of_folder(data, told).as_bytes())),
        (None, None) => {
            tracing::warn!(
                "ECHO_GATE_SECRET is not set: whoever reads the code can compute which callers with a key are refused; set \
                 the same one for the operator and all gates"
            );
            Ok(Gate::default())
        }
    }
}

/// The secret in the data folder, made if there is none. Where none can be kept, or the one there
/// is not to be trusted, one for this process alone: the next one refuses other callers, and that
/// is all.
fn of_folder(data: &Path, told: &mut Vec<String>) -> String {
    let path = data.join(FILE);
    kept_or_made(&path, told).unwrap_or_else(|error| {
        tracing::warn!(
            file = %path.display(), %error,
            "the gate's secret is not kept: other callers are refused after a restart; mend the file, or set ECHO_GATE_SECRET"
        );
        told.push(format!("{FILE} is not kept, so other callers are refused after a restart: {error}"));
        random()
    })
}

fn kept_or_made(path: &Path, told: &mut Vec<String>) -> io::Result<String> {
    let mut wrong = |what: String| {
        tracing::warn!(file = %path.display(), "{what}");
        told.push(format!("{FILE}: {what}"));
    };
    let known = match kept::read(path, None) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // Of a file of ours: whoever could write it may have chosen it, whoever could read it
            // can compute.
            let mode = private::take_back(path).map_err(|_| error)?;
            let known = kept::read(path, None)?.filter(|_| mode & OTHERS_WRITE == 0);
            let then = match known {
                Some(_) => {
                    "it is its owner's alone now; whoever read it can compute who is refused, until it is removed"
                }
                None => "a new one is made, and other callers are refused than before",
            };
            wrong(format!(
                "others had a way into it (mode {mode:04o}): {then}"
            ));
            known
        }
        known => known?,
    };
    let known = known.filter(|known| {
        let long = known.len() >= SHORTEST;
        if !long {
            wrong("too short for a secret: a new one is made, and other callers are refused than before".to_owned());
        }
        long
    });
    if let Some(known) = known {
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
