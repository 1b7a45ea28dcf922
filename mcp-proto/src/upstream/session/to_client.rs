//! From the child to the client: each message goes to exactly one stream, or waits for one.

use bytes::Bytes;

use super::calls::{Call, ChildRequest, TaskToken};
use super::streams::Stream;
use super::waiting::Message;
use super::{Phase, Session, Timer};
use crate::audit::SessionEnd;
use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field, Kind, RequestId};
use crate::exchange;
use crate::framing::Text;
use crate::gateway::News;
use crate::sse;
use crate::time::Now;
use crate::upstream::message::{Edits, is_method, minted_id};
use crate::version::Version;

impl Session {
    pub(super) fn child_message(
        &mut self,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
        now: Now,
    ) {
        match message.kind() {
            Kind::Response => self.answer(text, document, message, now),
            Kind::Request => self.child_request(text, document, message, now),
            Kind::Notification => {
                if is_method(message, document, "notifications/progress") {
                    self.child_progress(text, document, message, now);
                } else if is_method(message, document, "notifications/cancelled") {
                    self.child_cancelled(text, document, message, now);
                } else {
                    let target = self.target(document, message, false);
                    self.carry(target, text, message, &Edits::default(), None, now);
                }
            }
        }
    }

    fn answer(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let call = message
            .get(Field::Id)
            .and_then(|id| Some((minted_id(id.of(document))?, id)));
        let Some((minted, id)) = call else {
            return self.child.drop_answer();
        };
        let Some(call) = self.remove_call(minted) else {
            return self.child.drop_answer();
        };
        let mut failed = false;
        if call.is_initialize {
            failed = !self.initialized(document, message);
        } else if let (Some(token), Some(task)) =
            (&call.token, message.text(Field::ResultTask, document))
        {
            self.calls.keep_task_token(TaskToken {
                minted,
                token: token.clone(),
                task: task.into_owned().into_boxed_str(),
            });
        }
        let mut edits = Edits::default();
        edits.add(Some(id), &call.id);
        let stream = self.streams.get(call.stream);
        match stream.map(|stream| (stream.begun, stream.exchange())) {
            Some((true, _)) => self.carry_on(call.stream, text, message, &edits),
            Some((false, Some(exchange))) => {
                let answer = edits.apply(b"", text, message, b"");
                self.streams.finish(call.stream);
                let letter = if failed {
                    exchange::Letter::NotOpened(answer)
                } else {
                    exchange::Letter::Answer(answer)
                };
                self.child.tell(exchange, letter, true);
            }
            Some((false, None)) | None => self.child.drop_answer(),
        }
        self.answered(call.stream);
        if failed {
            self.end(SessionEnd::InitializeFailed, true, now);
        }
    }

    /// The child has answered `initialize`. Whether it said yes.
    fn initialized(&mut self, document: &[u8], message: &Envelope) -> bool {
        if message.get(Field::Result).is_none() {
            return false;
        }
        self.version = message
            .text(Field::ResultProtocolVersion, document)
            .and_then(|version| Version::parse(version.as_bytes()));
        self.phase = Phase::Live;
        self.child.news(News::Opened);
        true
    }

    fn child_request(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let Some(id) = message.get(Field::Id) else {
            return;
        };
        let Some(decoded_id) = RequestId::decode(id.of(document)) else {
            return;
        };
        let token = message
            .get(Field::ProgressToken)
            .filter(|token| RequestId::decode(token.of(document)).is_some());
        let minted_text = Decimal::new(self.calls.next_request());
        let mut edits = Edits::default();
        edits.add(Some(id), minted_text.as_bytes());
        edits.add(token, minted_text.as_bytes());

        let target = self.target(document, message, true);
        if self.calls.request_count() >= self.child.limits.calls_per_session {
            return self.answer_child(id.of(document), "Too many requests are unanswered.");
        }
        let deadline = now.monotonic + self.child.limits.client_answer_time;
        let minted = self.calls.insert_request(ChildRequest {
            id: Bytes::copy_from_slice(id.of(document)),
            decoded_id,
            token: token.map(|token| Bytes::copy_from_slice(token.of(document))),
            stream: target,
            deadline,
        });
        self.timers.insert((deadline, Timer::ChildRequest(minted)));
        self.owed_since.get_or_insert(now.monotonic);
        self.carry(target, text, message, &edits, Some(minted), now);
    }

    fn child_progress(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let span = message.get(Field::Progress);
        let minted = span.and_then(|token| minted_id(token.of(document)));
        let Some(minted) = minted else {
            return self.child.drop_message();
        };
        let mut edits = Edits::default();
        let (owed_since, request_time) = (self.owed_since, self.child.limits.request_time);
        let restart = |call: &mut Call| {
            // While the clock stands still, what it is set to grows by that time afterwards.
            let from = owed_since.map_or(now.monotonic, |since| since.max(call.started));
            call.deadline = from + request_time;
        };
        if let Some(call) = self.calls.get_mut(minted)
            && let Some(token) = call.token.clone()
        {
            restart(call);
            let stream = call.stream;
            edits.add(span, &token);
            if self.streams.is_deliverable(stream) {
                self.begin(stream);
                self.carry_on(stream, text, message, &edits);
            } else {
                self.child.drop_message();
            }
        } else if let Some(kept) = self.calls.task_token(minted) {
            let (token, task) = (kept.token.clone(), kept.task.clone());
            // Whoever waits for the task's result waits for what is being worked on.
            self.calls
                .values_mut()
                .filter(|call| call.task.as_deref() == Some(&*task))
                .for_each(restart);
            let target = self
                .call_about(&task)
                .or_else(|| self.target(document, message, false));
            edits.add(span, &token);
            self.carry(target, text, message, &edits, None, now);
        } else {
            self.child.drop_message();
        }
    }

    fn child_cancelled(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let span = message.get(Field::RequestId);
        let minted = span
            .and_then(|id| RequestId::decode(id.of(document)))
            .and_then(|id| self.calls.find_request(&id));
        let Some(minted) = minted else {
            return self.child.drop_message();
        };
        let Some(request) = self.forget_child_request(minted, now) else {
            return;
        };
        match request.stream {
            // The client has not seen the request and never will.
            None => self.waiting.remove_request(minted),
            Some(stream) => {
                let text_of_id = Decimal::new(minted);
                let mut edits = Edits::default();
                edits.add(span, text_of_id.as_bytes());
                let target = Some(stream)
                    .filter(|&stream| self.streams.is_deliverable(stream))
                    .or_else(|| self.target(document, message, false));
                self.carry(target, text, message, &edits, None, now);
            }
        }
    }

    /// The stream that carries a message: that of the call which asks about the message's task;
    /// else that of the call, if exactly one is in flight; else the newest one opened by GET; else,
    /// for a request, that of the newest call.
    fn target(&self, document: &[u8], message: &Envelope, is_request: bool) -> Option<u64> {
        // What comes before the answer to `initialize` waits for it, but for pings: these a child
        // may send and wait for (MCP 2025-11-25, lifecycle, "Initialization").
        if self.phase != Phase::Live && !is_method(message, document, "ping") {
            return None;
        }
        // Of all that is about a task this alone names it in its parameters (MCP 2025-11-25, tasks,
        // "Task Status Notification").
        let task = if is_method(message, document, "notifications/tasks/status") {
            Field::TaskId
        } else {
            Field::RelatedTask
        };
        if let Some(task) = message.text(task, document)
            && let Some(stream) = self.call_about(&task)
        {
            return Some(stream);
        }
        let mut in_flight = self.calls.iter();
        let sole = match (in_flight.next_back(), in_flight.next_back()) {
            (Some((_, call)), None) => Some(call.stream),
            _ => None,
        };
        sole.filter(|&stream| self.streams.is_deliverable(stream))
            .or_else(|| self.streams.newest_listening())
            .or_else(|| {
                let mut newest_first = self.calls.iter().rev().filter(|_| is_request);
                newest_first
                    .find(|(_, call)| self.streams.is_deliverable(call.stream))
                    .map(|(_, call)| call.stream)
            })
    }

    fn call_about(&self, task: &str) -> Option<u64> {
        self.calls
            .iter()
            .rev()
            .find(|(_, call)| {
                call.task.as_deref() == Some(task) && self.streams.is_deliverable(call.stream)
            })
            .map(|(_, call)| call.stream)
    }

    /// Sends a message on a stream, or lets it wait for one.
    fn carry(
        &mut self,
        target: Option<u64>,
        text: Text<'_>,
        message: &Envelope,
        edits: &Edits<'_>,
        request: Option<u64>,
        now: Now,
    ) {
        if let Some(stream) = target {
            self.begin(stream);
            return self.carry_on(stream, text, message, edits);
        }
        let text = edits.apply(b"", text, message, b"");
        self.waiting.push(Message {
            text: text.compact(),
            request,
        });
        while self.waiting.bytes > self.child.limits.waiting_bytes
            && let Some(dropped) = self.waiting.pop()
        {
            self.child.drop_message();
            if let Some(minted) = dropped.request
                && let Some(request) = self.forget_child_request(minted, now)
            {
                self.answer_child(&request.id, "No client is listening.");
            }
        }
    }

    /// Sends a message on a stream that has begun.
    fn carry_on(&mut self, stream: u64, text: Text<'_>, message: &Envelope, edits: &Edits<'_>) {
        let prefix = sse::event_prefix(self.streams.next_event_id(stream));
        let event = edits.apply(prefix.as_bytes(), text, message, sse::EVENT_SUFFIX);
        self.send(stream, event);
    }

    /// Sends what waits on a stream that can carry all of it, or the requests of it.
    pub(super) fn flush_waiting(&mut self, stream: u64, requests_only: bool) {
        if self.waiting.is_empty() {
            return;
        }
        for message in self.waiting.take(requests_only) {
            self.begin(stream);
            if let Some(request) = message.request.and_then(|id| self.calls.request_mut(id)) {
                request.stream = Some(stream);
            }
            let event = sse::event(self.streams.next_event_id(stream), &message.text);
            let length = event.len();
            self.send(stream, event);
            // All of it was bounded where it waited. Counted as in transit it could have a client
            // dropped that has not had time to read a byte.
            if let Some(exchange) = self.streams.get(stream).and_then(Stream::exchange) {
                self.streams.release(exchange, length);
            }
        }
    }

    /// A client without a GET stream can be asked on a call's stream only.
    pub(super) fn flush_waiting_requests(&mut self, stream: u64) {
        if self.phase == Phase::Live {
            self.flush_waiting(stream, true);
        }
    }
}
