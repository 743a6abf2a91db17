//! An app that counts what reaches it and tells what it got; for proxies to guard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Largest body it takes, bytes.
const LIMIT: usize = 8 << 20;

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
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&seen));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            address,
            seen,
            task,
        }
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

/// Answers, with the headers that let pages of any other origin see the answer.
async fn answer(state: State<Arc<AtomicUsize>>, request: Request) -> Response {
    let headers = request.headers();
    let asked = |name: &str| headers.get(name).cloned();
    let origin = asked("origin");
    let wanted = [
        (
            "access-control-allow-headers",
            asked("access-control-request-headers"),
        ),
        (
            "access-control-allow-methods",
            asked("access-control-request-method"),
        ),
    ];
    let mut response = serve(state, request).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert("access-control-allow-origin", origin);
        headers.insert(
            "access-control-allow-credentials",
            HeaderValue::from_static("true"),
        );
        for (name, value) in wanted {
            value.map(|value| headers.insert(name, value));
        }
    }
    response
}

/// What it got is in the body: its length and digest, and the `echo-*` headers that reached it.
async fn serve(State(seen): State<Arc<AtomicUsize>>, mut request: Request) -> Response {
    seen.fetch_add(1, Ordering::SeqCst);
    if request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|to| to == "websocket")
    {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move { repeat(TokioIo::new(upgrade.await.unwrap())).await });
        let headers = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
        ];
        return (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    }
    if request.uri().path().ends_with("/forbidden") {
        return (
            StatusCode::FORBIDDEN,
            [("x-app", "mine")],
            "the app says no",
        )
            .into_response();
    }
    if request.method() == Method::OPTIONS {
        return (
            StatusCode::NO_CONTENT,
            [(header::ALLOW, "GET, POST"), (header::VARY, "origin")],
        )
            .into_response();
    }
    let (parts, body) = request.into_parts();
    let echoes = parts
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("echo-"));
    let echoes: Vec<_> = echoes
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    let bytes = axum::body::to_bytes(body, LIMIT).await.unwrap();
    let digest = hex::encode(Sha256::digest(&bytes));
    let said = format!(
        "paid {} {digest} {} [{}]",
        bytes.len(),
        parts.method,
        echoes.join(",")
    );
    ([("x-app", "mine")], Body::from(said)).into_response()
}

/// Says every byte again.
async fn repeat(mut io: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = io.read(&mut buffer).await {
        if io.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
