//! A server of 2026-07-28, on top of one child that speaks an older revision.
//!
//! ```text
//! Opening ──initialize answered──> Ready
//!    └─────── refused, or late ──> Failed
//! ```
//!
//! Whoever holds it speaks to it as to a modern child on stdio. It owns the handshake
//! (`handshake.rs`), makes legacy requests of modern ones (`to_child.rs`) and modern results and errors
//! of legacy ones (`to_client.rs`, `result.rs`, `error.rs`), turns what the child asks into rounds
//! (`rounds.rs`, `capabilities.rs`), and feeds subscriptions (`subscriptions.rs`) and log levels
//! (`logging.rs`). It keeps what is in flight (`calls.rs`), and what waits for its turn (`waiting.rs`).
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
mod result;
mod rounds;
mod subscriptions;
#[cfg(test)]
mod tests;
mod to_child;
mod to_client;
mod waiting;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use self::calls::Calls;
use self::capabilities::Declared;
use self::handshake::Server;
pub(crate) use self::handshake::discover_result;
use self::rounds::Turn;
use self::subscriptions::Subscriptions;
pub(crate) use self::subscriptions::{Change, Interest};
use self::waiting::Waiting;
use crate::envelope::{Envelope, Field, Kind};
use crate::framing::Text;
use crate::limits::Limits;
use crate::modern::Level;
use crate::time::{Instant, Now};
use crate::translation::TranslationOutput;

/// The `requestState` of no round of any call: a request that brings it is a call that begins anew.
pub(crate) const NO_ROUND: &str = "0.0";

/// What the ids of the machine's own requests begin with, before their numbers.
const OWN_ID: &str = "gateway-";

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
    client: Declared,
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
            client: Declared::read(capabilities),
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
        self.subscriptions_timeout(now);
        self.calls.forget(now.monotonic);
    }

    /// When to call [`ModernServer::handle_timeout`] if nothing happens before.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let opening = match self.phase {
            Phase::Opening { until } => Some(until),
            Phase::Ready(_) | Phase::Failed => None,
        };
        let turn = self.turn.as_ref().and_then(Turn::due);
        [opening, turn, self.calls.due(), self.subscriptions.due()]
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
        self.turn.is_none() && !self.waiting.has_turns()
    }

    /// Whether the child should get no more calls, and end when those in flight have: it may still
    /// ask for the sake of one that was abandoned.
    pub(crate) fn is_spent(&self) -> bool {
        self.client.has_any() && self.calls.has_asking_ghost()
    }

    /// Sends the child a request of the machine's own; gives its number.
    fn tell_child(&mut self, method: &str, params: &str) -> u64 {
        self.own_requests += 1;
        self.line_for_child(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":\"{OWN_ID}{}\",\"method\":\"{method}\",\"params\":{params}}}",
            self.own_requests
        ));
        self.own_requests
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
