//! What the operator decided about callers, as the machines need it.

use std::collections::BTreeSet;

use http::Method;
use ipnet::IpNet;

use super::{Algorithm, Secret, Token};

/// How callers are told apart, what they may do, and what is published about it.
#[derive(Clone, Debug, Default)]
pub struct AuthPolicy {
    /// Who is asked about a token, in this order; at most one of each kind. With none, nobody is
    /// asked who they are.
    pub verifiers: Vec<Verifier>,
    /// The URL of the MCP endpoint that users type: the OAuth resource (RFC 8707), and the audience
    /// that tokens must have.
    pub resource: String,
    /// Scopes without which a token opens nothing.
    pub required_scopes: Vec<String>,
    /// Scopes that single methods, tools, prompts and resources need beyond those.
    pub scope_rules: Vec<ScopeRule>,
    /// The OAuth authorization server that issues tokens for this gateway.
    pub authorization_server: Option<AuthorizationServer>,
    /// Which OAuth metadata is published.
    pub discovery: Discovery,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether fetches may go to private addresses, and in plain HTTP there.
    pub allow_private_addresses: bool,
    /// Whether requests are refused while audit records cannot be kept.
    pub refuse_unaudited: bool,
}

impl AuthPolicy {
    /// Whether [`GatewayOutput::Fetch`](crate::GatewayOutput::Fetch) or
    /// [`GatewayOutput::CheckSignature`](crate::GatewayOutput::CheckSignature) may come.
    pub fn asks_others(&self) -> bool {
        let asks =
            |verifier: &Verifier| !matches!(verifier, Verifier::Static(_) | Verifier::Custom);
        self.authorization_server.is_some() || self.verifiers.iter().any(asks)
    }
}

/// An OAuth authorization server, and where its metadata comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// The issuer's identifier (RFC 8414 section 2): an `https` URL, or an `http` one on loopback.
    pub issuer: String,
    /// The metadata document as JSON; `None` fetches it from the issuer.
    pub metadata: Option<String>,
}

/// Which OAuth metadata is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Discovery {
    /// What an authorization server is configured for, and nothing without one: some clients leave
    /// out their configured headers once discovery answers.
    #[default]
    Auto,
    /// Also an RFC 8414 document for a gateway with no authorization server, which says that there
    /// is nothing to obtain.
    Always,
    /// None.
    Off,
}

/// Someone who can tell whether a token is good.
#[derive(Clone, Debug)]
pub enum Verifier {
    /// The gateway itself, by comparing with tokens that it was given.
    Static(Vec<StaticToken>),
    /// The service whose token it is.
    Http(HttpVerifier),
    /// An authorization server's introspection endpoint (RFC 7662).
    Introspection(IntrospectionVerifier),
    /// The gateway itself, by an authorization server's signature (RFC 9068).
    Jwt(JwtVerifier),
    /// Whoever embeds the gateway:
    /// [`GatewayOutput::VerifyToken`](crate::GatewayOutput::VerifyToken).
    Custom,
}

impl Verifier {
    /// Its kind.
    pub fn kind(&self) -> VerifierKind {
        match self {
            Self::Static(_) => VerifierKind::Static,
            Self::Http(_) => VerifierKind::Http,
            Self::Introspection(_) => VerifierKind::Introspection,
            Self::Jwt(_) => VerifierKind::Jwt,
            Self::Custom => VerifierKind::Custom,
        }
    }
}

/// The kinds of verifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifierKind {
    /// [`Verifier::Static`]
    Static,
    /// [`Verifier::Http`]
    Http,
    /// [`Verifier::Introspection`]
    Introspection,
    /// [`Verifier::Jwt`]
    Jwt,
    /// [`Verifier::Custom`]
    Custom,
}

impl VerifierKind {
    /// All that there are.
    pub const ALL: [Self; 5] = [
        Self::Static,
        Self::Http,
        Self::Introspection,
        Self::Jwt,
        Self::Custom,
    ];

    /// The name that configuration has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Http => "http",
            Self::Introspection => "introspection",
            Self::Jwt => "jwt",
            Self::Custom => "custom",
        }
    }
}

/// A token that the operator gave out. Two of one name are both good: that is how one is rotated.
#[derive(Clone, Debug)]
pub struct StaticToken {
    /// Whose it is: the subject of its principal.
    pub name: String,
    /// The token.
    pub token: Token,
}

/// A service that is asked about its own tokens, by calling it with one. An answer of 2xx says that
/// the service knows the token; 400, 401 and 403 say that it does not.
#[derive(Clone, Debug)]
pub struct HttpVerifier {
    /// The URL, such as `https://api.coda.io/v1/whoami`.
    pub url: String,
    /// GET or POST.
    pub method: Method,
    /// Where the answer has the id of the token's client: a JSON pointer (RFC 6901) to a string or
    /// an integer.
    pub client_pointer: Option<String>,
    /// Where the answer has the token's end: a JSON pointer to seconds since the Unix epoch.
    pub expiry_pointer: Option<String>,
    /// The clients that are let in. The token was not issued for this gateway, so that any user of
    /// the service would otherwise act with the operator's credentials.
    pub clients: Clients,
    /// The issuer whose JWTs the service may be shown; without one it is shown no JWT.
    pub issuer: Option<String>,
    /// What the tokens begin with that the service may be shown.
    pub token_prefix: Option<String>,
    /// The operator's own token of that service, which is tried at the start.
    pub own_token: Option<Token>,
}

/// Which clients are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Any that the service knows.
    Any,
    /// Those with these ids.
    Only(BTreeSet<String>),
}

/// An authorization server that is asked about each token (RFC 7662). JWTs are shown to it only if
/// their issuer is [`AuthPolicy::authorization_server`].
#[derive(Clone, Debug)]
pub struct IntrospectionVerifier {
    /// The endpoint; `None` takes it from the authorization server's metadata.
    pub url: Option<String>,
    /// The gateway's own client id there.
    pub client_id: String,
    /// And its secret.
    pub client_secret: Secret,
    /// The audience that tokens must have.
    pub audience: Audience,
    /// What the opaque tokens begin with that the server may be shown.
    pub token_prefix: Option<String>,
}

/// Access tokens that the authorization server has signed (RFC 9068). Only tokens that name it as
/// their issuer are looked at.
#[derive(Clone, Debug)]
pub struct JwtVerifier {
    /// Where the keys are.
    pub keys: KeySource,
    /// The algorithms that are allowed.
    pub algorithms: Vec<Algorithm>,
    /// The types that the header may have (`typ`), without `application/`. RFC 9068 section 4 wants
    /// `at+jwt` alone; some servers write `JWT`.
    pub types: Vec<String>,
    /// The audience that tokens must have.
    pub audience: Audience,
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// At the `jwks_uri` of the authorization server's metadata.
    Metadata,
    /// At this URL.
    Url(String),
    /// Here: a JSON Web Key Set (RFC 7517 section 5).
    Given(String),
}

/// Whom a token must have been issued for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Audience {
    /// This gateway: [`AuthPolicy::resource`].
    #[default]
    Resource,
    /// One of these.
    OneOf(Vec<String>),
    /// Anyone; for introspection only.
    Any,
}

/// Scopes that a method needs, or one tool, prompt or resource of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    /// The method; `*` at its end stands for anything.
    pub method: String,
    /// The tool's or prompt's name, or the resource's URI; `*` at its end stands for anything.
    /// `None` is all of the method.
    pub name: Option<String>,
    /// The scopes, all of which are needed.
    pub scopes: Vec<String>,
}
