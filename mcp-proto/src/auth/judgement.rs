//! What another server's answer says of a token.

use http::StatusCode;
use serde_json::Value;

use super::jwt::{CLOCK_SKEW_SECONDS, has_audience, seconds};
use super::scope::split;
use super::{Clients, Fetched, HttpVerifier, Identity, Principal, Verdict};

/// The error of a server that does not introspect tokens of this kind.
const UNSUPPORTED: &str = "unsupported_token_type";

/// Judges the answer of the service whose token it is. `anonymous` is the subject of a token that
/// the service says nothing of.
pub(crate) fn of_service(
    verifier: &HttpVerifier,
    fetched: &Fetched,
    anonymous: impl FnOnce() -> String,
    now: u64,
) -> Verdict {
    match fetched.status {
        status if status.is_success() => {}
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Verdict::Denied;
        }
        _ => return Verdict::Unavailable,
    }
    let document = serde_json::from_slice(&fetched.body).unwrap_or(Value::Null);
    let client_id = match &verifier.client_pointer {
        None => None,
        Some(pointer) => match document.pointer(pointer) {
            Some(Value::String(id)) if !id.is_empty() => Some(id.clone()),
            Some(Value::Number(id)) if !id.is_f64() => Some(id.to_string()),
            _ => return Verdict::Unavailable,
        },
    };
    let expires_at = match &verifier.expiry_pointer {
        None => None,
        Some(pointer) => match document.pointer(pointer) {
            None | Some(Value::Null) => None,
            Some(value) => match seconds(value) {
                Some(end) => Some(end),
                None => return Verdict::Unavailable,
            },
        },
    };
    if expires_at.is_some_and(|end| end <= now) {
        return Verdict::Denied;
    }
    match (&verifier.clients, &client_id) {
        (Clients::Any, _) => {}
        (Clients::Only(ids), Some(id)) if ids.contains(id) => {}
        (Clients::Only(_), _) => return Verdict::Denied,
    }
    Verdict::Allowed(Identity {
        principal: Principal {
            issuer: verifier.url.clone(),
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
) -> Verdict {
    let Ok(Value::Object(response)) = serde_json::from_slice(&fetched.body) else {
        return Verdict::Unavailable;
    };
    match fetched.status {
        StatusCode::OK => {}
        // Some servers say so of JWTs, which whoever has them is to verify (RFC 7009 section 2.2.1
        // has the name).
        StatusCode::BAD_REQUEST if response.get("error") == Some(&UNSUPPORTED.into()) => {
            return Verdict::Denied;
        }
        _ => return Verdict::Unavailable,
    }
    match response.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Verdict::Denied,
        _ => return Verdict::Unavailable,
    }
    let Some(identity) = introspected(&response, issuer.unwrap_or(endpoint)) else {
        return Verdict::Unavailable;
    };
    let begins = response.get("nbf").and_then(seconds).unwrap_or(0);
    let ended = identity.expires_at.is_some_and(|end| end <= now);
    let foreign = match (response.get("iss"), issuer) {
        (Some(iss), Some(issuer)) => iss != issuer,
        _ => false,
    };
    let has_one = |audiences: &[&str]| {
        let aud = response.get("aud");
        aud.is_some_and(|aud| has_audience(aud, audiences))
    };
    let begun = begins <= now.saturating_add(CLOCK_SKEW_SECONDS);
    if ended || !begun || foreign || !audiences.is_none_or(has_one) {
        return Verdict::Denied;
    }
    Verdict::Allowed(identity)
}

/// `None` where a member has a type that it must not have, or nobody is named.
fn introspected(response: &serde_json::Map<String, Value>, issuer: &str) -> Option<Identity> {
    let text = |name: &str| match response.get(name) {
        None | Some(Value::Null) => Some(None),
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
