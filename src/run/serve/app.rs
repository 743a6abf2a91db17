//! What the handlers of a service of one process may use, and what its `/health` tells of.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::ServeArgs;
use super::brake::Brake;
use crate::config::{Environment, Keys};
use crate::decide::law::Law;
use crate::gate::Gate;
use crate::http::{
    App, HealthCheck, HealthParts, Hosts, InFlightKeys, Large, LedgerLook, Process, Rates,
    Strangers,
};
use crate::mirror::counters::MirrorCounters;
use crate::ports::{Desired, History};
use crate::run::clock::monotonic;
use crate::run::manifest;
use crate::run::record::RecordHealth;
use crate::run::{RunError, data_folder, local_key, mirror, unaccounted};
use crate::source::stripe::WebhookSecrets;
use crate::telemetry::Metrics;

/// What they get beside the brake.
pub(super) struct Given {
    pub(super) keys: Keys,
    pub(super) told: RecordHealth,
    pub(super) stripe: WebhookSecrets,
    pub(super) history: Arc<dyn History>,
    pub(super) mirror: Option<Arc<MirrorCounters>>,
}

/// What the handlers of a service may use.
pub(super) fn app(args: &ServeArgs, brake: &Brake, given: Given) -> Result<Arc<App>, RunError> {
    let Brake {
        clock,
        record,
        manifest,
        desired,
        gate,
        latch,
        ..
    } = brake;
    let Given {
        keys,
        told,
        stripe,
        history,
        mirror,
    } = given;
    if stripe.trimmed() > 0 {
        tracing::warn!("STRIPE_WEBHOOK_SECRET has spaces around a secret; they were taken off");
    }
    let mut parts = loaded(desired, gate);
    local_key::part(&keys, args.listen.environment, &mut parts);
    unaccounted::part(told.record, desired, &mut parts);
    data_folder::part(told.folder, &mut parts);
    let on: Option<HealthCheck> = if stripe.is_empty() {
        None
    } else {
        Some(Arc::new(|| Ok("ok".to_owned())))
    };
    parts.part("stripe", "STRIPE_WEBHOOK_SECRET", on);
    parts.part(
        "manifest",
        "ECHO_MANIFEST",
        manifest.as_ref().map(manifest::health),
    );
    parts.part(
        "airtable",
        args.airtable.missing(),
        mirror.map(|counters| mirror::look(counters, Arc::clone(clock))),
    );
    for (name, variable) in &parts.off {
        tracing::info!(part = name, "off: set {variable} to turn it on");
    }
    Ok(Arc::new(App {
        mode: Process::Serve,
        started: clock.moment(),
        clock: Arc::clone(clock),
        gate: Arc::clone(gate),
        latch: Arc::clone(latch),
        desired: Arc::clone(desired),
        ledger: Some(Arc::clone(record)),
        history: Some(history),
        keys,
        rates: Rates::new(&args.listen.doors, monotonic()),
        large: Large::default(),
        webhooks: Arc::default(),
        ledger_look: LedgerLook::default(),
        hosts: Hosts::of(&args.listen),
        strangers: Strangers::new(monotonic()),
        stripe,
        metrics: Arc::new(Metrics::new().map_err(|e| RunError::failed("metrics", e))?),
        law: Law::default(),
        parts,
        board: Arc::default(),
        under_way: InFlightKeys::default(),
        listening: AtomicBool::new(false),
        authz_to_loopback_only: args.listen.environment == Environment::Production,
    }))
}

/// Parts that are loaded once the gate has every throttle that is declared.
fn loaded(desired: &Arc<dyn Desired>, gate: &Arc<Gate>) -> HealthParts {
    let (all, table) = (Arc::clone(desired), Arc::clone(gate));
    let loaded = move || {
        all.declared()
            .iter()
            .all(|declared| table.standing(&declared.name).is_some())
    };
    HealthParts::new(Arc::new(loaded))
}
