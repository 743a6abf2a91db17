//! The keys to other sites, each in a variable that a declaration names. Only variables of one form
//! can be named, or whoever writes a declaration could have any variable of this process sent
//! anywhere.

use std::collections::BTreeMap;

use super::vars::{FILE_SUFFIX, REMOTE_KEY_PREFIX, environment, is_of_dotenv, loaded, secret_in};
use super::{Secret, graphic};

/// What is said of another name.
pub const REMOTE_KEY_FORM: &str =
    "expected a variable ECHO_REMOTE_KEY_NAME (letters, digits and _), which has the key";
/// What says where keys are sent: the file that declares, and the folder that keeps what was
/// declared.
const SAY_WHERE: [&str; 2] = ["ECHO_MANIFEST", "ECHO_DATA_DIR"];
/// Longest name, bytes.
const NAME_LIMIT: usize = 128;

/// Whether a declaration may name this variable. What ends in `_FILE` names a file instead.
pub fn is_remote_key(variable: &str) -> bool {
    let name = variable
        .strip_prefix(REMOTE_KEY_PREFIX)
        .filter(|_| variable.len() <= NAME_LIMIT);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(letter))
        && !variable.ends_with(FILE_SUFFIX)
}

/// The keys that were there when the process started.
#[derive(Clone, Debug, Default)]
pub struct RemoteKeys(BTreeMap<String, Result<Secret, String>>);

impl RemoteKeys {
    /// Reads the environment, the files it names, and `.env`. Blocks while a file does not answer.
    /// Where `.env` says where keys are sent, only its own are: whoever wrote it would get the
    /// others.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is one of the places where configuration is read"
    )]
    pub fn read() -> Self {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let of_file = loaded().file.names().map(str::to_owned).collect::<Vec<_>>();
        let variable = |name: String| {
            name.strip_suffix(FILE_SUFFIX)
                .map(str::to_owned)
                .unwrap_or(name)
        };
        let all = names
            .chain(of_file)
            .map(variable)
            .filter(|name| is_remote_key(name));
        let of_stranger = SAY_WHERE
            .into_iter()
            .find(|variable| is_of_dotenv(variable));
        Self(
            all.map(|name| (name.clone(), one(&name, of_stranger)))
                .collect(),
        )
    }

    /// The key in a variable.
    ///
    /// # Errors
    /// Why there is none, in words that follow the variable's name.
    pub fn get(&self, variable: &str) -> Result<&Secret, String> {
        if !is_remote_key(variable) {
            return Err(format!("is not used: {REMOTE_KEY_FORM}"));
        }
        match self.0.get(variable) {
            None => Err("is not set, or has no text".to_owned()),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(key)) => Ok(key),
        }
    }
}

/// The environment's word, or the file's that it names, or that of `.env`. `of_stranger`: what
/// `.env` says of where keys go.
fn one(variable: &str, of_stranger: Option<&str>) -> Result<Secret, String> {
    let named = format!("{variable}{FILE_SUFFIX}");
    let given = (environment(variable), environment(&named));
    if let Some(where_to) = of_stranger
        && given != (None, None)
    {
        return Err(format!(
            "is not sent: {where_to} is .env's and the key is not. Set both in the same place"
        ));
    }
    let key = match given {
        (Some(_), Some(_)) => {
            return Err(format!("is set beside {named}: leave one of them unset"));
        }
        (Some(key), None) => key,
        (None, Some(path)) => {
            secret_in(&path).map_err(|why| format!("cannot be had: {named}: {path}: {why}"))?
        }
        (None, None) => loaded()
            .file
            .value(variable)
            .map(|(value, _)| value.to_owned())
            .unwrap_or_default(),
    };
    let secret = Secret::from(key);
    match secret.given() {
        None => Err("is not set, or has no text".to_owned()),
        Some(key) if !graphic(key) => Err("is not visible ASCII without spaces".to_owned()),
        Some(_) => Ok(secret),
    }
}
