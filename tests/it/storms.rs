//! A disk that stalls: each sync of the journal, of the ledger, of all of the record takes 0.3 to
//! 12 s, on one worker and under a load of commands, events and verdicts. Nothing is admitted while
//! killed, nothing opens of which it was said that nothing was opened, nothing is lost that was
//! acknowledged, a kill is answered, and a restart changes nothing.
//!
//! Three of the twelve storms in every run, all of them one after another with ECHO_TEST_FULL=1;
//! `--nocapture` shows figures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; it reads its variables and the clock itself"
)]

mod known;
mod load;
mod sites;
mod standing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Echo, eventually};
use known::{Became, Known};
use load::Sender;
use standing::{Place, ledger, revived};

/// What a client of a kill waits for at most.
const ANSWERED: Duration = Duration::from_secs(5);
/// What 99 of 100 verdicts take at most, however long syncs take,
const VERDICT: Duration = Duration::from_millis(50);
/// where they take no longer than this from a service whose disk is well.
const QUIET: Duration = Duration::from_millis(15);

/// Files whose syncs are stalled.
#[derive(Clone, Copy)]
struct Files {
    name: &'static str,
    parts: &'static [&'static str],
}

const JOURNAL: Files = Files {
    name: "journal",
    parts: &["/data/journal"],
};
const LEDGER: Files = Files {
    name: "ledger",
    parts: &["/data/ledger.db"],
};
/// And whatever else there is of the record.
const BOTH: Files = Files {
    name: "both",
    parts: &["/data/"],
};

/// How long a storm is, beside twice its delay.
const LEAST: Duration = Duration::from_secs(8);
const MOST: Duration = Duration::from_secs(26);

const DELAYS_MS: [u64; 4] = [300, 2000, 5000, 12_000];

fn full() -> bool {
    std::env::var("ECHO_TEST_FULL").is_ok_and(|value| value == "1")
}

/// How the power goes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// While the ledger waits for something else's sync.
    busy: bool,
    /// With it what was not synced; without, what was written is there all the same.
    loses: bool,
}

/// What of some files is on the disk for sure, for as long as no sync ends.
struct OnDisk {
    since: Instant,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl OnDisk {
    fn of(data: &Path, parts: &[&str]) -> Self {
        let since = Instant::now();
        let paths = fs::read_dir(data)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_one = |path: &PathBuf| {
            parts
                .iter()
                .any(|part| path.to_str().unwrap().contains(part))
        };
        // The index of the log is memory alone.
        let paths = paths.filter(|path| is_one(path) && !path.to_str().unwrap().ends_with("-shm"));
        Self {
            since,
            files: paths
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect(),
        }
    }

    /// Nothing else of them reached it.
    fn put_back(self) {
        for (path, content) in self.files {
            fs::write(path, content).unwrap();
        }
    }
}

struct Storm {
    files: Files,
    delay: Duration,
    place: Place,
    sender: Sender,
    calm: Echo,
}

impl Storm {
    async fn new(files: Files, delay: Duration) -> Self {
        let mut place = Place::new();
        place.rise().await;
        let calm_folder = place.folder.path().join("calm");
        std::fs::create_dir(&calm_folder).unwrap();
        let calm = Echo::start(
            "serve",
            &[("TOKIO_WORKER_THREADS", "1".to_owned())],
            &calm_folder,
        )
        .await;
        let known = Arc::new(Known::new(100));
        let sender = Sender {
            known,
            url: place.url(),
            calm: calm.url(""),
            client: load::patient(),
        };
        Self {
            files,
            delay,
            place,
            sender,
            calm,
        }
    }

    fn name(&self) -> String {
        format!("{} × {} s", self.files.name, self.delay.as_secs_f64())
    }

    fn stall(&self) {
        self.place.disk.stall(self.files.parts, self.delay);
    }

    /// Whether the ledger can be kept busy for longer than a command waits for its turn.
    fn keeps_busy(&self) -> bool {
        self.files.name != JOURNAL.name && self.delay >= Duration::from_secs(2)
    }

    /// The cuts of this storm: as they are, behind something that keeps the ledger busy, and with
    /// the loss of all that was not synced.
    fn cuts(&self) -> Vec<Cut> {
        let mut cuts = vec![Cut {
            busy: false,
            loses: false,
        }];
        if self.keeps_busy() {
            cuts.push(Cut {
                busy: true,
                loses: false,
            });
        }
        if self.delay >= Duration::from_secs(5) {
            cuts.push(Cut {
                busy: false,
                loses: true,
            });
        }
        cuts
    }

    /// Stalls the disk; `busy`: and only when the ledger waits for it is there anything else.
    /// Answers what is on it.
    async fn stalls(&self, cut: Cut) -> OnDisk {
        self.stall();
        let on_disk = OnDisk::of(&self.place.data(), self.files.parts);
        if cut.busy {
            let own = self.sender.clone();
            let id = format!("evt_busy_{}", ulid::Ulid::generate());
            tokio::spawn(async move { own.event(&id).await });
            eventually(
                "the ledger waits for its disk",
                Duration::from_secs(20),
                async || {
                    let health = self.sender.get("/health").await;
                    health["checks"]["ledger"]
                        .as_str()?
                        .starts_with("unavailable")
                        .then_some(())
                },
            )
            .await;
        }
        on_disk
    }

    /// The power goes, and comes back on a disk that is well.
    async fn cut(&mut self, cut: Cut, on_disk: OnDisk) {
        self.place.fall();
        // Unless a sync has ended meanwhile: then more is there.
        if cut.loses && on_disk.since.elapsed() < self.delay {
            on_disk.put_back();
        }
        self.place.rise().await;
    }

    /// A power cut while a revival waits for its disk: what it was answered is what a start finds.
    async fn revival_cut_short(&mut self, cut: Cut) {
        let when = format!("{}: a revival cut short, {cut:?}", self.name());
        let (_, killed) = self.sender.kill(None).await;
        let epoch = killed["epoch"].as_str().unwrap().to_owned();
        let before = self.place.standing(&self.sender, &when).await;
        assert!(before.holds.contains(&epoch), "{when}: {before:?}");
        let on_disk = self.stalls(cut).await;
        let (became, said) = self.sender.revive(None, false).await;
        self.cut(cut, on_disk).await;
        let verdict = self.place.verdict().await;
        let after = self.place.standing(&self.sender, &when).await;
        println!("{when}: {became:?}, then killed: {}", after.killed());
        assert_eq!(verdict == "kill", after.killed(), "{when}: {after:?}");
        match became {
            Became::Done => assert!(!after.killed(), "{when}: {said}, and then {after:?}"),
            Became::Nothing => assert_eq!(after.holds, before.holds, "{when}: {said}"),
            Became::Undecided => {}
            other => panic!("{when}: {other:?} {said}"),
        }
        self.place.restarts(&self.sender, &when).await;
    }

    /// The same of an opening, and of a kill beside it that is cut short too.
    async fn opening_cut_short(&mut self, cut: Cut) {
        let when = format!("{}: an opening cut short, {cut:?}", self.name());
        revived(&self.sender).await;
        let (became, said) = self.sender.control(None, 60).await;
        assert_eq!(became, Became::Done, "{when}: {said}");
        self.place.standing(&self.sender, &when).await;
        let on_disk = self.stalls(cut).await;
        let (became, said) = self.sender.control(None, 20).await;
        let (_, killed) = self.sender.kill(None).await;
        self.cut(cut, on_disk).await;
        let after = self.place.standing(&self.sender, &when).await;
        println!(
            "{when}: {became:?}, then {} %; the kill durable: {}",
            after.declared, killed["durable"]
        );
        match became {
            Became::Done => assert_eq!(after.declared, 20, "{when}: {said}"),
            Became::Nothing => assert_eq!(after.declared, 60, "{when}: {said}"),
            Became::Undecided => assert!([20, 60].contains(&after.declared), "{when}: {after:?}"),
            other => panic!("{when}: {other:?} {said}"),
        }
        assert!(
            after.killed() || killed["durable"] == false,
            "{when}: {killed}, and then {after:?}"
        );
        self.place.restarts(&self.sender, &when).await;
    }

    /// All that was acknowledged is in the ledger, once; of what was not done there is nothing.
    fn is_complete(&self) {
        let ledger = ledger(&self.place.data());
        let mut entries = ledger
            .prepare("SELECT count(*) FROM audit_log WHERE request_id = ?1")
            .unwrap();
        for told in self.sender.known.commands() {
            let found: i64 = entries.query_row([&told.id], |row| row.get(0)).unwrap();
            let may = match told.became {
                Became::Done if told.may_be_lost => 0..=1,
                Became::Done | Became::Refused => 1..=1,
                Became::Nothing | Became::Replayed(_) => 0..=0,
                Became::Undecided | Became::Unheard => 0..=1,
            };
            assert!(
                may.contains(&found),
                "{}: {told:?} has {found} entries",
                self.name()
            );
        }
        let mut stored = ledger
            .prepare("SELECT count(*) FROM evidence_ledger WHERE event_id = ?1")
            .unwrap();
        for event in self.sender.known.events().0 {
            let found: i64 = stored.query_row([&event], |row| row.get(0)).unwrap();
            assert_eq!(found, 1, "{}: {event}", self.name());
        }
    }

    /// What it was, as a row of a table; and whether it was in time.
    fn figures(&self) {
        let known = &self.sender.known;
        let commands = known.commands();
        let kills = commands
            .iter()
            .filter(|told| told.what == "/kill" && told.became != Became::Unheard);
        let slowest = kills
            .clone()
            .map(|told| told.took)
            .max()
            .unwrap_or_default();
        let were = |became: Became| commands.iter().filter(|told| told.became == became).count();
        let [verdicts, calm] = known.verdicts();
        let [there, well] =
            [&verdicts, &calm].map(|all| [50, 99, 100].map(|share| percentile(all, share)));
        let ms = |took: Duration| format!("{:.1}", took.as_secs_f64() * 1e3);
        let (events, refused) = known.events();
        println!(
            "| {} | {} | {:.2} | {} | {} / {} / {} | {} | {} / 0 | {refused} | {} / {} / {} | equal |",
            self.name(),
            kills.count(),
            slowest.as_secs_f64(),
            verdicts.len(),
            ms(there[0]),
            ms(there[1]),
            ms(there[2]),
            ms(well[1]),
            events.len(),
            were(Became::Done),
            were(Became::Nothing),
            were(Became::Undecided),
        );
        assert!(
            slowest <= ANSWERED,
            "{}: a kill was answered after {slowest:?}",
            self.name()
        );
        assert!(
            verdicts.len() > 50 && were(Became::Done) > 2 && events.len() as u64 + refused > 4,
            "no load"
        );
        // A loaded machine makes every verdict late: then only a worker that waits for a disk is
        // told from it.
        let tells = full() && well[1] < QUIET;
        let limit = if tells {
            VERDICT
        } else {
            Duration::from_secs(1)
        };
        let measured = percentile(&verdicts, if tells { 99 } else { 90 });
        assert!(
            measured < limit,
            "{}: verdicts took {there:?}, where the disk is well {well:?}",
            self.name()
        );
    }
}

fn percentile(sorted: &[Duration], share: usize) -> Duration {
    let index = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

async fn storm(files: Files, delay_ms: u64) {
    let delay = Duration::from_millis(delay_ms);
    let mut storm = Storm::new(files, delay).await;
    let name = storm.name();
    let (became, said) = storm.sender.control(None, 40).await;
    assert_eq!(became, Became::Done, "{said}");

    storm.stall();
    load::until(
        &storm.sender,
        Instant::now() + (2 * delay).clamp(LEAST, MOST),
    )
    .await;
    storm.place.disk.flow();
    storm.sender.known.is_sound(&name);
    let was_killed = storm.sender.known.is_killed();
    let after = storm.place.standing(&storm.sender, &name).await;
    assert!(after.killed() || !was_killed, "{name}: {after:?}");
    storm.sender.known.settled();
    storm.is_complete();
    storm.place.restarts(&storm.sender, &name).await;
    storm.is_complete();
    // No ghosts: what holds can be ended, and then a start knows of it too.
    revived(&storm.sender).await;
    let open = storm.place.restarts(&storm.sender, &name).await;
    assert!(!open.killed(), "{name}: {open:?}");

    for cut in storm.cuts() {
        storm.revival_cut_short(cut).await;
        // It takes longer than the shorter ones, so that nothing would be lost.
        if !cut.loses || delay > Duration::from_secs(5) {
            storm.opening_cut_short(cut).await;
        }
    }
    storm.sender.known.is_sound(&name);
    storm.is_complete();
    storm.figures();
    assert!(storm.calm.process.runs());
}

/// One of the three that are part of every run; at full length they are among all of them.
async fn one_of_three(files: Files, delay_ms: u64) {
    if !full() {
        storm(files, delay_ms).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_sync_of_the_record_takes_a_third_of_a_second() {
    one_of_three(BOTH, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_sync_of_the_ledger_takes_five_seconds() {
    one_of_three(LEDGER, 5000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_sync_of_the_journal_takes_twelve_seconds() {
    one_of_three(JOURNAL, 12_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_twelve_storms() {
    if !full() {
        return println!("storms: three of them; all twelve with ECHO_TEST_FULL=1");
    }
    println!(
        "| storm | kills | slowest, s | verdicts | p50 / p99 / max, ms | p99 where the disk is well, ms | events acknowledged / lost \
         | events refused | commands done / nothing / undecided | restart |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for files in [JOURNAL, LEDGER, BOTH] {
        for delay_ms in DELAYS_MS {
            storm(files, delay_ms).await;
        }
    }
}
