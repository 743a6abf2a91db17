//! Whether others than its owner have a way into the data folder: looked at again and again, told
//! in `/health` and log.
//!
//! Knows nothing of what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::http::HealthParts;
use crate::store::private;

/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Whether others have a way into the folder, by the last look: a disk that hangs must not keep
/// whoever asks waiting.
pub(super) struct DataFolder {
    path: PathBuf,
    open: Mutex<Option<String>>,
}

impl DataFolder {
    /// The folder, looked at once.
    pub(super) fn of(path: &Path) -> Arc<Self> {
        let folder = Self {
            path: path.to_owned(),
            open: Mutex::default(),
        };
        folder.look();
        Arc::new(folder)
    }

    fn look(&self) {
        let open = private::open_to_others(&self.path);
        let words = open.map(|mode| format!("open to others (mode {mode:04o}): chmod 700 it"));
        let mut known = self.open.lock();
        if let Some(words) = words.as_ref().filter(|words| known.as_ref() != Some(words)) {
            tracing::warn!(folder = %self.path.display(), "ECHO_DATA_DIR is {words}");
        }
        *known = words;
    }

    /// Looks again and again.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(POLL_INTERVAL) => {}
            }
            let folder = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || folder.look())
                .await
                .is_err()
            {
                tracing::error!("looking at the data folder broke off");
            }
        }
    }
}

/// Whose the folder is, for `/health`.
pub(super) fn part(folder: Arc<DataFolder>, parts: &mut HealthParts) {
    let words = move || folder.open.lock().clone();
    parts.on.push((
        "data_folder",
        Arc::new(move || Ok(words().unwrap_or_default())),
    ));
}
