//! What another server's answer says of a token.

use http::StatusCode;
use serde_json::{Map, Value};

use self::Problem::{Denied, NotYet, Refused, Unclear};
use super::jwt::{CLOCK_SKEW_SECONDS, has_audience, seconds};
use super::scope::split;
use super::{Clients, Fetched, HttpVerifier, Identity, Principal};

/// The error of a server that does not introspect tokens of this kind.
const UNSUPPORTED: &str = "unsupported_token_type";

/// Why a token is not let in. The reasons are for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The server says that it is not good.
    Denied,
    /// The server says nothing against it, but it is not for here.
    Refused(&'static str),
    /// It is not good yet.
    NotYet,
    /// The answer says nothing of the token.
    Unclear(&'static str),
}

/// Judges the answer of the service whose token it is. `anonymous` is the subject of a token that
/// the service says nothing of.
pub(crate) fn of_service(
    verifier: &HttpVerifier,
    fetched: &Fetched,
    anonymous: impl FnOnce() -> String,
    now: u64,
) -> Result<Identity, Problem> {
    match fetched.status {
        status if status.is_success() => {}
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Denied);
        }
        _ => return Err(Unclear("its status says nothing of the token")),
    }
    let document = serde_json::from_slice(&fetched.body).unwrap_or(Value::Null);
    let client_id = match &verifier.client_pointer {
        None => None,
        Some(pointer) => match document.pointer(pointer) {
            Some(Value::String(id)) if !id.is_empty() => Some(id.clone()),
            Some(Value::Number(id)) if !id.is_f64() => Some(id.to_string()),
            _ => return Err(Unclear("it has no client id at --http-client-pointer")),
        },
    };
    let expires_at = match &verifier.expiry_pointer {
        None => None,
        Some(pointer) => match document.pointer(pointer) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let unclear = "it has no number of seconds at --http-expiry-pointer";
                Some(seconds(value).ok_or(Unclear(unclear))?)
            }
        },
    };
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Refused("it has expired"));
    }
    match (&verifier.clients, &client_id) {
        (Clients::Any, _) => {}
        (Clients::Only(ids), Some(id)) if ids.contains(id) => {}
        (Clients::Only(_), _) => return Err(Refused("its client is none of --allow-clients")),
    }
    // A query may hold a key of the operator's, and the principal is on record.
    let service = verifier.url.split('?').next().unwrap_or_default();
    Ok(Identity {
        principal: Principal {
            issuer: service.to_owned(),
            subject: client_id.clone().unwrap_or_else(anonymous),
            client_id,
        },
        scopes: Vec::new(),
        expires_at,
    })
}

/// Judges an introspection response (RFC 7662 section 2.2). `audiences` is `None` where any will
/// do; `issuer` is the authorization server's, if it is known, and `endpoint` stands for it if not.
pub(crate) fn of_introspection(
    fetched: &Fetched,
    issuer: Option<&str>,
    endpoint: &str,
    audiences: Option<&[&str]>,
    now: u64,
) -> Result<Identity, Problem> {
    let no_response = Unclear("it is no introspection response");
    let Ok(Value::Object(response)) = serde_json::from_slice(&fetched.body) else {
        return Err(no_response);
    };
    match fetched.status {
        StatusCode::OK => {}
        // Some servers say so of JWTs, which whoever has them is to verify (RFC 7009 section 2.2.1
        // has the name).
        StatusCode::BAD_REQUEST if response.get("error") == Some(&UNSUPPORTED.into()) => {
            return Err(Refused("the server does not introspect such tokens"));
        }
        _ => return Err(Unclear("its status says nothing of the token")),
    }
    match response.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(Denied),
        _ => return Err(no_response),
    }
    judge_use(&response)?;
    let identity = introspected(&response, issuer.unwrap_or(endpoint)).ok_or(no_response)?;
    if identity.expires_at.is_some_and(|end| end <= now) {
        return Err(Refused("it has expired"));
    }
    match (response.get("iss"), issuer) {
        (Some(iss), Some(issuer)) if iss != issuer => {
            return Err(Refused("it is another issuer's"));
        }
        _ => {}
    }
    let has_one = |audiences: &[&str]| {
        let aud = response.get("aud");
        aud.is_some_and(|aud| has_audience(aud, audiences))
    };
    if !audiences.is_none_or(has_one) {
        return Err(Refused(
            "it was issued for another audience; see --audience",
        ));
    }
    let begins = match response.get("nbf") {
        None | Some(Value::Null) => 0,
        Some(value) => seconds(value).ok_or(no_response)?,
    };
    if begins > now.saturating_add(CLOCK_SKEW_SECONDS) {
        return Err(NotYet);
    }
    Ok(identity)
}

/// Only an access token that whoever bears it may use is good here: a refresh token is active too
/// (RFC 7662 section 2.2), and one that is bound to a key is worth nothing without that (RFC 7800
/// section 3.1).
fn judge_use(response: &Map<String, Value>) -> Result<(), Problem> {
    let is_one_of = |name: &str, good: &[&str]| {
        response.get(name).is_none_or(|value| {
            let text = value.as_str().unwrap_or_default();
            value.is_null() || good.iter().any(|good| text.eq_ignore_ascii_case(good))
        })
    };
    if !is_one_of("token_type", &["bearer", "access_token"])
        || !is_one_of("token_use", &["access_token", "access"])
    {
        return Err(Refused("it is no access token of the type Bearer"));
    }
    if response.contains_key("cnf") {
        return Err(Refused("it is bound to a key, which is not asked for here"));
    }
    Ok(())
}

/// `None` where a member has a type that it must not have, or nobody is named.
fn introspected(response: &Map<String, Value>, issuer: &str) -> Option<Identity> {
    let text = |name: &str| match response.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) if text.is_empty() => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    };
    let (subject, client_id) = (text("sub")?, text("client_id")?);
    let expires_at = match response.get("exp") {
        None | Some(Value::Null) => None,
        Some(value) => Some(seconds(value)?),
    };
    Some(Identity {
        principal: Principal {
            issuer: issuer.to_owned(),
            // A client that acts for itself may have no subject.
            subject: subject.or_else(|| client_id.clone())?,
            client_id,
        },
        scopes: split(&text("scope")?.unwrap_or_default()),
        expires_at,
    })
}
