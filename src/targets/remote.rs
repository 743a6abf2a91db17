//! Throttles of other sites as targets: another Echo Phoenix, over its documented API, obeys this
//! one.
//!
//! A pass of the loop never waits for a site to say what it is: one task asks all of them, each by
//! itself, and a pass takes what was heard last. Whatever a site was told is read back at once, so
//! that no pass sees what was before.

mod heard;
mod orders;
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{HostArgs, RemoteKeys};
use crate::domain::remote::sender;
use crate::domain::target::{Action, ReadBack, RemoteReadBack, RemoteSpec, TargetId, TargetSpec};
use crate::domain::throttle::{Declared, ThrottleName};
use crate::ports::{Clock, Target, TargetError, Wake};

use heard::read;
use orders::BrokenOff;
use site::Sites;

/// How often a site is asked: with its limit of 100 requests a minute it leaves room for others at
/// this address.
const POLL_INTERVAL: Duration = Duration::from_secs(4);
/// How often it is looked who is due.
const SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// A word that is older is none.
const STALE: Duration = Duration::from_secs(15);
/// What no pass has asked for in this time left the declarations.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// Sites asked at the same time.
const AT_ONCE: usize = 64;

/// A throttle here and its target there.
type Name = (ThrottleName, TargetId);
/// What is asked with one request: where, and with whose key.
type Place = (String, String);

/// What is known of one target.
#[derive(Clone)]
struct Known {
    spec: RemoteSpec,
    heard: Option<Result<RemoteReadBack, TargetError>>,
    at: Duration,
    /// When a pass last asked.
    wanted: Duration,
    /// Counts the orders it got: what was asked before one is not heard after it.
    orders: u64,
}

/// Throttles of other sites.
pub struct Remotes {
    /// Whose holds are ours, for as long as there is this installation.
    installation: String,
    sites: Sites,
    wake: Arc<dyn Wake>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<Name, Known>>,
    due: Notify,
}

impl Remotes {
    /// Targets that are told what to do under the name of `installation`, the id of this one, with
    /// one of these `keys`, if `hosts` has their host. `wake`: who acts on what they say.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn new(
        installation: String,
        wake: Arc<dyn Wake>,
        clock: Arc<dyn Clock>,
        keys: RemoteKeys,
        hosts: HostArgs,
    ) -> reqwest::Result<Self> {
        let (known, due) = (Mutex::default(), Notify::new());
        Ok(Self {
            installation,
            sites: Sites::new(keys, hosts)?,
            wake,
            clock,
            known,
            due,
        })
    }

    /// Asks all sites again and again until told to stop. One that is slow holds up no other.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut asking = FuturesUnordered::new();
        let mut under_way = BTreeSet::<Place>::new();
        let this = &*self;
        loop {
            for (place, names) in this.places() {
                if asking.len() < AT_ONCE && under_way.insert(place.clone()) {
                    asking.push(async move {
                        this.look(&names).await;
                        place
                    });
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = this.due.notified() => {}
                () = sleep(SCAN_INTERVAL) => {}
                Some(place) = asking.next() => {
                    under_way.remove(&place);
                }
            }
        }
    }

    /// Who is due, by the request that answers for them.
    fn places(&self) -> BTreeMap<Place, Vec<Name>> {
        let now = self.clock.elapsed();
        let mut known = self.known.lock();
        known.retain(|_, one| now.saturating_sub(one.wanted) < FORGOTTEN);
        let is_due =
            |one: &Known| one.heard.is_none() || now.saturating_sub(one.at) >= POLL_INTERVAL;
        let due: BTreeSet<Place> = known
            .values()
            .filter(|one| is_due(one))
            .map(|one| place(&one.spec))
            .collect();
        let mut places = BTreeMap::<Place, Vec<Name>>::new();
        for (name, one) in known.iter() {
            if due.contains(&place(&one.spec)) {
                places
                    .entry(place(&one.spec))
                    .or_default()
                    .push(name.clone());
            }
        }
        places
    }

    /// Asks one site about these targets, and keeps what it says.
    async fn look(&self, names: &[Name]) {
        let asked: Vec<(&Name, Known)> = {
            let known = self.known.lock();
            names
                .iter()
                .filter_map(|name| Some((name, known.get(name)?.clone())))
                .collect()
        };
        let Some((_, first)) = asked.first() else {
            return;
        };
        let rows = self.sites.throttles(&first.spec, asked.len() > 1).await;
        let mut news = Vec::new();
        for (name, was) in &asked {
            let heard = match &rows {
                Ok(rows) => read(rows, &was.spec, &sender(&self.installation, &name.0)),
                Err(error) => Err(error.clone()),
            };
            if self.keep(name, was.orders, heard) {
                news.push(name.0.clone());
            }
        }
        self.wake.wake_each(&news);
    }

    /// Keeps what was heard, unless an order came in between; answers whether it is news.
    fn keep(&self, name: &Name, orders: u64, heard: Result<RemoteReadBack, TargetError>) -> bool {
        let now = self.clock.elapsed();
        let mut all = self.known.lock();
        let Some(known) = all.get_mut(name).filter(|known| known.orders == orders) else {
            return false;
        };
        let silent =
            |heard: &Option<Result<RemoteReadBack, TargetError>>| matches!(heard, Some(Err(_)));
        if let (false, Err(error)) = (silent(&known.heard), &heard) {
            tracing::warn!(throttle = %name.0, target = %name.1, %error, "another site cannot be read");
        } else if silent(&known.heard) && heard.is_ok() {
            tracing::info!(throttle = %name.0, target = %name.1, "another site can be read again");
        }
        let news = match (&known.heard, &heard) {
            (Some(Ok(before)), Ok(after)) => before != after,
            (Some(Err(_)), Err(_)) => false,
            _ => true,
        };
        (known.heard, known.at) = (Some(heard), now);
        news
    }
}

impl Known {
    fn new(spec: &RemoteSpec, now: Duration) -> Self {
        Self {
            spec: spec.clone(),
            heard: None,
            at: now,
            wanted: now,
            orders: 0,
        }
    }
}

#[async_trait]
impl Target for Remotes {
    async fn read(&self, throttle: &Declared, spec: &TargetSpec) -> Result<ReadBack, TargetError> {
        let TargetSpec::Remote(spec) = spec else {
            return Err(TargetError::Refused("not another site".to_owned()));
        };
        let now = self.clock.elapsed();
        let name = (throttle.name.clone(), spec.id());
        let mut all = self.known.lock();
        let known = all.entry(name).or_insert_with(|| Known::new(spec, now));
        if known.spec != *spec {
            *known = Known::new(spec, now); // another key
        }
        known.wanted = now;
        let (heard, at) = (known.heard.clone(), known.at);
        drop(all);
        match heard {
            None => {
                self.due.notify_one();
                Err(TargetError::Unavailable(
                    "it has not been asked yet".to_owned(),
                ))
            }
            Some(_) if now.saturating_sub(at) > STALE => Err(TargetError::Unavailable(format!(
                "nothing was heard for {} s",
                STALE.as_secs()
            ))),
            Some(heard) => heard.map(ReadBack::Remote),
        }
    }

    async fn apply(&self, throttle: &ThrottleName, action: &Action) -> Result<(), TargetError> {
        let Action::Remote {
            target: spec,
            order,
        } = action
        else {
            return Err(TargetError::Refused(
                "another site takes no such order".to_owned(),
            ));
        };
        let name = (throttle.clone(), spec.id());
        self.turn(&name, spec);
        let broken_off = BrokenOff {
            remotes: self,
            name: &name,
            spec,
        };
        let done = self.order(&name, spec, order).await;
        std::mem::forget(broken_off);
        let turn = self.turn(&name, spec);
        if matches!(done, Err(TargetError::Unavailable(_))) {
            // It would cost this pass a second limit. What was heard before stays until it is
            // asked, which is soon.
            self.hasten(&name);
            return done;
        }
        let rows = self.sites.throttles(spec, false).await;
        let heard = rows.and_then(|rows| read(&rows, spec, &sender(&self.installation, throttle)));
        self.keep(&name, turn, heard);
        done
    }
}

fn place(spec: &RemoteSpec) -> Place {
    (spec.url.clone(), spec.api_key_env.clone())
}
