//! Another site, which obeys what it is told, when it can be reached. It outlives the process that
//! tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use echo_phoenix::domain::hold::Epoch;
use echo_phoenix::domain::level::Level;
use echo_phoenix::domain::target::{Action, ReadBack, RemoteOrder, RemoteReadBack, TargetSpec};
use echo_phoenix::domain::throttle::{Declared, ThrottleName};
use echo_phoenix::gate::Gate;
use echo_phoenix::ports::{Clock, Target, TargetError};
use tokio::time::timeout;

use crate::commands::DiskFault;
use crate::outside::{Outside, Place};
use crate::seen::{Rare, sometimes};

/// How long a call may take.
const CALL: Duration = Duration::from_secs(2);

/// The site, as it is there.
pub(crate) struct Site(Mutex<There>);

struct There {
    level: Level,
    kill: Option<Epoch>,
    /// How many kills it has had.
    kills: u64,
    /// Orders that came, and when.
    heard: Vec<(Duration, RemoteOrder)>,
    wrong: Option<String>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(There {
            level: Level::STOP,
            kill: None,
            kills: 0,
            heard: Vec::new(),
            wrong: None,
        }))
    }

    /// Its level, and whether it is killed.
    pub(crate) fn is(&self) -> (Level, bool) {
        let there = self.lock();
        (there.level, there.kill.is_some())
    }

    /// Orders that came, and when, by the process's clock.
    pub(crate) fn heard(&self) -> Vec<(Duration, RemoteOrder)> {
        self.lock().heard.clone()
    }

    /// What it was told to open and must not have been.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.lock().wrong.clone()
    }

    fn lock(&self) -> MutexGuard<'_, There> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to it.
pub(crate) struct Line {
    pub(crate) site: Arc<Site>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) gate: Arc<Gate>,
}

impl Line {
    /// Obeys an order.
    fn obey(&self, order: &RemoteOrder) {
        let mut there = self.site.lock();
        match order {
            RemoteOrder::Kill { .. } if there.kill.is_none() => {
                there.kills += 1;
                there.kill = Some(Epoch(format!("there-{}", there.kills)));
            }
            RemoteOrder::Kill { .. } => {}
            RemoteOrder::Revive { epochs } => {
                if there
                    .kill
                    .as_ref()
                    .is_some_and(|kill| epochs.contains(kill))
                {
                    there.kill = None;
                }
            }
            RemoteOrder::Level { to, .. } => there.level = *to,
        }
    }

    /// Takes note of an order, and whether it may be given now.
    fn hear(&self, throttle: &ThrottleName, order: &RemoteOrder) {
        let mut there = self.site.lock();
        there.heard.push((self.outside.elapsed(), order.clone()));
        let opens = match order {
            RemoteOrder::Kill { .. } => false,
            RemoteOrder::Revive { .. } => true,
            RemoteOrder::Level { from, to, .. } => to < from,
        };
        if opens && !self.gate.kills(throttle).is_empty() {
            there.wrong = Some(format!(
                "another site is told {order:?} while {throttle} is killed"
            ));
        }
        if opens && !self.outside.leads() {
            there.wrong = Some(format!(
                "another site is told {order:?} by a process that does not lead"
            ));
        }
    }
}

impl Line {
    /// Waits for the site, as long as a call may take.
    async fn answers(&self) -> Result<(), TargetError> {
        timeout(CALL, self.outside.healed(Place::Site))
            .await
            .map_err(|_| away())
    }
}

fn away() -> TargetError {
    TargetError::Unavailable("a fault of the line".to_owned())
}

#[async_trait]
impl Target for Line {
    async fn read(&self, _: &Declared, _: &TargetSpec) -> Result<ReadBack, TargetError> {
        // What is told of a site is what was heard last: no pass waits for it.
        if self.outside.site().is_some() {
            return Err(away());
        }
        let there = self.site.lock();
        Ok(ReadBack::Remote(RemoteReadBack {
            declared: there.level,
            effective: there.level,
            killed: there.kill.is_some(),
            ours: there.kill.iter().cloned().collect(),
            others: None,
        }))
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::Remote { order, .. } = action else {
            return Err(TargetError::Refused("no site".to_owned()));
        };
        self.hear(throttle, order);
        match self.outside.site() {
            Some(DiskFault::Fails) => {
                sometimes(Rare::SiteFailed);
                return Err(away());
            }
            Some(DiskFault::Hangs) => {
                sometimes(Rare::SiteHung);
                self.answers().await?;
                self.obey(order);
            }
            Some(DiskFault::HangsAfter) => {
                self.obey(order);
                sometimes(Rare::SiteHungAfter);
                self.answers().await?;
            }
            None => self.obey(order),
        }
        Ok(())
    }
}
