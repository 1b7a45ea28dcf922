//! The bounds of a connection.

use std::time::Duration;

/// Most bytes that are read and thrown away of a body that nobody wants, or behind the last request.
pub const MOST_DISCARDED: usize = 64 * 1024;

/// How long a connection that closes may take to be read to its end.
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// The bounds that a [`Connection`](super::Connection) and a [`Validator`](super::Validator) keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's target; more is [`Violation::TargetTooLong`](super::Violation).
    pub target_bytes: usize,
    /// Most bytes of a head's fields, line ends included; more is
    /// [`Violation::HeadTooLarge`](super::Violation).
    pub head_bytes: usize,
    /// Most fields of a head; more is [`Violation::HeadTooLarge`](super::Violation). Most trailers of
    /// a body, too; more is [`Violation::MalformedBody`](super::Violation).
    pub head_fields: usize,
    /// Time from the first byte of a head to its last.
    pub head_time: Duration,
    /// Most bytes of a body that comes in chunks. A length that is told before is for whoever
    /// answers to judge.
    pub body_bytes: usize,
    /// Time from a request's head to the last byte of its body; `None` if whoever answers watches
    /// that.
    pub body_time: Option<Duration>,
    /// Most bytes of the line that tells a chunk's size, with its extensions and its end.
    pub chunk_line_bytes: usize,
    /// Most bytes of a body in chunks that are no data: sizes, extensions, trailers, line ends.
    pub chunk_framing_bytes: usize,
    /// Time that a connection may stand idle between requests, and that a peer may take none of
    /// what is written to it.
    pub keep_alive_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes: 8 * 1024,
            head_bytes: 16 * 1024,
            head_fields: 100,
            head_time: Duration::from_secs(10),
            body_bytes: 4 * 1024 * 1024,
            body_time: Some(Duration::from_secs(30)),
            chunk_line_bytes: 256,
            chunk_framing_bytes: 16 * 1024,
            keep_alive_time: Duration::from_secs(75),
        }
    }
}
