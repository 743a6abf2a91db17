//! What outlives a process: its folder, time, the faults of its disks, and when it is to end.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echo_phoenix::ports::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::commands::{DiskFault, LedgerFault};
use crate::seen::{Rare, sometimes};

/// When the first process starts, by the wall clock.
const BEGIN: i64 = 1_760_000_000;

/// Everything that is there with and without a process.
pub(crate) struct Outside {
    pub(crate) folder: tempfile::TempDir,
    time: Mutex<Time>,
    faults: Mutex<Faults>,
    changed: Notify,
}

/// Time of the world, and of the process that runs.
struct Time {
    /// When it started, in the world.
    base: Duration,
    /// The same, by the runtime's clock.
    origin: Option<Instant>,
    /// By how much the wall clock was set, seconds.
    stepped: i64,
}

/// Each fault with when it ends.
#[derive(Default)]
struct Faults {
    ledger: Option<(LedgerFault, Duration)>,
    reads: Option<(DiskFault, Duration)>,
    journal: Option<(DiskFault, Duration)>,
    site: Option<(DiskFault, Duration)>,
    api: Option<(DiskFault, Duration)>,
    follows: Duration,
    /// Writes before the end of the process, and whether the one of its end lands.
    crash: Option<(u8, bool)>,
    crashed: bool,
}

/// Where a fault is.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Ledger,
    Reads,
    Journal,
    Site,
    Api,
}

impl Outside {
    pub(crate) fn new() -> Self {
        // Files that no disk waits for, where the system has such.
        let memory = std::path::Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory)
            .or_else(|_| tempfile::tempdir())
            .expect("a folder");
        let time = Mutex::new(Time {
            base: Duration::from_secs(1_000),
            origin: None,
            stepped: 0,
        });
        Self {
            folder,
            time,
            faults: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A process starts: its disks are well.
    pub(crate) fn starts(&self) {
        *self.faults() = Faults::default();
        self.time().origin = Some(Instant::now());
    }

    /// The process ended, or ends; called by its runtime.
    pub(crate) fn ends(&self) {
        let now = self.now();
        let mut time = self.time();
        (time.base, time.origin) = (now, None);
    }

    /// Time of the world.
    pub(crate) fn now(&self) -> Duration {
        let time = self.time();
        time.base
            + time
                .origin
                .map_or(Duration::ZERO, |origin| origin.elapsed())
    }

    pub(crate) fn step_wall(&self, seconds: i32) {
        sometimes(Rare::WallStepped);
        self.time().stepped += i64::from(seconds);
    }

    pub(crate) fn ledger_is(&self, fault: LedgerFault, ms: u16) {
        self.faults().ledger = Some((fault, self.until(ms)));
    }

    pub(crate) fn reads_are(&self, fault: DiskFault, ms: u16) {
        self.faults().reads = Some((fault, self.until(ms)));
    }

    pub(crate) fn journal_is(&self, fault: DiskFault, ms: u16) {
        self.faults().journal = Some((fault, self.until(ms)));
    }

    pub(crate) fn site_is(&self, fault: DiskFault, ms: u16) {
        self.faults().site = Some((fault, self.until(ms)));
    }

    pub(crate) fn api_is(&self, fault: DiskFault, ms: u16) {
        self.faults().api = Some((fault, self.until(ms)));
    }

    pub(crate) fn follows(&self, ms: u16) {
        self.faults().follows = self.until(ms);
    }

    fn until(&self, ms: u16) -> Duration {
        self.now() + Duration::from_millis(u64::from(ms))
    }

    /// Every fault is over, and no end is near.
    pub(crate) fn heal(&self) {
        let mut faults = self.faults();
        *faults = Faults {
            crashed: faults.crashed,
            ..Faults::default()
        };
        drop(faults);
        self.changed.notify_waiters();
    }

    pub(crate) fn leads(&self) -> bool {
        let leads = self.now() >= self.faults().follows;
        if !leads {
            sometimes(Rare::LeaderLost);
        }
        leads
    }

    pub(crate) fn ledger(&self) -> Option<LedgerFault> {
        let now = self.now();
        self.faults()
            .ledger
            .filter(|(_, until)| now < *until)
            .map(|(fault, _)| fault)
    }

    pub(crate) fn reads(&self) -> Option<DiskFault> {
        let now = self.now();
        self.faults()
            .reads
            .filter(|(_, until)| now < *until)
            .map(|(fault, _)| fault)
    }

    pub(crate) fn journal(&self) -> Option<DiskFault> {
        let now = self.now();
        self.faults()
            .journal
            .filter(|(_, until)| now < *until)
            .map(|(fault, _)| fault)
    }

    pub(crate) fn site(&self) -> Option<DiskFault> {
        let now = self.now();
        self.faults()
            .site
            .filter(|(_, until)| now < *until)
            .map(|(fault, _)| fault)
    }

    pub(crate) fn api(&self) -> Option<DiskFault> {
        let now = self.now();
        self.faults()
            .api
            .filter(|(_, until)| now < *until)
            .map(|(fault, _)| fault)
    }

    /// Waits until a fault that is there now is over, or is another one that ends.
    pub(crate) async fn healed(&self, place: Place) {
        loop {
            let changed = self.changed.notified();
            let until = match place {
                Place::Ledger => self.faults().ledger.map(|(_, until)| until),
                Place::Reads => self.faults().reads.map(|(_, until)| until),
                Place::Journal => self.faults().journal.map(|(_, until)| until),
                Place::Site => self.faults().site.map(|(_, until)| until),
                Place::Api => self.faults().api.map(|(_, until)| until),
            };
            let left = until.unwrap_or_default().saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep(left) => {}
            }
        }
    }

    /// The process is to end at a write.
    pub(crate) fn ends_at(&self, writes: u8, lands: bool) {
        self.faults().crash = Some((writes, lands));
    }

    /// A write to a disk; the process may end right before it, or before anybody hears of it.
    pub(crate) async fn writes<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.has_ended() {
            return pending().await;
        }
        let ends = {
            let mut faults = self.faults();
            match &mut faults.crash {
                Some((0, lands)) => Some(*lands),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            }
        };
        let Some(lands) = ends else { return write() };
        crate::traced(|| format!("the process ends at a write, which lands: {lands}"));
        sometimes(if lands {
            Rare::CrashedAfter
        } else {
            Rare::CrashedBefore
        });
        self.crash();
        // Nobody hears what became of it.
        let _unheard = if lands { Some(write()) } else { None };
        pending().await
    }

    /// Whether the process has ended: what it still does is not done.
    pub(crate) fn has_ended(&self) -> bool {
        self.faults().crashed
    }

    pub(crate) fn crash(&self) {
        self.faults().crashed = true;
        self.changed.notify_waiters();
    }

    /// Waits for the end of the process.
    pub(crate) async fn crashed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.faults().crashed {
                return;
            }
            changed.await;
        }
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        let stepped = self.time().stepped;
        let now = Self::now(self);
        let begin = Timestamp::from_second(BEGIN + stepped).expect("a moment of our time");
        begin + SignedDuration::try_from(now).expect("days")
    }

    fn elapsed(&self) -> Duration {
        let time = self.time();
        time.origin
            .map_or(Duration::ZERO, |origin| origin.elapsed())
    }
}
