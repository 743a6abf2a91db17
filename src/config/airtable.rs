//! Where the mirror is, and whether its token may be sent there.
//!
//! Calls nobody, and knows no table.

use clap::Args;

use super::{ConfigError, HostArgs, Secret, graphic, is_loopback, is_of_dotenv};

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

fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest.is_some_and(|rest| !rest.is_empty() && graphic(rest)) {
        true => Ok(text.to_owned()),
        false => Err("expected an address, as https://api.airtable.com".to_owned()),
    }
}
