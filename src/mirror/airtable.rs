//! A thin client of Airtable's Web API: schema, new tables and fields, upserts. One request, one
//! meaning.
//!
//! Knows nothing of the ledger or of what our tables mean; never retries (that is
//! [`super::worker`]'s decision).

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::config::is_loopback;

use super::tables::{Field, FoundField, FoundTable, MirrorTable};

mod error;
mod token;

pub use error::{AirtableError, Category};
pub use token::{BadToken, Token};

/// Where Airtable is.
pub const DEFAULT_BASE_URL: &str = "https://api.airtable.com";

/// Most records Airtable takes in one request.
pub const RECORDS_PER_REQUEST: usize = 10;

/// Airtable allows 5 a second and locks everybody out for 30 s at the sixth.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// A schema of a few hundred fields is some 100 KiB; nothing we ask for is larger.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct AirtableConfig {
    /// `AIRTABLE_API_BASE`, by default [`DEFAULT_BASE_URL`].
    pub base_url: String,
    /// `AIRTABLE_API_KEY`.
    pub token: Token,
    /// `AIRTABLE_BASE_ID`, `app…`.
    pub base_id: String,
    /// How long one request may take.
    pub timeout: Duration,
}

impl AirtableConfig {
    /// Airtable itself, with a timeout well above what a busy base takes: a request given up is a
    /// call spent.
    pub fn new(token: Token, base_id: impl Into<String>) -> Self {
        let base_id = base_id.into();
        Self {
            base_url: DEFAULT_BASE_URL.to_owned(),
            token,
            base_id,
            timeout: Duration::from_secs(10),
        }
    }
}

/// One base of Airtable's.
pub struct Airtable {
    http: reqwest::Client,
    /// `…/v0`, without a slash at its end.
    root: String,
    base_id: String,
    pace: DefaultDirectRateLimiter,
}

impl fmt::Debug for Airtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Airtable")
            .field("root", &self.root)
            .field("base_id", &self.base_id)
            .finish_non_exhaustive()
    }
}

/// What an upsert did: record ids.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upserted {
    /// Records that are new.
    pub created_records: Vec<String>,
    /// Records that were there.
    pub updated_records: Vec<String>,
}

#[derive(Deserialize)]
struct Tables {
    tables: Vec<FoundTable>,
}

impl Airtable {
    /// A client. Connects only when it is asked something.
    pub fn new(config: AirtableConfig) -> Result<Self, AirtableError> {
        let AirtableConfig {
            base_url,
            token,
            base_id,
            timeout,
        } = config;
        let unusable = |why: &str| AirtableError::Unreachable(why.to_owned());
        let mut bearer = HeaderValue::from_str(&token.bearer())
            .map_err(|_| unusable("the token fits no header"))?;
        bearer.set_sensitive(true);
        let mut http = reqwest::Client::builder();
        if reqwest::Url::parse(&base_url).is_ok_and(|url| is_loopback(&url)) {
            http = http.no_proxy(); // it would hear the token as plain text
        }
        let http = http
            .user_agent(concat!("echo-phoenix/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .timeout(timeout)
            // The token is for this host; Airtable redirects nothing.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| unusable(&without_address(error)))?;
        // Spaced, without a burst: a bucket of four and a refill of four would be seven in the
        // first second.
        let quota = Quota::per_second(REQUESTS_PER_SECOND).allow_burst(NonZeroU32::MIN);
        let root = format!("{}/v0", base_url.trim_end_matches('/'));
        Ok(Self {
            http,
            root,
            base_id,
            pace: RateLimiter::direct(quota),
        })
    }

    /// Every table of the base with its fields.
    pub async fn schema(&self) -> Result<Vec<FoundTable>, AirtableError> {
        let path = format!("meta/bases/{}/tables", self.base_id);
        Ok(self.call::<Tables>(Method::GET, &path, None).await?.tables)
    }

    /// Makes a table with all its fields.
    pub async fn create_table(&self, table: &MirrorTable) -> Result<FoundTable, AirtableError> {
        let path = format!("meta/bases/{}/tables", self.base_id);
        self.call(Method::POST, &path, Some(&table.as_json())).await
    }

    /// Adds a field to a table.
    pub async fn create_field(
        &self,
        table_id: &str,
        field: &Field,
    ) -> Result<FoundField, AirtableError> {
        let path = format!("meta/bases/{}/tables/{table_id}/fields", self.base_id);
        self.call(Method::POST, &path, Some(&field.as_json())).await
    }

    /// Updates the records whose `merge_on` fields match, makes those for which none does. Tables
    /// and fields are named by id, so that a person may rename them. Doing it twice is doing it
    /// once.
    pub async fn upsert(
        &self,
        table_id: &str,
        merge_on: &[&str],
        records: &[Map<String, Value>],
    ) -> Result<Upserted, AirtableError> {
        let records: Vec<Value> = records
            .iter()
            .map(|fields| json!({ "fields": fields }))
            .collect();
        let body = json!({
            "performUpsert": { "fieldsToMergeOn": merge_on },
            "returnFieldsByFieldId": true,
            "records": records,
        });
        self.call(
            Method::PATCH,
            &format!("{}/{table_id}", self.base_id),
            Some(&body),
        )
        .await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, AirtableError> {
        self.pace.until_ready().await;
        let mut request = self.http.request(method, format!("{}/{path}", self.root));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let answer = read(response).await?;
        if !status.is_success() {
            return Err(AirtableError::from_answer(status.as_u16(), &answer));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| AirtableError::Unreadable(error.to_string()))
    }
}

/// The body, up to the limit: an answer without end must not become memory without end.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, AirtableError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_LIMIT {
            return Err(AirtableError::Unreadable(format!(
                "more than {ANSWER_LIMIT} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(error: reqwest::Error) -> AirtableError {
    if error.is_timeout() {
        AirtableError::TimedOut
    } else {
        AirtableError::Unreachable(without_address(error))
    }
}

/// The whole chain of causes; reqwest's own text stops before the one that helps. The address is
/// left out, since a proxy's may carry a password.
fn without_address(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    text
}
