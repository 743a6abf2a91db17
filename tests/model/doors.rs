//! Clients: they send a command to the program's own routes, wait for all of the answer or hang up
//! in the middle, and what they were told is written down.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::http::request::Builder;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use crate::commands::Stays;
use crate::life::{API_KEY, goes_on, peer};
use crate::oracle::{Asked, Shared, Told};
use crate::outside::Outside;
use crate::seen::{Rare, sometimes};

/// How another site's kills begin their operator.
pub(crate) const SITE: &str = "echo-phoenix ";

/// A future that is dropped after so many looks at it.
struct HangsUp<F> {
    future: Pin<Box<F>>,
    looks: u8,
}

impl<F: Future> Future for HangsUp<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.looks == 0 {
            return Poll::Ready(None);
        }
        self.looks -= 1;
        match self.future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.looks == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Asks, and waits for the answer.
pub(crate) async fn ask(
    routes: &Router,
    path: &str,
    id: &str,
    key: Option<&str>,
    body: String,
) -> Told {
    let request = Request::post(path).header("request-id", id);
    let request = match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    answer(routes, request, body).await
}

/// Reads, and waits for the answer.
pub(crate) async fn read(routes: &Router, path: &str) -> Value {
    answer(routes, Request::get(path), String::new()).await.body
}

async fn answer(routes: &Router, request: Builder, body: String) -> Told {
    let routes = TowerToHyperService::new(routes.clone());
    let request = request
        .header("host", "localhost")
        .header("x-api-key", API_KEY)
        .extension(ConnectInfo(peer()))
        .body(Body::from(body))
        .expect("a request");
    let answer = routes.call(request).await.expect("routes answer");
    let status = answer.status().as_u16();
    let replayed = answer.headers().contains_key("idempotent-replayed");
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20)
        .await
        .expect("a body");
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Told {
        status,
        body,
        bytes,
        replayed,
    }
}

/// Sends a command; what comes of it is told to the oracle.
pub(crate) fn send(
    routes: &Router,
    outside: &Arc<Outside>,
    oracle: &Shared,
    asked: &Asked,
    stays: Stays,
) {
    let (oracle, id, outside) = (oracle.clone(), asked.id.clone(), Arc::clone(outside));
    let (routes, asked) = (routes.clone(), asked.clone());
    let answer = async move {
        ask(
            &routes,
            asked.path,
            &asked.id,
            asked.key.as_deref(),
            asked.body.clone(),
        )
        .await
    };
    goes_on(async move {
        let answer = match stays {
            None => Some(pin!(answer).await),
            Some(looks) => {
                HangsUp {
                    future: Box::pin(answer),
                    looks,
                }
                .await
            }
        };
        if outside.has_ended() {
            return;
        }
        let mut oracle = oracle.lock();
        match answer {
            Some(told) => oracle.told(&id, told),
            None => {
                sometimes(Rare::HungUp);
                oracle.hung_up(&id);
            }
        }
    });
}
