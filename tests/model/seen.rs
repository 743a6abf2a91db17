//! What a run must have come across: each fault and each rare state, counted. What was never
//! reached proves nothing.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! rare {
    ($($name:ident: $what:literal,)*) => {
        /// Something that must have been there at least once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rare { $($name,)* }

        impl Rare {
            const ALL: &[(Self, &str)] = &[$((Self::$name, $what),)*];
        }

        static COUNTS: [AtomicU64; [$($what,)*].len()] = [const { AtomicU64::new(0) }; [$($what,)*].len()];
    };
}

rare! {
    LedgerRefused: "fault: the ledger refuses",
    LedgerLocked: "fault: the ledger is locked by another process",
    LedgerHungBefore: "fault: the ledger hangs before it begins",
    LedgerHungIn: "fault: the ledger hangs in a commit, which lands late",
    LedgerHungAfter: "fault: a commit lands and is answered late",
    ReadFailed: "fault: the ledger cannot be read",
    ReadHung: "fault: the ledger is read late",
    JournalFailed: "fault: the journal cannot be written",
    JournalHung: "fault: the journal hangs, the entry lands late",
    JournalHungAfter: "fault: an entry lands and is answered late",
    SiteFailed: "fault: another site cannot be reached",
    SiteHung: "fault: another site obeys late",
    SiteHungAfter: "fault: another site obeys and answers late",
    LeaderLost: "fault: another process leads",
    WallStepped: "fault: the wall clock steps",
    HungUp: "fault: a client hangs up in the middle",
    CrashedBefore: "fault: a crash before a write",
    CrashedAfter: "fault: a crash after a write that nobody was answered",
    CrashedUnderway: "fault: a crash while commands are under way",
    KillRecorded: "a kill is recorded",
    KillPending: "a kill is pending and durable",
    KillNotDurable: "a kill is in memory alone",
    KillLeans: "a kill leans on one in force",
    KillOfASite: "another site's kill has a hold of its own",
    KillWhileUndecided: "a kill comes while a revival is not decided",
    KillAgain: "a kill under a used key is done again",
    Revived: "a revival ends holds",
    ReviveNothing: "a revival is refused for sure",
    ReviveUndecided: "a revival may still happen",
    ReviveHappened: "a revival that was not decided happened",
    ReviveConflict: "a revival finds nothing to end",
    Opened: "an opening is declared",
    OpenNothing: "an opening is refused for sure",
    OpenUndecided: "an opening may still happen",
    OpenHappened: "an opening that was not decided happened",
    ClosePending: "a tightening is pending",
    Held: "a tightening of what a manifest declares is a hold",
    ControlKilled: "a level is refused while killed",
    RefusalRecorded: "a refusal is audited",
    Withdrawn: "a change is withdrawn before it was begun",
    Replayed: "a retry hears its first answer",
    ReplayOverlap: "a retry comes while the first is under way",
    KeyUnknown: "a used key cannot be looked up in time",
    EndedSince: "a retry of a kill that has ended",
    HeldSince: "a retry of a revival that another kill has overtaken",
    Collided: "a kill under another kill's key",
    StartWithJournal: "a start finds what the ledger lacks in the journal",
    Unaccounted: "a start finds a kill that was in memory alone",
    StartAtRest: "a start at rest changes nothing",
    FileKilled: "a kill of the manifest holds",
    FileKillEnded: "a kill of the manifest ends",
    FileWaits: "the manifest waits for the ledger",
    FileSpent: "the number of a manifest's kill is spent, and the next one holds",
    KilledAndRevivedInAPass: "a kill begins and ends within one pass",
    OpenedByRamp: "a level opens by the ramp",
    OpenedAtOnce: "a level opens at once, since nothing waits",
    Overtaken: "an opening step is overtaken by a kill or a tightening",
    Rested: "a rest: all faults healed",
}

/// It was there.
pub(crate) fn sometimes(rare: Rare) {
    COUNTS[rare as usize].fetch_add(1, Ordering::Relaxed);
}

/// All counts, as lines; and what was never reached.
pub(crate) fn told() -> (String, Vec<&'static str>) {
    let count = |rare: Rare| COUNTS[rare as usize].load(Ordering::Relaxed);
    let lines: Vec<_> = Rare::ALL
        .iter()
        .map(|(rare, what)| format!("{:>9}  {what}", count(*rare)))
        .collect();
    let never = Rare::ALL
        .iter()
        .filter(|(rare, _)| count(*rare) == 0)
        .map(|(_, what)| *what)
        .collect();
    (lines.join("\n"), never)
}
