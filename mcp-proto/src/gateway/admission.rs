//! Requests that are let in, and those that are not.
//!
//! A head is borrowed, and a verdict on its token may take a while: so everything that is needed of
//! it is taken out first ([`Wanted`]), and decided on once it is known who asks.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;

use super::wanted::{McpKind, McpRequest, Wanted, refused};
use super::{Gateway, GatewayOutput};
use crate::access::Route;
use crate::audit::{AuditEvent, AuditRecord, Caller, SessionDigest, SessionEnd};
use crate::auth::{Answer, AuthOutput, Credentials, Denial, Document, WellKnown, client_address};
use crate::exchange::{self, Admission, Decision, Rejection};
use crate::head::{ContentType, Cors, RequestHead};
use crate::id::ExchangeId;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::time::Now;

/// Whoever is to be answered.
struct Sender {
    exchange: ExchangeId,
    address: IpAddr,
    route: Route,
    cors: Option<Cors>,
    /// Whether the head is one of 2026-07-28.
    is_modern: bool,
}

/// A request whose verdict, or document, is not there yet.
pub(super) struct Pending {
    sender: Sender,
    wanted: PendingRequest,
}

enum PendingRequest {
    Metadata(WellKnown),
    Mcp(Result<McpRequest, Refusal>),
}

impl Gateway {
    /// Judges a request's head. `peer` is the address that the connection comes from. Its
    /// [`Exchange`](crate::Exchange) gets mail in the same drain, or once its credential has been
    /// verified.
    pub fn handle_request(
        &mut self,
        exchange: ExchangeId,
        peer: IpAddr,
        head: &RequestHead<'_>,
        now: Now,
    ) {
        let trusted = &self.policy.auth.trusted_proxies;
        let sender = Sender {
            exchange,
            address: client_address(peer, &head.forwarded_for, trusted),
            route: self.route_of(head.path()),
            cors: self.cors(head),
            is_modern: head.is_modern(),
        };
        match self.want(head, sender.route, now) {
            Err(refusal) => {
                let json_rpc = sender.route == Route::Mcp;
                self.admit(sender, None, refused(refusal, json_rpc));
            }
            Ok(Wanted::Decided(decision)) => self.admit(sender, None, decision),
            Ok(Wanted::Metadata(document)) => match self.authenticator.probe(sender.address, now) {
                Ok(()) => self.serve_document(sender, document, true, now),
                Err(denial) => self.admit(sender, None, refused(denial, false)),
            },
            Ok(Wanted::Mcp(request)) => {
                if let Err(refusal) = self.judge_audit() {
                    self.admit(sender, None, refused(refusal, true));
                } else if self.authenticator.is_open() {
                    self.decide(sender, request, None, now);
                } else {
                    let field = head.authorization;
                    match self
                        .authenticator
                        .authenticate(exchange, field, sender.address, now)
                    {
                        Answer::Decided(answer) => self.answer(sender, request, answer, now),
                        Answer::Later => self.pend(sender, PendingRequest::Mcp(request)),
                    }
                }
                self.drain_authenticator(now);
            }
        }
    }

    /// Does what the authenticator wants done.
    pub(super) fn drain_authenticator(&mut self, now: Now) {
        while let Some(output) = self.authenticator.poll_output() {
            let output = match output {
                AuthOutput::Decided { exchange, answer } => {
                    self.decided(exchange, answer, now);
                    continue;
                }
                AuthOutput::DocumentFetched(exchange) => {
                    if let Some(pending) = self.pending.remove(&exchange)
                        && let PendingRequest::Metadata(document) = pending.wanted
                    {
                        self.serve_document(pending.sender, document, false, now);
                    }
                    continue;
                }
                AuthOutput::Fetch(request) => GatewayOutput::Fetch(request),
                AuthOutput::CheckSignature(check) => GatewayOutput::CheckSignature(check),
                AuthOutput::VerifyToken {
                    verification,
                    token,
                } => GatewayOutput::VerifyToken {
                    verification,
                    token,
                },
                AuthOutput::Started(failures) => GatewayOutput::Started(failures),
                AuthOutput::Audit(record) => GatewayOutput::Audit(record),
                AuthOutput::Warn(line) => GatewayOutput::Warn(line),
            };
            self.outputs.push_back(output);
        }
    }

    fn pend(&mut self, sender: Sender, wanted: PendingRequest) {
        let pending = exchange::Letter::Pending {
            caller: Caller {
                address: sender.address,
                identity: None,
            },
            route: sender.route,
        };
        self.tell(sender.exchange, pending);
        self.pending
            .insert(sender.exchange, Pending { sender, wanted });
    }

    /// Refuses all who wait for a verdict or a document.
    pub(super) fn refuse_pending(&mut self, refusal: Refusal) {
        for (exchange, pending) in std::mem::take(&mut self.pending) {
            self.authenticator.handle_gone(exchange);
            let json_rpc = matches!(pending.wanted, PendingRequest::Mcp(_));
            self.admit(pending.sender, None, refused(refusal, json_rpc));
        }
    }

    /// Forgets a request whose client has gone. A credential that it came with is on record still.
    pub(super) fn abandon(&mut self, exchange: ExchangeId, request: RequestId) {
        if let Some(pending) = self.pending.remove(&exchange)
            && let PendingRequest::Mcp(_) = pending.wanted
        {
            self.outputs.push_back(GatewayOutput::Audit(AuditRecord {
                exchange: Some(exchange),
                request: Some(request),
                caller: Some(Caller {
                    address: pending.sender.address,
                    identity: None,
                }),
                ..AuditRecord::new(AuditEvent::Abandoned)
            }));
        }
    }

    /// A verdict that a request, or an open stream, has waited for.
    fn decided(&mut self, exchange: ExchangeId, answer: Result<Credentials, Denial>, now: Now) {
        match self.pending.remove(&exchange) {
            Some(Pending {
                sender,
                wanted: PendingRequest::Mcp(request),
            }) => self.answer(sender, request, answer, now),
            _ => self.renewed(exchange, answer),
        }
    }

    /// Tells an open stream how long its token is good for.
    pub(super) fn renewed(&mut self, exchange: ExchangeId, answer: Result<Credentials, Denial>) {
        let admitted = answer
            .ok()
            .filter(|it| self.challenges.admits(&it.identity));
        self.tell(exchange, exchange::Letter::Renewed(admitted));
    }

    fn answer(
        &mut self,
        sender: Sender,
        request: Result<McpRequest, Refusal>,
        answer: Result<Credentials, Denial>,
        now: Now,
    ) {
        match answer {
            Ok(credentials) => self.decide(sender, request, Some(credentials), now),
            Err(denial) => {
                let decision = self.denied(denial);
                self.admit(sender, None, decision);
            }
        }
    }

    /// Decides on a request to the MCP endpoint, now that it is known who asks.
    fn decide(
        &mut self,
        sender: Sender,
        request: Result<McpRequest, Refusal>,
        credentials: Option<Credentials>,
        now: Now,
    ) {
        let decision = self
            .grant(sender.address, request, credentials.as_ref(), now)
            .unwrap_or_else(|denial| self.denied(denial));
        self.admit(sender, credentials, decision);
    }

    fn grant(
        &mut self,
        address: IpAddr,
        request: Result<McpRequest, Refusal>,
        credentials: Option<&Credentials>,
        now: Now,
    ) -> Result<Decision, Denial> {
        // It may have changed while the credential was verified.
        self.judge_audit()?;
        let identity = credentials.map(|credentials| &credentials.identity);
        if identity.is_some_and(|identity| !self.challenges.admits(identity)) {
            return Err(Refusal::InsufficientScope.into());
        }
        let principal = identity.map(|identity| &identity.principal);
        self.authenticator.count_request(address, principal, now)?;
        let McpRequest { kind, session } = request?;
        let session = match (&kind, session) {
            (McpKind::Call, None) => {
                return Ok(Decision::ReadBody(None));
            }
            _ => self.session(session, principal)?,
        };
        Ok(match kind {
            McpKind::Call => Decision::ReadBody(Some(self.attach(session, now)?)),
            McpKind::Listen { last_event_id } => {
                let (grant, session) = self.attach(session, now)?;
                Decision::Listen {
                    grant,
                    session,
                    last_event_id,
                }
            }
            McpKind::End => {
                self.end_session(session, SessionEnd::Deleted);
                self.serve_waiting(now);
                Decision::Ended(SessionDigest::of(session))
            }
        })
    }

    /// Whether what is let in now can be recorded, or need not be.
    fn judge_audit(&self) -> Result<(), Refusal> {
        if self.audit_failed && self.policy.auth.refuse_unaudited {
            return Err(Refusal::AuditUnavailable);
        }
        Ok(())
    }

    fn denied(&self, denial: Denial) -> Decision {
        Decision::Refuse {
            rejection: Rejection {
                challenge: self.challenges.for_refusal(denial.refusal),
                ..Rejection::from(denial)
            },
            allow: None,
            json_rpc: true,
        }
    }

    fn admit(&mut self, sender: Sender, credentials: Option<Credentials>, decision: Decision) {
        let has_rules = self.challenges.has_rules();
        let admission = Admission {
            cors: sender.cors,
            caller: Caller {
                address: sender.address,
                identity: credentials.as_ref().map(|it| Arc::clone(&it.identity)),
            },
            route: sender.route,
            credentials,
            seals: sender.is_modern.then(|| Arc::clone(&self.seals)),
            challenges: has_rules.then(|| Arc::clone(&self.challenges)),
            decision,
        };
        self.tell(sender.exchange, exchange::Letter::Admission(admission));
    }

    fn serve_document(&mut self, sender: Sender, wanted: WellKnown, may_wait: bool, now: Now) {
        let exchange = sender.exchange;
        match self.authenticator.document(exchange, wanted, may_wait, now) {
            Document::Ready(body) => {
                let document = Decision::Respond {
                    status: StatusCode::OK,
                    content_type: Some(ContentType::Json),
                    allow: None,
                    body,
                };
                self.admit(sender, None, document);
            }
            Document::Refused(refusal) => self.admit(sender, None, refused(refusal, false)),
            Document::Later => self.pend(sender, PendingRequest::Metadata(wanted)),
        }
        self.drain_authenticator(now);
    }
}
