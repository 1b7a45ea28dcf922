//! What the head of a modern request mirrors of its body (MCP 2026-07-28, Streamable HTTP, "Request
//! Metadata").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::head::{Field, RequestHead};
use crate::version::Version;

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
    /// What a head mirrors; `None` if its `MCP-Protocol-Version` is absent or names a revision with
    /// sessions, of which nothing is mirrored.
    pub(crate) fn of(head: &RequestHead<'_>) -> Option<Box<Self>> {
        match head.version {
            Field::Absent => return None,
            Field::One(version) if Version::parse(version).is_some() => return None,
            Field::One(_) | Field::Repeated => {}
        }
        let params = head.mcp_params.iter();
        Some(Box::new(Self {
            version: head.version.into(),
            method: head.mcp_method.into(),
            name: head.mcp_name.into(),
            params: params
                .map(|&(suffix, value)| (suffix.into(), value.into()))
                .collect(),
        }))
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
