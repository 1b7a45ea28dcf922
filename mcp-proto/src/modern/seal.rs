//! A child's `requestState`, sealed (MCP 2026-07-28, MRTR, "Server Requirements").
//!
//! The state goes through the client, which is not to be trusted with it: so it travels with whom and
//! which call it was issued to, which child instance holds what it stands for, and until when it is
//! good, all under an HMAC (RFC 2104) that only the holder of the key can make.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::auth::Principal;
use crate::envelope::{Envelope, Field, canonical};
use crate::refusal::Refusal;

/// What the MAC is over begins with this: no other use of the same key makes the same bytes.
const PURPOSE: &[u8] = b"mcp-gateway requestState 1";

/// The members of a call's params that differ when it is sent again.
const CHANGING: [&str; 3] = ["_meta", "requestState", "inputResponses"];

/// Bytes of the instance, the child's number, the expiry, and the tag.
const HEAD_BYTES: usize = 8 + 8 + 8;
const TAG_BYTES: usize = 32;

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
    pub(crate) fn of(principal: Option<&Principal>) -> Self {
        let mut digest = Sha256::new();
        let mut add = |text: Option<&str>| match text {
            Some(text) => {
                digest.update([1]);
                digest.update((text.len() as u64).to_be_bytes());
                digest.update(text);
            }
            None => digest.update([0]),
        };
        add(principal.map(|it| it.issuer.as_str()));
        add(principal.map(|it| it.subject.as_str()));
        add(principal.and_then(|it| it.client_id.as_deref()));
        Self(digest.finalize().into())
    }
}

/// Which call a state was issued to: its method, and its params without `_meta`, `requestState` and
/// `inputResponses`. Two spellings of the same JSON are the same call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallDigest([u8; 32]);

impl CallDigest {
    /// Of a client's request; `body` is the document that was scanned.
    pub(crate) fn of(envelope: &Envelope, body: &[u8]) -> Self {
        let method = envelope.text(Field::Method, body).unwrap_or_default();
        let params = envelope.raw(Field::Params, body).unwrap_or(b"{}");
        let mut digest = Sha256::new();
        digest.update((method.len() as u64).to_be_bytes());
        digest.update(&*method);
        digest.update(canonical(params, &CHANGING));
        Self(digest.finalize().into())
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

    /// The text that stands for `sealed` until `expires_unix_ms`: letters, digits, `-` and `_`. It
    /// is by a third and 75 bytes longer than the child's state.
    pub(crate) fn seal(
        &self,
        sealed: &Sealed,
        principal: PrincipalDigest,
        call: CallDigest,
        expires_unix_ms: u64,
    ) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + sealed.state.len() + TAG_BYTES);
        bytes.extend_from_slice(&sealed.origin.instance);
        bytes.extend_from_slice(&sealed.origin.child.to_be_bytes());
        bytes.extend_from_slice(&expires_unix_ms.to_be_bytes());
        bytes.extend_from_slice(sealed.state.as_bytes());
        let tag = mac(&self.0[0], &bytes, principal, call).finalize();
        bytes.extend_from_slice(&tag.into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What `text` stands for.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidRequestState`] if it was sealed with none of the keys, or for another
    /// principal or call, or is not good any more.
    pub(crate) fn open(
        &self,
        text: &[u8],
        principal: PrincipalDigest,
        call: CallDigest,
        now_unix_ms: u64,
    ) -> Result<Sealed, Refusal> {
        self.opened(text, principal, call, now_unix_ms)
            .ok_or(Refusal::InvalidRequestState)
    }

    fn opened(
        &self,
        text: &[u8],
        principal: PrincipalDigest,
        call: CallDigest,
        now_unix_ms: u64,
    ) -> Option<Sealed> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (payload, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        let is_ours = |key| {
            // Takes the same time wherever the two differ.
            mac(key, payload, principal, call).verify_slice(tag).is_ok()
        };
        if !self.0.iter().any(is_ours) {
            return None;
        }
        let (instance, rest) = payload.split_first_chunk()?;
        let (child, rest) = rest.split_first_chunk()?;
        let (expires, state) = rest.split_first_chunk()?;
        if now_unix_ms >= u64::from_be_bytes(*expires) {
            return None;
        }
        Some(Sealed {
            origin: Origin {
                instance: *instance,
                child: u64::from_be_bytes(*child),
            },
            state: str::from_utf8(state).ok()?.to_owned(),
        })
    }
}

/// The MAC over a payload, and over whom and what it is for, which need not travel with it.
fn mac(
    key: &[u8; 32],
    payload: &[u8],
    principal: PrincipalDigest,
    call: CallDigest,
) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys may have any length");
    mac.update(PURPOSE);
    mac.update(&principal.0);
    mac.update(&call.0);
    mac.update(payload);
    mac
}
