//! Server-sent events: how messages are written on an event stream (WHATWG HTML, section 9.2; MCP
//! 2025-11-25, transports, "Streamable HTTP").
//!
//! An event is a `data` line with the whole message, after an `id` line where the stream can be
//! resumed. Messages hold no CR and no LF, and these two alone end a line in an event stream, so no
//! message can be read as two events.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use crate::decimal::Decimal;
use crate::framing::{COPY_LIMIT, Frame};

/// What ends an event.
pub const EVENT_SUFFIX: &[u8] = b"\n\n";

/// A comment, which clients ignore, to keep proxies from closing a silent stream.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// An event's id: where in which stream of a session it stands, so that a `Last-Event-ID` says by
/// itself what to resume (MCP 2025-11-25, transports, "Resumability and Redelivery": ids are unique
/// across the session's streams).
///
/// Written as `nonce-stream-sequence`: eight lower-case hex digits and two decimal numbers.
/// [`FromStr`] accepts what [`Display`](fmt::Display) writes and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EventId {
    /// The session's: tells ids of other sessions and of earlier runs apart. Not a secret.
    pub nonce: u32,
    /// The stream within the session.
    pub stream: u64,
    /// The event within the stream.
    pub sequence: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}-{}", self.nonce, self.stream, self.sequence)
    }
}

/// The text is not an [`EventId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidEventId;

impl fmt::Display for InvalidEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an event id of this server")
    }
}

impl std::error::Error for InvalidEventId {}

impl FromStr for EventId {
    type Err = InvalidEventId;

    /// Reads a `Last-Event-ID` header's value.
    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        fn decimal(text: &str) -> Option<u64> {
            let is_plain = match text.as_bytes() {
                [b'0'] => true,
                [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
                _ => false,
            };
            is_plain.then(|| text.parse().ok()).flatten()
        }
        let read = || {
            let (nonce, rest) = text.split_once('-')?;
            let (stream, sequence) = rest.split_once('-')?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if nonce.len() != 8 || !nonce.bytes().all(is_hex) {
                return None;
            }
            Some(Self {
                nonce: u32::from_str_radix(nonce, 16).ok()?,
                stream: decimal(stream)?,
                sequence: decimal(sequence)?,
            })
        };
        read().ok_or(InvalidEventId)
    }
}

/// What stands before a message in its event, without an allocation.
#[derive(Clone, Copy)]
pub struct EventPrefix {
    bytes: [u8; Self::MOST],
    length: usize,
}

impl EventPrefix {
    /// The length of the longest.
    const MOST: usize = b"id: ffffffff-18446744073709551615-18446744073709551615\ndata: ".len();

    /// The prefix.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes[self.length..][..piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }
}

impl fmt::Debug for EventPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventPrefix(\"{}\")", self.as_bytes().escape_ascii())
    }
}

/// What stands before a message in its event: the `id` line if there is an id, and the name of the
/// `data` line. With the message, as [`splice`](crate::framing::splice) makes it, and
/// [`EVENT_SUFFIX`] it is an event, whose type is `message` as none is given.
pub fn event_prefix(id: Option<EventId>) -> EventPrefix {
    let mut prefix = EventPrefix {
        bytes: [0; EventPrefix::MOST],
        length: 0,
    };
    // Written for every event, by hand: formatting costs as much as the rest of one.
    if let Some(id) = id {
        prefix.push(b"id: ");
        for shift in (0..32).step_by(4).rev() {
            let digit = id.nonce >> shift & 15;
            prefix.push(&[b"0123456789abcdef"[digit as usize]]);
        }
        for number in [id.stream, id.sequence] {
            prefix.push(b"-");
            prefix.push(Decimal::new(number).as_bytes());
        }
        prefix.push(b"\n");
    }
    prefix.push(b"data: ");
    prefix
}

/// A whole event, for a message that is a frame already: one allocation if it is shorter than
/// [`COPY_LIMIT`], else the message's own slices. The message must hold no CR and no LF.
pub fn event(id: Option<EventId>, message: &Frame) -> Frame {
    debug_assert!(
        message
            .slices()
            .iter()
            .all(|piece| memchr::memchr2(b'\r', b'\n', piece).is_none()),
        "a message is one line"
    );
    let prefix = event_prefix(id);
    let prefix = prefix.as_bytes();
    let length = prefix.len() + message.len() + EVENT_SUFFIX.len();
    if length < COPY_LIMIT {
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(prefix);
        for piece in message.slices() {
            bytes.extend_from_slice(piece);
        }
        bytes.extend_from_slice(EVENT_SUFFIX);
        return bytes.into();
    }
    [Bytes::copy_from_slice(prefix)]
        .into_iter()
        .chain(message.slices().iter().cloned())
        .chain([Bytes::from_static(EVENT_SUFFIX)])
        .collect()
}

/// The first event of a stream: an id and empty data, which lets a client resume before anything
/// was sent, and how long it is to wait before it does (MCP 2025-11-25, transports, "Sending
/// Messages to the Server"). Parsers dispatch it, as an event without content (WHATWG HTML, section
/// 9.2.6), so it is for clients of that revision only.
pub fn priming(id: EventId, retry: Duration) -> Bytes {
    format!("id: {id}\nretry: {}\ndata: \n\n", retry.as_millis()).into()
}
