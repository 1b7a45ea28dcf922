//! Rounds: what a modern server asks for by `input_required`, a legacy server asks the client.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::calls::{Call, Original, State, TOO_MUCH};
use super::handshake::is_url_mode;
use super::{LegacyServer, Output, can_be_relayed, code, response};
use crate::envelope::{Envelope, Field, Span};
use crate::translation::json::{Members, members, nested, object, one_line, text};
use crate::upstream::message::minted_id;

/// How often the server may answer one call with `input_required`.
const MOST_ROUNDS: u32 = 32;

/// How many requests one `input_required` may hold.
const MOST_REQUESTS: usize = 64;

/// What 2025-11-25 requires of a URL elicitation, and 2026-07-28 does not have.
const ELICITATION_ID: &str = "elicitationId";

/// What the client is asked, and has answered.
#[derive(Default)]
pub(super) struct Round {
    /// What has not been answered, by the ids of the requests to the client.
    pub(super) questions: BTreeMap<u64, Question>,
    /// The results by the server's keys, as JSON text, which the state is too.
    answers: Vec<(String, String)>,
    request_state: Option<String>,
}

pub(super) struct Question {
    key: String,
    is_elicitation: bool,
}

impl Round {
    /// How many bytes it holds.
    pub(super) fn held(&self) -> usize {
        let keys = self.questions.values().map(|question| question.key.len());
        let answers = self.answers.iter();
        let answers = answers.map(|(key, answer)| key.len() + answer.len());
        let state = self.request_state.as_ref().map_or(0, String::len);
        keys.chain(answers).sum::<usize>() + state
    }

    /// The parameters to send the call again with, each of which ends in a comma.
    fn input(&self) -> String {
        let mut input = String::new();
        if !self.answers.is_empty() {
            let answers = self.answers.iter();
            let answers = object(answers.map(|(key, answer)| (key, &**answer)));
            input += &format!("\"inputResponses\":{answers},");
        }
        if let Some(state) = &self.request_state {
            input += &format!("\"requestState\":{state},");
        }
        input
    }
}

/// A request that the server wants the client to answer.
struct InputRequest {
    key: String,
    method: String,
    /// JSON text.
    params: Option<String>,
    /// Whether it lacks the id that legacy clients require.
    needs_id: bool,
}

impl LegacyServer {
    /// The server cannot go on with a call before the client has answered.
    pub(super) fn input_required(
        &mut self,
        id: u64,
        mut call: Call,
        result: Span,
        document: &[u8],
        message: &Envelope,
    ) {
        call.rounds += 1;
        let requests = match self.input_requests(&call, result.of(document)) {
            Ok(requests) => requests,
            Err(reason) => return self.error(id, code::INTERNAL_ERROR, reason),
        };
        let request_state = message.raw(Field::ResultRequestState, document);
        if requests.is_empty() && request_state.is_none() {
            let reason = "The server asked for input without saying which";
            return self.error(id, code::INTERNAL_ERROR, reason);
        }
        let mut round = Round {
            request_state: request_state.map(to_text),
            ..Round::default()
        };
        let mut lines = Vec::new();
        for request in requests {
            self.last_question += 1;
            lines.push(question(self.last_question, &request));
            let question = Question {
                is_elicitation: request.method == "elicitation/create",
                key: request.key,
            };
            round.questions.insert(self.last_question, question);
        }
        if !self.has_room(&call, &round) {
            return self.error(id, code::INTERNAL_ERROR, TOO_MUCH);
        }
        let lines = lines.into_iter().map(|line| Output::Line(line.into()));
        self.outputs.extend(lines);
        self.proceed(id, call, round);
    }

    /// What the server asks for, or why it cannot be asked.
    fn input_requests(
        &self,
        call: &Call,
        result: &[u8],
    ) -> Result<Vec<InputRequest>, &'static str> {
        if call.original.is_none() {
            return Err("The server asked for input where none can be given");
        }
        if call.rounds > MOST_ROUNDS {
            return Err("The server asked for input too often");
        }
        let malformed = "The server asked for input in a way that cannot be read";
        let result = members(result).ok_or(malformed)?;
        let state = result.get("requestState");
        if state.is_some_and(|state| !state.get().starts_with('"')) {
            return Err(malformed);
        }
        if !result.contains_key("inputRequests") {
            return Ok(Vec::new());
        }
        let requests = nested(&result, "inputRequests").ok_or(malformed)?;
        if requests.len() > MOST_REQUESTS {
            return Err("The server asked for too much input at once");
        }
        let requests = requests.into_iter().map(|(key, request)| {
            let request = members(request.get().as_bytes()).ok_or(malformed)?;
            let method = text(&request, "method").ok_or(malformed)?;
            let params = request.get("params");
            let read = nested(&request, "params");
            if params.is_some() && read.is_none() {
                return Err(malformed);
            }
            if !self.client.takes(&method, read.as_ref()) {
                return Err("The server asked for input that the client cannot give");
            }
            let needs_id =
                |params: &Members<'_>| is_url_mode(params) && !params.contains_key(ELICITATION_ID);
            Ok(InputRequest {
                key,
                method,
                params: params.map(|params| one_line(params.get().to_owned())),
                needs_id: read.as_ref().is_some_and(needs_id),
            })
        });
        requests.collect()
    }

    /// The client has answered a request.
    pub(super) fn client_answered(&mut self, line: &Bytes, message: &Envelope) {
        let question = message.get(Field::Id).and_then(|id| minted_id(id.of(line)));
        let call = question.and_then(|question| Some((question, self.calls.asking(question)?)));
        let Some((question, (id, mut call))) = call else {
            return;
        };
        let State::Asking(mut round) = std::mem::replace(&mut call.state, State::InFlight(0))
        else {
            return;
        };
        let Some(asked) = round.questions.remove(&question) else {
            return;
        };
        let answer = match (
            message.raw(Field::Result, line),
            message.raw(Field::Error, line),
        ) {
            (Some(result), _) => to_text(result),
            // A legacy client that fails to ask its user has not got an answer from them.
            (None, _) if asked.is_elicitation => "{\"action\":\"cancel\"}".to_owned(),
            (None, error) => {
                let error = error.unwrap_or_default();
                let line = [&response(id, "error"), error, b"}"].concat();
                self.outputs.push_back(Output::Line(line.into()));
                return self.withdraw(&round);
            }
        };
        round.answers.push((asked.key, answer));
        if !self.has_room(&call, &round) {
            self.error(id, code::INTERNAL_ERROR, TOO_MUCH);
            return self.withdraw(&round);
        }
        self.proceed(id, call, round);
    }

    /// Whether the call, which is taken out, can be held with this round.
    fn has_room(&self, call: &Call, round: &Round) -> bool {
        let original = call.original.as_ref().map_or(0, Original::len);
        self.calls.held() + original + round.held() <= self.limits.stdin_bytes
    }

    /// Makes the call again, if nothing is unanswered.
    fn proceed(&mut self, id: u64, mut call: Call, round: Round) {
        call.state = match &call.original {
            Some(original) if round.questions.is_empty() => {
                let (reference, request) =
                    self.modern_request(original, call.token.is_some(), &round.input());
                if !can_be_relayed(&request) {
                    let reason = "The client's answer nests too deeply";
                    return self.error(id, code::INTERNAL_ERROR, reason);
                }
                self.outputs.push_back(Output::Call { reference, request });
                State::InFlight(reference)
            }
            _ => State::Asking(round),
        };
        self.calls.insert(id, call);
    }

    /// The client need not answer any more.
    pub(super) fn withdraw(&mut self, round: &Round) {
        for question in round.questions.keys() {
            let line = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\
                 \"params\":{{\"requestId\":{question}}}}}"
            );
            self.outputs
                .push_back(Output::Line(line.into_bytes().into()));
        }
    }
}

/// JSON that was scanned, which is UTF-8.
fn to_text(json: &[u8]) -> String {
    String::from_utf8_lossy(json).into_owned()
}

/// The request to the client.
fn question(id: u64, request: &InputRequest) -> Vec<u8> {
    let method = &request.method;
    let mut line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\"");
    if let Some(params) = &request.params {
        line += ",\"params\":";
        if request.needs_id {
            line += &format!("{{\"{ELICITATION_ID}\":\"{id}\",{}", &params[1..]);
        } else {
            line += params;
        }
    }
    line.push('}');
    line.into_bytes()
}
