//! What the other machines tell an [`Exchange`](crate::Exchange).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::access::Route;
use crate::audit::{Caller, SessionDigest};
use crate::auth::{Challenges, Credentials, Denial};
use crate::error_data::ErrorData;
use crate::framing::Frame;
use crate::head::{ContentType, Cors};
use crate::id::{SessionId, UpstreamId};
use crate::modern::{ModernRefusal, SealKeys};
use crate::refusal::Refusal;

/// Mail for an [`Exchange`](crate::Exchange), from the [`Gateway`](crate::Gateway) or an
/// [`Upstream`](crate::Upstream). The driver carries it and cannot make or read it.
#[derive(Debug)]
pub struct ExchangeMail(pub(crate) Letter);

#[derive(Debug)]
pub(crate) enum Letter {
    /// The gateway's word on the request is to come: something has to be found out first.
    Pending { caller: Caller, route: Route },
    /// The gateway's first word on the request.
    Admission(Admission),
    /// The gateway's word on a message that was sent without a session.
    Route(Result<Routed, Rejection>),
    /// What an open stream's token stands for now; `None` if it is not good any more.
    Renewed(Option<Credentials>),

    /// The upstream took what needs no answer.
    Accepted,
    /// The upstream did not take the message, or the call failed before anything was sent.
    Refused(Rejection),
    /// The answer to a modern request, whether or not anything came before it.
    Answered(Answered),
    /// The answer, with nothing before it.
    Answer(Frame),
    /// The child's refusal of `initialize`, with nothing before it: there is no session.
    NotOpened(Frame),
    /// The stream that was to be resumed has ended, and the client has seen all of it.
    NothingToResume,
    /// An event stream begins, with this priming event.
    Begin(Option<Bytes>),
    /// A call of the open stream's failed: the next event says so.
    Failed(Refusal),
    /// An event, framed; the last one of a stream is followed by `End`.
    Event(Frame),
    /// The event stream ends, for good or to be resumed.
    End,
}

/// The gateway's word on the head of a request.
#[derive(Debug)]
pub(crate) struct Admission {
    /// What a page of another origin may read of the response.
    pub(crate) cors: Option<Cors>,
    pub(crate) caller: Caller,
    pub(crate) route: Route,
    /// What the caller was let in by; `None` where nobody is asked.
    pub(crate) credentials: Option<Credentials>,
    /// What single calls need, where they need something.
    pub(crate) challenges: Option<Arc<Challenges>>,
    /// What seals a `requestState`, where the head is a modern request's.
    pub(crate) seals: Option<Arc<Seals>>,
    pub(crate) decision: Decision,
}

/// What seals the states of one gateway's children.
#[derive(Debug)]
pub(crate) struct Seals {
    pub(crate) keys: SealKeys,
    /// Tells this gateway's children from those of others.
    pub(crate) instance: [u8; 8],
}

/// A refusal, and what goes with it for this one caller.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) refusal: Refusal,
    /// `WWW-Authenticate`
    pub(crate) challenge: Option<HeaderValue>,
    /// Seconds until it is worth trying again.
    pub(crate) retry_after: Option<u32>,
    /// What the error's `data` tells beside the request's id.
    pub(crate) data: Option<ErrorData>,
}

impl From<ModernRefusal> for Rejection {
    fn from(ModernRefusal { refusal, data }: ModernRefusal) -> Self {
        Self {
            data,
            ..refusal.into()
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Denial::from(refusal).into()
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        Self {
            refusal: denial.refusal,
            challenge: None,
            retry_after: denial.retry_after,
            data: None,
        }
    }
}

/// What the head of a request amounts to.
#[derive(Debug)]
pub(crate) enum Decision {
    Refuse {
        rejection: Rejection,
        allow: Option<&'static str>,
        /// Whether the path is the MCP endpoint's, so that the error is JSON-RPC's.
        json_rpc: bool,
    },
    Respond {
        status: StatusCode,
        content_type: Option<ContentType>,
        allow: Option<&'static str>,
        body: Bytes,
    },
    /// A POST: with a session, go on to its upstream; without, ask the gateway once more.
    ReadBody(Option<(Grant, SessionDigest)>),
    /// A GET: open an event stream, or resume one.
    Listen {
        grant: Grant,
        session: SessionDigest,
        last_event_id: Option<Bytes>,
    },
    /// A DELETE: the session is over.
    Ended(SessionDigest),
}

/// The right to send one thing to an upstream. It is used exactly once: by a call, by a stream, or
/// by giving it back, so that the upstream knows when the last one has come in.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) upstream: UpstreamId,
    /// Whether no other call of its kind is granted until the upstream says that this one is over.
    pub(crate) exclusive: bool,
}

/// The gateway's word on a message that was sent without a session.
#[derive(Debug)]
pub(crate) enum Routed {
    /// A session is opened for it.
    Session(Opened),
    /// It goes to a host.
    Host {
        grant: Grant,
        /// Whether the child that it goes to is one that can make use of the state that it brings.
        knows_state: bool,
    },
    /// This is the result.
    Answer(Bytes),
}

/// The answer to a modern request.
#[derive(Debug)]
pub(crate) enum Answered {
    Whole {
        message: Frame,
        /// The code of the error that it is.
        error: Option<i64>,
    },
    /// An `InputRequiredResult`, before and after the JSON text of its `requestState`.
    InputRequired {
        before: Frame,
        /// That state, which is the child's own.
        state: Box<str>,
        after: Frame,
    },
}

/// A session that is being opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) grant: Grant,
    pub(crate) session: SessionId,
    pub(crate) digest: SessionDigest,
}
