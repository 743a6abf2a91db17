//! A world: its process, which ends and starts again, and all that may happen to it, one step at a
//! time.

use std::sync::Arc;
use std::time::Duration;

use echo_phoenix::domain::remote::sender;
use echo_phoenix::domain::throttle::ThrottleName;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::commands::{Command, Key, On, Setting, Stays};
use crate::doors;
use crate::life::{Life, goes_on};
use crate::manifest::{Manifest, level};
use crate::oracle::{Asked, Shared, What};
use crate::outside::Outside;
use crate::rest;
use crate::seen::{Rare, sometimes};
use crate::site::Site;

/// How long a start may take, with every disk well.
const START: Duration = Duration::from_secs(60);
/// Looks at what is ready to go on, after a command came.
const LOOKS: usize = 4;

/// Everything there is in one sequence.
pub(crate) struct World {
    outside: Arc<Outside>,
    manifest: Arc<Manifest>,
    site: Arc<Site>,
    oracle: Shared,
    busy: bool,
    life: Option<(Life, Runtime)>,
}

impl World {
    /// A new folder, and a process on it.
    pub(crate) fn new(setting: Setting) -> Result<Self, String> {
        let (outside, manifest) = (Arc::new(Outside::new()), Arc::new(Manifest::new()));
        let site = Arc::new(Site::new());
        let mut world = Self {
            outside,
            manifest,
            site,
            oracle: Shared::default(),
            busy: setting.busy,
            life: None,
        };
        world.start()?;
        Ok(world)
    }

    fn start(&mut self) -> Result<(), String> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        self.manifest.starts();
        let life = runtime.block_on(async {
            self.outside.starts();
            let start = Life::start(&self.outside, &self.manifest, &self.site, self.busy);
            timeout(START, start)
                .await
                .unwrap_or_else(|_| Err("a start does not end".to_owned()))
        })?;
        self.life = Some((life, runtime));
        Ok(())
    }

    fn end(&mut self) {
        if let Some((life, runtime)) = self.life.take() {
            runtime.block_on(async { self.outside.ends() });
            drop(runtime);
            drop(life);
        }
        self.oracle.lock().crashed();
    }

    /// The process ends, and another one starts on what it left.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.end();
        self.start()
    }

    /// How many commands were answered.
    pub(crate) fn told(&self) -> usize {
        self.oracle
            .lock()
            .asked
            .iter()
            .filter(|asked| asked.told.is_some())
            .count()
    }

    /// What the newest command was told: its status.
    pub(crate) fn last_told(&self) -> Option<u16> {
        self.oracle
            .lock()
            .asked
            .last()
            .and_then(|asked| asked.told.as_ref())
            .map(|told| told.status)
    }

    /// Why the newest command was refused.
    pub(crate) fn last_detail(&self) -> Option<String> {
        let oracle = self.oracle.lock();
        let told = oracle.asked.last()?.told.as_ref()?;
        Some(told.body["detail"].as_str()?.to_owned())
    }

    pub(crate) fn is_killed(&self, name: &str) -> bool {
        let standing = self.life.as_ref().and_then(|(life, _)| life.standing(name));
        standing.is_some_and(|standing| standing.killed())
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// One step.
    ///
    /// # Errors
    /// What must not be.
    pub(crate) fn apply(&mut self, command: &Command) -> Result<(), String> {
        if let Command::Rest = command {
            return self.rest();
        }
        let Some((life, runtime)) = &self.life else {
            return Ok(());
        };
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.outside.crashed() => true,
                () = self.step(life, command) => false,
            }
        });
        if ended {
            self.restart()?;
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let Some((life, _)) = &self.life else {
            return Ok(());
        };
        self.oracle.lock().check(life).map_or(Ok(()), Err)
    }

    /// Faults end; then all that there is agrees, settling changes nothing more, and neither does a
    /// new start.
    pub(crate) fn rest(&mut self) -> Result<(), String> {
        let Some((life, runtime)) = &self.life else {
            return Ok(());
        };
        self.outside.heal();
        let rested = runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.outside.crashed() => None,
                rested = rest::rest(life, &self.oracle, &self.outside) => Some(rested),
            }
        });
        let Some(rested) = rested else {
            // It was at its end when it was to rest.
            self.restart()?;
            return self.rest();
        };
        let before = rested?;
        self.check()?;
        self.restart()?;
        let Some((life, runtime)) = &self.life else {
            return Ok(());
        };
        let after = runtime.block_on(async {
            sleep(Duration::from_millis(100)).await;
            rest::Agreed::of(life).await
        })?;
        before
            .same_as(&after)
            .map_err(|wrong| format!("a start at rest changed something: {wrong}"))?;
        sometimes(Rare::StartAtRest);
        self.check()?;
        self.oracle.lock().rested(life);
        sometimes(Rare::Rested);
        Ok(())
    }

    async fn step(&self, life: &Life, command: &Command) {
        match command {
            Command::Kill {
                on,
                site,
                key,
                stays,
            } => {
                let operator = site.map_or_else(|| "model".to_owned(), operator_of);
                let mut body = json!({ "reason": "model", "operator": operator, "confirmation": "CONFIRM_KILL" });
                named(&mut body, *on);
                self.send(life, &body, *key, *stays, What::Kill(*on));
            }
            Command::Revive {
                on,
                by_epoch,
                key,
                stays,
            } => {
                self.revive(life, *on, *by_epoch, *key, *stays);
            }
            Command::Control {
                shop,
                fifths,
                key,
                stays,
            } => {
                let level = level(*fifths);
                let mut body = json!({ "target_throttle": level.fraction(), "operator": "model" });
                named(&mut body, if *shop { On::Shop } else { On::Default });
                self.send(
                    life,
                    &body,
                    *key,
                    *stays,
                    What::Control { shop: *shop, level },
                );
            }
            Command::Again { back, stays } => self.again(life, *back, *stays),
            Command::Unconfirmed { stays } => {
                let body = json!({ "reason": "model", "operator": "model", "confirmation": "no" });
                self.send(life, &body, Key::None, *stays, What::Unconfirmed);
            }
            Command::File { fifths, kill } => {
                self.manifest.write(*fifths, *kill);
                self.oracle.lock().declared(self.manifest.ceiling());
            }
            Command::Settle => {
                let latch = Arc::clone(&life.latch);
                goes_on(async move {
                    latch.retry_pending().await;
                });
            }
            Command::Wait(ms) => sleep(Duration::from_millis(u64::from(*ms))).await,
            Command::Wall(seconds) => self.outside.step_wall(*seconds),
            Command::Ledger(fault, ms) => self.outside.ledger_is(*fault, *ms),
            Command::Reads(fault, ms) => self.outside.reads_are(*fault, *ms),
            Command::Journal(fault, ms) => self.outside.journal_is(*fault, *ms),
            Command::Site(fault, ms) => self.outside.site_is(*fault, *ms),
            Command::Follows(ms) => self.outside.follows(*ms),
            Command::Crash { writes, lands } => self.outside.ends_at(*writes, *lands),
            Command::CrashNow => self.outside.crash(),
            Command::Rest => {}
        }
        for _ in 0..LOOKS {
            tokio::task::yield_now().await;
        }
    }

    /// Ends the kill of a throttle by its epoch, if it has one, or whatever holds by its name.
    fn revive(&self, life: &Life, on: On, by_epoch: bool, key: Key, stays: Stays) {
        let names: &[&str] = if on == On::Shop {
            &["shop"]
        } else {
            &["default"]
        };
        let epoch = names
            .iter()
            .flat_map(|name| life.kills(name))
            .map(|hold| hold.epoch.0)
            .next();
        let epoch = epoch.filter(|_| by_epoch);
        let mut body = json!({ "reason": "model", "operator": "model" });
        match &epoch {
            Some(epoch) => body["epoch"] = json!(epoch),
            None => named(&mut body, on),
        }
        self.send(life, &body, key, stays, What::Revive(on, epoch));
    }

    /// Sends a command with a key once more, so many of them back.
    fn again(&self, life: &Life, back: u8, stays: Stays) {
        let again = {
            let oracle = self.oracle.lock();
            let mut keyed = oracle
                .asked
                .iter()
                .rev()
                .filter(|asked| asked.key.is_some());
            keyed.nth(usize::from(back)).cloned()
        };
        if let Some(Asked {
            body, key, what, ..
        }) = again
        {
            let mut oracle = self.oracle.lock();
            let asked = oracle.sent(body, key, what);
            oracle.declared(self.manifest.ceiling());
            drop(oracle);
            doors::send(&life.routes, &self.outside, &self.oracle, &asked, stays);
        }
    }

    fn send(&self, life: &Life, body: &serde_json::Value, key: Key, stays: Stays, what: What) {
        let asked = {
            let mut oracle = self.oracle.lock();
            let key = match key {
                Key::None => None,
                Key::Own => Some("own".to_owned()),
                Key::Of(back) => {
                    let back = oracle.asked.len().checked_sub(usize::from(back) + 1);
                    back.and_then(|index| oracle.asked.get(index))
                        .and_then(|asked| asked.key.clone())
                }
            };
            let asked = oracle.sent(body.to_string(), key, what);
            oracle.declared(self.manifest.ceiling());
            asked
        };
        doors::send(&life.routes, &self.outside, &self.oracle, &asked, stays);
    }
}

/// Another site's word, as it signs its kills.
fn operator_of(site: u8) -> String {
    sender(
        &format!("01ARZ3NDEKTSV4RRFFQ69G5FA{site}"),
        &ThrottleName::default_throttle(),
    )
}

fn named(body: &mut serde_json::Value, on: On) {
    match on {
        On::All => {}
        On::Default => body["throttle"] = json!("default"),
        On::Shop => body["throttle"] = json!("shop"),
    }
}
