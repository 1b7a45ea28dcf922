//! From the callers to the child: each request becomes one line.

use bytes::Bytes;

use super::calls::{Call, Caller};
use super::{Host, Phase};
use crate::decimal::Decimal;
use crate::envelope::{self, Document, Envelope, Field, Kind, RequestId, Source};
use crate::framing::{Frame, Text};
use crate::id::UpstreamId;
use crate::modern::CallKind;
use crate::refusal::Refusal;
use crate::time::Now;
use crate::upstream::Sender;
use crate::upstream::mail::{FromHost, Request, ToHost};
use crate::upstream::message::Edits;

impl Host {
    /// Takes a request that came by HTTP.
    pub(super) fn take_request(&mut self, sender: Sender, request: Box<Request>, now: Now) {
        self.taken |= request.exclusive;
        if let Err(refusal) = self.judge(request.body.len()) {
            return self.child.refuse(sender.exchange, refusal);
        }
        if request.call.kind == CallKind::ToolsCall {
            if !self.knows_tools(now) {
                return self.held.push_back((sender, request));
            }
            if let Err(refusal) = self.judge_mirrored(&request) {
                return self.child.refuse(sender.exchange, refusal);
            }
        }
        self.call(sender, &request, now);
    }

    /// Whether a request of this many bytes may go to the child.
    fn judge(&self, bytes: usize) -> Result<(), Refusal> {
        if self.phase == Phase::Ended {
            return Err(Refusal::ChildUnavailable);
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        if self.child.is_behind(bytes) {
            return Err(Refusal::ChildNotReading);
        }
        if self.calls.count() + self.held.len() >= self.child.limits.calls_per_child {
            return Err(Refusal::TooManyCalls);
        }
        Ok(())
    }

    /// Has the child do what was asked by HTTP.
    pub(super) fn call(&mut self, sender: Sender, request: &Request, now: Now) {
        let Request {
            body,
            message,
            call,
            state,
            exclusive,
            ..
        } = request;
        let caller = Caller::Exchange(sender);
        let is_listen = call.kind == CallKind::Listen;
        let minted = self.insert(caller, body, message, is_listen, now);
        if let Some(call) = self.calls.get_mut(minted) {
            call.is_exclusive = *exclusive;
            call.wants_log = request.call.log_level.is_some();
        }
        let state = state.as_deref().map(json_string);
        self.write(minted, body, message, state.as_deref(), now);
    }

    /// Takes what a legacy session has to say.
    pub(super) fn take_session(&mut self, from: UpstreamId, letter: ToHost, now: Now) {
        match letter {
            ToHost::Call { reference, request } => {
                let Ok(Document::Single(message)) = envelope::scan(&request, Source::Client) else {
                    return;
                };
                if let Err(refusal) = self.judge(request.len()) {
                    return self.tell_session(from, reference, FromHost::Failed(refusal));
                }
                let caller = Caller::Session {
                    upstream: from,
                    reference,
                };
                let is_listen = message
                    .text(Field::Method, &request)
                    .is_some_and(|method| method == "subscriptions/listen");
                let minted = self.insert(caller, &request, &message, is_listen, now);
                if let Some(call) = self.calls.get_mut(minted) {
                    call.wants_log = message.get(Field::LogLevel).is_some();
                    // The session times its client's calls itself.
                    (call.deadline, call.last_deadline, call.silence_at) = (None, None, None);
                }
                self.write(minted, &request, &message, None, now);
            }
            ToHost::Cancel { reference } => {
                if let Some(minted) = self.calls.of_session(from, reference) {
                    self.cancel(minted, now);
                }
            }
            ToHost::Ended => {
                for minted in self.calls.all_of_session(from) {
                    self.cancel(minted, now);
                }
            }
        }
    }

    /// Enters a call that is about to be made, and returns the id that it goes by.
    pub(super) fn insert(
        &mut self,
        caller: Caller,
        body: &Bytes,
        message: &Envelope,
        is_listen: bool,
        now: Now,
    ) -> u64 {
        let limits = &self.child.limits;
        let until = |time| (!is_listen).then(|| now.monotonic + time);
        let raw = |field| message.get(field).map(|span| span.of(body));
        let call = Call {
            caller,
            id: Bytes::copy_from_slice(raw(Field::Id).unwrap_or_default()),
            // A token of another type than MCP's is none, and passes as it is.
            token: raw(Field::ProgressToken)
                .filter(|token| RequestId::decode(token).is_some())
                .map(Bytes::copy_from_slice),
            is_listen,
            wants_log: false,
            is_exclusive: false,
            begun: false,
            in_transit: 0,
            deadline: until(limits.request_time),
            last_deadline: until(limits.request_time_max),
            silence_at: Some(now.monotonic + limits.silence_time),
            timer: None,
        };
        let minted = self.calls.mint();
        self.calls.insert(minted, call);
        minted
    }

    /// Writes a call's request to the child. `state` is what it gets for its `requestState`, as raw
    /// JSON.
    pub(super) fn write(
        &mut self,
        minted: u64,
        body: &Bytes,
        message: &Envelope,
        state: Option<&[u8]>,
        now: Now,
    ) {
        let has_token = self
            .calls
            .get_mut(minted)
            .is_some_and(|call| call.token.is_some());
        let text = Decimal::new(minted);
        let mut edits = Edits::default();
        edits.add(message.get(Field::Id), text.as_bytes());
        if has_token {
            edits.add(message.get(Field::ProgressToken), text.as_bytes());
        }
        if let Some(state) = state {
            edits.add(message.get(Field::RequestState), state);
        }
        let line = edits.apply(b"", Text::Long(body), message, b"\n");
        self.say(line, now);
        self.arm(minted);
    }

    /// Takes a call back: nobody waits for its answer any more.
    pub(super) fn cancel(&mut self, minted: u64, now: Now) -> Option<Call> {
        let call = self.remove(minted)?;
        if call.wants_log {
            let until = now.monotonic + self.child.limits.request_time_max;
            self.haunted_until = Some(until);
        }
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":\
             {{\"requestId\":{minted}}}}}\n"
        );
        self.say(Frame::from(line.into_bytes()), now);
        Some(call)
    }

    /// Says one line to the child, or to what translates for it.
    fn say(&mut self, line: Frame, now: Now) {
        let Some(server) = &mut self.server else {
            return self.child.stdin(line);
        };
        let line = line.to_bytes();
        if let Ok(Document::Single(message)) = envelope::scan(&line, Source::Child)
            && message.kind() != Kind::Response
        {
            server.handle_request(&line, &message, now);
        }
    }
}

/// A text as JSON.
fn json_string(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a string is JSON")
}
