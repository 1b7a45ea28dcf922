//! One legacy session and the child that serves it.
//!
//! ```text
//! Opening ──initialize answered──> Live ──┐
//!    └──────────────┴── DELETE, TTL, child's end, drain ──> Ended
//! ```
//!
//! It relays in both directions (`to_child.rs`, `to_client.rs`; only ids and tokens are changed, as
//! splices on the raw bytes). It keeps what is in flight (`calls.rs`, `timeouts.rs`), the session's
//! event streams and their replay buffer (`streams.rs`), and the messages that wait for a stream
//! (`waiting.rs`).
//!
//! It ends the session by its own doing (the child's end) or on the gateway's order, fails what is
//! in flight, stops the process, and is drained once the process is gone and every grant has come
//! in.

mod calls;
mod streams;
mod timeouts;
mod to_child;
mod to_client;
mod waiting;

use std::collections::BTreeSet;

use bytes::Bytes;

use self::calls::Calls;
use self::streams::{Kind, Sending, Streams};
use self::waiting::Waiting;
use super::child::Child;
use super::role::Role;
use super::{Letter, Sender, UpstreamStanding};
use crate::audit::{AuditEvent, SessionEnd};
use crate::envelope::{self, Document, Source};
use crate::exchange;
use crate::framing::{Frame, Text};
use crate::gateway::News;
use crate::id::ExchangeId;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::sse;
use crate::time::{Instant, Now};
use crate::version::Version;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Live,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Call(u64),
    ChildRequest(u64),
    Drain,
}

/// One child process, and the session that it serves.
pub(super) struct Session {
    child: Child,
    phase: Phase,
    /// What the child's answer to `initialize` said, if it is a known revision.
    version: Option<Version>,
    calls: Calls,
    streams: Streams,
    waiting: Waiting,
    /// Since when the client has owed an answer to a request of the child's.
    owed_since: Option<Instant>,
    timers: BTreeSet<(Instant, Timer)>,
    /// Whether the gateway waits to hear that the session is idle, which it is not before this
    /// many grants have come in.
    report_idle: Option<u64>,
    /// Whether a call was in flight or a stream open after the last input.
    busy: bool,
    /// When the last call or stream ended. The gateway sees only requests begin, and would end a
    /// session right after a long call.
    idle_since: Instant,
    /// What a call is told that comes after the session's end.
    late: Refusal,
    draining: bool,
}

impl Role for Session {
    fn child(&self) -> &Child {
        &self.child
    }

    fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn child_ended(&mut self, end: SessionEnd, now: Now) {
        self.end(end, true, now);
    }

    fn take_line(&mut self, text: Text<'_>, document: &[u8], now: Now) {
        match envelope::scan(document, Source::Child) {
            Ok(Document::Single(message)) => self.child_message(text, document, &message, now),
            Ok(Document::Batch(messages)) if self.version.is_some_and(Version::has_batches) => {
                for message in &messages {
                    self.child_message(text, document, message, now);
                }
            }
            Ok(Document::Batch(_)) | Err(_) => self.child.skip_line(),
        }
    }
    fn take(&mut self, letter: Letter, now: Now) {
        match letter {
            Letter::Call {
                sender,
                body,
                document,
            } => {
                self.child.seen += 1;
                self.take_call(&sender, &body, &document, now);
            }
            Letter::Listen {
                sender,
                last_event_id,
            } => {
                self.child.seen += 1;
                self.listen(sender, last_event_id.as_ref());
            }
            Letter::Forfeit { .. } => self.child.seen += 1,
            Letter::Release { exchange, bytes } => self.streams.release(exchange, bytes),
            Letter::Disconnect { exchange } => self.disconnected(exchange, now),
            Letter::Expire {
                granted,
                last_seen,
                end,
            } => self.asked_to_expire(granted, last_seen, end, now),
            Letter::Retire { granted, end } => {
                self.child.granted = Some(granted);
                self.end(end, false, now);
            }
            Letter::Drain { until } => {
                self.draining = true;
                self.timers.insert((until, Timer::Drain));
            }
            Letter::FromHost { reference, letter } => self.child.hear_host(reference, letter),
            Letter::HostEnded => self.end(SessionEnd::ChildExited, true, now),
            // What only hosts are told.
            Letter::Request { sender, .. } => {
                self.child.seen += 1;
                self.child.refuse(sender.exchange, Refusal::SessionNotFound);
            }
            Letter::Assign { .. }
            | Letter::Changed(_)
            | Letter::GiveWay
            | Letter::Follow(_)
            | Letter::Unfollow(_)
            | Letter::ToHost { .. } => {}
        }
    }

    fn do_due(&mut self, now: Now) {
        while let Some(&(due, timer)) = self.timers.first()
            && due <= now.monotonic
        {
            self.timers.pop_first();
            match timer {
                Timer::Call(minted) => self.call_timer(minted, now),
                Timer::ChildRequest(minted) => self.child_request_timer(minted, now),
                Timer::Drain => self.end(SessionEnd::Draining, true, now),
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.timers.first().map(|&(due, _)| due)
    }

    fn standing(&self) -> UpstreamStanding {
        UpstreamStanding {
            state: self.child.state(),
            calls: self.calls.len(),
            streams: self.streams.attached_count(),
            stdin_bytes: self.child.stdin_queued(),
        }
    }

    fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.calls.request_count() == 0
            && self.streams.is_empty()
            && self.waiting.is_empty()
    }

    fn settle(&mut self, now: Now) {
        while let Some(line) = self.child.poll_line() {
            let line = line.to_bytes();
            self.take_line(Text::Long(&line), &line, now);
        }
        let idle = self.calls.is_empty();
        let busy = self.is_busy();
        if std::mem::replace(&mut self.busy, busy) && !busy {
            self.idle_since = now.monotonic;
        }
        if self.draining && idle && self.phase != Phase::Ended {
            self.end(SessionEnd::Draining, true, now);
        }
        if self
            .report_idle
            .is_some_and(|granted| granted <= self.child.seen)
            && !busy
            && self.phase != Phase::Ended
        {
            self.report_idle = None;
            let since = now.monotonic;
            self.child.news(News::Idle { since });
        }
        if idle {
            self.child.stdout.release();
        }
        self.child.settle();
    }
}

impl Session {
    /// A session that is opened with this child, in whose event ids `nonce` stands.
    pub(super) fn new(child: Child, nonce: u32, limits: &Limits, now: Now) -> Self {
        Self {
            child,
            phase: Phase::Opening,
            version: None,
            calls: Calls::default(),
            streams: Streams::new(nonce, limits),
            waiting: Waiting::default(),
            owed_since: None,
            timers: BTreeSet::new(),
            report_idle: None,
            busy: false,
            idle_since: now.monotonic,
            late: Refusal::SessionNotFound,
            draining: false,
        }
    }

    /// Whether the session may not be ended as idle.
    fn is_busy(&self) -> bool {
        !self.calls.is_empty() || self.streams.is_attached()
    }

    fn asked_to_expire(&mut self, granted: u64, last_seen: Instant, end: SessionEnd, now: Now) {
        if self.phase == Phase::Ended {
            return;
        }
        if self.is_busy() || granted != self.child.seen {
            self.report_idle = Some(granted);
            self.child.news(News::Busy);
        } else if self.idle_since > last_seen {
            let since = self.idle_since;
            self.child.news(News::Idle { since });
        } else {
            self.end(end, true, now);
        }
    }

    fn listen(&mut self, sender: Sender, last_event_id: Option<&Bytes>) {
        let exchange = sender.exchange;
        if self.phase == Phase::Ended {
            return self.child.refuse(exchange, Refusal::SessionNotFound);
        }
        if let Some(id) = last_event_id {
            return match self.streams.resume(sender, id) {
                Ok(resumed) => self.resumed(exchange, resumed),
                Err(refusal) => self.child.refuse(exchange, refusal),
            };
        }
        if self.draining {
            return self.child.refuse(exchange, Refusal::Draining);
        }
        if !self.streams.may_listen() {
            return self.child.refuse(exchange, Refusal::TooManyStreams);
        }
        let stream = self.streams.open(Kind::Listen, sender, 0);
        self.begin(stream);
        self.flush_waiting(stream, false);
    }

    fn resumed(&mut self, exchange: ExchangeId, resumed: streams::Resumed) {
        if let Some(replaced) = resumed.replaced {
            self.child.tell(replaced, exchange::Letter::End, true);
        }
        if resumed.finished && resumed.events.is_empty() {
            self.streams.finish(resumed.key);
            return self
                .child
                .tell(exchange, exchange::Letter::NothingToResume, true);
        }
        // The cursor stays where it is until the first event.
        let priming = self
            .has_priming_events()
            .then(|| sse::priming(resumed.id, self.child.limits.retry_time));
        self.child
            .tell(exchange, exchange::Letter::Begin(priming), false);
        for event in resumed.events {
            self.child
                .tell(exchange, exchange::Letter::Event(event), false);
        }
        if resumed.finished {
            self.finish(resumed.key);
        } else if resumed.kind == Kind::Listen {
            self.flush_waiting(resumed.key, false);
        }
    }

    fn disconnected(&mut self, exchange: ExchangeId, now: Now) {
        let Some(stream) = self.streams.detach(exchange) else {
            return;
        };
        if self.phase == Phase::Opening && !self.streams.is_deliverable(stream) {
            // The client never learned the session's id.
            self.end(SessionEnd::ClientGone, true, now);
        }
    }

    /// Begins the stream's response as an event stream, unless it has begun.
    fn begin(&mut self, stream: u64) {
        let Some((false, Some(exchange))) = self
            .streams
            .get(stream)
            .map(|stream| (stream.begun, stream.exchange()))
        else {
            return;
        };
        let priming = self
            .streams
            .begin(stream, self.has_priming_events())
            .map(|id| sse::priming(id, self.child.limits.retry_time));
        self.child
            .tell(exchange, exchange::Letter::Begin(priming), false);
    }

    fn has_priming_events(&self) -> bool {
        self.version.is_some_and(Version::has_priming_events)
    }

    /// Sends an event on a stream that has begun.
    fn send(&mut self, stream: u64, event: Frame) {
        match self.streams.send(stream, &event) {
            Sending::To(exchange) => {
                self.child
                    .tell(exchange, exchange::Letter::Event(event), false);
            }
            Sending::Overrun(reader) => {
                let exchange = reader.exchange;
                self.child.disconnect(exchange);
                self.child.audit(AuditEvent::ReaderDropped, Some(&reader));
            }
            Sending::Kept => {}
        }
    }

    /// Ends a stream for good.
    fn finish(&mut self, stream: u64) {
        if let Some(exchange) = self.streams.finish(stream) {
            self.child.tell(exchange, exchange::Letter::End, true);
        }
    }

    /// Ends the session: fails what is in flight and stops the child. `report` says whether
    /// the gateway has to hear of it.
    fn end(&mut self, end: SessionEnd, report: bool, now: Now) {
        let refusal = match end {
            SessionEnd::SpawnFailed => Refusal::ChildUnavailable,
            SessionEnd::ChildExited => Refusal::ChildExited,
            _ => Refusal::SessionEnded,
        };
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        if phase == Phase::Ended {
            return;
        }
        // A start that fails may be quicker than the `initialize` that it was for.
        if phase == Phase::Opening && self.child.seen == 0 {
            self.late = match end {
                SessionEnd::Draining => Refusal::Draining,
                _ => refusal,
            };
        }
        while let Some(minted) = self.calls.first() {
            self.fail(minted, refusal);
        }
        for exchange in self.streams.clear() {
            self.child.tell(exchange, exchange::Letter::End, true);
        }
        self.calls.clear_requests();
        self.waiting.clear();
        self.timers.clear();
        self.owed_since = None;
        self.child.stop(now);
        if report {
            self.child.news(News::Ended(end));
        }
    }
}
