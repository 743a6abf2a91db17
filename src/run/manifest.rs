//! The manifest file of a service: looked at at the start and again every second, obeyed when it
//! changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::config::{ConfigError, HostArgs, RemoteKeys};
use crate::desired::{LedgerDesired, ManifestFile, ManifestPoll};
use crate::http::HealthCheck;
use crate::latch::Latch;
use crate::ports::Clock;

/// How often the file is looked at. Reading it is simpler than being told of changes, and survives
/// every way an editor, a ConfigMap or a configuration tool replaces a file.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How the file is doing, for `/health`.
pub(super) fn health(file: &Arc<ManifestFile>) -> HealthCheck {
    let file = Arc::clone(file);
    Arc::new(move || file.health())
}

/// Reads the file for the start. Its word is obeyed where it is safer, before anybody is answered.
///
/// # Errors
/// If it cannot be used and there is no earlier state to stand on.
pub(super) async fn start(
    file: &Arc<ManifestFile>,
    on: &Arc<ManifestDeps>,
    has_state: bool,
) -> Result<(), RunError> {
    file.stands(has_state);
    pass(file, on).await;
    match file.trouble() {
        Some(trouble) if !has_state => Err(RunError::Config(ConfigError {
            variable: "ECHO_MANIFEST",
            expected: "a file of EchoThrottle documents".to_owned(),
            fix: format!("{}: {trouble}", file.path().display()),
        })),
        _ => Ok(()),
    }
}

/// Looks at the file for as long as we run.
pub(super) async fn run(file: Arc<ManifestFile>, on: Arc<ManifestDeps>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(POLL_INTERVAL) => {}
        }
        pass(&file, &on).await;
    }
}

/// Looks at the file and brings what it declares into force.
async fn pass(file: &Arc<ManifestFile>, on: &Arc<ManifestDeps>) {
    let (manifest, with) = (Arc::clone(file), Arc::clone(on));
    let found = tokio::task::spawn_blocking(move || manifest.find(&with.keys, &with.hosts)).await;
    file.digest(
        found
            .unwrap_or_else(|error| ManifestPoll::Unread(format!("reading it broke off: {error}"))),
    );
    let Some(good) = file.owed() else { return };
    let at = on.clock.now();
    on.declared.foresee(&good, at);
    on.latch.restore(on.clock.elapsed());
    let done = on.declared.take_over(&good, at).await;
    on.latch.restore(on.clock.elapsed());
    if !done.spent.is_empty() {
        on.latch.holds().let_go(&done.spent);
    }
    if !done.ended.is_empty() {
        on.latch.holds().let_go(&done.ended);
        let epochs: Vec<_> = done.ended.iter().map(ToString::to_string).collect();
        tracing::warn!(
            epoch = epochs.join(", "),
            "the manifest's kill ended: the file has it no more"
        );
    }
    for one in good.iter().filter(|one| done.changed.contains(&one.name)) {
        tracing::info!(throttle = %one.name, level = one.level.fraction(), "declared by the manifest");
    }
    if let Some(error) = &done.owed {
        tracing::error!(%error, "the manifest waits for the ledger; what it tightens holds already");
    }
    file.keep(done);
}

/// What a manifest acts on.
pub(super) struct ManifestDeps {
    declared: Arc<LedgerDesired>,
    latch: Arc<Latch>,
    clock: Arc<dyn Clock>,
    keys: RemoteKeys,
    hosts: HostArgs,
}

impl ManifestDeps {
    /// `abroad`: the keys to other sites, and where they may be.
    pub(super) fn new(
        declared: &Arc<LedgerDesired>,
        latch: &Arc<Latch>,
        clock: &Arc<dyn Clock>,
        abroad: (RemoteKeys, HostArgs),
    ) -> Arc<Self> {
        let (declared, latch, clock) = (Arc::clone(declared), Arc::clone(latch), Arc::clone(clock));
        Arc::new(Self {
            declared,
            latch,
            clock,
            keys: abroad.0,
            hosts: abroad.1,
        })
    }
}
