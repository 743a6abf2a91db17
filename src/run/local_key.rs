//! The key of protected routes: the configured one, or in development one that is made and kept
//! beside the store.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{ConfigError, Environment, KeyArgs, Keys, Role};
use crate::http::HealthParts;
use crate::telemetry::show;

use super::{RunError, kept};

/// The way out where no key has the role.
const NOBODY_MAY_KILL: &str = "set ECHO_API_KEY, or add a key of the role breaker to ECHO_API_KEYS";
/// Its file in the data folder.
const FILE: &str = "api-key";

/// The key that a service in development made and kept in this folder, and its file; none if there
/// is none. A superuser may use the folder owner's.
///
/// # Errors
/// Why it is not used, though it is there.
pub fn made_key(data: &Path) -> Result<Option<(String, PathBuf)>, String> {
    let superuser = rustix::process::geteuid().is_root();
    let owner = std::fs::metadata(data)
        .ok()
        .filter(|_| superuser)
        .map(|folder| folder.uid());
    let path = data.join(FILE);
    let kept = kept::read(&path, owner)
        .map_err(|error| format!("{} is not used: {error}", path.display()))?;
    Ok(kept.map(|key| (key, path)))
}

/// The keys that are configured.
///
/// # Errors
/// If one cannot be used, or not there.
pub(super) fn configured(args: &KeyArgs, environment: Environment) -> Result<Keys, RunError> {
    let keys = Keys::parse(
        args.api_key.given(),
        args.api_keys.given().unwrap_or_default(),
    )?;
    keys.check(environment)?;
    Ok(keys)
}

/// How the keys are, for `/health`; nothing if all is well.
pub(super) fn part(keys: &Keys, environment: Environment, parts: &mut HealthParts) {
    if keys.is_empty() && environment != Environment::Development {
        let wrong = "ECHO_API_KEY is not set: nobody can kill; make one with: openssl rand -hex 32";
        parts.on.push(("keys", Arc::new(|| Err(wrong.to_owned()))));
    } else if keys.is_empty() {
        parts.off.push(("keys", "ECHO_API_KEY"));
    } else if !keys.anybody_may(Role::Breaker) {
        parts.on.push((
            "keys",
            Arc::new(|| Err(format!("no key may POST /kill: {NOBODY_MAY_KILL}"))),
        ));
    }
}

/// The keys of this process. Without one in production protected routes answer 500 and say so.
pub(super) fn keys(
    args: &KeyArgs,
    environment: Environment,
    data: Option<&Path>,
) -> Result<Keys, RunError> {
    let keys = configured(args, environment)?;
    if !keys.is_empty() {
        if !keys.anybody_may(Role::Breaker) {
            tracing::warn!("no key may POST /kill: {NOBODY_MAY_KILL}");
        }
        if let (Environment::Staging, Err(short)) =
            (environment, keys.check(Environment::Production))
        {
            tracing::warn!("production would refuse to start: {short}");
        }
        return Ok(keys);
    }
    let Some(data) = data.filter(|_| environment == Environment::Development) else {
        tracing::warn!("ECHO_API_KEY is not set: protected routes answer 500 until it is");
        return Ok(keys);
    };
    Ok(Keys::parse(Some(&made(data)?), "")?)
}

/// The key in the data folder, made if there is none.
fn made(data: &Path) -> Result<String, RunError> {
    let path = data.join(FILE);
    // Somebody else may know what stands there, or may have chosen it.
    let known = kept::read(&path, None).map_err(|error| ConfigError {
        variable: "ECHO_API_KEY",
        expected: "a key, or in development a file with one that is this user's alone".to_owned(),
        fix: format!(
            "{}: {error}. Remove it, and a new one is made; or set the variable.",
            path.display()
        ),
    })?;
    if let Some(known) = known {
        tracing::info!(file = %path.display(), "ECHO_API_KEY is not set: using the key made earlier");
        return Ok(known);
    }
    let key = hex::encode(rand::random::<[u8; 32]>());
    kept::make(&path, &key)
        .map_err(|error| RunError::failed("a key could not be kept beside the store", error))?;
    show(&format!(
        "ECHO_API_KEY is not set; made one, kept in {} (shown this once):\n{key}\n",
        path.display()
    ));
    Ok(key)
}
