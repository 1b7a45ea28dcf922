//! Calls: a request of the session's, and the modern request or requests that it takes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::rounds::Round;
use super::{LegacyServer, Output, code, members};
use crate::envelope::{Envelope, Field, Span};
use crate::framing::{Text, splice};
use crate::upstream::message::minted_id;

/// What a call is told that would pass the limits.
pub(super) const TOO_MUCH: &str = "Too much is in flight";

/// A request of the session's that is not answered.
pub(super) struct Call {
    /// The session's progress token.
    pub(super) token: Option<u64>,
    pub(super) method: Method,
    /// What to send again when the server has got its input; only of calls that may ask for any.
    pub(super) original: Option<Original>,
    /// How often the server has answered with `input_required`.
    pub(super) rounds: u32,
    pub(super) state: State,
}

/// The methods that differ from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    CallTool,
    GetPrompt,
    ReadResource,
    ListTools,
    Other,
}

impl Method {
    fn new(name: &str) -> Self {
        match name {
            "tools/call" => Self::CallTool,
            "prompts/get" => Self::GetPrompt,
            "resources/read" => Self::ReadResource,
            "tools/list" => Self::ListTools,
            _ => Self::Other,
        }
    }

    /// Whether the server may answer with `input_required` (MCP 2026-07-28, MRTR, "Supported
    /// Requests").
    fn may_ask(self) -> bool {
        matches!(self, Self::CallTool | Self::GetPrompt | Self::ReadResource)
    }
}

pub(super) enum State {
    /// The child has it.
    InFlight(u64),
    /// The client has to answer first.
    Asking(Round),
}

impl Call {
    /// How many bytes it holds.
    fn held(&self) -> usize {
        let original = self.original.as_ref();
        let round = match &self.state {
            State::InFlight(_) => 0,
            State::Asking(round) => round.held(),
        };
        original.map_or(0, Original::len) + round
    }
}

/// A request of the session's, as it was said.
#[derive(Clone)]
pub(super) struct Original {
    line: Bytes,
    method: Span,
    params: Option<Span>,
    meta: Option<Span>,
}

impl Original {
    /// `None` if the parameters are not an object.
    fn new(line: &Bytes, message: &Envelope) -> Option<Self> {
        let params = message.get(Field::Params);
        let is_object = |params: Span| params.of(line).starts_with(b"{");
        (params.is_none_or(is_object)).then_some(Self {
            line: line.clone(),
            method: message.get(Field::Method)?,
            params,
            meta: message.get(Field::Meta),
        })
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    fn meta(&self) -> Option<&[u8]> {
        self.meta.map(|meta| meta.of(&self.line))
    }

    /// The modern request: with this `_meta`, and with these members, each of which ends in a
    /// comma, before the other parameters.
    fn request(&self, reference: u64, meta: &str, input: &str) -> Bytes {
        let start = format!("{{\"jsonrpc\":\"2.0\",\"id\":{reference},\"method\":");
        let method = self.method.of(&self.line);
        let prefix = [start.as_bytes(), method, b",\"params\":"].concat();
        let Some(params) = self.params else {
            let params = format!("{{{input}\"_meta\":{meta}}}}}");
            return [&prefix, params.as_bytes()].concat().into();
        };
        let front = Span {
            start: params.start + 1,
            end: params.start + 1,
        };
        let (first, edits);
        if let Some(given) = self.meta {
            edits = vec![(front, input.as_bytes()), (given, meta.as_bytes())];
        } else {
            let is_empty = members::is_empty_object(params.of(&self.line));
            let comma = if is_empty { "" } else { "," };
            first = format!("{input}\"_meta\":{meta}{comma}");
            edits = vec![(front, first.as_bytes())];
        }
        let text = Text::Long(&self.line);
        splice(&prefix, text, params, false, &edits, b"}").to_bytes()
    }
}

/// The calls of a session.
#[derive(Default)]
pub(super) struct Calls {
    /// By the session's id.
    calls: BTreeMap<u64, Call>,
    /// What is in flight: the session's id by the reference.
    in_flight: BTreeMap<u64, u64>,
    /// What the client is asked: the session's id by the id of the question.
    questions: BTreeMap<u64, u64>,
    /// How many bytes are held.
    held: usize,
}

impl Calls {
    pub(super) fn in_flight(&self, reference: u64) -> Option<&Call> {
        self.calls.get(self.in_flight.get(&reference)?)
    }

    /// Takes out the call that the child has answered.
    pub(super) fn answered(&mut self, reference: u64) -> Option<(u64, Call)> {
        let id = *self.in_flight.get(&reference)?;
        Some((id, self.remove(id)?))
    }

    /// Takes out the call that waits for the answer to a question.
    pub(super) fn asking(&mut self, question: u64) -> Option<(u64, Call)> {
        let id = *self.questions.get(&question)?;
        Some((id, self.remove(id)?))
    }

    pub(super) fn insert(&mut self, id: u64, call: Call) {
        match &call.state {
            State::InFlight(reference) => {
                self.in_flight.insert(*reference, id);
            }
            State::Asking(round) => {
                self.questions
                    .extend(round.questions.keys().map(|question| (*question, id)));
            }
        }
        self.held += call.held();
        self.calls.insert(id, call);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.held -= call.held();
        match &call.state {
            State::InFlight(reference) => {
                self.in_flight.remove(reference);
            }
            State::Asking(round) => {
                for question in round.questions.keys() {
                    self.questions.remove(question);
                }
            }
        }
        Some(call)
    }

    /// How many bytes are held: of requests that may have to be sent again, and of answers to
    /// questions.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let tables = [&self.in_flight, &self.questions];
        self.calls.is_empty() && self.held == 0 && tables.iter().all(|table| table.is_empty())
    }
}

impl LegacyServer {
    /// Makes a call out of a request of the session's.
    pub(super) fn call(&mut self, id: u64, method: &str, line: &Bytes, message: &Envelope) {
        if self.calls.calls.contains_key(&id) {
            return self.error(id, code::INVALID_REQUEST, "The id is in use");
        }
        let Some(original) = Original::new(line, message) else {
            return self.error(id, code::INVALID_PARAMS, "The parameters are not an object");
        };
        let method = Method::new(method);
        let may_ask = method.may_ask();
        // To the modern server these would be answers to questions that it has not asked.
        let answers = [Field::RequestState, Field::InputResponses];
        if may_ask
            && answers
                .into_iter()
                .any(|field| message.get(field).is_some())
        {
            return self.error(id, code::INVALID_PARAMS, "Unknown parameters");
        }
        if self.calls.calls.len() >= self.limits.calls_per_session
            || may_ask && self.calls.held() + line.len() > self.limits.stdin_bytes
        {
            return self.error(id, code::INTERNAL_ERROR, TOO_MUCH);
        }
        let token = message.raw(Field::ProgressToken, line).and_then(minted_id);
        let (reference, request) = self.modern_request(&original, token.is_some(), "");
        self.outputs.push_back(Output::Call { reference, request });
        let call = Call {
            token,
            method,
            original: may_ask.then_some(original),
            rounds: 0,
            state: State::InFlight(reference),
        };
        self.calls.insert(id, call);
    }

    /// A request of the session's as the child is to hear it, under a new reference.
    pub(super) fn modern_request(
        &mut self,
        original: &Original,
        progress: bool,
        input: &str,
    ) -> (u64, Bytes) {
        let reference = self.mint_reference();
        let meta = self.call_meta(original.meta(), progress.then_some(reference));
        (reference, original.request(reference, &meta, input))
    }

    /// The session does not wait for this request any more.
    pub(super) fn cancelled(&mut self, id: u64) {
        self.subscriptions.cancelled(id);
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        match call.state {
            State::InFlight(reference) => self.outputs.push_back(Output::Cancel { reference }),
            State::Asking(round) => self.withdraw(&round),
        }
    }
}
