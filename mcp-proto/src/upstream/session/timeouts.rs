//! How calls, and requests of the child's, end without an answer: in time, or because something
//! else has ended.

use bytes::Bytes;

use super::calls::{Call, ChildRequest};
use super::streams::Stream;
use super::{Session, Timer};
use crate::audit::{AuditEvent, SessionEnd};
use crate::exchange;
use crate::framing::Frame;
use crate::refusal::Refusal;
use crate::sse;
use crate::time::{Instant, Now};
use crate::version::Era;

impl Session {
    /// Fails a call that the child has not answered.
    pub(super) fn fail(&mut self, minted: u64, refusal: Refusal) {
        let Some(call) = self.remove_call(minted) else {
            return;
        };
        if refusal == Refusal::SessionEnded && !call.is_initialize {
            // A client that has ended its session may have closed what takes a plain answer, and
            // break on one; the official Python client does.
            self.begin(call.stream);
        }
        let stream = self.streams.get(call.stream);
        match stream.map(|stream| (stream.begun, stream.exchange())) {
            Some((true, exchange)) => {
                if let Some(exchange) = exchange {
                    self.child
                        .tell(exchange, exchange::Letter::Failed(refusal), false);
                }
                let error =
                    refusal.to_json_rpc(Era::Legacy, Some(&call.id), None, &call.sender.request);
                let id = self.streams.next_event_id(call.stream);
                let event = sse::event(id, &Frame::from(error));
                self.send(call.stream, event);
                self.child
                    .audit(AuditEvent::Refused(refusal), Some(&call.sender));
            }
            Some((false, Some(exchange))) => {
                self.streams.finish(call.stream);
                self.child.refuse(exchange, refusal);
            }
            Some((false, None)) | None => {
                self.child
                    .audit(AuditEvent::Refused(refusal), Some(&call.sender));
            }
        }
        self.answered(call.stream);
    }

    pub(super) fn answered(&mut self, stream: u64) {
        if self.streams.answered(stream) {
            self.finish(stream);
        }
    }

    pub(super) fn remove_call(&mut self, minted: u64) -> Option<Call> {
        let call = self.calls.remove(minted)?;
        self.timers.remove(&(call.timer, Timer::Call(minted)));
        Some(call)
    }

    /// Sets a call's timer to the earliest of what is due for it.
    pub(super) fn arm_call(&mut self, minted: u64) {
        let owed = self.owed_since.is_some();
        let Some(call) = self.calls.get_mut(minted) else {
            return;
        };
        let mut due = call.last_deadline;
        if !owed {
            due = due.min(call.deadline);
        }
        for at in [call.silence_at, call.poll_at].into_iter().flatten() {
            due = due.min(at);
        }
        self.timers.remove(&(call.timer, Timer::Call(minted)));
        call.timer = due;
        self.timers.insert((due, Timer::Call(minted)));
    }

    pub(super) fn call_timer(&mut self, minted: u64, now: Now) {
        let owed = self.owed_since.is_some();
        let Some(call) = self.calls.get_mut(minted) else {
            return;
        };
        let stream = call.stream;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.monotonic);
        if is_due(Some(call.last_deadline)) || (!owed && is_due(Some(call.deadline))) {
            if call.is_initialize {
                self.fail(minted, Refusal::RequestTimeout);
                return self.end(SessionEnd::InitializeFailed, true, now);
            }
            return self.time_out(minted);
        }
        let silent = is_due(call.silence_at);
        let poll = is_due(call.poll_at);
        if silent {
            call.silence_at = None;
        }
        if poll {
            call.poll_at = None;
        }
        if silent || poll {
            self.begin(stream);
        }
        if poll && let Some(exchange) = self.streams.get(stream).and_then(Stream::exchange) {
            self.streams.detach(exchange);
            self.child.tell(exchange, exchange::Letter::End, true);
        }
        self.arm_call(minted);
    }

    fn time_out(&mut self, minted: u64) {
        self.child
            .stdin(Bytes::from(timed_out(minted) + "\n").into());
        self.fail(minted, Refusal::RequestTimeout);
    }

    pub(super) fn child_request_timer(&mut self, minted: u64, now: Now) {
        let Some(request) = self.forget_child_request(minted, now) else {
            return;
        };
        self.waiting.remove_request(minted);
        self.answer_child(&request.id, "The client did not answer in time.");
        let carrier = request
            .stream
            .and_then(|stream| self.streams.get(stream))
            .and_then(|stream| stream.carrier.clone());
        self.child.audit(AuditEvent::ClientSilent, carrier.as_ref());
        if let Some(stream) = request.stream
            && self.streams.is_deliverable(stream)
        {
            let cancel = Frame::from(Bytes::from(timed_out(minted)));
            let event = sse::event(self.streams.next_event_id(stream), &cancel);
            self.send(stream, event);
        }
    }

    /// Takes out a request of the child's. When the last is out, the calls' clocks go on.
    pub(super) fn forget_child_request(&mut self, minted: u64, now: Now) -> Option<ChildRequest> {
        let request = self.calls.remove_request(minted)?;
        self.timers
            .remove(&(request.deadline, Timer::ChildRequest(minted)));
        if self.calls.request_count() == 0
            && let Some(since) = self.owed_since.take()
        {
            for call in self.calls.values_mut() {
                let owed = now.monotonic - since.max(call.started);
                call.deadline = call.deadline + owed;
            }
            let minted: Vec<u64> = self.calls.iter().map(|(minted, _)| minted).collect();
            for minted in minted {
                self.arm_call(minted);
            }
        }
        Some(request)
    }

    /// Answers a request of the child's with an error.
    pub(super) fn answer_child(&mut self, id: &[u8], message: &str) {
        self.child.answer_error(id, -32001, message);
    }
}

/// The notification that nobody waits any more for the answer to a request (MCP 2025-11-25,
/// lifecycle, "Timeouts").
fn timed_out(minted: u64) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":\
         {{\"requestId\":{minted},\"reason\":\"timed out\"}}}}"
    )
}
