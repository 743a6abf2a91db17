//! `echo-phoenix gate`: a data plane process of a cluster. It watches and answers verdicts; it has
//! no ledger and no leader.

use std::sync::Arc;

use clap::Args;

use crate::cluster::heartbeat::Heartbeat;
use crate::cluster::lane::Lane;
use crate::config::{ClusterArgs, GateSecretArgs, KeyArgs, ListenArgs};
use crate::http::{self, HealthParts as HttpParts, Process};
use crate::server::Doors;

use super::operator::{app, watching};
use super::self_test::{self, SelfTest};
use super::supervise::{ShutdownSignals, Supervisor};
use super::{RunError, gate_secret, listen, local_key};

/// `echo-phoenix gate`
#[derive(Args, Clone, Debug)]
pub struct GateArgs {
    /// Listeners and logs
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Keys
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Callers
    #[command(flatten)]
    pub secret: GateSecretArgs,
    /// Cluster
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Runs a gate until it is told to stop.
///
/// # Errors
/// If it cannot start, or a task ends on its own.
pub async fn gate(args: GateArgs) -> Result<(), RunError> {
    let keys = local_key::keys(&args.keys, args.listen.environment, None)?;
    let gate = gate_secret::gate(&args.secret, args.listen.environment, None)?;
    let on = watching(&args.cluster, gate, None).await?;
    let loaded = Arc::clone(&on.watched);
    let parts = HttpParts::new(Arc::new(move || loaded.loaded()));
    let app = app(Process::Gate, &args.listen, keys, &on, None, parts)?;
    let (http, signals) = (self_test::client()?, ShutdownSignals::listen()?);
    let doors = Doors::open(&args.listen, &app.core.metrics).await?;
    let self_test = SelfTest::new(http, &app, doors.asked_by_proxies(), None)?;

    let mut supervisor = Supervisor::default();
    let stop = supervisor.stage();
    let lane = Lane::new(on.client.clone(), Arc::clone(&on.watched));
    supervisor.start("kill-lane", lane.run(stop.clone()));
    let heartbeat = Heartbeat {
        client: on.client,
        namespace: args.cluster.pod_namespace.clone(),
        identity: args.cluster.pod_name.clone(),
        watched: on.watched,
        holds: on.holds,
        clock: on.clock,
    };
    supervisor.start("heartbeat", heartbeat.run(stop));
    let routes = http::router(app.clone());
    listen::start(&mut supervisor, doors, routes, &app);
    supervisor.stage();
    supervisor.keep_up("self-test", move |stop| Arc::clone(&self_test).run(stop));
    supervisor.run(signals).await
}
