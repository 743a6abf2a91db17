//! Configuration: one struct per concern, from flags, the environment or `.env`, validated once.
//!
//! Empty values and the placeholders of the deployment guide count as not set: that part is off and says so. Secrets have
//! no Debug output.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

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

/// A value that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself; `None` if it is empty or a placeholder of the guide.
    pub fn given(&self) -> Option<&str> {
        let text = self.0.trim();
        let placeholder = text.is_empty()
            || text == "whsec_PLACEHOLDER"
            || text.starts_with("YOUR_")
            || text.ends_with("_YOUR_KEY")
            || text.ends_with("_YOUR_SECRET");
        (!placeholder).then_some(text)
    }
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
        f.write_str(if self.given().is_some() { "(set)" } else { "(not set)" })
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

/// Listeners and logs.
#[derive(Args, Clone, Debug)]
pub struct ListenArgs {
    /// Address of the API, probes and metrics
    #[arg(long, env = "ECHO_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address that answers verdicts only, for proxies; strangers must not reach it
    #[arg(long, env = "ECHO_GATE_LISTEN")]
    pub gate_listen: Option<SocketAddr>,
    /// production, staging or development
    #[arg(long, env = "ENVIRONMENT", value_enum, default_value = "development")]
    pub environment: Environment,
    /// What is logged, as `info` or `echo_phoenix=debug`
    #[arg(long, env = "ECHO_LOG", default_value = "info")]
    pub log: String,
}

/// Who may call.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Key of protected routes; in development one is made if this is not set
    #[arg(long, env = "ECHO_API_KEY", default_value = "", hide_default_value = true, hide_env_values = true)]
    pub api_key: Secret,
}

/// Where the record is kept.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Folder of the ledger and the journal; one process at a time
    #[arg(long, env = "ECHO_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
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
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", default_value = "", hide_default_value = true, hide_env_values = true)]
    pub stripe_webhook_secret: Secret,
}

/// The mirror.
#[derive(Args, Clone, Debug)]
pub struct AirtableArgs {
    /// Personal access token (pat…); the mirror is off if not set
    #[arg(long, env = "AIRTABLE_API_KEY", default_value = "", hide_default_value = true, hide_env_values = true)]
    pub airtable_api_key: Secret,
    /// Base that is written to (app…); the mirror is off if not set
    #[arg(long, env = "AIRTABLE_BASE_ID", default_value = "", hide_default_value = true)]
    pub airtable_base_id: Secret,
    /// Where Airtable's API is; for tests and proxies
    #[arg(long, env = "AIRTABLE_API_BASE", default_value = "https://api.airtable.com")]
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
        Some((self.airtable_api_key.given()?, self.airtable_base_id.given()?))
    }
}

/// Keys that open protected routes.
#[derive(Clone, Default)]
pub struct Keys(Option<String>);

impl Keys {
    /// The key, if one is configured.
    pub fn new(key: Option<String>) -> Self {
        Self(key)
    }

    /// The key's value.
    pub fn secret(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The key's name in audit entries.
    pub fn name(&self) -> &'static str {
        "ECHO_API_KEY"
    }
}
