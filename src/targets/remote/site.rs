//! The API of another Echo Phoenix, as far as this one uses it: read its throttles, kill, revive,
//! declare a level.
//!
//! What it answers is believed only where it is what that route answers; its words are cut short
//! before they are told.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::{HostArgs, RemoteKeys, is_loopback};
use crate::domain::hold::Epoch;
use crate::domain::level::Level;
use crate::domain::target::RemoteSpec;
use crate::domain::text::shown;
use crate::ports::TargetError;
use crate::source::crd_status::EchoThrottleStatus;
use crate::source::rest::older;

/// How long one call may take, answer included.
const CALL: Duration = Duration::from_secs(2);
/// Largest answer, bytes: some hundred throttles.
const LIMIT: usize = 1 << 20;
/// Characters of what somebody answered that are told.
const TOLD: usize = 160;

/// Fields that a site of an earlier version may refuse, one after the other.
const FIELDS: usize = 4;

/// A throttle as its site tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) status: EchoThrottleStatus,
}

#[derive(Deserialize)]
struct Rows {
    items: Vec<Row>,
}

/// What is told to a site.
pub(super) enum SiteCommand<'a> {
    Kill { reason: &'a str, once: &'a str },
    Revive { epoch: &'a Epoch },
    Level { to: Level, effective: Level },
}

/// Connections to all sites.
pub(super) struct Sites {
    direct: Client,
    by_proxy: Client,
    keys: RemoteKeys,
    hosts: HostArgs,
    /// Which key went where: said before it goes there for the first time.
    told: Mutex<BTreeSet<(String, String)>>,
}

impl Sites {
    pub(super) fn new(keys: RemoteKeys, hosts: HostArgs) -> reqwest::Result<Self> {
        let base = || {
            Client::builder()
                .connect_timeout(CALL)
                .timeout(CALL)
                // A key must not follow a redirect to somebody else.
                .redirect(redirect::Policy::none())
                .user_agent(concat!("echo-phoenix/", env!("CARGO_PKG_VERSION")))
        };
        let (direct, by_proxy) = (base().no_proxy().build()?, base().build()?);
        Ok(Self {
            direct,
            by_proxy,
            keys,
            hosts,
            told: Mutex::default(),
        })
    }

    /// The throttles of these names; asked one by one only if it is one.
    pub(super) async fn throttles(
        &self,
        spec: &RemoteSpec,
        many: bool,
    ) -> Result<Vec<Row>, TargetError> {
        if many {
            let rows: Rows = self
                .answered(spec, self.request(spec, Method::GET, "/v1/throttles")?)
                .await?;
            return Ok(rows.items);
        }
        let path = format!("/v1/throttles/{}", spec.throttle);
        Ok(vec![
            self.answered(spec, self.request(spec, Method::GET, &path)?)
                .await?,
        ])
    }

    /// Tells a site to do something, as `sender`.
    pub(super) async fn tell(
        &self,
        spec: &RemoteSpec,
        sender: &str,
        command: SiteCommand<'_>,
    ) -> Result<(), TargetError> {
        match command {
            SiteCommand::Kill { reason, once } => {
                let body = json!({
                    "throttle": spec.throttle, "reason": reason, "operator": sender, "confirmation": "CONFIRM_KILL",
                });
                let answer: Value = self
                    .told(spec, "/kill", Some(once), body, Level::STOP)
                    .await?;
                match answer["killed"] == json!(true) {
                    true => Ok(()),
                    false => Err(strange(&answer.to_string())),
                }
            }
            SiteCommand::Revive { epoch } => {
                let body = json!({
                    "throttle": spec.throttle, "epoch": epoch, "operator": sender, "reason": "ended where it was made",
                });
                match self
                    .told::<Value>(spec, "/revive", None, body, Level::STOP)
                    .await
                {
                    // Nothing could be ended: it has ended already, or what is read next says
                    // otherwise.
                    Ok(_) | Err(TargetError::Conflict(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            SiteCommand::Level { to, effective } => {
                let body = json!({
                    "throttle": spec.throttle, "target_throttle": to, "operator": sender,
                    "reason": "declared where it is obeyed from",
                });
                let answer: Controlled = self.told(spec, "/control", None, body, effective).await?;
                match answer.held_by.first() {
                    None => Ok(()),
                    Some(by) => Err(TargetError::Held(format!(
                        "held there by {}: {}",
                        short(&by.source),
                        short(&by.reason)
                    ))),
                }
            }
        }
    }

    /// Sends a command, and again without what a site of an earlier version does not know, with
    /// what that one cannot do without. That one names a field at a time.
    async fn told<T: DeserializeOwned>(
        &self,
        spec: &RemoteSpec,
        path: &str,
        once: Option<&str>,
        mut body: Value,
        effective: Level,
    ) -> Result<T, TargetError> {
        let mut left = FIELDS;
        loop {
            let request = self.request(spec, Method::POST, path)?.json(&body);
            let request = once.iter().fold(request, |request, once| {
                request.header("idempotency-key", *once)
            });
            let answer = self.asked(request).await?;
            let next = match answer.status {
                StatusCode::UNPROCESSABLE_ENTITY if left > 0 => {
                    answer.errors().and_then(|e| older(&body, &e, effective))
                }
                _ => None,
            };
            let Some(next) = next else {
                return answer.read(spec);
            };
            (body, left) = (next, left - 1);
        }
    }

    fn request(
        &self,
        spec: &RemoteSpec,
        method: Method,
        path: &str,
    ) -> Result<RequestBuilder, TargetError> {
        let wrong =
            |what: String| TargetError::Refused(format!("apiKeyEnv {}: {what}", spec.api_key_env));
        let key = self
            .keys
            .get(&spec.api_key_env)
            .map_err(|why| wrong(format!("the variable {why}")))?;
        let mut value = HeaderValue::from_str(key.given().unwrap_or_default())
            .map_err(|_| wrong("its value is no key".to_owned()))?;
        value.set_sensitive(true);
        let url = Url::parse(&format!("{}{path}", spec.url));
        let url =
            url.map_err(|error| TargetError::Refused(format!("url {}: {error}", spec.url)))?;
        self.hosts
            .check(url.as_str())
            .map_err(|why| TargetError::Refused(format!("url {}: {why}", spec.url)))?;
        self.tell_where(&spec.api_key_env, &url);
        let client = if is_loopback(&url) {
            &self.direct
        } else {
            &self.by_proxy
        };
        Ok(client.request(method, url).header("x-api-key", value))
    }

    /// Says where a key goes, before it goes there for the first time.
    fn tell_where(&self, variable: &str, url: &Url) {
        let to = url.origin().ascii_serialization();
        let mut told = self.told.lock();
        if told.insert((variable.to_owned(), to.clone())) {
            tracing::info!(variable, to, "a key goes to another site");
        }
    }

    async fn answered<T: DeserializeOwned>(
        &self,
        spec: &RemoteSpec,
        request: RequestBuilder,
    ) -> Result<T, TargetError> {
        self.asked(request).await?.read(spec)
    }

    async fn asked(&self, request: RequestBuilder) -> Result<Answered, TargetError> {
        let mut answer = request.send().await.map_err(|error| silent(&error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| silent(&error))? {
            if body.len() + chunk.len() > LIMIT {
                return Err(TargetError::Refused(format!(
                    "it answers more than {LIMIT} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answered {
            status,
            headers,
            body,
        })
    }
}

/// What a site answered.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    /// What that route answers, or why not.
    fn read<T: DeserializeOwned>(&self, spec: &RemoteSpec) -> Result<T, TargetError> {
        if !self.status.is_success() {
            return Err(refused(spec, self.status, &self.headers, &self.body));
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| strange(&String::from_utf8_lossy(&self.body)))
    }

    /// The fields that a refusal names.
    fn errors(&self) -> Option<Value> {
        serde_json::from_slice::<Value>(&self.body)
            .ok()?
            .get("errors")
            .cloned()
    }
}

#[derive(Deserialize)]
struct Controlled {
    #[serde(rename = "in_force")]
    _in_force: f64,
    #[serde(default)]
    held_by: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    source: String,
    reason: String,
}

fn refused(spec: &RemoteSpec, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> TargetError {
    let detail = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| Some(short(body.get("detail")?.as_str()?)));
    let detail = detail.unwrap_or_else(|| short(&String::from_utf8_lossy(body)));
    let said = format!("it answers {}: {detail}", status.as_u16());
    match status {
        _ if status.is_redirection() => {
            let to = headers
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or_default();
            TargetError::Refused(format!(
                "it redirects to {}, where the key does not go: mend url",
                short(to)
            ))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TargetError::Refused(format!(
            "{said} (the key is apiKeyEnv {})",
            spec.api_key_env
        )),
        StatusCode::CONFLICT => TargetError::Conflict(said),
        StatusCode::TOO_MANY_REQUESTS => TargetError::Unavailable(said),
        _ if status.is_server_error() => TargetError::Unavailable(said),
        _ => TargetError::Refused(said),
    }
}

fn strange(body: &str) -> TargetError {
    TargetError::Refused(format!(
        "it answers what no Echo Phoenix answers: `{}`",
        short(body)
    ))
}

/// Without the URL, which the target's id has.
fn silent(error: &reqwest::Error) -> TargetError {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    TargetError::Unavailable(match (error.is_timeout(), error.is_connect()) {
        (true, _) => format!("no answer within {} s", CALL.as_secs()),
        (false, true) => format!("cannot be reached: {}", short(&cause.to_string())),
        (false, false) => format!("the answer broke off: {}", short(&cause.to_string())),
    })
}

/// Words of somebody else, on one short line.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&line).chars().take(TOLD).collect()
}
