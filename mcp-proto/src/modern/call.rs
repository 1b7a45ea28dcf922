//! What a modern request says of itself, and whether it may.

use std::borrow::Cow;

use bytes::Bytes;

use super::capabilities::ClientCapabilities;
use super::metadata::{Mirrored, RequestMetadata};
use crate::envelope::{self, Document, Envelope, Field, Kind, Span};
use crate::error_data::ErrorData;
use crate::refusal::Refusal;
use crate::version::{MODERN, Version};

/// What earlier revisions have and 2026-07-28 has no more (changelog, "Major changes").
const REMOVED: [&str; 9] = [
    "initialize",
    "logging/setLevel",
    "notifications/initialized",
    "notifications/roots/list_changed",
    "ping",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
];

/// A request, or a notification, that keeps to the revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ModernCall {
    pub(crate) kind: CallKind,
    /// The tool's or prompt's name, the resource's URI, or the task's id, decoded: of the kinds that
    /// name something, where it is there.
    pub(crate) name: Option<Bytes>,
    /// The client's capabilities: an object's JSON text, in the body. Empty for a notification.
    pub(crate) capabilities: Span,
    /// The least level of what the caller wants to read in logs.
    pub(crate) log_level: Option<Level>,
    /// `requestState`, decoded: of the kinds that may ask for input.
    pub(crate) request_state: Option<Bytes>,
}

/// What a modern message asks for, as far as the gateway acts on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum CallKind {
    /// `server/discover`
    Discover,
    /// `subscriptions/listen`
    Listen,
    /// `tools/call`
    ToolsCall,
    /// `prompts/get`
    PromptsGet,
    /// `resources/read`
    ResourcesRead,
    /// `tools/list`
    ToolsList,
    /// `prompts/list`
    PromptsList,
    /// `resources/list`
    ResourcesList,
    /// `resources/templates/list`
    ResourceTemplatesList,
    /// `completion/complete`
    Complete,
    /// `tasks/get`, `tasks/update` or `tasks/cancel`, of the tasks extension.
    Task,
    /// A request that the gateway knows nothing of.
    Other,
    /// A notification of any kind.
    Notification,
}

impl CallKind {
    /// Of a request with this method.
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "server/discover" => Self::Discover,
            "subscriptions/listen" => Self::Listen,
            "tools/call" => Self::ToolsCall,
            "prompts/get" => Self::PromptsGet,
            "resources/read" => Self::ResourcesRead,
            "tools/list" => Self::ToolsList,
            "prompts/list" => Self::PromptsList,
            "resources/list" => Self::ResourcesList,
            "resources/templates/list" => Self::ResourceTemplatesList,
            "completion/complete" => Self::Complete,
            "tasks/get" | "tasks/update" | "tasks/cancel" => Self::Task,
            _ => Self::Other,
        }
    }

    /// The member that `Mcp-Name` mirrors (2026-07-28, Streamable HTTP, "Standard Request Headers";
    /// the tasks extension, "Routing Headers").
    fn named_by(self) -> Option<Field> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(Field::Name),
            Self::ResourcesRead => Some(Field::Uri),
            Self::Task => Some(Field::TaskId),
            _ => None,
        }
    }

    /// Whether the result may ask for input (2026-07-28, MRTR, "Supported Requests").
    pub(crate) fn may_ask_for_input(self) -> bool {
        matches!(
            self,
            Self::ToolsCall | Self::PromptsGet | Self::ResourcesRead
        )
    }

    /// Whether a complete result must say how long it is fresh (2026-07-28, schema,
    /// `CacheableResult`).
    pub(crate) fn is_cacheable(self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ResourcesRead
                | Self::ToolsList
                | Self::PromptsList
                | Self::ResourcesList
                | Self::ResourceTemplatesList
        )
    }
}

/// A level of logging, least severe first (RFC 5424, section 6.2.1; schema, `LoggingLevel`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    /// Every level, least severe first.
    pub(crate) const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The level as it is written on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// Reads a `logLevel` or a `level`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// A refusal, and what its error's `data` tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ModernRefusal {
    pub(crate) refusal: Refusal,
    pub(crate) data: Option<ErrorData>,
}

impl From<Refusal> for ModernRefusal {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            data: None,
        }
    }
}

/// Whether a POST is of a revision without sessions. That is told by the `_meta` of its message or by
/// its head; but `initialize` opens a session unless its `_meta` says otherwise (2026-07-28,
/// versioning, "Backward Compatibility"). No other message of an older revision comes with a
/// head of this one.
pub(crate) fn is_modern(
    document: &Document,
    body: &[u8],
    metadata: Option<&RequestMetadata>,
) -> bool {
    document.messages().iter().any(|envelope| {
        let has_modern_version = match envelope.raw(Field::ProtocolVersionMeta, body) {
            Some(raw) => {
                let version = envelope::decode_string(raw);
                version.is_none_or(|version| Version::parse(version.as_bytes()).is_none())
            }
            None => false,
        };
        let opens_session = || {
            envelope.kind() == Kind::Request
                && envelope.text(Field::Method, body).as_deref() == Some("initialize")
        };
        has_modern_version || metadata.is_some() && !opens_session()
    })
}

/// Judges the message of a POST that [`is_modern`]: its headers first, then its version, its `_meta`,
/// and its method. `body` is the document that was scanned, and `metadata` what its head mirrors.
///
/// What the revision asks of requests it does not ask of notifications: of their headers only those
/// are judged that were sent, and they need no `_meta`.
pub(crate) fn judge(
    envelope: &Envelope,
    body: &Bytes,
    metadata: Option<&RequestMetadata>,
) -> Result<ModernCall, ModernRefusal> {
    let is_request = match envelope.kind() {
        Kind::Request => true,
        Kind::Notification => false,
        Kind::Response => return Err(Refusal::ResponseNotAllowed.into()),
    };
    let method = envelope.text(Field::Method, body).unwrap_or_default();
    let kind = match is_request {
        true => CallKind::of(&method),
        false => CallKind::Notification,
    };
    let version = envelope.text(Field::ProtocolVersionMeta, body);
    if metadata.is_some() || is_request {
        judge_mirrors(metadata, version.as_deref(), &method, is_request)?;
    }
    let name = judge_name(envelope, body, kind, metadata)?;

    let named = version.as_deref();
    let named = named.or_else(|| metadata.and_then(|metadata| metadata.version.text()));
    if let Some(named) = named.filter(|&named| named != MODERN) {
        return Err(ModernRefusal {
            refusal: Refusal::UnsupportedProtocolVersion,
            data: Some(ErrorData::of_version(named)),
        });
    }
    if is_request {
        judge_meta(envelope, body)?;
    }
    let log_level = match envelope.raw(Field::LogLevel, body) {
        Some(raw) => {
            let level = envelope::decode_string(raw);
            let level = level.and_then(|level| Level::parse(&level));
            Some(level.ok_or(invalid_meta("io.modelcontextprotocol/logLevel"))?)
        }
        None => None,
    };
    if REMOVED.contains(&&*method) {
        return Err(Refusal::MethodNotFound.into());
    }
    let request_state = match envelope.raw(Field::RequestState, body) {
        Some(raw) if kind.may_ask_for_input() => {
            Some(decoded(raw, body).ok_or(Refusal::InvalidRequestState)?)
        }
        _ => None,
    };
    Ok(ModernCall {
        kind,
        name,
        capabilities: envelope.get(Field::ClientCapabilities).unwrap_or_default(),
        log_level,
        request_state,
    })
}

/// `MCP-Protocol-Version` and `Mcp-Method`. `version` is that of `_meta`; where it has none, that is
/// for whoever judges `_meta`.
fn judge_mirrors(
    metadata: Option<&RequestMetadata>,
    version: Option<&str>,
    method: &str,
    is_request: bool,
) -> Result<(), ModernRefusal> {
    let version_says = |metadata: &&RequestMetadata| match version {
        Some(version) => metadata.version.says(version),
        None => metadata.version.text().is_some(),
    };
    let metadata = metadata
        .filter(version_says)
        .ok_or_else(|| mismatch("MCP-Protocol-Version"))?;
    let is_left_out = metadata.method == Mirrored::Absent && !is_request;
    if is_left_out || metadata.method.says(method) {
        Ok(())
    } else {
        Err(mismatch("Mcp-Method"))
    }
}

/// `Mcp-Name`, and what it mirrors. Where the body names nothing there is nothing to mirror, and what
/// is missing is the server's to say.
fn judge_name(
    envelope: &Envelope,
    body: &Bytes,
    kind: CallKind,
    metadata: Option<&RequestMetadata>,
) -> Result<Option<Bytes>, ModernRefusal> {
    let absent = Mirrored::Absent;
    let header = metadata.map_or(&absent, |metadata| &metadata.name);
    let Some(field) = kind.named_by() else {
        return match header {
            Mirrored::Repeated => Err(mismatch("Mcp-Name")),
            Mirrored::Absent | Mirrored::One(_) => Ok(None),
        };
    };
    let name = envelope.raw(field, body);
    let says = match name {
        Some(raw) => envelope::decode_string(raw).is_some_and(|name| header.encodes(&name)),
        None => *header == Mirrored::Absent,
    };
    if !says {
        return Err(mismatch("Mcp-Name"));
    }
    Ok(name.and_then(|raw| decoded(raw, body)))
}

/// What must be in the `_meta` of every request, and `clientInfo`, which should (2026-07-28, basic,
/// "`_meta`"). The version has been judged, but for its presence.
fn judge_meta(envelope: &Envelope, body: &[u8]) -> Result<(), ModernRefusal> {
    if envelope.text(Field::ProtocolVersionMeta, body).is_none() {
        return Err(invalid_meta("io.modelcontextprotocol/protocolVersion"));
    }
    let capabilities = envelope.raw(Field::ClientCapabilities, body);
    if !capabilities
        .is_some_and(|raw| raw.starts_with(b"{") && raw.len() <= ClientCapabilities::BYTES)
    {
        return Err(invalid_meta("io.modelcontextprotocol/clientCapabilities"));
    }
    let client = envelope.raw(Field::ClientInfo, body);
    if client.is_some_and(|raw| !raw.starts_with(b"{")) {
        return Err(invalid_meta("io.modelcontextprotocol/clientInfo"));
    }
    Ok(())
}

pub(super) fn mismatch(header: impl Into<Cow<'static, str>>) -> ModernRefusal {
    ModernRefusal {
        refusal: Refusal::HeaderMismatch,
        data: Some(ErrorData::Header(header.into())),
    }
}

fn invalid_meta(key: &'static str) -> ModernRefusal {
    ModernRefusal {
        refusal: Refusal::InvalidMeta,
        data: Some(ErrorData::MetaKey(key)),
    }
}

/// A string's value: a part of the body, unless it has escapes.
fn decoded(raw: &[u8], body: &Bytes) -> Option<Bytes> {
    Some(match envelope::decode_string(raw)? {
        Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
        Cow::Owned(text) => text.into(),
    })
}
