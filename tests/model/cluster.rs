//! A kill waits for nothing, in a cluster: with each of ledger, journal, another site and the API
//! server hung, and all of their 16 combinations, the gate is shut at once, the loop has told the
//! other site and the object is made within 150 ms (where the API server hangs it has been asked to
//! make it), and the client has its answer within 5 s. What hung is told once it is back.
//!
//! One worker does it all. Other gates go by objects: they hear of a kill once the API server
//! answers. An operator's rules let it tell no other site yet; here its loop may, so that all of
//! them hang at once.

mod leftovers;
mod replayed;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use echo_phoenix::cluster::desired::ClusterDesired;
use echo_phoenix::cluster::gates::ClusterGates;
use echo_phoenix::cluster::heartbeat::Heartbeat;
use echo_phoenix::cluster::index::Index;
use echo_phoenix::cluster::lane::Lane;
use echo_phoenix::cluster::lease::{Candidate, LeaderFlag};
use echo_phoenix::cluster::leftovers as swept;
use echo_phoenix::cluster::status::StatusWriter;
use echo_phoenix::cluster::watched::WatchedState;
use echo_phoenix::decide::law::Law;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::{RemoteOrder, TargetKind};
use echo_phoenix::domain::throttle::ThrottleName;
use echo_phoenix::gate::Gate;
use echo_phoenix::http::Process;
use echo_phoenix::latch::{HoldRegistry, Lacking, Latch};
use echo_phoenix::ports::{Clock, Desired, Journal, JournalEntry, Ledger, Report, Target, Wake};
use echo_phoenix::reconcile::{ReconcileContext, Reconciler};
use echo_phoenix::wake::WakeSet;
use kube::Client;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::api_server::ApiServer;
use crate::commands::{DiskFault, LedgerFault, On};
use crate::disk::{Channel, Notebook};
use crate::doors;
use crate::life::{self, AppPorts, Kept, goes_on};
use crate::oracle::{Asked, Became, Shared, What};
use crate::outside::Outside;
use crate::site::{Line, Site};

/// Where operator and gates keep their leases.
const HOME: &str = "echo";
/// Where the throttle is.
const SHOP: &str = "shop";
const KINDS: [&str; 2] = [
    "echooverrides.echo-phoenix.dev",
    "clusterechooverrides.echo-phoenix.dev",
];
const OVERRIDES: &str = "clusterechooverrides";

/// A hang that outlasts everything that is measured, ms.
const HANGS: u16 = 60_000;
/// The loop and the object.
const LOOP: Duration = Duration::from_millis(150);
/// The answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Until all are told what hung, or have opened.
const BACK: Duration = Duration::from_secs(60);

/// What hangs.
#[derive(Clone, Copy, Debug)]
struct Hung {
    ledger: bool,
    journal: bool,
    site: bool,
    api_server: bool,
}

/// What is under way when it begins to hang.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// Git opens the throttle: the loop waits for the ledger.
    Opening,
    /// A revival, which waits for the ledger or for the API server.
    Revival,
}

/// A gate, in a process that knows what a cluster shows it.
struct Watching {
    client: Client,
    watched: Arc<WatchedState>,
    leader: Arc<LeaderFlag>,
    desired: Arc<dyn Desired>,
    wake: Arc<dyn Wake>,
    gate: Arc<Gate>,
    holds: Arc<HoldRegistry>,
    latch: Arc<Latch>,
}

/// An operator, another gate, and all that they speak to.
struct Cluster {
    outside: Arc<Outside>,
    server: Arc<ApiServer>,
    site: Arc<Site>,
    oracle: Shared,
    operator: Watching,
    other: Watching,
    channel: Arc<Channel>,
    journal: Arc<Notebook>,
    routes: Router,
}

impl Watching {
    /// What `run::operator::watching` builds, with a client of this server; `record` is the
    /// operator's.
    fn new(
        server: &Arc<ApiServer>,
        outside: &Arc<Outside>,
        record: Option<(Arc<dyn Ledger>, Arc<dyn Journal>)>,
    ) -> Self {
        let (client, clock) = (server.client(), clock(outside));
        let (ledger, journal) =
            record.map_or((None, None), |record| (Some(record.0), Some(record.1)));
        let gate = Arc::new(Gate::default());
        let wake: Arc<dyn Wake> = Arc::new(WakeSet::default());
        let owed = journal
            .iter()
            .flat_map(|journal| journal.pending())
            .filter_map(JournalEntry::hold)
            .collect();
        let holds = HoldRegistry::new(Arc::clone(&gate), Arc::clone(&wake), owed);
        let holds = Arc::new(holds);
        let index = ledger
            .as_ref()
            .map_or_else(Index::default, |_| Index::looked_at());
        let watched = WatchedState::new(index, clock, Arc::clone(&holds), Arc::clone(&wake));
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
        goes_on(Lane::new(client.clone(), Arc::clone(&watched)).run(CancellationToken::new()));
        Self {
            client,
            watched,
            leader,
            desired,
            wake,
            gate,
            holds,
            latch,
        }
    }

    fn is_killed(&self) -> bool {
        self.gate
            .standing(&till())
            .is_some_and(|standing| standing.killed())
    }

    fn is_open(&self) -> bool {
        self.gate
            .standing(&till())
            .is_some_and(|standing| !standing.killed() && standing.level == Level::OPEN)
    }
}

impl Cluster {
    async fn start(outside: &Arc<Outside>) -> Result<Self, String> {
        let (server, site) = (ApiServer::new(outside), Arc::new(Site::new()));
        installed(&server);
        settled(&server, SHOP, throttle(0));
        Self::over(outside, server, site).await
    }

    /// Over what is outside of it, and was there before.
    async fn over(
        outside: &Arc<Outside>,
        server: Arc<ApiServer>,
        site: Arc<Site>,
    ) -> Result<Self, String> {
        let Kept {
            channel,
            stored,
            journal,
            ..
        } = life::kept(outside).await?;
        let record: (Arc<dyn Ledger>, Arc<dyn Journal>) = (
            Arc::<Channel>::clone(&channel),
            Arc::<Notebook>::clone(&journal),
        );
        let (on, clock) = (
            Watching::new(&server, outside, Some(record)),
            clock(outside),
        );
        let (client, leader) = (on.client.clone(), Arc::clone(&on.leader));
        let candidate = Candidate::new(
            client,
            HOME,
            "operator".to_owned(),
            Arc::clone(&clock),
            leader,
        );
        goes_on(candidate.run(CancellationToken::new()));
        goes_on(swept::run(
            on.client.clone(),
            Arc::clone(&on.watched),
            CancellationToken::new(),
        ));
        goes_on(
            Reconciler::new(parts(&on, &channel, &site, outside), &stored)
                .run(CancellationToken::new()),
        );
        let record: Arc<dyn Ledger> = Arc::<Channel>::clone(&channel);
        let known = AppPorts {
            desired: Arc::clone(&on.desired),
            measurements: None,
            wake: Arc::clone(&on.wake),
        };
        let (gate, latch) = (&on.gate, &on.latch);
        let app = life::app(Process::Operator, &clock, gate, latch, known, &record)?;
        let routes = echo_phoenix::http::router(app);

        let other = Watching::new(&server, outside, None);
        let heartbeat = Heartbeat {
            client: other.client.clone(),
            namespace: HOME.to_owned(),
            identity: "other".to_owned(),
            watched: Arc::clone(&other.watched),
            holds: Arc::clone(&other.holds),
            clock,
        };
        goes_on(heartbeat.run(CancellationToken::new()));
        let outside = Arc::clone(outside);
        Ok(Self {
            outside,
            server,
            site,
            oracle: Shared::default(),
            operator: on,
            other,
            channel,
            journal,
            routes,
        })
    }

    /// Waits until something is so.
    async fn until(&self, limit: Duration, what: &str, is: impl Fn() -> bool) {
        let began = self.outside.now();
        while !is() {
            assert!(
                self.outside.now() - began < limit,
                "{what} within {limit:?}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a command; answers its id.
    async fn send(&self, body: &serde_json::Value, what: What) -> String {
        let asked = self.oracle.lock().sent(body.to_string(), None, what);
        doors::send(&self.routes, &self.outside, &self.oracle, &asked, None);
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        asked.id
    }

    async fn kill(&self) -> String {
        let body =
            json!({ "reason": "model", "operator": "model", "confirmation": "CONFIRM_KILL" });
        self.send(&body, What::Kill(On::All)).await
    }

    async fn revive(&self) -> String {
        let body = json!({ "reason": "model", "operator": "model" });
        self.send(&body, What::Revive(On::All, None)).await
    }

    fn became(&self, id: &str) -> Option<Became> {
        let oracle = self.oracle.lock();
        let asked = oracle.asked.iter().find(|asked| asked.id == id)?;
        asked.told.as_ref().map(|_| Asked::became(asked))
    }

    fn is_owed(&self) -> bool {
        self.operator.latch.lacking() != Lacking::default() || !self.journal.pending().is_empty()
    }

    fn hang(&self, hung: Hung) {
        if hung.ledger {
            self.outside.ledger_is(LedgerFault::HangsIn, HANGS);
            self.outside.reads_are(DiskFault::Hangs, HANGS);
        }
        if hung.journal {
            self.outside.journal_is(DiskFault::Hangs, HANGS);
        }
        if hung.site {
            self.outside.site_is(DiskFault::Hangs, HANGS);
        }
        if hung.api_server {
            self.outside.api_is(DiskFault::Hangs, HANGS);
        }
    }

    fn told_to_stop(&self, known: usize) -> bool {
        let heard = self.site.heard();
        let mut orders = heard.iter().skip(known).map(|(_, order)| order);
        self.site.is().1 || orders.any(|order| matches!(order, RemoteOrder::Kill { .. }))
    }

    async fn begins(&self, before: Before, hung: Hung) {
        if let Before::Revival = before {
            let kill = self.kill().await;
            self.until(BACK, "an earlier kill is answered", || {
                self.became(&kill).is_some()
            })
            .await;
            self.until(BACK, "all have heard of it", || {
                self.other.is_killed() && self.site.is().1
            })
            .await;
            sleep(Duration::from_secs(3)).await;
        }
        self.hang(hung);
        match before {
            Before::Nothing => return,
            Before::Opening => self.server.put("echothrottles", SHOP, throttle(0)),
            Before::Revival => drop(self.revive().await),
        }
        sleep(Duration::from_millis(300)).await;
    }
}

fn installed(server: &ApiServer) {
    KINDS.iter().for_each(|kind| {
        server.put(
            "customresourcedefinitions",
            "",
            json!({ "metadata": { "name": kind } }),
        )
    });
}

/// A namespace with a throttle.
fn settled(server: &ApiServer, namespace: &str, throttle: serde_json::Value) {
    server.put(
        "namespaces",
        "",
        json!({ "metadata": { "name": namespace } }),
    );
    server.put("echothrottles", namespace, throttle);
}

fn clock(outside: &Arc<Outside>) -> Arc<dyn Clock> {
    Arc::<Outside>::clone(outside)
}

fn till() -> ThrottleName {
    ThrottleName::in_namespace(SHOP, "till")
}

fn throttle(percent: u8) -> serde_json::Value {
    let remote = json!({ "url": "https://there.example", "apiKeyEnv": "ECHO_REMOTE_KEY_THERE" });
    json!({
        "apiVersion": "echo-phoenix.dev/v1alpha1",
        "kind": "EchoThrottle",
        "metadata": { "name": "till" },
        "spec": { "throttlePercent": percent, "targets": [{ "gate": {} }, { "remote": remote }] },
    })
}

/// What `run::operator` gives its loop, and the way to another site.
fn parts(
    on: &Watching,
    channel: &Arc<Channel>,
    site: &Arc<Site>,
    outside: &Arc<Outside>,
) -> ReconcileContext {
    let (client, clock) = (on.client.clone(), clock(outside));
    let gates: Arc<dyn Target> = Arc::new(ClusterGates::new(
        client.clone(),
        HOME,
        Arc::clone(&on.watched),
        Arc::clone(&clock),
    ));
    let line = Line {
        site: Arc::clone(site),
        outside: Arc::clone(outside),
        gate: Arc::clone(&on.gate),
    };
    let there: Arc<dyn Target> = Arc::new(line);
    let report: Arc<dyn Report> = Arc::new(StatusWriter::new(
        client,
        Arc::clone(&on.watched),
        Arc::<LeaderFlag>::clone(&on.leader),
        "operator".to_owned(),
    ));
    ReconcileContext {
        desired: Arc::clone(&on.desired),
        leadership: Arc::<LeaderFlag>::clone(&on.leader),
        wake: Arc::clone(&on.wake),
        ledger: Arc::<Channel>::clone(channel),
        latch: Arc::clone(&on.latch),
        gate: Arc::clone(&on.gate),
        targets: HashMap::from([(TargetKind::Gate, gates), (TargetKind::Remote, there)]),
        report: Some(report),
        clock,
        law: Law::default(),
    }
}

/// Holds of the record that have not ended.
async fn recorded(channel: &Channel) -> usize {
    channel
        .ledger
        .stored()
        .await
        .map_or(0, |stored| stored.holds.len())
}

async fn case(outside: &Arc<Outside>, hung: Hung, before: Before) {
    outside.starts();
    let cluster = Cluster::start(outside).await.unwrap();
    if let Before::Opening = before {
        cluster.server.put("echothrottles", SHOP, throttle(50));
        let half = Level::new(0.5).unwrap();
        let is = |on: &Watching| {
            on.gate
                .standing(&till())
                .is_some_and(|standing| standing.level == half)
        };
        cluster
            .until(BACK, "half open", || {
                is(&cluster.operator) && is(&cluster.other)
            })
            .await;
    } else {
        let both = || cluster.operator.is_open() && cluster.other.is_open();
        cluster.until(BACK, "both gates open", both).await;
    }
    sleep(Duration::from_secs(20)).await;
    cluster.begins(before, hung).await;

    let known = cluster.site.heard().len();
    let (objects, asked_for) = (
        cluster.server.count(OVERRIDES),
        cluster.server.asked_for(OVERRIDES),
    );
    let began = outside.now();
    let kill = cluster.kill().await;
    assert_eq!(outside.now(), began);
    assert!(cluster.operator.is_killed(), "the gate, at once");
    sleep(LOOP).await;
    assert!(
        cluster.server.asked_for(OVERRIDES) > asked_for,
        "the object is asked for"
    );
    if !hung.api_server {
        assert!(cluster.server.count(OVERRIDES) > objects, "the object");
        assert!(
            cluster.other.is_killed(),
            "another gate, which hears of it by the object"
        );
    }
    assert!(
        cluster.told_to_stop(known),
        "the loop tells the other site, whatever it waited for"
    );
    cluster
        .until(ANSWER - LOOP, "an answer", || {
            cluster.became(&kill).is_some()
        })
        .await;
    assert_eq!(cluster.became(&kill), Some(Became::Done));
    assert!(cluster.operator.is_killed());

    outside.heal();
    cluster
        .until(BACK, "nothing is owed", || !cluster.is_owed())
        .await;
    let all =
        || cluster.server.count(OVERRIDES) >= 1 && cluster.other.is_killed() && cluster.site.is().1;
    cluster.until(BACK, "all have heard of it", all).await;
    assert!(cluster.operator.is_killed());
    assert_eq!(
        recorded(&cluster.channel).await,
        cluster.server.count(OVERRIDES),
        "the record has what the objects say"
    );
}

#[test]
fn a_kill_waits_for_nothing_that_hangs_in_a_cluster() {
    for before in [Before::Nothing, Before::Opening, Before::Revival] {
        for which in 0..16_u8 {
            let is = |bit: u8| which & bit != 0;
            let hung = Hung {
                ledger: is(1),
                journal: is(2),
                site: is(4),
                api_server: is(8),
            };
            println!("{hung:?}, under way: {before:?}");
            let runtime: Runtime = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let outside = Arc::new(Outside::new());
            runtime.block_on(case(&outside, hung, before));
        }
    }
}
