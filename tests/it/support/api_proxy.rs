//! A proxy between an operator and the API server that swallows the requests it is told to: it
//! takes them and never answers. All others it passes on as they are, token and watches included.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use futures::stream::try_unfold;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use tokio::net::TcpListener;

use super::cluster::Cluster;

/// Largest body of a request, bytes: the API server takes no larger one.
const LIMIT: usize = 3 << 20;

/// A running proxy; ends with this value.
pub(crate) struct ApiProxy {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

/// Whether a request by this method, for this path, is swallowed.
type Swallows = dyn Fn(&Method, &str) -> bool + Send + Sync;

/// What is before an API server and what is behind.
struct Way {
    server: String,
    client: Client,
    swallows: Box<Swallows>,
}

impl ApiProxy {
    /// Starts one, which asks about each request whether it `swallows` it. It listens without TLS.
    pub(crate) async fn start(
        cluster: &Cluster,
        swallows: impl Fn(&Method, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let at = cluster.server();
        let authority = std::fs::read(at["certificate-authority"].as_str().unwrap()).unwrap();
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .tls_certs_only([Certificate::from_pem(&authority).unwrap()]);
        let way = Way {
            server: at["server"].as_str().unwrap().to_owned(),
            client: client.build().unwrap(),
            swallows: Box::new(swallows),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        let routes = Router::new().fallback(pass).with_state(Arc::new(way));
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(way): State<Arc<Way>>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().unwrap().as_str();
    if (way.swallows)(&head.method, path) {
        return std::future::pending().await;
    }
    // What concerns this connection alone; the next one has its own.
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let Ok(body) = to_bytes(body, LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let request = way
        .client
        .request(head.method, format!("{}{path}", way.server));
    let answer = request.headers(head.headers).body(body).send().await;
    match answer {
        Ok(answer) => streamed(answer),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// An answer, part by part as it comes: a watch has no end.
fn streamed(answer: reqwest::Response) -> Response {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    let parts = try_unfold(answer, |mut answer| async move {
        let part = answer.chunk().await?;
        Ok::<_, reqwest::Error>(part.map(|part| (part, answer)))
    });
    (status, headers, Body::from_stream(parts)).into_response()
}
