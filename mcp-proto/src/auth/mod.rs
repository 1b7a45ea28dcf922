//! Who a caller is: bearer tokens, and the verifiers that are asked about them.
//!
//! A request to the MCP endpoint carries its credential in `Authorization` (RFC 6750 section 2.1)
//! and nowhere else. It is judged by its form first, and then by a chain of [`Verifier`]s, each of
//! which sees a token only if it may. Everything that is not a decision is asked for: a fetch
//! ([`FetchRequest`]), a signature ([`SignatureCheck`]), or an embedder's own opinion ([`Verdict`]).

mod fetch;
mod identity;
mod policy;
mod rate;
mod signature;
mod token;

pub use fetch::{FetchFailure, FetchId, FetchRequest, Fetched};
pub use identity::{Identity, Principal, Verdict};
pub use policy::{
    Audience, AuthPolicy, AuthorizationServer, Clients, Discovery, HttpVerifier,
    IntrospectionVerifier, JwtVerifier, KeySource, ScopeRule, StaticToken, Verifier, VerifierKind,
};
pub use rate::{ParseRateError, Rate};
pub use signature::{Algorithm, SignatureCheck, SignatureFailure, SignatureId};
pub use token::{InvalidToken, Secret, Token};
