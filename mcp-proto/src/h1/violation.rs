//! What a peer can do wrong.

use std::error::Error;
use std::fmt;

use http::StatusCode;

/// Why what a client sent is no request, or not all of one. After each of them nothing that follows
/// on the connection is taken for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Violation {
    /// The head is not what RFC 9112 sections 2 to 5 allow, read strictly.
    MalformedHead,
    /// `Host` is missing, repeated, empty, malformed, or not the target's authority (RFC 9112
    /// section 3.2).
    BadHost,
    /// The target is longer than [`Limits::target_bytes`](super::Limits::target_bytes).
    TargetTooLong,
    /// The fields are more, or longer, than [`Limits`](super::Limits) allow.
    HeadTooLarge,
    /// Where the body ends can be read in more than one way (RFC 9112 section 6.3).
    AmbiguousLength,
    /// The transfer codings are known, and not only `chunked` (RFC 9112 section 6.1).
    UnsupportedTransferCoding,
    /// The head took longer than [`Limits::head_time`](super::Limits::head_time).
    HeadTimeout,
    /// The chunks are not what RFC 9112 section 7.1 allows, read strictly, or hold more than data
    /// beyond bounds.
    MalformedBody,
    /// A chunk goes beyond [`Limits::body_bytes`](super::Limits::body_bytes).
    BodyTooLarge,
    /// The body took longer than [`Limits::body_time`](super::Limits::body_time).
    BodyTimeout,
}

impl Violation {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MalformedHead | Self::BadHost | Self::AmbiguousLength | Self::MalformedBody => {
                StatusCode::BAD_REQUEST
            }
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedTransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::HeadTimeout | Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MalformedHead => "the head is malformed",
            Self::BadHost => "Host is missing, repeated, malformed or not the target's",
            Self::TargetTooLong => "the target is too long",
            Self::HeadTooLarge => "the head is too large",
            Self::AmbiguousLength => "the body's length is ambiguous",
            Self::UnsupportedTransferCoding => "the only transfer coding is chunked",
            Self::HeadTimeout => "the head did not arrive in time",
            Self::MalformedBody => "the chunks are malformed",
            Self::BodyTooLarge => "the body is too large",
            Self::BodyTimeout => "the body did not arrive in time",
        })
    }
}

impl Error for Violation {}
