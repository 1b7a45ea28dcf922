//! The scan itself: one pass over the document, with a stack of its own instead of recursion.
//!
//! There are two kinds of failure. Where the grammar breaks, the pass ends ([`Stop`]). What is JSON
//! but not an acceptable message is only noted, and judged at the message's end: so the grammar has
//! the last word over the whole document, and the id is found wherever it stands.

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
        text,
        bytes: document,
        at: 0,
        source,
        stack: [Open::default(); MAX_DEPTH],
        depth: 0,
        keys: Keys::new(),
        line_breaks: false,
        found: Found::default(),
    };
    scanner.skip_space();
    if scanner.peek() == Some(b'[') {
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
    /// `params._meta`
    Meta,
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
            (Self::Field(Field::Params), "_meta") => return Self::Meta,
            (Self::Field(Field::Params), "progressToken") => Field::Progress,
            (Self::Field(Field::Params), "requestId") => Field::RequestId,
            (Self::Field(Field::Params), "taskId") => Field::TaskId,
            (Self::Field(Field::Params), "name") => Field::Name,
            (Self::Field(Field::Params), "uri") => Field::Uri,
            (Self::Field(Field::Params), "protocolVersion") => Field::ProtocolVersion,
            (Self::Meta, "progressToken") => Field::ProgressToken,
            (Self::Meta, "io.modelcontextprotocol/protocolVersion") => Field::ProtocolVersionMeta,
            (Self::Meta, "io.modelcontextprotocol/related-task") => return Self::RelatedTask,
            (Self::RelatedTask, "taskId") => Field::RelatedTask,
            (Self::Field(Field::Result), "protocolVersion") => Field::ResultProtocolVersion,
            (Self::Field(Field::Result), "task") => return Self::ResultTask,
            (Self::ResultTask, "taskId") => Field::ResultTask,
            _ => return Self::Other,
        })
    }

    /// One bit for every slot that can be filled only once.
    fn bit(self) -> u32 {
        match self {
            Self::Other | Self::Message => 0,
            Self::Field(field) => 1 << field as u32,
            Self::JsonRpc => 1 << 28,
            Self::Meta => 1 << 29,
            Self::RelatedTask => 1 << 30,
            Self::ResultTask => 1 << 31,
        }
    }

    /// Whether the gateway reads the value's text, if it is a string: then it must be text.
    fn is_read(self) -> bool {
        match self {
            Self::Field(field) => !matches!(field, Field::Params | Field::Result | Field::Error),
            _ => false,
        }
    }
}

const _: () = assert!(
    Field::COUNT <= 28,
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
#[derive(Default)]
struct Found {
    /// The slots that have been filled, by [`Slot::bit`].
    seen: u32,
    /// Those that have been filled twice.
    twice: u32,
    fields: [Span; Field::COUNT],
    is_json_rpc: bool,
    has_equal_keys: bool,
    has_lone_surrogate: bool,
}

/// Why the pass ends early: [`ScanReason::NotJson`] or [`ScanReason::TooDeep`].
#[derive(Clone, Copy)]
struct Stop(ScanReason);

const NOT_JSON: Stop = Stop(ScanReason::NotJson);

impl From<Stop> for ScanReason {
    fn from(stop: Stop) -> Self {
        stop.0
    }
}

struct Scanner<'a> {
    text: &'a str,
    /// The bytes of `text`.
    bytes: &'a [u8],
    /// The index of the next byte.
    at: usize,
    source: Source,
    stack: [Open; MAX_DEPTH],
    depth: usize,
    keys: Keys,
    /// Whether CR or LF were skipped since this was last reset.
    line_breaks: bool,
    found: Found,
}

impl Scanner<'_> {
    fn single(&mut self) -> Result<Result<Envelope, ScanReason>, Stop> {
        let judged = self.message()?;
        self.end()?;
        Ok(judged)
    }

    fn batch(&mut self) -> Result<Vec<Envelope>, ScanReason> {
        let mut envelopes = Vec::new();
        let mut refused = None;
        self.at += 1;
        self.skip_space();
        if self.eat(b']') {
            self.end()?;
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
            self.skip_space();
            if self.eat(b',') {
                self.skip_space();
            } else if self.eat(b']') {
                break;
            } else {
                return Err(NOT_JSON.into());
            }
        }
        self.end()?;
        refused.map_or(Ok(envelopes), Err)
    }

    /// Nothing but white space may follow.
    fn end(&mut self) -> Result<(), Stop> {
        self.skip_space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(NOT_JSON)
        }
    }

    /// The id to echo in a refusal.
    fn echo(&self) -> Option<Span> {
        let id = self.found.fields[Field::Id as usize];
        let is_twice = self.found.twice & Slot::Field(Field::Id).bit() != 0;
        (!is_twice && self.is_id(id)).then_some(id)
    }

    /// Reads the value that begins here, and judges it as a message.
    fn message(&mut self) -> Result<Result<Envelope, ScanReason>, Stop> {
        self.found = Found::default();
        self.line_breaks = false;
        let start = self.at;
        if self.peek() == Some(b'{') {
            self.walk(Slot::Message)?;
            Ok(self.judge(self.span(start)))
        } else {
            self.walk(Slot::Other)?;
            Ok(Err(ScanReason::NotAnObject))
        }
    }

    fn judge(&self, span: Span) -> Result<Envelope, ScanReason> {
        let found = &self.found;
        let has = |field| found.seen & Slot::Field(field).bit() != 0;
        let span_of = |field| found.fields[field as usize];
        let first = |field| span_of(field).of(self.bytes).first();
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
                && span_of(Field::Id).of(self.bytes) == b"null";
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
        if has(Field::Error) && !text::is_integer(span_of(Field::ErrorCode).of(self.bytes)) {
            return Err(ScanReason::InvalidError);
        }
        Ok(Envelope {
            kind,
            line_breaks: self.line_breaks,
            span,
            fields,
        })
    }

    /// Whether this is an id, given that it is JSON and, if a string, text.
    fn is_id(&self, span: Span) -> bool {
        let raw = span.of(self.bytes);
        raw.len() <= MAX_ID
            && (text::is_integer(raw)
                || raw.first() == Some(&b'"') && text::decode_string(raw).is_some())
    }

    /// Reads the value that begins here, with all that it contains.
    fn walk(&mut self, mut slot: Slot) -> Result<(), Stop> {
        'value: loop {
            let start = self.at;
            let mut escaped = false;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    escaped = self.string()?;
                }
                Some(b'{') => {
                    self.open(slot, true)?;
                    if self.peek() != Some(b'}') {
                        slot = self.key()?;
                        continue 'value;
                    }
                    self.close();
                }
                Some(b'[') => {
                    self.open(slot, false)?;
                    if self.peek() != Some(b']') {
                        slot = Slot::Other;
                        continue 'value;
                    }
                    self.close();
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return Err(NOT_JSON),
            }
            self.note(slot, self.span(start), escaped);
            // A value has ended, and perhaps some of the containers around it.
            loop {
                let Some(top) = self.depth.checked_sub(1) else {
                    return Ok(());
                };
                let open = self.stack[top];
                self.skip_space();
                match (self.peek(), open.is_object) {
                    (Some(b','), is_object) => {
                        self.at += 1;
                        self.skip_space();
                        slot = if is_object { self.key()? } else { Slot::Other };
                        continue 'value;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.close();
                        self.note(open.slot, self.span(open.start as usize), false);
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
            start: self.at as u32,
            keys: self.keys.len() as u32,
        };
        *self
            .stack
            .get_mut(self.depth)
            .ok_or(Stop(ScanReason::TooDeep))? = open;
        self.depth += 1;
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// Leaves the innermost container, whose closing bracket is the next byte.
    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
        let open = self.stack[self.depth];
        if open.is_object && self.source == Source::Client {
            self.found.has_equal_keys |= self.keys.close(open.keys as usize, self.text);
        }
    }

    /// Reads a key and its colon, and gives what stands under it.
    fn key(&mut self) -> Result<Slot, Stop> {
        if !self.eat(b'"') {
            return Err(NOT_JSON);
        }
        let start = self.at;
        let escaped = self.string()?;
        let end = self.at - 1;
        self.skip_space();
        if !self.eat(b':') {
            return Err(NOT_JSON);
        }
        self.skip_space();

        let parent = self.stack[self.depth - 1].slot;
        let content = &self.text[start..end];
        if self.source == Source::Client {
            self.keys.push(start as u32, end as u32, escaped);
        } else if parent == Slot::Other {
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
                let version = text::decode_string(span.of(self.bytes));
                self.found.is_json_rpc = version.as_deref() == Some("2.0");
            }
            Slot::Field(field) => self.found.fields[field as usize] = span,
            _ => {}
        }
        if escaped && slot.is_read() && text::decode_string(span.of(self.bytes)).is_none() {
            self.found.has_lone_surrogate = true;
        }
    }

    /// Reads the rest of a string, and says whether it has escapes (RFC 8259, section 7).
    fn string(&mut self) -> Result<bool, Stop> {
        let mut escaped = false;
        loop {
            self.at = text::plain_end(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => escaped = true,
                _ => return Err(NOT_JSON),
            }
            self.at += match self.bytes.get(self.at + 1..) {
                Some([b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..]) => 2,
                Some([b'u', rest @ ..])
                    if rest.len() >= 4 && rest[..4].iter().all(u8::is_ascii_hexdigit) =>
                {
                    6
                }
                _ => return Err(NOT_JSON),
            };
        }
    }

    /// Reads a number (RFC 8259, section 6).
    fn number(&mut self) -> Result<(), Stop> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Stop> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(NOT_JSON)
        } else {
            Ok(())
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), Stop> {
        if !self.bytes[self.at..].starts_with(literal.as_bytes()) {
            return Err(NOT_JSON);
        }
        self.at += literal.len();
        Ok(())
    }

    /// Skips white space (RFC 8259, section 2).
    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.line_breaks |= byte == b'\n' || byte == b'\r';
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// From `start` to the next byte. [`scan`] has made sure that indices fit.
    fn span(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            end: self.at as u32,
        }
    }
}
