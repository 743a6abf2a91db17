//! Which hosts this process may be sent to by a declaration or a variable.

use std::str::FromStr;

use clap::Args;
use url::Url;

/// Where calls may go.
#[derive(Args, Clone, Debug)]
pub struct HostArgs {
    /// Hosts that may be called: of remote sites, canaries and AIRTABLE_API_BASE, comma-separated;
    /// all of them if not set
    #[arg(long, env = "ECHO_ALLOWED_HOSTS", value_name = "HOST,…")]
    pub allowed_hosts: Option<AllowedHosts>,
}

impl HostArgs {
    /// Whether this address may be called.
    ///
    /// # Errors
    /// Why not, in words for whoever wrote it.
    pub fn check(&self, url: &str) -> Result<(), String> {
        match &self.allowed_hosts {
            Some(allowed) if !allowed.has(url) => Err(
                "its host is not among those of ECHO_ALLOWED_HOSTS, so it is not called".to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// Hosts, each with a port or without one, which then means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts(Vec<(String, Option<u16>)>);

impl AllowedHosts {
    /// Whether the host of this address is one of them. Read by the same rules as whoever calls it
    /// reads it.
    pub fn has(&self, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else {
            return false;
        };
        let (host, port) = (url.host_str().map(plain), url.port_or_known_default());
        host.is_some_and(|host| {
            self.0
                .iter()
                .any(|(one, at)| *one == host && at.is_none_or(|at| Some(at) == port))
        })
    }
}

fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl FromStr for AllowedHosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split(',')
            .map(str::trim)
            .enumerate()
            .filter(|(_, part)| !part.is_empty());
        let all = parts.map(|(index, part)| {
            let wrong = || {
                let number = index + 1;
                format!("expected hosts, comma-separated, as api.airtable.com,echo.example.com:8443; number {number} is none")
            };
            let url = Url::parse(&format!("https://{part}")).map_err(|_| wrong())?;
            let bare = !part.contains(['/', '@', '?', '#', '\\', '*']);
            let host = url.host_str().filter(|_| bare).map(plain).ok_or_else(wrong)?;
            // Not the URL's, which leaves 443 out.
            let port = part.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
            Ok((host, port))
        });
        Ok(Self(all.collect::<Result<_, String>>()?))
    }
}
