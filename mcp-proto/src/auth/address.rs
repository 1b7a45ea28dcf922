//! Which address a request came from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The client's address: the peer's, or where the peer is a proxy that is trusted, the rightmost
/// address of `X-Forwarded-For` that is no such proxy. Each proxy adds the address that it was
/// called from on the right, so that whatever stands left of that address is the client's own claim.
///
/// Where an entry cannot be read, the proxy that wrote it stands for its client.
pub(crate) fn client_address(peer: IpAddr, forwarded: &[&[u8]], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    let entries = forwarded
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(|&byte| byte == b','));
    for entry in entries {
        if !is_trusted(&address) {
            break;
        }
        match read(entry.trim_ascii()) {
            Some(before) => address = before.to_canonical(),
            None => break,
        }
    }
    address
}

/// An address, with or without a port.
fn read(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse().map(|address: SocketAddr| address.ip()).ok();
    bare.parse().ok().or_else(with_port)
}

/// What shares one limit with an address: of IPv6 the /64, which is what one customer is given at
/// the least (RFC 6177).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
            .map(|network| network.parse().unwrap())
            .into();
        for (peer, forwarded, client) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            (
                "10.0.0.1",
                &["198.51.100.1, nonsense, 10.0.0.2"],
                "10.0.0.2",
            ),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
        ] {
            let forwarded: Vec<_> = forwarded.iter().map(|value| value.as_bytes()).collect();
            let found = client_address(peer.parse().unwrap(), &forwarded, &trusted);
            assert_eq!(
                found,
                client.parse::<IpAddr>().unwrap(),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_a_64() {
        for (address, expected) in [
            ("198.51.100.1", "198.51.100.1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let found = network(address.parse().unwrap());
            assert_eq!(found, expected.parse::<IpAddr>().unwrap());
        }
    }
}
