//! The options about callers: who they are, what they may do, and what is kept about it.

use super::options::{Shape, Spec};

pub(crate) const AUTH: &str = "auth";
pub(crate) const STATIC_TOKEN_ENV: &str = "static-token-env";
pub(crate) const STATIC_TOKEN_FILE: &str = "static-token-file";
pub(crate) const HTTP_URL: &str = "http-url";
pub(crate) const HTTP_METHOD: &str = "http-method";
pub(crate) const HTTP_CLIENT_POINTER: &str = "http-client-pointer";
pub(crate) const HTTP_EXPIRY_POINTER: &str = "http-expiry-pointer";
pub(crate) const ALLOW_CLIENTS: &str = "allow-clients";
pub(crate) const ALLOW_ANY_CLIENT: &str = "allow-any-client";
pub(crate) const HTTP_ISSUER: &str = "http-issuer";
pub(crate) const HTTP_TOKEN_PREFIX: &str = "http-token-prefix";
pub(crate) const REQUIRED_SCOPES: &str = "required-scopes";
pub(crate) const SCOPE: &str = "scope";
pub(crate) const TRUSTED_PROXIES: &str = "trusted-proxies";
pub(crate) const ALLOW_PRIVATE_ADDRESSES: &str = "allow-private-addresses";
pub(crate) const STARTUP_CHECK: &str = "startup-check";

pub(crate) const ISSUER: &str = "issuer";
pub(crate) const AUTHORIZATION_SERVER_METADATA: &str = "authorization-server-metadata";
pub(crate) const AUDIENCE: &str = "audience";
pub(crate) const JWKS_URL: &str = "jwks-url";
pub(crate) const JWKS_FILE: &str = "jwks-file";
pub(crate) const JWT_ALGORITHMS: &str = "jwt-algorithms";
pub(crate) const JWT_TYPES: &str = "jwt-types";
pub(crate) const INTROSPECTION_URL: &str = "introspection-url";
pub(crate) const INTROSPECTION_CLIENT_ID: &str = "introspection-client-id";
pub(crate) const INTROSPECTION_CLIENT_SECRET_ENV: &str = "introspection-client-secret-env";
pub(crate) const INTROSPECTION_CLIENT_SECRET_FILE: &str = "introspection-client-secret-file";
pub(crate) const INTROSPECTION_TOKEN_PREFIX: &str = "introspection-token-prefix";
pub(crate) const DISCOVERY: &str = "discovery";

pub(crate) const AUDIT: &str = "audit";
pub(crate) const AUDIT_FAILURE: &str = "audit-failure";

#[rustfmt::skip]
pub(super) const AUTHENTICATION: &[Spec] = &[
    Spec { name: AUTH, value: "none|static|http|introspection|jwt", shape: Shape::Many, help: "Who is asked about a caller's token, in this order [default: static if SERVICE_API_TOKEN is set, else none]" },
    Spec { name: STATIC_TOKEN_ENV, value: "[NAME=]VARIABLE", shape: Shape::Many, help: "A variable that holds a token, and whose it is [default: the variable's name]" },
    Spec { name: STATIC_TOKEN_FILE, value: "FILE", shape: Shape::One, help: "A file of lines NAME: TOKEN, read again when it changes" },
    Spec { name: HTTP_URL, value: "URL", shape: Shape::One, help: "What is called with a caller's token to see whether the service knows it" },
    Spec { name: HTTP_METHOD, value: "GET|POST", shape: Shape::One, help: "How it is called [default: GET]" },
    Spec { name: HTTP_CLIENT_POINTER, value: "POINTER", shape: Shape::One, help: "Where its JSON answer has the client's id, such as /user/id" },
    Spec { name: HTTP_EXPIRY_POINTER, value: "POINTER", shape: Shape::One, help: "Where its JSON answer has the token's end, in seconds since 1970" },
    Spec { name: ALLOW_CLIENTS, value: "ID", shape: Shape::Many, help: "A client of the service that is let in" },
    Spec { name: ALLOW_ANY_CLIENT, value: "on|off", shape: Shape::Flag, help: "Let in whoever the service knows: any user of it acts with the server's credentials" },
    Spec { name: HTTP_ISSUER, value: "URL", shape: Shape::One, help: "The issuer whose JWTs the service may be shown; without it, none" },
    Spec { name: HTTP_TOKEN_PREFIX, value: "TEXT", shape: Shape::One, help: "What the service's tokens begin with; it is shown no others" },
    Spec { name: REQUIRED_SCOPES, value: "SCOPE", shape: Shape::Many, help: "A scope without which a token opens nothing" },
    Spec { name: SCOPE, value: "METHOD[:NAME]=SCOPES", shape: Shape::Many, help: "Scopes that a call needs, such as tools/call:delete_*=files:write; no NAME may have an =, but * stands for any end" },
    Spec { name: TRUSTED_PROXIES, value: "ADDRESS", shape: Shape::Many, help: "A proxy whose X-Forwarded-For is believed, or a network of nothing but such proxies" },
    Spec { name: ALLOW_PRIVATE_ADDRESSES, value: "on|off", shape: Shape::Flag, help: "Let verifiers be at private addresses, and there without https" },
    Spec { name: STARTUP_CHECK, value: "stop|warn", shape: Shape::One, help: "What a verifier that does not work does to the start [default: stop]" },
];

#[rustfmt::skip]
pub(super) const OAUTH: &[Spec] = &[
    Spec { name: ISSUER, value: "URL", shape: Shape::One, help: "The authorization server that issues tokens for this gateway" },
    Spec { name: AUTHORIZATION_SERVER_METADATA, value: "FILE", shape: Shape::One, help: "Its metadata as JSON [default: fetched from the issuer]" },
    Spec { name: AUDIENCE, value: "AUDIENCE|any", shape: Shape::Many, help: "Whom a token must be issued for; any is for introspection only [default: the gateway's URL]" },
    Spec { name: JWKS_URL, value: "URL", shape: Shape::One, help: "Where the keys of its JWTs are [default: as its metadata says]" },
    Spec { name: JWKS_FILE, value: "FILE", shape: Shape::One, help: "A file that has these keys" },
    Spec { name: JWT_ALGORITHMS, value: "NAME", shape: Shape::Many, help: "An algorithm that may sign a JWT [default: all that need no shared secret]" },
    Spec { name: JWT_TYPES, value: "TYPE", shape: Shape::Many, help: "A type that a JWT's header may have [default: at+jwt]" },
    Spec { name: INTROSPECTION_URL, value: "URL", shape: Shape::One, help: "The introspection endpoint [default: as the issuer's metadata says]" },
    Spec { name: INTROSPECTION_CLIENT_ID, value: "ID", shape: Shape::One, help: "The gateway's own client id there" },
    Spec { name: INTROSPECTION_CLIENT_SECRET_ENV, value: "VARIABLE", shape: Shape::One, help: "The variable that holds its secret" },
    Spec { name: INTROSPECTION_CLIENT_SECRET_FILE, value: "FILE", shape: Shape::One, help: "The file that holds its secret" },
    Spec { name: INTROSPECTION_TOKEN_PREFIX, value: "TEXT", shape: Shape::One, help: "What the server's opaque tokens begin with; it is shown no others" },
    Spec { name: DISCOVERY, value: "auto|always|off", shape: Shape::One, help: "Which OAuth metadata is published: that of the issuer, also that there is none, or none [default: auto]" },
];

#[rustfmt::skip]
pub(super) const AUDIT_RECORDS: &[Spec] = &[
    Spec { name: AUDIT, value: "stdout|off|PATH", shape: Shape::One, help: "Where audit records go; a path has a /, as in ./audit.log [default: stdout]" },
    Spec { name: AUDIT_FAILURE, value: "warn|refuse", shape: Shape::One, help: "What becomes of requests while records cannot be kept: a line in the log, or refusal [default: warn]" },
];
