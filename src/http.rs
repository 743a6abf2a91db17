//! Every route on one screen; one file per concern.
//!
//! A handler reads its request, calls a seam and words the answer. Knows no Kubernetes and no SQL.

mod answer;
mod authz;
mod client_ip;
mod command;
mod commands;
mod control;
mod decide;
mod docs;
mod front;
mod health;
mod keys;
mod kill;
mod limits;
mod observe;
pub mod openapi;
mod pages;
mod rate;
pub mod refusal;
mod request_id;
mod strangers;
mod throttles;
mod webhook;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post};

use crate::config::Keys;
use crate::decide::law::Law;
use crate::domain::moment::Moment;
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Desired, History, Ledger, Measurements, Wake};
use crate::source::stripe::WebhookSecrets;
use crate::telemetry::Metrics;

/// Largest body of a command, bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// Largest body of a webhook, bytes.
const WEBHOOK_LIMIT: usize = 1024 * 1024;

/// What every handler may use.
pub struct App {
    /// The role this process plays: serve, operator or gate.
    pub mode: &'static str,
    /// When it started.
    pub started: Moment,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The verdicts.
    pub gate: Arc<Gate>,
    /// The kill path.
    pub latch: Arc<Latch>,
    /// Declared state.
    pub desired: Arc<dyn Desired>,
    /// Where measurements go; none where none are taken.
    pub measurements: Option<Arc<dyn Measurements>>,
    /// Who acts on what comes in here.
    pub wake: Arc<dyn Wake>,
    /// The record; a gate process has none.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// The last look at the record.
    pub ledger_look: LedgerLook,
    /// The record's past; none where there is no record.
    pub history: Option<Arc<dyn History>>,
    /// Keys that open protected routes.
    pub keys: Keys,
    /// How often clients may knock.
    pub rates: Rates,
    /// Places for large bodies.
    pub large: Large,
    /// Which hosts requests may be for.
    pub hosts: Hosts,
    /// What strangers may make us log.
    pub strangers: Strangers,
    /// What signs webhooks; none: that part is off.
    pub stripe: WebhookSecrets,
    /// What became of webhook events.
    pub webhooks: Arc<WebhookAccount>,
    /// Metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The control law.
    pub law: Law,
    /// Parts that are off, with the variable that turns each on; and whether the gate knows all
    /// there is.
    pub parts: health::HealthParts,
    /// What the loop last found, by throttle.
    pub board: Arc<StatusBoard>,
    /// Commands under way, by the key their client gave.
    pub under_way: InFlightKeys,
    /// Whether the listeners answer.
    pub listening: AtomicBool,
    /// In production strangers must not ask for verdicts on the public listener: they count as
    /// offered load.
    pub authz_to_loopback_only: bool,
}

pub use client_ip::{ClientIp, address};
pub use command::InFlightKeys;
pub use front::{Hosts, stamp};
pub use health::{HealthCheck, HealthParts, LedgerLook, watch_ledger};
pub use limits::Large;
pub use rate::{Elapsed, Rates};
pub use strangers::Strangers;
pub use throttles::StatusBoard;
pub use webhook::WebhookAccount;

/// Routes of every process: probes, health, metrics, verdicts.
fn common(app: &Arc<App>) -> Router<Arc<App>> {
    let protected = Router::new()
        .route("/metrics", get(health::metrics))
        .route("/v1/decide", post(decide::decide))
        .route_layer(from_fn(limits::buffer_body))
        .route_layer(from_fn_with_state(Arc::clone(app), keys::check));
    Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/openapi.json", get(docs::description))
        .route("/docs", get(docs::page))
        .route("/docs/{file}", get(docs::asset))
        .route_layer(from_fn(limits::buffer_body))
        .merge(protected)
}

/// Routes of a process that only answers verdicts.
pub fn gate_routes(app: Arc<App>) -> Router {
    finish(common(&app), app)
}

/// Routes of the operator: people stop and revive here too; levels are Git's.
pub fn operator_routes(app: Arc<App>) -> Router {
    let routes = common(&app).merge(
        Router::new()
            .route("/kill", post(kill::kill))
            .route("/revive", post(kill::revive))
            .route_layer(from_fn_with_state(Arc::clone(&app), command::run_command))
            .merge(past())
            .route_layer(from_fn(limits::buffer_body))
            .route_layer(from_fn_with_state(Arc::clone(&app), keys::check)),
    );
    finish(routes, app)
}

/// Routes of a service without a cluster: everything.
pub fn service_routes(app: Arc<App>) -> Router {
    let protected = Router::new()
        .route("/observe", post(observe::observe))
        .route("/control", post(control::control))
        .route("/kill", post(kill::kill))
        .route("/revive", post(kill::revive))
        .route_layer(from_fn_with_state(Arc::clone(&app), command::run_command))
        .route_layer(from_fn(limits::buffer_body))
        .route_layer(from_fn_with_state(Arc::clone(&app), keys::check));
    webhook::expect(&app);
    let webhook = Router::new().route("/webhooks/stripe", post(webhook::stripe));
    let read = Router::new()
        .route("/v1/throttles", get(throttles::list))
        .route("/v1/throttles/{name}", get(throttles::one))
        .merge(past())
        .route_layer(from_fn(limits::buffer_body))
        .route_layer(from_fn_with_state(Arc::clone(&app), keys::check));
    finish(
        common(&app).merge(protected).merge(read).merge(webhook),
        app,
    )
}

/// The record, page by page; and commands that are not in it yet, or that nobody knows of.
fn past() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/audit", get(pages::audit))
        .route("/v1/drift", get(pages::drift))
        .route("/v1/evidence", get(pages::evidence))
        .route("/v1/state", get(pages::state))
        .route("/v1/commands", get(commands::list))
}

/// Only verdicts, and metrics without a key, for a listener that proxies and whoever gathers
/// metrics alone can reach.
pub fn verdict_routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/authz/nginx/{throttle}", any(authz::trusted))
        .route("/authz/forward/{throttle}", any(authz::trusted))
        .route("/authz/envoy/{throttle}", any(authz::trusted))
        .route("/authz/envoy/{throttle}/", any(authz::trusted))
        .route("/authz/envoy/{throttle}/{*asked}", any(authz::trusted))
        .route("/metrics", get(health::metrics))
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method)
        .with_state(app)
}

/// What all routes have in common; verdicts go without, since they are asked for with every request
/// of others.
fn finish(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .fallback(answer::no_route)
        .method_not_allowed_fallback(answer::no_method)
        .layer(from_fn_with_state(Arc::clone(&app), rate::limit))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(Arc::clone(&app), front::check))
        .layer(from_fn_with_state(Arc::clone(&app), answer::count))
        .layer(from_fn_with_state(
            Arc::clone(&app),
            request_id::assign_request_id,
        ))
        .route("/authz/nginx/{throttle}", any(authz::public))
        .route("/authz/forward/{throttle}", any(authz::public))
        .route("/authz/envoy/{throttle}", any(authz::public))
        .route("/authz/envoy/{throttle}/", any(authz::public))
        .route("/authz/envoy/{throttle}/{*asked}", any(authz::public))
        .with_state(app)
}
