//! The key of protected routes: the configured one, or in development one that is made and kept beside the store.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::{Environment, KeyArgs, Keys};

use super::RunError;

/// Its file in the data folder.
const FILE: &str = "api-key";

/// The keys of this process. Without one in production protected routes answer 500 and say so.
pub(super) fn keys(args: &KeyArgs, environment: Environment, data: Option<&Path>) -> Result<Keys, RunError> {
    if let Some(key) = args.api_key.given() {
        return Ok(Keys::new(Some(key.to_owned())));
    }
    let Some(data) = data.filter(|_| environment == Environment::Development) else {
        tracing::warn!("ECHO_API_KEY is not set: protected routes answer 500 until it is");
        return Ok(Keys::default());
    };
    let path = data.join(FILE);
    if let Ok(key) = fs::read_to_string(&path) {
        tracing::info!(file = %path.display(), "ECHO_API_KEY is not set: using the key made earlier");
        return Ok(Keys::new(Some(key.trim().to_owned())));
    }
    let key = hex::encode(rand::random::<[u8; 32]>());
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.and_then(|mut file| file.write_all(key.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| RunError::failed("a key could not be kept beside the store", error))?;
    println!("ECHO_API_KEY is not set; made one, kept in {} (shown this once):\n{key}", path.display());
    Ok(Keys::new(Some(key)))
}
