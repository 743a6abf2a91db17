//! The API over HTTP, one file per concern: `route` says what a row of the table of routes is, and
//! `routes` is the table.
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
mod openapi;
mod pages;
mod rate;
pub mod refusal;
mod request_id;
mod route;
mod routes;
mod strangers;
mod throttles;
mod webhook;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::Keys;
use crate::decide::law::Law;
use crate::domain::moment::Moment;
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Desired, History, Ledger};
use crate::source::stripe::WebhookSecrets;
use crate::telemetry::Metrics;

/// What every handler may use.
pub struct App {
    /// The role this process plays: serve, operator or gate.
    pub mode: Process,
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
pub use route::Process;
pub use routes::{description, proxy_router, router};
pub use strangers::Strangers;
pub use throttles::StatusBoard;
pub use webhook::WebhookAccount;
