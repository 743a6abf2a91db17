//! The manifest file of a service: read at the start, looked at again every second, obeyed when it changed.
//!
//! A file that is broken or gone changes nothing: the last good state stays and `/health` says why.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, HostArgs, RemoteKeys};
use crate::domain::throttle::{FromFile, TargetSpec, ThrottleName};
use crate::http::Look;
use crate::latch::Latch;
use crate::ports::Clock;
use crate::source::manifest::{LIMIT, parse};
use crate::store::LedgerDesired;

use super::RunError;

/// How often the file is looked at. Reading it is simpler than being told of changes, and survives every way an editor, a
/// ConfigMap or a configuration tool replaces a file.
const LOOK: Duration = Duration::from_secs(1);

/// A manifest file and how it is doing.
pub(super) struct Manifest {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The text that was looked at last.
    text: Option<String>,
    /// What the last good one declares.
    good: Vec<FromFile>,
    /// Whether the ledger has that.
    taken: bool,
    /// Why the file cannot be used now.
    trouble: Option<String>,
    /// Throttles the file owned and no longer names.
    left: Vec<ThrottleName>,
}

impl Manifest {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), state: Mutex::default() }
    }

    /// How it is doing, for `/health`.
    pub(super) fn look(self: &Arc<Self>) -> Look {
        let manifest = Arc::clone(self);
        Arc::new(move || {
            let state = manifest.lock();
            match (&state.trouble, state.left.as_slice()) {
                (Some(trouble), _) => Err(format!("{trouble}; the last good state stays")),
                (None, _) if !state.taken => Err("declared, and waits for the ledger".to_owned()),
                (None, []) => Ok("ok".to_owned()),
                (None, left) => {
                    let names: Vec<_> = left.iter().map(ThrottleName::as_str).collect();
                    Ok(format!("ok; no longer in the file, so they keep their last state: {}", names.join(", ")))
                }
            }
        })
    }

    /// Reads the file for the start. Its word is obeyed where it is safer, before anybody is answered.
    ///
    /// # Errors
    /// If it cannot be used and there is no earlier state to stand on.
    pub(super) async fn start(&self, on: &On, has_state: bool) -> Result<(), RunError> {
        self.pass(on).await;
        let trouble = self.lock().trouble.clone();
        match trouble {
            Some(trouble) if !has_state => Err(RunError::Config(ConfigError {
                variable: "ECHO_MANIFEST",
                expected: "a file of EchoThrottle documents".to_owned(),
                fix: format!("{}: {trouble}", self.path.display()),
            })),
            _ => Ok(()),
        }
    }

    pub(super) async fn run(self: Arc<Self>, on: Arc<On>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK) => {}
            }
            self.pass(&on).await;
        }
    }

    /// Looks at the file and brings what it declares into force.
    async fn pass(&self, on: &On) {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let read = read.unwrap_or_else(|error| Err(format!("reading it broke off: {error}")));
        self.digest(read, on);
        let (good, taken) = {
            let state = self.lock();
            (state.good.clone(), state.taken)
        };
        if taken || good.is_empty() {
            return;
        }
        let at = on.clock.now();
        on.declared.foresee(&good, at);
        on.latch.obey(on.clock.elapsed());
        match on.declared.take_over(&good, at).await {
            Ok(done) => {
                on.latch.obey(on.clock.elapsed());
                for (name, epoch) in &done.ended {
                    on.latch.let_go(name, epoch);
                }
                for name in &done.changed {
                    tracing::info!(throttle = %name, "declared by the manifest");
                }
                let mut state = self.lock();
                if state.left != done.left {
                    let names: Vec<_> = done.left.iter().map(ThrottleName::as_str).collect();
                    tracing::warn!(
                        throttles = names.join(", "),
                        "no longer in the manifest: they keep their last state"
                    );
                }
                (state.left, state.taken) = (done.left, true);
            }
            Err(error) => tracing::error!(%error, "the manifest waits for the ledger; what it tightens holds already"),
        }
    }

    /// Parses a text that is new; what is wrong is told once.
    fn digest(&self, read: Result<String, String>, on: &On) {
        let mut state = self.lock();
        let trouble = match read {
            Err(error) => {
                state.text = None;
                Some(error)
            }
            Ok(text) if state.text.as_ref() == Some(&text) => return,
            Ok(text) => {
                let parsed = parse(&text).map_err(|error| error.to_string());
                state.text = Some(text);
                match parsed.and_then(|good| can_be_called(&good, &on.keys, &on.hosts).map(|()| good)) {
                    Ok(good) => {
                        (state.good, state.taken) = (good, false);
                        None
                    }
                    Err(error) => Some(error),
                }
            }
        };
        if let Some(trouble) = trouble.as_ref().filter(|new| state.trouble.as_ref() != Some(new)) {
            tracing::error!(file = %self.path.display(), trouble, "the manifest cannot be used; the last good state stays");
        }
        state.trouble = trouble;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a manifest acts on.
pub(super) struct On {
    declared: Arc<LedgerDesired>,
    latch: Arc<Latch>,
    clock: Arc<dyn Clock>,
    keys: RemoteKeys,
    hosts: HostArgs,
}

impl On {
    /// `abroad`: the keys to other sites, and where they may be.
    pub(super) fn new(
        declared: &Arc<LedgerDesired>,
        latch: &Arc<Latch>,
        clock: &Arc<dyn Clock>,
        abroad: (RemoteKeys, HostArgs),
    ) -> Arc<Self> {
        let (declared, latch, clock) = (Arc::clone(declared), Arc::clone(latch), Arc::clone(clock));
        Arc::new(Self { declared, latch, clock, keys: abroad.0, hosts: abroad.1 })
    }
}

/// Whether every variable that should have a key to another site has one, and every host may be called.
fn can_be_called(all: &[FromFile], keys: &RemoteKeys, hosts: &HostArgs) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (one, target) in all.iter().flat_map(|one| one.spec.targets.iter().map(move |target| (one, target))) {
        let name = &one.name;
        match target {
            TargetSpec::Remote(remote) => {
                let url = &remote.url;
                if let Err(why) = keys.get(&remote.api_key_env) {
                    wrong.push(format!("{name}: spec.targets: remote {url}: apiKeyEnv: {} {why}", remote.api_key_env));
                }
                if let Err(why) = hosts.check(url) {
                    wrong.push(format!("{name}: spec.targets: remote {url}: {why}"));
                }
            }
            // Its URL may bear a secret, so it is not told.
            TargetSpec::Gate(gate) => {
                if let Some(Err(why)) = gate.canary_url.as_deref().map(|url| hosts.check(url)) {
                    wrong.push(format!("{name}: spec.targets: gate.canaryUrl: {why}"));
                }
            }
            TargetSpec::Scale(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    file.take(LIMIT as u64 + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(text)
}
