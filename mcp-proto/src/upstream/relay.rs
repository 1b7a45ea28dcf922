//! The relay: what comes from a client goes to the child as one line, and what comes from the
//! child goes to exactly one stream. Only ids and tokens are changed, as splices on the raw bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use super::calls::{Call, ChildRequest, TaskToken};
use super::streams::Kind as StreamKind;
use super::{Phase, Timer, Upstream};
use crate::audit::{AuditEvent, SessionEnd};
use crate::decimal::Decimal;
use crate::envelope::{self, Document, Envelope, Field, Kind, RequestId, Source, Span};
use crate::exchange;
use crate::framing::{Frame, Line, LineBuffer, Text, splice};
use crate::gateway::News;
use crate::id::ExchangeId;
use crate::refusal::Refusal;
use crate::sse;
use crate::time::{Instant, Now};
use crate::version::Version;

/// What the start-up probe asks; its id is none that [`super::calls::Calls::mint`] gives.
pub(super) const PROBE: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\
    \"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
    \"clientInfo\":{\"name\":\"mcp-gateway\",\"version\":\"0\"}}}\n";

/// Ends the probe's handshake, so that the child sees a whole one.
const INITIALIZED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/// What a message that waits for a stream costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Messages of the child's that wait for a stream to carry them.
#[derive(Default)]
pub(super) struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
}

struct Message {
    text: Frame,
    /// The minted id, for a request.
    request: Option<u64>,
}

impl Message {
    fn cost(&self) -> usize {
        self.text.len() + ENTRY_BYTES
    }
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, message: Message) {
        self.bytes += message.cost();
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.cost();
        Some(message)
    }

    /// Takes out all messages, or all requests.
    fn take(&mut self, requests_only: bool) -> Vec<Message> {
        let (taken, left): (Vec<_>, VecDeque<_>) = std::mem::take(&mut self.messages)
            .into_iter()
            .map(|message| (!requests_only || message.request.is_some(), message))
            .fold(
                Default::default(),
                |(mut taken, mut left), (take, message)| {
                    if take {
                        taken.push(message);
                    } else {
                        left.push_back(message);
                    }
                    (taken, left)
                },
            );
        self.bytes = left.iter().map(Message::cost).sum();
        self.messages = left;
        taken
    }

    fn remove_request(&mut self, minted: u64) {
        self.messages
            .retain(|message| message.request != Some(minted));
        self.bytes = self.messages.iter().map(Message::cost).sum();
    }
}

/// The edits of one message: at most an id and a token.
#[derive(Default)]
struct Edits<'a> {
    edits: [(Span, &'a [u8]); 2],
    count: usize,
}

impl<'a> Edits<'a> {
    fn add(&mut self, span: Option<Span>, text: &'a [u8]) {
        if let Some(span) = span {
            self.edits[self.count] = (span, text);
            self.count += 1;
            self.edits[..self.count].sort_by_key(|(span, _)| span.start);
        }
    }

    fn as_slice(&self) -> &[(Span, &'a [u8])] {
        &self.edits[..self.count]
    }
}

// From the client to the child.
impl Upstream {
    pub(super) fn take_call(
        &mut self,
        exchange: ExchangeId,
        body: &Bytes,
        document: &Document,
        now: Now,
    ) {
        if self.phase == Phase::Ended {
            return self.refuse(exchange, self.late);
        }
        if self.stdin_queued > 0 && self.stdin_queued + body.len() > self.limits.stdin_bytes {
            return self.refuse(exchange, Refusal::ChildNotReading);
        }
        let messages = match document {
            Document::Single(envelope) => std::slice::from_ref(envelope),
            Document::Batch(envelopes) => envelopes.as_slice(),
        };
        let is_batch = matches!(document, Document::Batch(_));
        let calls = match self.judge(messages, is_batch, body) {
            Ok(calls) => calls,
            Err(refusal) => return self.refuse(exchange, refusal),
        };
        let stream = (calls > 0).then(|| self.streams.open(StreamKind::Call, exchange, calls));
        if let Some(stream) = stream {
            if is_batch {
                self.begin(stream);
            }
            self.flush_waiting_requests(stream);
        } else {
            self.tell(exchange, exchange::Letter::Accepted, true);
        }
        for message in messages {
            match (message.kind(), stream) {
                (Kind::Request, Some(stream)) => self.request(stream, body, message, now),
                (Kind::Request, None) => {}
                (Kind::Notification, _) => self.notification(exchange, body, message),
                (Kind::Response, _) => self.response(exchange, body, message, now),
            }
        }
    }

    /// Whether the messages may go to the child; if so, how many of them are calls. Nothing of a
    /// body is written before all of it was judged.
    fn judge(&self, messages: &[Envelope], is_batch: bool, body: &[u8]) -> Result<usize, Refusal> {
        if is_batch && !self.version.is_some_and(Version::has_batches) {
            return Err(Refusal::BatchNotAllowed);
        }
        let mut ids: Vec<RequestId> = Vec::new();
        let mut calls = 0;
        for message in messages {
            if message.kind() != Kind::Request {
                continue;
            }
            calls += 1;
            let opens = self.phase == Phase::Opening && self.calls.is_empty();
            let is_initialize = is_method(message, body, "initialize");
            if is_initialize && (is_batch || !opens) {
                return Err(Refusal::AlreadyInitialized);
            }
            let id = message
                .get(Field::Id)
                .and_then(|id| RequestId::decode(id.of(body)));
            let Some(id) = id else {
                continue;
            };
            if self.calls.find(&id).is_some() || ids.contains(&id) {
                return Err(Refusal::DuplicateId);
            }
            if is_batch {
                ids.push(id);
            }
        }
        if calls > 0 && self.draining {
            return Err(Refusal::Draining);
        }
        if self.calls.len() + calls > self.limits.calls_per_session {
            return Err(Refusal::TooManyCalls);
        }
        Ok(calls)
    }

    fn request(&mut self, stream: u64, body: &Bytes, message: &Envelope, now: Now) {
        let Some(id) = message.get(Field::Id) else {
            return;
        };
        let Some(decoded_id) = RequestId::decode(id.of(body)) else {
            return;
        };
        // A token of another type than MCP's is none, and passes as it is.
        let token = message
            .get(Field::ProgressToken)
            .filter(|token| RequestId::decode(token.of(body)).is_some());
        let is_initialize = is_method(message, body, "initialize");
        let minted = self.calls.mint();
        let text = Decimal::new(minted);
        let mut edits = Edits::default();
        edits.add(Some(id), text.as_bytes());
        edits.add(token, text.as_bytes());
        self.stdin(line(body, message, &edits));

        let poll_after = self
            .limits
            .poll_after
            .filter(|_| self.has_priming_events() && !is_initialize);
        let call = Call {
            stream,
            id: Bytes::copy_from_slice(id.of(body)),
            decoded_id,
            token: token.map(|token| Bytes::copy_from_slice(token.of(body))),
            task: message
                .text(Field::TaskId, body)
                .map(|task| task.into_owned().into_boxed_str()),
            is_initialize,
            started: now.monotonic,
            deadline: now.monotonic + self.limits.request_time,
            last_deadline: now.monotonic + self.limits.request_time_max,
            silence_at: Some(now.monotonic + self.limits.silence_time),
            poll_at: poll_after.map(|after| now.monotonic + after),
            timer: now.monotonic,
        };
        self.calls.insert(minted, call);
        self.arm_call(minted);
    }

    fn notification(&mut self, exchange: ExchangeId, body: &Bytes, message: &Envelope) {
        if is_method(message, body, "notifications/cancelled") {
            let minted = message
                .get(Field::RequestId)
                .and_then(|id| RequestId::decode(id.of(body)))
                .and_then(|id| self.calls.find(&id));
            let Some((minted, call)) =
                minted.and_then(|minted| Some((minted, self.calls.get_mut(minted)?)))
            else {
                return self.audit(AuditEvent::CancelDropped, Some(exchange));
            };
            // MCP, cancellation: `initialize` must not be cancelled.
            if call.is_initialize {
                return self.audit(AuditEvent::CancelDropped, Some(exchange));
            }
            let text = Decimal::new(minted);
            let mut edits = Edits::default();
            edits.add(message.get(Field::RequestId), text.as_bytes());
            self.stdin(line(body, message, &edits));
            // The child should not answer any more, and the client waits for no answer; but its
            // HTTP request does.
            self.fail(minted, Refusal::RequestCancelled);
        } else if is_method(message, body, "notifications/progress") {
            let token = message
                .get(Field::Progress)
                .and_then(|token| minted_id(token.of(body)))
                .and_then(|minted| self.calls.request(minted))
                .and_then(|request| request.token.clone());
            let Some(token) = token else {
                return self.audit(AuditEvent::ProgressDropped, Some(exchange));
            };
            let mut edits = Edits::default();
            edits.add(message.get(Field::Progress), &token);
            self.stdin(line(body, message, &edits));
        } else {
            self.stdin(line(body, message, &Edits::default()));
        }
    }

    fn response(&mut self, exchange: ExchangeId, body: &Bytes, message: &Envelope, now: Now) {
        let request = message
            .get(Field::Id)
            .and_then(|id| minted_id(id.of(body)))
            // One that still waits for a stream cannot have been seen.
            .filter(|&minted| {
                self.calls
                    .request(minted)
                    .is_some_and(|request| request.stream.is_some())
            })
            .and_then(|minted| self.forget_child_request(minted, now));
        let Some(request) = request else {
            return self.audit(AuditEvent::ResponseDropped, Some(exchange));
        };
        let mut edits = Edits::default();
        edits.add(message.get(Field::Id), &request.id);
        self.stdin(line(body, message, &edits));
    }
}

// From the child to the client.
impl Upstream {
    pub(super) fn take_lines(&mut self, now: Now) {
        // Lines borrow from the buffer, so that it cannot stay in `self` meanwhile.
        let mut stdout = std::mem::replace(&mut self.stdout, LineBuffer::new(0));
        while let Some(line) = stdout.next_line() {
            if self.phase == Phase::Ended {
                continue;
            }
            match line {
                Line::Short(text) => self.take_line(Text::Short(text), text, now),
                Line::Long(text) => self.take_line(Text::Long(&text), &text, now),
                Line::Oversized { .. } => self.skip_line(),
            }
        }
        self.stdout = stdout;
    }

    fn take_line(&mut self, text: Text<'_>, document: &[u8], now: Now) {
        match envelope::scan(document, Source::Child) {
            Ok(Document::Single(message)) => self.child_message(text, document, &message, now),
            Ok(Document::Batch(messages)) if self.version.is_some_and(Version::has_batches) => {
                for message in &messages {
                    self.child_message(text, document, message, now);
                }
            }
            Ok(Document::Batch(_)) | Err(_) => self.skip_line(),
        }
    }

    fn child_message(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        if self.phase == Phase::Probing {
            return self.probed(document, message, now);
        }
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

    fn probed(&mut self, document: &[u8], message: &Envelope, now: Now) {
        let is_answer = message.kind() == Kind::Response
            && message
                .get(Field::Id)
                .is_some_and(|id| id.of(document) == b"0");
        if !is_answer {
            return;
        }
        let passed = message.get(Field::Result).is_some();
        if passed {
            self.stdin(Frame::from(INITIALIZED));
        }
        self.end(SessionEnd::Deleted, false, now);
        self.news(News::Probed { passed });
    }

    fn answer(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let call = message
            .get(Field::Id)
            .and_then(|id| Some((minted_id(id.of(document))?, id)));
        let Some((minted, id)) = call else {
            return self.drop_answer();
        };
        let Some(call) = self.remove_call(minted) else {
            return self.drop_answer();
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
        match stream.map(|stream| (stream.begun, stream.exchange)) {
            Some((true, _)) => self.carry_on(call.stream, text, message, &edits),
            Some((false, Some(exchange))) => {
                let answer = splice(
                    b"",
                    text,
                    message.span(),
                    message.has_line_breaks(),
                    edits.as_slice(),
                    b"",
                );
                self.streams.finish(call.stream);
                let letter = if failed {
                    exchange::Letter::NotOpened(answer)
                } else {
                    exchange::Letter::Answer(answer)
                };
                self.tell(exchange, letter, true);
            }
            Some((false, None)) | None => self.drop_answer(),
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
        self.news(News::Opened);
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
        if self.calls.request_count() >= self.limits.calls_per_session {
            return self.answer_child(id.of(document), "Too many requests are unanswered.");
        }
        let deadline = now.monotonic + self.limits.client_answer_time;
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
            return self.drop_message();
        };
        let mut edits = Edits::default();
        let owed_since = self.owed_since;
        if let Some(call) = self.calls.get_mut(minted)
            && let Some(token) = call.token.clone()
        {
            // While the clock stands still, what it is set to grows by that time afterwards.
            let from = owed_since.map_or(now.monotonic, |since| since.max(call.started));
            call.deadline = from + self.limits.request_time;
            let stream = call.stream;
            edits.add(span, &token);
            if self.streams.is_deliverable(stream) {
                self.begin(stream);
                self.carry_on(stream, text, message, &edits);
            } else {
                self.drop_message();
            }
        } else if let Some(kept) = self.calls.task_token(minted) {
            let token = kept.token.clone();
            let target = self
                .call_about(&kept.task)
                .or_else(|| self.target(document, message, false));
            edits.add(span, &token);
            self.carry(target, text, message, &edits, None, now);
        } else {
            self.drop_message();
        }
    }

    fn child_cancelled(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let span = message.get(Field::RequestId);
        let minted = span
            .and_then(|id| RequestId::decode(id.of(document)))
            .and_then(|id| self.calls.find_request(&id));
        let Some(minted) = minted else {
            return self.drop_message();
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
        if self.phase != Phase::Live {
            return None;
        }
        if let Some(task) = message.text(Field::RelatedTask, document)
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
        let text = splice(
            b"",
            text,
            message.span(),
            message.has_line_breaks(),
            edits.as_slice(),
            b"",
        );
        self.waiting.push(Message {
            text: text.compact(),
            request,
        });
        while self.waiting.bytes > self.limits.waiting_bytes
            && let Some(dropped) = self.waiting.pop()
        {
            self.drop_message();
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
        let event = splice(
            prefix.as_bytes(),
            text,
            message.span(),
            message.has_line_breaks(),
            edits.as_slice(),
            sse::EVENT_SUFFIX,
        );
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
            if let Some(exchange) = self.streams.get(stream).and_then(|stream| stream.exchange) {
                self.streams.release(exchange, length);
            }
        }
    }

    /// A client without a GET stream can be asked on a call's stream only.
    fn flush_waiting_requests(&mut self, stream: u64) {
        if self.phase == Phase::Live {
            self.flush_waiting(stream, true);
        }
    }

    fn drop_answer(&mut self) {
        self.counts.answers += 1;
        let count = self.counts.answers;
        self.audit_count(count, AuditEvent::AnswerDropped { count });
    }

    fn drop_message(&mut self) {
        self.counts.messages += 1;
        let count = self.counts.messages;
        self.audit_count(count, AuditEvent::MessageDropped { count });
    }

    fn skip_line(&mut self) {
        self.counts.lines += 1;
        let count = self.counts.lines;
        self.audit_count(count, AuditEvent::LineSkipped { count });
    }

    /// A flood makes few records: the first, second, fourth, eighth, ...
    fn audit_count(&mut self, count: u64, event: AuditEvent) {
        if count.is_power_of_two() {
            self.audit(event, None);
        }
    }
}

// The lives of calls, and of the child's requests.
impl Upstream {
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
        match stream.map(|stream| (stream.begun, stream.exchange)) {
            Some((true, exchange)) => {
                let error = Frame::from(refusal.to_json_rpc(Some(&call.id)));
                let event = sse::event(self.streams.next_event_id(call.stream), &error);
                self.send(call.stream, event);
                self.audit(AuditEvent::Refused(refusal), exchange);
            }
            Some((false, Some(exchange))) => {
                self.streams.finish(call.stream);
                self.refuse(exchange, refusal);
            }
            Some((false, None)) | None => self.audit(AuditEvent::Refused(refusal), None),
        }
        self.answered(call.stream);
    }

    fn answered(&mut self, stream: u64) {
        if self.streams.answered(stream) {
            self.finish(stream);
        }
    }

    fn remove_call(&mut self, minted: u64) -> Option<Call> {
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
        if poll && let Some(exchange) = self.streams.get(stream).and_then(|s| s.exchange) {
            self.streams.detach(exchange);
            self.tell(exchange, exchange::Letter::End, true);
        }
        self.arm_call(minted);
    }

    fn time_out(&mut self, minted: u64) {
        let cancel = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":\
             {{\"requestId\":{minted},\"reason\":\"timed out\"}}}}\n"
        );
        self.stdin(Bytes::from(cancel).into());
        self.fail(minted, Refusal::RequestTimeout);
    }

    pub(super) fn child_request_timer(&mut self, minted: u64, now: Now) {
        let Some(request) = self.forget_child_request(minted, now) else {
            return;
        };
        self.waiting.remove_request(minted);
        self.answer_child(&request.id, "The client did not answer in time.");
        let exchange = request
            .stream
            .and_then(|stream| self.streams.get(stream))
            .and_then(|stream| stream.exchange);
        self.audit(AuditEvent::ClientSilent, exchange);
        if let Some(stream) = request.stream
            && self.streams.is_deliverable(stream)
        {
            let cancel = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":\
                 {{\"requestId\":{minted},\"reason\":\"timed out\"}}}}"
            );
            let cancel = Frame::from(Bytes::from(cancel));
            let event = sse::event(self.streams.next_event_id(stream), &cancel);
            self.send(stream, event);
        }
    }

    /// Takes out a request of the child's. When the last is out, the calls' clocks go on.
    fn forget_child_request(&mut self, minted: u64, now: Now) -> Option<ChildRequest> {
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
    fn answer_child(&mut self, id: &[u8], message: &str) {
        let mut line = Vec::with_capacity(128);
        line.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        line.extend_from_slice(id);
        line.extend_from_slice(
            format!(",\"error\":{{\"code\":-32001,\"message\":\"{message}\"}}}}\n").as_bytes(),
        );
        // A child that asks without end and does not read must not make this queue grow.
        if self.stdin_queued + line.len() > self.limits.stdin_bytes {
            return self.drop_message();
        }
        self.stdin(Bytes::from(line).into());
    }
}

/// A message as one line for the child's stdin: raw line breaks in it, which JSON allows between
/// tokens, become spaces, or a second message could hide behind one.
fn line(body: &Bytes, message: &Envelope, edits: &Edits<'_>) -> Frame {
    splice(
        b"",
        Text::Long(body),
        message.span(),
        message.has_line_breaks(),
        edits.as_slice(),
        b"\n",
    )
}

fn is_method(message: &Envelope, document: &[u8], method: &str) -> bool {
    message
        .text(Field::Method, document)
        .is_some_and(|found| found == method)
}

/// Reads an id that the gateway minted.
fn minted_id(raw: &[u8]) -> Option<u64> {
    match RequestId::decode(raw)? {
        RequestId::Integer(digits) => digits.parse().ok(),
        RequestId::String(_) => None,
    }
}
