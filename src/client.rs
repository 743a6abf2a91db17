//! A client of the documented API, for the command line: it asks, tells what came back, and sends a
//! command again where that cannot do it twice.
//!
//! Knows HTTP and the API's answers; nothing of terminals, clocks and what a person should be told
//! to do.

mod address;
mod answers;
mod error;

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::config::{ConfigError, is_loopback};
use crate::domain::text::shown;
use address::{address, connections};
pub use answers::{
    AuditPage, AuditRow, CommandList, CommandRow, ControlSummary, HealthSummary, HeldLevelRow,
    HeldRow, KillSummary, KilledTargetRow, ReviveSummary, TargetRow, ThrottleList, ThrottleSummary,
};
pub use error::{ApiRefusal, ClientError};

/// Pause after the first failure; doubled with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Largest answer, bytes.
const LIMIT: usize = 16 << 20;

/// How long all that a service asks to wait may be, of one request.
const WAITS: Duration = Duration::from_secs(120);

/// A service, as one key sees it.
#[derive(Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
    key: Option<HeaderValue>,
    waits: fn(&ApiRefusal, Duration),
}

impl ApiClient {
    /// A client of the service at `base`, an http or https URL that may have a path, or
    /// `HOST:PORT`: http on this machine, https elsewhere.
    ///
    /// # Errors
    /// A URL or a key that cannot be one.
    pub fn new(base: &str, key: Option<&str>) -> Result<Self, ConfigError> {
        let base = address(base)?;
        let key = key.map(|key| {
            let mut value = HeaderValue::from_str(key).map_err(|_| ConfigError {
                variable: "ECHO_API_KEY",
                expected: "visible ASCII characters".to_owned(),
                fix: "Look for a line break or an accent in it.".to_owned(),
            })?;
            value.set_sensitive(true);
            Ok(value)
        });
        let http = connections(&base)?;
        Ok(Self {
            http,
            base,
            key: key.transpose()?,
            waits: |_, _| {},
        })
    }

    /// The same, and whoever waits for it hears why: each refusal for too many requests, and how
    /// long it is waited for.
    #[must_use]
    pub fn telling(self, waits: fn(&ApiRefusal, Duration)) -> Self {
        Self { waits, ..self }
    }

    /// The service's address, without a `/` at its end.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    /// Whether the key goes over a network as plain text.
    pub fn tells_its_key(&self) -> bool {
        self.key.is_some() && self.base.scheme() == "http" && !is_loopback(&self.base)
    }

    /// `GET /health`, which a service whose ledger is gone answers too.
    ///
    /// # Errors
    /// If nobody answers, or somebody else does.
    pub async fn health(&self) -> Result<Value, ClientError> {
        self.answered("/health", || self.request(Method::GET, "/health"))
            .await
    }

    /// Reads a route.
    ///
    /// # Errors
    /// If nobody answers, somebody else does, or the service refuses.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.answered(path, || self.request(Method::GET, path))
            .await
    }

    /// Sends a command under this `Idempotency-Key`, and sends it again while it does not get
    /// through, for as long as `patience` lasts; without patience once. `again` hears of each
    /// failure and of the pause that follows.
    ///
    /// # Errors
    /// The last failure, or what the service refuses.
    pub async fn command(
        &self,
        path: &str,
        body: &Value,
        once: &str,
        patience: Option<Duration>,
        again: &mut (dyn FnMut(&ClientError, Duration) + Send),
    ) -> Result<Value, ClientError> {
        let request = || {
            self.request(Method::POST, path)
                .header("idempotency-key", once)
                .json(body)
        };
        let Some(patience) = patience else {
            return self.answered(path, request).await;
        };
        let mut last = None;
        // Whether any attempt may have arrived, though no answer came; and whether one is under
        // way.
        let (mut sent, mut flying) = (false, false);
        let attempts = async {
            let mut pause = FIRST_PAUSE;
            loop {
                flying = true;
                let answered = self.answered(path, request).await;
                flying = false;
                match answered {
                    Err(error) if error.is_transport() => {
                        sent |= error.may_have_arrived();
                        again(&error, pause);
                        last = Some(error);
                    }
                    done => return done,
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        match timeout(patience, attempts).await {
            Ok(done) => done,
            Err(_) => {
                let unheard = || ClientError::Silent {
                    url: self.url(path),
                    why: "it took too long".into(),
                    sent: true,
                };
                Err(last.unwrap_or_else(unheard).with_sent(sent || flying))
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    /// Asks; where the service is asked too often, asks again when it said.
    async fn answered(
        &self,
        path: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Value, ClientError> {
        let mut left = WAITS;
        loop {
            match self.once(path, request()).await {
                Err(ClientError::Refused(refusal))
                    if refusal.pause().is_some_and(|pause| pause <= left) =>
                {
                    let pause = refusal.pause().unwrap_or_default();
                    left -= pause;
                    (self.waits)(&refusal, pause);
                    sleep(pause).await;
                }
                done => return done,
            }
        }
    }

    async fn once(&self, path: &str, request: RequestBuilder) -> Result<Value, ClientError> {
        let url = self.url(path);
        let answer = request
            .send()
            .await
            .map_err(|error| ClientError::of(&url, &error))?;
        let status = answer.status();
        let header = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let (retry_after, location) = (
            header(RETRY_AFTER).map(str::to_owned),
            header(LOCATION).map(str::to_owned),
        );
        let problem =
            header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/problem+json"));
        let body = whole(answer)
            .await
            .map_err(|error| ClientError::of(&url, &error))?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        let strange = |what: String| ClientError::Strange {
            url: url.clone(),
            status: status.as_u16(),
            what,
        };
        if status.is_redirection() {
            return Err(strange(format!(
                "a redirect to {}",
                shown(&location.unwrap_or_default())
            )));
        }
        match value {
            Some(value)
                if problem
                    || (!status.is_success()
                        && value.get("detail").is_some_and(Value::is_string)) =>
            {
                Err(ClientError::Refused(Box::new(ApiRefusal::read(
                    path,
                    status.as_u16(),
                    retry_after,
                    &visible(value),
                ))))
            }
            // An unhealthy service says so with a 503 that is an answer all the same.
            Some(value)
                if status.is_success() || (path == "/health" && value.get("checks").is_some()) =>
            {
                Ok(value)
            }
            _ => Err(strange(format!("`{}`", beginning(&body)))),
        }
    }

    /// An answer as one of ours, to be read by people: text of others in it is written so that it
    /// can be seen.
    ///
    /// # Errors
    /// If it is not what that route answers.
    pub fn typed<T: DeserializeOwned>(&self, path: &str, answer: &Value) -> Result<T, ClientError> {
        T::deserialize(visible(answer.clone())).map_err(|error| ClientError::Strange {
            url: self.url(path),
            status: 200,
            what: format!("an answer that is none of this version's: {error}"),
        })
    }
}

/// A document whose texts are all written so that people can see them.
fn visible(document: Value) -> Value {
    match document {
        Value::String(text) => Value::String(shown(&text).into_owned()),
        Value::Array(all) => all.into_iter().map(visible).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (shown(&name).into_owned(), visible(value)))
            .collect(),
        plain => plain,
    }
}

/// A body, up to the limit; what comes after it is left.
async fn whole(mut answer: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            break;
        }
    }
    Ok(body)
}

/// The first line or so of what somebody answered, for people.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    shown(&words.join(" ")).chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::visible;

    #[test]
    fn names_of_members_are_shown_like_values() {
        let document = json!({ "a\u{1b}": [{ "\u{202e}": "\n" }] });
        assert_eq!(
            visible(document),
            json!({ r"a\u{1b}": [{ r"\u{202e}": r"\u{a}" }] })
        );
    }
}
