//! A connection with a client's end and a server's, both in the hands of a test.

use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mcp_proto::h1::{Connection, Limits, Output, Violation};
use mcp_proto::{Instant, Now};

/// What a connection tells, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Request {
        method: String,
        target: String,
        fields: Vec<(String, Vec<u8>)>,
        expects_continue: bool,
    },
    Body(Vec<u8>),
    BodyEnd,
    Violation(Violation),
    Disconnect,
    ShutdownWrite,
}

pub(crate) fn request(method: &str, target: &str) -> Told {
    Told::Request {
        method: method.to_owned(),
        target: target.to_owned(),
        fields: vec![("Host".to_owned(), b"a".to_vec())],
        expects_continue: false,
    }
}

/// 2026-11-25 12:00:00 UTC.
pub(crate) const UNIX_MS: u64 = 1_795_608_000_000;

/// `Date` at the beginning of each test.
pub(crate) const DATE: &str = "date: Wed, 25 Nov 2026 12:00:00 GMT\r\n";

pub(crate) struct Wire {
    pub(crate) connection: Connection,
    pub(crate) now: Now,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let now = Now {
            monotonic: Instant::from_nanos(1_000_000_000),
            unix_ms: UNIX_MS,
        };
        Self {
            connection: Connection::new(limits, now),
            now,
        }
    }

    /// The client sends bytes, as far as they are read.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.connection.wants_read() {
            let room = self.connection.read_buffer();
            let length = room.len().min(bytes.len());
            room[..length].copy_from_slice(&bytes[..length]);
            self.connection.handle_read(length, self.now);
            bytes = &bytes[length..];
        }
    }

    /// The client ends its sending side.
    pub(crate) fn end(&mut self) {
        self.connection.handle_read(0, self.now);
    }

    /// What the connection tells.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        while let Some(output) = self.connection.poll_output() {
            let next = match output {
                Output::Request(head) => Told::Request {
                    method: head.method().to_string(),
                    target: head.target().to_owned(),
                    fields: head
                        .fields()
                        .map(|(name, value)| (name.to_owned(), value.to_vec()))
                        .collect(),
                    expects_continue: head.expects_continue(),
                },
                Output::Body(bytes) => match told.last_mut() {
                    Some(Told::Body(before)) => {
                        before.extend_from_slice(&bytes);
                        continue;
                    }
                    _ => Told::Body(bytes.to_vec()),
                },
                Output::BodyEnd => Told::BodyEnd,
                Output::Violation(violation) => Told::Violation(violation),
                Output::Disconnect => Told::Disconnect,
                Output::ShutdownWrite => Told::ShutdownWrite,
            };
            told.push(next);
        }
        told
    }

    pub(crate) fn want_body(&mut self) {
        self.connection.handle_body_wanted(self.now);
    }

    pub(crate) fn respond(&mut self, status: StatusCode, length: Option<u64>) {
        self.connection
            .handle_response(status, length, |_| {}, self.now);
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        self.connection
            .handle_chunk(&[Bytes::copy_from_slice(bytes)], self.now);
    }

    pub(crate) fn finish(&mut self) {
        self.connection.handle_end(self.now);
    }

    /// A whole response of a status and a body.
    pub(crate) fn answer(&mut self, status: StatusCode, body: &str) {
        self.respond(status, Some(body.len() as u64));
        self.chunk(body.as_bytes());
        self.finish();
    }

    /// The client takes all that is to be written.
    pub(crate) fn written(&mut self) -> String {
        let mut all = Vec::new();
        while self.connection.wants_write() {
            let mut slots = [IoSlice::new(&[]); 4];
            let filled = self.connection.unwritten(&mut slots);
            let before = all.len();
            for slice in &slots[..filled] {
                all.extend_from_slice(slice);
            }
            let written = all.len() - before;
            self.connection.handle_written(written, self.now);
        }
        String::from_utf8(all).expect("tests answer in UTF-8")
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.monotonic = self.now.monotonic + time;
        self.connection.handle_timeout(self.now);
    }

    /// How long until something is due.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let due = self.connection.poll_timeout()?;
        Some(due - self.now.monotonic)
    }
}
