//! Which addresses may be asked.
//!
//! An URL comes from a configuration, but a name's address comes from whoever runs its DNS, and a
//! document names further URLs: without a rule the gateway would ask whatever stands beside it
//! (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Who answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine.
    Loopback,
    /// Someone in a network of the operator's, or in one set aside for something else.
    Private,
    /// Anyone on the Internet.
    Public,
    /// Not one server: an address of many, of all, or of none.
    Nobody,
}

/// What one request may ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Whether the URL's scheme is `https`.
    pub(super) https: bool,
    /// Whether the URL's host is [`is_local`].
    pub(super) local: bool,
    /// Whether an address of [`Reach::Private`] may be asked.
    pub(super) private: bool,
}

impl Rule {
    /// Whether this address may be asked.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match reach(address) {
            Reach::Loopback => self.local,
            Reach::Private => self.private,
            Reach::Public => self.https,
            Reach::Nobody => false,
        }
    }
}

/// Whether an URL's host says by itself that it is this machine: `localhost` (RFC 6761 section
/// 6.3), or a loopback address. Brackets around an IPv6 address stay on.
pub(super) fn is_local(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address| reach(address) == Reach::Loopback)
}

/// What is not public of IPv4, by IANA's IPv4 Special-Purpose Address Registry (RFC 6890).
const IPV4: [(Ipv4Net, Reach); 16] = [
    // "This network" (RFC 791): to connect to 0.0.0.0 is to connect to this machine.
    (v4([0, 0, 0, 0], 8), Reach::Nobody),
    (v4([10, 0, 0, 0], 8), Reach::Private),
    // Between a provider and its customers (RFC 6598).
    (v4([100, 64, 0, 0], 10), Reach::Private),
    (v4([127, 0, 0, 0], 8), Reach::Loopback),
    // Link-local; clouds answer there with the machine's own credentials.
    (v4([169, 254, 0, 0], 16), Reach::Private),
    (v4([172, 16, 0, 0], 12), Reach::Private),
    (v4([192, 0, 0, 0], 24), Reach::Private),
    (v4([192, 0, 2, 0], 24), Reach::Private),
    // Relays of 6to4, deprecated (RFC 7526).
    (v4([192, 88, 99, 0], 24), Reach::Private),
    (v4([192, 168, 0, 0], 16), Reach::Private),
    (v4([198, 18, 0, 0], 15), Reach::Private),
    (v4([198, 51, 100, 0], 24), Reach::Private),
    (v4([203, 0, 113, 0], 24), Reach::Private),
    (v4([224, 0, 0, 0], 4), Reach::Nobody),
    (v4([255, 255, 255, 255], 32), Reach::Nobody),
    // Reserved; some use it within their own networks.
    (v4([240, 0, 0, 0], 4), Reach::Private),
];

/// Where IPv6 is public (RFC 4291 section 2.4): what IANA gives to the registries.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0], 3);

/// What is not public within [`GLOBAL_UNICAST`], by IANA's IPv6 Special-Purpose Address Registry.
const IPV6: [Ipv6Net; 3] = [
    // Protocol assignments, Teredo and ORCHID among them.
    v6([0x2001, 0], 23),
    v6([0x2001, 0xdb8], 32),
    v6([0x3fff, 0], 20),
];

/// IPv4 behind a translator (NAT64, RFC 6052): the last 32 bits are the address.
const NAT64: Ipv6Net = v6([0x64, 0xff9b], 96);

/// IPv4 behind a relay (6to4, RFC 3056): the address follows the first 16 bits.
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0], 16);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b]: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// Who answers at `address`. An IPv4 address that is written as IPv6 is judged as what it is.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address.to_canonical() {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    IPV4.iter()
        .find(|(network, _)| network.contains(&address))
        .map_or(Reach::Public, |&(_, reach)| reach)
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let bits = address.to_bits();
    if NAT64.contains(&address) {
        return reach_behind(bits as u32);
    }
    if SIX_TO_FOUR.contains(&address) {
        return reach_behind((bits >> 80) as u32);
    }
    if address.is_loopback() {
        return Reach::Loopback;
    }
    if address.is_unspecified() || address.is_multicast() {
        return Reach::Nobody;
    }
    let special = IPV6.iter().any(|network| network.contains(&address));
    if GLOBAL_UNICAST.contains(&address) && !special {
        Reach::Public
    } else {
        Reach::Private
    }
}

/// Who answers at this IPv4 address when something else passes the packets on. That is never this
/// machine.
fn reach_behind(address: u32) -> Reach {
    match reach_v4(Ipv4Addr::from_bits(address)) {
        Reach::Loopback => Reach::Nobody,
        reach => reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_reach_whom_the_registries_say() {
        for (reached, addresses) in [
            (
                Reach::Loopback,
                &["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"][..],
            ),
            (
                Reach::Private,
                &[
                    "10.0.0.1",
                    "100.64.0.1",
                    "100.127.255.255",
                    "169.254.169.254",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.0.0.8",
                    "192.0.2.1",
                    "192.88.99.1",
                    "192.168.0.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "240.0.0.1",
                    "255.255.255.254",
                    "::ffff:10.0.0.1",
                    // Compatible with IPv4, deprecated.
                    "::10.0.0.1",
                    "::8.8.8.8",
                    "64:ff9b::10.0.0.1",
                    "64:ff9b:1::8.8.8.8",
                    "100::1",
                    "2001::1",
                    "2001:db8::1",
                    "2002:a00:1::",
                    "2002:c0a8:1::1",
                    "3fff::1",
                    "5f00::1",
                    "fc00::1",
                    "fd12:3456:789a::1",
                    "fe80::1",
                    "fec0::1",
                ],
            ),
            (
                Reach::Public,
                &[
                    "1.1.1.1",
                    "8.8.8.8",
                    "9.255.255.255",
                    "11.0.0.0",
                    "100.63.255.255",
                    "100.128.0.0",
                    "126.255.255.255",
                    "128.0.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.1",
                    "198.17.255.255",
                    "198.20.0.0",
                    "223.255.255.255",
                    "::ffff:8.8.8.8",
                    "64:ff9b::8.8.8.8",
                    "2001:200::1",
                    "2002:808:808::1",
                    "2606:4700:4700::1111",
                    "2a00::1",
                ],
            ),
            (
                Reach::Nobody,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "224.0.0.1",
                    "239.255.255.255",
                    "255.255.255.255",
                    "::",
                    "::ffff:0.0.0.0",
                    "ff02::1",
                    "64:ff9b::127.0.0.1",
                    "2002:7f00:1::",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(reach(address.parse().unwrap()), reached, "{address}");
            }
        }
    }

    #[test]
    fn hosts_that_are_this_machine_say_so() {
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.1.2.3",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        // The resolver takes some of these for loopback addresses all the same.
        for host in [
            "localhost.example.org",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::ffff:10.0.0.1]",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn a_rule_asks_for_https_or_for_being_near() {
        let (http, https) = (false, true);
        for (https, local, private, allowed) in [
            (http, false, false, &[][..]),
            (http, true, false, &["127.0.0.1"]),
            (http, false, true, &["10.0.0.1"]),
            (http, true, true, &["127.0.0.1", "10.0.0.1"]),
            (https, false, false, &["8.8.8.8"]),
            (https, true, false, &["127.0.0.1", "8.8.8.8"]),
            (https, false, true, &["10.0.0.1", "8.8.8.8"]),
            (https, true, true, &["127.0.0.1", "10.0.0.1", "8.8.8.8"]),
        ] {
            let rule = Rule {
                https,
                local,
                private,
            };
            for address in ["127.0.0.1", "10.0.0.1", "8.8.8.8", "0.0.0.0"] {
                let found = rule.allows(address.parse().unwrap());
                assert_eq!(found, allowed.contains(&address), "{rule:?} {address}");
            }
        }
    }

    proptest! {
        #[test]
        fn ipv4_written_as_ipv6_is_judged_as_ipv4(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(reach(address.to_ipv6_mapped().into()), reach(address.into()));
        }

        #[test]
        fn what_is_behind_a_translator_is_no_more_public_than_itself(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let behind = Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(bits));
            let public = |address| reach(address) == Reach::Public;
            prop_assert_eq!(public(behind.into()), public(address.into()));
        }
    }
}
