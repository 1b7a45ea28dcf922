//! What the other machines tell an [`Upstream`](crate::Upstream).

use bytes::Bytes;

use crate::audit::SessionEnd;
use crate::envelope::{Document, Envelope};
use crate::id::{ExchangeId, UpstreamId};
use crate::modern::{ModernCall, RequestMetadata};
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::time::Instant;
use crate::translation::modern_server::Change;

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
    /// A request of 2026-07-28, for a host. Uses a grant.
    Request {
        sender: Sender,
        request: Box<Request>,
    },
    /// A grant that will not be used.
    Forfeit {
        /// Whether it was for an exclusive call.
        exclusive: bool,
    },
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
    /// A child that was started ahead is for clients of these capabilities: canonical JSON.
    Assign { capabilities: Bytes },
    /// Others wait for a child: a call that is parked at this one, because its client has to answer
    /// first, is given up if that takes long.
    GiveWay,
    /// Something that subscribers want to hear of has changed, as another child of theirs says.
    Changed(Change),
    /// There are subscribers of these resources at another child of theirs.
    Follow(Vec<Box<str>>),
    /// There are none any more.
    Unfollow(Vec<Box<str>>),

    /// A legacy session says something to the host that it has its child from.
    ToHost { from: UpstreamId, letter: ToHost },
    /// A host says something about the call that the session knows by this number.
    FromHost { reference: u64, letter: FromHost },
    /// The host that a session has its child from is no more.
    HostEnded,
}

/// A request of 2026-07-28, as a host takes it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) body: Bytes,
    pub(crate) message: Envelope,
    pub(crate) call: ModernCall,
    /// What its head mirrors of its body.
    pub(crate) metadata: Box<RequestMetadata>,
    /// What the child gets for `requestState`: its own, if it gave one.
    pub(crate) state: Option<Box<str>>,
    /// Whether it was granted as exclusive.
    pub(crate) exclusive: bool,
}

/// What a legacy session says to its host.
#[derive(Debug)]
pub(crate) enum ToHost {
    /// A request of 2026-07-28, that the session knows by this number.
    Call { reference: u64, request: Bytes },
    /// Its answer is not waited for any more.
    Cancel { reference: u64 },
    /// The session has ended.
    Ended,
}

/// What a host says about a session's call.
#[derive(Debug)]
pub(crate) enum FromHost {
    /// The child's response, with the id that the host gave it.
    Answer(Bytes),
    /// A notification of the child's that belongs to it.
    Notification(Bytes),
    /// There will be no response.
    Failed(Refusal),
}

/// The order to make an [`Upstream`](crate::Upstream).
#[derive(Debug)]
pub struct Opening {
    pub(crate) upstream: UpstreamId,
    pub(crate) purpose: Purpose,
}

impl Opening {
    /// The name of the upstream to make.
    pub fn upstream(&self) -> UpstreamId {
        self.upstream
    }
}

/// What a child is started for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To find out what it speaks, and whether it works.
    Probe(Stage),
    /// To serve one legacy session.
    Session {
        /// Told apart in event ids: those of another session are recognised.
        nonce: u32,
    },
    /// To serve one legacy session, by the child of a host, which has no sessions.
    SharedSession {
        nonce: u32,
        host: UpstreamId,
        /// That child's `DiscoverResult`.
        discovered: Bytes,
    },
    /// To serve many callers.
    Host(Speaks),
}

impl Purpose {
    /// The host whose child it is to serve by.
    pub(crate) fn host(&self) -> Option<UpstreamId> {
        match self {
            Self::SharedSession { host, .. } => Some(*host),
            _ => None,
        }
    }
}

/// What a probe begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `server/discover`, and `initialize` if that leads to nothing.
    Discover,
    /// `initialize`.
    Initialize,
}

/// What a host's child speaks.
#[derive(Debug)]
pub(crate) enum Speaks {
    /// 2026-07-28.
    Modern,
    /// A revision with a handshake, which the host begins with these capabilities of the client's:
    /// canonical JSON.
    Legacy { capabilities: Bytes },
    /// The same; nobody has said yet for whom it is.
    LegacyAhead,
}
