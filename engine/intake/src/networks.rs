//! Where a request comes from, and whether its source may send from there.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// How many addresses of a forwarding header are looked at: a chain of proxies is short, and the
/// header is the sender's to fill.
const HOPS_MAX: usize = 16;

/// The address that a request comes from.
///
/// A proxy of ours puts the address that it was called from at the end of `X-Forwarded-For`. So it is
/// read from its end, as long as the address before is one of `proxies`; what a stranger wrote into
/// it is never believed.
pub(crate) fn client(peer: SocketAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.ip().to_canonical();
    let said = headers.get_all("x-forwarded-for").iter().rev();
    let texts = said.map(|value| value.to_str().unwrap_or(""));
    let hops = texts.flat_map(|text| text.rsplit(',').map(str::trim));
    for hop in hops.take(HOPS_MAX) {
        if !within(client, proxies) {
            break;
        }
        let Ok(before) = address(hop) else { break };
        client = before.to_canonical();
    }
    client
}

/// Whether an address is in one of the networks.
pub(crate) fn within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Some proxies write a port behind the address.
fn address(text: &str) -> Result<IpAddr, std::net::AddrParseError> {
    text.parse().or_else(|error| match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address.ip()),
        Err(_) => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_our_proxies_wrote_is_believed() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|n| n.parse().unwrap()).into();
        for (peer, forwarded, expected) in [
            ("203.0.113.9:40000", &[][..], "203.0.113.9"),
            ("203.0.113.9:40000", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1:40000", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:40000", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:40000", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1:40000", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1:40000", &["198.51.100.1:5555"], "198.51.100.1"),
            ("10.0.0.1:40000", &["unknown"], "10.0.0.1"),
            ("10.0.0.1:40000", &[], "10.0.0.1"),
            ("[::ffff:10.0.0.1]:40000", &["2001:db8::7"], "2001:db8::7"),
            ("[fd00::1]:40000", &["[2001:db8::7]:443"], "2001:db8::7"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let found = client(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
