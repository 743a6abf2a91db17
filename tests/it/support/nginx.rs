//! A real nginx in front of a backend that counts, with the recipe of docs/nginx.md.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use tokio::net::TcpListener;

use super::{Process, eventually, free_port, http, prepared};

/// An app that counts what reaches it.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(count).with_state(Arc::clone(&seen));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, seen, task }
    }

    /// Requests that reached it since the last call.
    pub(crate) fn taken(&self) -> usize {
        self.seen.swap(0, Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn count(State(seen): State<Arc<AtomicUsize>>, body: axum::body::Bytes) -> String {
    seen.fetch_add(1, Ordering::SeqCst);
    format!("paid {}", body.len())
}

/// A running nginx.
pub(crate) struct Nginx {
    _process: Process,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts nginx in `folder` with the repository's recipe, asking `echo` about `backend`.
    pub(crate) async fn start(folder: &Path, echo: SocketAddr, backend: SocketAddr) -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let root = folder.join("nginx");
        std::fs::create_dir_all(&root).unwrap();
        let recipe = include_str!("nginx.conf");
        let config = recipe
            .replace("@ROOT@", &root.display().to_string())
            .replace("@LISTEN@", &address.to_string())
            .replace("@ECHO@", &echo.to_string())
            .replace("@BACKEND@", &backend.to_string());
        std::fs::write(root.join("nginx.conf"), config).unwrap();
        let binary = prepared("ECHO_TEST_TOOLS").join("bin/nginx");
        let mut command = Command::new(binary);
        command.args(["-e", "stderr", "-p"]).arg(&root).arg("-c").arg(root.join("nginx.conf"));
        let mut process = Process::start(&mut command, &root.join("nginx.log"));
        eventually("nginx answers", Duration::from_secs(10), async || {
            assert!(process.runs(), "nginx ended:\n{}", process.said());
            http().get(format!("http://{address}/")).send().await.ok()
        })
        .await;
        Self { _process: process, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}
