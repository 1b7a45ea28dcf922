//! What the other machines tell an [`Upstream`](crate::Upstream).

use bytes::Bytes;

use crate::audit::SessionEnd;
use crate::envelope::Document;
use crate::id::{ExchangeId, UpstreamId};
use crate::request_id::RequestId;
use crate::time::Instant;

/// Mail for an [`Upstream`](crate::Upstream), from the [`Gateway`](crate::Gateway) or an
/// [`Exchange`](crate::Exchange). The driver carries it and cannot make or read it.
#[derive(Debug)]
pub struct UpstreamMail(pub(crate) Letter);

/// The HTTP request that a letter comes from.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) exchange: ExchangeId,
    pub(crate) request: RequestId,
}

#[derive(Debug)]
pub(crate) enum Letter {
    /// A POST's message or batch. Uses a grant.
    Call {
        sender: Sender,
        body: Bytes,
        document: Box<Document>,
    },
    /// A GET. Uses a grant.
    Listen {
        sender: Sender,
        last_event_id: Option<Bytes>,
    },
    /// A grant that will not be used.
    Forfeit,
    /// The transport has taken this much of the exchange's stream.
    Release { exchange: ExchangeId, bytes: usize },
    /// The exchange's client has gone.
    Disconnect { exchange: ExchangeId },

    /// End the session if it is idle and was last in use at `last_seen`, as far as the gateway
    /// knows; or say that it is not.
    Expire {
        granted: u64,
        last_seen: Instant,
        end: SessionEnd,
    },
    /// The session is over; this many grants were given in all.
    Retire { granted: u64, end: SessionEnd },
    /// Finish what is in flight, and end then, or at this time.
    Drain { until: Instant },
}

/// The order to make an [`Upstream`](crate::Upstream).
#[derive(Debug)]
pub struct Opening {
    pub(crate) upstream: UpstreamId,
    pub(crate) purpose: Purpose,
    /// Told apart in event ids: those of another session are recognised.
    pub(crate) nonce: u32,
}

impl Opening {
    /// The name of the upstream to make.
    pub fn upstream(&self) -> UpstreamId {
        self.upstream
    }
}

/// What a child is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see whether it answers `initialize`.
    Probe,
    /// To serve one session.
    Session,
}
