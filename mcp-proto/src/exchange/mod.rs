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
//! `Waiting` becomes a plain JSON response if the answer comes with nothing before it, and
//! `Streaming` if the upstream begins an event stream. The exchange counts what it hands to the
//! transport: at half a window the upstream is told, and past a window the upstream disconnects.

mod mail;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

pub use self::mail::ExchangeMail;
pub(crate) use self::mail::{Decision, Grant, Letter, Opened};
use crate::audit::{AuditEvent, AuditRecord};
use crate::envelope::{self, Document, Field, Kind, Source};
use crate::framing::Frame;
use crate::gateway::{self, GatewayMail};
use crate::head::{ContentType, Cors, ResponseHead};
use crate::id::{ExchangeId, SessionId, UpstreamId};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::sse;
use crate::time::{Instant, Now};
use crate::upstream::{self, UpstreamMail};

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
        document: Document,
    },
    Waiting {
        upstream: UpstreamId,
        session: Option<SessionId>,
        /// The id that a refusal echoes.
        id: Option<Bytes>,
    },
    Streaming {
        upstream: UpstreamId,
    },
    Done,
}

/// A body that is gathered: one chunk is kept as it came.
#[derive(Default)]
enum Body {
    #[default]
    Empty,
    One(Bytes),
    Many(BytesMut),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, chunk: Bytes) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(chunk),
            Self::One(first) => {
                let mut bytes = BytesMut::with_capacity((first.len() + chunk.len()).max(8 * 1024));
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&chunk);
                Self::Many(bytes)
            }
            Self::Many(mut bytes) => {
                bytes.extend_from_slice(&chunk);
                Self::Many(bytes)
            }
        };
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}

/// One HTTP request and its one response.
pub struct Exchange {
    id: ExchangeId,
    state: State,
    cors: Option<Cors>,
    started: Instant,
    body_bytes: usize,
    body_time: std::time::Duration,
    comment_time: std::time::Duration,
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
    /// An exchange whose head was handed to [`Gateway::handle_request`](crate::Gateway) under the
    /// same name; the gateway's mail is its first input.
    pub fn new(id: ExchangeId, limits: &Limits, now: Now) -> Self {
        Self {
            id,
            state: State::Admitting,
            cors: None,
            started: now.monotonic,
            body_bytes: limits.body_bytes,
            body_time: limits.body_time,
            comment_time: limits.comment_time,
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
            (Letter::Admission { cors, decision }, State::Admitting) => {
                self.cors = cors;
                self.admit(decision);
            }
            (Letter::Route(routed), State::Routing { .. }) => self.route(routed),
            (
                letter,
                &State::Waiting {
                    upstream, session, ..
                },
            ) => {
                self.answer(letter, upstream, session, now);
            }
            (letter, State::Streaming { .. }) => self.stream(letter, now),
            // Mail and disconnect crossed: an unused grant still has to go back.
            (
                Letter::Route(Ok(Opened { grant, .. }))
                | Letter::Admission {
                    decision: Decision::ReadBody(Some(grant)) | Decision::Listen { grant, .. },
                    ..
                },
                _,
            ) => self.give_back(&grant),
            _ => {}
        }
    }

    /// Takes a piece of the request's body, while [`Exchange::wants_body`].
    pub fn handle_body(&mut self, chunk: Bytes, _now: Now) {
        if let State::ReadingBody { body, .. } = &mut self.state {
            if body.len() + chunk.len() > self.body_bytes {
                self.refuse(Refusal::BodyTooLarge, None);
            } else if !chunk.is_empty() {
                body.push(chunk);
            }
        }
    }

    /// Takes note that the driver has no memory for more of the body.
    pub fn handle_no_room(&mut self, _now: Now) {
        if matches!(self.state, State::ReadingBody { .. }) {
            self.refuse(Refusal::BodyBudget, None);
        }
    }

    /// Takes note that the request's body is malformed: its end cannot be found.
    pub fn handle_body_malformed(&mut self, _now: Now) {
        if matches!(self.state, State::ReadingBody { .. }) {
            self.refuse(Refusal::MalformedBody, None);
        }
    }

    /// Takes note that the request's body is complete.
    pub fn handle_body_end(&mut self, _now: Now) {
        let State::ReadingBody { grant, body, .. } = &mut self.state else {
            return;
        };
        let (grant, body) = (grant.take(), std::mem::take(body).into_bytes());
        let document = match envelope::scan(&body, Source::Client) {
            Ok(document) => document,
            Err(error) => {
                let id = error.id.map(|span| body.slice(span.range()));
                self.state = State::ReadingBody {
                    grant,
                    body: Body::Empty,
                    deadline: self.started,
                };
                return self.refuse_read(Refusal::BadMessage(error.reason), id.as_deref());
            }
        };
        match grant {
            Some(grant) => self.call(grant, None, body, document),
            None => {
                let facts = gateway::Facts::of(&document, &body);
                self.state = State::Routing { body, document };
                self.outputs
                    .push_back(ExchangeOutput::ToGateway(GatewayMail::route(
                        self.id, facts,
                    )));
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
    pub fn handle_disconnect(&mut self, _now: Now) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::ReadingBody {
                grant: Some(grant), ..
            } => self.give_back(&grant),
            State::Routing { .. } => self
                .outputs
                .push_back(ExchangeOutput::ToGateway(GatewayMail::gone(self.id))),
            State::Waiting { upstream, .. } | State::Streaming { upstream } => {
                self.outputs.push_back(ExchangeOutput::ToUpstream {
                    upstream,
                    mail: UpstreamMail(upstream::Letter::Disconnect { exchange: self.id }),
                });
            }
            State::Admitting | State::ReadingBody { grant: None, .. } | State::Done => {}
        }
        // What nobody is there to read is not worth sending; mail still has to arrive.
        self.outputs.retain(|output| {
            !matches!(
                output,
                ExchangeOutput::Head(_) | ExchangeOutput::Chunk(_) | ExchangeOutput::End
            )
        });
    }

    /// Takes note that the upstream that was called is lost: its driver panicked.
    pub fn handle_upstream_lost(&mut self, now: Now) {
        match &self.state {
            State::Waiting { .. } => {
                self.handle_mail(ExchangeMail(Letter::Refused(Refusal::ChildExited)), now);
            }
            State::Streaming { .. } => self.handle_mail(ExchangeMail(Letter::End), now),
            _ => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.state {
            State::ReadingBody { deadline, .. } if now.monotonic >= deadline => {
                self.refuse(Refusal::BodyTimeout, None);
            }
            State::Streaming { .. }
                // A reader that is behind needs no sign of life, and a comment would only queue.
                if self.in_transit == 0 && now.monotonic >= self.last_sent + self.comment_time =>
            {
                self.send(Frame::from(sse::KEEP_ALIVE), now);
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
            State::Streaming { .. } if self.in_transit == 0 => {
                Some(self.last_sent + self.comment_time)
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
        matches!(self.state, State::Admitting | State::Routing { .. })
    }

    /// Whether nothing more will come of it once the outputs are drained.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn admit(&mut self, decision: Decision) {
        match decision {
            Decision::Refuse {
                refusal,
                allow,
                json_rpc,
            } => {
                let body = if json_rpc {
                    refusal.to_json_rpc(None)
                } else {
                    refusal.to_oauth()
                };
                self.refuse_with(refusal, body, allow);
            }
            Decision::Respond {
                status,
                content_type,
                allow,
                body,
            } => {
                let mut head = ResponseHead::new(status, Some(body.len() as u64));
                head.content_type = content_type;
                head.allow = allow;
                self.respond(head, body.into());
            }
            Decision::ReadBody(grant) => {
                self.state = State::ReadingBody {
                    grant,
                    body: Body::Empty,
                    deadline: self.started + self.body_time,
                };
            }
            Decision::Listen {
                grant,
                last_event_id,
            } => {
                let upstream = grant.upstream;
                self.state = State::Waiting {
                    upstream,
                    session: None,
                    id: None,
                };
                self.outputs.push_back(ExchangeOutput::ToUpstream {
                    upstream,
                    mail: UpstreamMail(upstream::Letter::Listen {
                        exchange: self.id,
                        last_event_id,
                    }),
                });
            }
        }
    }

    fn route(&mut self, routed: Result<Opened, Refusal>) {
        let State::Routing { body, document } = std::mem::replace(&mut self.state, State::Done)
        else {
            return;
        };
        match routed {
            Ok(opened) => self.call(opened.grant, Some(opened.session), body, document),
            Err(refusal) => {
                let id = request_id(&document).map(|span| body.slice(span.range()));
                self.refuse_read(refusal, id.as_deref());
            }
        }
    }

    fn call(&mut self, grant: Grant, session: Option<SessionId>, body: Bytes, document: Document) {
        let upstream = grant.upstream;
        self.state = State::Waiting {
            upstream,
            session,
            id: request_id(&document).map(|span| body.slice(span.range())),
        };
        self.outputs.push_back(ExchangeOutput::ToUpstream {
            upstream,
            mail: UpstreamMail(upstream::Letter::Call {
                exchange: self.id,
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
        session: Option<SessionId>,
        now: Now,
    ) {
        match letter {
            Letter::Accepted => {
                let head = ResponseHead::new(StatusCode::ACCEPTED, Some(0));
                self.respond(head, Frame::default());
            }
            // To an event source, 204 means not to connect again (WHATWG HTML, section 9.2.2);
            // an empty stream would be resumed for ever.
            Letter::NothingToResume => {
                let head = ResponseHead::new(StatusCode::NO_CONTENT, Some(0));
                self.respond(head, Frame::default());
            }
            Letter::Answer(message) => self.respond_json(message, session),
            Letter::NotOpened(message) => self.respond_json(message, None),
            Letter::Refused(refusal) => {
                let State::Waiting { id, .. } = &mut self.state else {
                    return;
                };
                let id = id.take();
                self.refuse_read(refusal, id.as_deref());
            }
            Letter::Begin(priming) => {
                let mut head = ResponseHead::new(StatusCode::OK, None);
                head.content_type = Some(ContentType::EventStream);
                head.session = session;
                head.cors = self.cors.clone();
                self.state = State::Streaming { upstream };
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
            Letter::Event(event) => self.send(event, now),
            Letter::End => {
                self.state = State::Done;
                self.outputs.push_back(ExchangeOutput::End);
            }
            _ => {}
        }
    }

    fn send(&mut self, frame: Frame, now: Now) {
        self.last_sent = now.monotonic;
        self.in_transit += frame.len();
        self.outputs.push_back(ExchangeOutput::Chunk(frame));
    }

    /// Refuses while the body is being read: the rest of it will not be.
    fn refuse(&mut self, refusal: Refusal, id: Option<&[u8]>) {
        let body = refusal.to_json_rpc(id);
        self.give_back_unused();
        self.refuse_with(refusal, body, None);
        if let Some(ExchangeOutput::Head(head)) = self
            .outputs
            .iter_mut()
            .rfind(|output| matches!(output, ExchangeOutput::Head(_)))
        {
            head.close = true;
        }
    }

    /// Refuses a request whose body has been read.
    fn refuse_read(&mut self, refusal: Refusal, id: Option<&[u8]>) {
        self.give_back_unused();
        self.refuse_with(refusal, refusal.to_json_rpc(id), None);
    }

    fn refuse_with(&mut self, refusal: Refusal, body: Bytes, allow: Option<&'static str>) {
        let mut head = ResponseHead::new(refusal.status(), Some(body.len() as u64));
        head.content_type = Some(ContentType::Json);
        head.allow = allow;
        head.retry_after = refusal.retry_after();
        head.close = refusal.closes_connection();
        self.audit(AuditEvent::Refused(refusal));
        self.respond(head, body.into());
    }

    fn respond_json(&mut self, message: Frame, session: Option<SessionId>) {
        let mut head = ResponseHead::new(StatusCode::OK, Some(message.len() as u64));
        head.content_type = Some(ContentType::Json);
        head.session = session;
        self.respond(head, message);
    }

    fn respond(&mut self, mut head: ResponseHead, body: Frame) {
        head.cors = self.cors.take();
        self.state = State::Done;
        self.outputs.push_back(ExchangeOutput::Head(head));
        if !body.is_empty() {
            self.outputs.push_back(ExchangeOutput::Chunk(body));
        }
        self.outputs.push_back(ExchangeOutput::End);
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
            mail: UpstreamMail(upstream::Letter::Forfeit),
        });
    }

    fn audit(&mut self, event: AuditEvent) {
        self.outputs.push_back(ExchangeOutput::Audit(AuditRecord {
            exchange: Some(self.id),
            ..AuditRecord::new(event)
        }));
    }
}

/// The id that a refusal of this document echoes: a batch has none.
fn request_id(document: &Document) -> Option<envelope::Span> {
    match document {
        Document::Single(envelope) if envelope.kind() == Kind::Request => envelope.get(Field::Id),
        _ => None,
    }
}
