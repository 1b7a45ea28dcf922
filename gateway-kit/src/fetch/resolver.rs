//! Name resolution that leaves out what may not be asked.

use std::fmt;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::address::{Rule, is_local};

/// The system's resolver, of whose answers those stay that may be asked. ureq connects to these
/// and looks up nothing again: there is no moment in which a name could change its address.
///
/// A look-up that does not end in time is left to a thread of its own, since `getaddrinfo` cannot be
/// stopped; the system's own time limit ends it.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) system: DefaultResolver,
    pub(super) allow_private_addresses: bool,
}

impl Resolver for Guarded {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let rule = Rule {
            https: uri.scheme() == Some(&Scheme::HTTPS),
            local: uri.host().is_some_and(is_local),
            private: self.allow_private_addresses,
        };
        let mut allowed = self.empty();
        for &address in &self.system.resolve(uri, config, timeout)? {
            if rule.allows(address.ip()) {
                allowed.push(address);
            }
        }
        if allowed.is_empty() {
            return Err(ureq::Error::Other(Box::new(NotAllowed)));
        }
        Ok(allowed)
    }
}

/// None of a host's addresses may be asked.
#[derive(Debug)]
pub(super) struct NotAllowed;

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none of the host's addresses may be asked")
    }
}

impl std::error::Error for NotAllowed {}
