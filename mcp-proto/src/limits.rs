//! Every bound that the machines keep, with its default.
//!
//! A bound exists for each thing that a peer can make grow: bytes held, time waited, entries in a
//! table. Nothing in the core is unbounded.

use std::time::Duration;

use crate::auth::Rate;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The bounds that the machines and their adapters keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's head; more is 431.
    pub head_bytes: usize,
    /// Most fields in a request's head; more is 431.
    pub head_fields: usize,
    /// Most bytes of a request's target; more is 414.
    pub target_bytes: usize,
    /// Time from a connection's first byte of a head to its last.
    pub head_time: Duration,
    /// Most bytes of a request's body; more is 413.
    pub body_bytes: usize,
    /// Time from a request's head to the last byte of its body; more is 408.
    pub body_time: Duration,
    /// Most bytes of the line that tells a chunk's size; more is 400.
    pub chunk_line_bytes: usize,
    /// Most bytes of a body in chunks that are no data; more is 400.
    pub chunk_framing_bytes: usize,
    /// Time that a connection may stand idle between requests.
    pub keep_alive_time: Duration,
    /// Most connections at once; one more waits to be accepted.
    pub connections: usize,
    /// Most bytes of request bodies that are held at once, over all connections; more is 503.
    pub body_budget_bytes: usize,

    /// Most sessions at once.
    pub sessions: usize,
    /// Most sessions of one principal at once; of people only, not of static tokens or of nobody.
    pub sessions_per_principal: usize,
    /// Time without a request, a call in flight or an open stream after which a session ends.
    pub session_ttl: Duration,
    /// Most calls in flight in one session; one more is 503.
    pub calls_per_session: usize,
    /// Most open GET streams in one session; one more is 503.
    pub streams_per_session: usize,

    /// Most children at once that are shared, by requests of 2026-07-28 and by sessions that have none of
    /// their own. One person has at most half of them.
    pub hosts: usize,
    /// Time without a request after which a child with a handshake ends that serves such requests.
    pub idle_host_time: Duration,
    /// Most calls in flight at one child that serves many callers, and most that wait for one; one more
    /// is 503.
    pub calls_per_child: usize,
    /// Silence after which a server that was asked `server/discover` is asked to `initialize` as well.
    pub discover_time: Duration,
    /// Time that a `requestState` is good for.
    pub request_state_time: Duration,

    /// Most bytes of a bearer token; a longer one is no token.
    pub token_bytes: usize,
    /// Time that a verifier's verdict is good for, unless the token ends before.
    pub verdict_time: Duration,
    /// Most verdicts of each kind, good and bad, that are kept.
    pub verdicts: usize,
    /// Time that a verifier may take for one token, what it needs for that included.
    pub verifier_time: Duration,
    /// For each address: presented credentials that are not good, and calls to verifiers.
    pub credential_rate: Rate,
    /// For each address: requests without a credential, and for OAuth metadata.
    pub probe_rate: Rate,
    /// For each principal: requests to the MCP endpoint.
    pub principal_rate: Option<Rate>,
    /// For each address: requests to the MCP endpoint.
    pub address_rate: Option<Rate>,
    /// Most addresses, and principals, that each of these rates is kept for; those beyond share
    /// one.
    pub rate_entries: usize,

    /// Most bytes that wait for one reader; past it the stream closes, to be resumed. One message
    /// may be larger.
    pub stream_queue_bytes: usize,
    /// Most bytes of sent events kept per session for `Last-Event-ID`. One event may be larger.
    /// It should be well above [`Limits::stream_queue_bytes`], or a reader that is dropped for being
    /// behind has lost what it was behind with.
    pub replay_bytes: usize,
    /// Most bytes of messages per session that wait for a stream to carry them.
    pub waiting_bytes: usize,
    /// Silence after which a call's answer becomes an event stream.
    pub silence_time: Duration,
    /// Silence after which an event stream carries a comment.
    pub comment_time: Duration,
    /// Time after which a call's stream closes for the client to resume it (2025-11-25 and later);
    /// `None` keeps it open.
    pub poll_after: Option<Duration>,
    /// The reconnection time that event streams tell (`retry:`).
    pub retry_time: Duration,

    /// Most bytes of one line from a child; a longer one is skipped.
    pub line_bytes: usize,
    /// Most bytes that wait for a child to read its stdin; past it calls are refused with 503.
    pub stdin_bytes: usize,
    /// Time that a call may take; progress starts it anew.
    pub request_time: Duration,
    /// Time that a call may take however much progress it reports.
    pub request_time_max: Duration,
    /// Time that a client may take to answer a request from the child. A client without session has
    /// but a few seconds if others wait for the child.
    pub client_answer_time: Duration,

    /// Time from a child's stdin closing to SIGTERM.
    pub terminate_after: Duration,
    /// Time from SIGTERM to SIGKILL.
    pub kill_after: Duration,
    /// Time from the order to stop until the process ends, children's ends included.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * KIB,
            head_fields: 100,
            target_bytes: 8 * KIB,
            head_time: Duration::from_secs(10),
            body_bytes: 4 * MIB,
            body_time: Duration::from_secs(30),
            chunk_line_bytes: 256,
            chunk_framing_bytes: 16 * KIB,
            keep_alive_time: Duration::from_secs(75),
            connections: 1024,
            body_budget_bytes: 256 * MIB,
            sessions: 100,
            sessions_per_principal: 64,
            session_ttl: Duration::from_secs(30 * 60),
            calls_per_session: 256,
            streams_per_session: 16,
            hosts: 16,
            idle_host_time: Duration::from_secs(5 * 60),
            calls_per_child: 1024,
            discover_time: Duration::from_secs(2),
            request_state_time: Duration::from_secs(15 * 60),
            token_bytes: 8 * KIB,
            verdict_time: Duration::from_secs(60),
            verdicts: 10_000,
            verifier_time: Duration::from_secs(5),
            credential_rate: Rate::per_minute(10),
            probe_rate: Rate::per_minute(120),
            principal_rate: None,
            address_rate: None,
            rate_entries: 65_536,
            stream_queue_bytes: MIB,
            replay_bytes: 2 * MIB,
            waiting_bytes: MIB,
            silence_time: Duration::from_secs(15),
            comment_time: Duration::from_secs(20),
            poll_after: None,
            retry_time: Duration::from_secs(1),
            line_bytes: 8 * MIB,
            stdin_bytes: 16 * MIB,
            request_time: Duration::from_secs(300),
            request_time_max: Duration::from_secs(60 * 60),
            client_answer_time: Duration::from_secs(300),
            terminate_after: Duration::from_secs(2),
            kill_after: Duration::from_secs(3),
            drain_time: Duration::from_secs(9),
        }
    }
}

impl Limits {
    /// The part of [`Limits::drain_time`] in which calls may still finish: what is left once a
    /// child that ignores everything but SIGKILL has had its time.
    pub fn finish_time(&self) -> Duration {
        self.drain_time
            .saturating_sub(self.terminate_after)
            .saturating_sub(self.kill_after)
    }
}

/// Of the bounds, those of a connection. The time for a body is the exchange's to watch.
#[cfg(feature = "h1")]
impl From<&Limits> for crate::h1::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            target_bytes: limits.target_bytes,
            head_bytes: limits.head_bytes,
            head_fields: limits.head_fields,
            head_time: limits.head_time,
            body_bytes: limits.body_bytes,
            body_time: None,
            chunk_line_bytes: limits.chunk_line_bytes,
            chunk_framing_bytes: limits.chunk_framing_bytes,
            keep_alive_time: limits.keep_alive_time,
        }
    }
}
