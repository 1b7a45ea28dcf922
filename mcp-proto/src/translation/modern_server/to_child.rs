//! From the client to the child: what is sent, what waits, and what is called off.

use bytes::Bytes;

use super::calls::Call;
use super::error::{INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND};
use super::rounds::{RequestState, Retry, Turn};
use super::{ModernServer, Phase, number};
use crate::decimal::Decimal;
use crate::envelope::{Envelope, Field};
use crate::framing::{Frame, Text, splice};
use crate::modern::{CallKind, Level};
use crate::time::Now;
use crate::translation::TranslationOutput;
use crate::translation::json::{Members, members, object};

impl ModernServer {
    pub(super) fn request(&mut self, line: &Bytes, message: &Envelope, now: Now) {
        let Some(request) = message.raw(Field::Id, line).and_then(number) else {
            return;
        };
        let kind = message.text(Field::Method, line);
        let kind = kind.map_or(CallKind::Other, |method| CallKind::of(&method));
        match (&self.phase, kind) {
            (_, CallKind::Task | CallKind::Other | CallKind::Notification) => {
                self.refuse(request, METHOD_NOT_FOUND, "Method not found");
            }
            (Phase::Opening { .. }, _) => {
                let may_ask = kind.may_ask_for_input() && self.client.has_any();
                let may_log = message.get(Field::LogLevel).is_some();
                self.wait(request, line, message, may_ask || may_log);
            }
            (Phase::Failed, _) => {
                self.refuse(request, INTERNAL_ERROR, "The server refused to initialize.");
            }
            (Phase::Ready(server), CallKind::Discover) => {
                let id = Decimal::new(request);
                let parts = [
                    &b"{\"jsonrpc\":\"2.0\",\"id\":"[..],
                    id.as_bytes(),
                    b",\"result\":",
                    &server.discovered,
                    b"}",
                ];
                let frame = parts.concat().into();
                self.outputs.push_back(TranslationOutput::ToClient(frame));
            }
            (Phase::Ready(_), CallKind::Listen) => self.listen(request, line, message, now),
            (Phase::Ready(_), _) => self.call(request, kind, line, message, now),
        }
    }

    fn call(&mut self, request: u64, kind: CallKind, line: &Bytes, message: &Envelope, now: Now) {
        let level = message.text(Field::LogLevel, line);
        let level = level.and_then(|level| Level::parse(&level));
        let wants_progress = message.get(Field::ProgressToken).is_some();
        if kind.may_ask_for_input() && message.get(Field::RequestState).is_some() {
            let state = message.text(Field::RequestState, line);
            let Some(state) = state.and_then(|state| RequestState::parse(&state)) else {
                return self.refuse(request, INVALID_PARAMS, "The request state is malformed.");
            };
            let retry = Retry {
                request,
                wants_progress,
                level,
                line,
                message,
            };
            if self.resume(state, &retry, now) {
                return;
            }
        }
        let logs = level.filter(|_| self.logs());
        if kind.may_ask_for_input() && self.client.has_any() || logs.is_some() {
            if self.turn.is_some() {
                return self.wait(request, line, message, true);
            }
            self.turn = Some(Turn::new(request));
        }
        if let Some(level) = logs {
            self.set_level(level);
        }
        let uri = message.raw(Field::Uri, line);
        let uri = uri.filter(|_| kind == CallKind::ResourcesRead);
        let call = Call {
            kind,
            request: Some(request),
            wants_progress,
            level,
            uri: uri.map(Bytes::copy_from_slice),
        };
        self.calls.insert(request, call);
        let frame = legacy_line(line, message, kind);
        self.outputs.push_back(TranslationOutput::ToChild(frame));
    }

    fn wait(&mut self, request: u64, line: &Bytes, message: &Envelope, needs_turn: bool) {
        if !self
            .waiting
            .push(line, message, needs_turn, self.limits.stdin_bytes)
        {
            self.refuse(
                request,
                INTERNAL_ERROR,
                "Too many requests wait for the server.",
            );
        }
    }

    pub(super) fn cancel(&mut self, line: &Bytes, message: &Envelope, now: Now) {
        let Some(request) = message.raw(Field::RequestId, line).and_then(number) else {
            return;
        };
        if self.waiting.remove(request) || self.unlisten(request) {
            return;
        }
        if let Some(call) = self.calls.find(request) {
            self.abandon(call, "The call was cancelled.", now);
        }
    }

    /// Has the child cancel a call that nobody waits for any more.
    pub(super) fn abandon(&mut self, call: u64, reason: &str, now: Now) {
        let params = format!("{{\"requestId\":{call},\"reason\":\"{reason}\"}}");
        self.line_for_child(format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{params}}}"
        ));
        let until = now.monotonic + self.limits.request_time_max;
        self.calls.abandon(call, until);
        if self.turn.as_ref().is_some_and(|turn| turn.call == call) {
            self.refuse_asked(reason);
            self.next_turn(now);
        }
    }
}

/// What the revision says of each request in `_meta`: a legacy server has heard it in the handshake,
/// and one that knows both eras must not be told that this is the other.
const PROTOCOL_FIELDS: [&str; 5] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
];

/// What a call has when it is sent again (MCP 2026-07-28, MRTR).
const RETRY_PARAMS: [&str; 2] = ["requestState", "inputResponses"];

/// The message as one line for the child: without what only modern ones have in `_meta`, and, of a
/// call that is sent again, without state and responses.
fn legacy_line(line: &Bytes, message: &Envelope, kind: CallKind) -> Frame {
    let meta = message.raw(Field::Meta, line);
    let meta = meta.map(|meta| legacy_meta(&members(meta).unwrap_or_default()));
    let is_retry =
        message.get(Field::RequestState).is_some() || message.get(Field::InputResponses).is_some();
    if is_retry && kind.may_ask_for_input() {
        return without_retry(line, message, meta.as_deref()).into();
    }
    let edit = message.get(Field::Meta).zip(meta.as_deref());
    let edit = edit.map(|(span, meta)| (span, meta.as_bytes()));
    splice(
        b"",
        Text::Long(line),
        message.span(),
        message.has_line_breaks(),
        edit.as_slice(),
        b"\n",
    )
}

fn legacy_meta(meta: &Members<'_>) -> String {
    let kept = meta.iter();
    let kept = kept.filter(|(name, _)| !PROTOCOL_FIELDS.contains(&name.as_str()));
    object(kept.map(|(name, value)| (name, value.get())))
}

/// Written anew, since the scan tells where values lie and not where members begin.
fn without_retry(line: &Bytes, message: &Envelope, meta: Option<&str>) -> Vec<u8> {
    let raw = |field| {
        message
            .raw(field, line)
            .and_then(|raw| str::from_utf8(raw).ok())
    };
    let params = raw(Field::Params).unwrap_or("{}");
    let params = members(params.as_bytes()).unwrap_or_default();
    let params = params
        .iter()
        .filter(|(name, _)| !RETRY_PARAMS.contains(&name.as_str()))
        .map(|(name, value)| match meta {
            Some(meta) if name == "_meta" => (name, meta),
            _ => (name, value.get()),
        });
    let params = object(params);
    let mut written = object([
        ("jsonrpc", "\"2.0\""),
        ("id", raw(Field::Id).unwrap_or_default()),
        ("method", raw(Field::Method).unwrap_or_default()),
        ("params", &params),
    ]);
    written.push('\n');
    written.into_bytes()
}
