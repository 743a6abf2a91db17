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
mod fault;
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

use axum::extract::FromRef;

use crate::config::{Environment, Keys, ListenArgs};
use crate::decide::law::Law;
use crate::domain::moment::Moment;
use crate::gate::Gate;
use crate::latch::Latch;
use crate::ports::{Clock, Desired, History, Ledger, Measurements, Wake};
use crate::source::stripe::WebhookSecrets;
use crate::telemetry::Metrics;

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

/// What handlers may use, in three parts: each takes the part it uses.
#[derive(Clone)]
pub struct App {
    /// The brake.
    pub core: Arc<AppCore>,
    /// Who comes in.
    pub doors: Arc<AppDoors>,
    /// What is kept.
    pub record: Arc<AppRecord>,
}

/// The brake: what is declared, what is in force, and how it is moved.
pub struct AppCore {
    /// The role this process plays.
    pub process: Process,
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
    /// The control law.
    pub law: Law,
    /// Metrics of this process.
    pub metrics: Arc<Metrics>,
    /// Parts that are off, with the variable that turns each on; and whether the gate knows all
    /// there is.
    pub health: HealthParts,
    /// What the loop last found, by throttle.
    pub board: Arc<StatusBoard>,
}

/// Who comes in, how often, and with what.
pub struct AppDoors {
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
    pub webhooks: WebhookAccount,
    /// Commands under way, by the key their client gave.
    pub under_way: InFlightKeys,
    /// Whether the listeners answer.
    pub listening: AtomicBool,
    /// In production strangers must not ask for verdicts on the public listener: they count as
    /// offered load.
    pub authz_to_loopback_only: bool,
}

/// What is kept; a gate process keeps nothing.
#[derive(Default)]
pub struct AppRecord {
    /// The record.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// The last look at it.
    pub ledger_look: LedgerLook,
    /// Its past.
    pub history: Option<Arc<dyn History>>,
}

/// What a process has made before anybody is answered.
pub struct AppParts {
    /// As [`AppCore::process`].
    pub process: Process,
    /// As [`AppCore::clock`].
    pub clock: Arc<dyn Clock>,
    /// As [`AppCore::gate`].
    pub gate: Arc<Gate>,
    /// As [`AppCore::latch`].
    pub latch: Arc<Latch>,
    /// As [`AppCore::desired`].
    pub desired: Arc<dyn Desired>,
    /// As [`AppCore::measurements`].
    pub measurements: Option<Arc<dyn Measurements>>,
    /// As [`AppCore::wake`].
    pub wake: Arc<dyn Wake>,
    /// As [`AppCore::health`].
    pub health: HealthParts,
    /// Who comes in.
    pub doors: AppDoors,
    /// What is kept.
    pub record: AppRecord,
}

impl App {
    /// Everything that handlers may use.
    ///
    /// # Errors
    /// If there can be no metrics: a mistake of ours.
    pub fn new(parts: AppParts) -> Result<Self, prometheus::Error> {
        let core = AppCore {
            process: parts.process,
            started: parts.clock.moment(),
            clock: parts.clock,
            gate: parts.gate,
            latch: parts.latch,
            desired: parts.desired,
            measurements: parts.measurements,
            wake: parts.wake,
            law: Law::default(),
            metrics: Arc::new(Metrics::new()?),
            health: parts.health,
            board: Arc::default(),
        };
        Ok(Self {
            core: Arc::new(core),
            doors: Arc::new(parts.doors),
            record: Arc::new(parts.record),
        })
    }
}

impl AppDoors {
    /// Doors as configured; `elapsed` must never go back.
    pub fn new(listen: &ListenArgs, keys: Keys, stripe: WebhookSecrets, elapsed: Elapsed) -> Self {
        let rates = Rates::new(&listen.doors, Arc::clone(&elapsed));
        Self {
            hosts: Hosts::of(listen),
            stripe,
            authz_to_loopback_only: listen.environment == Environment::Production,
            ..Self::for_any_host(keys, rates, elapsed)
        }
    }

    /// Doors that serve any host, and take no webhook.
    pub fn for_any_host(keys: Keys, rates: Rates, elapsed: Elapsed) -> Self {
        Self {
            keys,
            rates,
            large: Large::default(),
            hosts: Hosts::Any,
            strangers: Strangers::new(elapsed),
            stripe: WebhookSecrets::parse(""),
            webhooks: WebhookAccount::default(),
            under_way: InFlightKeys::default(),
            listening: AtomicBool::new(false),
            authz_to_loopback_only: false,
        }
    }
}

impl FromRef<App> for Arc<AppCore> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.core)
    }
}

impl FromRef<App> for Arc<AppDoors> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.doors)
    }
}

impl FromRef<App> for Arc<AppRecord> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.record)
    }
}
