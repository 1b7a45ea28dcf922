//! JSON Web Tokens as access tokens (RFC 9068): their form and their claims. The signature is
//! checked by whoever drives the gateway, once the claims are found to be in order.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::judgement::Problem::{self, Refused};
use super::scope::split;
use super::{Algorithm, Identity, JwtVerifier, Principal, Token};

/// How far another server's clock may be ahead of ours, for tokens that begin in the future.
pub(crate) const CLOCK_SKEW_SECONDS: u64 = 30;

/// What a token is by its form. It says who may be shown the token.
#[derive(Debug)]
pub(crate) enum Form {
    /// No JWT that anyone can read without its key.
    Opaque,
    Jwt(Box<Jwt>),
    /// It begins like a JWT and is none: nobody's, or a part of somebody's.
    Broken,
}

/// A signed JWT (RFC 7515 section 3.1), decoded and not verified.
#[derive(Debug)]
pub(crate) struct Jwt {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// What was signed.
    pub(crate) message: Bytes,
    pub(crate) signature: Bytes,
}

impl Form {
    pub(crate) fn of(token: &Token) -> Self {
        let text = token.expose();
        let parts: Vec<&str> = text.split('.').collect();
        let header = parts.first().and_then(|part| object(part));
        match (parts.as_slice(), header) {
            ([_, payload, signature], Some(header)) => {
                let signed = text.len() - signature.len() - 1;
                match (object(payload), URL_SAFE_NO_PAD.decode(signature)) {
                    (Some(claims), Ok(signature)) => Self::Jwt(Box::new(Jwt {
                        header,
                        claims,
                        message: Bytes::copy_from_slice(&text.as_bytes()[..signed]),
                        signature: signature.into(),
                    })),
                    _ => Self::Broken,
                }
            }
            // Encrypted (RFC 7516 section 3.1): only its audience can read it.
            ([_, _, _, _, _], Some(header)) if header.contains_key("enc") => Self::Opaque,
            (_, Some(_)) => Self::Broken,
            // `eyJ` is `{"`.
            _ if text.starts_with("eyJ") => Self::Broken,
            _ => Self::Opaque,
        }
    }
}

impl Jwt {
    /// The issuer that the token names. Whether it is true the signature tells.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// The key that the header names (`kid`).
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    /// The algorithm, if the verifier allows it.
    pub(crate) fn algorithm(&self, verifier: &JwtVerifier) -> Option<Algorithm> {
        let name = self.header.get("alg")?.as_str()?;
        Algorithm::parse(name).filter(|algorithm| verifier.algorithms.contains(algorithm))
    }

    /// Judges everything but the signature (RFC 9068 section 4). `now` is in seconds since the Unix
    /// epoch.
    pub(crate) fn judge(
        &self,
        verifier: &JwtVerifier,
        issuer: &str,
        audiences: &[&str],
        now: u64,
    ) -> Result<Identity, Problem> {
        self.judge_header(verifier)?;
        self.judge_claims(issuer, audiences, now)
    }

    fn judge_header(&self, verifier: &JwtVerifier) -> Result<(), Problem> {
        let header = &self.header;
        // Keys that the token brings along are the attacker's (RFC 8725 section 3.10); an extension
        // that must be understood is not (RFC 7515 section 4.1.11).
        let alien = ["jku", "jwk", "x5u", "x5c", "crit"];
        if alien.iter().any(|name| header.contains_key(*name)) {
            return Err(Refused("its header has jku, jwk, x5u, x5c or crit"));
        }
        // A key's name is a string (RFC 7515 section 4.1.4); another value names none that is there.
        if header.get("kid").is_some_and(|name| !name.is_string()) {
            return Err(Refused("its header's kid is no string"));
        }
        // A media type's name is in any case, with or without `application/` (RFC 7515 section
        // 4.1.9).
        let declared = header
            .get("typ")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let declared = declared.to_ascii_lowercase();
        let declared = declared.strip_prefix("application/").unwrap_or(&declared);
        if !verifier
            .types
            .iter()
            .any(|name| name.eq_ignore_ascii_case(declared))
        {
            return Err(Refused("its type is another; see --jwt-types"));
        }
        Ok(())
    }

    fn judge_claims(
        &self,
        issuer: &str,
        audiences: &[&str],
        now: u64,
    ) -> Result<Identity, Problem> {
        let claims = &self.claims;
        let text = |name: &str| {
            let value = claims.get(name).map(Value::as_str);
            value.map(|text| text.ok_or(Refused("a claim of it that is text has another type")))
        };
        if self.issuer() != Some(issuer) {
            return Err(Refused("it is another issuer's"));
        }
        if !claims
            .get("aud")
            .is_some_and(|aud| has_audience(aud, audiences))
        {
            return Err(Refused(
                "it was issued for another audience; see --audience",
            ));
        }
        let expires_at = claims.get("exp").and_then(seconds);
        let expires_at = expires_at.ok_or(Refused("it has no exp that is a number"))?;
        if expires_at <= now {
            return Err(Refused("it has expired"));
        }
        let begins = match claims.get("nbf") {
            Some(value) => seconds(value).ok_or(Refused("its nbf is no number"))?,
            None => 0,
        };
        if claims.contains_key("cnf") {
            return Err(Refused("it is bound to a key, which is not asked for here"));
        }
        let subject = text("sub").transpose()?.unwrap_or_default();
        if subject.is_empty() {
            return Err(Refused("it has no sub"));
        }
        let client_id = text("client_id").or_else(|| text("azp")).transpose()?;
        let scopes = text("scope").transpose()?.unwrap_or_default();
        if begins > now.saturating_add(CLOCK_SKEW_SECONDS) {
            return Err(Problem::NotYet);
        }
        Ok(Identity {
            principal: Principal {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
                client_id: client_id.map(str::to_owned),
            },
            scopes: split(scopes),
            expires_at: Some(expires_at),
        })
    }
}

/// Whether `aud`, a string or an array of strings (RFC 7519 section 4.1.3), has one of these.
pub(crate) fn has_audience(aud: &Value, audiences: &[&str]) -> bool {
    match aud {
        Value::String(aud) => audiences.contains(&aud.as_str()),
        Value::Array(all) => {
            all.iter().all(Value::is_string)
                && all
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|aud| audiences.contains(&aud))
        }
        _ => false,
    }
}

/// A `NumericDate` (RFC 7519 section 2): seconds since the Unix epoch, a fraction cut off.
pub(crate) fn seconds(value: &Value) -> Option<u64> {
    let fraction = || {
        value
            .as_f64()
            .filter(|seconds| (0.0..1e15).contains(seconds))
    };
    value
        .as_u64()
        .or_else(|| fraction().map(|seconds| seconds as u64))
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
