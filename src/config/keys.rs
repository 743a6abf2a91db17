//! The keys of the API: whose each is, and what its bearer may do. Of a key only the digest is
//! kept.
//!
//! Knows nothing of HTTP.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use strum::{EnumString, IntoStaticStr, VariantArray};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{ConfigError, Environment, graphic, not_set};

/// What a bearer may do beyond reading, which every one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// Reads.
    Reader,
    /// Asks for verdicts, which count as offered load: `/v1/decide`.
    Gate,
    /// Measures and declares levels: `/observe`, `/control`.
    Operator,
    /// Stops and starts: `/kill`, `/revive`.
    Breaker,
}

impl Role {
    /// Its name in `ECHO_API_KEYS`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's name, for audit entries.
    pub name: Arc<str>,
    roles: u8,
}

impl Caller {
    /// Whether the caller may do what needs this role.
    pub fn may(&self, role: Role) -> bool {
        role == Role::Reader || self.roles & role.bit() != 0
    }
}

#[derive(Clone)]
struct Key {
    name: Arc<str>,
    role: u8,
    digest: [u8; 32],
    /// Which entry of `ECHO_API_KEYS` it is, from 1; 0 is `ECHO_API_KEY`.
    entry: usize,
    /// Whether it has fewer than [`SHORTEST`] characters.
    short: bool,
}

/// Keys that open protected routes.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

/// Name of the one key that has all roles.
const MAIN: &str = "ECHO_API_KEY";
/// The variable of all others.
const MORE: &str = "ECHO_API_KEYS";
/// Longest name of a key, bytes.
const NAME_LIMIT: usize = 64;
/// Fewest characters of a key in production: what `openssl rand -hex 16` makes, which nobody
/// guesses.
const SHORTEST: usize = 32;

impl Keys {
    /// The keys of `ECHO_API_KEY` and `ECHO_API_KEYS`; a name may come again, for another key of
    /// the same bearer (while one replaces the other) or for another role.
    ///
    /// # Errors
    /// If one of them could not be sent or an entry is none. Names the entry by its number, never
    /// by what it holds.
    pub fn parse(main: Option<&str>, more: &str) -> Result<Self, ConfigError> {
        let mut keys = Self::default();
        if let Some(key) = main {
            if !graphic(key) {
                let fix = "Make one with: openssl rand -hex 32";
                return Err(ConfigError::new(
                    MAIN,
                    "visible ASCII without spaces, as a header can bear it",
                    fix,
                ));
            }
            let all = Role::VARIANTS.iter().fold(0, |all, role| all | role.bit());
            keys.0.push(Key::new(MAIN, all, key, 0));
        }
        for (index, entry) in more.split(',').enumerate() {
            let entry = entry.trim();
            if entry.is_empty() {
                continue;
            }
            let number = index + 1;
            let key = Key::parse(entry, number).and_then(|key| match key {
                Some(key)
                    if keys
                        .0
                        .iter()
                        .any(|known| known.digest == key.digest && known.name != key.name) =>
                {
                    Err("its key is another name's too")
                }
                other => Ok(other),
            });
            match key {
                Ok(Some(key)) => keys.0.push(key),
                Ok(None) => tracing::warn!(
                    entry = number,
                    "{MORE}: an entry's key is a placeholder; it opens nothing"
                ),
                Err(wrong) => {
                    let expected = format!(
                        "name:role:key, comma-separated, with a role of {}; entry {number}: {wrong}",
                        roles()
                    );
                    let fix = format!(
                        "Write entry {number} as ci:reader:KEY, its key made with: openssl rand -hex 32"
                    );
                    return Err(ConfigError::new(MORE, expected, fix));
                }
            }
        }
        Ok(keys)
    }

    /// Whether they may be used there: in production a key has 32 characters or more.
    ///
    /// # Errors
    /// Names the first that is shorter by its variable and number.
    pub fn check(&self, environment: Environment) -> Result<(), ConfigError> {
        let short = self
            .0
            .iter()
            .find(|key| key.short && environment == Environment::Production);
        let Some(short) = short else { return Ok(()) };
        let which = if short.entry == 0 {
            String::new()
        } else {
            format!("; entry {}'s key is shorter", short.entry)
        };
        let expected = format!(
            "a key of {SHORTEST} characters or more while ENVIRONMENT is production{which}"
        );
        let variable = if short.entry == 0 { MAIN } else { MORE };
        Err(ConfigError::new(
            variable,
            expected,
            "Make one with: openssl rand -hex 32",
        ))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anybody may do what needs this role.
    pub fn anybody_may(&self, role: Role) -> bool {
        self.0
            .iter()
            .any(|key| role == Role::Reader || key.role & role.bit() != 0)
    }

    /// Whose key this is. Every digest is compared, each in constant time: neither how many keys
    /// there are right of the one that fits nor how much of it fits can be told from how long this
    /// takes.
    pub fn whose(&self, given: &[u8]) -> Option<Caller> {
        let given: [u8; 32] = Sha256::digest(given).into();
        let (mut found, mut roles) = (u64::MAX, 0_u8);
        for (index, key) in (0_u64..).zip(&self.0) {
            let same = key.digest.ct_eq(&given);
            found.conditional_assign(&index, same);
            roles |= u8::conditional_select(&0, &key.role, same);
        }
        let key = self.0.get(usize::try_from(found).ok()?)?;
        Some(Caller {
            name: Arc::clone(&key.name),
            roles,
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.name))
            .finish()
    }
}

impl Key {
    /// One entry; `None` if its key is a placeholder. The error repeats nothing of the entry: who
    /// mixes up the order has the key where the name belongs.
    fn parse(entry: &str, number: usize) -> Result<Option<Self>, &'static str> {
        let mut parts = entry.splitn(3, ':').map(str::trim);
        let (Some(name), Some(role), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("it has fewer than three parts");
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name == MAIN {
            return Err("its name is reserved for the key of ECHO_API_KEY");
        }
        if !(1..=NAME_LIMIT).contains(&name.len()) || !name.bytes().all(letter) {
            return Err("its name is not 1 to 64 of letters, digits, dot, dash and underscore");
        }
        let role: Role = role.parse().map_err(|_| "its role is none")?;
        if not_set(key) {
            return if key.is_empty() {
                Err("its key is empty")
            } else {
                Ok(None)
            };
        }
        if !graphic(key) {
            return Err("its key is not visible ASCII without spaces");
        }
        Ok(Some(Self::new(name, role.bit(), key, number)))
    }

    fn new(name: &str, role: u8, key: &str, entry: usize) -> Self {
        let (digest, short) = (Sha256::digest(key).into(), key.len() < SHORTEST);
        Self {
            name: name.into(),
            role,
            digest,
            entry,
            short,
        }
    }
}

fn roles() -> String {
    let names: Vec<_> = Role::VARIANTS.iter().map(|role| role.as_str()).collect();
    names.join(", ")
}
