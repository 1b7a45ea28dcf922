//! Calls: a request of the session's, and the modern request or requests that it takes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::rounds::Round;
use super::{LegacyServer, Output, code, members, response};
use crate::envelope::{Envelope, Field, Span};
use crate::framing::{Text, splice};
use crate::upstream::message::minted_id;

/// What a call is told that would pass the limits.
pub(super) const TOO_MUCH: &str = "Too much is in flight";

/// A request of the session's that is not answered.
pub(super) struct Call {
    /// The session's progress token.
    pub(super) token: Option<u64>,
    pub(super) is_resource_read: bool,
    /// What to send again when the server has got its input; only of calls that may ask for any
    /// (MCP 2026-07-28, MRTR, "Supported Requests").
    pub(super) original: Option<Original>,
    /// How often the server has answered with `input_required`.
    pub(super) rounds: u32,
    pub(super) state: State,
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
        let may_ask = matches!(method, "tools/call" | "prompts/get" | "resources/read");
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
        let reference = self.send(&original, token.is_some(), "");
        let call = Call {
            token,
            is_resource_read: method == "resources/read",
            original: may_ask.then_some(original),
            rounds: 0,
            state: State::InFlight(reference),
        };
        self.calls.insert(id, call);
    }

    /// Sends a request of the session's to the child, under a new reference.
    pub(super) fn send(&mut self, original: &Original, progress: bool, input: &str) -> u64 {
        let reference = self.mint_reference();
        let meta = self.call_meta(original.meta(), progress.then_some(reference));
        let request = original.request(reference, &meta, input);
        self.outputs.push_back(Output::Call { reference, request });
        reference
    }

    /// The child has answered a call.
    pub(super) fn answered(
        &mut self,
        id: u64,
        call: Call,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        if let Some(error) = message.get(Field::Error) {
            return self.failed(id, &call, error, text, document, message);
        }
        let Some(result) = message.get(Field::Result) else {
            return;
        };
        let kind = message.text(Field::ResultType, document);
        match (message.get(Field::ResultType), kind.as_deref()) {
            (None, _) | (_, Some("complete")) => {
                let cuts = members::cuts(document, modern_members(message));
                let edits: Vec<_> = cuts.into_iter().map(|cut| (cut, &b""[..])).collect();
                self.respond(id, "result", text, result, message, &edits);
            }
            (_, Some("input_required")) => self.input_required(id, call, result, document, message),
            // MCP 2026-07-28, "ResultType": what is not known is invalid.
            _ => self.error(
                id,
                code::INTERNAL_ERROR,
                "The server gave a result of an unknown type",
            ),
        }
    }

    /// The child has answered a call with an error.
    fn failed(
        &mut self,
        id: u64,
        call: &Call,
        error: Span,
        text: Text<'_>,
        document: &[u8],
        message: &Envelope,
    ) {
        let span = message.get(Field::ErrorCode);
        let code = span.and_then(|span| str::from_utf8(span.of(document)).ok());
        let code = match code {
            Some("-32602") if call.is_resource_read && names_resource(error.of(document)) => {
                Some(code::RESOURCE_NOT_FOUND)
            }
            // The server's message says which capability is missing.
            Some("-32021") => Some(code::INVALID_PARAMS),
            // Of these the client has no part: it sent no such header and named no such revision.
            Some("-32020" | "-32022") => {
                return self.error(
                    id,
                    code::INTERNAL_ERROR,
                    "The server refused a request that was translated for it",
                );
            }
            _ => None,
        };
        let code = code.map(|code| code.to_string());
        let edits: Vec<_> = span
            .zip(code.as_ref())
            .map(|(span, code)| (span, code.as_bytes()))
            .into_iter()
            .collect();
        self.respond(id, "error", text, error, message, &edits);
    }

    /// Answers the session with a part of the child's answer.
    fn respond(
        &mut self,
        id: u64,
        member: &str,
        text: Text<'_>,
        part: Span,
        message: &Envelope,
        edits: &[(Span, &[u8])],
    ) {
        let prefix = response(id, member);
        let line = splice(&prefix, text, part, message.has_line_breaks(), edits, b"}");
        self.outputs.push_back(Output::Line(line));
    }

    /// The session does not wait for this request any more.
    pub(super) fn cancelled(&mut self, id: u64) {
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        match call.state {
            State::InFlight(reference) => self.outputs.push_back(Output::Cancel { reference }),
            State::Asking(round) => self.withdraw(&round),
        }
    }
}

/// The members of a result that no legacy result has.
fn modern_members(message: &Envelope) -> Vec<Span> {
    let fields = [
        Field::ResultType,
        Field::ResultTtl,
        Field::ResultCacheScope,
        Field::ResultServerInfo,
    ];
    let values = fields.into_iter();
    values.filter_map(|field| message.get(field)).collect()
}

/// Whether an error's data names a resource: then it says that there is none (MCP 2026-07-28,
/// resources, "Error Handling").
fn names_resource(error: &[u8]) -> bool {
    let data = members::members(error).and_then(|mut error| error.remove("data"));
    let data = data.and_then(|data| members::members(data.get().as_bytes()));
    data.is_some_and(|data| data.contains_key("uri"))
}
