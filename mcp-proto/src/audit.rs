//! What is worth a record: who came in, refusals, sessions' lives, and what peers did that they may
//! not.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::auth::{Identity, VerifierKind};
use crate::id::{ExchangeId, SessionId, UpstreamId};
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// One record. It holds no payload, no token and no session id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// What happened.
    pub event: AuditEvent,
    /// The request that it happened to.
    pub exchange: Option<ExchangeId>,
    /// That request's id.
    pub request: Option<RequestId>,
    /// The child that it happened to.
    pub upstream: Option<UpstreamId>,
    /// Who caused it, where that is known.
    pub caller: Option<Caller>,
    /// The session that it happened in.
    pub session: Option<SessionDigest>,
    /// The JSON-RPC method that was called, decoded, at most [`AuditRecord::TEXT_BYTES`] long.
    pub method: Option<Box<str>>,
    /// The tool's or prompt's name, or the resource's URI, likewise.
    pub name: Option<Box<str>>,
}

impl AuditRecord {
    /// Most bytes of a text that a client chose; what is longer is cut.
    pub const TEXT_BYTES: usize = 256;

    /// A record of which nothing more is known.
    pub fn new(event: AuditEvent) -> Self {
        Self {
            event,
            exchange: None,
            request: None,
            upstream: None,
            caller: None,
            session: None,
            method: None,
            name: None,
        }
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address that it came from, seen past the proxies that are trusted.
    pub address: IpAddr,
    /// Whom its token was issued to; `None` where nobody is asked, or where that was not found out.
    pub identity: Option<Arc<Identity>>,
}

/// A session as records name it: the first half of its id's SHA-256, in hexadecimal digits. It
/// opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionDigest([u8; 16]);

impl SessionDigest {
    /// Of the id as clients send it.
    pub(crate) fn of(session: SessionId) -> Self {
        let digest: [u8; 32] = Sha256::digest(session.to_text()).into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

impl fmt::Display for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("digits"))
    }
}

impl fmt::Debug for SessionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionDigest({self})")
    }
}

/// What a record is about: what `grep` finds it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditClass {
    /// Who came in, who did not, and what verifiers did.
    Auth,
    /// A request that was refused for another reason.
    Refusal,
    /// A session's life.
    Session,
    /// What a client or a child did that it may not.
    Peer,
    /// The wrapped server's life.
    Server,
}

impl AuditClass {
    /// The class as a record carries it: upper case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::Refusal => "REFUSAL",
            Self::Session => "SESSION",
            Self::Peer => "PEER",
            Self::Server => "SERVER",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was let in, or it worked.
    Success,
    /// It was not, or it did not.
    Failure,
}

impl AuditOutcome {
    /// The outcome as a record carries it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// A request was let in by its credential.
    Authenticated(VerifierKind),
    /// Whoever presented a credential left before it was verified.
    Abandoned,
    /// A request, or a call that was admitted, was refused.
    Refused(Refusal),
    /// A verifier was tried at the start.
    VerifierTried {
        /// Which.
        verifier: VerifierKind,
        /// Whether it works.
        passed: bool,
    },
    /// A verifier could not tell whether a token is good.
    VerifierFailed(VerifierKind),
    /// The static tokens were read again and are others now.
    TokensReplaced,
    /// A stream was closed, since the token that it was opened with is not good any more, or since
    /// no verifier could say so ([`AuditEvent::VerifierFailed`] then stands before it).
    TokenEnded,
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

impl AuditEvent {
    /// One event of each kind.
    pub const SAMPLES: [Self; 18] = [
        Self::Authenticated(VerifierKind::Static),
        Self::Abandoned,
        Self::Refused(Refusal::NotFound),
        Self::VerifierTried {
            verifier: VerifierKind::Static,
            passed: true,
        },
        Self::VerifierFailed(VerifierKind::Static),
        Self::TokensReplaced,
        Self::TokenEnded,
        Self::SessionOpened,
        Self::SessionEnded(SessionEnd::Deleted),
        Self::Probed { passed: true },
        Self::ResponseDropped,
        Self::CancelDropped,
        Self::ProgressDropped,
        Self::AnswerDropped { count: 1 },
        Self::LineSkipped { count: 1 },
        Self::MessageDropped { count: 1 },
        Self::ClientSilent,
        Self::ReaderDropped,
    ];

    /// The event as a record carries it: kebab-case, stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authenticated(_) => "authenticated",
            Self::Abandoned => "abandoned",
            Self::Refused(_) => "refused",
            Self::VerifierTried { .. } => "verifier-tried",
            Self::VerifierFailed(_) => "verifier-failed",
            Self::TokensReplaced => "tokens-replaced",
            Self::TokenEnded => "token-ended",
            Self::SessionOpened => "session-opened",
            Self::SessionEnded(_) => "session-ended",
            Self::Probed { .. } => "probed",
            Self::ResponseDropped => "response-dropped",
            Self::CancelDropped => "cancel-dropped",
            Self::ProgressDropped => "progress-dropped",
            Self::AnswerDropped { .. } => "answer-dropped",
            Self::LineSkipped { .. } => "line-skipped",
            Self::MessageDropped { .. } => "message-dropped",
            Self::ClientSilent => "client-silent",
            Self::ReaderDropped => "reader-dropped",
        }
    }

    /// What it is about.
    pub fn class(self) -> AuditClass {
        match self {
            Self::Authenticated(_)
            | Self::Abandoned
            | Self::VerifierTried { .. }
            | Self::VerifierFailed(_)
            | Self::TokensReplaced
            | Self::TokenEnded => AuditClass::Auth,
            Self::Refused(refusal) if refusal.is_authentication() => AuditClass::Auth,
            Self::Refused(_) => AuditClass::Refusal,
            Self::SessionOpened | Self::SessionEnded(_) => AuditClass::Session,
            Self::Probed { .. }
            | Self::AnswerDropped { .. }
            | Self::LineSkipped { .. }
            | Self::MessageDropped { .. } => AuditClass::Server,
            Self::ResponseDropped
            | Self::CancelDropped
            | Self::ProgressDropped
            | Self::ClientSilent
            | Self::ReaderDropped => AuditClass::Peer,
        }
    }

    /// How it ended.
    pub fn outcome(self) -> AuditOutcome {
        let success = match self {
            Self::Authenticated(_) | Self::TokensReplaced | Self::SessionOpened => true,
            Self::VerifierTried { passed, .. } | Self::Probed { passed } => passed,
            Self::SessionEnded(end) => end.is_orderly(),
            _ => false,
        };
        if success {
            AuditOutcome::Success
        } else {
            AuditOutcome::Failure
        }
    }

    /// Why, where there is a reason beside the event itself.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason()),
            Self::SessionEnded(end) => Some(end.reason()),
            _ => None,
        }
    }

    /// The verifier that it is about.
    pub fn verifier(self) -> Option<VerifierKind> {
        match self {
            Self::Authenticated(verifier)
            | Self::VerifierTried { verifier, .. }
            | Self::VerifierFailed(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// How many of its kind there were so far at one child, where they are counted.
    pub fn count(self) -> Option<u64> {
        match self {
            Self::AnswerDropped { count }
            | Self::LineSkipped { count }
            | Self::MessageDropped { count } => Some(count),
            _ => None,
        }
    }
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
    /// All that there are.
    pub const ALL: [Self; 8] = [
        Self::Deleted,
        Self::Expired,
        Self::MadeRoom,
        Self::InitializeFailed,
        Self::ClientGone,
        Self::SpawnFailed,
        Self::ChildExited,
        Self::Draining,
    ];

    /// Whether nothing went wrong.
    fn is_orderly(self) -> bool {
        matches!(
            self,
            Self::Deleted | Self::Expired | Self::MadeRoom | Self::ClientGone | Self::Draining
        )
    }

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
