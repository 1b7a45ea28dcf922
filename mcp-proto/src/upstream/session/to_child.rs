//! From the client to the child: each message becomes one line.

use bytes::Bytes;

use super::calls::{Call, TaskToken};
use super::streams::Kind as StreamKind;
use super::{Phase, Session};
use crate::audit::AuditEvent;
use crate::decimal::Decimal;
use crate::envelope::{Document, Envelope, Field, Kind, RequestId};
use crate::exchange;
use crate::framing::{Frame, Text};
use crate::refusal::Refusal;
use crate::time::Now;
use crate::upstream::Sender;
use crate::upstream::message::{Edits, is_method, minted_id};
use crate::version::Version;

impl Session {
    pub(super) fn take_call(
        &mut self,
        sender: &Sender,
        body: &Bytes,
        document: &Document,
        now: Now,
    ) {
        let exchange = sender.exchange;
        if self.phase == Phase::Ended {
            return self.child.refuse(exchange, self.late);
        }
        if self.child.is_behind(body.len()) {
            return self.child.refuse(exchange, Refusal::ChildNotReading);
        }
        let messages = match document {
            Document::Single(envelope) => std::slice::from_ref(envelope),
            Document::Batch(envelopes) => envelopes.as_slice(),
        };
        let is_batch = matches!(document, Document::Batch(_));
        let calls = match self.judge(messages, is_batch, body) {
            Ok(calls) => calls,
            Err(refusal) => return self.child.refuse(exchange, refusal),
        };
        let stream =
            (calls > 0).then(|| self.streams.open(StreamKind::Call, sender.clone(), calls));
        if let Some(stream) = stream {
            if is_batch {
                self.begin(stream);
            }
            self.flush_waiting_requests(stream);
        } else {
            self.child.tell(exchange, exchange::Letter::Accepted, true);
        }
        for message in messages {
            match (message.kind(), stream) {
                (Kind::Request, Some(stream)) => self.request(stream, sender, body, message, now),
                (Kind::Request, None) => {}
                (Kind::Notification, _) => self.notification(sender, body, message),
                (Kind::Response, _) => self.response(sender, body, message, now),
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
        if self.calls.len() + calls > self.child.limits.calls_per_session {
            return Err(Refusal::TooManyCalls);
        }
        Ok(calls)
    }

    fn request(
        &mut self,
        stream: u64,
        sender: &Sender,
        body: &Bytes,
        message: &Envelope,
        now: Now,
    ) {
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
        self.child.stdin(line(body, message, &edits));

        let poll_after = self
            .child
            .limits
            .poll_after
            .filter(|_| self.has_priming_events() && !is_initialize);
        let call = Call {
            sender: sender.clone(),
            stream,
            id: Bytes::copy_from_slice(id.of(body)),
            decoded_id,
            token: token.map(|token| Bytes::copy_from_slice(token.of(body))),
            task: message
                .text(Field::TaskId, body)
                .map(|task| task.into_owned().into_boxed_str()),
            is_initialize,
            started: now.monotonic,
            deadline: now.monotonic + self.child.limits.request_time,
            last_deadline: now.monotonic + self.child.limits.request_time_max,
            silence_at: Some(now.monotonic + self.child.limits.silence_time),
            poll_at: poll_after.map(|after| now.monotonic + after),
            timer: now.monotonic,
        };
        self.calls.insert(minted, call);
        self.arm_call(minted);
    }

    fn notification(&mut self, sender: &Sender, body: &Bytes, message: &Envelope) {
        if is_method(message, body, "notifications/cancelled") {
            let minted = message
                .get(Field::RequestId)
                .and_then(|id| RequestId::decode(id.of(body)))
                .and_then(|id| self.calls.find(&id));
            let Some((minted, call)) =
                minted.and_then(|minted| Some((minted, self.calls.get_mut(minted)?)))
            else {
                return self.child.audit(AuditEvent::CancelDropped, Some(sender));
            };
            // MCP, cancellation: `initialize` must not be cancelled.
            if call.is_initialize {
                return self.child.audit(AuditEvent::CancelDropped, Some(sender));
            }
            let text = Decimal::new(minted);
            let mut edits = Edits::default();
            edits.add(message.get(Field::RequestId), text.as_bytes());
            self.child.stdin(line(body, message, &edits));
            // The child should not answer any more, and the client waits for no answer; but its
            // HTTP request does.
            self.fail(minted, Refusal::RequestCancelled);
        } else if is_method(message, body, "notifications/progress") {
            let token = message
                .get(Field::Progress)
                .and_then(|token| minted_id(token.of(body)))
                .and_then(|minted| match self.calls.request(minted) {
                    Some(request) => request.token.clone(),
                    None => Some(self.calls.request_task_token(minted)?.token.clone()),
                });
            let Some(token) = token else {
                return self.child.audit(AuditEvent::ProgressDropped, Some(sender));
            };
            let mut edits = Edits::default();
            edits.add(message.get(Field::Progress), &token);
            self.child.stdin(line(body, message, &edits));
        } else {
            self.child.stdin(line(body, message, &Edits::default()));
        }
    }

    fn response(&mut self, sender: &Sender, body: &Bytes, message: &Envelope, now: Now) {
        let request = message
            .get(Field::Id)
            .and_then(|id| minted_id(id.of(body)))
            // One that still waits for a stream cannot have been seen.
            .filter(|&minted| {
                self.calls
                    .request(minted)
                    .is_some_and(|request| request.stream.is_some())
            })
            .and_then(|minted| Some((minted, self.forget_child_request(minted, now)?)));
        let Some((minted, request)) = request else {
            return self.child.audit(AuditEvent::ResponseDropped, Some(sender));
        };
        if let (Some(token), Some(task)) = (&request.token, message.text(Field::ResultTask, body)) {
            self.calls.keep_request_task_token(TaskToken {
                minted,
                token: token.clone(),
                task: task.into_owned().into_boxed_str(),
            });
        }
        let mut edits = Edits::default();
        edits.add(message.get(Field::Id), &request.id);
        self.child.stdin(line(body, message, &edits));
    }
}

/// A message as one line for the child's stdin.
fn line(body: &Bytes, message: &Envelope, edits: &Edits<'_>) -> Frame {
    edits.apply(b"", Text::Long(body), message, b"\n")
}
