//! A create that nobody heard of lands when its hold has ended: it stops nobody for long, and is
//! gone.

use echo_phoenix::domain::audit::{
    AuditAction, AuditDraft, Change, CommandRecord, CommandResponse,
};
use echo_phoenix::domain::hold::{Epoch, Hold, HoldEffect, Scope, ScopedHold, Source};

use super::*;
use crate::api_server::Creates;

/// Until what is left behind is gone, and all gates know.
const GONE: Duration = Duration::from_secs(10);
/// A throttle that comes later.
const LATER: &str = "later";

fn in_time(case: impl AsyncFnOnce(&Arc<Outside>)) {
    let runtime: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let outside = Arc::new(Outside::new());
    runtime.block_on(async {
        outside.starts();
        case(&outside).await;
    });
}

impl Cluster {
    async fn open(outside: &Arc<Outside>) -> Self {
        let cluster = Self::start(outside).await.unwrap();
        cluster
            .until(BACK, "both gates open", || cluster.are_open())
            .await;
        cluster
    }

    fn are_open(&self) -> bool {
        self.operator.is_open() && self.other.is_open()
    }

    async fn is_told(&self, command: &str) {
        self.until(ANSWER, "an answer", || self.became(command).is_some())
            .await;
        assert_eq!(self.became(command), Some(Became::Done));
    }

    /// A throttle comes that knows of no end.
    fn comes_later(&self) -> impl Fn(&Watching) -> bool + use<> {
        let mut object = throttle(0);
        object["metadata"]["name"] = json!(LATER);
        self.server.put("echothrottles", SHOP, object);
        let name = ThrottleName::in_namespace(SHOP, LATER);
        move |on: &Watching| {
            on.gate
                .standing(&name)
                .is_some_and(|standing| !standing.killed() && standing.level == Level::OPEN)
        }
    }

    /// What was kept back lands.
    async fn lands(&self) {
        let made = self.server.made(OVERRIDES);
        self.server.let_go();
        self.until(GONE, "it lands", || self.server.made(OVERRIDES) > made)
            .await;
    }

    /// Nothing of it stays, and nobody is stopped by it.
    async fn is_clear(&self) {
        self.until(GONE, "it is gone", || self.server.count(OVERRIDES) == 0)
            .await;
        let later = self.comes_later();
        let all = || self.are_open() && later(&self.operator) && later(&self.other);
        self.until(BACK, "all are open", all).await;
        assert!(!self.is_owed());
    }
}

#[test]
fn a_create_that_lands_after_its_hold_was_revived_is_deleted() {
    in_time(async |outside| {
        let cluster = Cluster::open(outside).await;
        cluster.server.creates(Creates::KeptBack);
        let kill = cluster.kill().await;
        cluster.is_told(&kill).await;
        // It is made by a second try.
        cluster.server.creates(Creates::Well);
        cluster
            .until(BACK, "all have heard of it", || {
                cluster.other.is_killed() && !cluster.is_owed()
            })
            .await;
        sleep(Duration::from_secs(3)).await;
        let revival = cluster.revive().await;
        cluster.is_told(&revival).await;
        cluster
            .until(BACK, "both gates open", || cluster.are_open())
            .await;
        assert_eq!(cluster.server.count(OVERRIDES), 0);
        cluster.lands().await;
        cluster.is_clear().await;
    });
}

#[test]
fn a_create_of_a_kill_that_was_here_alone_and_revived_stops_nobody_when_it_lands() {
    in_time(async |outside| {
        let cluster = Cluster::open(outside).await;
        cluster.server.creates(Creates::Refused);
        let kill = cluster.kill().await;
        cluster.is_told(&kill).await;
        assert_eq!(cluster.operator.latch.held_alone(), 1);
        // Others are to hear of it after all: nobody knows whether they do.
        cluster.server.creates(Creates::KeptBack);
        sleep(Duration::from_secs(10)).await;
        let revival = cluster.revive().await;
        cluster.is_told(&revival).await;
        cluster.server.creates(Creates::Well);
        cluster
            .until(BACK, "both gates open", || cluster.are_open())
            .await;
        sleep(Duration::from_secs(3)).await;
        cluster.lands().await;
        for _ in 0..100 {
            assert!(cluster.are_open(), "its end was told before it came");
            sleep(Duration::from_millis(10)).await;
        }
        cluster.is_clear().await;
    });
}

#[test]
fn what_is_made_of_a_hold_that_has_ended_as_the_record_has_it_is_deleted() {
    in_time(async |outside| {
        let cluster = Cluster::open(outside).await;
        let epoch = Epoch("01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned());
        let now = Clock::now(outside.as_ref());
        let audit = vec![AuditDraft::new(now, "model", AuditAction::HoldEnded)];
        let ended = Change {
            audit,
            holds_ended: vec![epoch.clone()],
            ..Change::default()
        };
        cluster.channel.commit(ended).await.unwrap();
        let hold = Hold {
            epoch,
            bite: HoldEffect::Kill,
            source: Source::Rest,
            reason: "model".to_owned(),
            operator: "model".to_owned(),
            taken_at: now,
        };
        let held = ScopedHold {
            scope: Scope::All,
            hold,
        };
        let answer = CommandResponse::new(200, serde_json::Map::default(), now);
        let record = CommandRecord {
            once: "late".to_owned(),
            audit: AuditDraft::new(now, "model", AuditAction::Kill),
            answer,
        };
        let taken = cluster.operator.desired.take(held, record).await.unwrap();
        assert!(taken.over);
        assert_eq!(cluster.server.made(OVERRIDES), 1);
        cluster.is_clear().await;
    });
}

#[test]
fn a_kill_that_was_here_alone_opens_here_when_it_is_revived() {
    in_time(async |outside| {
        let cluster = Cluster::open(outside).await;
        cluster.server.creates(Creates::Refused);
        let kill = cluster.kill().await;
        cluster.is_told(&kill).await;
        assert_eq!(
            (cluster.operator.is_killed(), cluster.other.is_killed()),
            (true, false)
        );
        sleep(Duration::from_secs(5)).await;
        let revival = cluster.revive().await;
        cluster.is_told(&revival).await;
        cluster
            .until(BACK, "both gates open", || cluster.are_open())
            .await;
        assert_eq!(cluster.server.made(OVERRIDES), 0);
    });
}
