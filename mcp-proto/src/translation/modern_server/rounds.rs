//! Multi round-trip requests (MCP 2026-07-28, MRTR) out of a legacy child's requests.
//!
//! ```text
//! Running ──the child asks──> Gathering ──a few ms──> Parked ──retry, all answered──> Running
//!    ^ └─────────────────the child answers the call────┘  │  ──retry, some missing──> Parked
//!    └── the next call                                    └──client_answer_time──> abandoned
//! ```
//!
//! Nothing in a child's request says which call it is for. So one call at a time may have the client
//! asked, and the others wait for their turn.

use std::time::Duration;

use bytes::Bytes;

use super::capabilities::Asked;
use super::error::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, error_response};
use super::{GATHER_TIME, ModernServer};
use crate::envelope::{Envelope, Field, RequestId, Span};
use crate::framing::{Text, splice};
use crate::modern::Level;
use crate::time::{Instant, Now};
use crate::translation::TranslationOutput;
use crate::translation::json::{is_object, members};

/// How long a client may take to answer though others wait for the child.
pub(super) const LEAST_ANSWER_TIME: Duration = Duration::from_secs(5);

/// The one call at a time that may have the client asked, or that logs.
pub(super) struct Turn {
    pub(super) call: u64,
    state: State,
    /// How often the client has been asked.
    round: u64,
    /// What the child has asked and the client has not answered.
    requests: Vec<ChildRequest>,
    /// How many requests the child has made.
    asked: u64,
    /// The child's answer, which came while the client was asked.
    answer: Option<(Bytes, Envelope)>,
}

#[derive(Clone, Copy)]
enum State {
    Running,
    Gathering { until: Instant },
    Parked { since: Instant, until: Instant },
}

/// A request of the child's for the client.
struct ChildRequest {
    /// The child's id, as raw JSON.
    id: Bytes,
    decoded_id: RequestId,
    /// The key in `inputRequests` and `inputResponses`.
    key: String,
    /// What stands under the key.
    text: String,
}

impl Turn {
    pub(super) fn new(call: u64) -> Self {
        Self {
            call,
            state: State::Running,
            round: 0,
            requests: Vec::new(),
            asked: 0,
            answer: None,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Running => None,
            State::Gathering { until } | State::Parked { until, .. } => Some(until),
        }
    }
}

/// What `requestState` says: the call, and how often the client had been asked. Good only where the
/// call is, and only as far as whoever keeps the client's copy vouches for it.
#[derive(Clone, Copy)]
pub(super) struct RequestState {
    call: u64,
    round: u64,
}

impl RequestState {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (call, round) = text.split_once('.')?;
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain)
        };
        Some(Self {
            call: number(call)?,
            round: number(round)?,
        })
    }
}

/// A request that carries on a parked call.
pub(super) struct Retry<'a> {
    pub(super) request: u64,
    pub(super) wants_progress: bool,
    pub(super) level: Option<Level>,
    pub(super) line: &'a Bytes,
    pub(super) message: &'a Envelope,
}

impl ModernServer {
    /// Takes a request of the child's.
    pub(super) fn child_request(&mut self, document: &[u8], message: &Envelope, now: Now) {
        let Some(id) = message.raw(Field::Id, document) else {
            return;
        };
        let method = message.text(Field::Method, document).unwrap_or_default();
        if method == "ping" {
            let id = String::from_utf8_lossy(id);
            return self.line_for_child(format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}"
            ));
        }
        match self
            .client
            .judge(&method, message.raw(Field::Params, document))
        {
            Asked::For(text) => self.ask_for(id, text, now),
            Asked::Undeclared(missing) => {
                self.calls.miss(&missing);
                self.refuse_child(
                    id,
                    METHOD_NOT_FOUND,
                    "The client has not declared this capability.",
                );
            }
            Asked::Malformed => {
                self.refuse_child(id, INVALID_PARAMS, "The parameters are invalid.");
            }
            Asked::Unknown => self.refuse_child(id, METHOD_NOT_FOUND, "Method not found"),
        }
    }

    fn ask_for(&mut self, id: &[u8], text: String, now: Now) {
        let is_certain = !self.calls.has_asking_ghost();
        let turn = self.turn.as_mut().filter(|turn| {
            let call = self.calls.get(turn.call);
            is_certain
                && call.is_some_and(|call| call.kind.may_ask_for_input())
                && turn.answer.is_none()
        });
        let (Some(turn), Some(decoded_id)) = (turn, RequestId::decode(id)) else {
            return self.refuse_child(
                id,
                INTERNAL_ERROR,
                "There is no call that this request could belong to.",
            );
        };
        let held: usize = turn.requests.iter().map(|held| held.text.len()).sum();
        if turn.requests.len() >= self.limits.calls_per_session
            || held > 0 && held + text.len() > self.limits.waiting_bytes
        {
            return self.refuse_child(id, INTERNAL_ERROR, "Too many requests are unanswered.");
        }
        turn.asked += 1;
        turn.requests.push(ChildRequest {
            id: Bytes::copy_from_slice(id),
            decoded_id,
            key: format!("request-{}", turn.asked),
            text,
        });
        if matches!(turn.state, State::Running) {
            turn.state = State::Gathering {
                until: now.monotonic + GATHER_TIME,
            };
        }
    }

    /// The child waits no more for the answer to a request of its own.
    pub(super) fn child_cancelled(&mut self, document: &[u8], message: &Envelope) {
        let id = message.raw(Field::RequestId, document);
        if let Some(id) = id.and_then(RequestId::decode)
            && let Some(turn) = &mut self.turn
        {
            turn.requests.retain(|request| request.decoded_id != id);
            if turn.requests.is_empty() && matches!(turn.state, State::Gathering { .. }) {
                turn.state = State::Running;
            }
        }
    }

    /// Answers the client's request with what the child asks, and parks the call.
    fn ask(&mut self, now: Now) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        let call = self.calls.get_mut(turn.call);
        let Some(request) = call.and_then(|call| call.request.take()) else {
            return;
        };
        turn.round += 1;
        turn.state = State::Parked {
            since: now.monotonic,
            until: now.monotonic + self.limits.client_answer_time,
        };
        let state = format!("{}.{}", turn.call, turn.round);
        let requests = turn.requests.iter();
        let requests = requests.map(|request| (request.key.clone(), request.text.clone()));
        let requests: Vec<_> = requests.collect();
        let response = self.input_required(request, &requests, Some(&state));
        self.line_for_client(response);
    }

    /// Carries on the call that the state names. `false` if it is not parked here, or no more.
    ///
    /// An earlier round's answers are taken too, for what they answer: the client asks again when
    /// what it was told got lost.
    pub(super) fn resume(&mut self, state: RequestState, retry: &Retry<'_>, now: Now) -> bool {
        let Some(turn) = &mut self.turn else {
            return false;
        };
        let is_parked = matches!(turn.state, State::Parked { .. });
        if turn.call != state.call || !is_parked || state.round > turn.round {
            return false;
        }
        turn.state = State::Running;
        let (id, answer) = (turn.call, turn.answer.take());
        let requests = std::mem::take(&mut turn.requests);
        if let Some(call) = self.calls.get_mut(id) {
            call.request = Some(retry.request);
            call.wants_progress = retry.wants_progress;
            call.level = retry.level;
        }
        if let Some(level) = retry.level {
            self.set_level(level);
        }
        if let Some((document, message)) = answer {
            self.answer(Text::Long(&document), &message, now);
            return true;
        }
        let responses = retry.message.raw(Field::InputResponses, retry.line);
        let responses = responses.and_then(members).unwrap_or_default();
        let mut left = Vec::new();
        for request in requests {
            match responses.get(&request.key).filter(|raw| is_object(raw)) {
                Some(response) => self.respond(&request.id, response.get(), retry),
                None => left.push(request),
            }
        }
        if let Some(turn) = self.turn.as_mut().filter(|_| !left.is_empty()) {
            turn.requests = left;
            self.ask(now);
        }
        true
    }

    /// Answers a request of the child's with what the client has answered.
    fn respond(&mut self, id: &[u8], response: &str, retry: &Retry<'_>) {
        let start = response.as_ptr() as usize - retry.line.as_ptr() as usize;
        let span = Span {
            start: start as u32,
            end: (start + response.len()) as u32,
        };
        let prefix = [b"{\"jsonrpc\":\"2.0\",\"id\":", id, b",\"result\":"].concat();
        let breaks = retry.message.has_line_breaks();
        let frame = splice(&prefix, Text::Long(retry.line), span, breaks, &[], b"}\n");
        self.outputs.push_back(TranslationOutput::ToChild(frame));
    }

    /// Keeps the child's answer for the retry. `false` if the client waits for it now.
    pub(super) fn keep_answer(&mut self, document: &[u8], message: &Envelope) -> bool {
        let parked = self
            .turn
            .as_mut()
            .filter(|turn| matches!(turn.state, State::Parked { .. }));
        let Some(turn) = parked else {
            return false;
        };
        turn.answer = Some((Bytes::copy_from_slice(document), *message));
        self.refuse_asked("The call has been answered.");
        true
    }

    /// Answers all that the child has asked for the sake of the call with errors.
    pub(super) fn refuse_asked(&mut self, message: &str) {
        let requests = self
            .turn
            .as_mut()
            .map(|turn| std::mem::take(&mut turn.requests));
        for request in requests.unwrap_or_default() {
            self.refuse_child(&request.id, INTERNAL_ERROR, message);
        }
    }

    /// Takes note that others wait for a child: they do not wait long for a client to answer.
    pub(crate) fn give_way(&mut self, now: Now) {
        if let Some(turn) = &mut self.turn
            && let State::Parked { since, until } = &mut turn.state
        {
            *until = (*until).min(*since + LEAST_ANSWER_TIME);
            self.turn_timeout(now);
        }
    }

    /// Does what is due for the one call.
    pub(super) fn turn_timeout(&mut self, now: Now) {
        let Some(turn) = &self.turn else {
            return;
        };
        match turn.state {
            State::Gathering { until } if until <= now.monotonic => self.ask(now),
            State::Parked { until, .. } if until <= now.monotonic => {
                let (call, answered) = (turn.call, turn.answer.is_some());
                if answered {
                    self.calls.remove(call);
                    self.next_turn(now);
                } else {
                    self.abandon(call, "The client did not answer in time.", now);
                }
            }
            _ => {}
        }
    }

    fn refuse_child(&mut self, id: &[u8], code: i64, message: &str) {
        let response = error_response(&String::from_utf8_lossy(id), code, message, None);
        self.line_for_child(response);
    }
}
