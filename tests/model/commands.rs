//! What may happen to a service, one thing at a time: commands, faults, time. Sequences of it are
//! made up, and made small when one of them finds something.

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// A throttle, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    All,
    /// REST's own.
    Default,
    /// The manifest's.
    Shop,
}

/// Under which `Idempotency-Key` a command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    /// One of its own.
    Own,
    /// The key of the command so many before it.
    Of(u8),
}

/// How long a client waits: to the end, or until its request was looked at so many times.
pub(crate) type Stays = Option<u8>;

/// What is wrong with the writing side of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedgerFault {
    Refuses,
    Locked,
    HangsBefore,
    HangsIn,
    HangsAfter,
}

/// What is wrong with reading it, or with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFault {
    Fails,
    Hangs,
    HangsAfter,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Kill {
        on: On,
        site: Option<u8>,
        key: Key,
        stays: Stays,
    },
    Revive {
        on: On,
        by_epoch: bool,
        key: Key,
        stays: Stays,
    },
    Control {
        shop: bool,
        fifths: u8,
        key: Key,
        stays: Stays,
    },
    /// The command so many before is sent again, under its key, as it was.
    Again {
        back: u8,
        stays: Stays,
    },
    /// A kill without its word: refused, and audited.
    Unconfirmed {
        stays: Stays,
    },
    /// The manifest is another one.
    File {
        fifths: u8,
        kill: bool,
    },
    /// The ledger is told again what it lacks.
    Settle,
    /// So many milliseconds pass.
    Wait(u16),
    /// The wall clock steps by so many seconds.
    Wall(i32),
    /// The ledger is so for so many milliseconds, or until it is healed.
    Ledger(LedgerFault, u16),
    Reads(DiskFault, u16),
    Journal(DiskFault, u16),
    Site(DiskFault, u16),
    /// Another process leads for so many milliseconds.
    Follows(u16),
    /// The process ends at the write after so many, before it or after it.
    Crash {
        writes: u8,
        lands: bool,
    },
    /// The process ends now.
    CrashNow,
    /// Faults end; then everything must agree.
    Rest,
}

/// How the world is in which a sequence happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Requests come all the time.
    pub(crate) busy: bool,
}

/// Makes sequences up: everything may come at any time.
pub(crate) struct Sequences;

impl ReferenceStateMachine for Sequences {
    type State = Setting;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Setting> {
        any::<bool>().prop_map(|busy| Setting { busy }).boxed()
    }

    fn transitions(_: &Setting) -> BoxedStrategy<Command> {
        prop_oneof![
            10 => kill(),
            9 => revive(),
            8 => control(),
            4 => (0..6u8, stays()).prop_map(|(back, stays)| Command::Again { back, stays }),
            3 => stays().prop_map(|stays| Command::Unconfirmed { stays }),
            3 => (0..=5u8, prop::bool::weighted(0.4)).prop_map(|(fifths, kill)| Command::File { fifths, kill }),
            2 => Just(Command::Settle),
            18 => wait(),
            1 => (-7_200..7_200i32).prop_map(Command::Wall),
            6 => (ledger_fault(), lasts()).prop_map(|(fault, ms)| Command::Ledger(fault, ms)),
            3 => (disk_fault(), lasts()).prop_map(|(fault, ms)| Command::Reads(fault, ms)),
            4 => (disk_fault(), lasts()).prop_map(|(fault, ms)| Command::Journal(fault, ms)),
            2 => (disk_fault(), lasts()).prop_map(|(fault, ms)| Command::Site(fault, ms)),
            1 => lasts().prop_map(Command::Follows),
            2 => (0..6u8, any::<bool>()).prop_map(|(writes, lands)| Command::Crash { writes, lands }),
            1 => Just(Command::CrashNow),
            1 => Just(Command::Rest),
        ]
        .boxed()
    }

    fn apply(state: Setting, _: &Command) -> Setting {
        state
    }
}

fn kill() -> impl Strategy<Value = Command> {
    let site = prop_oneof![4 => Just(None), 1 => (0..2u8).prop_map(Some)];
    (on(), site, key(), stays()).prop_map(|(on, site, key, stays)| Command::Kill {
        on,
        site,
        key,
        stays,
    })
}

fn revive() -> impl Strategy<Value = Command> {
    let by_epoch = prop::bool::weighted(0.25);
    (on(), by_epoch, key(), stays()).prop_map(|(on, by_epoch, key, stays)| Command::Revive {
        on,
        by_epoch,
        key,
        stays,
    })
}

fn control() -> impl Strategy<Value = Command> {
    let fifths = prop_oneof![3 => Just(0u8), 2 => 0..=5u8, 1 => Just(5u8)];
    (any::<bool>(), fifths, key(), stays()).prop_map(|(shop, fifths, key, stays)| {
        Command::Control {
            shop,
            fifths,
            key,
            stays,
        }
    })
}

fn on() -> impl Strategy<Value = On> {
    prop_oneof![4 => Just(On::All), 3 => Just(On::Default), 2 => Just(On::Shop)]
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![5 => Just(Key::None), 5 => Just(Key::Own), 1 => (0..4u8).prop_map(Key::Of)]
}

fn stays() -> impl Strategy<Value = Stays> {
    prop_oneof![6 => Just(None), 2 => (1..12u8).prop_map(Some)]
}

/// Before, at and after every limit there is: 0.25, 0.5, 1, 2, 4, 10 and 12 s.
fn lasts() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![
        100, 300, 450, 550, 900, 1_000, 1_100, 1_900, 2_000, 2_200, 3_000, 4_300, 5_000, 7_000,
        12_500, 20_000,
    ])
}

fn wait() -> impl Strategy<Value = Command> {
    let short = prop::sample::select(vec![0, 1, 10, 50, 250, 300, 500, 900, 1_000, 1_100]);
    let long = prop::sample::select(vec![2_000, 2_100, 3_000, 5_000, 7_000, 12_000, 20_000]);
    prop_oneof![3 => short, 2 => long].prop_map(Command::Wait)
}

fn ledger_fault() -> impl Strategy<Value = LedgerFault> {
    use LedgerFault::{HangsAfter, HangsBefore, HangsIn, Locked, Refuses};
    prop::sample::select(vec![
        Refuses,
        Locked,
        HangsBefore,
        HangsIn,
        HangsIn,
        HangsAfter,
    ])
}

fn disk_fault() -> impl Strategy<Value = DiskFault> {
    prop::sample::select(vec![
        DiskFault::Fails,
        DiskFault::Hangs,
        DiskFault::HangsAfter,
    ])
}
