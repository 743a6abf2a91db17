//! The manifest file of a service: what is read of it, and whether that can be obeyed.
//!
//! A file that is broken, gone, or on a mount that hangs changes nothing: the last good state stays
//! and `/health` says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Taken;
use crate::config::files::PatientReader;
use crate::config::{HostArgs, RemoteKeys};
use crate::domain::target::TargetSpec;
use crate::domain::throttle::{FromFile, ThrottleName};
use crate::ports::Clock;
use crate::source::manifest::{LIMIT, parse};

/// A file that nobody has read for this long is told of.
const STALE: Duration = Duration::from_secs(10);

/// A manifest file and how it is doing.
pub(crate) struct ManifestFile {
    path: PathBuf,
    reader: PatientReader,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The text that was looked at last.
    text: Option<Arc<str>>,
    /// When that was.
    read_at: Duration,
    /// What the last good one declares.
    good: Vec<FromFile>,
    /// Whether the ledger has that.
    taken: bool,
    /// Whether there is a state to stand on: of an earlier file, or of a process before.
    stands: bool,
    /// Why the file cannot be used now.
    trouble: Option<Trouble>,
    /// Throttles the file owned and no longer names.
    left: Vec<ThrottleName>,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// All of it, for the log.
    words: String,
    /// What `/health` says in its place, which anybody may ask: not where calls go, nor which
    /// variables there are, nor what the file says.
    instead: Option<String>,
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Self {
            words,
            instead: None,
        }
    }
}

impl Trouble {
    fn told(&self) -> &str {
        self.instead.as_deref().unwrap_or(&self.words)
    }
}

/// What a look at the file found.
pub(crate) enum ManifestPoll {
    /// Why it cannot be read.
    Unread(String),
    /// The text that was there before.
    Same,
    /// Another text, and what it declares.
    Text(Arc<str>, Result<Vec<FromFile>, Trouble>),
}

impl ManifestFile {
    pub(crate) fn new(path: &Path, clock: &Arc<dyn Clock>) -> Self {
        let (reader, clock) = (PatientReader::of(path, LIMIT), Arc::clone(clock));
        let state = State {
            read_at: clock.elapsed(),
            ..State::default()
        };
        Self {
            path: path.to_owned(),
            reader,
            clock,
            state: Mutex::new(state),
        }
    }

    /// How it is doing, for `/health`.
    pub(crate) fn health(&self) -> Result<String, String> {
        let state = self.state.lock();
        let age = self.clock.elapsed().saturating_sub(state.read_at);
        let stale = if age > STALE {
            format!("not read for {} s", age.as_secs())
        } else {
            String::new()
        };
        match (&state.trouble, state.left.as_slice()) {
            (Some(trouble), _) if stale.is_empty() => {
                Err(format!("{}; the last good state stays", trouble.told()))
            }
            (Some(trouble), _) => Err(format!(
                "{}; {stale}, the last good state stays",
                trouble.told()
            )),
            (None, _) if !stale.is_empty() => Err(format!("{stale}; the last good state stays")),
            (None, _) if !state.taken => Err("declared, and waits for the ledger".to_owned()),
            (None, []) => Ok("ok".to_owned()),
            (None, left) => {
                let names: Vec<_> = left.iter().map(ThrottleName::as_str).collect();
                Ok(format!(
                    "ok; no longer in the file, so they keep their last state: {}",
                    names.join(", ")
                ))
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// There is a state of a process before, which stays as long as the file cannot be used.
    pub(crate) fn stands(&self, has_state: bool) {
        self.state.lock().stands = has_state;
    }

    /// Why it cannot be used now, in all words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.state.lock();
        state.trouble.as_ref().map(|trouble| trouble.words.clone())
    }

    /// What it declares, where the ledger does not have all of that.
    pub(crate) fn owed(&self) -> Option<Vec<FromFile>> {
        let state = self.state.lock();
        (!state.taken && !state.good.is_empty()).then(|| state.good.clone())
    }

    /// Keeps what the ledger has of the file.
    pub(crate) fn keep(&self, done: Taken) {
        let mut state = self.state.lock();
        let names: Vec<_> = done.left.iter().map(ThrottleName::as_str).collect();
        let throttles = names.join(", ");
        match state.left != done.left {
            true if names.is_empty() => {
                tracing::info!("every throttle that had left the manifest is back in it")
            }
            true => tracing::warn!(
                throttles,
                "no longer in the manifest: they keep their last state"
            ),
            false => {}
        }
        (state.left, state.taken) = (done.left, done.owed.is_none());
    }

    /// Reads the file, and what it declares if that is new. Blocks for as long as a file is waited
    /// for.
    /// `keys` and `hosts`: the keys to other sites, and where they may be.
    pub(crate) fn find(&self, keys: &RemoteKeys, hosts: &HostArgs) -> ManifestPoll {
        let text: Arc<str> = match self.reader.read_text() {
            Ok(text) => text.into(),
            Err(error) => return ManifestPoll::Unread(format!("cannot be read: {error}")),
        };
        if self.state.lock().text.as_ref() == Some(&text) {
            return ManifestPoll::Same;
        }
        let parsed = parse(&text).map_err(|error| Trouble {
            words: error.to_string(),
            instead: Some(error.place()),
        });
        let called = |words| Trouble {
            words,
            instead: Some("a target cannot be called, the log says which".to_owned()),
        };
        let good = parsed.and_then(|good| {
            can_be_called(&good, keys, hosts)
                .map(|()| good)
                .map_err(called)
        });
        ManifestPoll::Text(text, good)
    }

    /// Keeps what was found; what is wrong is told once.
    pub(crate) fn digest(&self, found: ManifestPoll) {
        let mut state = self.state.lock();
        if !matches!(found, ManifestPoll::Unread(_)) {
            state.read_at = self.clock.elapsed();
        }
        let trouble = match found {
            ManifestPoll::Unread(error) => {
                state.text = None;
                Some(Trouble::from(error))
            }
            ManifestPoll::Same => return,
            ManifestPoll::Text(text, good) => {
                state.text = Some(text);
                match good {
                    Ok(good) => {
                        (state.good, state.taken) = (good, false);
                        None
                    }
                    Err(error) => Some(error),
                }
            }
        };
        let file = self.path.display();
        match &trouble {
            Some(new) if state.trouble.as_ref() != Some(new) => {
                let (trouble, stays) = (
                    &new.words,
                    if state.stands {
                        "; the last good state stays"
                    } else {
                        ""
                    },
                );
                tracing::error!(%file, trouble, "the manifest cannot be used{stays}");
            }
            None if state.trouble.is_some() => {
                tracing::info!(%file, "the manifest can be used again")
            }
            _ => {}
        }
        state.stands |= trouble.is_none();
        state.trouble = trouble;
    }
}

/// Whether every variable that should have a key to another site has one, and every host may be
/// called.
fn can_be_called(all: &[FromFile], keys: &RemoteKeys, hosts: &HostArgs) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (one, target) in all
        .iter()
        .flat_map(|one| one.spec.targets.iter().map(move |target| (one, target)))
    {
        let name = &one.name;
        if let TargetSpec::Remote(remote) = target {
            let url = &remote.url;
            if let Err(why) = keys.get(&remote.api_key_env) {
                wrong.push(format!(
                    "{name}: spec.targets: remote {url}: apiKeyEnv: {} {why}",
                    remote.api_key_env
                ));
            }
            if let Err(why) = hosts.check(url) {
                wrong.push(format!("{name}: spec.targets: remote {url}: {why}"));
            }
        }
        // Its URL may bear a secret, so it is not told.
        if let TargetSpec::Gate(gate) = target
            && let Some(Err(why)) = gate.canary_url.as_deref().map(|url| hosts.check(url))
        {
            wrong.push(format!("{name}: spec.targets: gate.canaryUrl: {why}"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}
