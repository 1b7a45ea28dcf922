//! What a verifier says of a token.

/// Whom a token was issued to. A session belongs to the principal that opened it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal {
    /// Who says so: an issuer's URL, or the name of a kind of verifier.
    pub issuer: String,
    /// The subject, unique within its issuer.
    pub subject: String,
    /// The OAuth client that the subject uses, where it is known.
    pub client_id: Option<String>,
}

/// What a valid token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom it was issued to.
    pub principal: Principal,
    /// The scopes that it was granted.
    pub scopes: Vec<String>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_at: Option<u64>,
}

/// A verifier's answer to one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token is good.
    Allowed(Identity),
    /// The token is not good.
    Denied,
    /// The verifier cannot say: it is down, slow, or talks nonsense.
    Unavailable,
}
