//! What is worth a record: refusals, sessions' lives, and what peers did that they may not.

use crate::id::{ExchangeId, UpstreamId};
use crate::refusal::Refusal;

/// One record. It holds no payload, no token and no session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// What happened.
    pub event: AuditEvent,
    /// The request that it happened to.
    pub exchange: Option<ExchangeId>,
    /// The child that it happened to.
    pub upstream: Option<UpstreamId>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// A request, or a call that was admitted, was refused.
    Refused(Refusal),
    /// A child answered `initialize`: a session is open.
    SessionOpened,
    /// A session is over.
    SessionEnded(SessionEnd),
    /// The start-up probe's child answered `initialize`, or did not.
    Probed {
        /// Whether it did.
        passed: bool,
    },
    /// A client answered a request that it was not asked, or not any more.
    ResponseDropped,
    /// A client cancelled a call that is not in flight in its session.
    CancelDropped,
    /// A client reported progress on a request that it was not asked.
    ProgressDropped,
    /// A child answered a call that is not in flight, or whose client has gone. `count` so far.
    AnswerDropped {
        /// How many so far.
        count: u64,
    },
    /// A child wrote a line that is not JSON-RPC, or too long. `count` so far.
    LineSkipped {
        /// How many so far.
        count: u64,
    },
    /// A child's message found no stream to carry it within the bounds. `count` so far.
    MessageDropped {
        /// How many so far.
        count: u64,
    },
    /// A client did not answer a child's request in time.
    ClientSilent,
    /// A reader did not take what was sent to it and was disconnected.
    ReaderDropped,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client ended it (DELETE).
    Deleted,
    /// It was idle for its TTL.
    Expired,
    /// It was idle and made room for another.
    MadeRoom,
    /// The child answered `initialize` with an error.
    InitializeFailed,
    /// The client left before `initialize` was answered, and never learned the session's id.
    ClientGone,
    /// The child could not be started.
    SpawnFailed,
    /// The child ended, or closed its stdout.
    ChildExited,
    /// The gateway is stopping.
    Draining,
}

impl SessionEnd {
    /// The reason as a record carries it: kebab-case, stable.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::MadeRoom => "made-room",
            Self::InitializeFailed => "initialize-failed",
            Self::ClientGone => "client-gone",
            Self::SpawnFailed => "spawn-failed",
            Self::ChildExited => "child-exited",
            Self::Draining => "draining",
        }
    }
}
