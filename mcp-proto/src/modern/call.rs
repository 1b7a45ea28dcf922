//! What a modern request says of itself, and whether it may.

use bytes::Bytes;

use super::metadata::RequestMetadata;
use crate::envelope::{Document, Envelope, Span};
use crate::error_data::ErrorData;
use crate::refusal::Refusal;

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
    /// Whether there are `inputResponses`.
    pub(crate) has_input_responses: bool,
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

/// Whether a POST is of a revision without sessions. That is told by the `_meta` of its message, and
/// where that names no version by its head; but `initialize` opens a session, whatever the head says.
pub(crate) fn is_modern(
    _document: &Document,
    _body: &[u8],
    _metadata: Option<&RequestMetadata>,
) -> bool {
    todo!()
}

/// Judges a message of a POST that [`is_modern`]: its headers first, then its version, its `_meta`,
/// and its method.
pub(crate) fn judge(
    _envelope: &Envelope,
    _body: &Bytes,
    _metadata: Option<&RequestMetadata>,
) -> Result<ModernCall, ModernRefusal> {
    todo!()
}
