//! One reader for each kind of value that an option about callers has.

use crate::settings::{AuditSink, StartupCheck};
use http::{Method, Uri};
use ipnet::IpNet;
use mcp_proto::auth::{Algorithm, Discovery, ScopeRule, VerifierKind};
use mcp_proto::origin::Origin;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The verifiers that configuration can name.
const KINDS: [VerifierKind; 4] = [
    VerifierKind::Static,
    VerifierKind::Http,
    VerifierKind::Introspection,
    VerifierKind::Jwt,
];

/// A verifier's kind; `none` is `None`.
pub(crate) fn verifier(text: &str) -> Result<Option<VerifierKind>, String> {
    if text == "none" {
        return Ok(None);
    }
    let kind = KINDS.into_iter().find(|kind| kind.as_str() == text);
    if text.contains(',') {
        let options: Vec<_> = text.split(',').map(str::trim).collect();
        let known = |it: &&str| KINDS.iter().any(|kind| kind.as_str() == *it);
        if options.iter().all(known) {
            let options = options.join(" --auth ");
            return Err(format!(
                "is several; give --auth {options}, or an array in the file"
            ));
        }
    }
    kind.map(Some).ok_or_else(|| {
        "is none of none, static, http, introspection and jwt; give each by itself".to_owned()
    })
}

/// A URL that the gateway may send a credential to, or trust the answer of: `https`, or `http` on
/// loopback, or `http` anywhere with `private`.
pub(crate) fn server_url(text: &str, private: bool) -> Result<String, String> {
    let shape = "is not a URL such as https://auth.example.org/path";
    let url: Uri = text.parse().map_err(|_| shape)?;
    let scheme = url.scheme_str().ok_or(shape)?;
    let authority = url.authority().ok_or(shape)?.as_str();
    if authority.contains('@') {
        return Err("has a user or password in it; leave them out".to_owned());
    }
    if text.contains('#') {
        return Err("has a fragment; leave it out".to_owned());
    }
    // Its reader of names and ports is stricter than `Uri`.
    if format!("http://{authority}").parse::<Origin>().is_err() {
        return Err(shape.to_owned());
    }
    match scheme {
        "https" => {}
        "http" if private || url.host().is_some_and(is_loopback) => {}
        "http" => {
            return Err(
                "is not https; only on loopback, or with allow-private-addresses, it need not be"
                    .to_owned(),
            );
        }
        _ => return Err("is neither https nor http".to_owned()),
    }
    Ok(text.to_owned())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |it| {
        it.is_loopback()
    })
}

/// An issuer's identifier (RFC 8414 section 2): no query, no fragment.
pub(crate) fn issuer(text: &str, private: bool) -> Result<String, String> {
    if text.contains('?') {
        return Err("has a query; an issuer has none".to_owned());
    }
    server_url(text, private)
}

pub(crate) fn method(text: &str) -> Result<Method, String> {
    match text {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        _ => Err("is neither GET nor POST".to_owned()),
    }
}

/// A JSON pointer to a part of a document (RFC 6901 section 3).
pub(crate) fn pointer(text: &str) -> Result<String, String> {
    let mut escapes = text.split('~').skip(1);
    if !text.starts_with('/') || !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err("is not a JSON pointer such as /user/id".to_owned());
    }
    Ok(text.to_owned())
}

/// What opaque tokens begin with: characters of `b64token` (RFC 6750 section 2.1).
pub(crate) fn token_prefix(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(
            "is not what a token can begin with; use letters, digits and - . _ ~ + /".into(),
        );
    }
    Ok(text.to_owned())
}

/// An id or an audience: text that can stand in a line of the log.
pub(crate) fn identifier(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("is empty or has white space in it".to_owned());
    }
    Ok(text.to_owned())
}

/// The media type of a JWT, without `application/` (RFC 7515 section 4.1.9) and in lower case.
pub(crate) fn jwt_type(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_prefix("application/").unwrap_or(&lower);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    if bare.is_empty() || !bare.bytes().all(plain) {
        return Err("is not a type such as at+jwt".to_owned());
    }
    Ok(bare.to_owned())
}

pub(crate) fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        format!("is none of {names}")
    })
}

/// A scope token (RFC 6749 section 3.3).
pub(crate) fn scope(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(
            "is not a scope; use visible ASCII characters other than \" and \\, no space"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Reads `METHOD[:NAME]=SCOPE[ SCOPE...]`. Scopes may have `=` and `:`, so that the first `=` ends
/// the name, and the first `:` before it the method.
pub(crate) fn scope_rule(text: &str) -> Result<ScopeRule, String> {
    let shape = "is not METHOD=SCOPE or METHOD:NAME=SCOPE";
    let (call, scopes) = text.split_once('=').ok_or(shape)?;
    let (method, name) = match call.split_once(':') {
        Some((method, name)) => (method, Some(name)),
        None => (call, None),
    };
    for part in [Some(method), name].into_iter().flatten() {
        let body = part.strip_suffix('*').unwrap_or(part);
        if part.is_empty() || part.chars().any(char::is_control) {
            return Err(shape.to_owned());
        }
        if body.contains('*') {
            return Err("has a * that is not at the end of METHOD or NAME".to_owned());
        }
    }
    let scopes = scopes.split(' ').filter(|part| !part.is_empty());
    let scopes: Vec<_> = scopes
        .map(scope)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("has a scope that {why}"))?;
    if scopes.is_empty() {
        return Err(shape.to_owned());
    }
    Ok(ScopeRule {
        method: method.to_owned(),
        name: name.map(str::to_owned),
        scopes,
    })
}

/// As [`scope_rule`] reads it.
pub(crate) fn show_scope_rule(rule: &ScopeRule) -> String {
    let scopes = rule.scopes.join(" ");
    match &rule.name {
        Some(name) => format!("{}:{name}={scopes}", rule.method),
        None => format!("{}={scopes}", rule.method),
    }
}

/// An address, or a network in CIDR notation; bits beyond the prefix do not count.
pub(crate) fn proxy(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map(|network| network.trunc())
        .map_err(|_| {
            "is not an address such as 10.0.0.7, or a network such as 10.0.0.0/8".to_owned()
        })
}

pub(crate) fn discovery(text: &str) -> Result<Discovery, String> {
    match text {
        "auto" => Ok(Discovery::Auto),
        "always" => Ok(Discovery::Always),
        "off" => Ok(Discovery::Off),
        _ => Err("is none of auto, always and off".to_owned()),
    }
}

pub(crate) fn startup_check(text: &str) -> Result<StartupCheck, String> {
    match text {
        "stop" => Ok(StartupCheck::Stop),
        "warn" => Ok(StartupCheck::Warn),
        _ => Err("is neither stop nor warn".to_owned()),
    }
}

/// Where records go. A path must have a `/`: a misspelt word would otherwise make a file.
pub(crate) fn audit(text: &str) -> Result<AuditSink, String> {
    match text {
        "stdout" => return Ok(AuditSink::Stdout),
        "off" => return Ok(AuditSink::Off),
        _ => {}
    }
    if !text.contains('/') {
        return Err(
            "is neither stdout nor off nor a path with a /, such as ./audit.log".to_owned(),
        );
    }
    let path = PathBuf::from(text);
    let directory = path.parent().unwrap_or(Path::new("/"));
    if text.ends_with('/') || path.is_dir() {
        return Err("is a directory; give a file in it".to_owned());
    }
    if !directory.is_dir() {
        return Err("is in a directory that does not exist; make it".to_owned());
    }
    Ok(AuditSink::File(path))
}

/// Whether requests are refused while records cannot be kept.
pub(crate) fn audit_failure(text: &str) -> Result<bool, String> {
    match text {
        "warn" => Ok(false),
        "refuse" => Ok(true),
        _ => Err("is neither warn nor refuse".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_http_is_for_loopback_and_for_who_allows_it() {
        for (url, loopback) in [
            ("http://localhost/x", true),
            ("http://LOCALHOST:1", true),
            ("http://127.9.9.9:8080/x?y", true),
            ("http://[::1]/x", true),
            ("http://localhost.example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("http://10.0.0.7/x", false),
            ("http://auth.example.org/x", false),
        ] {
            assert_eq!(server_url(url, false).is_ok(), loopback, "{url}");
            assert!(server_url(url, true).is_ok(), "{url}");
            let secure = url.replace("http:", "https:");
            assert_eq!(server_url(&secure, false), Ok(secure));
        }
        for bad in [
            "",
            "/x",
            "auth.example.org",
            "https://",
            "https:///x",
            "https://u:p@h/",
            "http://127.0.0.1@h/",
            "https://h/#f",
            "https://h:x/",
            "https://h:99999/",
            "https://a b/",
            "ftp://h/",
            "file:///etc/passwd",
        ] {
            assert!(server_url(bad, true).is_err(), "{bad}");
        }
        assert!(issuer("https://h/?q", false).is_err());
    }

    #[test]
    fn pointers_are_those_of_the_standard() {
        for (text, good) in [
            ("/", true),
            ("/user/id", true),
            ("/a~1b/~0", true),
            ("", false),
            ("user", false),
            ("/a~", false),
            ("/a~2", false),
            ("/~~0", false),
        ] {
            assert_eq!(pointer(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn scope_rules_split_at_the_first_marks() {
        let rule = scope_rule("tools/call:delete_*=files:write a=b").unwrap();
        assert_eq!(rule.method, "tools/call");
        assert_eq!(rule.name.as_deref(), Some("delete_*"));
        assert_eq!(rule.scopes, ["files:write", "a=b"]);
        let uri = scope_rule("resources/read:file:///a b=s").unwrap();
        assert_eq!(uri.name.as_deref(), Some("file:///a b"));
        assert_eq!(scope_rule("*=s").unwrap().name, None);
        for bad in [
            "",
            "tools/call",
            "=s",
            ":x=s",
            "a:=s",
            "a=",
            "a= ",
            "a*b=s",
            "a:*b=s",
            "a:**=s",
            "a=\"",
            "a=s\tt",
            "a\nb=s",
        ] {
            assert!(scope_rule(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_single_address_is_a_network_of_one() {
        for (text, network) in [
            ("10.0.0.7", "10.0.0.7/32"),
            ("::1", "::1/128"),
            ("10.1.2.3/8", "10.0.0.0/8"),
        ] {
            assert_eq!(proxy(text).unwrap().to_string(), network);
        }
        for bad in ["", "proxy", "10.0.0", "10.0.0.0/33", "[::1]", "10.0.0.1:80"] {
            assert!(proxy(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_word_is_no_file() {
        assert_eq!(audit("stdout"), Ok(AuditSink::Stdout));
        assert_eq!(audit("off"), Ok(AuditSink::Off));
        assert_eq!(audit("./off"), Ok(AuditSink::File("./off".into())));
        for bad in [
            "",
            "of",
            "Stdout",
            "audit.log",
            "/",
            "/tmp",
            "/tmp/",
            "/nowhere/at/all",
        ] {
            assert!(audit(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_that_is_shown_reads_back(
            method in "[a-z/]{1,9}\\*?", name in prop::option::of("[^=*\\pC]{1,9}\\*?"),
            scopes in prop::collection::vec("[!#-\\[\\]-~]{1,9}", 1..4),
        ) {
            let rule = ScopeRule { method, name, scopes };
            prop_assert_eq!(scope_rule(&show_scope_rule(&rule)), Ok(rule));
        }

        #[test]
        fn a_network_that_is_shown_reads_back(address: [u8; 4], length in 0..=32u8) {
            let network = proxy(&format!("{}/{length}", IpAddr::from(address))).unwrap();
            prop_assert_eq!(proxy(&network.to_string()), Ok(network));
        }

        #[test]
        fn no_reader_panics(text in "\\PC{0,20}|[a-z:/~=*.@\\[\\]#?0-9]{0,20}") {
            let _ = (server_url(&text, true), issuer(&text, false), pointer(&text));
            let _ = (scope_rule(&text), proxy(&text), token_prefix(&text), jwt_type(&text));
            let _ = (identifier(&text), scope(&text), algorithm(&text), verifier(&text));
        }
    }
}
