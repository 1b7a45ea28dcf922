//! What the other machines tell the [`Gateway`](crate::Gateway).

use super::Owner;
use crate::audit::SessionEnd;
use crate::auth::TokenDigest;
use crate::envelope::{Document, Field, Kind};
use crate::id::{ExchangeId, UpstreamId};
use crate::request_id::RequestId;
use crate::time::Instant;
use crate::version::Version;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// An `initialize` request.
    Initialize,
    /// A message that says it is of a revision without sessions.
    Stateless,
    /// A batch.
    Batch,
    /// Anything else.
    Other,
}

impl Facts {
    pub(crate) fn of(document: &Document, body: &[u8]) -> Self {
        let Document::Single(envelope) = document else {
            return Self::Batch;
        };
        let stateless = envelope
            .text(Field::ProtocolVersionMeta, body)
            .is_some_and(|version| Version::parse(version.as_bytes()).is_none());
        if stateless {
            Self::Stateless
        } else if envelope.kind() == Kind::Request
            && envelope
                .text(Field::Method, body)
                .is_some_and(|method| method == "initialize")
        {
            Self::Initialize
        } else {
            Self::Other
        }
    }
}

/// What an upstream has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The child answered the start-up probe, or did not.
    Probed { passed: bool },
    /// The child answered `initialize`: the session is open.
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
