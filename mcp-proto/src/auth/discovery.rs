//! The OAuth metadata that the gateway publishes (RFC 8414, RFC 9728).
//!
//! Clients look for each document in up to three places: at the root, with the endpoint's path
//! inserted after the document's name, and appended to the endpoint's path. All of them answer.

use bytes::Bytes;
use serde_json::json;

use super::{AuthPolicy, Discovery, Verifier};

const PREFIX: &str = "/.well-known/";

/// A document under `/.well-known/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown {
    /// `oauth-protected-resource` (RFC 9728 section 3)
    ProtectedResource,
    /// `oauth-authorization-server` (RFC 8414 section 3), `openid-configuration` (OpenID Connect
    /// Discovery 1.0 section 4): one document for both.
    AuthorizationServer,
    /// Anything else.
    Other,
}

/// What is published, and where.
pub(crate) struct Publication {
    /// The paths of the MCP endpoint: the local one, and that of the URL that users type.
    endpoints: [String; 2],
    /// The document of `oauth-protected-resource`.
    pub(crate) protected_resource: Option<Bytes>,
    pub(crate) authorization_server: AuthorizationServerDocument,
}

/// Where the document of `oauth-authorization-server` comes from.
pub(crate) enum AuthorizationServerDocument {
    NotPublished,
    /// The authorization server's own metadata, as it publishes them. They keep its issuer.
    Mirrored,
    /// Of a gateway whose tokens come from nowhere that a client could ask.
    Fixed(Bytes),
}

impl Publication {
    pub(crate) fn new(policy: &AuthPolicy, service_name: &str, endpoint: &str) -> Self {
        let server = policy.authorization_server.as_ref();
        let published = server.filter(|_| policy.discovery != Discovery::Off);
        let protected_resource = published.map(|server| {
            let mut document = json!({
                "resource": policy.resource,
                "resource_name": service_name,
                "authorization_servers": [server.issuer],
                "bearer_methods_supported": ["header"],
            });
            let scopes = scopes(policy);
            if !scopes.is_empty() {
                document["scopes_supported"] = scopes.into();
            }
            document.to_string().into()
        });
        let has_tokens = policy
            .verifiers
            .iter()
            .any(|verifier| matches!(verifier, Verifier::Static(_) | Verifier::Http(_)));
        let authorization_server = match policy.discovery {
            _ if published.is_some() => AuthorizationServerDocument::Mirrored,
            Discovery::Always if has_tokens => {
                let document = json!({
                    "issuer": policy.resource,
                    "response_types_supported": [],
                    "grant_types_supported": [],
                    "token_endpoint_auth_methods_supported": [],
                });
                AuthorizationServerDocument::Fixed(document.to_string().into())
            }
            _ => AuthorizationServerDocument::NotPublished,
        };
        Self {
            endpoints: [endpoint.to_owned(), path_of(&policy.resource).to_owned()],
            protected_resource,
            authorization_server,
        }
    }

    /// Which document stands at `path`; `None` if the path has nothing to do with such documents.
    pub(crate) fn find(&self, path: &str) -> Option<WellKnown> {
        let appended = |endpoint: &String| path.strip_prefix(endpoint)?.strip_prefix(PREFIX);
        let (name, inserted) = match path.strip_prefix(PREFIX) {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => (self.endpoints.iter().find_map(appended)?, ""),
        };
        let ours = inserted.is_empty() || self.endpoints.iter().any(|it| it == inserted);
        Some(match name {
            "oauth-protected-resource" if ours => WellKnown::ProtectedResource,
            "oauth-authorization-server" | "openid-configuration" if ours => {
                WellKnown::AuthorizationServer
            }
            _ => WellKnown::Other,
        })
    }
}

/// The URL of the protected resource's metadata (RFC 9728 section 3.1).
pub(crate) fn resource_metadata_url(resource: &str) -> String {
    let path = path_of(resource);
    let origin = &resource[..resource.len() - path.len()];
    format!("{origin}{PREFIX}oauth-protected-resource{path}")
}

/// The path of an absolute URL, empty if it has none.
fn path_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    url[authority..]
        .find('/')
        .map_or("", |at| &url[authority + at..])
}

/// Every scope that a client may need, once.
fn scopes(policy: &AuthPolicy) -> Vec<&str> {
    let rules = policy.scope_rules.iter().flat_map(|rule| &rule.scopes);
    let mut scopes: Vec<&str> = Vec::new();
    for scope in policy.required_scopes.iter().chain(rules) {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthorizationServer;

    fn policy(discovery: Discovery, server: bool) -> AuthPolicy {
        AuthPolicy {
            verifiers: vec![Verifier::Static(Vec::new())],
            resource: "https://gw.example.org/base/mcp".to_owned(),
            authorization_server: server.then(|| AuthorizationServer {
                issuer: "https://as.example.org".to_owned(),
                metadata: None,
            }),
            discovery,
            ..AuthPolicy::default()
        }
    }

    #[test]
    fn documents_are_found_in_every_place_that_clients_look() {
        let publication = Publication::new(&policy(Discovery::Auto, true), "demo", "/mcp");
        for (path, expected) in [
            (
                "/.well-known/oauth-protected-resource",
                Some(WellKnown::ProtectedResource),
            ),
            (
                "/.well-known/oauth-protected-resource/mcp",
                Some(WellKnown::ProtectedResource),
            ),
            (
                "/.well-known/oauth-protected-resource/base/mcp",
                Some(WellKnown::ProtectedResource),
            ),
            (
                "/mcp/.well-known/oauth-protected-resource",
                Some(WellKnown::ProtectedResource),
            ),
            (
                "/.well-known/oauth-authorization-server/mcp",
                Some(WellKnown::AuthorizationServer),
            ),
            (
                "/mcp/.well-known/openid-configuration",
                Some(WellKnown::AuthorizationServer),
            ),
            (
                "/.well-known/oauth-protected-resource/other",
                Some(WellKnown::Other),
            ),
            ("/.well-known/security.txt", Some(WellKnown::Other)),
            ("/mcp", None),
            ("/register", None),
        ] {
            assert_eq!(publication.find(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_published_follows_from_the_setting_and_the_server() {
        use AuthorizationServerDocument as Document;
        for (discovery, server, resource, mirrored, fixed) in [
            (Discovery::Auto, true, true, true, false),
            (Discovery::Auto, false, false, false, false),
            (Discovery::Always, true, true, true, false),
            (Discovery::Always, false, false, false, true),
            (Discovery::Off, true, false, false, false),
            (Discovery::Off, false, false, false, false),
        ] {
            let publication = Publication::new(&policy(discovery, server), "demo", "/mcp");
            assert_eq!(publication.protected_resource.is_some(), resource);
            let document = &publication.authorization_server;
            assert_eq!(matches!(document, Document::Mirrored), mirrored);
            assert_eq!(matches!(document, Document::Fixed(_)), fixed);
        }
    }

    #[test]
    fn the_metadata_url_has_the_path_inserted() {
        for (resource, expected) in [
            (
                "https://gw.example.org/mcp",
                "https://gw.example.org/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "http://[::1]:8080/a/mcp",
                "http://[::1]:8080/.well-known/oauth-protected-resource/a/mcp",
            ),
        ] {
            assert_eq!(resource_metadata_url(resource), expected);
        }
    }
}
