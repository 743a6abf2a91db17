//! The life of one process: built as `run` builds it, from what is in its folder; gone with all its
//! tasks when it ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use echo_phoenix::config::Keys;
use echo_phoenix::decide::law::Law;
use echo_phoenix::desired::LedgerDesired;
use echo_phoenix::domain::hold::{Hold, Source};
use echo_phoenix::domain::report::PassReport;
use echo_phoenix::domain::target::TargetKind;
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::gate::{Gate, Question, ThrottleSnapshot};
use echo_phoenix::http::{
    App, AppDoors, AppParts, AppRecord, HealthParts as HttpParts, Process, Rates, StatusBoard,
};
use echo_phoenix::latch::Latch;
use echo_phoenix::ports::{
    Clock, Desired, Journal, JournalEntry, Ledger, LedgerUpkeep, Measurements, Report, Stored,
    Target, Wake,
};
use echo_phoenix::reconcile::{ReconcileContext, Reconciler};
use echo_phoenix::store::{
    self, FileJournal, JournalFile, JournalFound, LEDGER_FILE, LastFound, LastState, LedgerPlace,
    LedgerSnapshot, SqliteFolder, SqliteLedger, Start, StartInputs, StateFile,
};
use echo_phoenix::targets::gate::LocalGate;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::disk::{self, Channel, Notebook};
use crate::leader::Led;
use crate::manifest::Manifest;
use crate::outside::Outside;
use crate::ramp::{Ramp, Watched};
use crate::seen::{Rare, sometimes};
use crate::site::{Line, Site};

/// The key of everybody here.
pub(crate) const API_KEY: &str = "model-0123456789abcdef0123456789abcdef";
/// Between two requests of others, where they come all the time: 600 a minute, ten times what
/// counts as a crowd.
const BETWEEN: Duration = Duration::from_millis(100);

/// A process.
pub(crate) struct Life {
    pub(crate) gate: Arc<Gate>,
    pub(crate) desired: Arc<LedgerDesired>,
    pub(crate) latch: Arc<Latch>,
    pub(crate) channel: Arc<Channel>,
    pub(crate) journal: Arc<Notebook>,
    pub(crate) routes: Router,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) ramp: Arc<Ramp>,
    pub(crate) site: Arc<Site>,
}

/// What was kept, opened.
pub(crate) struct Kept {
    pub(crate) channel: Arc<Channel>,
    pub(crate) stored: Stored,
    pub(crate) journal: Arc<Notebook>,
    last: StateFile,
}

/// Opens what is in the folder, as `run::record` does, with the ledger well.
pub(crate) async fn kept(outside: &Arc<Outside>) -> Result<Kept, String> {
    let folder = outside.folder.path();
    let clock: &dyn Clock = outside.as_ref();
    let (mut journal, found) = JournalFile::read(&folder.join("journal")).map_err(text)?;
    journal = journal.synced_by(disk::sync);
    let (last_file, last) = StateFile::open(folder).map_err(text)?;
    let was_there = std::fs::metadata(folder.join(LEDGER_FILE)).is_ok_and(|file| file.len() > 0);
    if !was_there && found == JournalFound::Missing && last == LastFound::default() {
        journal.mend(0, false).map_err(text)?;
    }
    let (channel, opened) = record(outside).await?;
    let pending = journal.pending();
    if !pending.is_empty() {
        sometimes(Rare::StartWithJournal);
    }
    let lacking = SqliteFolder::new(folder)
        .lacks(journal.settled())
        .map_err(text)?;
    let known = StartInputs {
        ledger_was_there: was_there,
        ledger: Some(&opened),
        journal: &found,
        journal_ever: journal.ever(),
        journal_settled: journal.settled_up_to(),
        lacking,
        pending: &pending,
        last: &last,
    };
    let start = store::start(&known, clock.now(), || "unaccounted".to_owned());
    nothing_lost(&start)?;
    let seen = opened
        .journal
        .max(last.state.as_ref().and_then(|last| last.journal));
    channel
        .asks(
            channel
                .ledger
                .begin(clock.now(), start.stored.holds.clone()),
        )
        .await
        .map_err(text)?;
    let (number, anew) = (seen.unwrap_or_default(), lacking > 0);
    if !start.lost.is_empty() || journal.is_to_be_mended(number, anew) {
        let state = LastState {
            stored: start.stored.clone(),
            journal: seen,
        };
        last_file.write(&state).map_err(text)?;
    }
    journal.mend(number, anew).map_err(text)?;
    let journal = notebook(outside, journal);
    store::settle_had(journal.as_ref(), &opened.accounts.ended, channel.as_ref()).await;
    Ok(Kept {
        channel,
        stored: start.stored,
        journal,
        last: last_file,
    })
}

/// What is declared, as who leads has it, with what the ledger lacks of it yet.
fn led(outside: &Arc<Outside>, declared: &Arc<LedgerDesired>, journal: &dyn Journal) -> Arc<Led> {
    let pending = journal.pending();
    pending.iter().for_each(|entry| declared.owes(entry));
    Arc::new(Led {
        declared: Arc::clone(declared),
        outside: Arc::clone(outside),
    })
}

/// The latch, with all that is held: by the ledger, and by orders that it lacks yet.
fn latch_of(
    stored: &Stored,
    gate: &Arc<Gate>,
    led: &Arc<Led>,
    journal: &Arc<dyn Journal>,
) -> Arc<Latch> {
    let held = stored.holds.iter().cloned();
    let held = held
        .chain(journal.pending().into_iter().filter_map(JournalEntry::hold))
        .collect();
    Arc::new(Latch::new(
        Arc::clone(gate),
        Arc::<Led>::clone(led),
        Arc::<LedgerDesired>::clone(&led.declared),
        Some(Arc::clone(journal)),
        held,
    ))
}

/// The gate here, which the ramp watches, and another site.
fn targets(
    outside: &Arc<Outside>,
    site: &Arc<Site>,
    gate: &Arc<Gate>,
    ramp: &Arc<Ramp>,
    clock: &Arc<dyn Clock>,
) -> HashMap<TargetKind, Arc<dyn Target>> {
    let local: Arc<dyn Target> = Arc::new(Watched {
        target: LocalGate::new(Arc::clone(gate), Arc::clone(clock)),
        ramp: Arc::clone(ramp),
    });
    let there: Arc<dyn Target> = Arc::new(Line {
        site: Arc::clone(site),
        outside: Arc::clone(outside),
        gate: Arc::clone(gate),
    });
    HashMap::from([(TargetKind::Gate, local), (TargetKind::Remote, there)])
}

/// Opens the ledger and lets its writer go on.
async fn record(outside: &Arc<Outside>) -> Result<(Arc<Channel>, LedgerSnapshot), String> {
    let folder = outside.folder.path();
    let (ledger, writer, opened) = SqliteLedger::open_without_threads(folder).map_err(text)?;
    let channel = Arc::new(Channel {
        ledger,
        outside: Arc::clone(outside),
        work: Arc::default(),
    });
    goes_on(disk::write_ledger(
        Arc::clone(outside),
        writer,
        Arc::clone(&channel.work),
    ));
    let now = Clock::now(outside.as_ref());
    channel
        .asks(channel.ledger.close_interrupted(now))
        .await
        .map_err(text)?;
    Ok((channel, opened))
}

/// # Errors
/// What a start takes for lost.
fn nothing_lost(start: &Start) -> Result<(), String> {
    crate::traced(|| {
        format!(
            "a start: told {:?}, throttles {:?}",
            start.told, start.stored.throttles
        )
    });
    if !start.lost.is_empty() {
        return Err(format!(
            "a start takes something for lost, and nothing is: {:?}",
            start.lost
        ));
    }
    let mut holds = start.stored.holds.iter();
    if holds.any(|held| held.hold.source == Source::Unaccounted) {
        sometimes(Rare::Unaccounted);
    }
    Ok(())
}

/// The journal, once it is mended, and its writer goes on.
fn notebook(outside: &Arc<Outside>, journal: JournalFile) -> Arc<Notebook> {
    let (journal, writer) = FileJournal::without_thread(journal);
    let journal = Arc::new(Notebook {
        journal,
        work: Arc::default(),
    });
    goes_on(disk::write_journal(
        Arc::clone(outside),
        writer,
        Arc::clone(&journal.work),
    ));
    journal
}

impl Life {
    /// Starts a process over a folder.
    ///
    /// # Errors
    /// What is wrong with what it finds.
    pub(crate) async fn start(
        outside: &Arc<Outside>,
        manifest: &Arc<Manifest>,
        site: &Arc<Site>,
        busy: bool,
    ) -> Result<Self, String> {
        let Kept {
            channel,
            stored,
            journal: notebook,
            last,
        } = kept(outside).await?;
        let clock: Arc<dyn Clock> = Arc::<Outside>::clone(outside);
        let record: Arc<dyn Ledger> = Arc::<Channel>::clone(&channel);
        let journal: Arc<dyn Journal> = Arc::<Notebook>::clone(&notebook);
        let declared = Arc::new(LedgerDesired::new(Arc::clone(&record), stored.clone()));
        let led = led(outside, &declared, journal.as_ref());
        let gate = Arc::new(Gate::default());
        let latch = latch_of(&stored, &gate, &led, &journal);
        latch.restore(clock.elapsed());
        let ramp = Arc::new(Ramp::new(busy, Arc::clone(&gate), Arc::clone(&clock)));
        manifest.pass(&declared, &latch, clock.as_ref()).await;
        latch.retry_pending().await;

        let known = (&led).into();
        let app = app(Process::Serve, &clock, &gate, &latch, known, &record)?;
        goes_on(ramp_and_last_state(
            Arc::clone(&ramp),
            last,
            Arc::clone(&declared),
            Arc::clone(&notebook),
            Arc::clone(outside),
        ));
        goes_on(count(Arc::clone(&channel), Arc::clone(&notebook)));
        goes_on(Arc::clone(manifest).run(
            Arc::clone(&declared),
            Arc::clone(&latch),
            Arc::clone(&clock),
        ));
        if busy {
            goes_on(others(Arc::clone(&gate), Arc::clone(&clock)));
        }
        let board = Arc::<StatusBoard>::clone(&app.core.board);
        let report = Told(Arc::clone(&declared), board);
        let parts = ReconcileContext {
            desired: Arc::<Led>::clone(&led),
            leadership: led,
            wake: Arc::<LedgerDesired>::clone(&declared),
            ledger: record,
            latch: Arc::clone(&latch),
            gate: Arc::clone(&gate),
            targets: targets(outside, site, &gate, &ramp, &clock),
            report: Some(Arc::new(report)),
            clock,
            law: Law::default(),
        };
        goes_on(Reconciler::new(parts, &stored).run(CancellationToken::new()));
        let routes = echo_phoenix::http::router(app);
        Ok(Self {
            gate,
            desired: declared,
            latch,
            channel,
            journal: notebook,
            routes,
            manifest: Arc::clone(manifest),
            ramp,
            site: Arc::clone(site),
        })
    }
}

/// Who hears of each pass.
struct Told(Arc<LedgerDesired>, Arc<StatusBoard>);

#[async_trait]
impl Report for Told {
    async fn report(&self, outcome: &PassReport) {
        self.0.report(outcome).await;
        self.1.report(outcome).await;
    }
}

/// What is in force, by the names of throttles.
impl Life {
    pub(crate) fn standing(&self, name: &str) -> Option<ThrottleSnapshot> {
        self.gate.standing(&named(name))
    }

    pub(crate) fn kills(&self, name: &str) -> Vec<Hold> {
        self.gate.kills(&named(name))
    }

    pub(crate) fn holds(&self, name: &str, epoch: &str) -> bool {
        self.kills(name).iter().any(|hold| hold.epoch.0 == epoch)
    }

    pub(crate) fn declared(&self, name: &str) -> Option<Arc<Declared>> {
        self.desired
            .declared()
            .into_iter()
            .find(|declared| declared.name.as_str() == name)
    }
}

fn named(name: &str) -> ThrottleName {
    ThrottleName::try_from(name.to_owned()).expect("a name")
}

/// A task that ends with the process.
pub(crate) fn goes_on(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// What is declared, as requests meet it.
pub(crate) struct AppPorts {
    pub(crate) desired: Arc<dyn Desired>,
    pub(crate) measurements: Option<Arc<dyn Measurements>>,
    pub(crate) wake: Arc<dyn Wake>,
}

impl From<&Arc<Led>> for AppPorts {
    fn from(led: &Arc<Led>) -> Self {
        Self {
            desired: Arc::<Led>::clone(led),
            measurements: Some(Arc::<LedgerDesired>::clone(&led.declared)),
            wake: Arc::<LedgerDesired>::clone(&led.declared),
        }
    }
}

pub(crate) fn app(
    process: Process,
    clock: &Arc<dyn Clock>,
    gate: &Arc<Gate>,
    latch: &Arc<Latch>,
    known: AppPorts,
    ledger: &Arc<dyn Ledger>,
) -> Result<App, String> {
    let ticks = || {
        let clock = Arc::clone(clock);
        Arc::new(move || clock.elapsed())
    };
    let unlimited = Rates::of(
        NonZeroU32::MAX,
        echo_phoenix::config::Proxies::default(),
        ticks(),
    );
    let keys = Keys::parse(Some(API_KEY), "").map_err(text)?;
    let app = App::new(AppParts {
        process,
        clock: Arc::clone(clock),
        gate: Arc::clone(gate),
        latch: Arc::clone(latch),
        desired: known.desired,
        measurements: known.measurements,
        wake: known.wake,
        health: HttpParts::new(Arc::new(|| true)),
        doors: AppDoors::for_any_host(keys, unlimited, ticks()),
        record: AppRecord {
            ledger: Some(Arc::clone(ledger)),
            ..AppRecord::default()
        },
    });
    app.map_err(text)
}

/// Keeps the last state, as `run::record` does; and looks at the gate whenever it changes.
async fn ramp_and_last_state(
    ramp: Arc<Ramp>,
    file: StateFile,
    declared: Arc<LedgerDesired>,
    journal: Arc<Notebook>,
    outside: Arc<Outside>,
) {
    let changed = Arc::new(Notify::new());
    let looks = {
        let (ramp, changed) = (Arc::clone(&ramp), Arc::clone(&changed));
        async move {
            loop {
                ramp.look();
                changed.notify_one();
                ramp.gate.changed().await;
            }
        }
    };
    goes_on(looks);
    loop {
        let ever = journal.journal.ever();
        let state = LastState {
            stored: declared.last_state(),
            journal: Some(ever),
        };
        outside
            .writes(|| file.write(&state))
            .await
            .expect("the disk is well");
        sleep(Duration::from_millis(50)).await;
        tokio::select! {
            biased;
            () = changed.notified() => {}
            () = sleep(Duration::from_secs(5)) => {}
        }
    }
}

/// Tells the ledger how many records the journal ever had, as `run::record` does.
async fn count(channel: Arc<Channel>, journal: Arc<Notebook>) {
    let mut seen = 0;
    loop {
        let ever = journal.journal.ever();
        if seen < ever && channel.asks(channel.ledger.saw_journal(ever)).await.is_ok() {
            seen = ever;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Requests of others.
async fn others(gate: Arc<Gate>, clock: Arc<dyn Clock>) {
    loop {
        let now = clock.moment();
        for name in ["default", "shop"] {
            gate.ask(
                name,
                Question {
                    method: "GET",
                    path: "/",
                    key: None,
                },
                now,
            );
        }
        sleep(BETWEEN).await;
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Where a request comes from.
pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4_000))
}
