//! CallsOfTarget to targets: a pass waits for each a moment, and what is not answered by then goes on
//! beside the passes. One read and one write a target at most.
//!
//! What an answer means is not known here, but for its age: what was read before a target was
//! written to is not what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryFutureExt;
use futures::future::{AbortHandle, AbortRegistration, Abortable, BoxFuture, abortable};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::decide::facts::TargetRead;
use crate::domain::audit::IntentId;
use crate::domain::moment::Moment;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::{TargetId, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::TargetError;

use super::ReconcileContext;

/// How long a pass waits for a call.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// How long a target may take to say what it is.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// How long one step may take.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// A call was broken off: it may be done or not, and is read back.
pub(super) const BROKEN_OFF: StepOutcome =
    StepOutcome::Overtaken("a kill came while it was being done");

const CANNOT: &str = "this process cannot act on such a target";

/// A call that goes on beside the passes.
pub(super) type LateCall = BoxFuture<'static, LateAnswer>;

/// What a pass tells whoever runs the passes while it is under way.
pub(super) enum PassEvent {
    /// A call that it does not wait for.
    Late(LateCall),
    /// All that closes has been done, or goes on: it needs its place no more.
    Closed(ThrottleName),
}

/// What came of a call after its pass had gone on.
pub(super) struct LateAnswer {
    pub(super) throttle: ThrottleName,
    pub(super) target: TargetId,
    /// Which call it was: an older one is not heard any more.
    pub(super) number: u64,
    pub(super) answer: CallAnswer,
}

pub(super) enum CallAnswer {
    Read(TargetRead),
    Write(StepOutcome),
}

/// A step that its pass did not wait for.
pub(super) struct OpenWrite {
    pub(super) number: u64,
    pub(super) abort: AbortHandle,
    pub(super) step: Step,
    /// Its intent, if the ledger has one.
    pub(super) intent: Option<IntentId>,
    /// When it was decided.
    pub(super) at: Moment,
}

/// What came of a step while its pass waited.
pub(super) enum StepResult {
    /// It has ended.
    Done(StepOutcome),
    /// It goes on.
    Open(OpenCall),
}

/// A read that is made: its number, how long its pass waits for it, and what breaks it off.
pub(super) struct BegunRead {
    pub(super) number: u64,
    pub(super) waits: Duration,
    pub(super) abort: AbortRegistration,
}

/// A call that goes on: its number, and what breaks it off.
pub(super) struct OpenCall(pub(super) u64, pub(super) AbortHandle);

/// Who makes calls, and where those go that are not waited for.
pub(super) struct TargetCaller {
    events: mpsc::UnboundedSender<PassEvent>,
    /// How many calls there were: the number of the newest.
    ever: AtomicU64,
}

impl TargetCaller {
    /// What it does not wait for comes out of the other end: two calls a target, and one word a
    /// pass, at most.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<PassEvent>) {
        let (sender, events) = mpsc::unbounded_channel();
        let caller = Self {
            events: sender,
            ever: AtomicU64::new(0),
        };
        (caller, events)
    }

    /// A pass has done all that closes.
    pub(super) fn closed(&self, throttle: &ThrottleName) {
        // Where the loop has ended nobody hears it.
        let _heard = self.events.send(PassEvent::Closed(throttle.clone()));
    }

    pub(super) fn number(&self) -> u64 {
        self.ever.fetch_add(1, Ordering::Relaxed)
    }

    /// Reads one target; none: it has not answered yet.
    pub(super) async fn read(
        &self,
        parts: &ReconcileContext,
        throttle: &Arc<Declared>,
        spec: &TargetSpec,
        begun: BegunRead,
    ) -> Option<TargetRead> {
        let Some(target) = parts.targets.get(&spec.kind()).map(Arc::clone) else {
            return Some(Err(CANNOT.to_owned()));
        };
        let BegunRead {
            number,
            waits,
            abort,
        } = begun;
        let late = {
            let (throttle, target) = (throttle.name.clone(), spec.id());
            move |found| LateAnswer {
                throttle,
                target,
                number,
                answer: CallAnswer::Read(found),
            }
        };
        let (throttle, spec) = (Arc::clone(throttle), spec.clone());
        let call = async move {
            match timeout(READ_LIMIT, target.read(&throttle, &spec)).await {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", READ_LIMIT.as_secs())),
            }
        };
        // What was broken off is not heard.
        let call = Abortable::new(call, abort).unwrap_or_else(|_| Err("broken off".to_owned()));
        self.within(waits, Box::pin(call), late).await
    }

    /// Does one step.
    pub(super) async fn write(
        &self,
        parts: &ReconcileContext,
        throttle: &ThrottleName,
        step: &Step,
    ) -> StepResult {
        let Some(target) = parts.targets.get(&step.action.kind()).map(Arc::clone) else {
            let refused = Err(TargetError::Refused(CANNOT.to_owned()));
            return StepResult::Done(outcome_of(throttle, refused));
        };
        let number = self.number();
        let late = {
            let (throttle, target) = (throttle.clone(), step.action.target());
            move |done| LateAnswer {
                throttle,
                target,
                number,
                answer: CallAnswer::Write(done),
            }
        };
        let (throttle, action) = (throttle.clone(), step.action.clone());
        let (call, abort) = abortable(async move {
            let done = match timeout(WRITE_LIMIT, target.apply(&throttle, &action)).await {
                Ok(done) => done,
                Err(_) => Err(TargetError::Unavailable(format!(
                    "no answer within {} s",
                    WRITE_LIMIT.as_secs()
                ))),
            };
            outcome_of(&throttle, done)
        });
        let call = Box::pin(async move { call.await.unwrap_or(BROKEN_OFF) });
        match self.within(GRACE, call, late).await {
            Some(done) => StepResult::Done(done),
            None => StepResult::Open(OpenCall(number, abort)),
        }
    }

    /// Waits for a call so long; then it goes on without us.
    async fn within<T: Send + 'static>(
        &self,
        waits: Duration,
        mut call: BoxFuture<'static, T>,
        late: impl FnOnce(T) -> LateAnswer + Send + 'static,
    ) -> Option<T> {
        if let Ok(answer) = timeout(waits, &mut call).await {
            return Some(answer);
        }
        // Where the loop has ended nobody hears it, and it ends here.
        let goes_on = PassEvent::Late(Box::pin(async move { late(call.await) }));
        let _heard = self.events.send(goes_on);
        None
    }
}

/// What a target made of a step.
fn outcome_of(throttle: &ThrottleName, done: Result<(), TargetError>) -> StepOutcome {
    let Err(error) = done else {
        return StepOutcome::Yes;
    };
    tracing::warn!(%throttle, %error, "a step failed; it is planned again at the next look");
    match error {
        TargetError::Held(by) => StepOutcome::Held(by),
        error => StepOutcome::Failed(error.to_string()),
    }
}
