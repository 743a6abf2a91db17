//! What the targets of one throttle have not answered, and what they answered after a pass had gone
//! on.
//!
//! Makes no call itself. What an answer means is not known here, but for its age: what was read
//! before a target was written to is not what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, BoxFuture};
use futures::stream::FuturesUnordered;

use crate::decide::facts::TargetRead;
use crate::domain::audit::IntentId;
use crate::domain::moment::Moment;
use crate::domain::plan::{Step, StepOutcome};
use crate::domain::target::{Action, TargetId, TargetSpec};
use crate::domain::throttle::Declared;

use super::ReconcileContext;
use super::calls::{BegunRead, CallAnswer, GRACE, LateAnswer, OpenCall, OpenWrite, TargetCaller};
use super::gather::Read;

/// A target that does not answer is asked once in so long, but for a stop.
const PAUSE: Duration = Duration::from_secs(5);
/// What came after its pass is what the target is for so long.
const FRESH: Duration = Duration::from_secs(1);

/// The reads of one pass.
#[derive(Default)]
pub(super) struct PendingReads<'a> {
    targets: Vec<(&'a TargetSpec, Option<Answered>)>,
    open: FuturesUnordered<BoxFuture<'a, (usize, Option<TargetRead>)>>,
}

/// What is known of one target by now.
enum Answered {
    /// This, without a call.
    Known(TargetRead),
    /// It was asked, and answered this; nothing while its pass waited.
    Asked(Option<TargetRead>),
}

impl PendingReads<'_> {
    /// Waits until one more has answered, or is not waited for any more; false if none is left.
    pub(super) async fn next(&mut self) -> bool {
        let next = self.open.next().await;
        if let Some((at, found)) = next {
            self.targets[at].1 = Some(Answered::Asked(found));
            return true;
        }
        false
    }

    /// Whether nobody is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// What is known by now; of the others, that they have not answered.
    pub(super) fn so_far(&self) -> Vec<Read> {
        let found = |answered: &Option<Answered>| match answered {
            Some(Answered::Known(found) | Answered::Asked(Some(found))) => found.clone(),
            Some(Answered::Asked(None)) | None => Err("it has not answered yet".to_owned()),
        };
        let targets = self.targets.iter();
        targets
            .map(|(spec, answered)| ((*spec).clone(), found(answered)))
            .collect()
    }
}

/// How a target is read.
enum HowToRead {
    /// By a call.
    Ask(BegunRead),
    /// It is known without one.
    Known(TargetRead),
}

/// What the targets of one throttle have not answered, and what they answered late.
#[derive(Default)]
pub(super) struct TargetCalls(BTreeMap<TargetId, CallsOfTarget>);

#[derive(Default)]
struct CallsOfTarget {
    /// The read under way.
    read: Option<(u64, AbortHandle)>,
    /// When the last one began.
    asked: Duration,
    write: Option<Box<OpenWrite>>,
    /// What came after its pass, and when.
    heard: Option<(Duration, TargetRead)>,
    /// Why the last read was not answered in time: no pass waits for the next one.
    slow: Option<String>,
    /// Whether it was not answered at all.
    silent: bool,
}

impl TargetCalls {
    /// Begins to read all targets of a throttle, beside each other.
    pub(super) fn begin_reads<'a>(
        &mut self,
        caller: &'a TargetCaller,
        parts: &'a ReconcileContext,
        throttle: &'a Arc<Declared>,
        (killed, now): (bool, Duration),
    ) -> PendingReads<'a> {
        let declared = |id: &TargetId| throttle.targets.iter().any(|spec| spec.id() == *id);
        self.0
            .retain(|id, calls| calls.write.is_some() || declared(id));
        let mut reading = PendingReads::default();
        for (at, spec) in throttle.targets.iter().enumerate() {
            let calls = self.0.entry(spec.id()).or_default();
            match calls.begin_read(caller, killed, now) {
                HowToRead::Ask(begun) => {
                    reading.targets.push((spec, None));
                    reading.open.push(Box::pin(async move {
                        (at, caller.read(parts, throttle, spec, begun).await)
                    }));
                }
                HowToRead::Known(known) => {
                    reading.targets.push((spec, Some(Answered::Known(known))))
                }
            }
        }
        reading
    }

    /// What all of them are, as far as they have answered.
    pub(super) fn end_reads(&mut self, reading: PendingReads<'_>) -> Vec<Read> {
        let end = reading.targets.into_iter().map(|(spec, answered)| {
            let calls = self.0.entry(spec.id()).or_default();
            let found = match answered {
                Some(Answered::Known(found)) => found,
                Some(Answered::Asked(found)) => calls.end_read(found),
                None => calls.end_read(None),
            };
            (spec.clone(), found)
        });
        end.collect()
    }

    /// The targets that have not answered a step yet.
    pub(super) fn under_way(&self) -> BTreeSet<TargetId> {
        let open = self.0.iter().filter(|(_, calls)| calls.write.is_some());
        open.map(|(id, _)| id.clone()).collect()
    }

    /// Keeps a step that goes on.
    pub(super) fn opened(
        &mut self,
        call: OpenCall,
        step: Step,
        intent: Option<IntentId>,
        at: Moment,
    ) {
        let calls = self.0.entry(step.action.target()).or_default();
        let OpenCall(number, abort) = call;
        calls.write = Some(Box::new(OpenWrite {
            number,
            abort,
            step,
            intent,
            at,
        }));
    }

    /// A target was written to: what was read before is not what it is.
    pub(super) fn wrote(&mut self, action: &Action) {
        let calls = self.0.entry(action.target()).or_default();
        calls.forget_read();
    }

    /// Hears a late answer. A step that has ended by it is handed back with what came of it; and
    /// whether a pass is to go by it at once.
    pub(super) fn hear(
        &mut self,
        answer: LateAnswer,
        now: Duration,
    ) -> (Option<(Box<OpenWrite>, StepOutcome)>, bool) {
        let Some(calls) = self.0.get_mut(&answer.target) else {
            return (None, false);
        };
        match answer.answer {
            CallAnswer::Read(found) => (None, calls.hear(answer.number, found, now)),
            CallAnswer::Write(done) => {
                let is_it = |write: &mut Box<OpenWrite>| write.number == answer.number;
                let ended = calls.write.take_if(is_it);
                let news = ended.is_some();
                (ended.map(|write| (write, done)), news)
            }
        }
    }

    /// Breaks off all that goes on, and knows nothing of what was read: whether it was done is read
    /// back. Who did not answer is asked anew, and still not waited for.
    pub(super) fn begin_anew(&mut self) -> Vec<OpenWrite> {
        let mut writes = Vec::new();
        for calls in self.0.values_mut() {
            calls.forget_read();
            writes.extend(calls.write.take().map(|write| *write));
        }
        writes.iter().for_each(|write| write.abort.abort());
        writes
    }
}

impl CallsOfTarget {
    /// What was read, or is being read, is not what the target is.
    fn forget_read(&mut self) {
        self.heard = None;
        if let Some((_, read)) = self.read.take() {
            read.abort();
        }
    }

    /// The number of a read that is to be made, and how long its pass waits for it; or what is
    /// known without one.
    fn begin_read(&mut self, caller: &TargetCaller, killed: bool, now: Duration) -> HowToRead {
        if self.write.is_some() {
            return HowToRead::Known(Err("it has not answered a change yet".to_owned()));
        }
        let heard = self.heard.take();
        if let Some((_, found)) = heard.filter(|(at, _)| now.saturating_sub(*at) < FRESH) {
            return HowToRead::Known(found);
        }
        let rests = self.silent && !killed && now.saturating_sub(self.asked) < PAUSE;
        if self.read.is_some() || rests {
            return HowToRead::Known(Err(self.unanswered()));
        }
        let number = caller.number();
        let (handle, abort) = AbortHandle::new_pair();
        (self.read, self.asked) = (Some((number, handle)), now);
        let waits = if self.slow.is_some() {
            Duration::ZERO
        } else {
            GRACE
        };
        HowToRead::Ask(BegunRead {
            number,
            waits,
            abort,
        })
    }

    /// A pass goes on, with what it was answered.
    fn end_read(&mut self, found: Option<TargetRead>) -> TargetRead {
        let Some(found) = found else {
            return Err(self.unanswered());
        };
        (self.read, self.slow, self.silent) = (None, None, false);
        found
    }

    fn unanswered(&mut self) -> String {
        let why = || format!("no answer within {} ms", GRACE.as_millis());
        self.slow.get_or_insert_with(why).clone()
    }

    /// A read has been answered late; whether that is news. A failure is none: the target is read
    /// again at the next look.
    fn hear(&mut self, number: u64, found: TargetRead, now: Duration) -> bool {
        if self.read.take_if(|(read, _)| *read == number).is_none() {
            return false;
        }
        match found {
            Ok(found) => {
                self.silent = false;
                // As long as it is slow no pass waits for it.
                if now.saturating_sub(self.asked) < GRACE {
                    self.slow = None;
                }
                self.heard = Some((now, Ok(found)));
                true
            }
            Err(why) => {
                (self.slow, self.silent) = (Some(why), true);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::target::ReadBack;

    const NOW: Duration = Duration::from_secs(7);

    /// The number of a read that is made, and how long its pass waits.
    fn asks(
        calls: &mut CallsOfTarget,
        caller: &TargetCaller,
        now: Duration,
    ) -> Option<(u64, Duration)> {
        match calls.begin_read(caller, false, now) {
            HowToRead::Ask(begun) => Some((begun.number, begun.waits)),
            HowToRead::Known(_) => None,
        }
    }

    #[test]
    fn what_was_read_before_a_write_is_not_believed() {
        let (caller, _events) = TargetCaller::new();
        let mut calls = CallsOfTarget::default();
        let (first, _) = asks(&mut calls, &caller, NOW).unwrap();
        assert!(calls.end_read(None).is_err(), "it has not answered");
        calls.forget_read();
        assert!(!calls.hear(first, Ok(ReadBack::Absent), NOW));
        assert!(asks(&mut calls, &caller, NOW).is_some(), "it is read anew");
    }

    #[test]
    fn a_target_has_one_read_at_a_time_and_is_not_waited_for_again() {
        let (caller, _events) = TargetCaller::new();
        let mut calls = CallsOfTarget::default();
        let (first, waits) = asks(&mut calls, &caller, NOW).unwrap();
        assert_eq!(waits, GRACE);
        assert!(calls.end_read(None).is_err());
        assert_eq!(asks(&mut calls, &caller, NOW), None, "it is under way");
        let late = NOW + GRACE;
        assert!(
            calls.hear(first, Ok(ReadBack::Absent), late),
            "that is news"
        );
        let HowToRead::Known(found) = calls.begin_read(&caller, false, late) else {
            panic!("it has answered");
        };
        assert_eq!(found, Ok(ReadBack::Absent));
        let (_, waits) = asks(&mut calls, &caller, late).unwrap();
        assert_eq!(waits, Duration::ZERO);
    }

    #[test]
    fn a_silent_target_is_asked_once_in_a_while_but_for_a_stop() {
        let (caller, _events) = TargetCaller::new();
        let mut calls = CallsOfTarget::default();
        let (first, _) = asks(&mut calls, &caller, NOW).unwrap();
        assert!(calls.end_read(None).is_err());
        let failed = Err("no answer within 3 s".to_owned());
        assert!(!calls.hear(first, failed.clone(), NOW), "no news");
        let soon = NOW + Duration::from_secs(1);
        assert_eq!(asks(&mut calls, &caller, soon), None);
        let HowToRead::Known(found) = calls.begin_read(&caller, false, soon) else {
            panic!("it is not asked");
        };
        assert_eq!(found, failed, "and told as it was");
        assert!(matches!(
            calls.begin_read(&caller, true, soon),
            HowToRead::Ask(_)
        ));
        calls.forget_read();
        assert!(asks(&mut calls, &caller, soon + PAUSE).is_some());
    }

    #[test]
    fn what_was_heard_is_believed_for_a_second() {
        let (caller, _events) = TargetCaller::new();
        let mut calls = CallsOfTarget::default();
        let (first, _) = asks(&mut calls, &caller, NOW).unwrap();
        assert!(calls.end_read(None).is_err());
        assert!(calls.hear(first, Ok(ReadBack::Absent), NOW));
        assert!(asks(&mut calls, &caller, NOW + FRESH).is_some());
    }
}
