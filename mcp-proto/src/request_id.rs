//! Ids of HTTP requests: what a response, its records and its error have in common.

use std::fmt;
use std::sync::Arc;

use crate::decimal::Decimal;
use crate::head::RequestHead;
use crate::id::ExchangeId;

/// Most bytes of an id that a caller chose.
const TAKEN_BYTES: usize = 128;

/// Most bytes of one that was made: eight digits, a hyphen, and those of a `u64`.
const MADE_BYTES: usize = 8 + 1 + 20;

/// What the ids begin with that one process makes, so that those of two runs are told apart: bytes of
/// the system's CSPRNG.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instance(pub [u8; 4]);

/// The id of an HTTP request, as `X-Request-Id` carries it: 1 to 128 bytes of
/// `[A-Za-z0-9._~+/=:@-]`, which stand in a header, in a JSON string and in a log line as they are.
///
/// The caller's own is taken, so that it can be followed through proxies. What is made where there
/// is none consists of the instance in eight hexadecimal digits, a hyphen, and the exchange's number.
#[derive(Clone)]
pub struct RequestId(Text);

#[derive(Clone)]
enum Text {
    Taken(Arc<str>),
    Made { bytes: [u8; MADE_BYTES], length: u8 },
}

impl RequestId {
    /// The id that the caller sent; one that is made where `X-Request-Id` is absent, repeated, or no
    /// id by its form.
    pub fn of(head: &RequestHead<'_>, instance: Instance, exchange: ExchangeId) -> Self {
        let taken = head.request_id.value().and_then(Self::parse);
        taken.unwrap_or_else(|| Self::made(instance, exchange))
    }

    /// The id of what came with none.
    pub fn made(instance: Instance, exchange: ExchangeId) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; MADE_BYTES];
        for (pair, byte) in bytes.chunks_exact_mut(2).zip(instance.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        bytes[8] = b'-';
        let number = Decimal::new(exchange.0);
        let number = number.as_bytes();
        bytes[9..9 + number.len()].copy_from_slice(number);
        let length = u8::try_from(9 + number.len()).expect("at most 29 bytes");
        Self(Text::Made { bytes, length })
    }

    /// Reads a header's value; `None` if it is no id by its form.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_allowed = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b':' | b'@' | b'-'
                )
        };
        let fits = (1..=TAKEN_BYTES).contains(&value.len());
        if !fits || !value.iter().all(is_allowed) {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        Some(Self(Text::Taken(text.into())))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Taken(text) => text,
            Text::Made { bytes, length } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).expect("digits and a hyphen")
            }
        }
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RequestId {}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use proptest::prelude::*;

    const INSTANCE: Instance = Instance([0x3f, 0x9a, 0x12, 0xc4]);

    fn of(values: &[&[u8]]) -> String {
        let fields = values.iter().map(|value| ("X-Request-ID", *value));
        let head = RequestHead::new(&Method::GET, "/", None, fields);
        RequestId::of(&head, INSTANCE, ExchangeId(17)).to_string()
    }

    proptest! {
        #[test]
        fn an_id_of_the_grammar_is_taken_as_it_is(id in "[A-Za-z0-9._~+/=:@-]{1,128}") {
            prop_assert_eq!(of(&[id.as_bytes()]), id);
        }

        #[test]
        fn whatever_else_is_sent_one_is_made(
            before in "[A-Za-z0-9._~+/=:@-]{0,60}",
            wrong in any::<u8>(),
            after in "[A-Za-z0-9._~+/=:@-]{0,60}",
        ) {
            let allowed = b"._~+/=:@-";
            prop_assume!(!wrong.is_ascii_alphanumeric() && !allowed.contains(&wrong));
            let value = [before.as_bytes(), &[wrong], after.as_bytes()].concat();
            prop_assert_eq!(of(&[&value]), "3f9a12c4-17");
        }

        #[test]
        fn what_is_made_is_an_id(instance: [u8; 4], number: u64) {
            let made = RequestId::made(Instance(instance), ExchangeId(number));
            prop_assert_eq!(RequestId::parse(made.as_str().as_bytes()), Some(made));
        }

        #[test]
        fn an_id_stands_in_json_and_in_a_header_as_it_is(id in "[A-Za-z0-9._~+/=:@-]{1,128}") {
            prop_assert_eq!(serde_json::Value::from(id.as_str()).to_string(), format!("\"{id}\""));
            prop_assert!(http::HeaderValue::from_str(&id).is_ok());
        }
    }

    #[test]
    fn one_is_made_where_none_was_sent_or_not_just_one() {
        for values in [
            &[][..],
            &[&b"a"[..], b"b"],
            &[b"a", b"a"],
            &[b""],
            &[b"a, b"],
            &[b"a b"],
        ] {
            assert_eq!(of(values), "3f9a12c4-17", "{values:?}");
        }
        assert_eq!(of(&[&[b'a'; 128]]), "a".repeat(128));
        assert_eq!(of(&[&[b'a'; 129]]), "3f9a12c4-17");
    }
}
