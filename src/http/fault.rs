//! A handler that panics: its client is answered, and what went wrong is in the log alone.
//!
//! A layer of our own: it knows whether the request was an order, of which nobody can say whether
//! it was done. Catches nothing of what other tasks do.

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;

use super::answer::ProblemResponse;
use super::refusal::table;

/// Answers in place of a handler that panics. The hook of the process has told the log by then.
pub(super) async fn catch(request: Request, next: Next) -> Response {
    let orders = request.method() == Method::POST;
    // Locks are not poisoned, and nothing else outlives the handler half done.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            let problem = ProblemResponse::of(&table::FAULT);
            if orders { problem.undecided() } else { problem }.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use axum::middleware::from_fn;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use serde_json::{Value, json};

    async fn breaks() -> &'static str {
        panic!("a fault of ours")
    }

    async fn answered(method: &str, routes: Router) -> (StatusCode, Value) {
        let routes = routes.layer(from_fn(super::catch));
        let request = Request::builder().method(method).body(Body::empty());
        let response = TowerToHyperService::new(routes)
            .call(request.unwrap())
            .await
            .unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_and_of_an_order_it_is_not_known_whether_it_was_done()
    {
        let (breaks, well) = (
            || Router::new().fallback(breaks),
            Router::new().fallback(|| async { "{}" }),
        );
        let fault = json!({
            "detail": "This broke off, a fault of ours: the log says more under the request-id of this answer.",
            "status": 500,
            "title": "Internal Server Error",
        });
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        assert_eq!(answered("GET", breaks()).await, (status, fault.clone()));
        let mut order = fault;
        order["outcome"] = json!("unknown");
        assert_eq!(answered("POST", breaks()).await, (status, order));
        assert_eq!(answered("POST", well).await, (StatusCode::OK, json!({})));
    }
}
