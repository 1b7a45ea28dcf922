//! One HTTP request and its one response.
//!
//! ```text
//! Admitting ──ReadBody──> ReadingBody ──no session──> Routing ──opened──┐
//!     │                        │                                        │
//!     │                        └──────────session───────────────────> Waiting ──> Streaming
//!     └──Listen─────────────────────────────────────────────────────────┘            │
//! any state ──refusal, answer, end or disconnect──> Done <───────────────────────────┘
//! ```
//!
//! A request of 2026-07-28 is judged when its body has been read (`modern.rs`), and has no session.
//!
//! `Waiting` becomes a plain JSON response if the answer comes with nothing before it, and
//! `Streaming` if the upstream begins an event stream. The exchange counts what it hands to the
//! transport: at half a window the upstream is told, and past a window the upstream disconnects.

mod account;
mod body;
mod mail;
mod message;
mod modern;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use self::account::Account;
use self::body::Body;
pub use self::mail::ExchangeMail;
pub(crate) use self::mail::{
    Admission, Answered, Decision, Grant, Letter, Opened, Rejection, Routed, Seals,
};
use self::message::Message;
use self::modern::Modern;
use crate::access::AccessRecord;
use crate::audit::{AuditEvent, AuditRecord, Caller, SessionDigest};
use crate::auth::{Challenges, Credentials};
use crate::envelope::{self, Document, Source};
use crate::framing::Frame;
use crate::gateway::{self, GatewayMail, Owner};
use crate::head::{ContentType, Cors, RequestHead, ResponseHead};
use crate::id::{ExchangeId, SessionId, UpstreamId};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::request_id::{Instance, RequestId};
use crate::sse;
use crate::time::{Instant, Now};
use crate::upstream::{self, Sender, UpstreamMail};

/// What an [`Exchange`] wants done.
#[derive(Debug)]
pub enum ExchangeOutput {
    /// Hand this to the [`Gateway`](crate::Gateway).
    ToGateway(GatewayMail),
    /// Hand this to the [`Upstream`](crate::Upstream) of this name.
    ToUpstream {
        /// Whose mail it is.
        upstream: UpstreamId,
        /// The mail.
        mail: UpstreamMail,
    },
    /// Begin the response. Comes once, before any chunk.
    Head(ResponseHead),
    /// Send these bytes of the response's body, and tell [`Exchange::handle_written`] once the
    /// transport has taken them.
    Chunk(Frame),
    /// The response's body is complete. Nothing follows.
    End,
    /// Keep this record.
    Audit(AuditRecord),
    /// What became of the request. Comes once, whatever happens: before the end, or last of all if the
    /// client has gone.
    Access(Box<AccessRecord>),
}

enum State {
    Admitting,
    ReadingBody {
        grant: Option<Grant>,
        body: Body,
        deadline: Instant,
    },
    Routing {
        body: Bytes,
        document: Box<Document>,
    },
    /// As above, for a request of 2026-07-28.
    RoutingModern(Box<upstream::Request>),
    Waiting {
        upstream: UpstreamId,
        /// A session that is being opened for this request.
        opened: Option<SessionId>,
    },
    Streaming {
        upstream: UpstreamId,
    },
    Done,
}

/// One HTTP request and its one response.
pub struct Exchange {
    id: ExchangeId,
    request: RequestId,
    state: State,
    cors: Option<Cors>,
    caller: Option<Caller>,
    credentials: Option<Credentials>,
    challenges: Option<Arc<Challenges>>,
    /// The session that the request names, or that was opened for it.
    session: Option<SessionDigest>,
    message: Message,
    /// What is kept of a request of 2026-07-28.
    modern: Option<Box<Modern>>,
    account: Account,
    /// Whether the gateway was asked how long the token is good for.
    renewing: bool,
    started: Instant,
    body_bytes: usize,
    body_time: std::time::Duration,
    comment_time: std::time::Duration,
    request_state_time: std::time::Duration,
    window: usize,
    /// When the event stream last carried anything.
    last_sent: Instant,
    /// Bytes of the stream that the transport has not taken.
    in_transit: usize,
    /// Bytes that the transport has taken and the upstream has not been told of.
    unreleased: usize,
    outputs: VecDeque<ExchangeOutput>,
}

impl Exchange {
    /// An exchange whose head is handed to [`Gateway::handle_request`](crate::Gateway) under the same
    /// name; the gateway's mail is its first input. `instance` begins the request's id, if it came
    /// with none.
    pub fn new(
        id: ExchangeId,
        head: &RequestHead<'_>,
        instance: Instance,
        limits: &Limits,
        now: Now,
    ) -> Self {
        Self {
            id,
            request: RequestId::of(head, instance, id),
            state: State::Admitting,
            cors: None,
            caller: None,
            credentials: None,
            challenges: None,
            session: None,
            message: Message::default(),
            modern: Modern::of(head),
            account: Account::new(head.method),
            renewing: false,
            started: now.monotonic,
            body_bytes: limits.body_bytes,
            body_time: limits.body_time,
            comment_time: limits.comment_time,
            request_state_time: limits.request_state_time,
            window: limits.stream_queue_bytes,
            last_sent: now.monotonic,
            in_transit: 0,
            unreleased: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The name that the driver gave.
    pub fn id(&self) -> ExchangeId {
        self.id
    }

    /// Takes mail from the gateway or an upstream. Mail that comes after the end is ignored.
    pub fn handle_mail(&mut self, mail: ExchangeMail, now: Now) {
        match (mail.0, &self.state) {
            (Letter::Pending { caller, route }, State::Admitting) => {
                self.caller = Some(caller);
                self.account.route = route;
            }
            (Letter::Admission(admission), State::Admitting) => {
                self.cors = admission.cors;
                self.caller = Some(admission.caller);
                self.account.route = admission.route;
                self.credentials = admission.credentials;
                self.challenges = admission.challenges;
                if let Some(modern) = &mut self.modern {
                    modern.seals = admission.seals;
                }
                self.admit(admission.decision, now);
            }
            (Letter::Route(routed), State::Routing { .. } | State::RoutingModern(_)) => {
                self.route(routed, now);
            }
            (letter, &State::Waiting { upstream, opened }) => {
                self.answer(letter, upstream, opened, now);
            }
            (letter, State::Streaming { .. }) => self.stream(letter, now),
            // Mail and disconnect crossed: an unused grant still has to go back.
            (
                Letter::Route(Ok(
                    Routed::Session(Opened { grant, .. }) | Routed::Host { grant, .. },
                ))
                | Letter::Admission(Admission {
                    decision: Decision::ReadBody(Some((grant, _))) | Decision::Listen { grant, .. },
                    ..
                }),
                _,
            ) => self.give_back(&grant),
            _ => {}
        }
    }

    /// Takes a piece of the request's body, while [`Exchange::wants_body`].
    pub fn handle_body(&mut self, chunk: Bytes, now: Now) {
        if let State::ReadingBody { body, .. } = &mut self.state {
            self.account.bytes_in += chunk.len() as u64;
            if body.len() + chunk.len() > self.body_bytes {
                self.refuse(Refusal::BodyTooLarge, now);
            } else if !chunk.is_empty() {
                body.push(chunk);
            }
        }
    }

    /// Takes note that the driver has no memory for more of the body.
    pub fn handle_no_room(&mut self, now: Now) {
        if matches!(self.state, State::ReadingBody { .. }) {
            self.refuse(Refusal::BodyBudget, now);
        }
    }

    /// Takes note that the HTTP front end refuses the request's body: its end cannot be found
    /// ([`Refusal::MalformedBody`]), or lies beyond the bounds.
    pub fn handle_body_refused(&mut self, refusal: Refusal, now: Now) {
        if matches!(self.state, State::ReadingBody { .. }) {
            self.refuse(refusal, now);
        }
    }

    /// Takes note that the request's body is complete.
    pub fn handle_body_end(&mut self, now: Now) {
        let State::ReadingBody { grant, body, .. } = &mut self.state else {
            return;
        };
        let (grant, body) = (grant.take(), std::mem::take(body).into_bytes());
        let document = match envelope::scan(&body, Source::Client) {
            Ok(document) => Box::new(document),
            Err(error) => {
                self.message = Message::refused(error.id, body);
                self.state = State::ReadingBody {
                    grant,
                    body: Body::Empty,
                    deadline: self.started,
                };
                return self.refuse_read(Refusal::BadMessage(error.reason).into(), now);
            }
        };
        if let Document::Single(envelope) = &*document {
            self.message = Message::of(envelope, &body);
        }
        if let Err((challenge, message)) = self.judge_calls(&document, &body) {
            if let Document::Batch(_) = *document {
                self.message = message.of_batch();
            }
            self.state = State::ReadingBody {
                grant,
                body: Body::Empty,
                deadline: self.started,
            };
            let rejection = Rejection {
                challenge: Some(challenge),
                ..Refusal::InsufficientScope.into()
            };
            return self.refuse_read(rejection, now);
        }
        if self.is_modern(&document, &body) {
            if let Some(grant) = &grant {
                self.give_back(grant);
            }
            return self.take_modern(&document, &body, now);
        }
        if self.modern.as_ref().is_some_and(|modern| modern.is_unknown) {
            self.state = State::ReadingBody {
                grant,
                body: Body::Empty,
                deadline: self.started,
            };
            return self.refuse_read(Refusal::UnsupportedVersion.into(), now);
        }
        match grant {
            Some(grant) => self.call(grant, None, body, document, now),
            None => {
                let facts = gateway::Facts::of(&document, &body);
                self.state = State::Routing { body, document };
                if let Some(caller) = self.caller.clone() {
                    let verifier = self.credentials.as_ref().map(|it| it.verifier);
                    let owner = Owner { caller, verifier };
                    let mail = GatewayMail::route(self.id, facts, owner);
                    self.outputs.push_back(ExchangeOutput::ToGateway(mail));
                }
            }
        }
    }

    /// Takes note that the transport has taken `bytes` of the chunks.
    pub fn handle_written(&mut self, bytes: usize, _now: Now) {
        self.in_transit = self.in_transit.saturating_sub(bytes);
        if let State::Streaming { upstream } = self.state {
            self.unreleased += bytes;
            if self.unreleased >= self.window / 2 {
                let bytes = std::mem::take(&mut self.unreleased);
                self.outputs.push_back(ExchangeOutput::ToUpstream {
                    upstream,
                    mail: UpstreamMail(upstream::Letter::Release {
                        exchange: self.id,
                        bytes,
                    }),
                });
            }
        }
    }

    /// Takes note that the client has gone, or that the driver drops the request. While
    /// [`Exchange::awaits_gateway`], the driver hands over the mail that has come and calls this
    /// with the gateway's lock held, and hands the outputs on before it lets go of it.
    pub fn handle_disconnect(&mut self, now: Now) {
        let done = self.is_done();
        match std::mem::replace(&mut self.state, State::Done) {
            State::ReadingBody {
                grant: Some(grant), ..
            } => self.give_back(&grant),
            State::Admitting | State::Routing { .. } | State::RoutingModern(_) => {
                let mail = GatewayMail::gone(self.id, self.request.clone());
                self.outputs.push_back(ExchangeOutput::ToGateway(mail));
            }
            State::Waiting { upstream, .. } | State::Streaming { upstream } => {
                self.outputs.push_back(ExchangeOutput::ToUpstream {
                    upstream,
                    mail: UpstreamMail(upstream::Letter::Disconnect { exchange: self.id }),
                });
            }
            State::ReadingBody { grant: None, .. } | State::Done => {}
        }
        // What nobody is there to read is not worth sending; mail still has to arrive.
        let (mut headless, mut unsent) = (false, 0);
        self.outputs.retain(|output| {
            match output {
                ExchangeOutput::Head(_) => headless = true,
                ExchangeOutput::Chunk(frame) => unsent += frame.len() as u64,
                ExchangeOutput::End => {}
                _ => return true,
            }
            false
        });
        if !done {
            self.close_account(now);
        }
        // The response may have been whole, and nobody has come for it.
        for output in &mut self.outputs {
            if let ExchangeOutput::Access(record) = output {
                record.client_left = true;
                record.bytes_out -= unsent;
                if headless {
                    record.status = None;
                    record.streamed = false;
                }
            }
        }
    }

    /// Takes note that the upstream that was called is lost: its driver panicked.
    pub fn handle_upstream_lost(&mut self, now: Now) {
        match &self.state {
            State::Waiting { .. } => {
                // Only to a request is an error an answer.
                let refusal = match self.message.id() {
                    Some(_) => Refusal::ChildExited,
                    None => Refusal::SessionNotFound,
                };
                self.handle_mail(ExchangeMail(Letter::Refused(refusal.into())), now);
            }
            State::Streaming { .. } => self.handle_mail(ExchangeMail(Letter::End), now),
            _ => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.state {
            State::ReadingBody { deadline, .. } if now.monotonic >= deadline => {
                self.refuse(Refusal::BodyTimeout, now);
            }
            State::Streaming { .. } => {
                // A reader that is behind needs no sign of life, and a comment would only queue.
                if self.comment_at().is_some_and(|due| now.monotonic >= due) {
                    self.send(Frame::from(sse::KEEP_ALIVE), now);
                }
                if self.renew_at().is_some_and(|due| now.monotonic >= due) {
                    self.renew();
                }
            }
            _ => {}
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<ExchangeOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Exchange::handle_timeout`] if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::ReadingBody { deadline, .. } => Some(deadline),
            State::Streaming { .. } => {
                let due = self.comment_at().into_iter().chain(self.renew_at());
                due.min()
            }
            _ => None,
        }
    }

    /// Whether the request's body should be read on.
    pub fn wants_body(&self) -> bool {
        matches!(self.state, State::ReadingBody { .. })
    }

    /// Whether the gateway has been asked and has not answered; see
    /// [`Exchange::handle_disconnect`].
    pub fn awaits_gateway(&self) -> bool {
        matches!(
            self.state,
            State::Admitting | State::Routing { .. } | State::RoutingModern(_)
        )
    }

    /// Whether nothing more will come of it once the outputs are drained.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn admit(&mut self, decision: Decision, now: Now) {
        match decision {
            Decision::Refuse {
                rejection,
                allow,
                json_rpc,
            } => {
                let body = if json_rpc {
                    rejection
                        .refusal
                        .to_json_rpc(self.era(), None, None, &self.request)
                } else {
                    rejection.refusal.to_oauth(&self.request)
                };
                self.refuse_with(rejection, body, allow, now);
            }
            Decision::Respond {
                status,
                content_type,
                allow,
                body,
            } => {
                let mut head = self.head(status, Some(body.len()));
                head.content_type = content_type;
                head.allow = allow;
                self.respond(head, body.into(), now);
            }
            Decision::Ended(session) => {
                self.session = Some(session);
                self.authenticated(None);
                let head = self.head(StatusCode::NO_CONTENT, Some(0));
                self.respond(head, Frame::default(), now);
            }
            Decision::ReadBody(granted) => {
                let (grant, session) = granted.unzip();
                self.session = session;
                self.state = State::ReadingBody {
                    grant,
                    body: Body::Empty,
                    deadline: self.started + self.body_time,
                };
            }
            Decision::Listen {
                grant,
                session,
                last_event_id,
            } => {
                self.session = Some(session);
                self.authenticated(None);
                let upstream = grant.upstream;
                self.account.upstream = Some(upstream);
                self.state = State::Waiting {
                    upstream,
                    opened: None,
                };
                self.outputs.push_back(ExchangeOutput::ToUpstream {
                    upstream,
                    mail: UpstreamMail(upstream::Letter::Listen {
                        sender: self.sender(),
                        last_event_id,
                    }),
                });
            }
        }
    }

    fn route(&mut self, routed: Result<Routed, Rejection>, now: Now) {
        match (std::mem::replace(&mut self.state, State::Done), routed) {
            (State::Routing { body, document }, Ok(Routed::Session(opened))) => {
                self.session = Some(opened.digest);
                self.call(opened.grant, Some(opened.session), body, document, now);
            }
            (State::RoutingModern(request), Ok(routed)) => self.routed(request, routed, now),
            (_, Err(rejection)) => self.refuse_read(rejection, now),
            (_, Ok(_)) => {}
        }
    }

    /// Whether the token is good for every message of the body; if not, what it lacks, and for
    /// which.
    fn judge_calls(&self, document: &Document, body: &Bytes) -> Result<(), (HeaderValue, Message)> {
        let (Some(challenges), Some(credentials)) = (&self.challenges, &self.credentials) else {
            return Ok(());
        };
        document.messages().iter().try_for_each(|envelope| {
            let message = Message::of(envelope, body);
            let judged = match message.method() {
                Some(method) => {
                    let name = message.name();
                    challenges.judge_call(&credentials.identity, &method, name.as_deref())
                }
                None => Ok(()),
            };
            judged.map_err(|challenge| (challenge, message))
        })
    }

    fn call(
        &mut self,
        grant: Grant,
        opened: Option<SessionId>,
        body: Bytes,
        document: Box<Document>,
        now: Now,
    ) {
        let upstream = grant.upstream;
        self.account.upstream = Some(upstream);
        self.account.called = Some(now.monotonic);
        if self.credentials.is_some() {
            for envelope in document.messages() {
                self.authenticated(Some(Message::of(envelope, &body)));
            }
        }
        self.state = State::Waiting { upstream, opened };
        self.outputs.push_back(ExchangeOutput::ToUpstream {
            upstream,
            mail: UpstreamMail(upstream::Letter::Call {
                sender: self.sender(),
                body,
                document,
            }),
        });
    }

    /// Mail while no head has been sent.
    fn answer(
        &mut self,
        letter: Letter,
        upstream: UpstreamId,
        opened: Option<SessionId>,
        now: Now,
    ) {
        match letter {
            Letter::Accepted => {
                self.account.called = None;
                let head = self.head(StatusCode::ACCEPTED, Some(0));
                self.respond(head, Frame::default(), now);
            }
            // To an event source, 204 means not to connect again (WHATWG HTML, section 9.2.2);
            // an empty stream would be resumed for ever.
            Letter::NothingToResume => {
                let head = self.head(StatusCode::NO_CONTENT, Some(0));
                self.respond(head, Frame::default(), now);
            }
            Letter::Answer(message) => self.respond_json(message, opened, now),
            Letter::NotOpened(message) => self.respond_json(message, None, now),
            Letter::Refused(rejection) => {
                // Any other was not handed on to the child.
                if rejection.refusal.status() != StatusCode::OK {
                    self.account.called = None;
                }
                self.refuse_read(rejection, now);
            }
            Letter::Answered(answered) => self.answered(answered, now),
            Letter::Begin(priming) => {
                let mut head = self.head(StatusCode::OK, None);
                head.content_type = Some(ContentType::EventStream);
                head.session = opened;
                head.cors = self.cors.clone();
                self.state = State::Streaming { upstream };
                self.account.status = Some(head.status);
                self.account.streamed = true;
                // An open stream does not hold on to what was called, but for its names.
                self.account.names = Some(std::mem::take(&mut self.message).names());
                self.last_sent = now.monotonic;
                self.outputs.push_back(ExchangeOutput::Head(head));
                if let Some(priming) = priming {
                    self.send(priming.into(), now);
                }
            }
            _ => {}
        }
    }

    /// Mail while an event stream is open.
    fn stream(&mut self, letter: Letter, now: Now) {
        match letter {
            Letter::Failed(refusal) => self.account.refusal = Some(refusal),
            Letter::Event(event) => self.send(event, now),
            Letter::Answered(answered) => self.answered(answered, now),
            Letter::Refused(rejection) => self.fail(&rejection, now),
            Letter::End => self.end(now),
            Letter::Renewed(renewed) => {
                self.renewing = false;
                // A stream is one principal's.
                let same = |new: &Credentials| {
                    let old = self.credentials.as_ref();
                    old.is_some_and(|old| old.identity.principal == new.identity.principal)
                };
                match renewed.filter(same) {
                    Some(new) => self.credentials = Some(new),
                    None => self.end_unauthenticated(now),
                }
            }
            _ => {}
        }
    }

    fn send(&mut self, frame: Frame, now: Now) {
        self.last_sent = now.monotonic;
        self.in_transit += frame.len();
        self.account.bytes_out += frame.len() as u64;
        self.outputs.push_back(ExchangeOutput::Chunk(frame));
    }

    /// When the open stream is to carry a comment.
    fn comment_at(&self) -> Option<Instant> {
        (self.in_transit == 0).then(|| self.last_sent + self.comment_time)
    }

    /// When to ask whether the open stream's token is still good.
    fn renew_at(&self) -> Option<Instant> {
        let credentials = self.credentials.as_ref().filter(|_| !self.renewing);
        credentials.map(|credentials| credentials.renew_at)
    }

    fn renew(&mut self) {
        if let Some(credentials) = &self.credentials {
            self.renewing = true;
            let mail = GatewayMail::renew(self.id, credentials.digest);
            self.outputs.push_back(ExchangeOutput::ToGateway(mail));
        }
    }

    /// Ends an open stream whose token is not good any more. What it would have carried waits for
    /// whoever resumes it with one that is.
    fn end_unauthenticated(&mut self, now: Now) {
        self.audit(AuditEvent::TokenEnded);
        if let State::Streaming { upstream } = self.state {
            self.outputs.push_back(ExchangeOutput::ToUpstream {
                upstream,
                mail: UpstreamMail(upstream::Letter::Disconnect { exchange: self.id }),
            });
        }
        self.end(now);
    }

    /// Refuses while the body is being read: the rest of it will not be.
    fn refuse(&mut self, refusal: Refusal, now: Now) {
        let body = refusal.to_json_rpc(self.era(), None, None, &self.request);
        self.give_back_unused();
        self.refuse_with(refusal.into(), body, None, now);
        if let Some(ExchangeOutput::Head(head)) = self
            .outputs
            .iter_mut()
            .rfind(|output| matches!(output, ExchangeOutput::Head(_)))
        {
            head.close = true;
        }
    }

    /// Refuses a request whose body has been read.
    fn refuse_read(&mut self, rejection: Rejection, now: Now) {
        self.give_back_unused();
        let body = self.error(&rejection);
        self.refuse_with(rejection, body, None, now);
    }

    fn refuse_with(
        &mut self,
        rejection: Rejection,
        body: Bytes,
        allow: Option<&'static str>,
        now: Now,
    ) {
        let Rejection {
            refusal,
            challenge,
            retry_after,
            data: _,
        } = rejection;
        let mut head = self.head(refusal.status(), Some(body.len()));
        head.content_type = Some(ContentType::Json);
        head.allow = allow;
        head.retry_after = retry_after;
        head.challenge = challenge;
        head.close = refusal.closes_connection();
        self.account.refusal = Some(refusal);
        self.audit(AuditEvent::Refused(refusal));
        self.respond(head, body.into(), now);
    }

    fn respond_json(&mut self, message: Frame, session: Option<SessionId>, now: Now) {
        let mut head = self.head(StatusCode::OK, Some(message.len()));
        head.content_type = Some(ContentType::Json);
        head.session = session;
        self.respond(head, message, now);
    }

    fn head(&self, status: StatusCode, length: Option<usize>) -> ResponseHead {
        let length = length.map(|length| length as u64);
        ResponseHead::new(status, length, self.request.clone())
    }

    fn respond(&mut self, mut head: ResponseHead, body: Frame, now: Now) {
        head.cors = self.cors.take();
        self.account.status = Some(head.status);
        self.outputs.push_back(ExchangeOutput::Head(head));
        if !body.is_empty() {
            self.account.bytes_out += body.len() as u64;
            self.outputs.push_back(ExchangeOutput::Chunk(body));
        }
        self.end(now);
    }

    /// Ends the response.
    fn end(&mut self, now: Now) {
        self.state = State::Done;
        self.close_account(now);
        self.outputs.push_back(ExchangeOutput::End);
    }

    /// Says what became of the request.
    fn close_account(&mut self, now: Now) {
        let message = std::mem::take(&mut self.message);
        self.modern = None;
        let account = &mut self.account;
        let names = account.names.take().unwrap_or_else(|| message.names());
        let record = AccessRecord {
            exchange: self.id,
            request: self.request.clone(),
            method: account.method.take(),
            route: account.route,
            status: account.status,
            refusal: account.refusal,
            rpc_method: names.method,
            name: names.name,
            caller: self.caller.take(),
            session: self.session,
            upstream: account.upstream,
            bytes_in: account.bytes_in,
            bytes_out: account.bytes_out,
            duration: now.monotonic - self.started,
            child_duration: account.called.map(|called| now.monotonic - called),
            streamed: account.streamed,
            client_left: false,
        };
        self.outputs
            .push_back(ExchangeOutput::Access(Box::new(record)));
    }

    fn sender(&self) -> Sender {
        Sender {
            exchange: self.id,
            request: self.request.clone(),
        }
    }

    fn give_back_unused(&mut self) {
        if let State::ReadingBody { grant, .. } = &mut self.state
            && let Some(grant) = grant.take()
        {
            self.give_back(&grant);
        }
    }

    fn give_back(&mut self, grant: &Grant) {
        self.outputs.push_back(ExchangeOutput::ToUpstream {
            upstream: grant.upstream,
            mail: UpstreamMail(upstream::Letter::Forfeit {
                exclusive: grant.exclusive,
            }),
        });
    }

    /// Records that the request was let in by its credential.
    fn authenticated(&mut self, message: Option<Message>) {
        if let Some(credentials) = &self.credentials {
            let event = AuditEvent::Authenticated(credentials.verifier);
            let record = self.record(event, &message.unwrap_or_default());
            self.outputs.push_back(ExchangeOutput::Audit(record));
        }
    }

    fn audit(&mut self, event: AuditEvent) {
        let record = self.record(event, &self.message);
        self.outputs.push_back(ExchangeOutput::Audit(record));
    }

    fn record(&self, event: AuditEvent, message: &Message) -> AuditRecord {
        let names = message.names();
        AuditRecord {
            event,
            exchange: Some(self.id),
            request: Some(self.request.clone()),
            upstream: None,
            caller: self.caller.clone(),
            session: self.session,
            method: names.method,
            name: names.name,
        }
    }
}
