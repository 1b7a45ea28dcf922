//! What other servers are asked about a token, and what their answers say.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use http::{HeaderValue, Method};

use super::{Authenticator, Purpose, unix_seconds};
use crate::auth::judgement::Problem;
use crate::auth::token::TokenDigest;
use crate::auth::{
    Audience, FetchId, FetchRequest, Fetched, HttpVerifier, Identity, IntrospectionVerifier, Token,
    Verifier, judgement,
};
use crate::time::Now;

/// Most bytes of what another server says of a token.
const ANSWER_BYTES: usize = 64 * 1024;

impl Authenticator {
    /// Shows a token to the service whose it is.
    pub(super) fn fetch_opinion(
        &mut self,
        verifier: &HttpVerifier,
        token: &Token,
        purpose: Purpose,
    ) -> FetchId {
        let authorization = sensitive(format!("Bearer {}", token.expose()));
        let (time, private) = (self.verifier_time, self.policy.allow_private_addresses);
        self.fetch(purpose, |id| FetchRequest {
            id,
            method: verifier.method.clone(),
            url: verifier.url.clone(),
            authorization,
            form: None,
            most_bytes: ANSWER_BYTES,
            time,
            allow_private_addresses: private,
        })
    }

    /// Asks an authorization server about a token (RFC 7662 section 2.1).
    pub(super) fn fetch_introspection(
        &mut self,
        verifier: &IntrospectionVerifier,
        url: String,
        token: &Token,
        purpose: Purpose,
    ) -> FetchId {
        let authorization = basic(&verifier.client_id, verifier.client_secret.expose());
        let form = Serializer::new(String::new())
            .append_pair("token", token.expose())
            .append_pair("token_type_hint", "access_token")
            .finish();
        let (time, private) = (self.verifier_time, self.policy.allow_private_addresses);
        self.fetch(purpose, |id| FetchRequest {
            id,
            method: Method::POST,
            url,
            authorization,
            form: Some(form.into()),
            most_bytes: ANSWER_BYTES,
            time,
            allow_private_addresses: private,
        })
    }

    pub(super) fn judge_answer(
        &self,
        verifier: &Verifier,
        fetched: &Fetched,
        digest: TokenDigest,
        now: Now,
    ) -> Result<Identity, Problem> {
        let seconds = unix_seconds(now);
        match verifier {
            Verifier::Http(verifier) => {
                let anonymous = || {
                    digest.0[..16].iter().fold(String::new(), |mut text, byte| {
                        let _ = write!(text, "{byte:02x}");
                        text
                    })
                };
                judgement::of_service(verifier, fetched, anonymous, seconds)
            }
            Verifier::Introspection(verifier) => {
                let server = self.policy.authorization_server.as_ref();
                let issuer = server.map(|server| server.issuer.as_str());
                let audiences = self.audiences(&verifier.audience);
                let endpoint = verifier.url.as_deref().unwrap_or_default();
                judgement::of_introspection(
                    fetched,
                    issuer,
                    endpoint,
                    audiences.as_deref(),
                    seconds,
                )
            }
            Verifier::Static(_) | Verifier::Jwt(_) | Verifier::Custom => {
                unreachable!("they are not asked by a fetch")
            }
        }
    }

    /// The audiences of which a token must have one; `None` if any will do.
    pub(super) fn audiences<'a>(&'a self, audience: &'a Audience) -> Option<Vec<&'a str>> {
        match audience {
            Audience::Resource => Some(vec![&self.policy.resource]),
            Audience::OneOf(all) => Some(all.iter().map(String::as_str).collect()),
            Audience::Any => None,
        }
    }
}

/// A client's credentials (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    sensitive(format!("Basic {}", STANDARD.encode(pair)))
}

fn sensitive(value: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
