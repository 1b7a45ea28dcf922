//! One message on its way through: what is read of it, and what is changed in it.

use crate::envelope::{Envelope, Field, RequestId, Span};

/// The edits of one message: at most an id and a token.
#[derive(Default)]
pub(super) struct Edits<'a> {
    edits: [(Span, &'a [u8]); 2],
    count: usize,
}

impl<'a> Edits<'a> {
    pub(super) fn add(&mut self, span: Option<Span>, text: &'a [u8]) {
        if let Some(span) = span {
            self.edits[self.count] = (span, text);
            self.count += 1;
            self.edits[..self.count].sort_by_key(|(span, _)| span.start);
        }
    }

    pub(super) fn as_slice(&self) -> &[(Span, &'a [u8])] {
        &self.edits[..self.count]
    }
}

/// Whether a message has this method.
pub(super) fn is_method(message: &Envelope, document: &[u8], method: &str) -> bool {
    message
        .text(Field::Method, document)
        .is_some_and(|found| found == method)
}

/// Reads an id that the gateway minted.
pub(super) fn minted_id(raw: &[u8]) -> Option<u64> {
    match RequestId::decode(raw)? {
        RequestId::Integer(digits) => digits.parse().ok(),
        RequestId::String(_) => None,
    }
}
