//! What the head of a modern request mirrors of its body (MCP 2026-07-28, Streamable HTTP, "Request
//! Metadata").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::head::{Field, RequestHead};

/// An owned copy of what a head mirrors.
#[derive(Debug)]
pub(crate) struct RequestMetadata {
    /// `MCP-Protocol-Version`
    pub(super) version: Mirrored,
    /// `Mcp-Method`
    pub(super) method: Mirrored,
    /// `Mcp-Name`
    pub(super) name: Mirrored,
    /// `Mcp-Param-*`, by what follows the prefix, in the case that it came in.
    params: Vec<(Box<str>, Box<[u8]>)>,
}

/// The value of a field that mirrors a part of the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mirrored {
    Absent,
    One(Box<[u8]>),
    Repeated,
}

impl From<Field<'_>> for Mirrored {
    fn from(field: Field<'_>) -> Self {
        match field {
            Field::Absent => Self::Absent,
            Field::One(value) => Self::One(value.into()),
            Field::Repeated => Self::Repeated,
        }
    }
}

impl Mirrored {
    /// The value as it is, if the field was sent once and its characters are those of a header.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::One(value) if is_safe(value) => str::from_utf8(value).ok(),
            _ => None,
        }
    }

    /// Whether the field was sent once and says `text`, as it is.
    pub(super) fn says(&self, text: &str) -> bool {
        self.text() == Some(text)
    }

    /// Whether the field was sent once and says `text`, as it is or in Base64.
    pub(super) fn encodes(&self, text: &str) -> bool {
        matches!(self, Self::One(value) if decode(value).is_some_and(|value| value == text))
    }
}

impl RequestMetadata {
    /// What a head mirrors that [`RequestHead::is_modern`]; others mirror nothing.
    pub(crate) fn of(head: &RequestHead<'_>) -> Box<Self> {
        let params = head.mcp_params.iter();
        Box::new(Self {
            version: head.version.into(),
            method: head.mcp_method.into(),
            name: head.mcp_name.into(),
            params: params
                .map(|&(suffix, value)| (suffix.into(), value.into()))
                .collect(),
        })
    }

    /// The value of `Mcp-Param-{suffix}`.
    pub(super) fn param(&self, suffix: &str) -> Field<'_> {
        let mut named = self
            .params
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(suffix));
        match (named.next(), named.next()) {
            (None, _) => Field::Absent,
            (Some((_, value)), None) => Field::One(value),
            (Some(_), Some(_)) => Field::Repeated,
        }
    }
}

/// The text that a mirrored value stands for (2026-07-28, Streamable HTTP, "Value Encoding"); `None`
/// if it holds other characters than visible ASCII, space and tab, or what it encodes is not text.
pub(super) fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    if !is_safe(value) {
        return None;
    }
    let encoded = value
        .strip_prefix(b"=?base64?")
        .and_then(|rest| rest.strip_suffix(b"?="));
    match encoded {
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
        None => str::from_utf8(value).ok().map(Cow::Borrowed),
    }
}

/// Whether a value is visible ASCII, spaces and tabs.
fn is_safe(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// A value in Base64, as clients send it.
#[cfg(test)]
pub(super) fn encode(text: &str) -> String {
    format!("=?base64?{}?=", STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_specifications_encodings() {
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(decode(header.as_bytes()).as_deref(), Some(value));
        }
    }

    #[test]
    fn what_is_not_quite_base64_is_nothing_or_itself() {
        for header in [
            "=?base64?SGVsbG8?=",
            "=?base64?SGVs!!!bG8=?=",
            "=?base64?SGVsbG9=?=",
            "=?base64?_-==?=",
            "=?base64?/w==?=",
            "=?base64? ?=",
        ] {
            assert_eq!(decode(header.as_bytes()), None, "{header}");
        }
        for header in [
            "SGVsbG8=",
            "=?base64?SGVsbG8=",
            "SGVsbG8=?=",
            "=?BASE64?SGVsbG8=?=",
            "=?base64?=",
            "a\tb",
            "",
        ] {
            assert_eq!(decode(header.as_bytes()).as_deref(), Some(header));
        }
        assert_eq!(decode(b"=?base64??=").as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text: String) {
            let header = encode(&text);
            prop_assert_eq!(decode(header.as_bytes()), Some(text.into()));
        }

        #[test]
        fn only_characters_of_headers_are_taken(value: Vec<u8>) {
            let is_safe = value.iter().all(|&byte| byte == b'\t' || (32..127).contains(&byte));
            let decoded = decode(&value);
            if !value.starts_with(b"=?base64?") {
                prop_assert_eq!(decoded.is_some(), is_safe);
            } else {
                prop_assert!(decoded.is_none() || is_safe);
            }
        }
    }
}
