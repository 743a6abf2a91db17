//! Configuration: one struct per concern, from flags, the environment or `.env`, validated once.
//!
//! Empty values and the placeholders of the deployment guide count as not set: that part is off and
//! says so. Secrets have no Debug output.

mod airtable;
mod doors;
mod dotenv;
pub mod files;
mod hosts;
mod keys;
mod remote_keys;
mod secret;
mod stripe;
mod vars;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub use airtable::AirtableArgs;
pub use doors::{DoorArgs, Proxies};
pub use dotenv::DotEnv;
pub use hosts::{AllowedHosts, HostArgs};
pub use keys::{Caller, Keys, Role};
pub use remote_keys::{REMOTE_KEY_FORM, RemoteKeys, is_remote_key};
pub use secret::{PLACEHOLDERS, Secret};
pub use stripe::StripeArgs;
pub use vars::{NotRun, is_of_dotenv, parse};

use secret::not_set;

/// A wrong value: which variable, what was expected, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: expected {expected}. {fix}")]
pub struct ConfigError {
    /// The variable, which is also the flag's name.
    pub variable: &'static str,
    /// What it should be.
    pub expected: String,
    /// What to do.
    pub fix: String,
}

impl ConfigError {
    fn new(variable: &'static str, expected: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            variable,
            expected: expected.into(),
            fix: fix.into(),
        }
    }
}

/// Where this process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// A laptop: a missing key is made.
    #[default]
    Development,
    /// Like production, with test money.
    Staging,
    /// Real money.
    Production,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Human,
}

/// Listeners and logs.
#[derive(Args, Clone, Debug)]
pub struct ListenArgs {
    /// Address of the API, probes and metrics
    #[arg(long, env = "ECHO_LISTEN", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,
    /// Address that answers verdicts only, for proxies; strangers must not reach it. In production
    /// proxies that add `X-Forwarded-…` (Caddy, Traefik, Envoy) get verdicts nowhere else
    #[arg(long, env = "ECHO_GATE_LISTEN", value_parser = address)]
    pub gate_listen: Option<SocketAddr>,
    /// Who may knock, and how often
    #[command(flatten)]
    pub doors: DoorArgs,
    /// production, staging or development
    #[arg(long, env = "ENVIRONMENT", value_enum, default_value = "development")]
    pub environment: Environment,
    /// What is logged, as `info` or `echo_phoenix=debug`
    #[arg(long, env = "ECHO_LOG", default_value = "info")]
    pub log: String,
    /// json or human; human on a terminal and json elsewhere if not set
    #[arg(long, env = "ECHO_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl ListenArgs {
    /// Whether the listeners can be two.
    ///
    /// # Errors
    /// If verdicts are to have the API's own address.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.gate_listen == Some(self.listen) && self.listen.port() != 0 {
            let fix = format!(
                "{} is ECHO_LISTEN's, which answers verdicts too: leave it unset, or name another port.",
                self.listen
            );
            return Err(ConfigError::new(
                "ECHO_GATE_LISTEN",
                "an address of its own",
                fix,
            ));
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| "expected an IP address and a port, as 127.0.0.1:8080 or [::]:8080".to_owned())
}

/// Who may call.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Key of protected routes; in development one is made if this is not set
    #[arg(
        long,
        env = "ECHO_API_KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub api_key: Secret,
    /// More keys: name:role:key, comma-separated; a role is reader, gate, operator or breaker
    #[arg(
        long,
        env = "ECHO_API_KEYS",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub api_keys: Secret,
}

/// Which callers a gate refuses.
#[derive(Args, Clone, Debug)]
pub struct GateSecretArgs {
    /// What decides which callers with a key are refused: the same for the operator and all gates
    /// of a cluster, and for every serve behind one proxy. serve makes one beside its ledger if not
    /// set; the others then go by the hour alone, which anybody can compute
    #[arg(
        long,
        env = "ECHO_GATE_SECRET",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub gate_secret: Secret,
}

impl GateSecretArgs {
    /// Whether the secret can be used there: in production it is none that can be guessed.
    ///
    /// # Errors
    /// If it is too short for production.
    pub fn check(&self, environment: Environment) -> Result<(), ConfigError> {
        const SHORTEST: usize = 32;
        let short = self
            .gate_secret
            .given()
            .is_some_and(|secret| secret.len() < SHORTEST);
        if short && environment == Environment::Production {
            let expected = format!("{SHORTEST} characters or more while ENVIRONMENT is production");
            return Err(ConfigError::new(
                "ECHO_GATE_SECRET",
                expected,
                "Make one with: openssl rand -hex 32",
            ));
        }
        Ok(())
    }
}

/// Where the record is kept.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Folder of the ledger and the journal; one process at a time
    #[arg(long, env = "ECHO_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// What keeps the record: sqlite, in that folder
    #[arg(
        long,
        env = "ECHO_STORE",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub store: Secret,
}

impl StoreArgs {
    /// Whether the record can be kept as asked. What was asked is not told: an address may bear a
    /// password.
    ///
    /// # Errors
    /// For anything but SQLite.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |fix: &str| {
            Err(ConfigError::new(
                "ECHO_STORE",
                "sqlite, or nothing, which means the same",
                fix,
            ))
        };
        match self.store.given() {
            None | Some("sqlite") => Ok(()),
            Some(text) if text.starts_with("postgres") => wrong(
                "Leave it unset: this version keeps the record on SQLite, in ECHO_DATA_DIR, and knows no PostgreSQL yet.",
            ),
            Some(_) => wrong("Leave it unset: the record is kept in ECHO_DATA_DIR."),
        }
    }
}

/// Declarations.
#[derive(Args, Clone, Debug)]
pub struct ManifestArgs {
    /// File of EchoThrottle documents that owns what it declares; REST then only tightens
    #[arg(long, env = "ECHO_MANIFEST", value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// Whether an address is this machine's own.
pub fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Whether a text can be sent in a header: visible ASCII without spaces.
fn graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The cluster.
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// Way to the cluster; the pod's own service account if not set
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of this process, that no other has
    #[arg(long, env = "POD_NAME", default_value = "echo-phoenix")]
    pub pod_name: String,
    /// Namespace of this process, where its leases are
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub pod_namespace: String,
}
