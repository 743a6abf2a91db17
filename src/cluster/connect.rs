//! Clients: who we are towards the API server, and how patient.
//!
//! Every call has a limit of seconds and none is retried behind our back: a lane that retries for a
//! minute is a lane that does not look. What failed is asked again at the next tick.

use std::env::split_paths;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::config::files::PatientReader;

/// Longest silence on a connection before it is given up; above the 25 s of a watch.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// Largest kubeconfig, bytes.
const LIMIT: usize = 16 << 20;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account.
    #[error("no way to a cluster: {0}; set KUBECONFIG, or run in a pod with a service account")]
    Config(String),
    /// The configuration cannot be used.
    #[error("the cluster's configuration cannot be used: {0}")]
    Client(#[from] kube::Error),
}

/// A client for the cluster that `kubeconfig` names (several files are merged, as kubectl does), or
/// the environment's, or the pod's own.
///
/// # Errors
/// If there is no configuration, or it cannot be used. Does not connect yet.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    // What names no regular file is named before it is read: a pipe would be waited for in silence.
    let named = |path: &PathBuf| !path.as_os_str().is_empty();
    let of_home = || {
        std::env::home_dir()
            .map(|home| home.join(".kube/config"))
            .filter(|path| path.exists())
    };
    let paths = kubeconfig.map_or_else(
        || of_home().into_iter().collect(),
        |paths| split_paths(paths).filter(named).collect::<Vec<_>>(),
    );
    paths.iter().try_for_each(|path| readable(path))?;
    let wrong = |error: &dyn std::error::Error| ConnectError::Config(error.to_string());
    let mut config = if kubeconfig.is_some() {
        let files = paths.iter().try_fold(Kubeconfig::default(), |all, path| {
            all.merge(Kubeconfig::read_from(path)?)
        });
        let files = files.map_err(|error| wrong(&error))?;
        let config = Config::from_custom_kubeconfig(files, &KubeConfigOptions::default()).await;
        config.map_err(|error| wrong(&error))?
    } else {
        Config::infer().await.map_err(|error| wrong(&error))?
    };
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(2));
    config.read_timeout = Some(READ_LIMIT);
    Ok(Client::try_from(config)?)
}

fn readable(path: &Path) -> Result<(), ConnectError> {
    let read = PatientReader::of(path, LIMIT).read();
    read.map(drop).map_err(|error| {
        ConnectError::Config(format!("{} cannot be read: {error}", path.display()))
    })
}

/// Whether the API server says that something is not there, in either of its two ways: a Status, or
/// plain text where the whole kind is gone. kube 5.0's `Status::is_not_found` knows the first only:
/// it asks whether the reason it looks for is a known one, where it means the reason it was given.
pub(super) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server refuses a request for good, as far as anybody can tell: it would say the
/// same the next time. Not where it is the one that lacks something: credentials that are made
/// anew, roles it has not read yet, a quota, time.
pub(super) fn lasts(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let passes = ["RBAC: ", "exceeded quota"]
        .iter()
        .any(|word| status.message.contains(word));
    matches!(status.code, 400 | 403 | 404 | 405 | 413 | 415 | 422) && !passes
}
