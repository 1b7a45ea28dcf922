//! What is allowed but may not be meant, a line each.

use super::auth_options::{REQUIRED_SCOPES, SCOPE};
use super::options::{ADMIN, HOST, PUBLIC_URL};
use mcp_proto::auth::{AuthPolicy, ScopeRule, VerifierKind};
use std::net::SocketAddr;

/// The methods of MCP, over its revisions: those that end in `/` stand for all that begin so.
const METHODS: [&str; 14] = [
    "initialize",
    "ping",
    "tools/",
    "prompts/",
    "resources/",
    "completion/complete",
    "logging/setLevel",
    "tasks/",
    "notifications/",
    "sampling/",
    "elicitation/",
    "roots/",
    "server/discover",
    "subscriptions/",
];

/// Tokens of these have no scopes.
const UNSCOPED: [VerifierKind; 2] = [VerifierKind::Static, VerifierKind::Http];

/// What may be wrong with the scopes that `policy` asks of the tokens of `kinds`.
pub(super) fn of_scopes(policy: &AuthPolicy, kinds: &[VerifierKind]) -> Vec<String> {
    let rules = &policy.scope_rules;
    let mut warnings = Vec::new();
    let unscoped = UNSCOPED.into_iter().filter(|kind| kinds.contains(kind));
    let unscoped: Vec<_> = unscoped.map(VerifierKind::as_str).collect();
    for (key, given, effect) in [
        (
            REQUIRED_SCOPES,
            !policy.required_scopes.is_empty(),
            "no call is open to them",
        ),
        (
            SCOPE,
            !rules.is_empty(),
            "the calls that it guards are closed to them",
        ),
    ] {
        if given && !unscoped.is_empty() {
            let unscoped = unscoped.join(" and ");
            warnings.push(format!(
                "{key} cannot be met by tokens of {unscoped}, which have no scopes: {effect}"
            ));
        }
    }
    for rule in rules {
        let method = &rule.method;
        if !is_known(method) {
            warnings.push(format!(
                "{SCOPE}: MCP has no method {method}: the rule protects nothing"
            ));
        }
        if let Some(name) = &rule.name
            && method.starts_with("resources/")
            && !rules.iter().any(|it| guards_all(it, method))
        {
            warnings.push(format!(
                "{SCOPE}: {method}:{name} guards a URI, which can be spelt in several ways; guard \
                 {method} as a whole"
            ));
        }
    }
    warnings
}

/// Whether `pattern`, a method or the beginning of methods and `*`, has one of MCP's.
fn is_known(pattern: &str) -> bool {
    let is_group = |known: &str| known.ends_with('/');
    METHODS
        .into_iter()
        .any(|known| match pattern.strip_suffix('*') {
            Some(beginning) => {
                known.starts_with(beginning) || is_group(known) && beginning.starts_with(known)
            }
            None => pattern == known || is_group(known) && pattern.starts_with(known),
        })
}

/// Whether `rule` is about all calls of `method`, whatever their names.
fn guards_all(rule: &ScopeRule, method: &str) -> bool {
    let of_method = match rule.method.strip_suffix('*') {
        Some(beginning) => method.starts_with(beginning),
        None => rule.method == method,
    };
    of_method && rule.name.as_deref().is_none_or(|name| name == "*")
}

/// What may be wrong with addresses that callers with tokens come to, where there is no public URL.
pub(super) fn of_addresses(addresses: &[SocketAddr], tls: bool) -> Option<String> {
    let mut ips = addresses.iter().map(SocketAddr::ip);
    let ip = ips.find(|ip| !ip.is_loopback())?;
    let unencrypted = match tls {
        true => "",
        false => {
            "tokens travel unencrypted unless a proxy with TLS stands in front, or tls-certificate \
             is given, and "
        }
    };
    Some(format!(
        "{HOST}: {ip} can be reached from other machines, and there is no {PUBLIC_URL}: \
         {unencrypted}OAuth clients need {PUBLIC_URL}"
    ))
}

/// What may be wrong with the admin address.
pub(super) fn of_admin(address: SocketAddr) -> Option<String> {
    let ip = address.ip();
    (!ip.is_loopback()).then(|| {
        format!(
            "{ADMIN}: {ip} can be reached from other machines, and whoever reaches it is not asked \
             who they are: it tells of sessions, callers' addresses and refusals"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_mcp() {
        for (pattern, known) in [
            ("*", true),
            ("tools/call", true),
            ("tools/*", true),
            ("to*", true),
            ("tools/c*", true),
            ("initialize", true),
            ("init*", true),
            ("server/*", true),
            ("tool/call", false),
            ("tool/*", false),
            ("Tools/call", false),
            ("tools", false),
            ("call*", false),
            ("initialize/*", false),
            ("pings", false),
            ("port", false),
        ] {
            assert_eq!(is_known(pattern), known, "{pattern}");
        }
    }
}
