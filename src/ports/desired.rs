//! What is declared, and who acts on it: the seams around declared state.
//!
//! Four, since whoever asks needs one of them: what is declared, whether this process leads, where
//! measurements go, and who is woken. Knows neither where declarations live nor what a pass does.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::audit::{CommandRecord, CommandResponse};
use crate::domain::hold::{Epoch, Hold, Scope, ScopedHold};
use crate::domain::level::Level;
use crate::domain::measurement::Measurement;
use crate::domain::throttle::{Declared, ThrottleName};

/// Why a declaration could not be changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DesiredError {
    /// The place where declarations live does not answer; nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// Whether it is done is not known yet: it may still happen.
    #[error("not decided yet: it may still happen")]
    Undecided,
    /// There is no throttle of that name.
    #[error("there is no throttle `{0}`")]
    Unknown(ThrottleName),
    /// It is refused, and trying again is no use: why.
    #[error("{0}")]
    Refused(String),
    /// Levels are not declared here.
    #[error(
        "in a cluster Git owns the level of {0}: change spec.throttlePercent, or create an EchoOverride to tighten it"
    )]
    NotDeclaredHere(ThrottleName),
}

/// Which holds a command to end them means.
#[derive(Clone, Copy)]
pub struct ReviveFilter<'a> {
    /// Holds on these throttles,
    pub scope: &'a Scope,
    /// or only this one.
    pub epoch: Option<&'a Epoch>,
    /// Never these: a kill that came after the command is not the command's to end.
    pub spared: &'a (dyn Fn(&Epoch) -> bool + Sync),
    /// And these, which nobody knows of but who asks.
    pub alone: &'a [Epoch],
}

/// What taking a hold came to.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldTaken {
    /// What the client is answered.
    pub answer: CommandResponse,
    /// Whether it was known, and has ended: it must not bite any more.
    pub over: bool,
}

/// What ending holds came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReviveOutcome {
    /// Whether nothing was done, since its client's key was used: `answer` is what was said then.
    pub repeated: bool,
    /// Holds that ended.
    pub ended: Vec<Epoch>,
    /// Holds that stay, and why they are not this door's to end.
    pub held_by: Vec<Hold>,
    /// What the client is answered.
    pub answer: Option<CommandResponse>,
}

/// What became of a command that was [`DesiredError::Undecided`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// Whether it was done.
    pub done: bool,
    /// Holds that ended by it.
    pub ended: Vec<Epoch>,
}

/// What going on with the end of holds came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndProgress {
    /// Holds that have ended.
    pub ended: Vec<Epoch>,
    /// Holds that could not be ended now: to be asked again.
    pub left: Vec<Epoch>,
    /// Whether the end of any was refused for good: then the record says so, and it stays.
    pub refused: bool,
}

/// What a declaration became.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// Generation it has.
    pub generation: i64,
    /// What the client is answered.
    pub answer: CommandResponse,
}

/// Declared state: where it lives differs (ledger, cluster), what can be asked of it does not.
#[async_trait]
pub trait Desired: Send + Sync {
    /// Everything declared now, by name. Cheap; reads no network and no disk.
    fn declared(&self) -> Vec<Arc<Declared>>;
    /// One throttle of [`Desired::declared`], without looking at the others.
    fn find(&self, name: &ThrottleName) -> Option<Arc<Declared>>;
    /// The same for a pass of that throttle, which goes by it.
    fn begin(&self, name: &ThrottleName) -> Option<Arc<Declared>> {
        self.find(name)
    }
    /// Beside the passes of the loop: looks again at what only a live look can tell (is an override
    /// really gone).
    async fn refresh(&self);
    /// The door for levels; none where others declare all of them.
    fn declarations(&self) -> Option<&dyn Declarations>;
    /// A hold that is in force, and is taken next: it is declared from now on, where declarations
    /// are kept here. Nothing that counts records may count one whose hold nobody declares yet.
    fn hold(&self, _hold: &ScopedHold, _record: &CommandRecord) {}
    /// Takes a hold. Durable when it returns; a known epoch takes no second one.
    async fn take(
        &self,
        hold: ScopedHold,
        record: CommandRecord,
    ) -> Result<HoldTaken, DesiredError>;
    /// Lets others hear of a hold that the record does not have yet, where they hear of it by
    /// anything but the record. May be asked again and again.
    async fn announce(&self, _hold: &ScopedHold) -> Result<(), DesiredError> {
        Ok(())
    }
    /// Ends every hold that REST or an override made and that is meant, but for those that are
    /// spared. Durable when it returns. Sets `ended` and `held_by` in the answer.
    async fn end(
        &self,
        meant: ReviveFilter<'_>,
        record: CommandRecord,
    ) -> Result<ReviveOutcome, DesiredError>;
    /// What [`Desired::end`] would end by now. A specification's own holds stay, and so does what
    /// is not known to be of the command's throttle alone: opening one must not open others.
    fn ending(&self, meant: ReviveFilter<'_>) -> BTreeSet<Epoch>;
    /// What became of a command of this id that was [`DesiredError::Undecided`], and which of these
    /// holds, which it meant to end, have ended: they bite no more when this returns.
    ///
    /// # Errors
    /// While it is not known.
    async fn resolve(&self, once: &str, ending: &[Epoch]) -> Result<Resolution, DesiredError>;
    /// Goes on with the end of those of these holds that a command ended, as the record has it.
    /// Where holds live in the record itself there is nothing left to do.
    ///
    /// # Errors
    /// While it is not known which ones, or cannot be recorded which ones stay.
    async fn resume_end(
        &self,
        _record: &CommandRecord,
        _ending: &[Epoch],
    ) -> Result<EndProgress, DesiredError> {
        Ok(EndProgress::default())
    }
    /// Records a command that moved nothing. Durable when it returns.
    async fn note(&self, record: CommandRecord) -> Result<CommandResponse, DesiredError>;
}

/// The door for levels that this process declares.
#[async_trait]
pub trait Declarations: Send + Sync {
    /// What tightens holds from now on, with what was measured, and is declared next: no pass that
    /// begins after this opens beyond it. What would open changes nothing.
    fn tighten(&self, throttle: &ThrottleName, level: Level, measured: Option<&Measurement>);
    /// Declares a level, with what its caller measured: one act, so no pass of the loop sees one
    /// without the other. Durable when it returns. Sets `generation` in the answer. Wakes nobody:
    /// whoever commands wakes once, when all is said.
    async fn declare(
        &self,
        throttle: &ThrottleName,
        level: Level,
        measured: Option<Measurement>,
        record: CommandRecord,
    ) -> Result<Declaration, DesiredError>;
}

/// Whether this process acts, or another one does.
pub trait Leadership: Send + Sync {
    /// Whether this process may open, scale and correct.
    fn leads(&self) -> bool;
}

/// Where measurements go that come without a declaration; one that comes with it is handed over by
/// [`Declarations::declare`].
pub trait Measurements: Send + Sync {
    /// What somebody measured; the loop believes it for three ticks.
    fn observe(&self, throttle: &ThrottleName, evidence: Measurement);
    /// What somebody measured and is not stored; `among` says what of all that was heard is
    /// believed from here on.
    fn observe_unstored(
        &self,
        throttle: &ThrottleName,
        evidence: &Measurement,
        among: &dyn Fn(&[Measurement], &Measurement) -> Vec<Measurement>,
    );
}

/// Who was woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Every throttle.
    All,
    /// These.
    Throttles(BTreeSet<ThrottleName>),
}

/// Tells the loop whom a change concerns, so that it does not wait for the tick.
#[async_trait]
pub trait Wake: Send + Sync {
    /// Something changed for these throttles.
    fn wake(&self, whom: &Scope);
    /// The same for each of them.
    fn wake_each(&self, names: &[ThrottleName]) {
        for name in names {
            self.wake(&Scope::One(name.clone()));
        }
    }
    /// Waits until somebody was woken since this was answered last; tells everyone who was, each
    /// once. For one waiter; whoever stops waiting loses nothing.
    async fn woken(&self) -> Woken;
}
