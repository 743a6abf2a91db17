//! The service's address, as it is given, and the connections to it.
//!
//! Knows no key and no route: whom to reach and how, not what to ask.

use std::time::Duration;

use reqwest::{Url, redirect};

use crate::config::files::patiently;
use crate::config::{ConfigError, is_loopback};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one request may take, answer included: longer than the service itself takes for a kill
/// with its store gone.
const ANSWER: Duration = Duration::from_secs(10);

fn wrong(fix: String) -> ConfigError {
    ConfigError {
        variable: "ECHO_URL",
        expected: "the service's address, as http://127.0.0.1:8080 or https://echo.example.com"
            .to_owned(),
        fix,
    }
}

/// An http or https URL that may have a path, or `HOST:PORT`.
pub(super) fn address(base: &str) -> Result<Url, ConfigError> {
    // Not told: it may bear a password.
    let base = Url::parse(&with_scheme(base))
        .map_err(|error| wrong(format!("What is set is none: {error}.")))?;
    if !base.username().is_empty() || base.password().is_some() {
        return Err(wrong(
            "Leave out user and password; the key is ECHO_API_KEY's.".to_owned(),
        ));
    }
    if !matches!(base.scheme(), "http" | "https")
        || base.host().is_none()
        || base.query().is_some()
        || base.fragment().is_some()
    {
        return Err(wrong(format!("`{base}` is none that can be asked")));
    }
    Ok(base)
}

/// An address that may be a host alone.
fn with_scheme(base: &str) -> String {
    if base.contains("://") {
        return base.to_owned();
    }
    let plain = format!("http://{base}");
    if Url::parse(&plain).is_ok_and(|url| is_loopback(&url)) {
        plain
    } else {
        format!("https://{base}")
    }
}

/// Connections to a service.
pub(super) fn connections(base: &Url) -> Result<reqwest::Client, ConfigError> {
    made(base).map_err(|why| wrong(format!("no client can be made for it: {why}")))
}

/// A file of certificates that does not answer, or is none, keeps nobody from a service that is
/// reached by plain http.
fn made(base: &Url) -> Result<reqwest::Client, String> {
    let (local, plain) = (is_loopback(base), base.scheme() == "http");
    let builder = move || {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            // A key must not follow a redirect to somebody else.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("echo-phoenix/", env!("CARGO_PKG_VERSION")));
        if local { http.no_proxy() } else { http }
    };
    let without = || {
        builder()
            .tls_certs_only([])
            .build()
            .map_err(|error| error.to_string())
    };
    if plain && local {
        return without();
    }
    match patiently(move || builder().build()) {
        Ok(Ok(http)) => Ok(http),
        // A proxy in between may have wanted them.
        _ if plain => without(),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!(
            "the system's certificates (SSL_CERT_FILE, SSL_CERT_DIR): {error}"
        )),
    }
}
