//! Who a request comes from: the socket's peer, or whom a declared proxy says it speaks for.
//!
//! Believes no header of anybody else's, and of a proxy's only what the proxy itself wrote:
//! whatever stands left of it may be the client's own invention.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;

use super::AppDoors;
use crate::config::Proxies;

/// Most hops that are walked back.
const HOPS: usize = 32;

/// Whoever shares a limit: an IPv4 address, or a /64, which is what one customer has of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// The client with this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
            address => address,
        })
    }
}

/// The address a request comes from. `on_fly`: the proxies are Fly's, which overwrites
/// `Fly-Client-IP`; others hand on whatever a client wrote there, so elsewhere it counts for
/// nothing.
pub fn address(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies, on_fly: bool) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !proxies.contains(nearest) {
        return nearest;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().rev();
    if on_fly && let Some(address) = only(headers, "fly-client-ip").and_then(hop) {
        return address;
    }
    let hops = forwarded.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    for text in hops.take(HOPS) {
        // What cannot be read was not written by a proxy we know: whoever sent it is the one we
        // know last.
        let Some(address) = hop(text.trim()) else {
            return nearest;
        };
        nearest = address;
        if !proxies.contains(nearest) {
            return nearest;
        }
    }
    nearest
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

/// An address, which some proxies write with its port.
fn hop(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    bare.or_else(|| text.parse::<SocketAddr>().ok().map(|hop| hop.ip()))
        .map(|address| address.to_canonical())
}

/// Whether a proxy says that it passes on what somebody else asked.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name == "forwarded" || name.as_str().starts_with("x-forwarded-"))
}

/// Where a request comes from. Whoever has no peer (which no listener of ours makes) is one client.
pub(super) fn origin(doors: &AppDoors, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| {
        peer.ip()
    });
    doors.rates.address(peer, request.headers())
}
