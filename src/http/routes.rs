//! The table of routes: a row is everything about one route. And the routers that are made from it:
//! what stands before a handler is what its row says.
//!
//! Knows no rule of a handler.

mod brake;
mod payments;
mod records;
mod service;
mod verdicts;

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;

use super::route::{Act, BodyLimit, Door, Route};
use super::{App, answer, command, fault, front, keys, limits, openapi, rate, request_id, webhook};

/// Every route there is, in the order of the description.
static ROWS: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let mut rows = brake::rows();
    rows.extend(records::rows());
    rows.extend(verdicts::rows());
    rows.extend(payments::rows());
    rows.extend(service::rows());
    rows
});

/// The same by path: one path is one route.
static BY_PATH: LazyLock<HashMap<&str, &Route>> =
    LazyLock::new(|| ROWS.iter().map(|row| (row.path, row)).collect());

/// The description of the API as text.
pub fn description() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| openapi::text(&ROWS));
    &TEXT
}

/// What answers on the API's listener of this process.
pub fn router(app: App) -> Router {
    let here = || {
        ROWS.iter()
            .filter(|row| row.processes.contains(&app.core.process))
    };
    let commands = ROWS.iter().filter_map(Route::command);
    let metrics = &app.core.metrics;
    metrics.expect_commands(commands.map(|command| command.as_str()));
    if here().any(|row| row.act == Act::Event) {
        webhook::expect(metrics);
    }
    let framed = here()
        .filter(|row| !row.is_bare())
        .fold(Router::new(), |routes, row| {
            routes.route(row.path, framed(row, &app))
        });
    // What all have in common, the outermost last; verdicts go without.
    let common = framed
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method)
        .layer(from_fn_with_state(app.clone(), rate::limit))
        .layer(from_fn_with_state(app.clone(), front::check))
        .layer(from_fn(fault::catch))
        .layer(from_fn_with_state(app.clone(), answer::count))
        .layer(from_fn_with_state(
            app.clone(),
            request_id::assign_request_id,
        ))
        .layer(from_fn(find));
    here()
        .filter(|row| row.is_bare())
        .fold(common, |routes, row| {
            routes.route(row.path, row.handler.clone())
        })
        .with_state(app)
}

/// What answers on a listener that proxies, and whoever gathers metrics, alone can reach.
pub fn proxy_router(app: App) -> Router {
    let rows = ROWS
        .iter()
        .filter_map(|row| Some((row.path, row.for_proxies.clone()?)));
    rows.fold(Router::new(), |routes, (path, handler)| {
        routes.route(path, handler)
    })
    .fallback(answer::no_route)
    .method_not_allowed_fallback(answer::no_method)
    .with_state(app)
}

/// The handler of a route, with what its row has before it: the outermost last.
fn framed(row: &'static Route, app: &App) -> MethodRouter<App> {
    let mut handler = row.handler.clone();
    if let Some(kind) = row.command() {
        let state = (app.clone(), kind);
        handler = handler.layer(from_fn_with_state(state, command::run_command));
    }
    if !matches!(row.body, BodyLimit::Streamed { .. }) {
        handler = handler.layer(from_fn_with_state(row, limits::buffer_body));
    }
    if let Door::Key(role) = row.door {
        let state = (app.clone(), row, role);
        handler = handler.layer(from_fn_with_state(state, keys::check));
    }
    handler
}

/// Has whatever stands before the handler find the row of the route.
async fn find(mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let row = path.and_then(|path| BY_PATH.get(path.as_str()).copied());
    if let Some(row) = row {
        request.extensions_mut().insert(row);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BY_PATH, ROWS, description};
    use crate::http::refusal::table;

    #[test]
    fn a_path_stands_in_one_row() {
        assert_eq!(BY_PATH.len(), ROWS.len());
    }

    /// What no route has belongs to none of them: an unknown path, a method that is not taken.
    #[test]
    fn the_description_of_the_api_has_the_same_statuses() {
        let document: serde_json::Value = serde_json::from_str(description()).unwrap();
        let described = document["components"]["responses"]
            .as_object()
            .unwrap()
            .keys()
            .cloned();
        let listed = table::ALL
            .iter()
            .map(|one| one.status.as_str().to_owned())
            .filter(|status| status != "405");
        assert_eq!(
            described.collect::<BTreeSet<_>>(),
            listed.collect::<BTreeSet<_>>()
        );
    }
}
