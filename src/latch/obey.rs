//! Bringing the gate in line with what is declared, where that is safer; what opens is the loop's.

use std::time::Duration;

use super::Latch;
use crate::decide::precedence::asked;
use crate::decide::verdict::Reason;
use crate::domain::hold::{Epoch, Scope};
use crate::domain::throttle::ThrottleName;
use crate::gate::Setting;

impl Latch {
    /// Makes every declared throttle known to the gate, closes what is declared closed, and takes its kills. After a
    /// restart every level starts from what was stored, never from open.
    pub fn obey(&self, at: Duration) {
        for declared in self.desired.declared() {
            let want = asked(declared.level, declared.mode, &declared.holds);
            let setting = Setting {
                level: declared.stored.safer(want.level),
                reason: Reason::Target,
                generation: declared.generation,
                at,
            };
            self.gate.declare(&declared.name, &declared.gate(), setting);
            self.gate.tighten(&declared.name, Setting { level: want.level, ..setting });
            for hold in declared.holds.iter().filter(|hold| hold.is_kill()) {
                self.gate.hold(&Scope::One(declared.name.clone()), hold, at);
            }
        }
    }

    /// Lets go of a hold that has ended.
    pub fn let_go(&self, throttle: &ThrottleName, epoch: &Epoch) {
        self.gate.release(throttle, epoch);
        self.desired.wake();
    }
}
