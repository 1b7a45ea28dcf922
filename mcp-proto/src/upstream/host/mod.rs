//! A child that serves many callers: the modern requests of HTTP, and legacy sessions whose server
//! speaks nothing else.
//!
//! ```text
//! Opening ──a line of the child's──> Live ──┐
//!    └──────────────┴── idle, retired, child's end, drain ──> Ended
//! ```
//!
//! To the callers, and in `to_child.rs` and `to_client.rs`, the child speaks 2026-07-28. Where it does
//! not, a [`ModernServer`] stands between: what is written to the child, and what is read from it, is
//! translated there, and nowhere else. The host mints the ids under which the child sees the requests,
//! so that an answer can only reach whoever asked; a minted id also stands for the request's
//! progress token, and for the id of the subscription that it opens.
//!
//! Of a child that has to be told apart by what it is doing, because nothing in what it says tells which
//! request it is about, the gateway grants one *exclusive* call at a time; the host says when it is over,
//! which may be long after its answer: a call that waits for input is parked at the child.

mod calls;
mod timeouts;
mod to_child;
mod to_client;
mod tools;

use std::collections::{BTreeSet, VecDeque};

use self::calls::Calls;
use self::tools::Tools;
use super::child::Child;
use super::mail::{FromHost, Request, Speaks};
use super::role::Role;
use super::{Letter, Sender, UpstreamStanding};
use crate::audit::SessionEnd;
use crate::envelope::{self, Document, Source};
use crate::framing::Text;
use crate::gateway::News;
use crate::id::UpstreamId;
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::translation::modern_server::{ModernServer, Readiness};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Live,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Call(u64),
    Drain,
}

/// A child that serves many callers.
pub(super) struct Host {
    child: Child,
    phase: Phase,
    /// What stands in front of a child that has a handshake.
    server: Option<Box<ModernServer>>,
    /// Whether the child was started before it was known for whom.
    is_ahead: bool,
    calls: Calls,
    tools: Tools,
    /// Calls of tools that wait until it is known what their headers have to mirror.
    held: VecDeque<(Sender, Box<Request>)>,
    timers: BTreeSet<(Instant, Timer)>,
    /// Whether an exclusive call has come whose end the gateway has not heard of.
    taken: bool,
    /// Whether the gateway waits to hear that the child is idle, which it is not before this many
    /// grants have come in.
    report_idle: Option<u64>,
    /// Whether a call was in flight after the last input.
    busy: bool,
    /// When the last call ended.
    idle_since: Instant,
    draining: bool,
    /// Calls whose reader is too far behind.
    overrun: Vec<u64>,
    /// Until when the child may log for the sake of a call that nobody waits for any more: it need not
    /// heed that it is cancelled, nor answer if it does.
    haunted_until: Option<Instant>,
}

impl Role for Host {
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
        let Ok(Document::Single(message)) = envelope::scan(document, Source::Child) else {
            return self.child.skip_line();
        };
        match &mut self.server {
            // A server has nothing to say before its handshake.
            None if self.is_ahead => self.child.skip_line(),
            Some(server) => {
                server.handle_child(text, document, &message, now);
                self.translate(now);
            }
            None => {
                if self.phase == Phase::Opening {
                    self.phase = Phase::Live;
                    self.child.news(News::Opened);
                }
                self.message(text, document, &message, now);
            }
        }
    }

    fn take(&mut self, letter: Letter, now: Now) {
        match letter {
            Letter::Request { sender, request } => {
                self.child.seen += 1;
                self.take_request(sender, request, now);
            }
            Letter::ToHost { from, letter } => self.take_session(from, letter, now),
            Letter::Call { sender, .. } | Letter::Listen { sender, .. } => {
                self.child.seen += 1;
                self.child.refuse(sender.exchange, Refusal::SessionNotFound);
            }
            Letter::Forfeit { exclusive } => {
                self.child.seen += 1;
                self.taken |= exclusive;
            }
            Letter::Release { exchange, bytes } => self.released(exchange, bytes),
            Letter::Disconnect { exchange } => self.disconnected(exchange, now),
            Letter::Assign { capabilities } => {
                self.is_ahead = false;
                let limits = &self.child.limits;
                self.server = Some(Box::new(ModernServer::new(&capabilities, limits, now)));
            }
            Letter::Changed(_) | Letter::Follow(_) | Letter::Unfollow(_) | Letter::GiveWay => {
                if let Some(server) = &mut self.server {
                    tell_server(server, letter, now);
                }
            }
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
                self.end_subscriptions(now);
            }
            Letter::FromHost { .. } | Letter::HostEnded => {}
        }
    }

    fn do_due(&mut self, now: Now) {
        while let Some(&(due, timer)) = self.timers.first()
            && due <= now.monotonic
        {
            self.timers.pop_first();
            match timer {
                Timer::Call(minted) => self.call_timer(minted, now),
                Timer::Drain => self.end(SessionEnd::Draining, true, now),
            }
        }
        if let Some(server) = &mut self.server {
            server.handle_timeout(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|&(due, _)| due);
        let server = self.server.as_ref().filter(|_| self.phase != Phase::Ended);
        let server = server.and_then(|server| server.poll_timeout());
        timer.into_iter().chain(server).min()
    }

    fn standing(&self) -> UpstreamStanding {
        UpstreamStanding {
            state: self.child.state(),
            calls: self.calls.count() + self.held.len(),
            streams: self.calls.begun(),
            stdin_bytes: self.child.stdin_queued(),
        }
    }

    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.held.is_empty()
    }

    fn settle(&mut self, now: Now) {
        self.translate(now);
        self.drop_overrun(now);
        let busy = self.is_busy();
        if std::mem::replace(&mut self.busy, busy) && !busy {
            self.idle_since = now.monotonic;
        }
        if self.phase != Phase::Ended {
            if self.draining && self.calls.count() == 0 && self.held.is_empty() {
                self.end(SessionEnd::Draining, true, now);
            } else {
                self.report(now);
            }
        }
        if self.calls.is_empty() {
            self.child.stdout.release();
        }
        self.child.settle();
    }
}

impl Host {
    pub(super) fn new(id: UpstreamId, speaks: Speaks, limits: &Limits, now: Now) -> Self {
        let is_ahead = matches!(speaks, Speaks::LegacyAhead);
        let server = match speaks {
            Speaks::Modern | Speaks::LegacyAhead => None,
            Speaks::Legacy { capabilities } => {
                Some(Box::new(ModernServer::new(&capabilities, limits, now)))
            }
        };
        let mut host = Self {
            child: Child::new(id, limits),
            phase: Phase::Opening,
            server,
            is_ahead,
            calls: Calls::default(),
            tools: Tools::default(),
            held: VecDeque::new(),
            timers: BTreeSet::new(),
            taken: false,
            report_idle: None,
            busy: false,
            idle_since: now.monotonic,
            draining: false,
            overrun: Vec::new(),
            haunted_until: None,
        };
        host.settle(now);
        host
    }

    /// Whether the child may not be ended as idle.
    fn is_busy(&self) -> bool {
        self.calls.count() > 0 || !self.held.is_empty() || self.taken
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

    /// Fails what is in flight and stops the child. `report` says whether the gateway has to hear of
    /// it.
    fn end(&mut self, end: SessionEnd, report: bool, now: Now) {
        if std::mem::replace(&mut self.phase, Phase::Ended) == Phase::Ended {
            return;
        }
        self.end_subscriptions(now);
        // What the child may have read is not said to be worth trying again.
        let (in_flight, held) = match end {
            SessionEnd::SpawnFailed | SessionEnd::InitializeFailed => {
                (Refusal::ChildUnavailable, Refusal::ChildUnavailable)
            }
            SessionEnd::ChildExited => (Refusal::ChildExited, Refusal::ChildExited),
            _ => (Refusal::ChildExited, Refusal::Draining),
        };
        while let Some(minted) = self.calls.first() {
            self.fail(minted, in_flight);
        }
        for (sender, _) in std::mem::take(&mut self.held) {
            self.child.refuse(sender.exchange, held);
        }
        self.timers.clear();
        self.taken = false;
        self.child.stop(now);
        if report {
            self.child.news(News::Ended(end));
        }
    }

    /// Carries what the translation has to say, in both directions.
    fn translate(&mut self, now: Now) {
        // What it says to the client may have the host ask the child something further.
        while let Some(output) = self.server.as_mut().and_then(|it| it.poll_output()) {
            self.translated(output, now);
        }
        let Some(server) = &self.server else {
            return;
        };
        match (server.readiness(), self.phase) {
            (Readiness::Ready, Phase::Opening) => {
                self.phase = Phase::Live;
                self.child.news(News::Opened);
            }
            (Readiness::Failed, Phase::Opening) => {
                self.end(SessionEnd::InitializeFailed, true, now);
            }
            _ => {}
        }
    }

    /// Tells the gateway what it waits to hear.
    fn report(&mut self, now: Now) {
        if self.taken && !self.has_exclusive() {
            self.taken = false;
            let spent = self.server.as_ref().is_some_and(|it| it.is_spent());
            self.child.news(News::Free { spent });
        }
        while let Some(change) = self.server.as_mut().and_then(|it| it.poll_change()) {
            self.child.news(News::Changed(change));
        }
        while let Some(interest) = self.server.as_mut().and_then(|it| it.poll_interest()) {
            self.child.news(News::Interest(interest));
        }
        let busy = self.is_busy();
        let seen = self.child.seen;
        if self.report_idle.is_some_and(|granted| granted <= seen) && !busy {
            self.report_idle = None;
            let since = now.monotonic;
            self.child.news(News::Idle { since });
        }
    }

    /// Whether the exclusive call waits, is in flight, or is parked.
    fn has_exclusive(&self) -> bool {
        self.calls.iter().any(|(_, call)| call.is_exclusive)
            || self.held.iter().any(|(_, request)| request.exclusive)
            || self.server.as_ref().is_some_and(|it| !it.is_free())
    }

    /// Tells a legacy session something.
    fn tell_session(&mut self, upstream: UpstreamId, reference: u64, letter: FromHost) {
        self.child
            .mail(upstream, Letter::FromHost { reference, letter });
    }
}

/// Tells what translates for a child what only that acts on.
fn tell_server(server: &mut ModernServer, letter: Letter, now: Now) {
    match letter {
        Letter::Changed(change) => server.handle_change(&change),
        Letter::Follow(uris) => uris.iter().for_each(|uri| server.follow(uri)),
        Letter::Unfollow(uris) => uris.iter().for_each(|uri| server.unfollow(uri)),
        Letter::GiveWay => server.give_way(now),
        _ => {}
    }
}
