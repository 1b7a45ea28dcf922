//! The admin address: who may ask there, and for what.
//!
//! Nobody is asked for a token there, so that it is loopback's unless the operator says otherwise,
//! and a web page in the operator's browser must not read it: neither under a name that was made to
//! lead there (DNS rebinding) nor across origins.

use http::Method;

use crate::access::Route;
use crate::head::{Field, RequestHead};
use crate::origin::{HostVerdict, judge_host};
use crate::policy::Policy;
use crate::refusal::Refusal;

/// What is served at the admin address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRoute {
    /// `/metrics`, in Prometheus's text format.
    Metrics,
    /// `/status`, a JSON document.
    Status,
    /// One of health's documents, as everywhere: see
    /// [`Gateway::health`](crate::Gateway::health).
    Health(Route),
}

/// The methods that the admin address takes.
pub const ALLOW: &str = "GET, HEAD";

/// What a request at the admin address asks for, or why it gets nothing.
///
/// # Errors
///
/// In this order: the `Host` is malformed, or is none of loopback's names, IP literals, the public
/// URL's host and the hosts that the operator named (health's documents have any name); the request
/// comes from a web page; the method is neither GET nor HEAD; nothing is there.
pub fn judge(policy: &Policy, head: &RequestHead<'_>) -> Result<AdminRoute, Refusal> {
    let path = head.path();
    let route = match path {
        "/metrics" => Some(AdminRoute::Metrics),
        "/status" => Some(AdminRoute::Status),
        _ => Route::of_health(path).map(AdminRoute::Health),
    };
    let host = head.host.value().ok_or(Refusal::BadHost)?;
    match judge_host(policy, host) {
        HostVerdict::Allowed => {}
        HostVerdict::NotAllowed if matches!(route, Some(AdminRoute::Health(_))) => {}
        HostVerdict::NotAllowed => return Err(Refusal::HostNotAllowed),
        HostVerdict::Malformed => return Err(Refusal::BadHost),
    }
    if head.origin != Field::Absent {
        return Err(Refusal::OriginNotAllowed);
    }
    if !matches!(*head.method, Method::GET | Method::HEAD) {
        return Err(Refusal::MethodNotAllowed);
    }
    route.ok_or(Refusal::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        method: &Method,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Result<AdminRoute, Refusal> {
        let mut policy = Policy::default();
        policy.allowed_hosts.push("gateway".parse().unwrap());
        let fields = fields.iter().map(|&(name, value)| (name, value.as_bytes()));
        judge(&policy, &RequestHead::new(method, target, None, fields))
    }

    #[test]
    fn what_is_there_is_there_for_get_and_head() {
        let local = [("host", "127.0.0.1:9090")];
        for (target, route) in [
            ("/metrics", AdminRoute::Metrics),
            ("/metrics?x", AdminRoute::Metrics),
            ("/status", AdminRoute::Status),
            ("/health", AdminRoute::Health(Route::Health)),
            ("/health/live", AdminRoute::Health(Route::HealthLive)),
            ("/health/ready", AdminRoute::Health(Route::HealthReady)),
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(asked(&method, target, &local), Ok(route));
            }
            for method in [Method::POST, Method::OPTIONS, Method::DELETE] {
                assert_eq!(
                    asked(&method, target, &local),
                    Err(Refusal::MethodNotAllowed)
                );
            }
        }
        for target in ["/", "/mcp", "/metrics/", "/Status"] {
            assert_eq!(asked(&Method::GET, target, &local), Err(Refusal::NotFound));
        }
    }

    #[test]
    fn a_web_page_reads_nothing() {
        for (host, verdict) in [
            ("localhost:9090", Ok(AdminRoute::Status)),
            ("[::1]:9090", Ok(AdminRoute::Status)),
            ("10.0.0.7:9090", Ok(AdminRoute::Status)),
            ("gateway:9090", Ok(AdminRoute::Status)),
            ("rebound.example:9090", Err(Refusal::HostNotAllowed)),
            ("127.0.0.1.evil.example", Err(Refusal::HostNotAllowed)),
            ("", Err(Refusal::BadHost)),
        ] {
            assert_eq!(
                asked(&Method::GET, "/status", &[("host", host)]),
                verdict,
                "{host}"
            );
        }
        assert_eq!(asked(&Method::GET, "/status", &[]), Err(Refusal::BadHost));
        let fields = [("host", "pod-7.cluster")];
        assert!(asked(&Method::GET, "/health/live", &fields).is_ok());
        for origin in ["http://localhost:9090", "null", "http://evil.example"] {
            let fields = [("host", "localhost:9090"), ("origin", origin)];
            let refused = asked(&Method::GET, "/status", &fields);
            assert_eq!(refused, Err(Refusal::OriginNotAllowed));
        }
    }
}
