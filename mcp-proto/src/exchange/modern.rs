//! A request of 2026-07-28: judged by itself, and answered without a session.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{Answered, Exchange, ExchangeOutput, Letter, Rejection, Routed, Seals, State};
use crate::audit::AuditEvent;
use crate::auth::Principal;
use crate::envelope::{Document, Envelope, Kind};
use crate::framing::Frame;
use crate::gateway::{Facts, GatewayMail, ModernFacts, Owner};
use crate::head::{ContentType, RequestHead};
use crate::modern::{self, CallDigest, Origin, PrincipalDigest, RequestMetadata, Sealed};
use crate::refusal::Refusal;
use crate::sse;
use crate::time::Now;
use crate::translation::modern_server::NO_ROUND;
use crate::upstream::{self, UpstreamMail};
use crate::version::{Era, MODERN};

/// What is kept of a request of 2026-07-28.
pub(super) struct Modern {
    /// What the head mirrors of the body, until the request is handed on.
    metadata: Option<Box<RequestMetadata>>,
    /// Whether the head names a revision that nobody knows.
    pub(super) is_unknown: bool,
    pub(super) seals: Option<Arc<Seals>>,
    /// The request, for as long as its answer may have to be refused or sealed.
    request: Option<(Bytes, Envelope)>,
    /// The child that it went to.
    child: u64,
}

/// A request that may be routed, and the child that gave the state which it brings.
type Judged = (Box<upstream::Request>, Option<Origin>);

impl Modern {
    pub(super) fn of(head: &RequestHead<'_>) -> Option<Box<Self>> {
        let is_modern = head.method == Method::POST && head.is_modern();
        is_modern.then(|| {
            Box::new(Self {
                metadata: Some(RequestMetadata::of(head)),
                is_unknown: head.version.value() != Some(MODERN.as_bytes()),
                seals: None,
                request: None,
                child: 0,
            })
        })
    }
}

impl Exchange {
    /// The era whose error codes the client knows.
    pub(super) fn era(&self) -> Era {
        match self.modern {
            Some(_) => Era::Modern,
            None => Era::Legacy,
        }
    }

    pub(super) fn is_modern(&self, document: &Document, body: &Bytes) -> bool {
        let metadata = self.modern.as_ref();
        let metadata = metadata.and_then(|modern| modern.metadata.as_deref());
        modern::is_modern(document, body, metadata)
    }

    /// Takes the message, and asks the gateway where it is to go.
    pub(super) fn take_modern(&mut self, document: &Document, body: &Bytes, now: Now) {
        match self.judge_modern(document, body, now) {
            Ok(Some((request, origin))) => self.ask_route(request, origin),
            // The revision has no notifications that anyone would wait for.
            Ok(None) => {
                let head = self.head(StatusCode::ACCEPTED, Some(0));
                self.respond(head, Frame::default(), now);
            }
            Err(rejection) => self.refuse_read(rejection, now),
        }
    }

    fn judge_modern(
        &mut self,
        document: &Document,
        body: &Bytes,
        now: Now,
    ) -> Result<Option<Judged>, Rejection> {
        let Document::Single(message) = document else {
            return Err(Refusal::BatchNotAllowed.into());
        };
        let metadata = self
            .modern
            .as_ref()
            .and_then(|modern| modern.metadata.as_deref());
        let call = modern::judge(message, body, metadata)?;
        // Only a state is bound to whom it was issued.
        let principal = call.request_state.is_some().then(|| self.principal());
        let Some(modern) = &mut self.modern else {
            return Err(Refusal::HeaderMismatch.into());
        };
        if message.kind() == Kind::Notification {
            return Ok(None);
        }
        let opened = match (&call.request_state, &modern.seals, principal) {
            (Some(state), Some(seals), Some(principal)) => Some(seals.keys.open(
                state,
                principal,
                CallDigest::of(message, body),
                now.unix_ms,
            )?),
            _ => None,
        };
        let (origin, state) = opened
            .map(|sealed| (sealed.origin, sealed.state.into_boxed_str()))
            .unzip();
        modern.request = Some((body.clone(), *message));
        let metadata = modern.metadata.take();
        Ok(metadata.map(|metadata| {
            let request = upstream::Request {
                body: body.clone(),
                message: *message,
                call,
                metadata,
                state,
                exclusive: false,
            };
            (Box::new(request), origin)
        }))
    }

    fn ask_route(&mut self, request: Box<upstream::Request>, origin: Option<Origin>) {
        let facts = Facts::Modern(Box::new(ModernFacts::of(&request, origin)));
        self.state = State::RoutingModern(request);
        if let Some(caller) = self.caller.clone() {
            let verifier = self.credentials.as_ref().map(|it| it.verifier);
            let owner = Owner { caller, verifier };
            let mail = GatewayMail::route(self.id, facts, owner);
            self.outputs.push_back(ExchangeOutput::ToGateway(mail));
        }
    }

    /// Takes the gateway's word on where it goes.
    pub(super) fn routed(&mut self, mut request: Box<upstream::Request>, routed: Routed, now: Now) {
        match routed {
            Routed::Host { grant, knows_state } => {
                if !knows_state && let Some(state) = &mut request.state {
                    *state = NO_ROUND.into();
                }
                request.exclusive = grant.exclusive;
                let upstream = grant.upstream;
                self.account.upstream = Some(upstream);
                self.account.called = Some(now.monotonic);
                if let Some(modern) = &mut self.modern {
                    modern.child = upstream.get();
                }
                self.authenticated_call(&request);
                self.state = State::Waiting {
                    upstream,
                    opened: None,
                };
                self.outputs.push_back(ExchangeOutput::ToUpstream {
                    upstream,
                    mail: UpstreamMail(upstream::Letter::Request {
                        sender: self.sender(),
                        request,
                    }),
                });
            }
            Routed::Answer(result) => {
                self.authenticated_call(&request);
                let id = self.message.id().unwrap_or(b"null");
                let message = [
                    b"{\"jsonrpc\":\"2.0\",\"id\":",
                    id,
                    b",\"result\":",
                    &result,
                    b"}",
                ];
                let message = Frame::from(message.concat());
                self.answer_json(StatusCode::OK, message, now);
            }
            Routed::Session(_) => {}
        }
    }

    fn authenticated_call(&mut self, request: &upstream::Request) {
        if self.credentials.is_some() {
            let message = super::Message::of(&request.message, &request.body);
            self.authenticated(Some(message));
        }
    }

    /// Takes the child's answer.
    pub(super) fn answered(&mut self, answered: Answered, now: Now) {
        let (message, error) = match answered {
            Answered::Whole { message, error } => (message, error),
            Answered::InputRequired {
                before,
                state,
                after,
            } => match self.seal(&state, now) {
                Some(sealed) => {
                    let quoted = Bytes::from(format!("\"{sealed}\""));
                    let slices = [before.slices(), &[quoted], after.slices()];
                    (slices.concat().into_iter().collect(), None)
                }
                None => return self.fail(&Refusal::ChildExited.into(), now),
            },
        };
        if let State::Streaming { .. } = self.state {
            self.send(sse::event(None, &message), now);
            return self.end(now);
        }
        // MCP 2026-07-28, Streamable HTTP, "Protocol Version Header" and "Server Validation".
        let status = match error {
            Some(-32601) => StatusCode::NOT_FOUND,
            Some(-32022..=-32020) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        self.answer_json(status, message, now);
    }

    fn answer_json(&mut self, status: StatusCode, message: Frame, now: Now) {
        let mut head = self.head(status, Some(message.len()));
        head.content_type = Some(ContentType::Json);
        self.respond(head, message, now);
    }

    /// The child's state, as this client may bring it back with this call.
    fn seal(&self, state: &str, now: Now) -> Option<String> {
        let modern = self.modern.as_ref()?;
        let (body, message) = modern.request.as_ref()?;
        let seals = modern.seals.as_ref()?;
        let sealed = Sealed {
            origin: Origin {
                instance: seals.instance,
                child: modern.child,
            },
            state: state.to_owned(),
        };
        let until = now.unix_ms + self.request_state_time.as_millis() as u64;
        let digest = CallDigest::of(message, body);
        Some(seals.keys.seal(&sealed, self.principal(), digest, until))
    }

    fn principal(&self) -> PrincipalDigest {
        let credentials = self.credentials.as_ref();
        let principal: Option<&Principal> = credentials.map(|it| &it.identity.principal);
        PrincipalDigest::of(principal)
    }

    /// Fails a call whose response has begun as an event stream.
    pub(super) fn fail(&mut self, rejection: &Rejection, now: Now) {
        if !matches!(self.state, State::Streaming { .. }) {
            let refused = Letter::Refused(rejection.refusal.into());
            return self.handle_mail(super::ExchangeMail(refused), now);
        }
        self.account.refusal = Some(rejection.refusal);
        self.audit(AuditEvent::Refused(rejection.refusal));
        let error = self.error(rejection);
        self.send(sse::event(None, &error.into()), now);
        self.end(now);
    }

    /// The error that answers the request.
    pub(super) fn error(&self, rejection: &Rejection) -> Bytes {
        let asked = self.modern.as_ref().and_then(|it| it.request.as_ref());
        let asked = asked.and_then(|(body, message)| message.raw(crate::envelope::Field::Id, body));
        let id = self.message.id().or(asked);
        let data = rejection.data.as_ref();
        rejection
            .refusal
            .to_json_rpc(self.era(), id, data, &self.request)
    }
}
