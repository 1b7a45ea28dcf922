//! Bytes in and out: lines of a child's stdout, and frames that are written.
//!
//! MCP's stdio transport delimits messages by newlines, and messages must not hold any: that rule
//! is kept by [`splice`], through which every message leaves, in both directions.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

mod queue;

pub use self::queue::WriteQueue;
use crate::envelope::Span;

/// What is shorter than this is copied into one allocation; what is not is passed on in slices.
pub const COPY_LIMIT: usize = 16 * 1024;

/// Between two edits of a long message, what is shorter than this is copied all the same: a slice
/// of its own costs an entry in every vectored write.
const SLICE_LIMIT: usize = 1024;

/// Bytes to be written in order: mostly one slice, sometimes a few.
#[derive(Clone)]
pub struct Frame(Pieces);

#[derive(Clone)]
enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Frame {
    /// How many bytes there are in all.
    pub fn len(&self) -> usize {
        self.slices().iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.slices().iter().all(Bytes::is_empty)
    }

    /// The slices in their order; none if the frame is empty.
    pub fn slices(&self) -> &[Bytes] {
        match &self.0 {
            Pieces::One(bytes) if bytes.is_empty() => &[],
            Pieces::One(bytes) => std::slice::from_ref(bytes),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// The slices in their order, to be kept.
    pub fn into_slices(self) -> impl Iterator<Item = Bytes> {
        let (one, many) = match self.0 {
            Pieces::One(bytes) => (Some(bytes), Vec::new()),
            Pieces::Many(pieces) => (None, pieces),
        };
        one.filter(|bytes| !bytes.is_empty())
            .into_iter()
            .chain(many)
    }

    /// All bytes in one piece: a copy, unless they are in one piece already.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Pieces::One(bytes) => bytes.clone(),
            Pieces::Many(pieces) => pieces.concat().into(),
        }
    }

    /// The same bytes in an allocation of their own, of just their length: for what is parked, so
    /// that it never pins a larger buffer and its length is what it costs.
    pub fn compact(self) -> Self {
        self.slices().concat().into()
    }
}

impl Default for Frame {
    /// No bytes.
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self(Pieces::One(bytes))
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Frame {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl FromIterator<Bytes> for Frame {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut pieces: Vec<_> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        match pieces.len() {
            0 | 1 => pieces.pop().unwrap_or_default().into(),
            _ => Self(Pieces::Many(pieces)),
        }
    }
}

/// Shows lengths only: payloads are not for logs.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.slices().iter().map(Bytes::len);
        f.write_str("Frame")?;
        f.debug_list().entries(lengths).finish()
    }
}

/// Where the bytes of a document lie, which says whether a part of it can be passed on uncopied.
#[derive(Clone, Copy)]
pub enum Text<'a> {
    /// In a buffer that is used again: always copied.
    Short(&'a [u8]),
    /// In memory that can be shared: sliced where it pays.
    Long(&'a Bytes),
}

impl<'a> Text<'a> {
    /// The whole document.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Short(_) => "Short",
            Self::Long(_) => "Long",
        };
        f.debug_tuple(name).field(&self.as_bytes().len()).finish()
    }
}

/// A message as it is sent on: `prefix`, the part of `text` that `message` covers, `suffix`. Each
/// of the `edits` puts other bytes in place of a span of `text`; they are sorted, disjoint and
/// inside `message`.
///
/// With `line_breaks` ([`Envelope::has_line_breaks`](crate::envelope::Envelope::has_line_breaks)),
/// every CR and LF of the message becomes a space: in JSON they are white space between tokens and
/// nothing else (RFC 8259, section 2), and in a line (MCP, stdio) or an event (WHATWG HTML, section
/// 9.2) they must not be. Edits are taken as they are and must not hold any.
///
/// The result is one allocation if it is shorter than [`COPY_LIMIT`], if the text is
/// [`Text::Short`], or if there are line breaks; else slices of the text with small copied pieces
/// between them, which all lie in one allocation.
///
/// Panics if a span is not inside of what it should be inside of.
pub fn splice(
    prefix: &[u8],
    text: Text<'_>,
    message: Span,
    line_breaks: bool,
    edits: &[(Span, &[u8])],
    suffix: &[u8],
) -> Frame {
    let document = text.as_bytes();
    debug_assert!(
        line_breaks || memchr::memchr2(b'\r', b'\n', message.of(document)).is_none(),
        "line breaks are announced"
    );
    let removed: usize = edits.iter().map(|(span, _)| span.len()).sum();
    let added: usize = edits.iter().map(|(_, edit)| edit.len()).sum();
    let length = prefix.len() + message.len() - removed + added + suffix.len();

    // What is kept of the message, each part with the edit that follows it.
    let mut at = message.start;
    let parts = edits.iter().copied().chain([(
        Span {
            start: message.end,
            end: message.end,
        },
        suffix,
    )]);
    let parts = parts.map(|(span, edit)| {
        assert!(
            at <= span.start && span.start <= span.end && span.end <= message.end,
            "edits are sorted and inside"
        );
        let kept = Span {
            start: at,
            end: span.start,
        };
        at = span.end;
        (kept, edit)
    });

    match text {
        Text::Long(shared) if length >= COPY_LIMIT && !line_breaks => {
            let mut pieces = Vec::with_capacity(2 * edits.len() + 3);
            let mut copied =
                BytesMut::with_capacity(prefix.len() + added + suffix.len() + SLICE_LIMIT);
            copied.extend_from_slice(prefix);
            for (kept, edit) in parts {
                if kept.len() < SLICE_LIMIT {
                    copied.extend_from_slice(kept.of(document));
                } else {
                    pieces.push(copied.split().freeze());
                    pieces.push(shared.slice(kept.range()));
                }
                copied.extend_from_slice(edit);
            }
            pieces.push(copied.freeze());
            pieces.into_iter().collect()
        }
        _ => {
            let mut bytes = Vec::with_capacity(length);
            bytes.extend_from_slice(prefix);
            for (kept, edit) in parts {
                let start = bytes.len();
                bytes.extend_from_slice(kept.of(document));
                if line_breaks {
                    blank_line_breaks(&mut bytes[start..]);
                }
                bytes.extend_from_slice(edit);
            }
            bytes.into()
        }
    }
}

fn blank_line_breaks(bytes: &mut [u8]) {
    for byte in bytes {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

/// How much a [`LineBuffer`] makes room for at first.
const FIRST_READ: usize = 8 * 1024;

/// How much it makes room for when reads fill what it gives.
const FULL_READ: usize = 64 * 1024;

/// Splits a child's stdout into lines. The driver reads into [`spare`](Self::spare), says how much
/// in [`filled`](Self::filled), and takes lines until [`next_line`](Self::next_line) has no more.
///
/// # Invariants
///
/// - `start <= searched <= end <= buffer.len()`. All of `buffer` is initialised; the bytes that are
///   held lie in `start..end`.
/// - No LF is in `start..searched`: no byte is searched twice, however few come at a time.
/// - Once `next_line` has given `None`, at most `max_line + 1` bytes are held (the one is a CR), and
///   `searched == end`. `spare` makes room for at most `max_line + FULL_READ + 1` bytes then.
/// - While `discarded` is `Some(n)`, a line over `max_line` is being thrown away, of which `n` bytes
///   are gone; those that are held, if any, have not been searched.
pub struct LineBuffer {
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    end: usize,
    max_line: usize,
    read_size: usize,
    discarded: Option<u64>,
}

/// A line, without its LF and one CR before that. It is never empty nor all white space, and may
/// hold CR elsewhere.
pub enum Line<'a> {
    /// Of less than [`COPY_LIMIT`] bytes, in the buffer: to be copied.
    Short(&'a [u8]),
    /// Of at least [`COPY_LIMIT`] bytes, to be kept: memory of its own, less than half of which is
    /// something else.
    Long(Bytes),
    /// A line that was longer than allowed and has been thrown away. It had `length` bytes, with
    /// its CR and without its LF.
    Oversized {
        /// The line's length.
        length: u64,
    },
}

impl Line<'_> {
    /// The line as [`splice`] takes it; `None` if it is gone.
    pub fn text(&self) -> Option<Text<'_>> {
        match self {
            Self::Short(bytes) => Some(Text::Short(bytes)),
            Self::Long(bytes) => Some(Text::Long(bytes)),
            Self::Oversized { .. } => None,
        }
    }
}

/// Shows lengths only: payloads are not for logs.
impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, length) = match self {
            Self::Short(bytes) => ("Short", bytes.len() as u64),
            Self::Long(bytes) => ("Long", bytes.len() as u64),
            Self::Oversized { length } => ("Oversized", *length),
        };
        f.debug_tuple(name).field(&length).finish()
    }
}

impl LineBuffer {
    /// An empty buffer without an allocation, for lines of up to `max_line` bytes.
    pub fn new(max_line: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            end: 0,
            max_line,
            read_size: FIRST_READ,
            discarded: None,
        }
    }

    /// Room to read into, never empty: 4 to 8 KiB at first, up to 64 KiB once reads fill it, and
    /// more while a long line is gathered. To be called when the lines have been taken: what is
    /// still held is kept, but takes memory beyond the limit.
    pub fn spare(&mut self) -> &mut [u8] {
        let held = self.end - self.start;
        let room = self.buffer.len() - held;
        // Twice what is held: then copying it to a larger place costs a constant for every byte.
        let wanted = self.read_size.max(held.saturating_mul(2));
        let most = self
            .max_line
            .saturating_add(1)
            .max(held)
            .saturating_add(self.read_size);
        let wanted = wanted.min(most);
        // With nothing to copy, a larger buffer costs no more than the next read would gain.
        let needed = if held == 0 {
            self.read_size
        } else {
            self.read_size / 2
        };
        if room < needed || self.buffer.len() > FULL_READ.max(wanted) {
            self.resize(wanted);
        } else if self.buffer.len() - self.end < self.read_size / 2 || held == 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.moved_to_front();
        }
        &mut self.buffer[self.end..]
    }

    /// Moves what is held into a buffer of this length.
    fn resize(&mut self, length: usize) {
        let mut buffer = vec![0; length];
        let held = self.start..self.end;
        buffer[..held.len()].copy_from_slice(&self.buffer[held]);
        self.buffer = buffer;
        self.moved_to_front();
    }

    fn moved_to_front(&mut self) {
        self.searched -= self.start;
        self.end -= self.start;
        self.start = 0;
    }

    /// Says that the first `n` bytes of [`spare`](Self::spare) have been read into. Panics if there
    /// are fewer than that.
    pub fn filled(&mut self, n: usize) {
        let spare = self.buffer.len() - self.end;
        assert!(n <= spare, "a read of {n} bytes into {spare}");
        self.end += n;
        if n == spare {
            self.read_size = (self.read_size * 2).min(FULL_READ);
        }
    }

    /// The next whole line. Lines that are empty or white space (RFC 8259, section 2) are skipped.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        loop {
            let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]) else {
                self.searched = self.end;
                self.discard();
                return None;
            };
            let (start, newline) = (self.start, self.searched + found);
            self.start = newline + 1;
            self.searched = self.start;

            let raw = &self.buffer[start..newline];
            let length = raw.len() as u64 + self.discarded.unwrap_or(0);
            let line = raw.strip_suffix(b"\r").unwrap_or(raw);
            if self.discarded.take().is_some() || line.len() > self.max_line {
                return Some(Line::Oversized { length });
            }
            if line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                continue;
            }
            let end = start + line.len();
            return Some(if line.len() < COPY_LIMIT {
                Line::Short(&self.buffer[start..end])
            } else {
                Line::Long(self.take(start, end))
            });
        }
    }

    /// Throws away what is held of a line that is too long already, whatever will follow.
    fn discard(&mut self) {
        let held = self.end - self.start;
        // A CR at the limit may be the line's end.
        if self.discarded.is_none() && held <= self.max_line.saturating_add(1) {
            return;
        }
        self.discarded = Some(self.discarded.unwrap_or(0) + held as u64);
        (self.start, self.searched, self.end) = (0, 0, 0);
    }

    /// Takes a line out of the buffer, of which it is not a part any more. Where it is most of the
    /// buffer, the buffer goes with it and what follows is moved; else the line is copied, which
    /// costs less and does not pin memory many times its length.
    fn take(&mut self, start: usize, end: usize) -> Bytes {
        if end - start <= self.buffer.capacity() / 2 {
            return Bytes::copy_from_slice(&self.buffer[start..end]);
        }
        let rest = &self.buffer[self.start..self.end];
        let mut buffer = Vec::new();
        if !rest.is_empty() {
            buffer = vec![0; rest.len().max(self.read_size)];
            buffer[..rest.len()].copy_from_slice(rest);
        }
        self.end = rest.len();
        (self.start, self.searched) = (0, 0);
        let mut line = std::mem::replace(&mut self.buffer, buffer);
        line.truncate(end);
        line.shrink_to_fit();
        let mut line = Bytes::from(line);
        line.advance(start);
        line
    }

    /// How many bytes of a line that has not ended are held or have been thrown away: what an end
    /// of file would cut off.
    pub fn unfinished(&self) -> u64 {
        (self.end - self.start) as u64 + self.discarded.unwrap_or(0)
    }

    /// How many bytes are allocated.
    pub fn allocated(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives the allocation back if no byte is held, and begins with small reads again.
    pub fn release(&mut self) {
        if self.start == self.end {
            (self.start, self.searched, self.end) = (0, 0, 0);
            self.buffer = Vec::new();
            self.read_size = FIRST_READ;
        }
    }
}

impl fmt::Debug for LineBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineBuffer")
            .field("held", &(self.end - self.start))
            .field("allocated", &self.allocated())
            .field("discarded", &self.discarded)
            .finish_non_exhaustive()
    }
}
