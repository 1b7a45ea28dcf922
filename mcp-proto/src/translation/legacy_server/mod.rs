//! A legacy server, played on top of a child that speaks 2026-07-28 only.
//!
//! ```text
//! session ── handle_line ──────> ┌──────────────┐ ── Call, Cancel ────────────────────> shared
//!         <─ Line ────────────── │ LegacyServer │ <─ handle_answer, handle_notification child
//!                                └──────────────┘
//! ```
//!
//! One of these serves one session, whose machine writes to it what it would write to a child's
//! stdin, and reads from it what it would read from a child's stdout. What belongs to a session is
//! answered here: the handshake and what the client declared in it (`handshake.rs`), pings, log
//! levels. All else becomes modern calls (`calls.rs`), each of which says again who the client is
//! and what it can do (`meta.rs`), and whose answers lose what no legacy answer has (`answers.rs`).
//! An `input_required` result becomes real requests to the client and then the same call again
//! (`rounds.rs`); what the client subscribes to becomes one `subscriptions/listen`
//! (`subscriptions.rs`). Payloads are spliced, not read (`members.rs`).

mod answers;
mod calls;
mod handshake;
mod members;
mod meta;
mod rounds;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use self::calls::Calls;
use self::handshake::{Client, Server};
use self::subscriptions::Subscriptions;
use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field, Kind, Source, Span, scan};
use crate::framing::{Frame, Text, splice};
use crate::limits::Limits;
use crate::upstream::message::{is_method, minted_id};

/// JSON-RPC 2.0, section 5.1.
mod code {
    pub(super) const INVALID_REQUEST: i32 = -32600;
    pub(super) const METHOD_NOT_FOUND: i32 = -32601;
    pub(super) const INVALID_PARAMS: i32 = -32602;
    pub(super) const INTERNAL_ERROR: i32 = -32603;
    /// MCP 2025-11-25, resources, "Error Handling".
    pub(super) const RESOURCE_NOT_FOUND: i32 = -32002;
}

/// What a [`LegacyServer`] wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// A message of the legacy server's: JSON, one line, without the line's end.
    Line(Frame),
    /// A modern request, to be relayed to the shared child: one that [`scan`] takes from a client.
    /// Its `id` and, where progress is wanted, its progress token are `reference`, which is never
    /// used twice.
    Call { reference: u64, request: Bytes },
    /// Nobody waits for `reference` any more: to be cancelled at the child.
    Cancel { reference: u64 },
}

/// The server of one legacy session.
pub(crate) struct LegacyServer {
    limits: Limits,
    server: Server,
    client: Client,
    calls: Calls,
    subscriptions: Subscriptions,
    last_reference: u64,
    /// The id of the last request to the client.
    last_question: u64,
    outputs: VecDeque<Output>,
}

impl LegacyServer {
    /// A server that is what the child's `DiscoverResult`, a JSON object, says.
    pub(crate) fn new(discover_result: &[u8], limits: &Limits) -> Self {
        let server = Server::new(discover_result);
        Self {
            limits: limits.clone(),
            subscriptions: Subscriptions::new(server.offer),
            server,
            client: Client::new(b"{}"),
            calls: Calls::default(),
            last_reference: 0,
            last_question: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what the session says to its child: a line without line breaks in the message, whose
    /// ids and progress tokens the session has minted. It is held as long as its call may have to
    /// be made again, so it should not be a slice of something larger.
    pub(crate) fn handle_line(&mut self, line: &Bytes, message: &Envelope) {
        match message.kind() {
            Kind::Request => self.request(line, message),
            Kind::Notification => self.notification(line, message),
            Kind::Response => self.client_answered(line, message),
        }
    }

    /// Takes the child's response to a call. Its `id` is not looked at.
    pub(crate) fn handle_answer(
        &mut self,
        reference: u64,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        if message.kind() != Kind::Response {
            return;
        }
        if self.subscriptions.is_open(reference) {
            self.listen_ended(reference, document, message);
        } else if let Some((id, call)) = self.calls.answered(reference) {
            self.answered(id, call, text, document, message);
        }
    }

    /// Takes a notification that belongs to a call: progress, a log message, or what a
    /// `subscriptions/listen` delivers.
    pub(crate) fn handle_notification(
        &mut self,
        reference: u64,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        if message.kind() != Kind::Notification {
            return;
        }
        if self.subscriptions.is_open(reference) {
            self.delivered(reference, text, document, message);
        } else if let Some(call) = self.calls.in_flight(reference) {
            let token = call.token.map(Decimal::new);
            if is_method(message, document, "notifications/message") {
                self.relay(text, message, &[]);
            } else if is_method(message, document, "notifications/progress")
                && let (Some(token), Some(span)) = (token, message.get(Field::Progress))
            {
                self.relay(text, message, &[(span, token.as_bytes())]);
            }
        }
    }

    /// The next thing to do, if there is one.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn request(&mut self, line: &Bytes, message: &Envelope) {
        let Some(id) = message.get(Field::Id).and_then(|id| minted_id(id.of(line))) else {
            return;
        };
        let Some(method) = message.text(Field::Method, line) else {
            return;
        };
        // Before the call, which may cause what is listened for.
        if self.subscriptions.is_to_be_reopened() {
            self.listen();
        }
        match &*method {
            "initialize" => self.initialize(id, line, message),
            "ping" => self.result(id, b"{}"),
            "logging/setLevel" if self.server.has_logging => self.set_level(id, line, message),
            "resources/subscribe" | "resources/unsubscribe" if self.subscriptions.takes_uris() => {
                let subscribes = &*method == "resources/subscribe";
                self.subscribe(id, subscribes, line, message);
            }
            // What the server does not do, or legacy servers do not.
            "logging/setLevel"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "server/discover"
            | "subscriptions/listen" => {
                self.error(id, code::METHOD_NOT_FOUND, "Method not found");
            }
            method if method.starts_with("tasks/") => {
                self.error(id, code::METHOD_NOT_FOUND, "Method not found");
            }
            method => self.call(id, method, line, message),
        }
    }

    fn notification(&mut self, line: &Bytes, message: &Envelope) {
        if is_method(message, line, "notifications/initialized") {
            self.subscriptions.begin();
            self.listen();
        } else if is_method(message, line, "notifications/cancelled") {
            let id = message.get(Field::RequestId);
            if let Some(id) = id.and_then(|id| minted_id(id.of(line))) {
                self.cancelled(id);
            }
        }
    }

    fn mint_reference(&mut self) -> u64 {
        self.last_reference += 1;
        self.last_reference
    }

    /// Passes a message of the child's on, with these edits.
    fn relay(&mut self, text: Text<'_>, message: &Envelope, edits: &[(Span, &[u8])]) {
        let line_breaks = message.has_line_breaks();
        let line = splice(b"", text, message.span(), line_breaks, edits, b"");
        self.outputs.push_back(Output::Line(line));
    }

    /// Answers a request of the session's.
    fn result(&mut self, id: u64, result: &[u8]) {
        let line = [&response(id, "result"), result, b"}"].concat();
        self.outputs.push_back(Output::Line(line.into()));
    }

    /// Answers a request of the session's with an error. The message goes into JSON as it is.
    fn error(&mut self, id: u64, code: i32, message: &str) {
        let error = format!("{{\"code\":{code},\"message\":\"{message}\"}}}}");
        let line = [&response(id, "error"), error.as_bytes()].concat();
        self.outputs.push_back(Output::Line(line.into()));
    }
}

/// Whether a request can be relayed: what the client has said stands deeper in it than it was said.
fn can_be_relayed(request: &[u8]) -> bool {
    scan(request, Source::Client).is_ok()
}

/// The beginning of a response, up to the value of `member`.
fn response(id: u64, member: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":").into_bytes()
}
