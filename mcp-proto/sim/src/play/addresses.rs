//! Where clients come from: each from an address of its own, straight or through a proxy.

use std::net::IpAddr;

use super::Play;
use crate::request::Request;

/// The proxies that are trusted.
pub(super) const PROXIES: &str = "172.16.0.0/12";

impl Play {
    /// Gives a client's request an address; it is returned as it has to be seen.
    pub(super) fn address(
        &mut self,
        client: usize,
        number: u64,
        request: Request,
    ) -> (Request, IpAddr) {
        // In a calm play nobody meets another's limits.
        let shares = !self.options.calm && self.options.seed.number().is_multiple_of(2);
        let host = if shares { 0 } else { client };
        let dice = &mut self.options.seed.dice(&format!("address {host}"));
        let v4 = format!("10.0.0.{host}");
        // Of IPv6, a whole network is one client's.
        let v6 = format!("2001:db8:0:{host}::{number:x}");
        // What a client claims does not count.
        let claims = format!("198.51.100.{}", number % 250);
        let (how, from, forwarded, seen) = match dice.below(6) {
            0 => ("IPv4", v4.clone(), None, v4),
            1 => ("IPv4 in IPv6", format!("::ffff:{v4}"), None, v4),
            2 => ("IPv6", v6.clone(), None, v6),
            3 => ("no proxy", v4.clone(), Some(claims), v4),
            4 => {
                let forwarded = format!("{claims}, {v4}, 172.16.3.4");
                ("two proxies", "172.16.0.9".to_owned(), Some(forwarded), v4)
            }
            _ => {
                let forwarded = format!("[{v6}]:{number}");
                ("a proxy", "172.16.0.9".to_owned(), Some(forwarded), v6)
            }
        };
        self.count(&format!("from {how}"));
        let mut request = request.from(&from);
        if let Some(forwarded) = forwarded {
            request = request.field("x-forwarded-for", &forwarded);
        }
        (request, seen.parse().expect("an address"))
    }
}
