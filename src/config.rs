//! Configuration: one struct per concern, from flags, the environment or `.env`, validated once.
//!
//! Empty values and the placeholders of the deployment guide count as not set: that part is off and says so. Secrets have
//! no Debug output.

mod doors;
mod dotenv;
pub mod files;
mod hosts;
mod keys;
mod remote_keys;
mod vars;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub use doors::{DoorArgs, Proxies};
pub use dotenv::DotEnv;
pub use hosts::{AllowedHosts, HostArgs};
pub use keys::{Caller, Keys, Role};
pub use remote_keys::{REMOTE_KEY_FORM, RemoteKeys, is_remote_key};
pub use vars::{NotRun, is_of_dotenv, parse};

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

/// A value that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself; `None` if it is empty or a placeholder of the guide.
    pub fn given(&self) -> Option<&str> {
        let text = self.0.trim();
        (!not_set(text)).then_some(text)
    }
}

/// What the guide writes where a value will stand; … is any text.
pub const PLACEHOLDERS: [&str; 5] = [
    "whsec_PLACEHOLDER",
    "YOUR_…",
    "…_YOUR_KEY",
    "…_YOUR_SECRET",
    "…...",
];

/// Whether a value says that none is set: nothing, or what the guide writes where a value will stand.
fn not_set(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || text.ends_with('…')
        || PLACEHOLDERS.iter().any(|known| {
            match (known.strip_suffix('…'), known.strip_prefix('…')) {
                (Some(lead), _) => text.starts_with(lead),
                (None, Some(tail)) => text.ends_with(tail),
                (None, None) => text == *known,
            }
        })
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.given().is_some() {
            "(set)"
        } else {
            "(not set)"
        })
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
    /// Address that answers verdicts only, for proxies; strangers must not reach it. In production proxies that add `X-Forwarded-…` (Caddy, Traefik, Envoy) get verdicts nowhere else
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
    /// What decides which callers with a key are refused: the same for the operator and all gates of a cluster, and for every serve behind one proxy. serve makes one beside its ledger if not set; the others then go by the hour alone, which anybody can compute
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
    /// Whether the record can be kept as asked. What was asked is not told: an address may bear a password.
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

/// Payments.
#[derive(Args, Clone, Debug)]
pub struct StripeArgs {
    /// Signing secrets of webhooks, comma-separated while one replaces another; off if not set
    #[arg(
        long,
        env = "STRIPE_WEBHOOK_SECRET",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub stripe_webhook_secret: Secret,
    /// Key of Stripe's API (sk_… or rk_…); a test-mode key is refused in production
    #[arg(
        long,
        env = "STRIPE_SECRET_KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub stripe_secret_key: Secret,
}

impl StripeArgs {
    /// The webhook secrets that are set, comma-separated; `None` if that part is off.
    ///
    /// # Errors
    /// If one is no signing secret, or the API's key is none or one of test mode in production.
    pub fn given(&self, environment: Environment) -> Result<Option<String>, ConfigError> {
        let key = self.stripe_secret_key.given().unwrap_or_default();
        let test_mode = key.starts_with("sk_test_") || key.starts_with("rk_test_");
        let well_formed = (key.starts_with("sk_") || key.starts_with("rk_")) && graphic(key);
        if !key.is_empty() && !well_formed {
            let fix = "Copy it from Stripe's Dashboard, Developers, API keys; or leave it unset.";
            return Err(ConfigError::new(
                "STRIPE_SECRET_KEY",
                "a secret key of Stripe: sk_… or rk_…",
                fix,
            ));
        }
        if test_mode && environment == Environment::Production {
            let fix = "Set the live key, or set ENVIRONMENT=staging: real payments never show under a test key.";
            return Err(ConfigError::new(
                "STRIPE_SECRET_KEY",
                "a live-mode key while ENVIRONMENT is production",
                fix,
            ));
        }
        let all = self
            .stripe_webhook_secret
            .given()
            .unwrap_or_default()
            .split(',');
        let given: Vec<_> = all
            .enumerate()
            .filter(|(_, secret)| !not_set(secret))
            .collect();
        if let Some((index, _)) = given.iter().find(|(_, secret)| {
            let secret = secret.trim();
            secret.strip_prefix("whsec_").is_none_or(str::is_empty) || !graphic(secret)
        }) {
            let expected = format!(
                "signing secrets whsec_…, comma-separated; number {} is none",
                index + 1
            );
            let fix = "Copy it from Stripe's Dashboard, Developers, Webhooks, Reveal.";
            return Err(ConfigError::new("STRIPE_WEBHOOK_SECRET", expected, fix));
        }
        let given: Vec<_> = given.into_iter().map(|(_, secret)| secret).collect();
        Ok((!given.is_empty()).then(|| given.join(",")))
    }
}

fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest.is_some_and(|rest| !rest.is_empty() && graphic(rest)) {
        true => Ok(text.to_owned()),
        false => Err("expected an address, as https://api.airtable.com".to_owned()),
    }
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

/// The mirror.
#[derive(Args, Clone, Debug)]
pub struct AirtableArgs {
    /// Personal access token (pat…); the mirror is off if not set
    #[arg(
        long,
        env = "AIRTABLE_API_KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub airtable_api_key: Secret,
    /// Base that is written to (app…); the mirror is off if not set
    #[arg(
        long,
        env = "AIRTABLE_BASE_ID",
        default_value = "",
        hide_default_value = true
    )]
    pub airtable_base_id: Secret,
    /// Where Airtable's API is; for tests and proxies
    #[arg(long, env = "AIRTABLE_API_BASE", default_value = "https://api.airtable.com", value_parser = url)]
    pub airtable_api_base: String,
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

impl AirtableArgs {
    /// Token and base id; `None` if the mirror is off.
    pub fn given(&self) -> Option<(&str, &str)> {
        Some((
            self.airtable_api_key.given()?,
            self.airtable_base_id.given()?,
        ))
    }

    /// Whether the token may be sent to where the API is said to be.
    ///
    /// # Errors
    /// If it could be read on the way, or if the address is somebody else's word.
    pub fn check_base(&self, hosts: &HostArgs) -> Result<(), ConfigError> {
        let wrong =
            |expected: &str, fix: &str| Err(ConfigError::new("AIRTABLE_API_BASE", expected, fix));
        let url = url::Url::parse(&self.airtable_api_base).ok();
        let local = url.as_ref().is_some_and(is_loopback);
        if !url.is_some_and(|url| {
            (url.scheme() == "https" || local)
                && url.username().is_empty()
                && url.password().is_none()
        }) {
            let fix = "The token would be sent as plain text, or the address bears a password. Leave it unset for Airtable's own.";
            return wrong(
                "https://HOST, or http:// to this machine (127.0.0.1, [::1], localhost)",
                fix,
            );
        }
        if let Err(why) = hosts.check(&self.airtable_api_base) {
            return wrong(
                "a host of ECHO_ALLOWED_HOSTS",
                &format!("As it stands {why}. Add it, or leave both unset."),
            );
        }
        if is_of_dotenv("AIRTABLE_API_BASE") && !is_of_dotenv("AIRTABLE_API_KEY") {
            let fix = "It is .env's and AIRTABLE_API_KEY is not, so the token is not sent there. Set both in the same place.";
            return wrong("an address from where the token is from", fix);
        }
        Ok(())
    }

    /// The variable that turns the mirror on, while it is off.
    pub fn missing(&self) -> &'static str {
        if self.airtable_api_key.given().is_none() {
            "AIRTABLE_API_KEY"
        } else {
            "AIRTABLE_BASE_ID"
        }
    }
}
