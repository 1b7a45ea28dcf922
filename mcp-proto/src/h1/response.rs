//! The head of a response, and how its body is framed.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::framing::WriteQueue;
use crate::time::Now;

/// How the end of a response's body is told (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the connection's end, for HTTP/1.0.
    Close,
    /// There is none, whatever the head says: the answer to HEAD, 204 and 304.
    Omitted,
}

impl Framing {
    /// For a response with this status to such a request, and a body of this length if it is known.
    pub(super) fn of(
        status: StatusCode,
        length: Option<u64>,
        answers_head: bool,
        version: Version,
    ) -> Self {
        if answers_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Self::Omitted;
        }
        match length {
            Some(length) => Self::Length(length),
            None if version == Version::HTTP_10 => Self::Close,
            None => Self::Chunked,
        }
    }
}

/// What a response's head says beside its fields.
pub(super) struct StatusLine {
    pub(super) version: Version,
    pub(super) status: StatusCode,
    /// The body's length, where it is known.
    pub(super) length: Option<u64>,
    pub(super) framing: Framing,
    pub(super) persists: bool,
    pub(super) unix_ms: u64,
}

/// Where a response's fields are written to.
pub(super) struct Fields<'a> {
    output: &'a mut WriteQueue,
    /// Whether one of them says that the connection ends.
    pub(super) close: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn begin(output: &'a mut WriteQueue, version: Version, status: StatusCode) -> Self {
        output.copy(match version {
            Version::HTTP_10 => b"HTTP/1.0 ",
            _ => b"HTTP/1.1 ",
        });
        output.copy(status.as_str().as_bytes());
        output.copy(b" ");
        output.copy(status.canonical_reason().unwrap_or_default().as_bytes());
        output.copy(b"\r\n");
        Self {
            output,
            close: false,
        }
    }

    /// Writes a field. Those that frame the message or speak of the connection are this module's.
    pub(super) fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        if name == header::CONNECTION {
            self.close |= value.as_bytes().eq_ignore_ascii_case(b"close");
            return;
        }
        debug_assert!(
            ![
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::DATE
            ]
            .contains(name),
            "{name} is not for whoever answers"
        );
        self.write(name.as_str(), value.as_bytes());
    }

    fn write(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.output.copy(part);
        }
    }

    /// Writes what remains of the head.
    pub(super) fn end(mut self, line: &StatusLine) {
        let mut number = [0; 20];
        match (line.framing, line.length) {
            (Framing::Chunked, _) => self.write("transfer-encoding", b"chunked"),
            // RFC 9110 section 8.6.
            (Framing::Omitted, Some(_)) if line.status == StatusCode::NO_CONTENT => {}
            (_, Some(length)) => {
                let mut rest = &mut number[..];
                write!(rest, "{length}").expect("a number of 64 bits has 20 digits");
                let left = rest.len();
                self.write("content-length", &number[..number.len() - left]);
            }
            (_, None) => {}
        }
        // What each version takes for granted is not said (RFC 9112 section 9.3).
        match (line.persists, line.version) {
            (false, Version::HTTP_11) => self.write("connection", b"close"),
            (false, _) if self.close || line.framing == Framing::Close => {
                self.write("connection", b"close");
            }
            (true, Version::HTTP_10) => self.write("connection", b"keep-alive"),
            _ => {}
        }
        let date = UNIX_EPOCH + Duration::from_millis(line.unix_ms);
        self.write("date", httpdate::fmt_http_date(date).as_bytes());
        self.output.copy(b"\r\n");
    }
}

/// A whole response of HTTP/1.1 with this body, after which the connection closes: for whoever
/// answers what a [`Validator`](super::Validator) found. `fields` is as for
/// [`Connection::handle_response`](super::Connection::handle_response).
pub fn last_response(
    status: StatusCode,
    fields: impl FnOnce(&mut dyn FnMut(HeaderName, HeaderValue)),
    body: Bytes,
    now: Now,
) -> WriteQueue {
    let mut output = WriteQueue::default();
    let length = body.len() as u64;
    let mut writer = Fields::begin(&mut output, Version::HTTP_11, status);
    fields(&mut |name, value| writer.add(&name, &value));
    writer.end(&StatusLine {
        version: Version::HTTP_11,
        status,
        length: Some(length),
        framing: Framing::Length(length),
        persists: false,
        unix_ms: now.unix_ms,
    });
    output.push(body);
    output
}

/// Writes what stands before a chunk of this length (RFC 9112 section 7.1).
pub(super) fn begin_chunk(output: &mut WriteQueue, length: usize) {
    let mut line = [0; 18];
    let mut rest = &mut line[..];
    write!(rest, "{length:x}\r\n").expect("a length of 64 bits has 16 digits");
    let left = rest.len();
    output.copy(&line[..line.len() - left]);
}
