//! Who a caller is: bearer tokens, and the verifiers that are asked about them.
//!
//! A request to the MCP endpoint carries its credential in `Authorization` (RFC 6750 section 2.1)
//! and nowhere else. It is judged by its form first, and then by a chain of [`Verifier`]s, each of
//! which sees a token only if it may. Everything that is not a decision is asked for: a fetch
//! ([`FetchRequest`]), a signature ([`SignatureCheck`]), or an embedder's own opinion ([`Verdict`]).

mod address;
mod authenticator;
mod bucket;
mod cached;
mod challenge;
mod discovery;
mod fetch;
mod identity;
mod judgement;
mod jwt;
mod keys;
mod metadata;
mod policy;
mod rate;
mod scope;
mod signature;
mod token;
mod verdicts;

pub(crate) use address::client_address;
pub use authenticator::StartupFailure;
pub(crate) use authenticator::{Answer, AuthOutput, Authenticator, Credentials, Denial, Document};
pub(crate) use challenge::Challenges;
pub(crate) use discovery::{WellKnown, resource_metadata_url};
pub use fetch::{FetchFailure, FetchId, FetchRequest, Fetched, VerificationId};
pub use identity::{Identity, Principal, Verdict};
pub use policy::{
    Audience, AuthPolicy, AuthorizationServer, Clients, Discovery, HttpVerifier,
    IntrospectionVerifier, JwtVerifier, KeySource, ScopeRule, StaticToken, Verifier, VerifierKind,
};
pub use rate::{ParseRateError, Rate};
pub use signature::{Algorithm, SignatureCheck, SignatureFailure, SignatureId};
pub(crate) use token::TokenDigest;
pub use token::{InvalidToken, Secret, Token};
