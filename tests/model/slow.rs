//! A kill waits for nothing: with each of ledger, journal and another site hung, and all of their
//! combinations, the gate is shut at once, the loop has told the other site within 150 ms, and the
//! client has its answer within 5 s.

use echo_phoenix::domain::target::RemoteOrder;

use crate::commands::{Command, DiskFault, Key, LedgerFault, On, Setting};
use crate::world::World;

/// A hang that outlasts everything that is measured, ms.
const HANGS: u16 = 60_000;
/// The loop, and whoever it tells.
const LOOP: u16 = 150;
/// The answer.
const ANSWER: u16 = 5_000;

/// What a client had under way when everything began to hang.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// A pass of the loop that waits for the ledger.
    Tightening,
    Opening,
    Revival,
}

impl Before {
    fn command(self) -> Option<Command> {
        match self {
            Self::Nothing => None,
            Self::Tightening => Some(Command::Control {
                shop: false,
                fifths: 2,
                key: Key::None,
                stays: None,
            }),
            Self::Opening => Some(Command::File {
                fifths: 1,
                kill: false,
            }),
            Self::Revival => Some(Command::Revive {
                on: On::Shop,
                by_epoch: false,
                key: Key::None,
                stays: None,
            }),
        }
    }
}

fn kill(on: On) -> Command {
    Command::Kill {
        on,
        site: None,
        key: Key::None,
        stays: None,
    }
}

/// Everything is open, the ledger and the loop idle.
fn opened() -> World {
    let mut world = World::new(Setting { busy: false }).unwrap();
    world
        .apply(&Command::File {
            fifths: 0,
            kill: false,
        })
        .unwrap();
    world
        .apply(&Command::Control {
            shop: false,
            fifths: 0,
            key: Key::None,
            stays: None,
        })
        .unwrap();
    world.apply(&Command::Wait(20_000)).unwrap();
    world
}

fn case(ledger: Option<LedgerFault>, journal: bool, site: bool, before: Before) {
    let mut world = opened();
    if let Before::Revival = before {
        world.apply(&kill(On::Shop)).unwrap();
        world.apply(&Command::Wait(7_000)).unwrap();
    }
    if let Some(fault) = ledger {
        world.apply(&Command::Ledger(fault, HANGS)).unwrap();
        world
            .apply(&Command::Reads(DiskFault::Hangs, HANGS))
            .unwrap();
    }
    if journal {
        world
            .apply(&Command::Journal(DiskFault::Hangs, HANGS))
            .unwrap();
    }
    if site {
        world
            .apply(&Command::Site(DiskFault::Hangs, HANGS))
            .unwrap();
    }
    if let Some(command) = before.command() {
        world.apply(&command).unwrap();
        world.apply(&Command::Wait(300)).unwrap();
    }
    let (told, heard) = (world.told(), world.site().heard().len());
    world.apply(&kill(On::All)).unwrap();
    assert!(
        world.is_killed("default") && world.is_killed("shop"),
        "at once"
    );
    world.apply(&Command::Wait(LOOP)).unwrap();
    let kills = world
        .site()
        .heard()
        .into_iter()
        .skip(heard)
        .filter(|(_, order)| matches!(order, RemoteOrder::Kill { .. }));
    let told_to_stop = kills.count() > 0 || world.site().is().1;
    assert!(told_to_stop, "the loop tells it, whatever it waited for");
    let mut waited = LOOP;
    while world.told() == told && waited < ANSWER {
        world.apply(&Command::Wait(50)).unwrap();
        waited += 50;
    }
    assert!(
        world.told() > told,
        "the kill is answered within {ANSWER} ms"
    );
}

#[test]
fn a_kill_waits_for_nothing_that_hangs() {
    for ledger in [
        None,
        Some(LedgerFault::HangsIn),
        Some(LedgerFault::HangsBefore),
    ] {
        for (journal, site) in [(false, false), (false, true), (true, false), (true, true)] {
            for before in [
                Before::Nothing,
                Before::Tightening,
                Before::Opening,
                Before::Revival,
            ] {
                println!(
                    "ledger {ledger:?}, journal {journal}, site {site}, under way: {before:?}"
                );
                case(ledger, journal, site, before);
            }
        }
    }
}

#[test]
fn a_retried_kill_is_not_told_as_done_while_its_end_is_not_decided() {
    let mut world = opened();
    world
        .apply(&Command::Kill {
            on: On::All,
            site: None,
            key: Key::Own,
            stays: None,
        })
        .unwrap();
    world
        .apply(&Command::Ledger(LedgerFault::HangsIn, 10_000))
        .unwrap();
    world
        .apply(&Command::Revive {
            on: On::All,
            by_epoch: false,
            key: Key::None,
            stays: None,
        })
        .unwrap();
    world.apply(&Command::Wait(5_000)).unwrap();
    assert_eq!(world.last_told(), Some(503), "it may still happen");
    world
        .apply(&Command::Again {
            back: 0,
            stays: None,
        })
        .unwrap();
    world.apply(&Command::Wait(100)).unwrap();
    assert_eq!(
        world.last_told(),
        Some(409),
        "killed, and open a moment later"
    );
    let detail = world.last_detail().unwrap();
    assert!(
        detail.contains("whether it is about to end is not known"),
        "{detail}"
    );
    world.rest().unwrap();
    assert!(!world.is_killed("default"), "it was done after all");
}

#[test]
fn a_kill_that_is_in_its_manifest_again_before_its_end_is_decided_is_recorded() {
    let mut world = opened();
    world
        .apply(&Command::File {
            fifths: 0,
            kill: true,
        })
        .unwrap();
    world
        .apply(&Command::Ledger(LedgerFault::HangsIn, 6_000))
        .unwrap();
    world
        .apply(&Command::File {
            fifths: 0,
            kill: false,
        })
        .unwrap();
    world
        .apply(&Command::File {
            fifths: 0,
            kill: true,
        })
        .unwrap();
    world.apply(&Command::Wait(20_000)).unwrap();
    assert!(world.is_killed("shop"), "as its file says");
    world.rest().unwrap();
}

/// What a sequence comes to, looked at after each step and at rest.
fn holds_throughout(commands: &[Command]) {
    let mut world = World::new(Setting { busy: false }).unwrap();
    for command in commands {
        world.apply(command).unwrap();
    }
    world.rest().unwrap();
}

#[test]
fn an_older_tightening_that_is_settled_does_not_end_a_newer_one() {
    let control = |fifths| Command::Control {
        shop: true,
        fifths,
        key: Key::None,
        stays: None,
    };
    for (first, second) in [(0, 1), (5, 5)] {
        let file = Command::File {
            fifths: 0,
            kill: false,
        };
        let away = Command::Ledger(LedgerFault::Refuses, 100);
        holds_throughout(&[
            file,
            away,
            control(first),
            control(second),
            Command::Settle,
            Command::Settle,
        ]);
    }
}

#[test]
fn a_level_that_is_foreseen_is_not_recorded_as_declared() {
    let control = |shop, fifths| Command::Control {
        shop,
        fifths,
        key: Key::None,
        stays: None,
    };
    let kill = || Command::Kill {
        on: On::All,
        site: None,
        key: Key::None,
        stays: None,
    };
    holds_throughout(&[
        kill(),
        Command::Revive {
            on: On::All,
            by_epoch: false,
            key: Key::None,
            stays: None,
        },
        Command::File {
            fifths: 0,
            kill: false,
        },
        Command::Ledger(LedgerFault::Locked, 100),
        control(false, 0),
        control(true, 1),
        kill(),
    ]);
}

#[test]
fn the_loop_pauses_while_what_another_site_is_to_hear_is_not_recorded() {
    holds_throughout(&[
        Command::Kill {
            on: On::All,
            site: None,
            key: Key::None,
            stays: None,
        },
        Command::Wait(1_000),
        Command::Ledger(LedgerFault::Refuses, 5_000),
        Command::Site(DiskFault::Fails, 300),
        Command::Wait(100),
    ]);
    holds_throughout(&[
        Command::Kill {
            on: On::All,
            site: None,
            key: Key::None,
            stays: None,
        },
        Command::Reads(DiskFault::Hangs, 100),
        Command::Revive {
            on: On::All,
            by_epoch: false,
            key: Key::None,
            stays: None,
        },
        Command::Revive {
            on: On::All,
            by_epoch: false,
            key: Key::None,
            stays: None,
        },
        Command::CrashNow,
        Command::Ledger(LedgerFault::Refuses, 100),
        Command::Wait(1),
    ]);
}
