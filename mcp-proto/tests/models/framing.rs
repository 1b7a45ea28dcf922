//! Lines and splices by the plainest code that gives them.

use bytes::Bytes;
use mcp_proto::envelope::Span;
use mcp_proto::framing::{COPY_LIMIT, Line};

/// A line as it is kept for comparing.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    Short(Vec<u8>),
    Long(Bytes),
    Oversized(u64),
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short(line) => write!(
                f,
                "Short({}, {:?})",
                line.len(),
                line.get(..20.min(line.len()))
            ),
            Self::Long(line) => write!(f, "Long({}, {:?})", line.len(), &line[..20]),
            Self::Oversized(length) => write!(f, "Oversized({length})"),
        }
    }
}

pub(crate) fn keep(line: Line<'_>) -> Kept {
    match line {
        Line::Short(line) => Kept::Short(line.to_vec()),
        Line::Long(line) => Kept::Long(line),
        Line::Oversized { length } => Kept::Oversized(length),
    }
}

/// What the lines of `input` are, by splitting it.
pub(crate) fn expected(input: &[u8], max_line: usize) -> (Vec<Kept>, u64) {
    let mut pieces: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    let unfinished = pieces.pop().map_or(0, <[u8]>::len) as u64;
    let lines = pieces.into_iter().filter_map(|raw| {
        let line = raw.strip_suffix(b"\r").unwrap_or(raw);
        if line.len() > max_line {
            Some(Kept::Oversized(raw.len() as u64))
        } else if line.iter().all(|byte| b" \t\r".contains(byte)) {
            None
        } else if line.len() < COPY_LIMIT {
            Some(Kept::Short(line.to_vec()))
        } else {
            Some(Kept::Long(Bytes::copy_from_slice(line)))
        }
    });
    (lines.collect(), unfinished)
}

/// The bytes that a splice ought to give.
pub(crate) fn spliced(
    prefix: &[u8],
    document: &[u8],
    message: Span,
    line_breaks: bool,
    edits: &[(Span, &[u8])],
    suffix: &[u8],
) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    for at in message.start..=message.end {
        for (span, edit) in edits {
            if span.start == at {
                bytes.extend_from_slice(edit);
            }
        }
        if at == message.end
            || edits
                .iter()
                .any(|(span, _)| (span.start..span.end).contains(&at))
        {
            continue;
        }
        let byte = document[at as usize];
        bytes.push(if line_breaks && b"\r\n".contains(&byte) {
            b' '
        } else {
            byte
        });
    }
    bytes.extend_from_slice(suffix);
    bytes
}
