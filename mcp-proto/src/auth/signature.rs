//! What the gateway wants checked: signatures of JWTs. Claims are judged in the core; this is only
//! the arithmetic.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One check, as the gateway names it. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignatureId(pub u64);

/// A signature algorithm that a JWT may name (RFC 7518 section 3.1, RFC 8037 section 3.1). Those
/// with shared secrets, and `none`, are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the registry's")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name in the registry, as `alg` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name; names are case-sensitive.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
    }
}

/// One signature to check (RFC 7515 section 5.2, step 8). Whoever does it answers by
/// [`Gateway::handle_signature`](crate::Gateway::handle_signature) exactly once.
#[derive(Clone)]
pub struct SignatureCheck {
    /// The name to answer under.
    pub id: SignatureId,
    /// The algorithm, which fits the key.
    pub algorithm: Algorithm,
    /// The public key: a JSON Web Key (RFC 7517), as JSON.
    pub key: Arc<str>,
    /// What was signed: the encoded header and payload, and the dot between them.
    pub message: Bytes,
    /// The signature, decoded.
    pub signature: Bytes,
}

/// A key that cannot be used; with a line for the log that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureFailure(pub String);

/// A signed message is a credential: none of it is shown.
impl fmt::Debug for SignatureCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureCheck")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SignatureFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SignatureFailure {}
