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
use crate::envelope::{self, Envelope, Field};
use crate::refusal::Refusal;

/// What the MAC is over begins with this: no other use of the same key makes the same bytes.
const PURPOSE: &[u8] = b"mcp-gateway requestState 1";

/// The members of a call's params that differ when it is sent again.
const CHANGING: [&str; 3] = ["_meta", "requestState", "inputResponses"];

/// Bytes of the instance, the child's number, and the expiry.
const HEAD_BYTES: usize = 8 + 8 + 8;

/// Bytes of the MAC.
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
    pub(crate) fn of(message: &Envelope, body: &[u8]) -> Self {
        let method = message.text(Field::Method, body).unwrap_or_default();
        let params = message.raw(Field::Params, body).unwrap_or(b"{}");
        let mut digest = Sha256::new();
        digest.update((method.len() as u64).to_be_bytes());
        digest.update(&*method);
        digest.update(envelope::digest(params, &CHANGING));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::{Document, Source, scan};

    fn sealed() -> impl Strategy<Value = Sealed> {
        (any::<[u8; 8]>(), any::<u64>(), any::<String>()).prop_map(|(instance, child, state)| {
            Sealed {
                origin: Origin { instance, child },
                state,
            }
        })
    }

    fn call(body: &str) -> CallDigest {
        match scan(body.as_bytes(), Source::Client).expect("a message") {
            Document::Single(envelope) => CallDigest::of(&envelope, body.as_bytes()),
            Document::Batch(_) => panic!("{body} is a batch"),
        }
    }

    /// A call with these params, which has this id.
    fn with(id: u32, method: &str, params: &str) -> CallDigest {
        call(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ))
    }

    fn principal(issuer: &str, subject: &str, client_id: Option<&str>) -> Principal {
        Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            client_id: client_id.map(str::to_owned),
        }
    }

    const NOBODY: fn() -> PrincipalDigest = || PrincipalDigest::of(None);

    fn digest(byte: u8) -> CallDigest {
        CallDigest([byte; 32])
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_until_it_expires(
            sealed in sealed(), key: [u8; 32], other: [u8; 32], expires: u64, now: u64,
        ) {
            prop_assume!(key != other);
            let keys = SealKeys::new(key, []);
            let text = keys.seal(&sealed, NOBODY(), digest(1), expires);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            prop_assert!(text.bytes().all(is_plain));
            prop_assert!(text.len() <= sealed.state.len() * 4 / 3 + 76);
            let expected = if now < expires { Ok(sealed) } else { Err(Refusal::InvalidRequestState) };
            // Keys are changed by sealing with a new one and opening with the old one too.
            for keys in [&keys, &SealKeys::new(other, [key])] {
                let opened = keys.open(text.as_bytes(), NOBODY(), digest(1), now);
                prop_assert_eq!(&opened, &expected);
            }
            let others = SealKeys::new(other, []);
            let opened = others.open(text.as_bytes(), NOBODY(), digest(1), now);
            prop_assert_eq!(opened, Err(Refusal::InvalidRequestState));
        }

        #[test]
        fn whatever_is_changed_is_refused(
            sealed in sealed(), at: proptest::sample::Index, bit in 0..8_u32,
        ) {
            let keys = SealKeys::new([7; 32], []);
            let text = keys.seal(&sealed, NOBODY(), digest(1), 10).into_bytes();
            let at = at.index(text.len());
            let mut flipped = text.clone();
            flipped[at] ^= 1 << bit;
            let shorter = text[..at].to_vec();
            let longer = [&text[..at], b"A", &text[at..]].concat();
            for changed in [flipped, shorter, longer] {
                let opened = keys.open(&changed, NOBODY(), digest(1), 0);
                prop_assert_eq!(opened, Err(Refusal::InvalidRequestState));
            }
        }

        #[test]
        fn anything_else_is_refused(text: Vec<u8>) {
            let opened = SealKeys::new([7; 32], []).open(&text, NOBODY(), digest(1), 0);
            prop_assert_eq!(opened, Err(Refusal::InvalidRequestState));
        }
    }

    #[test]
    fn another_caller_or_call_is_refused() {
        let keys = SealKeys::new([7; 32], []);
        let sealed = Sealed {
            origin: Origin {
                instance: [1; 8],
                child: 2,
            },
            state: "state".to_owned(),
        };
        let principals = [
            None,
            Some(principal("a", "b", None)),
            Some(principal("a", "b", Some(""))),
            Some(principal("a", "b", Some("c"))),
            Some(principal("a", "bc", None)),
            Some(principal("ab", "", None)),
            Some(principal("", "ab", None)),
        ];
        let principals = principals
            .each_ref()
            .map(|it| PrincipalDigest::of(it.as_ref()));
        let calls = [
            with(1, "tools/call", r#"{"name":"a","arguments":{"n":1}}"#),
            with(1, "tools/call", r#"{"name":"a","arguments":{"n":2}}"#),
            with(1, "tools/call", r#"{"name":"b","arguments":{"n":1}}"#),
            with(1, "prompts/get", r#"{"name":"a","arguments":{"n":1}}"#),
            with(
                1,
                "tools/call",
                r#"{"name":"a","arguments":{"n":1,"_meta":{}}}"#,
            ),
            with(1, "tools/call", r#"{"name":"a"}"#),
            with(1, "tools/call", "{}"),
        ];
        for (n, &principal) in principals.iter().enumerate() {
            for (m, &call) in calls.iter().enumerate() {
                let text = keys.seal(&sealed, principal, call, 1);
                for (i, &other) in principals.iter().enumerate() {
                    for (k, &other_call) in calls.iter().enumerate() {
                        let opened = keys.open(text.as_bytes(), other, other_call, 0);
                        assert_eq!(opened.is_ok(), (n, m) == (i, k));
                    }
                }
            }
        }
    }

    #[test]
    fn a_call_that_is_sent_again_is_the_same() {
        let first = with(
            1,
            "tools/call",
            r#"{"name":"a","arguments":{"n":1,"t":"\u00e4"},"_meta":{"progressToken":1}}"#,
        );
        let again = with(
            2,
            "tools\\/call",
            r#"{ "inputResponses" : {"k":{}}, "requestState":"s", "_meta":{"progressToken":2},
                "arguments":{"t":"ä", "n":1.0}, "name":"\u0061" }"#,
        );
        assert_eq!(first, again);
        assert_eq!(
            with(1, "tools/call", "{}"),
            call(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
        );
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", SealKeys::new([1; 32], [])), "SealKeys(..)");
    }
}
