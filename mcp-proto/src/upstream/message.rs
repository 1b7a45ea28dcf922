//! One message on its way through: what is read of it, and what is changed in it.

use crate::envelope::{Envelope, Field, RequestId, Span};
use crate::framing::{Frame, Text, splice};

/// The edits of one message: at most an id, a token and a state.
#[derive(Default)]
pub(super) struct Edits<'a> {
    edits: [(Span, &'a [u8]); 3],
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

    /// The message around `gap`, which both sides leave out, with these edits.
    pub(super) fn apply_around(
        &self,
        gap: Span,
        text: Text<'_>,
        message: &Envelope,
    ) -> (Frame, Frame) {
        let whole = message.span();
        let edits = &self.edits[..self.count];
        let at = edits.partition_point(|(span, _)| span.start < gap.start);
        let part = |span, edits| {
            let line_breaks = message.has_line_breaks();
            splice(b"", text, span, line_breaks, edits, b"")
        };
        let before = Span {
            start: whole.start,
            end: gap.start,
        };
        let after = Span {
            start: gap.end,
            end: whole.end,
        };
        (part(before, &edits[..at]), part(after, &edits[at..]))
    }

    /// The message with these edits, between `prefix` and `suffix`. Raw line breaks in it, which
    /// JSON allows between tokens, become spaces, or a second message could hide behind one.
    pub(super) fn apply(
        &self,
        prefix: &[u8],
        text: Text<'_>,
        message: &Envelope,
        suffix: &[u8],
    ) -> Frame {
        splice(
            prefix,
            text,
            message.span(),
            message.has_line_breaks(),
            &self.edits[..self.count],
            suffix,
        )
    }
}

/// Whether a message has this method.
pub(crate) fn is_method(message: &Envelope, document: &[u8], method: &str) -> bool {
    message
        .text(Field::Method, document)
        .is_some_and(|found| found == method)
}

/// Reads an id that the gateway minted.
pub(crate) fn minted_id(raw: &[u8]) -> Option<u64> {
    match RequestId::decode(raw)? {
        RequestId::Integer(digits) => digits.parse().ok(),
        RequestId::String(_) => None,
    }
}

/// Whether the bytes end in LF and hold no other LF, and no CR.
pub(super) fn is_one_line(frame: &Frame) -> bool {
    let mut left = frame.len();
    for slice in frame.slices() {
        if let Some(at) = memchr::memchr2(b'\r', b'\n', slice) {
            return left == at + 1 && slice[at] == b'\n';
        }
        left -= slice.len();
    }
    false
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn one_line() {
        for (slices, expected) in [
            (&[&b"a\n"[..]][..], true),
            (&[b"a", b"b\n"], true),
            (&[b"a\nb\n"], false),
            (&[b"a\n", b"b\n"], false),
            (&[b"a\r", b"\n"], false),
            (&[b"a\r\n"], false),
            (&[b"a\n\n"], false),
            (&[b"a"], false),
            (&[], false),
        ] {
            let frame: Frame = slices
                .iter()
                .map(|slice| Bytes::from_static(slice))
                .collect();
            assert_eq!(is_one_line(&frame), expected, "{slices:?}");
        }
    }
}
