//! What a request must be before anybody looks at what it asks for: framed in a way that everybody
//! reads alike, for a host that this is, and not posted by another site's page. And what every
//! answer bears.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::{Environment, ListenArgs};

use super::AppDoors;
use super::answer::ProblemResponse;
use super::refusal::table;

/// Longest host that a refusal repeats, characters.
const SHOWN: usize = 100;

/// Which hosts a request may be for. A page of a stranger's can give its own name our address (DNS
/// rebinding); then the browser takes our answers for that site's. It cannot do so under a name of
/// loopback, nor under an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Whatever our name is out there: nobody knows it here.
    Any,
    /// Loopback, by name or address: where we listen on loopback.
    Loopback,
    /// Also any address: whoever reaches us by one, as a probe or another machine does, was not
    /// misled by a name.
    LoopbackOrAddress,
}

impl Hosts {
    /// In development only loopback; elsewhere any.
    pub fn of(listen: &ListenArgs) -> Self {
        match (
            listen.environment,
            listen.listen.ip().to_canonical().is_loopback(),
        ) {
            (Environment::Development, true) => Self::Loopback,
            (Environment::Development, false) => Self::LoopbackOrAddress,
            _ => Self::Any,
        }
    }

    /// Whether a request for this host is for us.
    fn serves(self, host: &str) -> bool {
        if self == Self::Any {
            return true;
        }
        let Ok(host) = host.parse::<Authority>() else {
            return false;
        };
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        match name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(address) => {
                address.is_loopback()
                    || (self == Self::LoopbackOrAddress && !address.is_unspecified())
            }
            Err(_) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

/// Whether a head says in one way only whom it is for and how its body is sent. What one reader
/// takes as one thing and the next as another is how requests are smuggled past a proxy.
pub(super) fn framed(request: &Request) -> Result<(), ProblemResponse> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let named = first.map_or(request.version() == Version::HTTP_10, |host| {
        host.as_bytes().iter().all(of_a_host)
    });
    if second.is_some() || !named {
        return Err(ProblemResponse::of(&table::HOST));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None)
            if coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(())
        }
        _ => Err(ProblemResponse::of(&table::CODING)),
    }
}

/// Whether a byte may stand in one host and its port. A comma may not, though a registered name may
/// have one: who folds two headers into one writes it.
fn of_a_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%:[]!$&'()*+;=".contains(byte)
}

/// Refuses what is not framed, not for us, or posted by a page of another site.
pub(super) async fn check(
    State(doors): State<Arc<AppDoors>>,
    request: Request,
    next: Next,
) -> Response {
    match framed(&request).and_then(|()| meant(doors.hosts, &request)) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn meant(hosts: Hosts, request: &Request) -> Result<(), ProblemResponse> {
    let headers = request.headers();
    let named = headers
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or_default());
    let asked = request.uri().authority().map(Authority::as_str);
    if let Some(host) = named
        .into_iter()
        .chain(asked)
        .find(|host| !hosts.serves(host))
    {
        let shown: String = host.chars().take(SHOWN).collect();
        return Err(ProblemResponse::filled(
            &table::NOT_OURS,
            &[("host", &shown)],
        ));
    }
    // Browsers say where a request comes from, and no page can make them say otherwise.
    let cross = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site.as_bytes() == b"cross-site");
    if cross && request.method() == Method::POST {
        return Err(ProblemResponse::of(&table::CROSS_SITE));
    }
    Ok(())
}

/// What every answer bears: nobody keeps it, and a browser takes it for nothing but what it says it
/// is.
pub fn stamp(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[test]
    fn in_development_only_names_of_loopback_are_served() {
        let loopback = [
            "localhost",
            "LocalHost:8080",
            "echo.localhost",
            "localhost.",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:8080",
        ];
        let addresses = ["10.0.0.7:8080", "[fd00::7]:8080", "192.0.2.1"];
        let names = [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost:8080",
            "",
            "127.0.0.1.evil.example",
            "a b",
            "0.0.0.0",
            "[::]",
        ];
        for host in loopback {
            assert!(
                Hosts::Loopback.serves(host) && Hosts::LoopbackOrAddress.serves(host),
                "{host}"
            );
        }
        for host in addresses {
            assert!(
                !Hosts::Loopback.serves(host) && Hosts::LoopbackOrAddress.serves(host),
                "{host}"
            );
        }
        for host in names {
            assert!(
                !Hosts::Loopback.serves(host) && !Hosts::LoopbackOrAddress.serves(host),
                "{host}"
            );
            assert!(Hosts::Any.serves(host));
        }
    }
}
