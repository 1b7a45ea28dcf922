//! Others than clients and children: whoever is asked about tokens, as a test plays them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use mcp_proto::auth::{
    FetchFailure, FetchId, FetchRequest, Fetched, SignatureCheck, StartupFailure, Token, Verdict,
    VerificationId,
};
use serde_json::Value;

use crate::scene::Scene;
use crate::world::Event;

/// A JWT of this header and these claims. Whether its signature is good is for the one to say who is
/// asked to check it.
pub fn jwt(header: &Value, claims: &Value) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signature = URL_SAFE_NO_PAD.encode("signature");
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// An answer to a fetch.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Result<Fetched, FetchFailure> {
    Ok(Fetched {
        status: StatusCode::from_u16(status).expect("a status"),
        body: body.into(),
    })
}

impl Scene {
    /// The one thing that others are asked.
    #[track_caller]
    fn asked_outside(&mut self) -> Event {
        let event = self.outside.pop_front().expect("somebody is asked");
        assert!(self.outside.is_empty(), "and {:?}", self.outside);
        event
    }

    /// The one thing that others are asked: to answer a request.
    #[track_caller]
    pub fn fetch(&mut self) -> FetchRequest {
        match self.asked_outside() {
            Event::Fetch(request) => request,
            event => panic!("{event:?}"),
        }
    }

    /// The one thing that others are asked: to check a signature.
    #[track_caller]
    pub fn check(&mut self) -> SignatureCheck {
        match self.asked_outside() {
            Event::CheckSignature(check) => check,
            event => panic!("{event:?}"),
        }
    }

    /// The one thing that others are asked: their opinion of a token.
    #[track_caller]
    pub fn verification(&mut self) -> (VerificationId, Token) {
        match self.asked_outside() {
            Event::VerifyToken(verification, token) => (verification, token),
            event => panic!("{event:?}"),
        }
    }

    /// That every verifier was tried is the only thing that others hear.
    #[track_caller]
    pub fn started(&mut self) -> Vec<StartupFailure> {
        match self.asked_outside() {
            Event::Started(failures) => failures,
            event => panic!("{event:?}"),
        }
    }

    /// Nobody else is asked anything.
    #[track_caller]
    pub fn assert_nobody_is_asked(&self) {
        assert!(self.outside.is_empty(), "{:?}", self.outside);
    }

    /// A server answers.
    pub fn serves(&mut self, fetch: FetchId, status: u16, body: &str) {
        self.world.fetched(fetch, answer(status, body.to_owned()));
        self.settle();
    }

    /// A server does not answer.
    pub fn fails(&mut self, fetch: FetchId, failure: FetchFailure) {
        self.world.fetched(fetch, Err(failure));
        self.settle();
    }

    /// A signature was checked.
    pub fn checks(&mut self, check: &SignatureCheck, good: bool) {
        self.world.checked(check.id, Ok(good));
        self.settle();
    }

    /// The embedder says what they think of a token.
    pub fn verifies(&mut self, verification: VerificationId, verdict: Verdict) {
        self.world.verified(verification, verdict);
        self.settle();
    }
}
