//! `echo-phoenix serve`: everything in one process, without a cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::config::{
    AirtableArgs, Environment, GateSecretArgs, HostArgs, KeyArgs, ListenArgs, ManifestArgs,
    RemoteKeys, StoreArgs, StripeArgs,
};
use crate::decide::law::Law;
use crate::domain::hold::Epoch;
use crate::domain::throttle::TargetKind;
use crate::gate::Gate;
use crate::http::{
    self, App, Hosts, Large, LedgerLook, Parts as HttpParts, Rates, Strangers, UnderWay,
};
use crate::latch::Latch;
use crate::mirror::counters::MirrorCounters;
use crate::ports::{
    Clock, Desired, History, Journal, JournalEntry, Ledger, Report, Stored, Target,
};
use crate::reconcile::{Parts, Reconciler};
use crate::source::stripe::Secrets;
use crate::store::{FileJournal, LedgerDesired, StandbyLedger, StateFile};
use crate::targets::gate::LocalGate;
use crate::targets::remote::Remotes;
use crate::telemetry::Metrics;

use super::awaited::Awaited;
use super::clock::{SystemClock, monotonic};
use super::everyone::Everyone;
use super::listen::Doors;
use super::manifest::{Manifest, On};
use super::record::{Holds, Kept, LastKept, Told};
use super::self_test::{self, SelfTest};
use super::supervise::{Signals, Supervisor};
use super::{
    RunError, data_folder, gate_secret, installation, listen, local_key, mirror, record,
    unaccounted, upkeep,
};

/// `echo-phoenix serve`
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Listeners and logs
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Keys
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Callers
    #[command(flatten)]
    pub secret: GateSecretArgs,
    /// Record
    #[command(flatten)]
    pub store: StoreArgs,
    /// Declarations
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Payments
    #[command(flatten)]
    pub stripe: StripeArgs,
    /// Mirror
    #[command(flatten)]
    pub airtable: AirtableArgs,
    /// Hosts
    #[command(flatten)]
    pub hosts: HostArgs,
}

/// The kill path with every hold there is, those that only the journal has included.
fn latch(
    gate: &Arc<Gate>,
    desired: &Arc<dyn Desired>,
    journal: &Arc<dyn Journal>,
    stored: &Stored,
    heard: &[Epoch],
) -> Arc<Latch> {
    let pending = journal.pending().into_iter().filter_map(JournalEntry::hold);
    let held = stored.holds.iter().cloned().chain(pending).collect();
    let latch = Latch::new(
        Arc::clone(gate),
        Arc::clone(desired),
        Some(Arc::clone(journal)),
        held,
    );
    latch.heard(heard);
    Arc::new(latch)
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// If it cannot start, or a task ends on its own.
pub async fn serve(args: ServeArgs) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stripe = checked(&args)?;
    let Kept {
        ledger,
        stored,
        journal: file,
        heard,
        last_state,
        mut told,
        _lock,
    } = record::open(&args.store.data_dir, Holds::Here, clock.as_ref()).await?;
    let journal: Arc<dyn Journal> = Arc::<FileJournal>::clone(&file);
    let keys = local_key::keys(
        &args.keys,
        args.listen.environment,
        Some(&args.store.data_dir),
    )?;
    let record: Arc<dyn Ledger> = Arc::<StandbyLedger>::clone(&ledger);
    let manifest = args
        .manifest
        .manifest
        .as_deref()
        .map(|path| Arc::new(Manifest::new(path, &clock)));
    let declared = Arc::new(match &manifest {
        Some(_) => LedgerDesired::with_manifest(Arc::clone(&record), stored.clone()),
        None => LedgerDesired::new(Arc::clone(&record), stored.clone()),
    });
    let desired: Arc<dyn Desired> = Arc::<LedgerDesired>::clone(&declared);
    // What was done and never reached the ledger is declared state too.
    journal
        .pending()
        .iter()
        .for_each(|entry| declared.owes(entry));
    let kept = Some((args.store.data_dir.as_path(), &mut told.record));
    let gate = Arc::new(gate_secret::gate(
        &args.secret,
        args.listen.environment,
        kept,
    )?);
    let latch = latch(&gate, &desired, &journal, &stored, &heard);
    // The gate knows every hold, the journal's and the manifest's included, before a listener is bound.
    latch.obey(clock.elapsed());
    let remote_keys = RemoteKeys::read();
    let on = On::new(
        &declared,
        &latch,
        &clock,
        (remote_keys.clone(), args.hosts.clone()),
    );
    if let Some(manifest) = &manifest {
        manifest.start(&on, !stored.throttles.is_empty()).await?;
    }
    latch.settle().await;

    let worker = mirror::worker(
        &args.airtable,
        &args.hosts,
        Arc::clone(&record),
        Arc::clone(&clock),
    )?;
    let (history, counters) = (
        Arc::<StandbyLedger>::clone(&ledger),
        worker.as_ref().map(|(_, c)| Arc::clone(c)),
    );
    let (look, folder) = (
        manifest.as_ref().map(Manifest::look),
        Arc::clone(&told.folder),
    );
    let app = app(
        &args, keys, told, stripe, &clock, &gate, &latch, &desired, &record, history, counters,
        look,
    )?;
    let remotes = remotes(&args, remote_keys, &desired, &clock)?;
    let (http, signals) = (self_test::client()?, Signals::listen()?);
    let doors = Doors::open(&args.listen, &app.metrics).await?;
    let self_test = SelfTest::new(
        http,
        &app,
        doors.asked_by_proxies(),
        Some(args.hosts.clone()),
    )?;
    let mut supervisor = Supervisor::default();
    let stop = supervisor.stage();
    let (clock_too, latch_too) = (Arc::clone(&clock), Arc::clone(&latch));
    let (ledger_too, declared_too) = (Arc::clone(&ledger), Some(Arc::clone(&declared)));
    let opening = record::watch(
        ledger_too,
        Arc::clone(&file),
        declared_too,
        latch_too,
        clock_too,
        stop.clone(),
    );
    supervisor.start("record", opening);
    keep_files(
        &mut supervisor,
        last_state,
        (&declared, &gate),
        Arc::clone(&file),
        &ledger,
    );
    if let Some(manifest) = manifest {
        supervisor.keep_up("manifest", move |stop| {
            Arc::clone(&manifest).run(Arc::clone(&on), stop)
        });
    }
    supervisor.keep_up("data-folder", move |stop| Arc::clone(&folder).watch(stop));
    upkeep::keep_up(&mut supervisor, &ledger, &app);
    if let Some((worker, _)) = worker {
        mirror::keep_up(&mut supervisor, worker);
    }
    let stop = supervisor.stage();
    let local: Arc<dyn Target> = Arc::new(LocalGate::new(Arc::clone(&gate), Arc::clone(&clock)));
    let there: Arc<dyn Target> = Arc::<Remotes>::clone(&remotes);
    supervisor.keep_up("remotes", move |stop| Arc::clone(&remotes).run(stop));
    let targets = HashMap::from([(TargetKind::Gate, local), (TargetKind::Remote, there)]);
    let told: Arc<dyn Report> = Arc::new(Everyone(vec![
        declared,
        Arc::<http::Board>::clone(&app.board),
    ]));
    let (report, law) = (Some(told), Law::default());
    let last = Arc::clone(&latch);
    let parts = Parts {
        desired,
        ledger: record,
        latch,
        gate,
        targets,
        report,
        clock,
        law,
    };
    supervisor.start("reconcile", Reconciler::new(parts, &stored).run(stop));
    let routes = http::service_routes(Arc::clone(&app));
    listen::start(&mut supervisor, doors, routes, app);
    supervisor.stage();
    supervisor.keep_up("self-test", move |stop| Arc::clone(&self_test).run(stop));
    let ended = supervisor.run(signals).await;
    record::last_words(&last).await;
    record::close(file, ledger).await?;
    ended
}

/// Looks at all of the configuration before anything is made: a wrong value leaves no trace. Gives the webhook's secrets.
fn checked(args: &ServeArgs) -> Result<Secrets, RunError> {
    args.listen.check()?;
    args.store.check()?;
    args.secret.check(args.listen.environment)?;
    local_key::configured(&args.keys, args.listen.environment)?;
    mirror::check(&args.airtable, &args.hosts)?;
    Ok(Secrets::parse(
        &args
            .stripe
            .given(args.listen.environment)?
            .unwrap_or_default(),
    ))
}

/// The throttles of other sites.
fn remotes(
    args: &ServeArgs,
    keys: RemoteKeys,
    desired: &Arc<dyn Desired>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Remotes>, RunError> {
    let _awaited = Awaited::on_certificates();
    let id = installation::id(&args.store.data_dir);
    let remotes = Remotes::new(
        id,
        Arc::clone(desired),
        Arc::clone(clock),
        keys,
        args.hosts.clone(),
    );
    Ok(Arc::new(remotes.map_err(|e| {
        RunError::failed("a client for other sites", e)
    })?))
}

/// Starts what writes the last state.
fn keep_files(
    supervisor: &mut Supervisor,
    last_state: Option<StateFile>,
    (declared, gate): (&Arc<LedgerDesired>, &Arc<Gate>),
    journal: Arc<FileJournal>,
    ledger: &Arc<StandbyLedger>,
) {
    let Some(file) = last_state.map(Arc::new) else {
        return;
    };
    let (declared, gate, ledger) = (Arc::clone(declared), Arc::clone(gate), Arc::clone(ledger));
    let kept = Arc::new(LastKept {
        file,
        gate,
        declared,
        journal,
        ledger,
    });
    let counted = Arc::clone(&kept);
    supervisor.keep_up("last-state", move |stop| {
        record::keep(Arc::clone(&kept), stop)
    });
    supervisor.keep_up("journal-count", move |stop| {
        record::count(Arc::clone(&counted), stop)
    });
}

#[allow(
    clippy::too_many_arguments,
    reason = "the composition root hands every part over once"
)]
fn app(
    args: &ServeArgs,
    keys: crate::config::Keys,
    told: Told,
    stripe: Secrets,
    clock: &Arc<dyn Clock>,
    gate: &Arc<Gate>,
    latch: &Arc<Latch>,
    desired: &Arc<dyn Desired>,
    ledger: &Arc<dyn Ledger>,
    history: Arc<dyn History>,
    mirror: Option<Arc<MirrorCounters>>,
    manifest: Option<http::Look>,
) -> Result<Arc<App>, RunError> {
    if stripe.trimmed() > 0 {
        tracing::warn!("STRIPE_WEBHOOK_SECRET has spaces around a secret; they were taken off");
    }
    let (all, table) = (Arc::clone(desired), Arc::clone(gate));
    let loaded = move || {
        all.declared()
            .iter()
            .all(|declared| table.standing(&declared.name).is_some())
    };
    let mut parts = HttpParts::new(Arc::new(loaded));
    local_key::part(&keys, args.listen.environment, &mut parts);
    unaccounted::part(told.record, desired, &mut parts);
    data_folder::part(told.folder, &mut parts);
    let on: Option<http::Look> = if stripe.is_empty() {
        None
    } else {
        Some(Arc::new(|| Ok("ok".to_owned())))
    };
    parts.part("stripe", "STRIPE_WEBHOOK_SECRET", on);
    parts.part("manifest", "ECHO_MANIFEST", manifest);
    parts.part(
        "airtable",
        args.airtable.missing(),
        mirror.map(|counters| mirror::look(counters, Arc::clone(clock))),
    );
    for (name, variable) in &parts.off {
        tracing::info!(part = name, "off: set {variable} to turn it on");
    }
    Ok(Arc::new(App {
        mode: "serve",
        started: clock.moment(),
        clock: Arc::clone(clock),
        gate: Arc::clone(gate),
        latch: Arc::clone(latch),
        desired: Arc::clone(desired),
        ledger: Some(Arc::clone(ledger)),
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
        under_way: UnderWay::default(),
        listening: AtomicBool::new(false),
        authz_to_loopback_only: args.listen.environment == Environment::Production,
    }))
}
