//! What the other machines tell the [`Gateway`](crate::Gateway).

use bytes::Bytes;

use super::Owner;
use crate::audit::SessionEnd;
use crate::auth::TokenDigest;
use crate::envelope::{Document, Field, Kind};
use crate::id::{ExchangeId, UpstreamId};
use crate::modern::{CallKind, Origin};
use crate::request_id::RequestId;
use crate::time::Instant;
use crate::translation::modern_server::{Change, Interest};
use crate::upstream::Request;

/// Mail for the [`Gateway`](crate::Gateway), from an [`Exchange`](crate::Exchange) or an
/// [`Upstream`](crate::Upstream). The driver carries it and cannot make or read it.
#[derive(Debug)]
pub struct GatewayMail(pub(crate) Letter);

impl GatewayMail {
    pub(crate) fn route(exchange: ExchangeId, facts: Facts, owner: Owner) -> Self {
        Self(Letter::Route {
            exchange,
            facts,
            owner,
        })
    }

    pub(crate) fn renew(exchange: ExchangeId, digest: TokenDigest) -> Self {
        Self(Letter::Renew { exchange, digest })
    }

    pub(crate) fn gone(exchange: ExchangeId, request: RequestId) -> Self {
        Self(Letter::Gone { exchange, request })
    }

    pub(crate) fn news(upstream: UpstreamId, news: News) -> Self {
        Self(Letter::News { upstream, news })
    }
}

#[derive(Debug)]
pub(crate) enum Letter {
    /// A message was sent without a session.
    Route {
        exchange: ExchangeId,
        facts: Facts,
        owner: Owner,
    },
    /// A stream is open for as long as its token's verdict was good.
    Renew {
        exchange: ExchangeId,
        digest: TokenDigest,
    },
    /// The exchange that asked has gone.
    Gone {
        exchange: ExchangeId,
        request: RequestId,
    },
    /// From an upstream.
    News { upstream: UpstreamId, news: News },
}

/// What the gateway has to know of a message to route it.
#[derive(Debug)]
pub(crate) enum Facts {
    /// An `initialize` request.
    Initialize {
        /// The client's capabilities, as it wrote them.
        capabilities: Bytes,
    },
    /// A request of 2026-07-28.
    Modern(Box<ModernFacts>),
    /// A batch.
    Batch,
    /// Anything else.
    Other,
}

impl Facts {
    pub(crate) fn of(document: &Document, body: &Bytes) -> Self {
        let Document::Single(envelope) = document else {
            return Self::Batch;
        };
        if envelope.kind() == Kind::Request
            && envelope
                .text(Field::Method, body)
                .is_some_and(|method| method == "initialize")
        {
            let capabilities = envelope.get(Field::Capabilities);
            Self::Initialize {
                capabilities: capabilities
                    .map_or(Bytes::from_static(b"{}"), |span| body.slice(span.range())),
            }
        } else {
            Self::Other
        }
    }
}

/// What the gateway has to know of a request of 2026-07-28 to route it.
#[derive(Debug)]
pub(crate) struct ModernFacts {
    pub(crate) kind: CallKind,
    /// The client's capabilities, as it wrote them.
    pub(crate) capabilities: Bytes,
    pub(crate) wants_log: bool,
    /// The child that gave the state which the request brings.
    pub(crate) origin: Option<Origin>,
    /// The task that it is about.
    pub(crate) task: Option<Bytes>,
}

impl ModernFacts {
    pub(crate) fn of(request: &Request, origin: Option<Origin>) -> Self {
        let call = &request.call;
        Self {
            kind: call.kind,
            capabilities: request.body.slice(call.capabilities.range()),
            wants_log: call.log_level.is_some(),
            origin,
            task: call.name.clone().filter(|_| call.kind == CallKind::Task),
        }
    }
}

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The child speaks 2026-07-28, and gave this `DiscoverResult`.
    Modern(Bytes),
    /// It has a handshake, and gave this `InitializeResult`.
    Legacy(Bytes),
    /// It answered with neither; or ended at the one question that it was asked, or said nothing to it.
    Refused,
    /// It did not start, or answered neither of both questions.
    Failed,
}

/// What an upstream has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// What the probe found out.
    Probed(Outcome),
    /// A host's exclusive call is over: the next may be granted, unless the child is spent.
    Free { spent: bool },
    /// Something that subscribers want to hear of has changed at a host's child.
    Changed(Change),
    /// Whether there are subscribers of a resource at a host's child.
    Interest(Interest),
    /// A host's child has begun a task by this id.
    Task(Box<str>),
    /// The child answered `initialize`: the session is open. Of a host: the child works.
    Opened,
    /// The session is over, by the upstream's own doing or by consent.
    Ended(SessionEnd),
    /// Asked whether the session is idle: it is not.
    Busy,
    /// A session that was asked about is idle, and was last in use then.
    Idle { since: Instant },
    /// The child and every grant are gone: the driver drops the upstream.
    Drained,
}
