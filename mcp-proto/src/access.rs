//! What became of one request, for whoever counts requests and for whoever logs them.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::audit::{Caller, SessionDigest};
use crate::id::{ExchangeId, UpstreamId};
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// What became of one request. Each has exactly one, at its end. It holds no payload, no token, no
/// session id and no path that is not the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// The request's number.
    pub exchange: ExchangeId,
    /// Its id, as the response and the audit records carry it.
    pub request: RequestId,
    /// The HTTP method; `None` for one that RFC 9110 and RFC 5789 do not define, and where no head
    /// could be read.
    pub method: Option<Method>,
    /// What was asked for.
    pub route: Route,
    /// The response's status; `None` if the client left before there was one.
    pub status: Option<StatusCode>,
    /// What the request was refused for, or the last of its calls that the gateway answered with an
    /// error.
    pub refusal: Option<Refusal>,
    /// The JSON-RPC method, decoded, at most [`AuditRecord::TEXT_BYTES`](crate::AuditRecord) long; of
    /// a single message, not of a batch.
    pub rpc_method: Option<Box<str>>,
    /// The tool's or prompt's name, or the resource's URI, likewise.
    pub name: Option<Box<str>>,
    /// Who sent it, where that is known.
    pub caller: Option<Caller>,
    /// The session that it belongs to.
    pub session: Option<SessionDigest>,
    /// The child that it was handed to.
    pub upstream: Option<UpstreamId>,
    /// Bytes of the request's body that were taken in.
    pub bytes_in: u64,
    /// Bytes of the response's body that were handed over to be sent.
    pub bytes_out: u64,
    /// From the head to the end.
    pub duration: Duration,
    /// Of this, the child's share: from when the message was handed to its
    /// [`Upstream`](crate::Upstream) to the answer; to the end, if none came. `None` where no answer
    /// was waited for.
    pub child_duration: Option<Duration>,
    /// Whether the response became an event stream.
    pub streamed: bool,
    /// Whether the client left before the response was complete.
    pub client_left: bool,
}

/// What a request asks for, by its path alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// The MCP endpoint.
    Mcp,
    /// `/health`
    Health,
    /// `/health/live`
    HealthLive,
    /// `/health/ready`
    HealthReady,
    /// A document of OAuth's metadata.
    Metadata,
    /// `/`
    Root,
    /// Nothing that is served. The path may hold anything, so that nobody is told of it.
    Unknown,
}

impl Route {
    /// All that there are, in their order.
    pub const ALL: [Self; 7] = [
        Self::Mcp,
        Self::Health,
        Self::HealthLive,
        Self::HealthReady,
        Self::Metadata,
        Self::Root,
        Self::Unknown,
    ];

    /// The route's name: kebab-case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Health => "health",
            Self::HealthLive => "health-live",
            Self::HealthReady => "health-ready",
            Self::Metadata => "metadata",
            Self::Root => "root",
            Self::Unknown => "unknown",
        }
    }

    /// The one of health's at this path, if there is one.
    pub fn of_health(path: &str) -> Option<Self> {
        match path {
            "/health" => Some(Self::Health),
            "/health/live" => Some(Self::HealthLive),
            "/health/ready" => Some(Self::HealthReady),
            _ => None,
        }
    }

    /// Whether it is one of health's.
    pub fn is_health(self) -> bool {
        matches!(self, Self::Health | Self::HealthLive | Self::HealthReady)
    }
}

impl AccessRecord {
    /// The record of what was no request, and was refused with `bytes_out` bytes of body.
    pub fn of_violation(
        exchange: ExchangeId,
        request: RequestId,
        refusal: Refusal,
        caller: Caller,
        bytes_out: u64,
    ) -> Self {
        Self {
            exchange,
            request,
            method: None,
            route: Route::Unknown,
            status: Some(refusal.status()),
            refusal: Some(refusal),
            rpc_method: None,
            name: None,
            caller: Some(caller),
            session: None,
            upstream: None,
            bytes_in: 0,
            bytes_out,
            duration: Duration::ZERO,
            child_duration: None,
            streamed: false,
            client_left: false,
        }
    }
}
