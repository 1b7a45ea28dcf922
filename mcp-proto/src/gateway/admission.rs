//! Heads of requests: what is wanted, by whom, and whether that is granted.
//!
//! A head is borrowed, and a verdict on its token may take a while: so that everything that is
//! needed of it is taken out first ([`Wanted`]), and decided on once it is known who asks.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::{Gateway, GatewayOutput};
use crate::audit::{Caller, SessionEnd};
use crate::auth::{Answer, AuthOutput, Credentials, Denial, Document, WellKnown, client_address};
use crate::exchange::{self, Admission, Decision, Rejection};
use crate::head::{ContentType, Cors, Field, RequestHead};
use crate::id::{ExchangeId, SessionId};
use crate::origin::{self, HostVerdict};
use crate::refusal::Refusal;
use crate::time::Now;
use crate::version::Version;

/// The methods that are judged by path; CONNECT, TRACE and unknown ones are refused anywhere.
const ROUTED_METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// The methods of the MCP endpoint.
const ALLOW: &str = "GET, POST, DELETE, OPTIONS";

/// The methods of documents.
const DOCUMENT_ALLOW: &str = "GET, HEAD, OPTIONS";

/// What a head asks for.
enum Wanted {
    /// What needs no credential, and is decided.
    Decided(Decision),
    /// A document of OAuth's.
    Metadata(WellKnown),
    /// The MCP endpoint.
    Mcp(Result<McpRequest, Refusal>),
}

/// A request to the MCP endpoint. What is wrong with it is told only to who may ask.
#[derive(Clone)]
struct McpRequest {
    kind: McpKind,
    /// The session that it names, if it names one; and that, if it is an id by its form.
    session: Option<Option<SessionId>>,
}

#[derive(Clone)]
enum McpKind {
    Call,
    Listen { last_event_id: Option<Bytes> },
    End,
}

/// A request whose verdict, or document, is not there yet.
pub(super) struct Pending {
    address: IpAddr,
    cors: Option<Cors>,
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
        let address = client_address(peer, &head.forwarded_for, trusted);
        let cors = self.cors(head);
        match self.want(head, now) {
            Err(refusal) => {
                let json_rpc = head.path() == self.policy.path;
                let decision = refused(refusal, json_rpc);
                self.admit(exchange, address, cors, None, decision);
            }
            Ok(Wanted::Decided(decision)) => self.admit(exchange, address, cors, None, decision),
            Ok(Wanted::Metadata(document)) => {
                if let Err(denial) = self.authenticator.probe(address, now) {
                    let decision = refused(denial, false);
                    return self.admit(exchange, address, cors, None, decision);
                }
                self.serve_document(exchange, address, cors, document, true, now);
            }
            Ok(Wanted::Mcp(request)) => {
                if self.audit_failed && self.policy.auth.refuse_unaudited {
                    let decision = refused(Refusal::AuditUnavailable, true);
                    self.admit(exchange, address, cors, None, decision);
                } else if self.authenticator.is_open() {
                    self.decide(exchange, address, cors, request, None, now);
                } else {
                    let field = head.authorization;
                    let answer = self
                        .authenticator
                        .authenticate(exchange, field, address, now);
                    match answer {
                        Answer::Decided(answer) => {
                            self.answer(exchange, address, cors, request, answer, now);
                        }
                        Answer::Later => {
                            let wanted = PendingRequest::Mcp(request);
                            let pending = Pending {
                                address,
                                cors,
                                wanted,
                            };
                            self.pending.insert(exchange, pending);
                        }
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
                        let Pending { address, cors, .. } = pending;
                        self.serve_document(exchange, address, cors, document, false, now);
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

    /// A verdict that a request, or an open stream, has waited for.
    fn decided(&mut self, exchange: ExchangeId, answer: Result<Credentials, Denial>, now: Now) {
        match self.pending.remove(&exchange) {
            Some(Pending {
                address,
                cors,
                wanted: PendingRequest::Mcp(request),
            }) => self.answer(exchange, address, cors, request, answer, now),
            _ => self.renewed(exchange, answer),
        }
    }

    /// Tells an open stream how long its token is good for.
    pub(super) fn renewed(&mut self, exchange: ExchangeId, answer: Result<Credentials, Denial>) {
        let admitted = answer
            .ok()
            .filter(|it| self.challenges.admits(&it.identity));
        let renew_at = admitted.map(|credentials| credentials.renew_at);
        self.tell(exchange, exchange::Letter::Renewed(renew_at));
    }

    fn answer(
        &mut self,
        exchange: ExchangeId,
        address: IpAddr,
        cors: Option<Cors>,
        request: Result<McpRequest, Refusal>,
        answer: Result<Credentials, Denial>,
        now: Now,
    ) {
        match answer {
            Ok(credentials) => {
                self.decide(exchange, address, cors, request, Some(credentials), now);
            }
            Err(denial) => {
                let decision = self.denied(denial);
                self.admit(exchange, address, cors, None, decision);
            }
        }
    }

    /// Decides on a request to the MCP endpoint, now that it is known who asks.
    fn decide(
        &mut self,
        exchange: ExchangeId,
        address: IpAddr,
        cors: Option<Cors>,
        request: Result<McpRequest, Refusal>,
        credentials: Option<Credentials>,
        now: Now,
    ) {
        let decision = self
            .grant(address, request, credentials.as_ref(), now)
            .unwrap_or_else(|denial| self.denied(denial));
        self.admit(exchange, address, cors, credentials, decision);
    }

    fn grant(
        &mut self,
        address: IpAddr,
        request: Result<McpRequest, Refusal>,
        credentials: Option<&Credentials>,
        now: Now,
    ) -> Result<Decision, Denial> {
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
            McpKind::Call => Decision::ReadBody(Some((self.attach(session, now)?, session))),
            McpKind::Listen { last_event_id } => Decision::Listen {
                grant: self.attach(session, now)?,
                session,
                last_event_id,
            },
            McpKind::End => {
                self.end_session(session, SessionEnd::Deleted);
                self.serve_waiting();
                Decision::Ended(session)
            }
        })
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

    fn admit(
        &mut self,
        exchange: ExchangeId,
        address: IpAddr,
        cors: Option<Cors>,
        credentials: Option<Credentials>,
        decision: Decision,
    ) {
        let has_rules = self.challenges.has_rules();
        let admission = Admission {
            cors,
            caller: Caller {
                address,
                identity: credentials.as_ref().map(|it| Arc::clone(&it.identity)),
            },
            credentials,
            challenges: has_rules.then(|| Arc::clone(&self.challenges)),
            decision,
        };
        self.tell(exchange, exchange::Letter::Admission(admission));
    }

    fn serve_document(
        &mut self,
        exchange: ExchangeId,
        address: IpAddr,
        cors: Option<Cors>,
        wanted: WellKnown,
        may_wait: bool,
        now: Now,
    ) {
        let decision = match self.authenticator.document(exchange, wanted, may_wait, now) {
            Document::Ready(body) => Some(Decision::Respond {
                status: StatusCode::OK,
                content_type: Some(ContentType::Json),
                allow: None,
                body,
            }),
            Document::Refused(refusal) => Some(refused(refusal, false)),
            Document::Later => None,
        };
        match decision {
            Some(decision) => self.admit(exchange, address, cors, None, decision),
            None => {
                let wanted = PendingRequest::Metadata(wanted);
                let pending = Pending {
                    address,
                    cors,
                    wanted,
                };
                self.pending.insert(exchange, pending);
            }
        }
        self.drain_authenticator(now);
    }

    /// What a head asks for.
    fn want(&self, head: &RequestHead<'_>, now: Now) -> Result<Wanted, Refusal> {
        self.judge_sender(head)?;
        let path = head.path();
        if !ROUTED_METHODS.contains(head.method) {
            let json_rpc = path == self.policy.path;
            return Ok(Wanted::Decided(method_not_allowed(ALLOW, json_rpc)));
        }
        if path == self.policy.path {
            return Ok(self.want_mcp(head));
        }
        if let Some(document) = self.authenticator.find_document(path) {
            return Ok(match *head.method {
                Method::GET | Method::HEAD => Wanted::Metadata(document),
                Method::OPTIONS => Wanted::Decided(no_content(Some(DOCUMENT_ALLOW))),
                _ => Wanted::Decided(method_not_allowed(DOCUMENT_ALLOW, false)),
            });
        }
        match path {
            "/health" => {
                let decision = self.decide_document(head, |gateway| gateway.health(now));
                Ok(Wanted::Decided(decision))
            }
            "/" => {
                let decision = self.decide_document(head, |gateway| {
                    let page = Bytes::from(gateway.policy.page.clone());
                    (StatusCode::OK, ContentType::Html, page)
                });
                Ok(Wanted::Decided(decision))
            }
            _ => Err(Refusal::NotFound),
        }
    }

    /// Whatever comes before authentication: the target, `Host`, `Origin`, and fields that another
    /// reader of the same head might read otherwise.
    fn judge_sender(&self, head: &RequestHead<'_>) -> Result<(), Refusal> {
        if head.target.len() > self.policy.limits.target_bytes {
            return Err(Refusal::TargetTooLong);
        }
        let limits = &self.policy.limits;
        if head.field_count > limits.head_fields
            || head.target.len() + head.field_bytes > limits.head_bytes
        {
            return Err(Refusal::HeadTooLarge);
        }
        head.declared_length()?;
        let host = head.host.value().ok_or(Refusal::BadHost)?;
        if let Some(authority) = head.authority
            && !origin::same_authority(authority, host)
        {
            return Err(Refusal::BadHost);
        }
        match origin::judge_host(&self.policy, host) {
            HostVerdict::Allowed => {}
            // Probes address the pod, not the service.
            HostVerdict::NotAllowed if head.path() == "/health" => {}
            HostVerdict::NotAllowed => return Err(Refusal::HostNotAllowed),
            HostVerdict::Malformed => return Err(Refusal::BadHost),
        }
        if head.has_repeated_field() {
            return Err(Refusal::RepeatedField);
        }
        match head.origin.value() {
            Some(origin)
                if !origin::is_own_origin(&self.policy, origin)
                    && !origin::is_listed_origin(&self.policy, origin) =>
            {
                Err(Refusal::OriginNotAllowed)
            }
            _ => Ok(()),
        }
    }

    fn want_mcp(&self, head: &RequestHead<'_>) -> Wanted {
        let kind = match *head.method {
            Method::OPTIONS => return Wanted::Decided(no_content(Some(ALLOW))),
            Method::POST => self.judge_call(head).map(|()| McpKind::Call),
            Method::GET if !head.accept.admits_events() => Err(Refusal::NotAcceptable),
            Method::GET => Ok(McpKind::Listen {
                last_event_id: head.last_event_id.value().map(Bytes::copy_from_slice),
            }),
            Method::DELETE => Ok(McpKind::End),
            _ => return Wanted::Decided(method_not_allowed(ALLOW, true)),
        };
        let session = match head.session {
            Field::Absent => None,
            named => Some(named.value().and_then(SessionId::parse)),
        };
        let request = kind.and_then(|kind| {
            check_version(head)?;
            Ok(McpRequest { kind, session })
        });
        Wanted::Mcp(request)
    }

    /// What a POST's head must say of its body and of the answer.
    fn judge_call(&self, head: &RequestHead<'_>) -> Result<(), Refusal> {
        if head.content_encoding {
            return Err(Refusal::UnsupportedContentEncoding);
        }
        if !head.has_json_body() {
            return Err(Refusal::UnsupportedMediaType);
        }
        if !(head.accept.admits_json() && head.accept.admits_events()) {
            return Err(Refusal::NotAcceptable);
        }
        let most = self.policy.limits.body_bytes as u64;
        if head.declared_length()?.is_some_and(|length| length > most) {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(())
    }

    /// A document that anyone may read.
    fn decide_document(
        &self,
        head: &RequestHead<'_>,
        document: impl FnOnce(&Self) -> (StatusCode, ContentType, Bytes),
    ) -> Decision {
        match *head.method {
            Method::GET | Method::HEAD => {
                let (status, content_type, body) = document(self);
                Decision::Respond {
                    status,
                    content_type: Some(content_type),
                    allow: None,
                    body,
                }
            }
            Method::OPTIONS => no_content(Some(DOCUMENT_ALLOW)),
            _ => method_not_allowed(DOCUMENT_ALLOW, false),
        }
    }

    fn health(&self, now: Now) -> (StatusCode, ContentType, Bytes) {
        let (status, word) = if self.draining {
            (StatusCode::SERVICE_UNAVAILABLE, "draining")
        } else if self.degraded {
            (StatusCode::SERVICE_UNAVAILABLE, "degraded")
        } else {
            (StatusCode::OK, "ok")
        };
        let body = serde_json::json!({
            "status": word,
            "service": self.policy.service_name,
            "version": self.policy.service_version,
            "uptime_seconds": (now.monotonic - self.started).as_secs(),
            "sessions": self.sessions.len(),
            "children": self.children.len(),
        });
        (status, ContentType::Json, body.to_string().into())
    }

    fn cors(&self, head: &RequestHead<'_>) -> Option<Cors> {
        let origin = head.origin.value()?;
        if !origin::is_listed_origin(&self.policy, origin) {
            return None;
        }
        Some(Cors {
            origin: HeaderValue::from_bytes(origin).ok()?,
            preflight: head.method == Method::OPTIONS,
        })
    }
}

/// MCP 2025-06-18 and later, transports, "Protocol Version Header". Some clients send the version
/// that they asked for, so that any known one will do.
fn check_version(head: &RequestHead<'_>) -> Result<(), Refusal> {
    match head.version.value() {
        Some(version) if Version::parse(version).is_none() => Err(Refusal::UnsupportedVersion),
        _ => Ok(()),
    }
}

fn no_content(allow: Option<&'static str>) -> Decision {
    Decision::Respond {
        status: StatusCode::NO_CONTENT,
        content_type: None,
        allow,
        body: Bytes::new(),
    }
}

fn refused(rejection: impl Into<Rejection>, json_rpc: bool) -> Decision {
    Decision::Refuse {
        rejection: rejection.into(),
        allow: None,
        json_rpc,
    }
}

fn method_not_allowed(allow: &'static str, json_rpc: bool) -> Decision {
    Decision::Refuse {
        rejection: Refusal::MethodNotAllowed.into(),
        allow: Some(allow),
        json_rpc,
    }
}
