//! `echo-phoenix operator`: the control plane of a cluster, leader-elected, with the ledger.

use std::sync::Arc;

use clap::Args;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::cluster::connect;
use crate::cluster::desired::ClusterDesired;
use crate::cluster::gates::ClusterGates;
use crate::cluster::index::Index;
use crate::cluster::lane::Lane;
use crate::cluster::lease::{Candidate, LeaderFlag};
use crate::cluster::leftovers;
use crate::cluster::status::StatusWriter;
use crate::cluster::watched::WatchedState;
use crate::config::{
    AirtableArgs, ClusterArgs, GateSecretArgs, HostArgs, KeyArgs, Keys, ListenArgs, StoreArgs,
};
use crate::decide::law::Law;
use crate::domain::target::TargetKind;
use crate::gate::Gate;
use crate::http::{self, App, AppDoors, AppParts, HealthParts as HttpParts, Process};
use crate::latch::{HoldRegistry, Latch};
use crate::mirror::counters::MirrorCounters;
use crate::ports::{Clock, Desired, Journal, JournalEntry, Ledger, Report, Target, Wake};
use crate::reconcile::{ReconcileContext, Reconciler};
use crate::server::Doors;
use crate::source::stripe::WebhookSecrets;
use crate::store::{FileJournal, StandbyLedger};
use crate::targets;
use crate::wake::WakeSet;

use super::clock::{SystemClock, monotonic};
use super::record::{Holds, OpenedRecord, RecordHealth};
use super::supervise::{ShutdownSignals, Supervisor};
use super::{
    RunError, data_folder, gate_secret, listen, local_key, mirror, record, unaccounted, upkeep,
};

/// `echo-phoenix operator`
#[derive(Args, Clone, Debug)]
pub struct OperatorArgs {
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
    /// Mirror
    #[command(flatten)]
    pub airtable: AirtableArgs,
    /// Hosts
    #[command(flatten)]
    pub hosts: HostArgs,
    /// Cluster
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// The ledger and the journal of an operator.
pub(super) type LedgerAndJournal = (Arc<dyn Ledger>, Arc<dyn Journal>);

/// The parts of a process that watches a cluster.
pub(super) struct Watching {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) watched: Arc<WatchedState>,
    pub(super) leader: Arc<LeaderFlag>,
    pub(super) desired: Arc<dyn Desired>,
    pub(super) wake: Arc<dyn Wake>,
    pub(super) gate: Arc<Gate>,
    pub(super) holds: Arc<HoldRegistry>,
    pub(super) latch: Arc<Latch>,
}

/// Builds what every process of a cluster has: the gate, and the kill lane that moves it. `record`
/// is the operator's.
pub(super) async fn watching(
    args: &ClusterArgs,
    gate: Gate,
    record: Option<LedgerAndJournal>,
) -> Result<Watching, RunError> {
    let client = connect::client(args.kubeconfig.as_deref())
        .await
        .map_err(|e| RunError::Failed(e.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (ledger, journal) = record.map_or((None, None), |record| (Some(record.0), Some(record.1)));
    let (gate, wake): (_, Arc<dyn Wake>) = (Arc::new(gate), Arc::new(WakeSet::default()));
    // A kill that the API server never took is tried again from the journal.
    let owed = journal
        .iter()
        .flat_map(|journal| journal.pending())
        .filter_map(JournalEntry::hold)
        .collect();
    let holds = HoldRegistry::new(Arc::clone(&gate), Arc::clone(&wake), owed);
    let holds = Arc::new(holds);
    // Whoever has a ledger has a loop.
    let index = ledger
        .as_ref()
        .map_or_else(Index::default, |_| Index::looked_at());
    let watched = WatchedState::new(
        index,
        Arc::clone(&clock),
        Arc::clone(&holds),
        Arc::clone(&wake),
    );
    let watched = Arc::new(watched);
    let leader = Arc::new(LeaderFlag::new(Arc::clone(&watched)));
    let desired: Arc<dyn Desired> = Arc::new(ClusterDesired::new(
        client.clone(),
        Arc::clone(&watched),
        Arc::<LeaderFlag>::clone(&leader),
        ledger.clone(),
    ));
    let latch = Latch::with_registry(Arc::clone(&holds), Arc::clone(&desired), journal);
    let latch = Arc::new(latch);
    if let Some(record) = ledger {
        latch.asks(record);
    }
    Ok(Watching {
        client,
        clock,
        watched,
        leader,
        desired,
        wake,
        gate,
        holds,
        latch,
    })
}

/// Runs the operator until it is told to stop.
///
/// # Errors
/// If it cannot start, or a task ends on its own.
pub async fn operator(args: OperatorArgs) -> Result<(), RunError> {
    check(&args)?;
    let kept = record::open(&args.store.data_dir, Holds::Cluster, &SystemClock).await?;
    let OpenedRecord {
        ledger,
        stored,
        journal: file,
        told,
        _lock,
        ..
    } = kept;
    let journal: Arc<dyn Journal> = Arc::<FileJournal>::clone(&file);
    let keys = local_key::keys(
        &args.keys,
        args.listen.environment,
        Some(&args.store.data_dir),
    )?;
    let record: Arc<dyn Ledger> = Arc::<StandbyLedger>::clone(&ledger);
    let gate = gate_secret::gate(&args.secret, args.listen.environment, None)?;
    let on = watching(&args.cluster, gate, Some((Arc::clone(&record), journal))).await?;
    let worker = mirror::worker(
        &args.airtable,
        &args.hosts,
        Arc::clone(&record),
        Arc::clone(&on.clock),
    )?;

    let folder = Arc::clone(&told.folder);
    let counters = worker.as_ref().map(|(_, counters)| Arc::clone(counters));
    let parts = parts(&args, &keys, &on, counters, told);
    let (listen, kept) = (&args.listen, Some(&ledger));
    let app = app(Process::Operator, listen, keys, &on, kept, parts)?;
    let signals = ShutdownSignals::listen()?;
    let doors = Doors::open(&args.listen, &app.core.metrics).await?;

    let mut supervisor = Supervisor::default();
    let stop = supervisor.stage();
    if let Some((worker, _)) = worker {
        mirror::keep_up(&mut supervisor, worker);
    }
    start_cluster(&mut supervisor, &args.cluster, &on, &stop);
    let (clock, latch) = (Arc::clone(&on.clock), Arc::clone(&on.latch));
    supervisor.start(
        "record",
        record::watch(
            Arc::clone(&ledger),
            Arc::clone(&file),
            None,
            latch,
            clock,
            stop.clone(),
        ),
    );
    supervisor.keep_up("data-folder", move |stop| Arc::clone(&folder).watch(stop));
    upkeep::keep_up(&mut supervisor, &ledger, &app);
    let stop = supervisor.stage();
    supervisor.start(
        "reconcile",
        Reconciler::new(reconciler_parts(&on, record, &args.cluster), &stored).run(stop),
    );
    let routes = http::router(app.clone());
    listen::start(&mut supervisor, doors, routes, &app);
    let ended = supervisor.run(signals).await;
    record::last_words(&on.latch).await;
    record::close(file, ledger).await?;
    ended
}

/// Looks at all of the configuration before anything is made: a wrong value leaves no trace.
fn check(args: &OperatorArgs) -> Result<(), RunError> {
    args.listen.check()?;
    args.store.check()?;
    args.secret.check(args.listen.environment)?;
    local_key::configured(&args.keys, args.listen.environment)?;
    mirror::check(&args.airtable, &args.hosts)
}

/// What `/health` tells of.
fn parts(
    args: &OperatorArgs,
    keys: &Keys,
    on: &Watching,
    mirror: Option<Arc<MirrorCounters>>,
    told: RecordHealth,
) -> HttpParts {
    let loaded = Arc::clone(&on.watched);
    let mut parts = HttpParts::new(Arc::new(move || loaded.loaded()));
    parts.part(
        "airtable",
        args.airtable.missing(),
        mirror.map(|counters| mirror::look(counters, Arc::clone(&on.clock))),
    );
    local_key::part(keys, args.listen.environment, &mut parts);
    unaccounted::part(told.record, &on.desired, &mut parts);
    data_folder::part(told.folder, &mut parts);
    parts
}

/// Starts what follows the cluster: its kills, what was left in it, and who leads.
fn start_cluster(
    supervisor: &mut Supervisor,
    cluster: &ClusterArgs,
    on: &Watching,
    stop: &CancellationToken,
) {
    let lane = Lane::new(on.client.clone(), Arc::clone(&on.watched));
    supervisor.start("kill-lane", lane.run(stop.clone()));
    let swept = (on.client.clone(), Arc::clone(&on.watched));
    supervisor.start("leftovers", leftovers::run(swept.0, swept.1, stop.clone()));
    let candidate = Candidate::new(
        on.client.clone(),
        &cluster.pod_namespace,
        cluster.pod_name.clone(),
        Arc::clone(&on.clock),
        Arc::clone(&on.leader),
    );
    supervisor.start("lease", candidate.run(stop.clone()));
}

fn reconciler_parts(
    on: &Watching,
    ledger: Arc<dyn Ledger>,
    cluster: &ClusterArgs,
) -> ReconcileContext {
    let (client, clock) = (on.client.clone(), Arc::clone(&on.clock));
    let gates: Arc<dyn Target> = Arc::new(ClusterGates::new(
        client.clone(),
        &cluster.pod_namespace,
        Arc::clone(&on.watched),
        Arc::clone(&clock),
    ));
    let mut targets = targets::in_cluster(&client);
    targets.insert(TargetKind::Gate, gates);
    let report: Arc<dyn Report> = Arc::new(StatusWriter::new(
        client,
        Arc::clone(&on.watched),
        Arc::<LeaderFlag>::clone(&on.leader),
        cluster.pod_name.clone(),
    ));
    ReconcileContext {
        desired: Arc::clone(&on.desired),
        leadership: Arc::<LeaderFlag>::clone(&on.leader),
        wake: Arc::clone(&on.wake),
        ledger,
        latch: Arc::clone(&on.latch),
        gate: Arc::clone(&on.gate),
        targets,
        report: Some(report),
        clock,
        law: Law::default(),
    }
}

/// What the handlers of a process in a cluster may use.
pub(super) fn app(
    process: Process,
    listen: &ListenArgs,
    keys: Keys,
    on: &Watching,
    kept: Option<&Arc<StandbyLedger>>,
    health: HttpParts,
) -> Result<App, RunError> {
    let app = App::new(AppParts {
        process,
        clock: Arc::clone(&on.clock),
        gate: Arc::clone(&on.gate),
        latch: Arc::clone(&on.latch),
        desired: Arc::clone(&on.desired),
        measurements: None,
        wake: Arc::clone(&on.wake),
        health,
        doors: AppDoors::new(listen, keys, WebhookSecrets::parse(""), monotonic()),
        record: kept.map(record::for_handlers).unwrap_or_default(),
    });
    app.map_err(|e| RunError::failed("metrics", e))
}
