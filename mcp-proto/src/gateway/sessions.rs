//! The table of sessions: who opens one, whose it is, and when it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use super::health::LastStart;
use super::{Child, Facts, Gateway, GatewayOutput, News, Phase, Rejection, Server};
use crate::audit::{AuditEvent, AuditRecord, Caller, SessionDigest, SessionEnd};
use crate::auth::{Identity, Principal, VerifierKind};
use crate::exchange::{self, Grant, Opened, Routed};
use crate::id::{ExchangeId, SessionId, UpstreamId};
use crate::modern::ClientCapabilities;
use crate::policy::Share;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::translation::modern_server;
use crate::upstream::{self, Opening, Purpose, UpstreamMail};

/// After a failed start the next waits at least this long, and twice as long each further time.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Whose a session is.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) caller: Caller,
    /// Who said so; `None` where nobody is asked.
    pub(crate) verifier: Option<VerifierKind>,
}

impl Owner {
    fn identity(&self) -> Option<&Arc<Identity>> {
        self.caller.identity.as_ref()
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.identity().map(|identity| &identity.principal)
    }

    /// Whether it is a person, of whom there may be many.
    pub(super) fn is_person(&self) -> bool {
        self.verifier
            .is_some_and(|verifier| verifier != VerifierKind::Static)
    }
}

pub(super) struct Session {
    pub(super) owner: Owner,
    pub(super) digest: SessionDigest,
    pub(super) upstream: UpstreamId,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    pub(super) last_seen: Instant,
}

/// A request that waits for a session.
pub(super) struct Waiting {
    pub(super) exchange: ExchangeId,
    owner: Owner,
    /// The client's capabilities, as it wrote them.
    capabilities: Bytes,
}

impl Gateway {
    /// The open session that a request names, if it is the principal's own.
    pub(super) fn session(
        &self,
        named: Option<Option<SessionId>>,
        principal: Option<&Principal>,
    ) -> Result<SessionId, Refusal> {
        let named = named.ok_or(Refusal::SessionRequired)?;
        let own = |id: &SessionId| {
            let session = self.sessions.get(id);
            session.is_some_and(|session| session.owner.principal() == principal)
        };
        named.filter(own).ok_or(Refusal::SessionNotFound)
    }

    /// Hands out a grant of the session's upstream, with the session as records name it.
    pub(super) fn attach(
        &mut self,
        id: SessionId,
        now: Now,
    ) -> Result<(Grant, SessionDigest), Refusal> {
        let session = self.sessions.get_mut(&id).ok_or(Refusal::SessionNotFound)?;
        session.last_seen = now.monotonic;
        let (upstream, digest) = (session.upstream, session.digest);
        if let Some(child) = self.children.get_mut(&upstream) {
            child.granted += 1;
        }
        let grant = Grant {
            upstream,
            exclusive: false,
        };
        Ok((grant, digest))
    }

    /// Judges a message that came without a session.
    pub(super) fn route(&mut self, exchange: ExchangeId, facts: Facts, owner: Owner, now: Now) {
        match facts {
            Facts::Modern(facts) => self.route_modern(exchange, facts, owner, now),
            Facts::Batch => self.refuse_route(exchange, Refusal::BatchNotAllowed),
            Facts::Other => self.refuse_route(exchange, Refusal::SessionRequired),
            Facts::Initialize { .. } if self.draining => {
                self.refuse_route(exchange, Refusal::Draining);
            }
            Facts::Initialize { .. } if now.monotonic < self.next_start => {
                self.refuse_route(exchange, Refusal::ChildUnavailable);
            }
            Facts::Initialize { .. } if !self.knows_sessions() => {
                self.find_out(exchange, facts, owner, now);
            }
            Facts::Initialize { capabilities } => {
                self.waiting.push_back(Waiting {
                    exchange,
                    owner,
                    capabilities,
                });
                self.serve_waiting(now);
            }
        }
    }

    /// Opens sessions for those who wait, while there is room or can be.
    pub(super) fn serve_waiting(&mut self, now: Now) {
        // Those who still wait, in their order.
        let mut kept: Vec<Waiting> = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match self.judge_room(&waiting.owner, &kept) {
                Room::Free => self.open_session(waiting, now),
                Room::Coming => kept.push(waiting),
                Room::None(refusal) => self.refuse_route(waiting.exchange, refusal),
            }
        }
        self.waiting = kept.into();
    }

    /// Whether there is room for a further session, behind those who wait already. An idle session
    /// may be asked to make room: one of the same principal, if that has its share.
    fn judge_room(&mut self, owner: &Owner, ahead: &[Waiting]) -> Room {
        let limits = &self.policy.limits;
        if !self.has_room_for_child(false) {
            return Room::None(Refusal::TooManySessions);
        }
        let same = |other: &Owner| other.principal() == owner.principal();
        let own_full = owner.is_person() && {
            let own = self
                .sessions
                .values()
                .filter(|session| same(&session.owner));
            own.count() >= limits.sessions_per_principal
        };
        if !own_full && self.sessions.len() < limits.sessions {
            return Room::Free;
        }
        let counts = |other: &Owner| !own_full || same(other);
        let asked = self
            .sessions
            .values()
            .filter(|session| session.phase == Phase::Asked && counts(&session.owner))
            .count();
        let before = ahead
            .iter()
            .filter(|waiting| counts(&waiting.owner))
            .count();
        if asked > before {
            return Room::Coming;
        }
        let idle_longest = self
            .sessions
            .iter()
            .filter(|(_, session)| session.phase == Phase::Live && counts(&session.owner))
            .min_by_key(|(_, session)| session.last_seen)
            .map(|(&id, _)| id);
        match idle_longest {
            Some(id) => {
                self.ask(id, SessionEnd::MadeRoom);
                Room::Coming
            }
            None if asked > 0 => Room::Coming,
            None if own_full => Room::None(Refusal::TooManyOwnSessions),
            None => Room::None(Refusal::TooManySessions),
        }
    }

    /// Whether there may be a further child: a host's, or another. Children that are slow to end count
    /// too: without this bound, opening and ending sessions in a loop would pile up processes, and so
    /// would calls that are cancelled.
    pub(super) fn has_room_for_child(&self, is_host: bool) -> bool {
        let limits = &self.policy.limits;
        let most = match is_host {
            true => limits.hosts,
            false => limits.sessions,
        };
        let children = self.children.values();
        let same = children.filter(|child| child.is_host == is_host);
        same.count() < most.saturating_mul(2)
    }

    fn open_session(&mut self, waiting: Waiting, now: Now) {
        let Waiting {
            exchange,
            owner,
            capabilities,
        } = waiting;
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        let session = SessionId::from_bytes(bytes);
        let nonce = self.random.next_u32();
        let purpose = match self.session_purpose(nonce, &owner, &capabilities, now) {
            Ok(purpose) => purpose,
            Err(refusal) => return self.refuse_route(exchange, refusal),
        };
        let host = purpose.host();
        let upstream = self.open_child(Some((session, owner)), purpose, now);
        if let Some(host) = host.and_then(|host| self.hosts.get_mut(&host)) {
            host.sessions.insert(upstream);
        }
        let grant = Grant {
            upstream,
            exclusive: false,
        };
        let opened = Opened {
            grant,
            session,
            digest: SessionDigest::of(session),
        };
        self.tell(
            exchange,
            exchange::Letter::Route(Ok(Routed::Session(opened))),
        );
    }

    /// Whether it is known what a session's child is, or cannot be found out: of a server that does not
    /// answer, the session's own child shows what is wrong, or that it works again.
    fn knows_sessions(&self) -> bool {
        let is_known = match &self.server {
            Server::Unknown => false,
            Server::Modern { has_handshake, .. } => has_handshake.is_some(),
            // What a shared child would answer to `initialize` is answered in its place.
            Server::Legacy { initialize } => initialize.is_some() || !self.shares_sessions(),
        };
        is_known || self.is_unanswering
    }

    /// Whether sessions share children, of a server that could have one for each.
    fn shares_sessions(&self) -> bool {
        !matches!(self.policy.share, Share::Auto | Share::PerSession)
    }

    /// What a session's child is: one of its own, or that of a host.
    fn session_purpose(
        &mut self,
        nonce: u32,
        owner: &Owner,
        capabilities: &[u8],
        now: Now,
    ) -> Result<Purpose, Refusal> {
        let shares = self.shares_sessions();
        let (discovered, capabilities) = match &self.server {
            Server::Modern {
                discovered,
                has_handshake,
            } if shares || *has_handshake != Some(true) => (discovered.clone(), None),
            Server::Legacy {
                initialize: Some(initialize),
            } if shares => {
                let discovered = modern_server::discover_result(initialize);
                (discovered, Some(ClientCapabilities::of(capabilities)))
            }
            _ => return Ok(Purpose::Session { nonce }),
        };
        let host = self.host_for_session(owner, capabilities, nonce, now)?;
        Ok(Purpose::SharedSession {
            nonce,
            host,
            discovered,
        })
    }

    pub(super) fn open_child(
        &mut self,
        session: Option<(SessionId, Owner)>,
        purpose: Purpose,
        now: Now,
    ) -> UpstreamId {
        let upstream = UpstreamId(self.next_upstream);
        self.next_upstream += 1;
        self.children.insert(
            upstream,
            Child {
                session: session.as_ref().map(|&(id, _)| id),
                is_host: matches!(purpose, Purpose::Host(_)),
                since: now.monotonic,
                granted: u64::from(session.is_some()),
            },
        );
        if let Some((id, owner)) = session {
            self.sessions.insert(
                id,
                Session {
                    owner,
                    digest: SessionDigest::of(id),
                    upstream,
                    phase: Phase::Opening,
                    since: now.monotonic,
                    last_seen: self.started,
                },
            );
        }
        self.outputs
            .push_back(GatewayOutput::Open(Opening { upstream, purpose }));
        upstream
    }

    /// Asks the session's upstream to end it if it is idle.
    pub(super) fn ask(&mut self, id: SessionId, end: SessionEnd) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.phase = Phase::Asked;
        let (upstream, last_seen) = (session.upstream, session.last_seen);
        self.ask_child(upstream, last_seen, end);
    }

    /// Asks a child's upstream to end if it is idle and was last in use at `last_seen`.
    pub(super) fn ask_child(&mut self, upstream: UpstreamId, last_seen: Instant, end: SessionEnd) {
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
    pub(super) fn end_session(&mut self, id: SessionId, end: SessionEnd) {
        if let Some(session) = self.forget_session(id, end) {
            self.retire(session.upstream, end);
        }
    }

    /// Takes a session out of the table, and records its end.
    pub(super) fn forget_session(&mut self, id: SessionId, end: SessionEnd) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.leave_host(session.upstream, end);
        self.expiries.forget(id);
        let event = AuditEvent::SessionEnded(end);
        let record = session_record(event, id, &session.owner, session.upstream);
        self.outputs.push_back(GatewayOutput::Audit(record));
        Some(session)
    }

    pub(super) fn retire(&mut self, upstream: UpstreamId, end: SessionEnd) {
        let Some(child) = self.children.get_mut(&upstream) else {
            return;
        };
        child.session = None;
        self.outputs.push_back(GatewayOutput::ToUpstream {
            upstream,
            mail: UpstreamMail(upstream::Letter::Retire {
                granted: child.granted,
                end,
            }),
        });
    }

    pub(super) fn hear(&mut self, upstream: UpstreamId, news: News, now: Now) {
        let id = self.children.get(&upstream).and_then(|child| child.session);
        let session = id.and_then(|id| self.sessions.get_mut(&id));
        match (news, id, session) {
            (News::Opened, Some(id), Some(session)) => {
                session.phase = Phase::Live;
                session.last_seen = now.monotonic;
                let owner = session.owner.clone();
                self.expiries
                    .set(id, now.monotonic + self.policy.limits.session_ttl);
                self.start_succeeded(now);
                let record = session_record(AuditEvent::SessionOpened, id, &owner, upstream);
                self.outputs.push_back(GatewayOutput::Audit(record));
                // Sessions that could not be asked while they were being opened can be now.
                self.serve_waiting(now);
            }
            (News::Busy, _, Some(session)) => {
                session.phase = Phase::Busy;
                self.serve_waiting(now);
            }
            (News::Idle { since }, Some(id), Some(session)) => {
                session.phase = Phase::Live;
                session.last_seen = session.last_seen.max(since);
                let due = session.last_seen + self.policy.limits.session_ttl;
                self.expiries.set(id, due);
                self.serve_waiting(now);
            }
            (News::Ended(end), Some(id), Some(session)) => {
                let unopened = session.phase == Phase::Opening;
                let failed = matches!(end, SessionEnd::SpawnFailed | SessionEnd::ChildExited);
                if unopened && failed {
                    self.start_failed(now);
                }
                self.end_session(id, end);
                self.serve_waiting(now);
            }
            (News::Probed(outcome), ..) => self.probed(upstream, outcome, now),
            (News::Drained, ..) => {
                self.children.remove(&upstream);
                self.serve_waiting(now);
                self.serve_queue(now);
            }
            (News::Opened, None, _) => self.host_opened(upstream, now),
            (News::Busy, None, _) => self.host_busy(upstream, now),
            (News::Idle { since }, None, _) => self.host_idle(upstream, since, now),
            (News::Ended(end), None, _) => self.host_ended(upstream, end, now),
            (News::Free { spent }, ..) => self.host_freed(upstream, spent, now),
            (News::Changed(change), ..) => self.host_changed(upstream, &change),
            (News::Interest(interest), ..) => self.host_interest(upstream, interest),
            (News::Task(task), ..) => self.task_begun(upstream, task),
            // The session ended meanwhile: what its upstream says of it is late.
            _ => {}
        }
    }

    pub(super) fn start_failed(&mut self, now: Now) {
        self.last_start = LastStart::Failed;
        let delay = FIRST_DELAY
            .saturating_mul(1 << self.failed_starts.min(16))
            .min(LONGEST_DELAY);
        self.failed_starts = self.failed_starts.saturating_add(1);
        // Half to one and a half times the delay, so that many clients do not come back at once.
        let jitter = delay.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        self.next_start = now.monotonic + delay / 2 + jitter;
        self.probe_later(now);
    }

    pub(super) fn refuse_route(&mut self, exchange: ExchangeId, refusal: Refusal) {
        let rejection = Rejection::from(refusal);
        self.tell(exchange, exchange::Letter::Route(Err(rejection)));
    }
}

/// Whether there is room for a session.
enum Room {
    Free,
    /// One that is idle was asked to end.
    Coming,
    None(Refusal),
}

fn session_record(
    event: AuditEvent,
    id: SessionId,
    owner: &Owner,
    upstream: UpstreamId,
) -> AuditRecord {
    AuditRecord {
        upstream: Some(upstream),
        caller: Some(owner.caller.clone()),
        session: Some(SessionDigest::of(id)),
        ..AuditRecord::new(event)
    }
}
