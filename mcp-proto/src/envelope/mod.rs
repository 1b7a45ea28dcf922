//! The envelope of a JSON-RPC message: where its parts lie in the bytes, and nothing more.
//!
//! The gateway relays payloads as they came, so it never builds a tree of them. [`scan`] reads a
//! document once, refuses what two parsers could read in two ways, and gives the byte ranges of
//! the few members that the gateway acts on. [`splice`](crate::framing::splice) then makes what is
//! sent on out of these ranges.
//!
//! Rules come from RFC 8259 (JSON), JSON-RPC 2.0, and the `schema.ts` of MCP's revisions (from here
//! on "schema"); where those leave a choice, the strict one is taken.

mod cursor;
mod keys;
mod number;
mod scan;
mod text;
mod value;

use std::borrow::Cow;
use std::fmt;

pub(crate) use self::number::Number;
pub(crate) use self::text::decode_string;
pub(crate) use self::value::{canonical, digest, member};
pub use scan::scan;

/// How deeply containers may nest in one message; the message itself is the first level. RFC 8259,
/// section 9, lets a parser set such a limit.
pub const MAX_DEPTH: usize = 64;

/// How many messages a batch may hold (JSON-RPC 2.0, section 6, sets no limit).
pub const MAX_BATCH: usize = 100;

/// How many bytes the JSON text of an id or of a progress token may have, quotes included.
pub const MAX_ID: usize = 1024;

/// A half-open range of bytes in the scanned document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// The first byte's index.
    pub start: u32,
    /// The index after the last byte.
    pub end: u32,
}

impl Span {
    /// The span that covers the whole of `document`, which is to be shorter than 4 GiB.
    pub fn whole(document: &[u8]) -> Self {
        Self {
            start: 0,
            end: u32::try_from(document.len()).expect("documents are shorter than 4 GiB"),
        }
    }

    /// The bytes of `document` that the span covers. Panics if they lie outside: spans are only
    /// good for the document that they were found in.
    pub fn of(self, document: &[u8]) -> &[u8] {
        &document[self.range()]
    }

    /// The span as a range of indices.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// How many bytes the span covers.
    pub fn len(self) -> usize {
        self.range().len()
    }

    /// Whether the span covers no byte.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// What a message is (JSON-RPC 2.0, sections 4 and 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It has a `method` and an `id`.
    Request,
    /// It has a `method` and no `id`.
    Notification,
    /// It has a `result` or an `error`.
    Response,
}

/// A member that the gateway acts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// `id`
    Id,
    /// `method`
    Method,
    /// `params`
    Params,
    /// `result`
    Result,
    /// `error`
    Error,
    /// `error.code`
    ErrorCode,
    /// `params._meta.progressToken`: of a request that asks for progress.
    ProgressToken,
    /// `params._meta."io.modelcontextprotocol/protocolVersion"`: on every modern request.
    ProtocolVersionMeta,
    /// `params._meta."io.modelcontextprotocol/related-task".taskId`
    RelatedTask,
    /// `params._meta`
    Meta,
    /// `params._meta."io.modelcontextprotocol/clientCapabilities"`: on every modern request.
    ClientCapabilities,
    /// `params._meta."io.modelcontextprotocol/clientInfo"`
    ClientInfo,
    /// `params._meta."io.modelcontextprotocol/logLevel"`
    LogLevel,
    /// `params._meta."io.modelcontextprotocol/subscriptionId"`: of what a subscription delivers.
    SubscriptionId,
    /// `params.progressToken`: of `notifications/progress`.
    Progress,
    /// `params.requestId`: of `notifications/cancelled`.
    RequestId,
    /// `params.taskId`
    TaskId,
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// `params.protocolVersion`: of `initialize`.
    ProtocolVersion,
    /// `params.capabilities`: of `initialize`.
    Capabilities,
    /// `params.arguments`
    Arguments,
    /// `params.requestState`: of a call that is sent again (2026-07-28, MRTR).
    RequestState,
    /// `params.inputResponses`: of a call that is sent again (2026-07-28, MRTR).
    InputResponses,
    /// `params.notifications`: of `subscriptions/listen` and of its acknowledgement.
    Notifications,
    /// `params.level`: of `notifications/message` and `logging/setLevel`.
    Level,
    /// `result.protocolVersion`: of the answer to `initialize`.
    ResultProtocolVersion,
    /// `result.task.taskId`
    ResultTask,
    /// `result.taskId`: of a task of 2026-07-28's extension.
    ResultTaskId,
    /// `result.isError`: of the answer to `tools/call`.
    ResultIsError,
    /// `result.structuredContent`: of the answer to `tools/call`.
    ResultStructuredContent,
    /// `result.resultType`
    ResultType,
    /// `result.ttlMs`
    ResultTtl,
    /// `result.cacheScope`
    ResultCacheScope,
    /// `result.requestState`
    ResultRequestState,
    /// `result._meta`
    ResultMeta,
    /// `result._meta."io.modelcontextprotocol/serverInfo"`
    ResultServerInfo,
    /// `result._meta."io.modelcontextprotocol/subscriptionId"`
    ResultSubscriptionId,
}

impl Field {
    /// How many fields there are; `field as usize` is less than this.
    pub const COUNT: usize = Self::ResultSubscriptionId as usize + 1;
}

/// One JSON-RPC message, as the byte ranges of its parts. All spans are in the scanned document,
/// for a message of a batch too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    kind: Kind,
    line_breaks: bool,
    span: Span,
    /// By field; empty where the member is absent, since no JSON text is empty.
    fields: [Span; Field::COUNT],
}

impl Envelope {
    /// What the message is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message, without the white space around it.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Where the JSON text of a member lies (a string's with its quotes); `None` if it is absent.
    /// Members whose values have another type than they should are still there: only those of
    /// [`Field::Id`], [`Field::Method`], [`Field::ErrorCode`] and, where the source is a client,
    /// [`Field::Params`] have been checked.
    pub fn get(&self, field: Field) -> Option<Span> {
        let span = self.fields[field as usize];
        (!span.is_empty()).then_some(span)
    }

    /// The JSON text of a member; `document` is the one that was scanned.
    pub fn raw<'a>(&self, field: Field, document: &'a [u8]) -> Option<&'a [u8]> {
        self.get(field).map(|span| span.of(document))
    }

    /// A member's decoded string; `None` if it is absent, not a string, or holds a lone surrogate
    /// (RFC 8259, section 8.2). `document` is the one that was scanned.
    pub fn text<'a>(&self, field: Field, document: &'a [u8]) -> Option<Cow<'a, str>> {
        decode_string(self.raw(field, document)?)
    }

    /// Whether CR or LF stand between the message's tokens. They are legal white space (RFC 8259,
    /// section 2), but a line of stdio and an event of SSE must not hold them.
    pub fn has_line_breaks(&self) -> bool {
        self.line_breaks
    }
}

/// What a document holds.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every document is single, and read where it lies"
)]
pub enum Document {
    /// One message.
    Single(Envelope),
    /// An array of 1 to [`MAX_BATCH`] messages (JSON-RPC 2.0, section 6; MCP 2025-03-26 only).
    Batch(Vec<Envelope>),
}

impl Document {
    /// The messages in their order, whether one or many.
    pub fn messages(&self) -> &[Envelope] {
        match self {
            Self::Single(envelope) => std::slice::from_ref(envelope),
            Self::Batch(envelopes) => envelopes,
        }
    }
}

/// Who wrote the document, which says how strict the scan is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// An HTTP client: no object at any depth may have two equal keys, and `params` is an object.
    Client,
    /// The wrapped server: two equal keys are refused only among those that the gateway acts on.
    /// An error response may have a null id, as it answers something unparsable (JSON-RPC 2.0,
    /// section 5).
    Child,
}

/// Why a document is refused, and the id to answer with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanError {
    /// The reason.
    pub reason: ScanReason,
    /// Where the document is a single message in which one valid id was found: that id, so that a
    /// refusal can echo it. `None` for batches and for what is not JSON by its grammar, whose
    /// answer has a null id (JSON-RPC 2.0, section 5).
    pub id: Option<Span>,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for ScanError {}

/// Why a document is refused. Where several reasons hold, those that make it unreadable
/// ([`ScanReason::is_parse_error`]) come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScanReason {
    /// Not UTF-8 (RFC 8259, section 8.1).
    InvalidUtf8,
    /// Not by RFC 8259's grammar: a byte order mark, trailing bytes, `NaN`, raw control characters
    /// and the like. Also a lone surrogate in a key or in a string that is acted on (section 8.2),
    /// and a document of 4 GiB or more.
    NotJson,
    /// Containers nest more deeply than [`MAX_DEPTH`].
    TooDeep,
    /// An object has two equal keys, once decoded (RFC 8259, section 4, leaves their meaning open).
    DuplicateKey,
    /// The document, or an element of a batch, is not an object.
    NotAnObject,
    /// The batch has no messages (JSON-RPC 2.0, section 6).
    EmptyBatch,
    /// The batch has more than [`MAX_BATCH`] messages.
    BatchTooLong,
    /// `jsonrpc` is missing or is not exactly `"2.0"` (JSON-RPC 2.0, section 4).
    NotJsonRpc,
    /// The id is neither a string nor an integer, has more than [`MAX_ID`] bytes, or is missing
    /// from a response (schema, `RequestId`: JSON-RPC's null is refused too).
    InvalidId,
    /// `method` is not a string.
    InvalidMethod,
    /// `params` is an array, or comes from a client and is not an object (schema, `JSONRPCRequest`).
    InvalidParams,
    /// Both `method` and `result` or `error`; both `result` and `error`; or none of the three.
    Ambiguous,
    /// `error` is not an object with an integer `code` (JSON-RPC 2.0, section 5.1).
    InvalidError,
}

impl ScanReason {
    /// Whether JSON-RPC's code is -32700 (parse error) and not -32600 (invalid request).
    pub fn is_parse_error(self) -> bool {
        matches!(self, Self::InvalidUtf8 | Self::NotJson | Self::TooDeep)
    }
}

impl fmt::Display for ScanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidUtf8 => "not UTF-8",
            Self::NotJson => "not JSON",
            Self::TooDeep => "nested too deeply",
            Self::DuplicateKey => "duplicate key",
            Self::NotAnObject => "not an object",
            Self::EmptyBatch => "empty batch",
            Self::BatchTooLong => "batch too long",
            Self::NotJsonRpc => "not JSON-RPC 2.0",
            Self::InvalidId => "invalid id",
            Self::InvalidMethod => "invalid method",
            Self::InvalidParams => "invalid params",
            Self::Ambiguous => "neither a request nor a response",
            Self::InvalidError => "invalid error object",
        })
    }
}

/// The decoded value of an id or of a progress token: what equality in flight goes by (schema,
/// `RequestId` and `ProgressToken`). `"\u0031"` equals `"1"`, which does not equal `1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RequestId {
    /// An integer of any size, as decimal digits; `-0` is `0`.
    Integer(Box<str>),
    /// A string.
    String(Box<str>),
}

impl RequestId {
    /// Reads the JSON text of an id. `None` if it has more than [`MAX_ID`] bytes or is neither a
    /// string without lone surrogates nor an integer `-?(0|[1-9][0-9]*)`.
    pub fn decode(raw: &[u8]) -> Option<Self> {
        if raw.len() > MAX_ID {
            None
        } else if text::is_integer(raw) {
            let digits = if raw == b"-0" { b"0" } else { raw };
            Some(Self::Integer(str::from_utf8(digits).ok()?.into()))
        } else {
            Some(Self::String(decode_string(raw)?.into()))
        }
    }
}
