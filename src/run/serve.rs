//! `echo-phoenix serve`: everything in one process, without a cluster.

mod app;
mod brake;

use std::sync::Arc;

use clap::Args;

use crate::config::{
    AirtableArgs, GateSecretArgs, HostArgs, KeyArgs, ListenArgs, ManifestArgs, RemoteKeys,
    StoreArgs, StripeArgs,
};
use crate::desired::LedgerDesired;
use crate::http::{self, App};
use crate::mirror::counters::MirrorCounters;
use crate::mirror::worker::Worker;
use crate::ports::{Clock, Stored, Target};
use crate::reconcile::Reconciler;
use crate::server::Doors;
use crate::source::stripe::WebhookSecrets;
use crate::store::{FileJournal, StandbyLedger, StateFile};
use crate::targets::remote::Remotes;

use super::awaited::Awaited;
use super::clock::SystemClock;
use super::data_folder::DataFolder;
use super::manifest::{self, ManifestDeps};
use super::record::{Holds, LastKept, OpenedRecord};
use super::self_test::{self, SelfTest};
use super::supervise::{ShutdownSignals, Supervisor};
use super::{RunError, installation, listen, local_key, mirror, record, upkeep};
use app::{Given, app};
use brake::Brake;

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

/// Runs the service until it is told to stop.
///
/// # Errors
/// If it cannot start, or a task ends on its own.
pub async fn serve(args: ServeArgs) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let stripe = checked(&args)?;
    let OpenedRecord {
        ledger,
        stored,
        journal,
        heard,
        last_state,
        mut told,
        _lock,
    } = record::open(&args.store.data_dir, Holds::Here, clock.as_ref()).await?;
    let keys = local_key::keys(
        &args.keys,
        args.listen.environment,
        Some(&args.store.data_dir),
    )?;
    let brake = Brake::new(
        &args,
        clock,
        &ledger,
        &journal,
        (&stored, &heard),
        &mut told.record,
    )?;
    let remote_keys = RemoteKeys::read();
    let abroad = (remote_keys.clone(), args.hosts.clone());
    let on = brake
        .obey_file(abroad, !stored.throttles.is_empty())
        .await?;
    brake.latch.retry_pending().await;

    let worker = mirror::worker(
        &args.airtable,
        &args.hosts,
        Arc::clone(&brake.record),
        Arc::clone(&brake.clock),
    )?;
    let folder = Arc::clone(&told.folder);
    let given = Given {
        keys,
        told,
        stripe,
        mirror: worker.as_ref().map(|(_, counters)| Arc::clone(counters)),
    };
    let app = app(&args, &brake, &ledger, given)?;
    let remotes = remotes(&args, remote_keys, &brake)?;
    let (http, signals) = (self_test::client()?, ShutdownSignals::listen()?);
    let doors = Doors::open(&args.listen, &app.core.metrics).await?;
    let self_test = SelfTest::new(
        http,
        &app,
        doors.asked_by_proxies(),
        Some(args.hosts.clone()),
    )?;
    let mut supervisor = Supervisor::default();
    keep_record(&mut supervisor, &brake, last_state, &journal, &ledger);
    keep_rest(&mut supervisor, &brake, on, folder, worker, (&ledger, &app));
    let last = Arc::clone(&brake.latch);
    start_loop(&mut supervisor, brake, remotes, &app, &stored);
    let routes = http::router(app.clone());
    listen::start(&mut supervisor, doors, routes, &app);
    supervisor.stage();
    supervisor.keep_up("self-test", move |stop| Arc::clone(&self_test).run(stop));
    let ended = supervisor.run(signals).await;
    record::last_words(&last).await;
    record::close(journal, ledger).await?;
    ended
}

/// Looks at all of the configuration before anything is made: a wrong value leaves no trace. Gives
/// the webhook's secrets.
fn checked(args: &ServeArgs) -> Result<WebhookSecrets, RunError> {
    args.listen.check()?;
    args.store.check()?;
    args.secret.check(args.listen.environment)?;
    local_key::configured(&args.keys, args.listen.environment)?;
    mirror::check(&args.airtable, &args.hosts)?;
    Ok(WebhookSecrets::parse(
        &args
            .stripe
            .given(args.listen.environment)?
            .unwrap_or_default(),
    ))
}

/// The throttles of other sites.
fn remotes(args: &ServeArgs, keys: RemoteKeys, brake: &Brake) -> Result<Arc<Remotes>, RunError> {
    let _awaited = Awaited::on_certificates();
    let id = installation::id(&args.store.data_dir);
    let remotes = Remotes::new(
        id,
        Arc::<LedgerDesired>::clone(&brake.declared),
        Arc::clone(&brake.clock),
        keys,
        args.hosts.clone(),
    );
    Ok(Arc::new(remotes.map_err(|e| {
        RunError::failed("a client for other sites", e)
    })?))
}

/// Starts what keeps the record: it opens the ledger, should it be away, and writes the last state.
fn keep_record(
    supervisor: &mut Supervisor,
    brake: &Brake,
    last_state: Option<StateFile>,
    journal: &Arc<FileJournal>,
    ledger: &Arc<StandbyLedger>,
) {
    let stop = supervisor.stage();
    let opening = record::watch(
        Arc::clone(ledger),
        Arc::clone(journal),
        Some(Arc::clone(&brake.declared)),
        Arc::clone(&brake.latch),
        Arc::clone(&brake.clock),
        stop,
    );
    supervisor.start("record", opening);
    let Some(file) = last_state.map(Arc::new) else {
        return;
    };
    let kept = Arc::new(LastKept {
        file,
        gate: Arc::clone(&brake.gate),
        declared: Arc::clone(&brake.declared),
        journal: Arc::clone(journal),
        ledger: Arc::clone(ledger),
    });
    let counted = Arc::clone(&kept);
    supervisor.keep_up("last-state", move |stop| {
        record::keep(Arc::clone(&kept), stop)
    });
    supervisor.keep_up("journal-count", move |stop| {
        record::count(Arc::clone(&counted), stop)
    });
}

/// Starts what is begun again if it breaks: looking at the manifest and at the folder, the record's
/// upkeep, the mirror.
fn keep_rest(
    supervisor: &mut Supervisor,
    brake: &Brake,
    on: Arc<ManifestDeps>,
    folder: Arc<DataFolder>,
    mirror: Option<(Worker, Arc<MirrorCounters>)>,
    (ledger, app): (&Arc<StandbyLedger>, &App),
) {
    if let Some(file) = brake.manifest.clone() {
        supervisor.keep_up("manifest", move |stop| {
            manifest::run(Arc::clone(&file), Arc::clone(&on), stop)
        });
    }
    supervisor.keep_up("data-folder", move |stop| Arc::clone(&folder).watch(stop));
    upkeep::keep_up(supervisor, ledger, app);
    if let Some((worker, _)) = mirror {
        mirror::keep_up(supervisor, worker);
    }
}

/// Starts the loop, and what it tells other sites.
fn start_loop(
    supervisor: &mut Supervisor,
    brake: Brake,
    remotes: Arc<Remotes>,
    app: &App,
    stored: &Stored,
) {
    let stop = supervisor.stage();
    let there: Arc<dyn Target> = Arc::<Remotes>::clone(&remotes);
    supervisor.keep_up("remotes", move |stop| Arc::clone(&remotes).run(stop));
    let parts = brake.parts(there, Arc::<http::StatusBoard>::clone(&app.core.board));
    supervisor.start("reconcile", Reconciler::new(parts, stored).run(stop));
}
