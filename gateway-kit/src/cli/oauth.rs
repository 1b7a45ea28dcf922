//! What was said about the OAuth authorization server, and the verifiers of its tokens.

use super::auth::concerns;
use super::auth_options::*;
use super::auth_value as value;
use super::environment::Environment;
use super::error::{Error, quoted};
use super::meaning::display;
use super::reading::Reading;
use super::tokens::{non_empty, secret};
use mcp_proto::auth::{
    Algorithm, Audience, AuthPolicy, AuthorizationServer, IntrospectionVerifier, JwtVerifier,
    KeySource, Verifier, VerifierKind,
};
use std::fs;
use toml::Value as Toml;

const ISSUER_OPTIONS: &[&str] = &[ISSUER, AUTHORIZATION_SERVER_METADATA];
const INTROSPECTION_OPTIONS: &[&str] = &[
    INTROSPECTION_URL,
    INTROSPECTION_CLIENT_ID,
    INTROSPECTION_CLIENT_SECRET_ENV,
    INTROSPECTION_CLIENT_SECRET_FILE,
    INTROSPECTION_TOKEN_PREFIX,
];
const JWT_OPTIONS: &[&str] = &[JWKS_URL, JWKS_FILE, JWT_ALGORITHMS, JWT_TYPES];

/// The authorization server. The service of an `http` verifier may have one too.
pub(super) fn server(
    reading: &mut Reading<'_>,
    kinds: &[VerifierKind],
    private: bool,
) -> Result<Option<AuthorizationServer>, Error> {
    use VerifierKind::{Http, Introspection, Jwt};
    if !concerns(reading, kinds, ISSUER_OPTIONS, &[Http, Introspection, Jwt])? {
        return Ok(None);
    }
    let issuer = reading.maybe(ISSUER, |text| value::issuer(text, private), display)?;
    let file = reading.maybe(AUTHORIZATION_SERVER_METADATA, non_empty, display)?;
    let Some(issuer) = issuer else {
        if kinds.contains(&Jwt) {
            let why = "is missing: auth names jwt; give the authorization server's URL";
            return Err(Error::about(ISSUER, why));
        }
        if file.is_some() {
            let why = format!("is missing: {AUTHORIZATION_SERVER_METADATA} is given; add it");
            return Err(Error::about(ISSUER, why));
        }
        return Ok(None);
    };
    let Some(file) = file else {
        let metadata = None;
        return Ok(Some(AuthorizationServer { issuer, metadata }));
    };
    let (text, document) = json(AUTHORIZATION_SERVER_METADATA, &file)?;
    // RFC 8414 section 3.3: it must be identical.
    if document["issuer"].as_str() != Some(issuer.as_str()) {
        let file = quoted(&file);
        let why = format!("{file} is not metadata of the issuer {issuer}: its issuer is another");
        return Err(Error::about(AUTHORIZATION_SERVER_METADATA, why));
    }
    let metadata = Some(text);
    Ok(Some(AuthorizationServer { issuer, metadata }))
}

/// The verifiers of the authorization server's tokens, those that `kinds` has.
pub(super) fn verifiers(
    reading: &mut Reading<'_>,
    env: &Environment,
    kinds: &[VerifierKind],
    policy: &AuthPolicy,
) -> Result<Vec<Verifier>, Error> {
    use VerifierKind::{Introspection, Jwt};
    let mut verifiers = Vec::new();
    let mut audience = Audience::Resource;
    if concerns(reading, kinds, &[AUDIENCE], &[Introspection, Jwt])? {
        audience = read_audience(reading, kinds)?;
    }
    let private = policy.allow_private_addresses;
    if concerns(reading, kinds, JWT_OPTIONS, &[Jwt])? {
        let audience = audience.clone();
        let keys = keys(reading, policy)?;
        let algorithm = |it: &Algorithm| Toml::from(it.as_str());
        let all = Algorithm::ALL.to_vec();
        let algorithms = reading.many(JWT_ALGORITHMS, all, value::algorithm, algorithm)?;
        let types = vec!["at+jwt".to_owned()];
        let types = reading.many(JWT_TYPES, types, value::jwt_type, display)?;
        for (key, empty) in [
            (JWT_ALGORITHMS, algorithms.is_empty()),
            (JWT_TYPES, types.is_empty()),
        ] {
            if empty {
                let why = "is an empty list, so that no JWT is good; give one, or leave it out";
                return Err(Error::about(key, why));
            }
        }
        verifiers.push(Verifier::Jwt(JwtVerifier {
            keys,
            algorithms,
            types,
            audience,
        }));
    }
    if concerns(reading, kinds, INTROSPECTION_OPTIONS, &[Introspection])? {
        let url = |text: &str| value::server_url(text, private);
        let url = reading.maybe(INTROSPECTION_URL, url, display)?;
        if url.is_none() {
            let why = format!("is missing: introspection needs it, or {ISSUER}");
            let server = policy.authorization_server.as_ref();
            let server = server.ok_or_else(|| Error::about(INTROSPECTION_URL, why))?;
            needs(server, "introspection_endpoint", INTROSPECTION_URL)?;
        }
        let id = reading.maybe(INTROSPECTION_CLIENT_ID, value::identifier, display)?;
        let client_id = id.ok_or_else(|| {
            Error::about(
                INTROSPECTION_CLIENT_ID,
                "is missing: auth names introspection; give the id of the gateway's own client",
            )
        })?;
        let client_secret = secret(
            reading,
            env,
            INTROSPECTION_CLIENT_SECRET_ENV,
            INTROSPECTION_CLIENT_SECRET_FILE,
        )?;
        let prefix = INTROSPECTION_TOKEN_PREFIX;
        verifiers.push(Verifier::Introspection(IntrospectionVerifier {
            url,
            client_id,
            client_secret,
            audience,
            token_prefix: reading.maybe(prefix, value::token_prefix, display)?,
        }));
    }
    Ok(verifiers)
}

fn read_audience(reading: &mut Reading<'_>, kinds: &[VerifierKind]) -> Result<Audience, Error> {
    let audiences = reading.many(AUDIENCE, Vec::new(), value::identifier, display)?;
    if audiences.is_empty() {
        return Ok(Audience::Resource);
    }
    if audiences.iter().all(|it| it != "any") {
        return Ok(Audience::OneOf(audiences));
    }
    if audiences.len() > 1 {
        let why = "has any beside others; leave any out, or the others";
        return Err(Error::about(AUDIENCE, why));
    }
    if kinds.contains(&VerifierKind::Jwt) {
        let why = "is any, which is for introspection only: a JWT that was issued for another \
                   service would come in; give the audience of this one";
        return Err(Error::about(AUDIENCE, why));
    }
    Ok(Audience::Any)
}

fn keys(reading: &mut Reading<'_>, policy: &AuthPolicy) -> Result<KeySource, Error> {
    let private = policy.allow_private_addresses;
    let url = reading.maybe(JWKS_URL, |text| value::server_url(text, private), display)?;
    let file = reading.maybe(JWKS_FILE, non_empty, display)?;
    match (url, file) {
        (Some(_), Some(_)) => {
            let why = format!("is given together with {JWKS_URL}; leave one of them out");
            Err(Error::about(JWKS_FILE, why))
        }
        (Some(url), None) => Ok(KeySource::Url(url)),
        (None, Some(file)) => key_set(&file).map(KeySource::Given),
        (None, None) => {
            if let Some(server) = &policy.authorization_server {
                needs(server, "jwks_uri", JWKS_URL)?;
            }
            Ok(KeySource::Metadata)
        }
    }
}

/// Metadata that was given must have what it is to be asked for.
fn needs(server: &AuthorizationServer, member: &str, instead: &str) -> Result<(), Error> {
    let Some(metadata) = &server.metadata else {
        return Ok(());
    };
    let document: serde_json::Value = serde_json::from_str(metadata).unwrap_or_default();
    if document[member].is_string() {
        return Ok(());
    }
    let why = format!("has no {member}; add it there, or give {instead}");
    Err(Error::about(AUTHORIZATION_SERVER_METADATA, why))
}

/// A JSON Web Key Set (RFC 7517 section 5) of public keys.
fn key_set(file: &str) -> Result<String, Error> {
    let (text, document) = json(JWKS_FILE, file)?;
    let wrong = |why: &str| Error::about(JWKS_FILE, format!("{} {why}", quoted(file)));
    let keys = document["keys"].as_array();
    let keys =
        keys.filter(|keys| !keys.is_empty() && keys.iter().all(|key| key["kty"].is_string()));
    let keys =
        keys.ok_or_else(|| wrong(r#"is not a key set: {"keys": [...]} with one or more keys"#))?;
    // RFC 7518 section 6: `d` is the private part of a key, and `k` all of a shared one.
    if keys
        .iter()
        .any(|key| key.get("d").is_some() || key.get("k").is_some())
    {
        return Err(wrong(
            "has a private or shared key; leave the public ones in it",
        ));
    }
    Ok(text)
}

fn json(key: &str, file: &str) -> Result<(String, serde_json::Value), Error> {
    let wrong = |why: String| Error::about(key, format!("{} {why}", quoted(file)));
    let text = fs::read_to_string(file).map_err(|why| wrong(format!("cannot be read: {why}")))?;
    match serde_json::from_str(&text) {
        Ok(document @ serde_json::Value::Object(_)) => Ok((text, document)),
        Ok(_) => Err(wrong("is not a JSON object".to_owned())),
        Err(why) => Err(wrong(format!("is not JSON: line {}", why.line()))),
    }
}
