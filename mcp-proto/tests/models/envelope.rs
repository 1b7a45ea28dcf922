//! What serde_json makes of a message, which it reads in a wholly different way from the scan.

use std::collections::BTreeMap;

use mcp_proto::envelope::{
    Envelope, Field, Kind, MAX_BATCH, MAX_DEPTH, MAX_ID, ScanReason, Source, Span, scan,
};
use serde_json::value::RawValue;

pub(crate) const SOURCES: [Source; 2] = [Source::Client, Source::Child];

/// Every field, with the keys that lead to it.
pub(crate) const FIELDS: [(Field, &[&str]); Field::COUNT] = [
    (Field::Id, &["id"]),
    (Field::Method, &["method"]),
    (Field::Params, &["params"]),
    (Field::Result, &["result"]),
    (Field::Error, &["error"]),
    (Field::ErrorCode, &["error", "code"]),
    (Field::ProgressToken, &["params", "_meta", "progressToken"]),
    (
        Field::ProtocolVersionMeta,
        &["params", "_meta", "io.modelcontextprotocol/protocolVersion"],
    ),
    (
        Field::RelatedTask,
        &[
            "params",
            "_meta",
            "io.modelcontextprotocol/related-task",
            "taskId",
        ],
    ),
    (Field::Progress, &["params", "progressToken"]),
    (Field::RequestId, &["params", "requestId"]),
    (Field::TaskId, &["params", "taskId"]),
    (Field::Name, &["params", "name"]),
    (Field::Uri, &["params", "uri"]),
    (Field::ProtocolVersion, &["params", "protocolVersion"]),
    (Field::ResultProtocolVersion, &["result", "protocolVersion"]),
    (Field::ResultTask, &["result", "task", "taskId"]),
    (Field::Meta, &["params", "_meta"]),
    (
        Field::ClientCapabilities,
        &[
            "params",
            "_meta",
            "io.modelcontextprotocol/clientCapabilities",
        ],
    ),
    (
        Field::ClientInfo,
        &["params", "_meta", "io.modelcontextprotocol/clientInfo"],
    ),
    (
        Field::LogLevel,
        &["params", "_meta", "io.modelcontextprotocol/logLevel"],
    ),
    (
        Field::SubscriptionId,
        &["params", "_meta", "io.modelcontextprotocol/subscriptionId"],
    ),
    (Field::Capabilities, &["params", "capabilities"]),
    (Field::Arguments, &["params", "arguments"]),
    (Field::RequestState, &["params", "requestState"]),
    (Field::InputResponses, &["params", "inputResponses"]),
    (Field::Notifications, &["params", "notifications"]),
    (Field::Level, &["params", "level"]),
    (Field::ResultTaskId, &["result", "taskId"]),
    (Field::ResultIsError, &["result", "isError"]),
    (
        Field::ResultStructuredContent,
        &["result", "structuredContent"],
    ),
    (Field::ResultType, &["result", "resultType"]),
    (Field::ResultTtl, &["result", "ttlMs"]),
    (Field::ResultCacheScope, &["result", "cacheScope"]),
    (Field::ResultRequestState, &["result", "requestState"]),
    (Field::ResultMeta, &["result", "_meta"]),
    (
        Field::ResultServerInfo,
        &["result", "_meta", "io.modelcontextprotocol/serverInfo"],
    ),
    (
        Field::ResultSubscriptionId,
        &["result", "_meta", "io.modelcontextprotocol/subscriptionId"],
    ),
];

/// An object's members in their order, by decoded key; a key that is not text is `None`.
struct Object<'a>(Vec<(Option<String>, &'a str)>);

impl<'a> Object<'a> {
    /// Reads what is to be an object.
    fn read(json: &'a str) -> Self {
        let mut members = Vec::new();
        let (mut start, mut colon) = (1, None);
        for (at, byte, depth) in structure(json) {
            match (byte, depth) {
                (b':', 1) => colon = colon.or(Some(at)),
                (b',' | b'}', 1) => {
                    if let Some(colon) = colon.take() {
                        let value: &RawValue = serde_json::from_str(&json[colon + 1..at]).unwrap();
                        members.push((string(&json[start..colon]), value.get()));
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        Self(members)
    }

    /// The same, if every key is text.
    fn read_text(json: &'a str) -> Option<Self> {
        let object = Self::read(json);
        object
            .0
            .iter()
            .all(|(key, _)| key.is_some())
            .then_some(object)
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let members = self.0.iter();
        let members = members.filter(move |(other, _)| other.as_deref() == Some(key));
        members.map(|(_, value)| *value)
    }

    fn has_equal_keys(&self) -> bool {
        let mut keys = self.0.iter().flat_map(|(key, _)| key);
        keys.any(|key| self.all(key).count() > 1)
    }
}

/// The bytes of valid JSON that are not in strings, with their index and the number of containers
/// around them; a bracket belongs to its own container.
fn structure(json: &str) -> impl Iterator<Item = (usize, u8, usize)> {
    let (mut in_string, mut escaped, mut depth) = (false, false, 0);
    json.bytes().enumerate().filter_map(move |(at, byte)| {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            return None;
        }
        in_string = byte == b'"';
        depth += usize::from(matches!(byte, b'{' | b'['));
        let here = depth;
        depth -= usize::from(matches!(byte, b'}' | b']'));
        Some((at, byte, here))
    })
}

fn elements(json: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

pub(crate) fn string(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_id(json: &str) -> bool {
    json.len() <= MAX_ID && (string(json).is_some() || is_integer(json))
}

fn has_equal_keys_somewhere(json: &str) -> Option<bool> {
    let (mut found, children) = if json.starts_with('{') {
        let object = Object::read_text(json)?;
        (
            object.has_equal_keys(),
            object.0.into_iter().map(|(_, value)| value).collect(),
        )
    } else if json.starts_with('[') {
        (false, elements(json)?)
    } else {
        return Some(false);
    };
    for child in children {
        found |= has_equal_keys_somewhere(child)?;
    }
    Some(found)
}

/// What a message is by the rules, or why it is refused.
fn judge(message: &str, source: Source) -> Result<(Kind, BTreeMap<usize, &str>), ScanReason> {
    if structure(message).any(|(.., depth)| depth > MAX_DEPTH) {
        return Err(ScanReason::TooDeep);
    }
    if !message.starts_with('{') {
        return Err(ScanReason::NotAnObject);
    }
    let mut has_equal_keys = false;
    if source == Source::Client {
        has_equal_keys = has_equal_keys_somewhere(message).ok_or(ScanReason::NotJson)?;
    }
    let mut version = None;
    let mut fields = BTreeMap::new();
    for (field, path) in FIELDS
        .into_iter()
        .map(|(field, path)| (Some(field), path))
        .chain([(None, &["jsonrpc"][..])])
    {
        // Whatever an equal key hides is looked at all the same.
        let mut at = vec![message];
        for key in path {
            let mut under = Vec::new();
            for json in at.into_iter().filter(|json| json.starts_with('{')) {
                let object = Object::read_text(json).ok_or(ScanReason::NotJson)?;
                under.extend(object.all(key));
            }
            has_equal_keys |= under.len() > 1;
            at = under;
        }
        let Some(field) = field else {
            version = at.first().copied();
            continue;
        };
        let is_payload = matches!(
            field,
            Field::Params | Field::Meta | Field::Result | Field::ResultMeta | Field::Error
        );
        if at
            .iter()
            .any(|json| !is_payload && json.starts_with('"') && string(json).is_none())
        {
            return Err(ScanReason::NotJson);
        }
        if let Some(value) = at.first() {
            fields.insert(field as usize, *value);
        }
    }
    if has_equal_keys {
        return Err(ScanReason::DuplicateKey);
    }

    if version.and_then(string).as_deref() != Some("2.0") {
        return Err(ScanReason::NotJsonRpc);
    }
    let get = |field| fields.get(&(field as usize)).copied();
    let kind = match (get(Field::Method), get(Field::Result), get(Field::Error)) {
        (Some(_), None, None) if get(Field::Id).is_some() => Kind::Request,
        (Some(_), None, None) => Kind::Notification,
        (None, Some(_), None) | (None, None, Some(_)) => Kind::Response,
        _ => return Err(ScanReason::Ambiguous),
    };
    match get(Field::Id) {
        Some("null") if source == Source::Child && get(Field::Error).is_some() => {
            fields.remove(&(Field::Id as usize));
        }
        Some(id) if !is_id(id) => return Err(ScanReason::InvalidId),
        None if kind == Kind::Response => return Err(ScanReason::InvalidId),
        _ => {}
    }
    let get = |field| fields.get(&(field as usize)).copied();
    if let Some(method) = get(Field::Method) {
        if !method.starts_with('"') {
            return Err(ScanReason::InvalidMethod);
        }
        let params = get(Field::Params).unwrap_or("{}");
        if params.starts_with('[') || source == Source::Client && !params.starts_with('{') {
            return Err(ScanReason::InvalidParams);
        }
    }
    if get(Field::Error).is_some() && !get(Field::ErrorCode).is_some_and(is_integer) {
        return Err(ScanReason::InvalidError);
    }
    Ok((kind, fields))
}

/// A message, as both sides can tell of it: kind, text, and fields by where they begin.
#[derive(PartialEq, Debug)]
struct Told {
    kind: Kind,
    span: Span,
    line_breaks: bool,
    fields: BTreeMap<usize, Span>,
}

fn span_in(document: &str, part: &str) -> Span {
    let start = part.as_ptr() as usize - document.as_ptr() as usize;
    Span {
        start: start as u32,
        end: (start + part.len()) as u32,
    }
}

/// What the scan ought to find.
fn expected(document: &[u8], source: Source) -> Result<Vec<Told>, ScanReason> {
    let document = std::str::from_utf8(document).map_err(|_| ScanReason::InvalidUtf8)?;
    let json: &RawValue = serde_json::from_str(document).map_err(|_| ScanReason::NotJson)?;
    let json = json.get();
    let messages = if json.starts_with('[') {
        let messages = elements(json).expect("it is an array");
        if messages.is_empty() {
            return Err(ScanReason::EmptyBatch);
        }
        messages
    } else {
        vec![json]
    };
    let told: Vec<Result<Told, ScanReason>> = messages
        .into_iter()
        .map(|message| {
            let (kind, fields) = judge(message, source)?;
            let spans = fields.into_iter();
            Ok(Told {
                kind,
                span: span_in(document, message),
                line_breaks: message.contains(['\r', '\n']),
                fields: spans
                    .map(|(field, value)| (field, span_in(document, value)))
                    .collect(),
            })
        })
        .collect();
    // What cannot be read comes first.
    let unreadable = told.iter().filter_map(|told| told.as_ref().err());
    if let Some(reason) = unreadable.copied().find(|reason| reason.is_parse_error()) {
        return Err(reason);
    }
    let mut accepted = Vec::new();
    for told in told {
        accepted.push(told?);
        if accepted.len() > MAX_BATCH {
            return Err(ScanReason::BatchTooLong);
        }
    }
    Ok(accepted)
}

/// The id that a refusal of a single message echoes: the one that it has, if it is an id.
fn echoed(document: &[u8]) -> Option<Span> {
    let document = std::str::from_utf8(document).ok()?;
    let json: &RawValue = serde_json::from_str(document).ok()?;
    let object = json
        .get()
        .starts_with('{')
        .then(|| Object::read(json.get()))?;
    let mut ids = object.all("id");
    match (ids.next(), ids.next()) {
        (Some(id), None) if is_id(id) => Some(span_in(document, id)),
        _ => None,
    }
}

fn told(envelope: &Envelope) -> Told {
    let fields = FIELDS.iter();
    Told {
        kind: envelope.kind(),
        span: envelope.span(),
        line_breaks: envelope.has_line_breaks(),
        fields: fields
            .filter_map(|(field, _)| Some((*field as usize, envelope.get(*field)?)))
            .collect(),
    }
}

/// Compares the two; gives whether the document was accepted.
pub(crate) fn check(document: &[u8], source: Source) -> bool {
    let shown = String::from_utf8_lossy(document);
    let expected = expected(document, source);
    match (scan(document, source), &expected) {
        (Ok(found), Ok(messages)) => {
            let found: Vec<_> = found.messages().iter().map(told).collect();
            assert_eq!(&found, messages, "{shown}");
        }
        (Err(error), Err(reason)) => {
            // Where two things make it unreadable, they may differ in which they name.
            assert!(
                error.reason == *reason || error.reason.is_parse_error() && reason.is_parse_error(),
                "{shown}\n{source:?}: {error:?}, not {reason:?}"
            );
            // What nests too deeply is not read to its end.
            if error.reason != ScanReason::TooDeep {
                assert_eq!(error.id, echoed(document), "{shown}\n{source:?}: {error:?}");
            }
        }
        (found, _) => panic!("{shown}\n{source:?}: {found:?}, not {expected:?}"),
    }
    expected.is_ok()
}
