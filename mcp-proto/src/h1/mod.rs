//! HTTP/1.1 from the server's side, without I/O: one connection as a state machine (RFC 9112).
//!
//! Nothing here knows what the requests are about, so that any server can be built on it. Whoever
//! drives a [`Connection`] owns the socket and the clock, and says what the responses are:
//!
//! ```
//! use mcp_proto::h1::{Connection, Limits, Output};
//! use mcp_proto::Now;
//! use std::io::IoSlice;
//!
//! let now = Now::default();
//! let mut connection = Connection::new(Limits::default(), now);
//!
//! // What has come from the client is read straight into the connection's buffer.
//! let request = b"GET /hello HTTP/1.1\r\nHost: example.com\r\n\r\n";
//! connection.read_buffer()[..request.len()].copy_from_slice(request);
//! connection.handle_read(request.len(), now);
//!
//! // What that amounts to is drained; the head is borrowed from the buffer.
//! while let Some(output) = connection.poll_output() {
//!     if let Output::Request(head) = output {
//!         assert_eq!(head.target(), "/hello");
//!         assert_eq!(head.fields().next(), Some(("Host", &b"example.com"[..])));
//!     }
//! }
//!
//! // A response whose length is known; `None` would make it a stream.
//! connection.handle_response(http::StatusCode::OK, Some(5), |_| {}, now);
//! connection.handle_chunk(&["hello".into()], now);
//! connection.handle_end(now);
//! while connection.poll_output().is_some() {}
//!
//! // One vectored write carries head and body.
//! let mut slots = [IoSlice::new(&[]); 8];
//! let filled = connection.unwritten(&mut slots);
//! assert!(slots[0].starts_with(b"HTTP/1.1 200 OK\r\n") && slots[0].ends_with(b"hello"));
//! let written = slots[..filled].iter().map(|slice| slice.len()).sum();
//! connection.handle_written(written, now);
//! ```
//!
//! # The contract
//!
//! It is that of the crate: call any number of `handle_*`, drain [`Connection::poll_output`], write
//! what is [unwritten](Connection::unwritten), read [`Connection::poll_timeout`] and
//! [`Connection::wants_read`], and wait. `handle_*` after the peer has gone, and time-outs that are
//! early, are ignored.
//!
//! # How strict it is
//!
//! What a request is must not depend on who reads it: that is how requests are smuggled past a
//! proxy. So wherever RFC 9112 lets a server choose between lenient and strict, this one is strict:
//!
//! - Lines end in CRLF, heads and chunks alike, and neither CR nor LF stands anywhere else. There
//!   are no empty lines before a request, no folded fields, no white space around a field's name.
//! - A target holds what RFC 3986 allows. One in absolute form names the same host as `Host`, of
//!   which there is exactly one.
//! - A body's length is told once: by one `Content-Length` of plain digits, or by
//!   `Transfer-Encoding: chunked` and nothing else.
//! - Chunk sizes stand alone, extensions and trailers hold no control characters, and trailers are
//!   read and thrown away: they never become fields.
//!
//! Each [`Violation`] is told to whoever answers, as early as it can be seen, and before anything
//! beyond the bounds of [`Limits`] is buffered. After the answer the connection closes, and nothing
//! that follows is taken for a request.
//!
//! A [`Validator`] is the same judgement without the rest: it reads along in front of another HTTP
//! server, which then sees no byte of what is not a request.

mod body;
mod connection;
mod head;
mod input;
mod limits;
mod response;
mod syntax;
mod validator;
mod violation;

pub use self::connection::{Connection, Output};
pub use self::head::RequestHead;
pub use self::limits::{LINGER_TIME, Limits, MOST_DISCARDED};
pub use self::response::last_response;
pub use self::validator::{Place, Validator, Verdict};
pub use self::violation::Violation;
