//! A journal that has kills which have ended, since another one kept them on the disk: an operator
//! that starts on it tells nobody of them, whatever it can be told of its record at that moment.
//! What nobody has heard of yet, others hear of soon.

use super::*;
use crate::api_server::Creates;

/// Where the API server answers nobody who makes something: a kill there stays in the journal.
const STUCK: &str = "stuck";
const OVERRIDE: &str = "echooverrides";
/// How long the record cannot be read at a start.
const UNREAD: u16 = 2_500;
/// Until others have heard of a kill of a process before, whatever hangs.
const SOON: Duration = Duration::from_secs(8);
/// Longer than it takes to find out what has ended, and to tell others of what has not.
const LONG: Duration = Duration::from_secs(15);

/// What became of a kill's object, and what becomes of the next one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Object {
    /// It was refused, and is again.
    Refused,
    /// It was refused, and would be let in now.
    LetIn,
    /// It was made, and deleted by the revival, whose record is all that says so.
    Deleted,
}

/// What outlives a process.
struct World {
    outside: Arc<Outside>,
    server: Arc<ApiServer>,
    site: Arc<Site>,
}

impl World {
    /// A process in it, for as long as a case takes; then it dies.
    fn process(&self, starts: impl FnOnce(&Outside), case: impl AsyncFnOnce(&Cluster)) {
        let runtime: Runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            self.outside.starts();
            starts(&self.outside);
            let (server, site) = (Arc::clone(&self.server), Arc::clone(&self.site));
            let cluster = Cluster::over(&self.outside, server, site).await.unwrap();
            case(&cluster).await;
            self.outside.ends();
        });
    }

    fn new() -> Self {
        let outside = Arc::new(Outside::new());
        let (server, site) = (ApiServer::new(&outside), Arc::new(Site::new()));
        installed(&server);
        // Both throttles would tell the one site.
        let mut other = throttle(0);
        other["spec"]["targets"] = json!([{ "gate": {} }]);
        settled(&server, SHOP, throttle(0));
        settled(&server, STUCK, other);
        Self {
            outside,
            server,
            site,
        }
    }

    /// The same after a process that was killed by a command, while the API server answered nobody
    /// who would have told others: its journal alone has it.
    fn with_a_kill_nobody_heard_of() -> Self {
        let world = Self::new();
        world.process(
            |_| (),
            async |cluster| {
                cluster
                    .until(BACK, "both gates open", || cluster.both_open())
                    .await;
                cluster.server.is_silent_in(Some(SHOP));
                cluster.kill_in(SHOP).await;
            },
        );
        world.server.is_silent_in(None);
        world
    }
}

impl Cluster {
    async fn command(&self, path: &'static str, namespace: &str, what: What) -> String {
        let throttle = ThrottleName::in_namespace(namespace, "till");
        let confirmation = (path == "/kill").then_some("CONFIRM_KILL");
        let mut body = json!({ "throttle": throttle, "reason": "model", "operator": "model" });
        confirmation
            .iter()
            .for_each(|word| body["confirmation"] = json!(word));
        let command = self.send(&body, what).await;
        self.until(ANSWER, "an answer", || self.became(&command).is_some())
            .await;
        assert_eq!(
            self.became(&command),
            Some(Became::Done),
            "{path} {namespace}"
        );
        command
    }

    async fn kill_in(&self, namespace: &str) {
        self.command("/kill", namespace, What::Kill(On::All)).await;
    }

    async fn revive_in(&self, namespace: &str) {
        self.command("/revive", namespace, What::Revive(On::All, None))
            .await;
    }

    fn both_open(&self) -> bool {
        self.operator.is_open() && self.other.is_open()
    }

    /// A kill is revived, and another one keeps it in the journal.
    async fn is_killed_and_revived(&self, object: Object) {
        self.until(BACK, "both gates open", || self.both_open())
            .await;
        self.server.is_silent_in(Some(STUCK));
        self.kill_in(STUCK).await;
        if object != Object::Deleted {
            self.server.creates(Creates::Refused);
        }
        self.kill_in(SHOP).await;
        let alone = usize::from(object != Object::Deleted);
        self.until(BACK, "it is settled", || self.journal.pending().len() == 1)
            .await;
        assert_eq!(
            (
                self.operator.latch.held_alone(),
                self.server.count(OVERRIDE)
            ),
            (alone, 1 - alone)
        );
        sleep(Duration::from_secs(3)).await;
        if object == Object::Deleted {
            self.outside.api_is(DiskFault::Hangs, 500);
            let (revived, ledger) = (self.revive_in(SHOP), async {
                sleep(Duration::from_millis(250)).await;
                self.outside.ledger_is(LedgerFault::Refuses, HANGS);
            });
            tokio::join!(revived, ledger);
        } else {
            self.revive_in(SHOP).await;
            self.until(BACK, "both gates open", || self.both_open())
                .await;
        }
        assert_eq!(self.server.count(OVERRIDE), 0);
    }

    /// Nobody is told of it again, and others are told of the one that keeps it.
    async fn is_over(&self, told: (usize, usize)) {
        let asked_for = |namespace| self.server.asked_for_in(namespace);
        self.until(LONG, "others are told of what has not ended", || {
            asked_for(STUCK) > told.1
        })
        .await;
        sleep(LONG).await;
        assert_eq!((asked_for(SHOP), self.server.count(OVERRIDE)), (told.0, 0));
        assert_eq!(self.operator.latch.held_alone(), 0);
        assert_eq!(self.journal.pending().len(), 1);
        self.until(BACK, "both gates open", || self.both_open())
            .await;
    }
}

#[test]
fn a_kill_that_was_revived_does_not_come_again_from_a_journal_that_still_has_it() {
    for object in [Object::Refused, Object::LetIn, Object::Deleted] {
        for unread in [false, true] {
            println!("{object:?}, its record cannot be read at first: {unread}");
            let world = World::new();
            world.process(
                |_| (),
                async |cluster| cluster.is_killed_and_revived(object).await,
            );
            if object == Object::LetIn {
                world.server.creates(Creates::Well);
            }
            let told = (
                world.server.asked_for_in(SHOP),
                world.server.asked_for_in(STUCK),
            );
            let starts = |outside: &Outside| {
                if unread {
                    outside.reads_are(DiskFault::Fails, UNREAD);
                }
            };
            world.process(starts, async |cluster| cluster.is_over(told).await);
        }
    }
}

#[test]
fn a_kill_of_a_process_before_that_nobody_has_heard_of_is_told_soon_though_its_record_hangs() {
    for hangs in [false, true] {
        let world = World::with_a_kill_nobody_heard_of();
        let starts = |outside: &Outside| {
            if hangs {
                outside.reads_are(DiskFault::Hangs, HANGS);
            }
        };
        let began = world.outside.now();
        world.process(starts, async |cluster| {
            cluster
                .until(SOON, "others have heard of it", || {
                    cluster.other.is_killed()
                })
                .await;
            let took = cluster.outside.now() - began;
            assert!(
                took < SOON && (hangs || took < Duration::from_secs(2)),
                "{took:?}"
            );
            assert_eq!(cluster.server.count(OVERRIDE), 1);
        });
    }
}

#[test]
fn a_kill_of_a_process_before_that_is_refused_where_others_would_hear_of_it_stops_here() {
    let world = World::with_a_kill_nobody_heard_of();
    world.server.creates(Creates::Refused);
    world.process(
        |_| (),
        async |cluster| {
            cluster
                .until(SOON, "it is shut here", || cluster.operator.is_killed())
                .await;
            assert_eq!(cluster.operator.latch.held_alone(), 1);
            sleep(LONG).await;
            assert!(cluster.operator.is_killed() && cluster.journal.pending().is_empty());
            assert_eq!(cluster.server.count(OVERRIDE), 0);
            cluster.revive_in(SHOP).await;
            cluster
                .until(BACK, "both gates open", || cluster.both_open())
                .await;
        },
    );
}

/// A start that finds the refusal on record has nothing to bring: whether the kill outlives its
/// process is not known.
#[test]
fn a_refused_kill_whose_refusal_is_not_on_record_in_time_is_not_told_as_durable() {
    let world = World::new();
    world.process(
        |_| (),
        async |cluster| {
            cluster
                .until(BACK, "both gates open", || cluster.both_open())
                .await;
            cluster.server.creates(Creates::Refused);
            cluster.outside.ledger_is(LedgerFault::HangsAfter, HANGS);
            let name = ThrottleName::in_namespace(SHOP, "till");
            let kill = json!({ "throttle": name, "reason": "model", "operator": "model",
                               "confirmation": "CONFIRM_KILL" });
            let told = doors::ask(&cluster.routes, "/kill", "kill", None, kill.to_string()).await;
            assert_eq!(
                (told.status, &told.body["audit"], &told.body["durable"]),
                (200, &json!("pending"), &json!(false))
            );
            assert!(cluster.operator.is_killed());
        },
    );
}
