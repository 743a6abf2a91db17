//! Levels: no throttle is opened beyond what may be declared, by what clients were told.

use echo_phoenix::decide::precedence::most_restrictive as asked_for;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::throttle::Mode;

use super::{Asked, Became, What};
use crate::commands::On;
use crate::life::Life;

/// What is known of levels.
pub(super) struct Levels {
    /// What REST declared when everything was at rest: of its own throttle, and on top of the
    /// manifest's.
    default: Level,
    shop: Level,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            default: Level::STOP,
            shop: Level::OPEN,
        }
    }
}

impl Levels {
    pub(super) fn rested(&mut self, life: &Life) {
        let declared = |name: &str| life.declared(name);
        self.default = declared("default").map_or(Level::STOP, |declared| declared.level);
        let held = declared("shop").map(|declared| {
            let holds: Vec<_> = declared
                .holds
                .iter()
                .filter(|hold| !hold.is_kill())
                .cloned()
                .collect();
            asked_for(Level::OPEN, Mode::Enforce, &holds).level
        });
        self.shop = held.unwrap_or(Level::OPEN);
    }

    pub(super) fn check(&self, asked: &[Asked], life: &Life) -> Option<String> {
        let default = floor(asked, false, self.default);
        let shop = floor(asked, true, self.shop).safer(life.manifest.floor());
        for (name, floor) in [("default", default), ("shop", shop)] {
            let standing = life.standing(name)?;
            if !standing.killed() && standing.level < floor {
                return Some(format!(
                    "{name} is open to {}, and what may be declared is {floor}",
                    standing.level
                ));
            }
            let declared = life.declared(name)?;
            let holds: Vec<_> = declared
                .holds
                .iter()
                .filter(|hold| !hold.is_kill())
                .cloned()
                .collect();
            let wanted = asked_for(declared.level, Mode::Enforce, &holds).level;
            if wanted < floor {
                return Some(format!(
                    "{name} is declared {wanted}, and what may be declared is {floor}"
                ));
            }
        }
        None
    }
}

/// The least level that may be declared over REST.
fn floor(asked: &[Asked], shop: bool, at_rest: Level) -> Level {
    let about = |one: &&Asked| match &one.what {
        What::Control { shop: of, .. } => *of == shop,
        What::Revive(on, None) => shop && *on != On::Default, // it ends what REST holds on top
        _ => false,
    };
    // What was done after another one was over takes its place.
    let sure = |one: &&Asked| {
        matches!(one.what, What::Control { .. }) && one.became() == Became::Done && !one.resent
    };
    let latest = asked
        .iter()
        .filter(about)
        .filter(sure)
        .map(|one| one.sent)
        .max();
    let superseded =
        |one: &Asked| latest.is_some_and(|latest| one.done.is_some_and(|done| done < latest));
    let possible = asked
        .iter()
        .filter(about)
        .filter(|one| one.became() != Became::Nothing && !superseded(one));
    let levels = possible.map(|one| match &one.what {
        // What is not above what the manifest declares ends what REST held on top of it.
        What::Control { level, shop } if !shop || one.above => *level,
        _ => Level::OPEN,
    });
    let before = latest.is_none().then_some(at_rest);
    levels.chain(before).min().unwrap_or(Level::STOP)
}
