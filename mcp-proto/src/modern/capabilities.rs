//! What a client declares that it can do (MCP 2026-07-28, schema, `ClientCapabilities`).

use crate::envelope::{canonical, member};

/// A client's capabilities. Two spellings of the same JSON are equal, so that a child can serve all
/// clients that declare the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ClientCapabilities(Box<str>);

impl ClientCapabilities {
    /// Most bytes of their JSON text in a request. What clients declare is far below it.
    pub(crate) const BYTES: usize = 4 * 1024;

    /// Those of an object's JSON text, of a document that has been scanned.
    pub(crate) fn of(raw: &[u8]) -> Self {
        Self(canonical(raw, &[]).into())
    }

    /// Their JSON text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a capability is declared, such as `sampling`.
    pub(crate) fn declares(&self, capability: &str) -> bool {
        member(self.0.as_bytes(), capability).is_some_and(|value| value.starts_with(b"{"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_equal_and_what_is_declared_is_found() {
        let one = ClientCapabilities::of(br#"{"sampling":{},"roots":{"listChanged":true}}"#);
        let other =
            ClientCapabilities::of(br#"{ "roots" : {"listChanged": true}, "s\u0061mpling": {} }"#);
        assert_eq!(one, other);
        assert_eq!(
            one.as_str(),
            r#"{"roots":{"listChanged":true},"sampling":{}}"#
        );
        assert!(one.declares("sampling") && one.declares("roots"));
        assert!(!one.declares("elicitation") && !one.declares("listChanged"));
        let less = ClientCapabilities::of(br#"{"sampling":null,"roots":{}}"#);
        assert!(!less.declares("sampling") && less.declares("roots"));
        assert_ne!(one, less);
    }
}
