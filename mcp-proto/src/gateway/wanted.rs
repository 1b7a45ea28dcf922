//! What a head asks for, and what is wrong with it.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::Gateway;
use crate::access::Route;
use crate::auth::WellKnown;
use crate::exchange::{Decision, Rejection};
use crate::head::{ContentType, Cors, Field, RequestHead};
use crate::id::SessionId;
use crate::origin::{self, HostVerdict};
use crate::refusal::Refusal;
use crate::time::Now;
use crate::version::{MODERN, Version};

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

/// The methods of the MCP endpoint in the revision without sessions.
const ALLOW_MODERN: &str = "POST, OPTIONS";

/// The methods of documents.
const DOCUMENT_ALLOW: &str = "GET, HEAD, OPTIONS";

/// What a head asks for.
pub(super) enum Wanted {
    /// What needs no credential, and is decided.
    Decided(Decision),
    /// A document of OAuth's.
    Metadata(WellKnown),
    /// The MCP endpoint.
    Mcp(Result<McpRequest, Refusal>),
}

/// A request to the MCP endpoint. What is wrong with it is told only to who may ask.
#[derive(Clone)]
pub(super) struct McpRequest {
    pub(super) kind: McpKind,
    /// The session that it names, if it names one; and that, if it is an id by its form.
    pub(super) session: Option<Option<SessionId>>,
}

#[derive(Clone)]
pub(super) enum McpKind {
    Call,
    Listen { last_event_id: Option<Bytes> },
    End,
}

impl Gateway {
    /// What is at a path.
    pub(super) fn route_of(&self, path: &str) -> Route {
        if path == self.policy.path {
            return Route::Mcp;
        }
        match path {
            "/" => Route::Root,
            _ if self.authenticator.find_document(path).is_some() => Route::Metadata,
            _ => Route::of_health(path).unwrap_or(Route::Unknown),
        }
    }

    /// What a head asks for, whose path leads there.
    pub(super) fn want(
        &self,
        head: &RequestHead<'_>,
        route: Route,
        now: Now,
    ) -> Result<Wanted, Refusal> {
        self.judge_sender(head, route)?;
        if !ROUTED_METHODS.contains(head.method) {
            let json_rpc = route == Route::Mcp;
            return Ok(Wanted::Decided(method_not_allowed(ALLOW, json_rpc)));
        }
        match route {
            Route::Mcp => Ok(self.want_mcp(head)),
            Route::Health | Route::HealthLive | Route::HealthReady => {
                let decision = self.decide_document(head, |gateway| {
                    let (status, body) = gateway.health(route, now);
                    (status, ContentType::Json, body)
                });
                Ok(Wanted::Decided(decision))
            }
            Route::Root => {
                let decision = self.decide_document(head, |gateway| {
                    let page = Bytes::from(gateway.policy.page.clone());
                    (StatusCode::OK, ContentType::Html, page)
                });
                Ok(Wanted::Decided(decision))
            }
            Route::Metadata | Route::Unknown => {
                let document = self.authenticator.find_document(head.path());
                let document = document.ok_or(Refusal::NotFound)?;
                Ok(match *head.method {
                    Method::GET | Method::HEAD => Wanted::Metadata(document),
                    Method::OPTIONS => Wanted::Decided(no_content(Some(DOCUMENT_ALLOW))),
                    _ => Wanted::Decided(method_not_allowed(DOCUMENT_ALLOW, false)),
                })
            }
        }
    }

    /// Whatever comes before authentication: the target, `Host`, `Origin`, and fields that another
    /// reader of the same head might read otherwise.
    fn judge_sender(&self, head: &RequestHead<'_>, route: Route) -> Result<(), Refusal> {
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
            HostVerdict::NotAllowed if route.is_health() => {}
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
            // Of this revision there is nothing else (MCP 2026-07-28, Streamable HTTP, "Earlier
            // Streamable HTTP Revisions").
            _ if head.version.value() == Some(MODERN.as_bytes()) => {
                return Wanted::Decided(method_not_allowed(ALLOW_MODERN, true));
            }
            Method::GET if !head.accept.admits_events() => Err(Refusal::NotAcceptable),
            Method::GET => Ok(McpKind::Listen {
                last_event_id: head.last_event_id.value().map(Bytes::copy_from_slice),
            }),
            Method::DELETE => Ok(McpKind::End),
            _ => return Wanted::Decided(method_not_allowed(ALLOW, true)),
        };
        let session = match head.session {
            Field::Absent => None,
            // A revision without sessions: what is named is passed over.
            _ if head.is_modern() => None,
            named => Some(named.value().and_then(SessionId::parse)),
        };
        let request = kind.and_then(|kind| {
            // What a body says of its revision is judged when it is there.
            if !(matches!(kind, McpKind::Call) && head.is_modern()) {
                check_version(head)?;
            }
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

    pub(super) fn cors(&self, head: &RequestHead<'_>) -> Option<Cors> {
        let origin = head.origin.value()?;
        if !origin::is_listed_origin(&self.policy, origin) {
            return None;
        }
        let origin = HeaderValue::from_bytes(origin).ok()?;
        Some(Cors::of(head, origin))
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

pub(super) fn refused(rejection: impl Into<Rejection>, json_rpc: bool) -> Decision {
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
