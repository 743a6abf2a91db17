//! One connection being served: what it asks for is answered, and it ends in order. Knows no other
//! connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::AT_THE_END;
use super::connection::{Connection, Watched};
use crate::http::{self, App};

/// Largest head, bytes, so that whatever a proxy and the app behind it take finds its verdict:
/// nginx takes 32 KiB, Envoy 60, Go's servers a megabyte.
const HEAD_SIZE: usize = 64 * 1024;
/// Most fields of a head, for the same reason; hyper's own 100 are what a browser and two proxies
/// can come near.
const FIELDS: usize = 256;

/// One connection from its start to its end.
pub(super) struct Attended {
    pub(super) listener: &'static str,
    pub(super) routes: Router,
    pub(super) app: App,
    pub(super) connection: Arc<Connection>,
    pub(super) stop: CancellationToken,
}

impl Attended {
    /// Answers what it asks for, until it ends or is told to.
    pub(super) async fn run(self, stream: TcpStream, peer: SocketAddr) {
        let connection = &self.connection;
        let _ended = connection.tell_the_end();
        let routes = TowerToHyperService::new(self.routes.clone());
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let mut request = request.map(|body| connection.begins(body));
            request.extensions_mut().insert(ConnectInfo(peer));
            let answering = routes.call(request);
            async {
                let mut answer = answering.await;
                connection.answers();
                if let Ok(answer) = &mut answer {
                    http::stamp(answer.headers_mut());
                    // It ends then: what comes next on it would find nobody.
                    if connection.left_unread() || self.stop.is_cancelled() {
                        answer
                            .headers_mut()
                            .insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                }
                answer as Result<_, Infallible>
            }
        });
        let io = TokioIo::new(Watched::new(stream, Arc::clone(connection)));
        let mut builder = http1::Builder::new();
        let serving = builder
            .max_buf_size(HEAD_SIZE)
            .max_headers(FIELDS)
            .serve_connection(io, service);
        let mut serving = std::pin::pin!(serving);
        let (mut stopping, mut ending) = (false, false);
        loop {
            tokio::select! {
                // How a client ends its connection is its own affair.
                served = serving.as_mut() => {
                    served.err().iter().for_each(|error| self.unread(error));
                    return;
                }
                () = connection.told_to_end(), if !ending => {
                    // What it asked for meanwhile is done and answered first.
                    if connection.waits().is_some() {
                        return;
                    }
                    ending = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    // hyper ends a connection of which it has read nothing, though its first
                    // request may have arrived already: a proxy takes that for a failure, since it
                    // opened it just for that. It is answered, and ends by that.
                    if !connection.is_fresh(AT_THE_END) {
                        serving.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    /// Counts a head that could not be read: hyper answered it, and no route saw it.
    fn unread(&self, error: &hyper::Error) {
        if error.is_parse_too_large() {
            self.app
                .core
                .metrics
                .count_unread(self.listener, "too_large");
        } else if error.is_parse() {
            self.app
                .core
                .metrics
                .count_unread(self.listener, "malformed");
        }
    }
}
