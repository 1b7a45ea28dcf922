//! Admission: who may speak, and with which session and child.
//!
//! The gateway is one per process and sees no payload. It judges a request's head
//! ([`Gateway::handle_request`]); where what decides is in the body, the exchange reports the facts
//! and the gateway judges once more ([`Gateway::handle_mail`]).
//!
//! It owns the table of sessions. A session's life:
//!
//! ```text
//! Opening ──answered──> Live ──TTL, or room is needed──> Asked ──idle──> (ended)
//!    │                   ^                                 │
//!    │                   └──────idle──────── Busy <──busy──┘
//!    └──failed──> (ended) <── DELETE, the child's end: from any state
//! ```
//!
//! Whether a session is idle, and since when, is known by its upstream, so the gateway asks before
//! it ends one: a session that was in use later than the gateway knows is `Live` again. What
//! it hands out are *grants*, one per request; on the end of a session it tells the upstream how
//! many there were, and the upstream is dropped once it has seen them all.

mod mail;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use self::mail::GatewayMail;
use self::mail::Letter;
pub(crate) use self::mail::{Facts, News};
use crate::audit::{AuditEvent, AuditRecord, SessionEnd};
use crate::exchange::{self, Decision, ExchangeMail, Grant, Opened};
use crate::head::{ContentType, Cors, Field, RequestHead};
use crate::id::{ExchangeId, SessionId, UpstreamId};
use crate::origin::{self, HostVerdict};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::upstream::{self, Opening, Purpose, UpstreamMail};
use crate::version::Version;

/// What the [`Gateway`] wants done. All of it can be done without waiting, and is to be done
/// before the driver lets go of the gateway's lock: that keeps mail in order.
#[derive(Debug)]
pub enum GatewayOutput {
    /// Hand this to the [`Exchange`](crate::Exchange) of this name; if there is none any more,
    /// drop it.
    ToExchange {
        /// Whose mail it is.
        exchange: ExchangeId,
        /// The mail.
        mail: ExchangeMail,
    },
    /// Hand this to the [`Upstream`](crate::Upstream) of this name.
    ToUpstream {
        /// Whose mail it is.
        upstream: UpstreamId,
        /// The mail.
        mail: UpstreamMail,
    },
    /// Make an [`Upstream`](crate::Upstream) and begin to drive it.
    Open(Opening),
    /// Keep this record.
    Audit(AuditRecord),
}

/// How things stand, for `/health` and for whoever runs the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Open sessions, those that are being opened included.
    pub sessions: usize,
    /// Children that have not ended.
    pub children: usize,
    /// Whether the gateway is stopping.
    pub draining: bool,
    /// Whether the start-up probe, or the last child that was started, failed.
    pub degraded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Live,
    /// The upstream was asked whether the session is idle.
    Asked,
    /// The upstream said no, and will tell when it is.
    Busy,
}

struct Session {
    upstream: UpstreamId,
    phase: Phase,
    last_seen: Instant,
    /// Its entry in [`Gateway::expiries`].
    expiry: Option<Instant>,
}

/// A child that has not ended, and what was granted of it.
struct Child {
    session: Option<SessionId>,
    granted: u64,
}

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

/// After a failed start the next waits at least this long, and twice as long each further time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Admission, the table of sessions, and the children's budget.
pub struct Gateway {
    policy: Policy,
    random: ChaCha20Rng,
    started: Instant,
    sessions: BTreeMap<SessionId, Session>,
    children: BTreeMap<UpstreamId, Child>,
    next_upstream: u64,
    /// When to look whether a session has been idle for its TTL. An entry may be early: the
    /// session's `last_seen` decides.
    expiries: BTreeSet<(Instant, SessionId)>,
    /// Requests that wait for an idle session to make room.
    waiting: VecDeque<ExchangeId>,
    failed_starts: u32,
    next_start: Instant,
    degraded: bool,
    draining: bool,
    outputs: VecDeque<GatewayOutput>,
}

impl Gateway {
    /// A gateway under this policy. `seed` is 32 bytes from the system's CSPRNG: session ids come
    /// from it.
    pub fn new(policy: Policy, seed: [u8; 32], now: Now) -> Self {
        let mut gateway = Self {
            random: ChaCha20Rng::from_seed(seed),
            started: now.monotonic,
            sessions: BTreeMap::new(),
            children: BTreeMap::new(),
            next_upstream: 1,
            expiries: BTreeSet::new(),
            waiting: VecDeque::new(),
            failed_starts: 0,
            next_start: now.monotonic,
            degraded: false,
            draining: false,
            outputs: VecDeque::new(),
            policy,
        };
        if gateway.policy.startup_probe {
            gateway.open_child(None, Purpose::Probe);
        }
        gateway
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How things stand.
    pub fn standing(&self) -> Standing {
        Standing {
            sessions: self.sessions.len(),
            children: self.children.len(),
            draining: self.draining,
            degraded: self.degraded,
        }
    }

    /// Judges a request's head. Its [`Exchange`](crate::Exchange) gets mail in the same drain.
    pub fn handle_request(&mut self, exchange: ExchangeId, head: &RequestHead<'_>, now: Now) {
        let decision = self
            .decide(head, now)
            .unwrap_or_else(|refusal| Decision::Refuse {
                refusal,
                allow: None,
                json_rpc: head.path() == self.policy.path,
            });
        let cors = self.cors(head);
        self.tell(exchange, exchange::Letter::Admission { cors, decision });
    }

    /// Takes mail from an exchange or an upstream.
    pub fn handle_mail(&mut self, mail: GatewayMail, now: Now) {
        match mail.0 {
            Letter::Route { exchange, facts } => self.route(exchange, facts, now),
            Letter::Gone { exchange } => self.waiting.retain(|&waiting| waiting != exchange),
            Letter::News { upstream, news } => self.hear(upstream, news, now),
        }
    }

    /// Takes note that an upstream is lost: its driver panicked. Whoever waits on it is told by
    /// [`Exchange::handle_upstream_lost`](crate::Exchange::handle_upstream_lost).
    pub fn handle_upstream_lost(&mut self, upstream: UpstreamId, _now: Now) {
        if let Some(id) = self
            .children
            .remove(&upstream)
            .and_then(|child| child.session)
        {
            self.forget_session(id);
            self.audit(AuditEvent::SessionEnded(SessionEnd::ChildExited), upstream);
        }
        self.serve_waiting();
    }

    /// Begins to stop: opens nothing more, and tells every child to finish.
    pub fn handle_drain(&mut self, now: Now) {
        if self.draining {
            return;
        }
        self.draining = true;
        for exchange in std::mem::take(&mut self.waiting) {
            self.refuse_route(exchange, Refusal::Draining);
        }
        let until = now.monotonic + self.policy.limits.finish_time();
        for (&upstream, child) in &self.children {
            let letter = match child.session {
                Some(_) => upstream::Letter::Drain { until },
                // A probe, or a child that is on its way out already.
                None => upstream::Letter::Retire {
                    granted: child.granted,
                    end: SessionEnd::Draining,
                },
            };
            self.outputs.push_back(GatewayOutput::ToUpstream {
                upstream,
                mail: UpstreamMail(letter),
            });
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(&(due, id)) = self.expiries.first()
            && due <= now.monotonic
        {
            self.expiries.pop_first();
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.expiry = None;
            if session.phase != Phase::Live {
                continue;
            }
            let due = session.last_seen + self.policy.limits.session_ttl;
            if due > now.monotonic {
                self.expire_at(id, due);
            } else {
                self.ask(id, SessionEnd::Expired);
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<GatewayOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Gateway::handle_timeout`] if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|&(due, _)| due)
    }

    /// Whether no session is open and no child lives.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.children.is_empty() && self.waiting.is_empty()
    }

    fn decide(&mut self, head: &RequestHead<'_>, now: Now) -> Result<Decision, Refusal> {
        self.judge_sender(head)?;
        let path = head.path();
        if !ROUTED_METHODS.contains(head.method) {
            return Ok(method_not_allowed(ALLOW, path == self.policy.path));
        }
        if path == self.policy.path {
            self.decide_mcp(head, now)
        } else if path == "/health" {
            let allow = "GET, HEAD, OPTIONS";
            Ok(self.decide_document(head, allow, |gateway| gateway.health(now)))
        } else if path == "/" {
            let allow = "GET, HEAD, OPTIONS";
            Ok(self.decide_document(head, allow, |gateway| {
                let page = Bytes::from(gateway.policy.page.clone());
                (StatusCode::OK, ContentType::Html, page)
            }))
        } else {
            Err(Refusal::NotFound)
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

    fn decide_mcp(&mut self, head: &RequestHead<'_>, now: Now) -> Result<Decision, Refusal> {
        match *head.method {
            Method::OPTIONS => Ok(no_content(Some(ALLOW))),
            Method::POST => {
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
                check_version(head)?;
                match head.session {
                    Field::Absent => Ok(Decision::ReadBody(None)),
                    _ => Ok(Decision::ReadBody(Some(self.attach(head, now)?))),
                }
            }
            Method::GET => {
                if !head.accept.admits_events() {
                    return Err(Refusal::NotAcceptable);
                }
                check_version(head)?;
                let grant = self.attach(head, now)?;
                Ok(Decision::Listen {
                    grant,
                    last_event_id: head.last_event_id.value().map(Bytes::copy_from_slice),
                })
            }
            Method::DELETE => {
                check_version(head)?;
                let id = self.session(head)?;
                self.end_session(id, SessionEnd::Deleted);
                self.serve_waiting();
                Ok(no_content(None))
            }
            _ => Ok(method_not_allowed(ALLOW, true)),
        }
    }

    /// A document that anyone may read.
    fn decide_document(
        &self,
        head: &RequestHead<'_>,
        allow: &'static str,
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
            Method::OPTIONS => no_content(Some(allow)),
            _ => method_not_allowed(allow, false),
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

    /// The open session that the head names.
    fn session(&self, head: &RequestHead<'_>) -> Result<SessionId, Refusal> {
        let text = head.session.value().ok_or(Refusal::SessionRequired)?;
        SessionId::parse(text)
            .filter(|id| self.sessions.contains_key(id))
            .ok_or(Refusal::SessionNotFound)
    }

    fn attach(&mut self, head: &RequestHead<'_>, now: Now) -> Result<Grant, Refusal> {
        let id = self.session(head)?;
        let session = self.sessions.get_mut(&id).ok_or(Refusal::SessionNotFound)?;
        session.last_seen = now.monotonic;
        let upstream = session.upstream;
        if let Some(child) = self.children.get_mut(&upstream) {
            child.granted += 1;
        }
        Ok(Grant { upstream })
    }

    fn route(&mut self, exchange: ExchangeId, facts: Facts, now: Now) {
        match facts {
            Facts::Stateless => self.refuse_route(exchange, Refusal::UnsupportedVersion),
            Facts::Batch => self.refuse_route(exchange, Refusal::BatchNotAllowed),
            Facts::Other => self.refuse_route(exchange, Refusal::SessionRequired),
            Facts::Initialize if self.draining => self.refuse_route(exchange, Refusal::Draining),
            Facts::Initialize if now.monotonic < self.next_start => {
                self.refuse_route(exchange, Refusal::ChildUnavailable);
            }
            Facts::Initialize => {
                self.waiting.push_back(exchange);
                self.serve_waiting();
            }
        }
    }

    /// Opens sessions for those who wait, while there is room or can be.
    fn serve_waiting(&mut self) {
        let limit = self.policy.limits.sessions;
        while !self.waiting.is_empty() {
            // Children that are slow to end count too: without this bound, opening and ending
            // sessions in a loop would pile up processes.
            if self.children.len() >= limit.saturating_mul(2) {
                return self.refuse_waiting();
            }
            if self.sessions.len() < limit {
                if let Some(exchange) = self.waiting.pop_front() {
                    self.open_session(exchange);
                }
                continue;
            }
            let asked = self
                .sessions
                .values()
                .filter(|session| session.phase == Phase::Asked)
                .count();
            if asked >= self.waiting.len() {
                return;
            }
            let idle_longest = self
                .sessions
                .iter()
                .filter(|(_, session)| session.phase == Phase::Live)
                .min_by_key(|(_, session)| session.last_seen)
                .map(|(&id, _)| id);
            match idle_longest {
                Some(id) => self.ask(id, SessionEnd::MadeRoom),
                None if asked > 0 => return,
                None => return self.refuse_waiting(),
            }
        }
    }

    fn refuse_waiting(&mut self) {
        for exchange in std::mem::take(&mut self.waiting) {
            self.refuse_route(exchange, Refusal::TooManySessions);
        }
    }

    fn open_session(&mut self, exchange: ExchangeId) {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        let session = SessionId::from_bytes(bytes);
        let upstream = self.open_child(Some(session), Purpose::Session);
        let opened = Opened {
            grant: Grant { upstream },
            session,
        };
        self.tell(exchange, exchange::Letter::Route(Ok(opened)));
    }

    fn open_child(&mut self, session: Option<SessionId>, purpose: Purpose) -> UpstreamId {
        let upstream = UpstreamId(self.next_upstream);
        self.next_upstream += 1;
        self.children.insert(
            upstream,
            Child {
                session,
                granted: u64::from(session.is_some()),
            },
        );
        if let Some(id) = session {
            self.sessions.insert(
                id,
                Session {
                    upstream,
                    phase: Phase::Opening,
                    last_seen: self.started,
                    expiry: None,
                },
            );
        }
        let nonce = self.random.next_u32();
        self.outputs.push_back(GatewayOutput::Open(Opening {
            upstream,
            purpose,
            nonce,
        }));
        upstream
    }

    /// Asks the session's upstream to end it if it is idle.
    fn ask(&mut self, id: SessionId, end: SessionEnd) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.phase = Phase::Asked;
        let (upstream, last_seen) = (session.upstream, session.last_seen);
        let granted = self
            .children
            .get(&upstream)
            .map_or(0, |child| child.granted);
        self.outputs.push_back(GatewayOutput::ToUpstream {
            upstream,
            mail: UpstreamMail(upstream::Letter::Expire {
                granted,
                last_seen,
                end,
            }),
        });
    }

    /// Forgets a session and tells its upstream for good.
    fn end_session(&mut self, id: SessionId, end: SessionEnd) {
        if let Some(session) = self.forget_session(id) {
            self.retire(session.upstream, end);
        }
    }

    fn forget_session(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        if let Some(due) = session.expiry {
            self.expiries.remove(&(due, id));
        }
        Some(session)
    }

    /// Looks at that time whether the session has been idle for its TTL.
    fn expire_at(&mut self, id: SessionId, due: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(before) = session.expiry.replace(due) {
            self.expiries.remove(&(before, id));
        }
        self.expiries.insert((due, id));
    }

    fn retire(&mut self, upstream: UpstreamId, end: SessionEnd) {
        let Some(child) = self.children.get_mut(&upstream) else {
            return;
        };
        if child.session.take().is_some() {
            self.outputs.push_back(GatewayOutput::Audit(AuditRecord {
                upstream: Some(upstream),
                ..AuditRecord::new(AuditEvent::SessionEnded(end))
            }));
        }
        self.outputs.push_back(GatewayOutput::ToUpstream {
            upstream,
            mail: UpstreamMail(upstream::Letter::Retire {
                granted: child.granted,
                end,
            }),
        });
    }

    fn hear(&mut self, upstream: UpstreamId, news: News, now: Now) {
        let id = self.children.get(&upstream).and_then(|child| child.session);
        let session = id.and_then(|id| self.sessions.get_mut(&id));
        match (news, id, session) {
            (News::Opened, Some(id), Some(session)) => {
                session.phase = Phase::Live;
                session.last_seen = now.monotonic;
                self.expire_at(id, now.monotonic + self.policy.limits.session_ttl);
                self.failed_starts = 0;
                self.next_start = now.monotonic;
                self.degraded = false;
                self.audit(AuditEvent::SessionOpened, upstream);
                // Sessions that could not be asked while they were being opened can be now.
                self.serve_waiting();
            }
            (News::Busy, _, Some(session)) => {
                session.phase = Phase::Busy;
                self.serve_waiting();
            }
            (News::Idle { since }, Some(id), Some(session)) => {
                session.phase = Phase::Live;
                session.last_seen = session.last_seen.max(since);
                let due = session.last_seen + self.policy.limits.session_ttl;
                self.expire_at(id, due);
                self.serve_waiting();
            }
            (News::Ended(end), Some(id), Some(session)) => {
                let unopened = session.phase == Phase::Opening;
                let failed = matches!(end, SessionEnd::SpawnFailed | SessionEnd::ChildExited);
                if unopened && failed {
                    self.start_failed(now);
                }
                self.end_session(id, end);
                self.serve_waiting();
            }
            (News::Probed { passed }, ..) => {
                self.audit(AuditEvent::Probed { passed }, upstream);
                self.degraded = !passed;
                self.retire(upstream, SessionEnd::Deleted);
            }
            (News::Drained, ..) => {
                self.children.remove(&upstream);
                self.serve_waiting();
            }
            // The session ended meanwhile: what its upstream says of it is late.
            _ => {}
        }
    }

    fn start_failed(&mut self, now: Now) {
        self.degraded = true;
        let delay = FIRST_DELAY
            .saturating_mul(1 << self.failed_starts.min(16))
            .min(LONGEST_DELAY);
        self.failed_starts = self.failed_starts.saturating_add(1);
        // Half to one and a half times the delay, so that many clients do not come back at once.
        let jitter = delay.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        self.next_start = now.monotonic + delay / 2 + jitter;
    }

    fn refuse_route(&mut self, exchange: ExchangeId, refusal: Refusal) {
        self.tell(exchange, exchange::Letter::Route(Err(refusal)));
    }

    fn tell(&mut self, exchange: ExchangeId, letter: exchange::Letter) {
        self.outputs.push_back(GatewayOutput::ToExchange {
            exchange,
            mail: ExchangeMail(letter),
        });
    }

    fn audit(&mut self, event: AuditEvent, upstream: UpstreamId) {
        self.outputs.push_back(GatewayOutput::Audit(AuditRecord {
            upstream: Some(upstream),
            ..AuditRecord::new(event)
        }));
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

fn method_not_allowed(allow: &'static str, json_rpc: bool) -> Decision {
    Decision::Refuse {
        refusal: Refusal::MethodNotAllowed,
        allow: Some(allow),
        json_rpc,
    }
}
