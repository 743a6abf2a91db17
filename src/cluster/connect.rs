//! Clients: who we are towards the API server, and how patient.
//!
//! Every call has a limit of seconds and none is retried behind our back: a lane that retries for a minute is a lane
//! that does not look. What failed is asked again at the next tick.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Longest silence on a connection before it is given up; above the 25 s of a watch.
const READ_LIMIT: Duration = Duration::from_secs(30);

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

/// A client for the cluster that `kubeconfig` names, or the environment's, or the pod's own.
///
/// # Errors
/// If there is no configuration, or it cannot be used. Does not connect yet.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| ConnectError::Config(error.to_string()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| ConnectError::Config(error.to_string()))?
        }
        None => Config::infer().await.map_err(|error| ConnectError::Config(error.to_string()))?,
    };
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(2));
    config.read_timeout = Some(READ_LIMIT);
    Ok(Client::try_from(config)?)
}

/// Whether the API server says that something is not there, in either of its two ways: a Status, or plain text where
/// the whole kind is gone. kube 5.0's `Status::is_not_found` knows the first only: it asks whether the reason it looks
/// for is a known one, where it means the reason it was given.
pub(super) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
