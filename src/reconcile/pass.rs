//! One pass for one throttle: gather → decide → check → close → record → open → record → report.
//!
//! Level-triggered: it looks at everything of its throttle again, so a lost event costs a tick and
//! never the truth. Knows no other throttle, and not when the next pass is.

use std::sync::Arc;

use crate::domain::throttle::ThrottleName;
use crate::ports::Target;

use super::LoopContext;
use super::apply;
use super::decision::decide;
use super::finish::finish;
use super::started::{NextLook, PassEnd, ThrottleState};

/// One pass for one throttle.
pub(super) async fn pass(
    shared: &LoopContext,
    name: ThrottleName,
    state: Option<ThrottleState>,
) -> PassEnd {
    let parts = &shared.parts;
    let known = parts.gate.tightenings();
    let begin = |target: &Arc<dyn Target>| target.begin(&name);
    parts.targets.values().for_each(begin);
    let leads = parts.leadership.leads();
    let declared = leads.then(|| parts.desired.begin(&name)).flatten();
    let Some(declared) = declared else {
        if let Some(mut state) = state {
            let aborted = state.calls.begin_anew();
            shared.records.left(&name, &aborted, &apply::NOT_LEADER);
        }
        return PassEnd {
            name,
            state: None,
            report: None,
            next: NextLook::Tick(None),
        };
    };
    let throttle = parts.latch.with_its_kills(declared);
    let mut begun = decide(shared, throttle, state, known).await;
    apply::close(shared, &mut begun).await;
    shared.caller.closed(&name);
    shared.records.intent(&shared.parts, &mut begun).await;
    apply::open_here(shared, &mut begun).await;
    apply::open_elsewhere(shared, &mut begun).await;
    finish(shared, begun).await
}
