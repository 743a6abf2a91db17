//! Manners toward other sites: who is waited for, and whose refusal is kept. Tests alone.

use super::*;
use crate::decide::outcome::outcome;
use crate::domain::drift::Side;
use crate::domain::level::Level;
use crate::domain::plan::{Plan, Step};
use crate::domain::target::{ReadBack, RemoteOrder, RemoteSpec, TargetSpec};
use crate::domain::throttle::ThrottleName;

fn site() -> RemoteSpec {
    RemoteSpec {
        url: "https://b.example".to_owned(),
        api_key_env: "KEY".to_owned(),
        throttle: ThrottleName::default_throttle(),
    }
}

/// A plan that stops the site.
fn stopping() -> Planned {
    let order = RemoteOrder::Kill {
        epochs: Vec::new(),
        reason: "test".to_owned(),
    };
    let target = site();
    let step = Step {
        action: Action::Remote { target, order },
        side: Side::Safer,
        corrects: None,
    };
    Planned {
        plan: Plan {
            throttle: ThrottleName::default_throttle(),
            steps: vec![step],
            reported: Vec::new(),
        },
        effective: Level::STOP,
        memory: BTreeMap::new(),
        agreeing: Vec::new(),
        open: BTreeMap::new(),
        damped: false,
    }
}

/// Manners after a stop that came to this.
fn told(done: StepOutcome) -> SiteManners {
    let mut sites = SiteManners::default();
    let outcome = outcome(&stopping(), vec![done], Level::STOP, None);
    sites.keep(&stopping(), &outcome, Duration::ZERO);
    sites
}

fn read(answer: Result<ReadBack, String>) -> Vec<Read> {
    vec![(TargetSpec::Remote(site()), answer)]
}

/// Whether a site is told the next stop after a pause, and what it is said to have refused.
fn known(sites: &SiteManners) -> (bool, Option<String>) {
    let id = site().id();
    (sites.patience().contains_key(&id), sites.refusal(&id))
}

#[test]
fn what_was_tried_is_waited_for_and_a_refusal_is_kept_until_it_is_taken() {
    let no = || "no".to_owned();
    assert_eq!(known(&told(StepOutcome::Yes)), (true, None));
    assert_eq!(known(&told(StepOutcome::Failed(no()))), (true, Some(no())));
    assert_eq!(known(&told(StepOutcome::Held(no()))), (true, Some(no())));
    for untried in [
        StepOutcome::Skipped("it opens"),
        StepOutcome::Overtaken("a kill came"),
        StepOutcome::Refused(no()),
    ] {
        assert_eq!(known(&told(untried)), (false, None));
    }
    let mut sites = told(StepOutcome::Failed(no()));
    let taken = outcome(&stopping(), vec![StepOutcome::Yes], Level::STOP, None);
    sites.keep(&stopping(), &taken, Duration::ZERO);
    assert_eq!(known(&sites), (true, None));
}

#[test]
fn whoever_obeys_or_is_heard_again_is_spoken_to_at_once() {
    let refused = || told(StepOutcome::Failed("no".to_owned()));
    let mut sites = refused();
    sites.heard(&read(Ok(ReadBack::Absent)));
    assert!(known(&sites).0, "it answers as before");
    sites.heard(&read(Err("silent".to_owned())));
    assert_eq!(known(&sites), (true, None), "it says nothing any more");
    sites.heard(&read(Ok(ReadBack::Absent)));
    assert!(!known(&sites).0, "it is back");

    let mut sites = refused();
    let mut obeyed = stopping();
    obeyed.plan.steps.clear();
    obeyed.agreeing = vec![site().id()];
    let nothing = outcome(&obeyed, Vec::new(), Level::STOP, None);
    sites.keep(&obeyed, &nothing, Duration::ZERO);
    assert_eq!(known(&sites), (false, None));
}
