//! An authorization server's metadata (RFC 8414): where it is, and what is read of it.

use bytes::Bytes;
use http::Uri;
use serde_json::Value;

/// The document, and the endpoints that are used here.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// As it was published.
    pub(crate) document: Bytes,
    pub(crate) jwks_url: Option<String>,
    pub(crate) introspection_url: Option<String>,
}

impl Metadata {
    /// Reads the document of `issuer`; one of another issuer is none (RFC 8414 section 3.3). An
    /// endpoint that must not be asked is left out.
    pub(crate) fn parse(document: Bytes, issuer: &str, allow_private: bool) -> Option<Self> {
        let value: Value = serde_json::from_slice(&document).ok()?;
        if value.get("issuer")?.as_str()? != issuer {
            return None;
        }
        let endpoint = |name: &str| {
            let url = value.get(name)?.as_str()?;
            may_ask(url, issuer, allow_private).then(|| url.to_owned())
        };
        Some(Self {
            jwks_url: endpoint("jwks_uri"),
            introspection_url: endpoint("introspection_endpoint"),
            document,
        })
    }
}

/// Where an issuer's metadata may be, in the order in which to look: RFC 8414 section 3.1, OpenID
/// Connect Discovery 1.0 section 4, and the latter as RFC 8414 section 5 would have it.
pub(crate) fn candidates(issuer: &str) -> Vec<String> {
    let trimmed = issuer.trim_end_matches('/');
    let scheme_end = trimmed.find("://").map_or(0, |at| at + 3);
    let path_start = trimmed[scheme_end..]
        .find('/')
        .map_or(trimmed.len(), |at| scheme_end + at);
    let (origin, path) = trimmed.split_at(path_start);
    let mut urls = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}{path}/.well-known/openid-configuration"),
    ];
    if !path.is_empty() {
        urls.push(format!("{origin}/.well-known/openid-configuration{path}"));
    }
    urls
}

/// Whether an endpoint that an issuer names may be asked: over https, or where the issuer itself is
/// on loopback or the operator allows private addresses, over http. A public issuer cannot point
/// the gateway at its own machine.
fn may_ask(url: &str, issuer: &str, allow_private: bool) -> bool {
    let (Ok(url), Ok(issuer)) = (url.parse::<Uri>(), issuer.parse::<Uri>()) else {
        return false;
    };
    let local = |uri: &Uri| uri.host().is_some_and(is_loopback);
    match url.scheme_str() {
        // Whatever the operator allows: no other machine names what is on this one.
        _ if local(&url) && !local(&issuer) => false,
        Some("https") => true,
        Some("http") => local(&url) || allow_private,
        _ => false,
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_servers_have_it() {
        assert_eq!(
            candidates("https://as.example.org"),
            [
                "https://as.example.org/.well-known/oauth-authorization-server",
                "https://as.example.org/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            candidates("https://as.example.org:8443/realms/a/"),
            [
                "https://as.example.org:8443/.well-known/oauth-authorization-server/realms/a",
                "https://as.example.org:8443/realms/a/.well-known/openid-configuration",
                "https://as.example.org:8443/.well-known/openid-configuration/realms/a",
            ]
        );
    }

    #[test]
    fn another_issuers_document_is_none() {
        let parse = |document: &'static str, issuer| {
            Metadata::parse(Bytes::from_static(document.as_bytes()), issuer, false)
        };
        let document = r#"{"issuer":"https://a","jwks_uri":"https://a/jwks"}"#;
        assert!(parse(document, "https://a").is_some());
        assert!(parse(document, "https://a/").is_none());
        assert!(parse("[]", "https://a").is_none());
        assert!(parse("<html>", "https://a").is_none());
    }

    #[test]
    fn endpoints_are_those_that_may_be_asked() {
        for (url, issuer, private, expected) in [
            ("https://a/jwks", "https://a", false, true),
            ("https://cdn.example/jwks", "https://a", false, true),
            ("http://a/jwks", "https://a", false, false),
            ("http://a/jwks", "https://a", true, true),
            ("http://127.0.0.1:1/jwks", "http://127.0.0.1:1", false, true),
            ("http://localhost/jwks", "http://[::1]:1", false, true),
            ("http://127.0.0.1/jwks", "https://a", false, false),
            ("http://127.0.0.1/jwks", "https://a", true, false),
            ("https://localhost/jwks", "https://a", false, false),
            ("file:///etc/passwd", "https://a", true, false),
            ("/jwks", "https://a", true, false),
        ] {
            assert_eq!(may_ask(url, issuer, private), expected, "{url} {issuer}");
        }
    }
}
