//! How often one may knock, with how much, and whose word is taken for where a request came from.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use clap::Args;
use ipnet::{IpNet, Ipv4Net};

/// Rate limit and proxies.
#[derive(Args, Clone, Debug)]
pub struct DoorArgs {
    /// Requests a minute that one client may make, all at once if it likes; an IPv6 client is a /64
    #[arg(long, env = "RATE_LIMIT_PER_MINUTE", default_value = "100", value_parser = rate)]
    pub rate_limit_per_minute: NonZeroU32,
    /// Proxies whose word for a client's address is taken: addresses or CIDRs, comma-separated
    #[arg(long, env = "ECHO_TRUSTED_PROXIES", value_name = "CIDR,…")]
    pub trusted_proxies: Option<Proxies>,
    /// Bytes that all unfinished requests may hold together: heads, bodies, answers not taken; at
    /// least 4 MiB. If not set, 32 MiB, or an eighth of the memory that the control group allows if
    /// that is less
    #[arg(long, env = "ECHO_INTAKE_BYTES", value_name = "BYTES", value_parser = intake)]
    pub intake_bytes: Option<u64>,
    /// Set by systemd for a service that is started with sockets: what each is for, api or gate
    #[arg(long, env = "LISTEN_FDNAMES", hide = true)]
    pub listen_fd_names: Option<String>,
    /// Set by Fly.io on its machines: there `Fly-Client-IP` comes from Fly's proxy and beats
    /// `X-Forwarded-For`; elsewhere it counts for nothing
    #[arg(long, env = "FLY_APP_NAME", hide = true)]
    pub fly_app_name: Option<String>,
}

/// More would not be a limit; governor counts in nanoseconds between requests.
const MOST: u32 = 1_000_000_000;

/// With less, a few large webhooks would be all there is room for.
const LEAST_INTAKE: u64 = 4 << 20;

fn intake(text: &str) -> Result<u64, String> {
    let bytes = text
        .trim()
        .parse()
        .ok()
        .filter(|bytes| *bytes >= LEAST_INTAKE);
    bytes.ok_or_else(|| format!("expected a whole number of bytes, at least {LEAST_INTAKE}"))
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let rate = text
        .trim()
        .parse::<NonZeroU32>()
        .ok()
        .filter(|rate| rate.get() <= MOST);
    rate.ok_or_else(|| format!("expected a whole number of requests a minute, from 1 to {MOST}"))
}

/// The addresses of declared proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Whether this address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

/// A net of IPv4 addresses that was written as one of IPv6: peers are compared as the IPv4 ones
/// they are.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(mapped) = net else { return net };
    let bits = mapped.prefix_len().checked_sub(96);
    let address = mapped.network().to_ipv4_mapped();
    address
        .zip(bits)
        .and_then(|(address, bits)| Ipv4Net::new(address, bits).ok())
        .map_or(net, IpNet::V4)
}

impl FromStr for Proxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Vec::new();
        for (index, part) in text
            .split(',')
            .map(str::trim)
            .enumerate()
            .filter(|(_, part)| !part.is_empty())
        {
            let address = part
                .parse::<IpAddr>()
                .map(|address| IpNet::from(address.to_canonical()));
            let net = address.or_else(|_| part.parse::<IpNet>().map(canonical)).map_err(|_| {
                format!("expected addresses or CIDRs, comma-separated, as 10.0.0.7,172.16.0.0/12,fd00::/8; number {} is none", index + 1)
            })?;
            all.push(net);
        }
        Ok(Self(all))
    }
}
