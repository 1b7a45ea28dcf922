//! A server of 2026-07-28, on top of one child that speaks an older revision.
//!
//! ```text
//! Opening ──initialize answered──> Ready
//!    └─────── refused, or late ──> Failed
//! ```
//!
//! Whoever holds it speaks to it as to a modern child on stdio. It owns the handshake
//! (`handshake.rs`), makes legacy requests of modern ones (`request.rs`) and modern results and errors
//! of legacy ones (`result.rs`, `error.rs`), turns what the child asks into rounds (`rounds.rs`,
//! `capabilities.rs`), and feeds subscriptions (`subscriptions.rs`) and log levels (`logging.rs`).
//!
//! A call's request has the same id at the child; a retry carries the call on under its own. What the
//! machine asks for itself has a string for an id, so that none is mistaken for a call's.
//!
//! # What belongs to which call
//!
//! An answer and a notification of progress name their call. A child's request and a log message do
//! not, so they count as a call's only if no other can have caused them: a call that may have the
//! client asked, or that wants to be told what is logged, has the [`Turn`] alone, and others of these
//! kinds wait. A call that was cancelled may haunt the child until it is answered, which it need not
//! be: as long as it does, nothing is certain, and [`ModernServer::is_spent`] says to replace the child.

mod calls;
mod capabilities;
mod error;
mod handshake;
mod logging;
mod method;
mod request;
mod result;
mod rounds;
mod subscriptions;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use self::calls::{Call, Calls};
use self::capabilities::ClientCapabilities;
use self::error::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND};
use self::handshake::Server;
pub(crate) use self::handshake::discover_result;
use self::logging::Level;
use self::method::Method;
use self::request::legacy_line;
use self::rounds::{RequestState, Retry, Turn};
pub(crate) use self::subscriptions::Change;
use self::subscriptions::Subscriptions;
use self::waiting::Waiting;
use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field, Kind};
use crate::framing::{Text, splice};
use crate::limits::Limits;
use crate::time::{Instant, Now};
use crate::translation::TranslationOutput;

/// The `requestState` of no round of any call: a request that brings it is a call that begins anew.
pub(crate) const NO_ROUND: &str = "0.0";

/// How long requests of the child's are gathered, so that what it asks at about the same time is
/// asked of the client in one round.
const GATHER_TIME: Duration = Duration::from_millis(10);

/// How far the handshake with the child is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// It has not answered `initialize`; requests wait until it has.
    Opening,
    /// It has.
    Ready,
    /// It has refused, or has not answered in time. Every request is refused.
    Failed,
}

enum Phase {
    Opening { until: Instant },
    Ready(Server),
    Failed,
}

/// A server of 2026-07-28, on top of one child that speaks an older revision.
pub(crate) struct ModernServer {
    limits: Limits,
    client: ClientCapabilities,
    phase: Phase,
    calls: Calls,
    turn: Option<Turn>,
    waiting: Waiting,
    /// The level that the child was told last.
    level: Option<Level>,
    subscriptions: Subscriptions,
    /// How many requests of its own the machine has made.
    own_requests: u64,
    changes: VecDeque<Change>,
    outputs: VecDeque<TranslationOutput>,
}

impl ModernServer {
    /// A machine that opens the handshake with a child, for clients of these capabilities
    /// (`ClientCapabilities`, as JSON).
    pub(crate) fn new(capabilities: &[u8], limits: &Limits, now: Now) -> Self {
        let mut server = Self {
            client: ClientCapabilities::read(capabilities),
            phase: Phase::Opening {
                until: now.monotonic + limits.request_time,
            },
            calls: Calls::default(),
            turn: None,
            waiting: Waiting::default(),
            level: None,
            subscriptions: Subscriptions::default(),
            own_requests: 0,
            changes: VecDeque::new(),
            outputs: VecDeque::new(),
            limits: limits.clone(),
        };
        server.initialize(capabilities);
        server
    }

    /// Takes a request or `notifications/cancelled`. The ids of requests are positive integers, none
    /// of which comes twice; the progress token of a request that has one equals its id.
    pub(crate) fn handle_request(&mut self, line: &Bytes, message: &Envelope, now: Now) {
        match message.kind() {
            Kind::Request => self.request(line, message, now),
            Kind::Notification if is_method(message, line, "notifications/cancelled") => {
                self.cancel(line, message, now);
            }
            Kind::Notification | Kind::Response => {}
        }
    }

    /// Takes a message of the child's: `document` is the bytes of `text`, which was scanned.
    pub(crate) fn handle_child(
        &mut self,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
        now: Now,
    ) {
        match message.kind() {
            Kind::Request => self.child_request(document, message, now),
            Kind::Notification => self.child_notification(text, document, message),
            Kind::Response => match self.phase {
                Phase::Opening { .. } => self.initialized(document, message, now),
                Phase::Ready(_) => self.answer(text, message, now),
                Phase::Failed => {}
            },
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        if let Phase::Opening { until } = self.phase
            && until <= now.monotonic
        {
            self.phase = Phase::Failed;
            for (line, message) in self.waiting.take() {
                self.request(&line, &message, now);
            }
        }
        self.turn_timeout(now);
        self.calls.forget(now.monotonic);
    }

    /// When to call [`ModernServer::handle_timeout`] if nothing happens before.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let opening = match self.phase {
            Phase::Opening { until } => Some(until),
            Phase::Ready(_) | Phase::Failed => None,
        };
        let turn = self.turn.as_ref().and_then(Turn::due);
        [opening, turn, self.calls.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do, until `None`.
    pub(crate) fn poll_output(&mut self) -> Option<TranslationOutput> {
        self.outputs.pop_front()
    }

    /// The next change that the child has told of, until `None`: its own subscribers have heard of
    /// it, those at other children that run the same server have not.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// How far the handshake is.
    pub(crate) fn readiness(&self) -> Readiness {
        match self.phase {
            Phase::Opening { .. } => Readiness::Opening,
            Phase::Ready(_) => Readiness::Ready,
            Phase::Failed => Readiness::Failed,
        }
    }

    /// Whether a call that may have its client asked, or that asks for log messages, would be sent to
    /// the child at once: no other such call is in flight, parked, or waiting.
    pub(crate) fn is_free(&self) -> bool {
        self.turn.is_none()
    }

    /// Whether the child should get no more calls, and end when those in flight have: it may still
    /// ask for the sake of one that was abandoned.
    pub(crate) fn is_spent(&self) -> bool {
        self.client.has_any() && self.calls.has_asking_ghost()
            || self.calls.ghost_count() >= self.limits.calls_per_session
    }

    fn request(&mut self, line: &Bytes, message: &Envelope, now: Now) {
        let Some(request) = message.raw(Field::Id, line).and_then(number) else {
            return;
        };
        let method = message.text(Field::Method, line);
        let Some(method) = method.and_then(|name| Method::parse(&name)) else {
            return self.refuse(request, METHOD_NOT_FOUND, "Method not found");
        };
        match (&self.phase, method) {
            (Phase::Opening { .. }, _) => self.wait(request, line, message),
            (Phase::Failed, _) => {
                self.refuse(request, INTERNAL_ERROR, "The server refused to initialize.");
            }
            (Phase::Ready(server), Method::Discover) => {
                let id = Decimal::new(request);
                let parts = [
                    &b"{\"jsonrpc\":\"2.0\",\"id\":"[..],
                    id.as_bytes(),
                    b",\"result\":",
                    &server.discovered,
                    b"}",
                ];
                let frame = parts.concat().into();
                self.outputs.push_back(TranslationOutput::ToClient(frame));
            }
            (Phase::Ready(_), Method::Listen) => self.listen(request, line, message),
            (Phase::Ready(_), _) => self.call(request, method, line, message, now),
        }
    }

    fn call(&mut self, request: u64, method: Method, line: &Bytes, message: &Envelope, now: Now) {
        let level = match message.get(Field::LogLevel) {
            None => None,
            Some(_) => {
                let level = message.text(Field::LogLevel, line);
                let Some(level) = level.and_then(|level| Level::parse(&level)) else {
                    return self.refuse(request, INVALID_PARAMS, "The log level is unknown.");
                };
                Some(level)
            }
        };
        let wants_progress = message.get(Field::ProgressToken).is_some();
        if method.may_ask() && message.get(Field::RequestState).is_some() {
            let state = message.text(Field::RequestState, line);
            let Some(state) = state.and_then(|state| RequestState::parse(&state)) else {
                return self.refuse(request, INVALID_PARAMS, "The request state is malformed.");
            };
            let retry = Retry {
                request,
                wants_progress,
                level,
                line,
                message,
            };
            if self.resume(state, &retry, now) {
                return;
            }
        }
        let logs = level.filter(|_| self.logs());
        if method.may_ask() && self.client.has_any() || logs.is_some() {
            if self.turn.is_some() {
                return self.wait(request, line, message);
            }
            self.turn = Some(Turn::new(request));
        }
        if let Some(level) = logs {
            self.set_level(level);
        }
        let uri = message.raw(Field::Uri, line);
        let uri = uri.filter(|_| method == Method::ResourcesRead);
        let call = Call {
            method,
            request: Some(request),
            has_token: wants_progress,
            wants_progress,
            level,
            uri: uri.map(Bytes::copy_from_slice),
        };
        self.calls.insert(request, call);
        let frame = legacy_line(line, message, method);
        self.outputs.push_back(TranslationOutput::ToChild(frame));
    }

    fn wait(&mut self, request: u64, line: &Bytes, message: &Envelope) {
        if !self.waiting.push(line, message, self.limits.stdin_bytes) {
            self.refuse(
                request,
                INTERNAL_ERROR,
                "Too many requests wait for the server.",
            );
        }
    }

    fn cancel(&mut self, line: &Bytes, message: &Envelope, now: Now) {
        let Some(request) = message.raw(Field::RequestId, line).and_then(number) else {
            return;
        };
        if self.waiting.remove(request) || self.unlisten(request) {
            return;
        }
        if let Some(call) = self.calls.find(request) {
            self.abandon(call, "The call was cancelled.", now);
        }
    }

    /// Has the child cancel a call that nobody waits for any more.
    fn abandon(&mut self, call: u64, reason: &str, now: Now) {
        let params = format!("{{\"requestId\":{call},\"reason\":\"{reason}\"}}");
        self.line_for_child(format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{params}}}"
        ));
        let until = now.monotonic + self.limits.request_time_max;
        self.calls.abandon(call, until);
        if self.turn.as_ref().is_some_and(|turn| turn.call == call) {
            self.refuse_asked(reason);
            self.next_turn(now);
        }
    }

    /// Takes the child's answer to a call. Those to requests of the machine's own are of no use.
    fn answer(&mut self, text: Text<'_>, message: &Envelope, now: Now) {
        let document = text.as_bytes();
        let id = message.raw(Field::Id, document).and_then(number);
        let Some(id) = id.filter(|&id| !self.calls.lay(id)) else {
            return;
        };
        let has_turn = self.turn.as_ref().is_some_and(|turn| turn.call == id);
        if has_turn && self.keep_answer(document, message) {
            return;
        }
        let missing = self.calls.missing(id);
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        if let Some(request) = call.request {
            let is_error = message.get(Field::Error).is_some()
                || message.raw(Field::ResultIsError, document) == Some(b"true");
            if let Some(missing) = missing.filter(|_| is_error) {
                self.miss_capability(request, &missing);
            } else if message.get(Field::Error).is_some() {
                self.pass_error(request, &call, text, message);
            } else {
                let info = self.server_info();
                match result::complete(request, call.method, info, text, message) {
                    Some(frame) => self.outputs.push_back(TranslationOutput::ToClient(frame)),
                    None => {
                        self.refuse(request, INTERNAL_ERROR, "The server's result is no object.");
                    }
                }
            }
        }
        if has_turn {
            self.refuse_asked("The call has been answered.");
            self.next_turn(now);
        }
    }

    /// Ends the turn of the call that has it, and gives it to the next that waits.
    fn next_turn(&mut self, now: Now) {
        self.turn = None;
        while self.turn.is_none()
            && let Some((line, message)) = self.waiting.pop()
        {
            self.request(&line, &message, now);
        }
    }

    fn child_notification(&mut self, text: Text<'_>, document: &[u8], message: &Envelope) {
        let method = message.text(Field::Method, document).unwrap_or_default();
        match &*method {
            "notifications/progress" => self.progress(text, document, message),
            "notifications/message" => self.log(text, document, message),
            "notifications/cancelled" => self.child_cancelled(document, message),
            method => {
                if let Some(change) = Change::read(method, document, message) {
                    self.handle_change(&change);
                    self.changes.push_back(change);
                }
            }
        }
    }

    fn progress(&mut self, text: Text<'_>, document: &[u8], message: &Envelope) {
        let token = message.get(Field::Progress);
        let call = token.and_then(|token| self.calls.get(number(token.of(document))?));
        let request = call
            .filter(|call| call.has_token && call.wants_progress)
            .and_then(|call| call.request);
        let (Some(token), Some(request)) = (token, request) else {
            return;
        };
        let id = Decimal::new(request);
        let edits = [(token, id.as_bytes())];
        let breaks = message.has_line_breaks();
        let frame = splice(b"", text, message.span(), breaks, &edits, b"");
        self.outputs.push_back(TranslationOutput::ToClient(frame));
    }

    /// Sends the child a request of the machine's own.
    fn tell_child(&mut self, method: &str, params: &str) {
        self.own_requests += 1;
        self.line_for_child(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":\"gateway-{}\",\"method\":\"{method}\",\"params\":{params}}}",
            self.own_requests
        ));
    }

    fn line_for_child(&mut self, mut line: String) {
        line.push('\n');
        let frame = line.into_bytes().into();
        self.outputs.push_back(TranslationOutput::ToChild(frame));
    }

    fn line_for_client(&mut self, message: String) {
        let frame = message.into_bytes().into();
        self.outputs.push_back(TranslationOutput::ToClient(frame));
    }

    fn server(&self) -> Option<&Server> {
        match &self.phase {
            Phase::Ready(server) => Some(server),
            Phase::Opening { .. } | Phase::Failed => None,
        }
    }

    /// Who the server says it is, as raw JSON on one line.
    fn server_info(&self) -> Option<&str> {
        self.server()?.info.as_deref()
    }

    /// Whether the child can be told what to log.
    fn logs(&self) -> bool {
        self.server().is_some_and(|server| server.logging)
    }
}

/// Reads an id or a token that is a number of the holder's.
fn number(raw: &[u8]) -> Option<u64> {
    str::from_utf8(raw).ok()?.parse().ok()
}

fn is_method(message: &Envelope, document: &[u8], method: &str) -> bool {
    message
        .text(Field::Method, document)
        .is_some_and(|found| found == method)
}
