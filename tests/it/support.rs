//! Starting and ending what tests talk to: our own binary, nginx, a backend that counts, kubectl.
//!
//! Everything listens on a free port of loopback, lives in a folder of its own, and ends with the
//! value that started it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support: it reads its variables and the clock itself, and fails loudly"
)]

// Their paths are spelled out because the benchmarks load this file from another folder.
#[path = "support/api_proxy.rs"]
pub(crate) mod api_proxy;
#[path = "support/backend.rs"]
pub(crate) mod backend;
#[path = "support/cluster.rs"]
pub(crate) mod cluster;
#[path = "support/fleet.rs"]
pub(crate) mod fleet;
#[path = "support/plain.rs"]
pub(crate) mod plain;
#[path = "support/proxy.rs"]
pub(crate) mod proxy;
#[path = "support/slow_disk.rs"]
pub(crate) mod slow_disk;
#[path = "support/stripe.rs"]
pub(crate) mod stripe;
#[path = "support/wall.rs"]
pub(crate) mod wall;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The key of every service that tests start; long enough for production.
pub(crate) const KEY: &str = "test-key-0123456789abcdef0123456789abcdef";

/// The program under test: what cargo built for this test run.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_echo-phoenix"))
}

/// A folder that `make test` prepares; a test that needs it fails without.
pub(crate) fn prepared(variable: &str) -> PathBuf {
    PathBuf::from(
        std::env::var_os(variable)
            .unwrap_or_else(|| panic!("{variable} is not set: run `make test`")),
    )
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until `look` answers something, and answers that; panics with `what` after `limit`.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that ends with this value.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it says goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        Self {
            child: child.expect("the program starts"),
            log: log.to_owned(),
        }
    }

    /// The same, but its stderr goes here.
    pub(crate) fn saying_to(command: &mut Command, log: &Path, stderr: impl Into<Stdio>) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(stderr)
            .spawn();
        Self {
            child: child.expect("the program starts"),
            log: log.to_owned(),
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill_9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        self.child.wait().unwrap()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<_> = said.lines().collect();
            println!(
                "{}:\n{}",
                self.log.display(),
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

/// Our program in one of its roles, with the address it listens on.
pub(crate) struct Echo {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Echo {
    /// Starts a role with these variables and nothing else of the environment, and waits until it
    /// is ready. Its rate limit is out of the way unless a variable says otherwise.
    pub(crate) async fn start(role: &str, variables: &[(&str, String)], folder: &Path) -> Self {
        Self::start_of(&program(), role, variables, folder).await
    }

    /// The same of another build.
    pub(crate) async fn start_of(
        program: &Path,
        role: &str,
        variables: &[(&str, String)],
        folder: &Path,
    ) -> Self {
        let mut command = Command::new(program);
        command.arg(role);
        Self::launch(command, role, variables, folder).await
    }

    /// The same by another command, which ends up as our program in this role.
    pub(crate) async fn launch(
        mut command: Command,
        role: &str,
        variables: &[(&str, String)],
        folder: &Path,
    ) -> Self {
        command
            .env_clear()
            .current_dir(folder)
            .env("ECHO_LISTEN", "127.0.0.1:0")
            .env("ECHO_API_KEY", KEY);
        command.env("RATE_LIMIT_PER_MINUTE", "100000000");
        command.envs(
            variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let log = folder.join(format!("{role}-{}.log", ulid::Ulid::generate()));
        let mut process = Process::start(&mut command, &log);
        let address = eventually(
            "it says where it listens",
            Duration::from_secs(20),
            async || {
                assert!(process.runs(), "{role} ended:\n{}", process.said());
                process.said().lines().find_map(listening)
            },
        )
        .await;
        // Bound to everything: reached over loopback.
        let address = if address.ip().is_unspecified() {
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        } else {
            address
        };
        let echo = Self { process, address };
        echo.ready().await;
        echo
    }

    /// Starts `serve` with a stderr that cannot be asked where it listens.
    pub(crate) async fn saying_to(
        stderr: impl Into<Stdio>,
        variables: &[(&str, String)],
        folder: &Path,
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(program());
        command
            .arg("serve")
            .env_clear()
            .current_dir(folder)
            .env("ECHO_LISTEN", address.to_string());
        command
            .env("ECHO_API_KEY", KEY)
            .env("RATE_LIMIT_PER_MINUTE", "100000000");
        command.envs(
            variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let process = Process::saying_to(&mut command, &folder.join("stdout.log"), stderr);
        let echo = Self { process, address };
        echo.ready().await;
        echo
    }

    async fn ready(&self) {
        eventually("it is ready", Duration::from_secs(20), async || {
            let answer = http().get(self.url("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The verdict on one request of a throttle, as nginx hears it: status and reason.
    pub(crate) async fn verdict(&self, throttle: &str) -> (u16, String) {
        let answer = http()
            .get(self.url(&format!("/authz/nginx/{throttle}")))
            .send()
            .await
            .expect("it answers");
        let reason = answer.headers()["echo-reason"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), reason)
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    (fields["message"] == "api listens")
        .then(|| fields["address"].as_str()?.parse().ok())
        .flatten()
}

/// A client without a proxy and with a limit on every request.
pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

/// Runs a command; panics with what it said if it fails, answers what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let done = command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "{command:?}:\n{text}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    text
}

/// Real curl with the arguments of the guide; answers status and body.
pub(crate) fn curl(arguments: &[&str]) -> (u16, Value) {
    let done = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "curl {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let (body, status) = text.rsplit_once('\n').unwrap();
    (
        status.parse().unwrap(),
        serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())),
    )
}
