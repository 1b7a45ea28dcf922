//! `Host` and `Origin`: who a request is addressed to, and which page sent it (RFC 9110 section
//! 7.2, RFC 6454 section 7). Checking both is what stands against DNS rebinding (MCP 2025-11-25,
//! transports, "Security Warning").

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::policy::Policy;

/// A host name or an IP literal with an optional port, borrowed from a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Authority<'a> {
    /// Without brackets.
    name: &'a str,
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host[:port]`; `None` if it is empty or malformed (RFC 3986 section 3.2.2; of the
    /// registered names, those that DNS can hold).
    fn parse(text: &'a str) -> Option<Self> {
        let (name, address, rest) = if let Some(bracketed) = text.strip_prefix('[') {
            let (literal, rest) = bracketed.split_once(']')?;
            let address: Ipv6Addr = literal.parse().ok()?;
            (literal, Some(IpAddr::V6(address)), rest)
        } else {
            let end = text.find(':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let plain =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if name.is_empty() || name.len() > 255 || !name.bytes().all(plain) {
                return None;
            }
            let address = name.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
            // A name that ends in a number is an IPv4 address to some parsers: only the one
            // spelling that all agree on passes (WHATWG URL, "ends in a number").
            let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or("");
            let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
                || last.starts_with("0x")
                || last.starts_with("0X");
            if address.is_none() && numeric {
                return None;
            }
            (name, address, rest)
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some(digits)
                if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self {
            name,
            address,
            port,
        })
    }

    fn is_loopback(&self) -> bool {
        match self.address {
            Some(address) => address.is_loopback(),
            None => self.name.eq_ignore_ascii_case("localhost"),
        }
    }

    fn names(&self, name: &str) -> bool {
        match (self.address, name.parse::<IpAddr>()) {
            (Some(mine), Ok(other)) => mine == other,
            _ => self.name.eq_ignore_ascii_case(name),
        }
    }
}

/// A host by which the gateway may be addressed; without a port it stands for every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

impl FromStr for Host {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = Authority::parse(text).ok_or(InvalidAuthority::Host)?;
        Ok(Self {
            name: authority.name.to_ascii_lowercase(),
            port: authority.port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_authority(f, &self.name, self.port)
    }
}

impl Host {
    fn admits(&self, authority: &Authority<'_>) -> bool {
        authority.names(&self.name) && (self.port.is_none() || self.port == authority.port)
    }
}

/// A web origin: scheme, host and port (RFC 6454 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    https: bool,
    name: String,
    port: u16,
}

impl FromStr for Origin {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (https, authority) = split_origin(text).ok_or(InvalidAuthority::Origin)?;
        Ok(Self {
            https,
            name: authority.name.to_ascii_lowercase(),
            port: authority.port.unwrap_or(default_port(https)),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.https { "https://" } else { "http://" })?;
        let port = (self.port != default_port(self.https)).then_some(self.port);
        write_authority(f, &self.name, port)
    }
}

impl Origin {
    fn is(&self, https: bool, authority: &Authority<'_>) -> bool {
        self.https == https
            && authority.names(&self.name)
            && self.port == authority.port.unwrap_or(default_port(https))
    }
}

/// Why a text is no [`Host`] or [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAuthority {
    /// Not `name`, `name:port`, an IPv4 address or a bracketed IPv6 address.
    Host,
    /// Not `http://` or `https://` with a host, and nothing behind it.
    Origin,
}

impl fmt::Display for InvalidAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "is not a host such as example.com, example.com:8443 or [::1]",
            Self::Origin => "is not an origin such as https://example.com, with no path",
        })
    }
}

impl std::error::Error for InvalidAuthority {}

/// What the `Host` of a request amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostVerdict {
    Allowed,
    NotAllowed,
    Malformed,
}

/// Judges a `Host`: loopback names, IP literals (which cannot be rebound), the public URL's host
/// and the hosts that the operator named are allowed.
pub(crate) fn judge_host(policy: &Policy, host: &[u8]) -> HostVerdict {
    let Some(authority) = std::str::from_utf8(host).ok().and_then(Authority::parse) else {
        return HostVerdict::Malformed;
    };
    let public = policy.public_origin.as_ref();
    if authority.address.is_some()
        || authority.is_loopback()
        || public.is_some_and(|origin| authority.names(&origin.name))
        || policy
            .allowed_hosts
            .iter()
            .any(|host| host.admits(&authority))
    {
        HostVerdict::Allowed
    } else {
        HostVerdict::NotAllowed
    }
}

/// Whether two spellings of an authority, of an absolute-form target and of `Host`, are the same
/// (RFC 9112 section 3.2.2).
pub(crate) fn same_authority(target: &str, host: &[u8]) -> bool {
    let host = std::str::from_utf8(host).ok().and_then(Authority::parse);
    match (Authority::parse(target), host) {
        (Some(target), Some(host)) => {
            target.names(host.name) && target.port.unwrap_or(80) == host.port.unwrap_or(80)
        }
        _ => false,
    }
}

/// Whether an `Origin` is the gateway's own: loopback with a port that is listened on and the scheme
/// that is spoken there, or the public URL's.
pub(crate) fn is_own_origin(policy: &Policy, origin: &[u8]) -> bool {
    let Some((https, authority)) = std::str::from_utf8(origin).ok().and_then(split_origin) else {
        return false;
    };
    let port = authority.port.unwrap_or(default_port(https));
    (https == policy.https && authority.is_loopback() && policy.ports.contains(&port))
        || policy
            .public_origin
            .as_ref()
            .is_some_and(|own| own.is(https, &authority))
}

/// Whether an `Origin` is one that the operator named.
pub(crate) fn is_listed_origin(policy: &Policy, origin: &[u8]) -> bool {
    let Some((https, authority)) = std::str::from_utf8(origin).ok().and_then(split_origin) else {
        return false;
    };
    policy
        .allowed_origins
        .iter()
        .any(|listed| listed.is(https, &authority))
}

fn split_origin(text: &str) -> Option<(bool, Authority<'_>)> {
    let (https, rest) = if let Some(rest) = text.strip_prefix("https://") {
        (true, rest)
    } else {
        (false, text.strip_prefix("http://")?)
    };
    Some((https, Authority::parse(rest)?))
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn write_authority(f: &mut fmt::Formatter<'_>, name: &str, port: Option<u16>) -> fmt::Result {
    if name.contains(':') {
        write!(f, "[{name}]")?;
    } else {
        f.write_str(name)?;
    }
    match port {
        Some(port) => write!(f, ":{port}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            ports: vec![8080],
            public_origin: Some("https://mcp.example.com".parse().unwrap()),
            allowed_hosts: vec!["inner".parse().unwrap(), "ported:81".parse().unwrap()],
            allowed_origins: vec!["http://localhost:6274".parse().unwrap()],
            ..Policy::default()
        }
    }

    #[test]
    fn hosts() {
        use HostVerdict::{Allowed, Malformed, NotAllowed};
        for (host, verdict) in [
            ("localhost", Allowed),
            ("LOCALHOST:1", Allowed),
            ("127.0.0.1:8080", Allowed),
            ("[::1]:8080", Allowed),
            ("10.2.3.4", Allowed),
            ("mcp.example.com", Allowed),
            ("MCP.example.com:443", Allowed),
            ("inner:9", Allowed),
            ("ported:81", Allowed),
            ("ported:82", NotAllowed),
            ("evil.example.com", NotAllowed),
            ("127.0.0.1.evil", NotAllowed),
            ("localhost.evil", NotAllowed),
            ("evil.localhost", NotAllowed),
            ("", Malformed),
            (":80", Malformed),
            ("localhost:", Malformed),
            ("localhost:+1", Malformed),
            ("localhost:99999", Malformed),
            ("a b", Malformed),
            ("user@localhost", Malformed),
            ("localhost/", Malformed),
            ("[::1", Malformed),
            ("::1", Malformed),
            ("127.1", Malformed),
            ("0x7f.1", Malformed),
            ("2130706433", Malformed),
            ("localhost,evil", Malformed),
        ] {
            assert_eq!(judge_host(&policy(), host.as_bytes()), verdict, "{host:?}");
        }
    }

    #[test]
    fn origins() {
        for (origin, own) in [
            ("http://localhost:8080", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("https://mcp.example.com", true),
            ("https://mcp.example.com:443", true),
            ("http://mcp.example.com", false),
            ("http://localhost", false),
            ("http://localhost:6274", false),
            ("https://localhost:8080", false),
            ("http://127.0.0.1.evil:8080", false),
            ("http://localhost:8080/", false),
            ("http://localhost:8080@evil", false),
            ("null", false),
            ("", false),
            ("file://", false),
        ] {
            assert_eq!(
                is_own_origin(&policy(), origin.as_bytes()),
                own,
                "{origin:?}"
            );
        }
        assert!(is_listed_origin(&policy(), b"http://localhost:6274"));
        assert!(!is_listed_origin(&policy(), b"http://localhost:6275"));
    }

    #[test]
    fn an_origin_of_this_machine_has_the_scheme_of_the_listeners() {
        let with = |https, ports: &[u16]| Policy {
            https,
            ports: ports.to_vec(),
            ..policy()
        };
        for (origin, https, ports, own) in [
            (&b"https://localhost:8080"[..], true, &[8080][..], true),
            (b"http://localhost:8080", true, &[8080], false),
            (b"https://[::1]", true, &[443], true),
            (b"https://[::1]", true, &[80], false),
            (b"http://[::1]", false, &[80], true),
            (b"https://localhost:8080", false, &[8080], false),
            (b"https://mcp.example.com", true, &[8080], true),
            (b"http://mcp.example.com", true, &[80], false),
        ] {
            let shown = String::from_utf8_lossy(origin);
            assert_eq!(is_own_origin(&with(https, ports), origin), own, "{shown}");
        }
    }

    #[test]
    fn authorities_of_an_absolute_target() {
        assert!(same_authority("Example.com", b"example.com:80"));
        assert!(!same_authority("example.com", b"example.org"));
    }

    #[test]
    fn what_is_read_is_written_back() {
        for origin in ["https://a.b", "http://[::1]:8080", "http://x:81"] {
            assert_eq!(origin.parse::<Origin>().unwrap().to_string(), origin);
        }
        for host in ["a.b", "a:1", "[::1]:2"] {
            assert_eq!(host.parse::<Host>().unwrap().to_string(), host);
        }
    }
}
