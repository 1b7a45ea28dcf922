//! Where clients come from: each from an address of its own, straight or through a proxy.

use std::net::IpAddr;

use super::Play;
use crate::request::Request;

/// The proxies that are trusted.
pub(super) const PROXIES: &str = "172.16.0.0/12";

impl Play {
    /// Gives a client's request an address; it is returned as it has to be seen.
    pub(super) fn from_somewhere(
        &self,
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
        let (request, address) = match dice.below(6) {
            0 => (request.from(&format!("::ffff:{v4}")), v4),
            1 => (request.from(&v6), v6),
            2 => {
                // What it claims counts only behind a proxy.
                let claims = format!("198.51.100.{}", number % 250);
                (request.from(&v4).field("x-forwarded-for", &claims), v4)
            }
            3 => {
                let forwarded = format!("198.51.100.{}, {v4}, 172.16.3.4", number % 250);
                let request = request.from("172.16.0.9");
                (request.field("x-forwarded-for", &forwarded), v4)
            }
            4 => {
                let forwarded = format!("[{v6}]:{number}");
                let request = request.from("172.16.0.9");
                (request.field("x-forwarded-for", &forwarded), v6)
            }
            _ => (request.from(&v4), v4),
        };
        (request, address.parse().expect("an address"))
    }
}
