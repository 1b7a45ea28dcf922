//! Which sessions and children there are, for whoever operates the gateway.

use std::time::Duration;

use super::{Gateway, Phase};
use crate::audit::{Caller, SessionDigest};
use crate::id::UpstreamId;
use crate::time::Now;

/// A session in the gateway's table. How many calls are in flight and how many streams are open is
/// known to its upstream.
#[derive(Clone, Debug)]
pub struct SessionStanding {
    /// The session as records name it.
    pub digest: SessionDigest,
    /// Who opened it.
    pub caller: Caller,
    /// The upstream that serves it.
    pub upstream: UpstreamId,
    /// Whether its child has not answered `initialize` yet.
    pub opening: bool,
    /// Since it began to be opened.
    pub age: Duration,
    /// Since its last request began.
    pub idle: Duration,
}

/// A child that has not ended, or what stands in its place in a session that shares one.
#[derive(Clone, Copy, Debug)]
pub struct ChildStanding {
    /// The name under which it is driven.
    pub upstream: UpstreamId,
    /// The session that it serves alone; `None` for a probe's, for one that many share, and for one that
    /// is to end.
    pub session: Option<SessionDigest>,
    /// Since it was ordered.
    pub age: Duration,
}

impl Gateway {
    /// The sessions, in no order that tells anything.
    pub fn sessions(&self, now: Now) -> impl Iterator<Item = SessionStanding> {
        self.sessions.values().map(move |session| {
            let opening = session.phase == Phase::Opening;
            let seen = session.last_seen.max(session.since);
            SessionStanding {
                digest: session.digest,
                caller: session.owner.caller.clone(),
                upstream: session.upstream,
                opening,
                age: now.monotonic - session.since,
                idle: now.monotonic - seen,
            }
        })
    }

    /// The children, the oldest first.
    pub fn children(&self, now: Now) -> impl Iterator<Item = ChildStanding> {
        self.children.iter().map(move |(&upstream, child)| {
            let session = child.session.and_then(|id| self.sessions.get(&id));
            ChildStanding {
                upstream,
                session: session.map(|session| session.digest),
                age: now.monotonic - child.since,
            }
        })
    }
}
