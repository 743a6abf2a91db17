//! How a service stands: memory, gate, `/health`, `status`, ledger. While they do not agree, there
//! is no standing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use super::known::Became;
use super::load::{SECRET, Sender};
use crate::support::slow_disk::SlowDisk;
use crate::support::{Echo, KEY, eventually, free_port, program, run};

/// How long a service whose disk is well again may take to agree with itself.
const BACK: Duration = Duration::from_secs(40);
/// What may be opened before its time after a start, in the dial.
const SLACK: f64 = 0.13;

/// A service on one worker and on a disk that can be stalled, at an address that stays its own.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) disk: SlowDisk,
    port: u16,
    pub(super) more: Vec<(&'static str, String)>,
    pub(super) echo: Option<Echo>,
}

/// What everything agrees on.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) holds: Vec<String>,
    pub(super) declared: i64,
    pub(super) in_force: f64,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = SlowDisk::new(folder.path());
        Self {
            folder,
            disk,
            port: free_port(),
            more: Vec::new(),
            echo: None,
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it, on a disk that is well.
    pub(super) async fn rise(&mut self) {
        self.disk.flow();
        let own = [
            ("ECHO_LISTEN", format!("127.0.0.1:{}", self.port)),
            ("STRIPE_WEBHOOK_SECRET", SECRET.to_owned()),
            ("TOKIO_WORKER_THREADS", "1".to_owned()),
        ];
        let variables: Vec<_> = self
            .disk
            .variables()
            .into_iter()
            .chain(own)
            .chain(self.more.clone())
            .collect();
        self.echo = Some(Echo::start("serve", &variables, self.folder.path()).await);
    }

    /// Ends it as a power cut would, whatever its disk is at.
    pub(super) fn fall(&mut self) {
        self.echo.take().unwrap().process.kill_9();
    }

    pub(super) async fn verdict(&self) -> String {
        self.echo.as_ref().unwrap().verdict("default").await.1
    }

    pub(super) fn verify(&self) {
        run(Command::new(program())
            .arg("verify")
            .arg("--data-dir")
            .arg(self.data()));
    }

    /// What `echo-phoenix status` tells.
    fn status(&self) -> Value {
        let mut command = Command::new(program());
        command
            .args(["status", "-o", "json"])
            .env_clear()
            .current_dir(self.folder.path());
        let said = run(command.env("ECHO_URL", self.url()).env("ECHO_API_KEY", KEY));
        serde_json::from_str(&said).unwrap()
    }

    async fn look(&self, sender: &Sender) -> Result<Standing, String> {
        let health = sender.get("/health").await;
        if health["status"] == "unhealthy"
            || health["checks"]["ledger"] != "ok"
            || health["checks"]["holds"] != "ok"
        {
            return Err(health.to_string());
        }
        let throttle = sender.get("/v1/throttles/default").await;
        let holds = holds(&throttle);
        let (killed, gate) = (!holds.is_empty(), self.verdict().await == "kill");
        let status = self.status();
        let (recorded, level) = recorded(&self.data());
        let declared = throttle["spec"]["throttlePercent"].as_i64();
        let told = (
            &status["health"]["killed"],
            self::holds(&status["throttles"][0]),
        );
        let agrees = gate == killed
            && health["killed"] == killed
            && told == (&Value::Bool(killed), holds.clone())
            && recorded == holds
            && declared == Some(level);
        if !agrees {
            return Err(format!(
                "the gate is killed: {gate}; memory holds {holds:?} and declares {declared:?}; the ledger holds {recorded:?} \
                 and declares {level}; status tells {told:?}; {health}"
            ));
        }
        Ok(Standing {
            holds,
            declared: level,
            in_force: health["throttle_pct"].as_f64().unwrap(),
        })
    }

    /// How it stands once all agree.
    pub(super) async fn standing(&self, sender: &Sender, when: &str) -> Standing {
        let began = Instant::now();
        loop {
            match self.look(sender).await {
                Ok(standing) => return standing,
                Err(why) => assert!(
                    began.elapsed() < BACK,
                    "{when}: it does not agree with itself: {why}"
                ),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A power cut and a start change nothing.
    pub(super) async fn restarts(&mut self, sender: &Sender, when: &str) -> Standing {
        let before = self.standing(sender, when).await;
        self.fall();
        self.verify();
        self.rise().await;
        let after = self
            .standing(sender, &format!("{when}, after a restart"))
            .await;
        after.is_as(&before, when);
        after
    }
}

impl Standing {
    pub(super) fn killed(&self) -> bool {
        !self.holds.is_empty()
    }

    fn is_as(&self, before: &Self, when: &str) {
        let same = (&self.holds, self.declared) == (&before.holds, before.declared);
        let opens =
            self.in_force < (before.in_force - SLACK).max(self.declared as f64 / 100.0 - 1e-6);
        assert!(
            same && !opens,
            "{when}: a restart made {self:?} of {before:?}"
        );
    }
}

fn holds(throttle: &Value) -> Vec<String> {
    let holds = throttle["holds"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut epochs: Vec<_> = holds
        .iter()
        .map(|hold| hold["epoch"].as_str().unwrap().to_owned())
        .collect();
    epochs.sort();
    epochs
}

pub(super) fn ledger(data: &Path) -> Connection {
    let ledger =
        Connection::open_with_flags(data.join("ledger.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)
            .unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger
}

/// The holds that the ledger lists, and the level that it has as declared, in percent.
fn recorded(data: &Path) -> (Vec<String>, i64) {
    let ledger = ledger(data);
    let mut rows = ledger
        .prepare("SELECT epoch FROM holds WHERE ended = 0 ORDER BY epoch")
        .unwrap();
    let holds = rows
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let level = "SELECT declared FROM system_throttle WHERE name = 'default'";
    let level: f64 = ledger.query_row(level, [], |row| row.get(0)).unwrap();
    (holds, (level * 100.0).round() as i64)
}

/// Revives until it is done.
pub(super) async fn revived(sender: &Sender) {
    eventually("it is revived", BACK, async || {
        matches!(sender.revive(None, false).await.0, Became::Done).then_some(())
    })
    .await;
}
