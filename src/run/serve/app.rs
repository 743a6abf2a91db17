//! What the handlers of a service of one process may use, and what its `/health` tells of.

use std::sync::Arc;

use super::ServeArgs;
use super::brake::Brake;
use crate::config::Keys;
use crate::desired::LedgerDesired;
use crate::gate::Gate;
use crate::http::{App, AppDoors, AppParts, HealthCheck, HealthParts, Process};
use crate::mirror::counters::MirrorCounters;
use crate::ports::Desired;
use crate::run::clock::monotonic;
use crate::run::manifest;
use crate::run::record::{self, RecordHealth};
use crate::run::{RunError, data_folder, local_key, mirror, unaccounted};
use crate::source::stripe::WebhookSecrets;
use crate::store::StandbyLedger;

/// What they get beside the brake.
pub(super) struct Given {
    pub(super) keys: Keys,
    pub(super) told: RecordHealth,
    pub(super) stripe: WebhookSecrets,
    pub(super) mirror: Option<Arc<MirrorCounters>>,
}

/// What the handlers of a service may use.
pub(super) fn app(
    args: &ServeArgs,
    brake: &Brake,
    ledger: &Arc<StandbyLedger>,
    given: Given,
) -> Result<App, RunError> {
    let Brake {
        clock,
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
        mirror,
    } = given;
    if stripe.trimmed() > 0 {
        tracing::warn!("STRIPE_WEBHOOK_SECRET has spaces around a secret; they were taken off");
    }
    let mut parts = loaded(desired, gate);
    local_key::part(&keys, args.listen.environment, &mut parts);
    unaccounted::part(told.record, desired, &mut parts);
    data_folder::part(told.folder, &mut parts);
    let on: HealthCheck = Arc::new(|| Ok("ok".to_owned()));
    let on = (!stripe.is_empty()).then_some(on);
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
    let app = App::new(AppParts {
        process: Process::Serve,
        clock: Arc::clone(clock),
        gate: Arc::clone(gate),
        latch: Arc::clone(latch),
        desired: Arc::clone(desired),
        measurements: Some(Arc::<LedgerDesired>::clone(&brake.declared)),
        wake: Arc::<LedgerDesired>::clone(&brake.declared),
        health: parts,
        doors: AppDoors::new(&args.listen, keys, stripe, monotonic()),
        record: record::for_handlers(ledger),
    });
    app.map_err(|e| RunError::failed("metrics", e))
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
