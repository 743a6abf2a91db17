//! Listeners: bound before anything is promised, served until told to stop.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::RunError;

/// Binds an address; the error names the variable.
pub(super) async fn bind(address: SocketAddr, variable: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| RunError::Failed(format!("{variable}: cannot listen on {address}: {error}")))
}

/// Binds an address that may be there.
pub(super) async fn bind_if(
    address: Option<SocketAddr>,
    variable: &'static str,
) -> Result<Option<TcpListener>, RunError> {
    match address {
        Some(address) => bind(address, variable).await.map(Some),
        None => Ok(None),
    }
}

/// Serves until told to stop, then lets what is under way finish.
pub(super) async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "a listener failed");
    }
}

/// Tells where we listen, for people and for tests.
pub(super) fn announce(what: &str, listener: &TcpListener) {
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "{what} listens"),
        Err(error) => tracing::warn!(%error, "{what} listens somewhere"),
    }
}
