//! From the child to the callers: each message goes to the one whom it is for, or to nobody.

use bytes::Bytes;

use super::Host;
use super::calls::{Call, Caller};
use crate::audit::AuditEvent;
use crate::envelope::{self, Document, Envelope, Field, Kind, Source};
use crate::exchange::{self, Answered};
use crate::framing::{Frame, Text};
use crate::gateway::News;
use crate::id::ExchangeId;
use crate::refusal::Refusal;
use crate::sse;
use crate::time::Now;
use crate::translation::TranslationOutput;
use crate::upstream::mail::FromHost;
use crate::upstream::message::{Edits, is_method, minted_id};

impl Host {
    /// What the translation has to say.
    pub(super) fn translated(&mut self, output: TranslationOutput, now: Now) {
        match output {
            TranslationOutput::ToChild(frame) => self.child.stdin(frame),
            TranslationOutput::ToClient(frame) => {
                let document = frame.to_bytes();
                if let Ok(Document::Single(message)) = envelope::scan(&document, Source::Child) {
                    self.message(Text::Long(&document), &document, &message, now);
                }
            }
        }
    }

    pub(super) fn message(
        &mut self,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
        now: Now,
    ) {
        match message.kind() {
            Kind::Response => self.answer(text, document, message, now),
            Kind::Notification => self.notification(text, document, message, now),
            // MCP 2026-07-28, stdio, "Receiving Messages": a server asks nothing by itself.
            Kind::Request => {
                if let Some(id) = message.raw(Field::Id, document) {
                    let id = id.to_vec();
                    self.child
                        .answer_error(&id, -32601, "Ask by an InputRequiredResult.");
                }
                self.child.drop_message();
            }
        }
    }

    fn answer(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let id = message.get(Field::Id);
        let call = id
            .and_then(|id| minted_id(id.of(document)))
            .and_then(|minted| self.remove(minted));
        let (Some(call), Some(id)) = (call, id) else {
            return self.child.drop_answer();
        };
        let sender = match &call.caller {
            Caller::Exchange(sender) => sender.clone(),
            &Caller::Session {
                upstream,
                reference,
            } => {
                let answer = FromHost::Answer(shared(text));
                return self.tell_session(upstream, reference, answer);
            }
            Caller::Tools => return self.tools_listed(document, message, now),
            Caller::Watch => {
                if message.get(Field::Result).is_some() {
                    self.forget_tools();
                }
                return;
            }
        };
        if let Some(task) = message.text(Field::ResultTaskId, document) {
            self.child.news(News::Task(task.into()));
        }
        let mut edits = Edits::default();
        edits.add(Some(id), &call.id);
        edits.add(message.get(Field::ResultSubscriptionId), &call.id);
        let state = message
            .text(Field::ResultType, document)
            .filter(|result_type| result_type == "input_required")
            .and_then(|_| {
                Some((
                    message.get(Field::ResultRequestState)?,
                    message.text(Field::ResultRequestState, document)?,
                ))
            });
        let answered = match state {
            Some((span, state)) => {
                let (before, after) = edits.apply_around(span, text, message);
                Answered::InputRequired {
                    before,
                    state: state.into(),
                    after,
                }
            }
            None => Answered::Whole {
                message: edits.apply(b"", text, message, b""),
                error: message
                    .raw(Field::ErrorCode, document)
                    .and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()),
            },
        };
        self.child
            .tell(sender.exchange, exchange::Letter::Answered(answered), true);
    }

    fn notification(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        if is_method(message, document, "notifications/progress") {
            self.progress(text, document, message, now);
        } else if is_method(message, document, "notifications/message") {
            self.log(text, message, now);
        } else if is_method(message, document, "notifications/cancelled") {
            let ended = message
                .raw(Field::RequestId, document)
                .and_then(minted_id)
                .filter(|&minted| self.calls.get_mut(minted).is_some_and(|it| it.is_listen))
                .and_then(|minted| self.remove(minted));
            match ended {
                Some(call) => self.end_subscription(call),
                None => self.child.drop_message(),
            }
        } else {
            self.delivered(text, document, message, now);
        }
    }

    fn progress(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let span = message.get(Field::Progress);
        let minted = span.and_then(|token| minted_id(token.of(document)));
        let request_time = self.child.limits.request_time;
        let token = minted.and_then(|minted| {
            let call = self.calls.get_mut(minted)?;
            if let Some(deadline) = &mut call.deadline {
                *deadline = now.monotonic + request_time;
            }
            Some((minted, call.token.clone()?))
        });
        let Some((minted, token)) = token else {
            return self.child.drop_message();
        };
        let mut edits = Edits::default();
        edits.add(span, &token);
        self.carry(minted, text, message, &edits);
    }

    /// A log message goes to the call that asked for it. Nothing in it tells which call that is, so
    /// that it has to be the only one that the child may still be at.
    fn log(&mut self, text: Text<'_>, message: &Envelope, now: Now) {
        if self
            .haunted_until
            .is_some_and(|until| now.monotonic < until)
        {
            return self.child.drop_message();
        }
        let mut asked = self.calls.iter().filter(|(_, call)| call.wants_log);
        let sole = match (asked.next(), asked.next()) {
            (Some((minted, _)), None) => Some(minted),
            _ => None,
        };
        drop(asked);
        match sole {
            Some(minted) => self.carry(minted, text, message, &Edits::default()),
            None => self.child.drop_message(),
        }
    }

    /// What a subscription delivers.
    fn delivered(&mut self, text: Text<'_>, document: &[u8], message: &Envelope, now: Now) {
        let span = message.get(Field::SubscriptionId);
        let call = span
            .and_then(|id| minted_id(id.of(document)))
            .and_then(|minted| Some((minted, self.calls.get_mut(minted)?)));
        let Some((minted, call)) = call else {
            return self.child.drop_message();
        };
        if !call.is_listen {
            return self.child.drop_message();
        }
        if let Caller::Watch = call.caller {
            if is_method(message, document, "notifications/tools/list_changed") {
                self.tools_changed(now);
            }
            return;
        }
        let id = call.id.clone();
        let mut edits = Edits::default();
        edits.add(span, &id);
        self.carry(minted, text, message, &edits);
    }

    /// Sends a notification that belongs to a call.
    fn carry(&mut self, minted: u64, text: Text<'_>, message: &Envelope, edits: &Edits<'_>) {
        let Some(call) = self.calls.get_mut(minted) else {
            return;
        };
        match &call.caller {
            &Caller::Session {
                upstream,
                reference,
            } => {
                let notification = FromHost::Notification(shared(text));
                self.tell_session(upstream, reference, notification);
            }
            Caller::Exchange(_) => {
                let prefix = sse::event_prefix(None);
                let event = edits.apply(prefix.as_bytes(), text, message, sse::EVENT_SUFFIX);
                self.send(minted, event);
            }
            Caller::Tools | Caller::Watch => {}
        }
    }

    /// Sends an event on a call's stream, which begins with it if it has not begun.
    fn send(&mut self, minted: u64, event: Frame) {
        self.begin(minted);
        let most = self.child.limits.stream_queue_bytes;
        let Some(call) = self.calls.get_mut(minted) else {
            return;
        };
        let Some(sender) = call.sender().cloned() else {
            return;
        };
        // Up to half a window may have been taken without our hearing of it yet: a reader that keeps
        // up is not dropped for one large event.
        if call.in_transit > most / 2 && call.in_transit + event.len() > most {
            self.overrun.push(minted);
            return;
        }
        call.in_transit += event.len();
        self.child
            .tell(sender.exchange, exchange::Letter::Event(event), false);
    }

    /// Begins a call's response as an event stream, unless it has begun.
    pub(super) fn begin(&mut self, minted: u64) {
        if let Some(exchange) = self.calls.begin(minted) {
            self.child
                .tell(exchange, exchange::Letter::Begin(None), false);
        }
    }

    pub(super) fn released(&mut self, exchange: ExchangeId, bytes: usize) {
        if let Some(minted) = self.calls.of_exchange(exchange)
            && let Some(call) = self.calls.get_mut(minted)
        {
            call.in_transit = call.in_transit.saturating_sub(bytes);
        }
    }

    /// Takes note that a client has gone, which cancels its call (MCP 2026-07-28, Streamable HTTP,
    /// "Cancellation").
    pub(super) fn disconnected(&mut self, exchange: ExchangeId, now: Now) {
        if let Some(minted) = self.calls.of_exchange(exchange) {
            self.cancel(minted, now);
        } else {
            self.held.retain(|(sender, _)| sender.exchange != exchange);
        }
    }

    /// Sends those away who stopped reading.
    pub(super) fn drop_overrun(&mut self, now: Now) {
        for minted in std::mem::take(&mut self.overrun) {
            if let Some(call) = self.cancel(minted, now)
                && let Some(sender) = call.sender()
            {
                self.child.disconnect(sender.exchange);
                self.child.audit(AuditEvent::ReaderDropped, Some(sender));
            }
        }
    }

    /// Ends a subscription gracefully (MCP 2026-07-28, subscriptions, "Graceful Closure").
    fn end_subscription(&mut self, call: Call) {
        let result = graceful_end(&call);
        match call.caller {
            Caller::Exchange(sender) => {
                let answered = Answered::Whole {
                    message: result.into(),
                    error: None,
                };
                let letter = exchange::Letter::Answered(answered);
                self.child.tell(sender.exchange, letter, true);
            }
            Caller::Session {
                upstream,
                reference,
            } => self.tell_session(upstream, reference, FromHost::Answer(result)),
            Caller::Watch => self.forget_tools(),
            Caller::Tools => {}
        }
    }

    pub(super) fn end_subscriptions(&mut self, now: Now) {
        let open: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.is_listen && !matches!(call.caller, Caller::Watch))
            .map(|(minted, _)| minted)
            .collect();
        for minted in open {
            if let Some(call) = self.cancel(minted, now) {
                self.end_subscription(call);
            }
        }
    }

    /// Fails a call that the child has not answered.
    pub(super) fn fail(&mut self, minted: u64, refusal: Refusal) {
        let Some(call) = self.remove(minted) else {
            return;
        };
        match call.caller {
            Caller::Exchange(sender) => self.child.refuse(sender.exchange, refusal),
            Caller::Session {
                upstream,
                reference,
            } => self.tell_session(upstream, reference, FromHost::Failed(refusal)),
            Caller::Tools | Caller::Watch => {}
        }
    }
}

/// The message in memory that can be shared.
fn shared(text: Text<'_>) -> Bytes {
    match text {
        Text::Short(bytes) => Bytes::copy_from_slice(bytes),
        Text::Long(bytes) => bytes.clone(),
    }
}

fn graceful_end(call: &Call) -> Bytes {
    let id = &call.id[..];
    let result: &[u8] = b",\"result\":{\"resultType\":\"complete\",\"_meta\":\
        {\"io.modelcontextprotocol/subscriptionId\":";
    [b"{\"jsonrpc\":\"2.0\",\"id\":", id, result, id, b"}}}"]
        .concat()
        .into()
}
