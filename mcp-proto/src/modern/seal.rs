//! A child's `requestState`, sealed (MCP 2026-07-28, MRTR, "Server Requirements").
//!
//! The state goes through the client, which is not to be trusted with it: so it travels with whom and
//! which call it was issued to, which child instance holds what it stands for, and until when it is
//! good, all under an HMAC (RFC 2104) that only the holder of the key can make.

use std::fmt;

use crate::auth::Principal;
use crate::envelope::Envelope;
use crate::refusal::Refusal;

/// The keys of the seals: the first one seals, each of them opens, so that keys can be changed while
/// there are states under way. Its debug form shows none of them.
pub(crate) struct SealKeys(Vec<[u8; 32]>);

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKeys(..)")
    }
}

/// Whom a state was issued to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PrincipalDigest([u8; 32]);

impl PrincipalDigest {
    /// Of a principal; of nobody, where nobody is asked who they are.
    pub(crate) fn of(_principal: Option<&Principal>) -> Self {
        todo!()
    }
}

/// Which call a state was issued to: its method, and its params without `_meta`, `requestState` and
/// `inputResponses`. Two spellings of the same JSON are the same call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallDigest([u8; 32]);

impl CallDigest {
    /// Of a client's request; `body` is the document that was scanned.
    pub(crate) fn of(_envelope: &Envelope, _body: &[u8]) -> Self {
        todo!()
    }
}

/// Where a state comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    /// The gateway's own random bytes, which tell its process from all others.
    pub(crate) instance: [u8; 8],
    /// The child's number in that process.
    pub(crate) child: u64,
}

/// What is sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sealed {
    pub(crate) origin: Origin,
    /// The child's own `requestState`.
    pub(crate) state: String,
}

impl SealKeys {
    /// The keys, of which there is at least one.
    pub(crate) fn new(first: [u8; 32], others: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self(std::iter::once(first).chain(others).collect())
    }

    /// The text that stands for `sealed` until `expires_unix_ms`: letters, digits, `-` and `_`.
    pub(crate) fn seal(
        &self,
        _sealed: &Sealed,
        _principal: PrincipalDigest,
        _call: CallDigest,
        _expires_unix_ms: u64,
    ) -> String {
        todo!()
    }

    /// What `text` stands for.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidRequestState`] if it was sealed with none of the keys, or for another
    /// principal or call, or is not good any more.
    pub(crate) fn open(
        &self,
        _text: &[u8],
        _principal: PrincipalDigest,
        _call: CallDigest,
        _now_unix_ms: u64,
    ) -> Result<Sealed, Refusal> {
        todo!()
    }
}
