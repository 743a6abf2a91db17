//! How the commands of a person on call reach the service, and what they are told when that fails.
//!
//! Nothing here may stop a kill for a reason that has nothing to do with it: a variable of the
//! service's own configuration that is malformed is not looked at.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::api;
use super::known::KnownThrottles;
use super::terminal::tell;
use super::words::{WIDE, ends, held_by};
use crate::client::{ApiClient, ApiRefusal, ClientError, HeldRow};
use crate::config::files::patiently;
use crate::config::{ConfigError, Secret, is_of_dotenv};
use crate::domain::throttle::ThrottleName;
use crate::run::{RunError, made_key};

const HERE: &str = "127.0.0.1:8080";

/// Which service, and the key to it.
#[derive(Args)]
pub(super) struct ServiceArgs {
    /// The service's address; if not set, the one on this machine (http:// and its ECHO_LISTEN,
    /// 127.0.0.1:8080)
    #[arg(long, env = "ECHO_URL", value_name = "URL", hide_env_values = true)]
    url: Option<String>,
    #[arg(long, env = "ECHO_LISTEN", default_value = HERE, hide = true)]
    listen: String,
    /// Key of the service; one that a service in development made beside its record is found by
    /// itself
    #[arg(
        long,
        env = "ECHO_API_KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    api_key: Secret,
    #[arg(long, env = "ECHO_DATA_DIR", default_value = "./data", hide = true)]
    data_dir: PathBuf,
    #[arg(long, env = "ENVIRONMENT", default_value = "development", hide = true)]
    environment: String,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl ServiceArgs {
    /// A client of the service; says on stderr what a person may not expect.
    pub(super) fn client(&self) -> Result<ApiClient, RunError> {
        let given = self
            .url
            .as_deref()
            .map(str::trim)
            .filter(|url| !url.is_empty());
        let url = given.map_or_else(|| local(&self.listen), str::to_owned);
        let given_key = self.api_key.given().map(str::to_owned);
        let named_by = if given.is_some() {
            "ECHO_URL"
        } else {
            "ECHO_LISTEN"
        };
        if given_key.is_some() && is_of_dotenv(named_by) && !is_of_dotenv("ECHO_API_KEY") {
            // Whoever wrote that file would get a key that is not in it.
            return Err(RunError::Config(ConfigError {
                variable: named_by,
                expected: "an address from where the key is from".to_owned(),
                fix: "It is .env's and ECHO_API_KEY is not, so the key is not sent there. Set ECHO_URL where the key is set, or give --url."
                    .to_owned(),
            }));
        }
        let key = match given_key {
            Some(key) => Some(key),
            None => self.local_key(&url, named_by)?,
        };
        let client = ApiClient::new(&url, key.as_deref())?.telling(|refusal, pause| {
            tell!(
                "{}: too many requests; asked again in {} s",
                refusal.path,
                pause.as_secs()
            );
        });
        tell_where_the_key_goes(&client, key.is_some(), named_by);
        Ok(client)
    }

    /// The key that a service in development made, for the one on this machine; says whether it is
    /// used.
    fn local_key(&self, url: &str, named_by: &'static str) -> Result<Option<String>, RunError> {
        // Nobody else's service knows that key, and nobody else shall.
        if self.environment != "development" || !ApiClient::new(url, None)?.is_local() {
            return Ok(None);
        }
        let Some((made, file)) = self.made_key() else {
            return Ok(None);
        };
        let file = file.display();
        // Whoever wrote that file may listen there, and may have named somebody else's folder.
        let of_dotenv = [named_by, "ECHO_DATA_DIR"]
            .into_iter()
            .find(|variable| is_of_dotenv(variable));
        if let Some(whose) = of_dotenv {
            tell!(
                "ECHO_API_KEY is not set, and the key that the service made, {file}, is not used: {whose} is .env's. \
                   Set ECHO_API_KEY, or give --api-key."
            );
            return Ok(None);
        }
        tell!("ECHO_API_KEY is not set: using the key that the service made, {file}");
        Ok(Some(made))
    }

    /// The key that a service in development made; says why one that is there is not used.
    fn made_key(&self) -> Option<(String, PathBuf)> {
        let folder = self.data_dir.clone();
        let unread = |error: std::io::Error| Err(format!("{}: {error}", self.data_dir.display()));
        patiently(move || made_key(&folder))
            .unwrap_or_else(unread)
            .unwrap_or_else(|why| {
                tell!("{why}");
                None
            })
    }
}

/// Says to whom a key is given that leaves this machine, and whether others can read it on the way.
fn tell_where_the_key_goes(client: &ApiClient, has_key: bool, named_by: &str) {
    if has_key && !client.is_local() {
        let whose = |variable| {
            if is_of_dotenv(variable) {
                "of .env"
            } else {
                "that was given"
            }
        };
        tell!(
            "The key {} goes to {}, the address {}.",
            whose("ECHO_API_KEY"),
            client.base(),
            whose(named_by)
        );
    }
    if client.tells_its_key() {
        tell!(
            "{}: not https, so the key can be read on the way",
            client.base()
        );
    }
}

/// The address of a service on this machine that listens there.
fn local(listen: &str) -> String {
    let address: Option<SocketAddr> = listen
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0);
    match address {
        None => format!("http://{HERE}"),
        Some(address) if address.ip().is_unspecified() => {
            format!("http://127.0.0.1:{}", address.port())
        }
        Some(address) => format!("http://{address}"),
    }
}

/// What went wrong and what to try, line by line.
pub(super) fn failed(client: &ApiClient, error: &ClientError) -> RunError {
    RunError::Failed(told(client, error, &KnownThrottles::default(), None))
}

/// The same of an order, with what the service lists where that says more: what a hold covers,
/// which throttle was meant.
pub(super) async fn order_failed(
    client: &ApiClient,
    error: &ClientError,
    throttle: Option<&ThrottleName>,
) -> RunError {
    let known = match error {
        ClientError::Refused(refusal) if refusal.status == 404 || !refusal.held_by.is_empty() => {
            KnownThrottles::look(client).await
        }
        _ => KnownThrottles::default(),
    };
    order_told(client, error, &known, throttle)
}

/// An answer to an order that is none of this version's.
pub(super) fn order_strange(client: &ApiClient, error: &ClientError) -> RunError {
    order_told(client, error, &KnownThrottles::default(), None)
}

/// What went wrong with an order: refused, or not known whether it was done. The one may be sent
/// again, the other be looked up.
fn order_told(
    client: &ApiClient,
    error: &ClientError,
    known: &KnownThrottles,
    throttle: Option<&ThrottleName>,
) -> RunError {
    let text = told(client, error, known, throttle);
    if error.may_have_arrived() {
        RunError::Undecided(text)
    } else {
        RunError::Failed(text)
    }
}

fn told(
    client: &ApiClient,
    error: &ClientError,
    known: &KnownThrottles,
    throttle: Option<&ThrottleName>,
) -> String {
    let mut text = match error {
        ClientError::Refused(refusal) => api::refused(refusal),
        other => other.to_string(),
    };
    for line in ways_out(client, error, known, throttle) {
        text += &format!("\n  - {line}");
    }
    text
}

fn ways_out(
    client: &ApiClient,
    error: &ClientError,
    known: &KnownThrottles,
    throttle: Option<&ThrottleName>,
) -> Vec<String> {
    match error {
        ClientError::Silent { sent, .. } => {
            let mut ways = vec![
                format!("Is it the right address? Asked was {}; ECHO_URL or --url names another.", client.base()),
                "Does it run? Where it runs: echo-phoenix healthcheck; then its platform and its log.".to_owned(),
                "While it is down, proxies that ask it admit nothing, unless they were set up to fail open; apps that ask \
                 /v1/decide do what they were built to do."
                    .to_owned(),
            ];
            if *sent {
                ways.push(
                    "It may have received this all the same: echo-phoenix status tells once it answers.".to_owned(),
                );
            }
            ways
        }
        ClientError::Strange { .. } => vec![
            format!("Is {} the service itself? A proxy or another program may answer there.", client.base()),
            "ECHO_URL or --url names another address; `echo-phoenix --version` tells which version asks.".to_owned(),
        ],
        ClientError::Refused(refusal) => refused(refusal, known, throttle),
    }
}

fn refused(
    refusal: &ApiRefusal,
    known: &KnownThrottles,
    throttle: Option<&ThrottleName>,
) -> Vec<String> {
    if refusal.undecided {
        return vec![
            "This is no refusal. `echo-phoenix status` lists it until it is known what became of it, and then that; so does GET \
             /v1/commands."
                .to_owned(),
            "If the service was started again meanwhile: it was done if `echo-phoenix audit` has it.".to_owned(),
        ];
    }
    let mut ways: Vec<String> = refusal
        .held_by
        .iter()
        .map(|held| format!("Held by {}.", stays(held, known)))
        .collect();
    let way = match refusal.status {
        401 => "Set ECHO_API_KEY to a key of the service.",
        403 => {
            "Look at ECHO_API_KEY: it must be a key of this service, and may do what was asked (kill and revive: role breaker)."
        }
        404 if refusal.detail.contains("route") => {
            "This process does not take that: ask the one that runs `serve`, or the operator of the cluster."
        }
        404 => {
            let meant = throttle
                .filter(|name| known.lacks_throttle(name))
                .and_then(|name| known.meant(name));
            ways.extend(meant.map(|meant| format!("Did you mean {meant}?")));
            "`echo-phoenix status` lists the throttles there are."
        }
        500 if refusal.detail.contains("not configured") => {
            "Set ECHO_API_KEY where the service runs, then start it again."
        }
        429 | 503 => "Try again; `echo-phoenix status` tells how the service is.",
        _ => return ways,
    };
    let wait = refusal
        .retry_after
        .as_ref()
        .map(|seconds| format!(" Wait {seconds} s."))
        .unwrap_or_default();
    ways.push(format!("{way}{wait}"));
    ways
}

/// A hold that stays: whose it is, what it covers, how it ends.
pub(super) fn stays(held: &HeldRow, known: &KnownThrottles) -> String {
    let wide = if known.covers_all(&held.epoch) {
        format!(" {WIDE}")
    } else {
        String::new()
    };
    format!("{}.{wide} It ends so: {}", held_by(held), ends(held))
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn a_service_on_this_machine_is_reached_over_loopback_whatever_it_listens_on() {
        for (listen, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000"),
            ("[::]:9000", "http://127.0.0.1:9000"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
            ("127.0.0.1:0", "http://127.0.0.1:8080"),
            ("nonsense", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(local(listen), url);
        }
    }
}
