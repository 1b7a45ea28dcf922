//! The scan itself: one pass over the document, with a stack of its own instead of recursion.
//!
//! There are two kinds of failure. Where the grammar breaks, the pass ends ([`Stop`]). What is JSON
//! but not an acceptable message is only noted, and judged at the message's end: so the grammar has
//! the last word over the whole document, and the id is found wherever it stands.

use super::cursor::{Cursor, NOT_JSON, Stop};
use super::keys::Keys;
use super::text;
use super::{
    Document, Envelope, Field, Kind, MAX_BATCH, MAX_DEPTH, MAX_ID, ScanError, ScanReason, Source,
    Span,
};

/// Reads a document once: validates all of it (UTF-8, RFC 8259's grammar, depth, keys) and finds
/// the members that the gateway acts on. Takes time linear in the document's length, but for the
/// sorting of objects with many keys; a message with few keys in flight costs no allocation.
pub fn scan(document: &[u8], source: Source) -> Result<Document, ScanError> {
    let stop = |reason| ScanError { reason, id: None };
    let text = str::from_utf8(document).map_err(|_| stop(ScanReason::InvalidUtf8))?;
    if u32::try_from(document.len()).is_err() {
        return Err(stop(ScanReason::NotJson));
    }
    let mut scanner = Scanner {
        cursor: Cursor::new(text),
        source,
        stack: [Open::default(); MAX_DEPTH],
        depth: 0,
        keys: Keys::new(),
        found: Found::NOTHING,
    };
    scanner.cursor.skip_space();
    if scanner.cursor.peek() == Some(b'[') {
        return scanner.batch().map(Document::Batch).map_err(stop);
    }
    match scanner.single() {
        Ok(Ok(envelope)) => Ok(Document::Single(envelope)),
        Ok(Err(reason)) | Err(Stop(reason @ ScanReason::TooDeep)) => Err(ScanError {
            reason,
            id: scanner.echo(),
        }),
        Err(Stop(reason)) => Err(stop(reason)),
    }
}

/// What a value is to the gateway, by the keys that lead to it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Slot {
    /// Nothing: it is validated and passed on.
    #[default]
    Other,
    /// The message itself.
    Message,
    /// `jsonrpc`
    JsonRpc,
    /// `params._meta."io.modelcontextprotocol/related-task"`
    RelatedTask,
    /// `result.task`
    ResultTask,
    /// A member whose place is reported.
    Field(Field),
}

impl Slot {
    /// What stands under `key` in this object.
    fn member(self, key: &str) -> Self {
        Self::Field(match (self, key) {
            (Self::Message, "jsonrpc") => return Self::JsonRpc,
            (Self::Message, "id") => Field::Id,
            (Self::Message, "method") => Field::Method,
            (Self::Message, "params") => Field::Params,
            (Self::Message, "result") => Field::Result,
            (Self::Message, "error") => Field::Error,
            (Self::Field(Field::Error), "code") => Field::ErrorCode,
            (Self::Field(Field::Params), "_meta") => Field::Meta,
            (Self::Field(Field::Params), "progressToken") => Field::Progress,
            (Self::Field(Field::Params), "requestId") => Field::RequestId,
            (Self::Field(Field::Params), "taskId") => Field::TaskId,
            (Self::Field(Field::Params), "name") => Field::Name,
            (Self::Field(Field::Params), "uri") => Field::Uri,
            (Self::Field(Field::Params), "protocolVersion") => Field::ProtocolVersion,
            (Self::Field(Field::Params), "capabilities") => Field::Capabilities,
            (Self::Field(Field::Params), "arguments") => Field::Arguments,
            (Self::Field(Field::Params), "requestState") => Field::RequestState,
            (Self::Field(Field::Params), "inputResponses") => Field::InputResponses,
            (Self::Field(Field::Params), "notifications") => Field::Notifications,
            (Self::Field(Field::Params), "level") => Field::Level,
            (Self::Field(Field::Meta), "progressToken") => Field::ProgressToken,
            (Self::Field(Field::Meta), key) => match key.strip_prefix("io.modelcontextprotocol/") {
                Some("protocolVersion") => Field::ProtocolVersionMeta,
                Some("clientCapabilities") => Field::ClientCapabilities,
                Some("clientInfo") => Field::ClientInfo,
                Some("logLevel") => Field::LogLevel,
                Some("subscriptionId") => Field::SubscriptionId,
                Some("related-task") => return Self::RelatedTask,
                _ => return Self::Other,
            },
            (Self::RelatedTask, "taskId") => Field::RelatedTask,
            (Self::Field(Field::Result), "protocolVersion") => Field::ResultProtocolVersion,
            (Self::Field(Field::Result), "task") => return Self::ResultTask,
            (Self::Field(Field::Result), "taskId") => Field::ResultTaskId,
            (Self::Field(Field::Result), "isError") => Field::ResultIsError,
            (Self::Field(Field::Result), "structuredContent") => Field::ResultStructuredContent,
            (Self::Field(Field::Result), "resultType") => Field::ResultType,
            (Self::Field(Field::Result), "ttlMs") => Field::ResultTtl,
            (Self::Field(Field::Result), "cacheScope") => Field::ResultCacheScope,
            (Self::Field(Field::Result), "requestState") => Field::ResultRequestState,
            (Self::Field(Field::Result), "_meta") => Field::ResultMeta,
            (Self::Field(Field::ResultMeta), key) => {
                match key.strip_prefix("io.modelcontextprotocol/") {
                    Some("serverInfo") => Field::ResultServerInfo,
                    Some("subscriptionId") => Field::ResultSubscriptionId,
                    _ => return Self::Other,
                }
            }
            (Self::ResultTask, "taskId") => Field::ResultTask,
            _ => return Self::Other,
        })
    }

    /// One bit for every slot that can be filled only once.
    fn bit(self) -> u64 {
        match self {
            Self::Other | Self::Message => 0,
            Self::Field(field) => 1 << field as u32,
            Self::JsonRpc => 1 << 61,
            Self::RelatedTask => 1 << 62,
            Self::ResultTask => 1 << 63,
        }
    }

    /// Whether the gateway looks for members in the value, if it is an object.
    fn is_looked_into(self) -> bool {
        match self {
            Self::Message | Self::RelatedTask | Self::ResultTask => true,
            Self::Field(field) => matches!(
                field,
                Field::Params | Field::Meta | Field::Result | Field::ResultMeta | Field::Error
            ),
            Self::Other | Self::JsonRpc => false,
        }
    }

    /// Whether the gateway reads the value's text, if it is a string: then it must be text.
    fn is_read(self) -> bool {
        matches!(self, Self::Field(_)) && !self.is_looked_into()
    }
}

const _: () = assert!(
    Field::COUNT <= 61,
    "fields and other slots have different bits"
);

/// An open container.
#[derive(Clone, Copy, Default)]
struct Open {
    slot: Slot,
    is_object: bool,
    start: u32,
    /// Where its keys begin in [`Scanner::keys`].
    keys: u32,
}

/// What has been found of one message.
struct Found {
    /// The slots that have been filled, by [`Slot::bit`].
    seen: u64,
    /// Those that have been filled twice.
    twice: u64,
    fields: [Span; Field::COUNT],
    is_json_rpc: bool,
    has_equal_keys: bool,
    has_lone_surrogate: bool,
}

impl Found {
    const NOTHING: Self = Self {
        seen: 0,
        twice: 0,
        fields: [Span { start: 0, end: 0 }; Field::COUNT],
        is_json_rpc: false,
        has_equal_keys: false,
        has_lone_surrogate: false,
    };
}

struct Scanner<'a> {
    cursor: Cursor<'a>,
    source: Source,
    stack: [Open; MAX_DEPTH],
    depth: usize,
    keys: Keys,
    found: Found,
}

impl Scanner<'_> {
    fn single(&mut self) -> Result<Result<Envelope, ScanReason>, Stop> {
        let judged = self.message()?;
        self.cursor.end()?;
        Ok(judged)
    }

    fn batch(&mut self) -> Result<Vec<Envelope>, ScanReason> {
        let mut envelopes = Vec::new();
        let mut refused = None;
        self.cursor.at += 1;
        self.cursor.skip_space();
        if self.cursor.eat(b']') {
            self.cursor.end()?;
            return Err(ScanReason::EmptyBatch);
        }
        loop {
            match self.message()? {
                Ok(_) if envelopes.len() == MAX_BATCH => {
                    refused = refused.or(Some(ScanReason::BatchTooLong));
                }
                Ok(envelope) => envelopes.push(envelope),
                Err(reason) if reason.is_parse_error() => refused = Some(reason),
                Err(reason) => refused = refused.or(Some(reason)),
            }
            self.cursor.skip_space();
            if self.cursor.eat(b',') {
                self.cursor.skip_space();
            } else if self.cursor.eat(b']') {
                break;
            } else {
                return Err(NOT_JSON.into());
            }
        }
        self.cursor.end()?;
        refused.map_or(Ok(envelopes), Err)
    }

    /// The id to echo in a refusal.
    fn echo(&self) -> Option<Span> {
        let id = self.found.fields[Field::Id as usize];
        let is_twice = self.found.twice & Slot::Field(Field::Id).bit() != 0;
        (!is_twice && self.is_id(id)).then_some(id)
    }

    /// Reads the value that begins here, and judges it as a message.
    fn message(&mut self) -> Result<Result<Envelope, ScanReason>, Stop> {
        self.found = Found::NOTHING;
        self.cursor.line_breaks = false;
        let start = self.cursor.at;
        if self.cursor.peek() == Some(b'{') {
            self.walk(Slot::Message)?;
            Ok(self.judge(self.cursor.span(start)))
        } else {
            self.walk(Slot::Other)?;
            Ok(Err(ScanReason::NotAnObject))
        }
    }

    fn judge(&self, span: Span) -> Result<Envelope, ScanReason> {
        let found = &self.found;
        let has = |field| found.seen & Slot::Field(field).bit() != 0;
        let span_of = |field| found.fields[field as usize];
        let first = |field| span_of(field).of(self.cursor.bytes).first();
        if found.has_lone_surrogate {
            return Err(ScanReason::NotJson);
        }
        if found.has_equal_keys || found.twice != 0 {
            return Err(ScanReason::DuplicateKey);
        }
        if !found.is_json_rpc {
            return Err(ScanReason::NotJsonRpc);
        }
        let kind = match (has(Field::Method), has(Field::Result), has(Field::Error)) {
            (true, false, false) if has(Field::Id) => Kind::Request,
            (true, false, false) => Kind::Notification,
            (false, true, false) | (false, false, true) => Kind::Response,
            _ => return Err(ScanReason::Ambiguous),
        };
        let mut fields = found.fields;
        if !self.is_id(span_of(Field::Id)) {
            let answers_nothing = self.source == Source::Child
                && has(Field::Error)
                && span_of(Field::Id).of(self.cursor.bytes) == b"null";
            if has(Field::Id) && !answers_nothing || !has(Field::Id) && kind == Kind::Response {
                return Err(ScanReason::InvalidId);
            }
            fields[Field::Id as usize] = Span::default();
        }
        if has(Field::Method) {
            if first(Field::Method) != Some(&b'"') {
                return Err(ScanReason::InvalidMethod);
            }
            match (first(Field::Params), self.source) {
                (None | Some(b'{'), _) => {}
                (Some(b'['), _) | (_, Source::Client) => return Err(ScanReason::InvalidParams),
                (_, Source::Child) => {}
            }
        }
        if has(Field::Error) && !text::is_integer(span_of(Field::ErrorCode).of(self.cursor.bytes)) {
            return Err(ScanReason::InvalidError);
        }
        Ok(Envelope {
            kind,
            line_breaks: self.cursor.line_breaks,
            span,
            fields,
        })
    }

    /// Whether this is an id, given that it is JSON and, if a string, text.
    fn is_id(&self, span: Span) -> bool {
        let raw = span.of(self.cursor.bytes);
        raw.len() <= MAX_ID
            && (text::is_integer(raw)
                || raw.first() == Some(&b'"') && text::decode_string(raw).is_some())
    }

    /// Reads the value that begins here, with all that it contains.
    fn walk(&mut self, mut slot: Slot) -> Result<(), Stop> {
        'value: loop {
            let start = self.cursor.at;
            let mut escaped = false;
            match self.cursor.peek() {
                Some(b'"') => {
                    self.cursor.at += 1;
                    escaped = self.cursor.string()?;
                }
                Some(b'{') => {
                    self.open(slot, true)?;
                    if self.cursor.peek() != Some(b'}') {
                        slot = self.key()?;
                        continue 'value;
                    }
                    self.close();
                }
                Some(b'[') => {
                    self.open(slot, false)?;
                    if self.cursor.peek() != Some(b']') {
                        slot = Slot::Other;
                        continue 'value;
                    }
                    self.close();
                }
                Some(b'-' | b'0'..=b'9') => self.cursor.number()?,
                Some(b't') => self.cursor.literal("true")?,
                Some(b'f') => self.cursor.literal("false")?,
                Some(b'n') => self.cursor.literal("null")?,
                _ => return Err(NOT_JSON),
            }
            self.note(slot, self.cursor.span(start), escaped);
            // A value has ended, and perhaps some of the containers around it.
            loop {
                let Some(top) = self.depth.checked_sub(1) else {
                    return Ok(());
                };
                let open = self.stack[top];
                self.cursor.skip_space();
                match (self.cursor.peek(), open.is_object) {
                    (Some(b','), is_object) => {
                        self.cursor.at += 1;
                        self.cursor.skip_space();
                        slot = if is_object { self.key()? } else { Slot::Other };
                        continue 'value;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.close();
                        self.note(open.slot, self.cursor.span(open.start as usize), false);
                    }
                    _ => return Err(NOT_JSON),
                }
            }
        }
    }

    /// Enters a container, up to its first member.
    fn open(&mut self, slot: Slot, is_object: bool) -> Result<(), Stop> {
        let open = Open {
            slot,
            is_object,
            start: self.cursor.at as u32,
            keys: self.keys.len() as u32,
        };
        *self
            .stack
            .get_mut(self.depth)
            .ok_or(Stop(ScanReason::TooDeep))? = open;
        self.depth += 1;
        self.cursor.at += 1;
        self.cursor.skip_space();
        Ok(())
    }

    /// Leaves the innermost container, whose closing bracket is the next byte.
    fn close(&mut self) {
        self.cursor.at += 1;
        self.depth -= 1;
        let open = self.stack[self.depth];
        if open.is_object && self.source == Source::Client {
            self.found.has_equal_keys |= self.keys.close(open.keys as usize, self.cursor.text);
        }
    }

    /// Reads a key and its colon, and gives what stands under it.
    fn key(&mut self) -> Result<Slot, Stop> {
        if !self.cursor.eat(b'"') {
            return Err(NOT_JSON);
        }
        let start = self.cursor.at;
        let escaped = self.cursor.string()?;
        let end = self.cursor.at - 1;
        self.cursor.skip_space();
        if !self.cursor.eat(b':') {
            return Err(NOT_JSON);
        }
        self.cursor.skip_space();

        let parent = self.stack[self.depth - 1].slot;
        let content = &self.cursor.text[start..end];
        if self.source == Source::Client {
            self.keys.push(start as u32, end as u32, escaped);
        } else if !parent.is_looked_into() {
            return Ok(Slot::Other);
        }
        let slot = if !escaped {
            parent.member(content)
        } else if let Some(decoded) = text::decode(content) {
            parent.member(&decoded)
        } else {
            self.found.has_lone_surrogate = true;
            Slot::Other
        };
        self.found.twice |= self.found.seen & slot.bit();
        self.found.seen |= slot.bit();
        Ok(slot)
    }

    /// Takes note of a value that has been read.
    fn note(&mut self, slot: Slot, span: Span, escaped: bool) {
        match slot {
            Slot::JsonRpc => {
                let version = text::decode_string(span.of(self.cursor.bytes));
                self.found.is_json_rpc = version.as_deref() == Some("2.0");
            }
            Slot::Field(field) => self.found.fields[field as usize] = span,
            _ => {}
        }
        if escaped && slot.is_read() && text::decode_string(span.of(self.cursor.bytes)).is_none() {
            self.found.has_lone_surrogate = true;
        }
    }
}
