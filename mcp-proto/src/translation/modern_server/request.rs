//! A modern request as a legacy server is to see it.

use bytes::Bytes;

use super::method::Method;
use crate::envelope::{Envelope, Field};
use crate::framing::{Frame, Text, splice};
use crate::translation::json::{Members, members, object};

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
pub(super) fn legacy_line(line: &Bytes, message: &Envelope, method: Method) -> Frame {
    let meta = message.raw(Field::Meta, line);
    let meta = meta.map(|meta| legacy_meta(&members(meta).unwrap_or_default()));
    let is_retry =
        message.get(Field::RequestState).is_some() || message.get(Field::InputResponses).is_some();
    if is_retry && method.may_ask() {
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
