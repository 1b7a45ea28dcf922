//! Hosts: the children that serve requests of 2026-07-28, and the legacy sessions of a server that
//! speaks nothing else.
//!
//! Which host serves a request is decided by what the server speaks, and by how children are shared
//! ([`Share`]). Of a server that speaks 2026-07-28 any child will do. Of a server with a handshake a
//! child is good for those only whose capabilities it was told, and it does not say which call it asks
//! something for: so calls that it may ask for are *exclusive*, one at a time for each child:
//!
//! ```text
//! free ──an exclusive call is granted──> taken ──the host says that it is over──> free, or spent
//! ```
//!
//! More children are started instead, up to [`Limits::hosts`](crate::Limits::hosts); beyond that, calls
//! wait for their turn (`giving_way.rs`). One person has at most half of them.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::giving_way::PRESS_TIME;
use super::{Facts, Gateway, GatewayOutput, ModernFacts, Owner, Phase, Server};
use crate::audit::SessionEnd;
use crate::auth::Principal;
use crate::exchange::{self, Grant, Routed};
use crate::id::{ExchangeId, UpstreamId};
use crate::modern::{CallKind, ClientCapabilities};
use crate::policy::Share;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::translation::modern_server;
use crate::upstream::{self, Purpose, Speaks, UpstreamMail};

/// Most bytes of a task's id whose child is remembered.
const TASK_BYTES: usize = 1024;

/// Most tasks whose child is remembered.
const MOST_TASKS: usize = 4096;

/// For whom a host is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Whose it is; `None` if it is everybody's.
    pub(super) principal: Option<Option<Principal>>,
    /// What its child was told that the client can do; `None` for a child without handshake.
    pub(super) capabilities: Option<ClientCapabilities>,
    /// Whether that is a person, of whom there may be many.
    is_person: bool,
    /// Whether it serves those who want log messages.
    logs: bool,
    /// The one session that it serves, by a number of its own; `None` if it serves any.
    session: Option<u32>,
}

/// A host that may be granted.
pub(super) struct Host {
    pub(super) key: Key,
    phase: Phase,
    /// The exclusive call that has been granted and is not over.
    pub(super) taken: Option<Taken>,
    /// Whether its child must not be given anything further.
    pub(super) spent: bool,
    /// Whether its child has answered anything yet.
    opened: bool,
    last_seen: Instant,
    /// How long it may be idle.
    ttl: Duration,
    /// The resources that have subscribers at its child.
    pub(super) subscribed: BTreeSet<Box<str>>,
    /// The legacy sessions that have their child from it.
    pub(super) sessions: BTreeSet<UpstreamId>,
}

/// An exclusive call.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) since: Instant,
    /// When its host was told last that others wait.
    pub(super) pressed: Option<Instant>,
}

/// A call that waits for a host.
pub(super) struct Queued {
    pub(super) exchange: ExchangeId,
    pub(super) key: Key,
    exclusive: bool,
    pub(super) deadline: Instant,
    /// When it has the next host told that it waits.
    pub(super) presses_at: Instant,
}

/// Which host serves a request.
enum Choice {
    Granted(UpstreamId),
    /// None is free; one will be.
    Wait,
}

impl Gateway {
    /// Takes a request of 2026-07-28.
    pub(super) fn route_modern(
        &mut self,
        exchange: ExchangeId,
        facts: Box<ModernFacts>,
        owner: Owner,
        now: Now,
    ) {
        if self.draining {
            return self.refuse_route(exchange, Refusal::Draining);
        }
        self.find_host(exchange, facts, owner, now);
        self.start_ahead(now);
    }

    fn find_host(&mut self, exchange: ExchangeId, facts: Box<ModernFacts>, owner: Owner, now: Now) {
        let is_legacy = match &self.server {
            Server::Unknown => {
                return self.find_out(exchange, Facts::Modern(facts), owner, now);
            }
            Server::Legacy { initialize } => {
                if facts.kind == CallKind::Discover
                    && let Some(initialize) = initialize
                {
                    let result = modern_server::discover_result(initialize);
                    return self.tell(
                        exchange,
                        exchange::Letter::Route(Ok(Routed::Answer(result))),
                    );
                }
                true
            }
            Server::Modern { .. } => false,
        };
        if is_legacy && matches!(facts.kind, CallKind::Task | CallKind::Other) {
            return self.refuse_route(exchange, Refusal::MethodNotFound);
        }
        let key = self.key(&facts, &owner, is_legacy);
        if let Some(upstream) = self.holder(&facts, &key) {
            return self.grant_host(exchange, upstream, false, true, now);
        }
        let exclusive = is_legacy && is_exclusive(&facts, &key);
        let ahead = self.queue.iter().any(|queued| queued.key == key);
        match self.choose(&key, exclusive, ahead, now) {
            Ok(Choice::Granted(upstream)) => {
                self.grant_host(exchange, upstream, exclusive, !is_legacy, now);
            }
            Ok(Choice::Wait) if self.queue.len() >= self.policy.limits.calls_per_child => {
                self.refuse_route(exchange, Refusal::TooManyCalls);
            }
            Ok(Choice::Wait) => {
                let deadline = now.monotonic + self.policy.limits.request_time;
                self.queue.push_back(Queued {
                    exchange,
                    key,
                    exclusive,
                    deadline,
                    presses_at: now.monotonic + PRESS_TIME,
                });
            }
            Err(refusal) => self.refuse_route(exchange, refusal),
        }
    }

    fn key(&self, facts: &ModernFacts, owner: &Owner, is_legacy: bool) -> Key {
        let own = match self.policy.share {
            Share::Auto => is_legacy,
            Share::PerSession | Share::PerPrincipal => true,
            Share::Shared | Share::Pool(_) => false,
        };
        let capabilities = || ClientCapabilities::of(&facts.capabilities);
        Key {
            principal: own.then(|| owner.principal().cloned()),
            is_person: own && owner.is_person(),
            capabilities: is_legacy.then(capabilities),
            logs: is_legacy && facts.wants_log,
            session: None,
        }
    }

    /// The host that holds what the request is about: a call that waits for input, or a task.
    fn holder(&self, facts: &ModernFacts, key: &Key) -> Option<UpstreamId> {
        let origin = facts
            .origin
            .filter(|origin| origin.instance == self.seals.instance)
            .map(|origin| UpstreamId(origin.child));
        let task = facts.task.as_ref().and_then(|task| {
            let mut known = self.tasks.iter().rev();
            known.find(|(known, _)| known.as_bytes() == &task[..])
        });
        origin
            .or(task.map(|&(_, upstream)| upstream))
            .filter(|upstream| {
                self.hosts
                    .get(upstream)
                    .is_some_and(|host| host.key.principal == key.principal)
            })
    }

    /// A host that is good for `key`; one is started if there is room for it.
    fn choose(
        &mut self,
        key: &Key,
        exclusive: bool,
        ahead: bool,
        now: Now,
    ) -> Result<Choice, Refusal> {
        let good = |host: &Host| host.key == *key && !host.spent;
        let own = self.hosts.iter().filter(|(_, host)| good(host));
        let count = own.clone().count();
        let free = own.filter(|(_, host)| !(exclusive && host.taken.is_some()));
        // Of a pool the one that has rested longest takes its turn; else the first, which is warm.
        let free = match self.policy.share {
            Share::Pool(_) => free.min_by_key(|(_, host)| host.last_seen),
            _ => free.min_by_key(|&(&upstream, _)| upstream),
        };
        let free = free.map(|(&upstream, _)| upstream);
        let free = free.filter(|_| !(exclusive && ahead));
        let most = self.most(key);
        let grows = match self.policy.share {
            Share::Pool(_) => count < most,
            _ => free.is_none() && count < most,
        };
        if !grows {
            return Ok(free.map_or(Choice::Wait, Choice::Granted));
        }
        if now.monotonic < self.next_start {
            return match free {
                Some(upstream) => Ok(Choice::Granted(upstream)),
                None => Err(Refusal::ChildUnavailable),
            };
        }
        let own_full = self.has_its_share(key);
        let fits = self.hosts.len() < self.policy.limits.hosts && self.has_room_for_child(true);
        if fits && !own_full {
            return Ok(Choice::Granted(self.open_host(key.clone(), now)));
        }
        if let Some(upstream) = free {
            return Ok(Choice::Granted(upstream));
        }
        // One that is idle makes room, if there is one; else one of its own becomes free some time.
        let idle = self
            .hosts
            .iter()
            .filter(|(_, host)| {
                host.phase == Phase::Live
                    && host.taken.is_none()
                    && host.sessions.is_empty()
                    && (!own_full || host.key.principal == key.principal)
            })
            .min_by_key(|(_, host)| host.last_seen)
            .map(|(&upstream, _)| upstream);
        if let Some(idle) = idle {
            self.ask_host(idle, SessionEnd::MadeRoom);
        }
        Ok(Choice::Wait)
    }

    /// How many hosts there may be for the same.
    pub(super) fn most(&self, key: &Key) -> usize {
        match self.policy.share {
            Share::Shared => 1,
            Share::Pool(most) => most.get(),
            _ if key.capabilities.is_none() => 1,
            _ => usize::MAX,
        }
    }

    /// Whether a person has as many hosts as one may.
    pub(super) fn has_its_share(&self, key: &Key) -> bool {
        let own = || {
            let hosts = self.hosts.values();
            hosts.filter(|host| host.key.principal == key.principal)
        };
        key.is_person && own().count() >= (self.policy.limits.hosts / 2).max(1)
    }

    fn open_host(&mut self, key: Key, now: Now) -> UpstreamId {
        let limits = &self.policy.limits;
        let ttl = match key.capabilities {
            None => limits.session_ttl,
            Some(_) => limits.idle_host_time,
        };
        let capabilities = key
            .capabilities
            .as_ref()
            .map(|it| Bytes::copy_from_slice(it.as_str().as_bytes()));
        let upstream = match (capabilities, self.ahead) {
            (None, _) => self.open_child(None, Purpose::Host(Speaks::Modern), now),
            (Some(capabilities), None) => {
                let speaks = Speaks::Legacy { capabilities };
                self.open_child(None, Purpose::Host(speaks), now)
            }
            (Some(capabilities), Some(ahead)) => {
                self.forget_ahead();
                self.outputs.push_back(GatewayOutput::ToUpstream {
                    upstream: ahead,
                    mail: UpstreamMail(upstream::Letter::Assign { capabilities }),
                });
                ahead
            }
        };
        self.hosts.insert(
            upstream,
            Host {
                key,
                phase: Phase::Live,
                taken: None,
                spent: false,
                opened: false,
                last_seen: now.monotonic,
                ttl,
                subscribed: BTreeSet::new(),
                sessions: BTreeSet::new(),
            },
        );
        self.follow_siblings(upstream);
        self.host_expiries.set(upstream, now.monotonic + ttl);
        upstream
    }

    /// Keeps a child started that is good for whoever comes next, so that a server which takes its time
    /// to start does not take it when somebody waits.
    fn start_ahead(&mut self, now: Now) {
        let is_wanted = self.policy.start_ahead && matches!(self.server, Server::Legacy { .. });
        let fits = self.hosts.len() < self.policy.limits.hosts && self.has_room_for_child(true);
        if is_wanted && fits && self.ahead.is_none() && now.monotonic >= self.next_start {
            let upstream = self.open_child(None, Purpose::Host(Speaks::LegacyAhead), now);
            self.ahead = Some(upstream);
        }
        // For as long as anyone comes.
        if let Some(ahead) = self.ahead {
            let due = now.monotonic + self.policy.limits.idle_host_time;
            self.host_expiries.set(ahead, due);
        }
    }

    /// Takes note that the child that was started ahead is not that any more.
    pub(super) fn forget_ahead(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            self.host_expiries.forget(ahead);
        }
    }

    fn grant_host(
        &mut self,
        exchange: ExchangeId,
        upstream: UpstreamId,
        exclusive: bool,
        knows_state: bool,
        now: Now,
    ) {
        if let Some(host) = self.hosts.get_mut(&upstream) {
            if exclusive {
                host.taken = Some(Taken {
                    since: now.monotonic,
                    pressed: None,
                });
            }
            host.last_seen = now.monotonic;
        }
        if let Some(child) = self.children.get_mut(&upstream) {
            child.granted += 1;
        }
        let routed = Routed::Host {
            grant: Grant {
                upstream,
                exclusive,
            },
            knows_state,
        };
        self.tell(exchange, exchange::Letter::Route(Ok(routed)));
    }

    /// The host that a legacy session has its child from. `capabilities` are the client's, where the
    /// child is told them; `session` is a number that no other has, in case it gets a child of its own.
    pub(super) fn host_for_session(
        &mut self,
        owner: &Owner,
        capabilities: Option<ClientCapabilities>,
        session: u32,
        now: Now,
    ) -> Result<UpstreamId, Refusal> {
        let own = matches!(self.policy.share, Share::PerSession | Share::PerPrincipal);
        let key = Key {
            principal: own.then(|| owner.principal().cloned()),
            is_person: own && owner.is_person(),
            capabilities,
            logs: false,
            session: (self.policy.share == Share::PerSession).then_some(session),
        };
        match self.choose(&key, false, false, now) {
            Ok(Choice::Granted(upstream)) => Ok(upstream),
            Ok(Choice::Wait) => Err(Refusal::TooManySessions),
            Err(refusal) => Err(refusal),
        }
    }

    /// Grants hosts to those who wait, as far as they are free.
    pub(super) fn serve_queue(&mut self, now: Now) {
        let mut kept: Vec<Queued> = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            let ahead = kept.iter().any(|other| other.key == queued.key);
            match self.choose(&queued.key, queued.exclusive, ahead, now) {
                Ok(Choice::Granted(upstream)) => {
                    let knows_state = queued.key.capabilities.is_none();
                    self.grant_host(
                        queued.exchange,
                        upstream,
                        queued.exclusive,
                        knows_state,
                        now,
                    );
                }
                Ok(Choice::Wait) => kept.push(queued),
                Err(refusal) => self.refuse_route(queued.exchange, refusal),
            }
        }
        self.queue = kept.into();
    }

    /// Refuses those who have waited for too long.
    pub(super) fn expire_queue(&mut self, now: Now) {
        while self
            .queue
            .front()
            .is_some_and(|queued| queued.deadline <= now.monotonic)
            && let Some(queued) = self.queue.pop_front()
        {
            self.refuse_route(queued.exchange, Refusal::TooManyCalls);
        }
    }

    /// Asks a host to end if it is idle.
    fn ask_host(&mut self, upstream: UpstreamId, end: SessionEnd) {
        let Some(host) = self.hosts.get_mut(&upstream) else {
            return;
        };
        host.phase = Phase::Asked;
        let last_seen = host.last_seen;
        self.ask_child(upstream, last_seen, end);
    }

    /// Asks the hosts that may have been idle for their time.
    pub(super) fn expire_hosts(&mut self, now: Now) {
        while let Some(upstream) = self.host_expiries.pop_due(now.monotonic) {
            if self.ahead == Some(upstream) {
                self.forget_ahead();
                self.retire(upstream, SessionEnd::Expired);
                continue;
            }
            let Some(host) = self.hosts.get_mut(&upstream) else {
                continue;
            };
            let due = host.last_seen + host.ttl;
            if host.phase != Phase::Live {
                continue;
            }
            if due > now.monotonic {
                self.host_expiries.set(upstream, due);
            } else if host.taken.is_some() || !host.sessions.is_empty() {
                let later = now.monotonic + host.ttl;
                self.host_expiries.set(upstream, later);
            } else {
                self.ask_host(upstream, SessionEnd::Expired);
            }
        }
    }

    /// Hears that a host's exclusive call is over.
    pub(super) fn host_freed(&mut self, upstream: UpstreamId, spent: bool, now: Now) {
        if let Some(host) = self.hosts.get_mut(&upstream) {
            host.taken = None;
            host.spent |= spent;
        }
        if spent {
            // What it still does for others is not cut off.
            self.ask_host(upstream, SessionEnd::Deleted);
        }
        self.serve_queue(now);
    }

    /// Remembers which child has a task.
    pub(super) fn task_begun(&mut self, upstream: UpstreamId, task: Box<str>) {
        // Elsewhere the one child of the caller's is the one that has it.
        let is_pool = matches!(self.policy.share, Share::Pool(_));
        if !is_pool || task.len() > TASK_BYTES {
            return;
        }
        if self.tasks.len() == MOST_TASKS {
            self.tasks.pop_front();
        }
        self.tasks.push_back((task, upstream));
    }

    pub(super) fn host_opened(&mut self, upstream: UpstreamId, now: Now) {
        if let Some(host) = self.hosts.get_mut(&upstream) {
            host.opened = true;
            self.start_succeeded(now);
        }
    }

    pub(super) fn host_busy(&mut self, upstream: UpstreamId, now: Now) {
        if let Some(host) = self.hosts.get_mut(&upstream) {
            host.phase = Phase::Busy;
            self.serve_queue(now);
        }
    }

    pub(super) fn host_idle(&mut self, upstream: UpstreamId, since: Instant, now: Now) {
        if self.hosts.get(&upstream).is_some_and(|host| host.spent) {
            self.end_host(upstream, SessionEnd::Deleted);
            self.serve_queue(now);
        } else if let Some(host) = self.hosts.get_mut(&upstream) {
            host.phase = Phase::Live;
            host.last_seen = host.last_seen.max(since);
            let due = host.last_seen + host.ttl;
            self.host_expiries.set(upstream, due);
            self.serve_queue(now);
        }
    }

    /// Hears that a host has ended by its own doing or by consent.
    pub(super) fn host_ended(&mut self, upstream: UpstreamId, end: SessionEnd, now: Now) {
        let failed = self.hosts.get(&upstream).is_some_and(|host| !host.opened)
            && matches!(
                end,
                SessionEnd::SpawnFailed | SessionEnd::ChildExited | SessionEnd::InitializeFailed
            );
        if failed {
            self.start_failed(now);
        }
        self.end_host(upstream, end);
        self.serve_queue(now);
        self.serve_waiting(now);
    }

    /// Takes note that a session has ended that may have had its child from a host. One that served it
    /// alone ends with it.
    pub(super) fn leave_host(&mut self, session: UpstreamId, end: SessionEnd) {
        let left = self.hosts.iter_mut().find_map(|(&upstream, host)| {
            let served = host.sessions.remove(&session);
            served.then_some((upstream, host.key.session))
        });
        if let Some((upstream, Some(_))) = left {
            self.end_host(upstream, end);
        }
    }

    /// Forgets a host, and ends it for good.
    pub(super) fn end_host(&mut self, upstream: UpstreamId, end: SessionEnd) {
        for session in self.forget_host(upstream) {
            self.outputs.push_back(GatewayOutput::ToUpstream {
                upstream: session,
                mail: UpstreamMail(upstream::Letter::HostEnded),
            });
        }
        self.retire(upstream, end);
    }

    /// Takes a host out of the table; gives the sessions that had their child from it.
    pub(super) fn forget_host(&mut self, upstream: UpstreamId) -> BTreeSet<UpstreamId> {
        if self.ahead == Some(upstream) {
            self.forget_ahead();
        }
        let Some(host) = self.hosts.remove(&upstream) else {
            return BTreeSet::new();
        };
        self.host_expiries.forget(upstream);
        self.tasks.retain(|&(_, holder)| holder != upstream);
        let uris: Vec<_> = host.subscribed.into_iter().collect();
        if !uris.is_empty() {
            self.tell_siblings(&host.key, upstream, || {
                upstream::Letter::Unfollow(uris.clone())
            });
        }
        host.sessions
    }
}

/// Whether the child may say something while it answers that nothing but its being alone tells to be
/// about this request.
fn is_exclusive(facts: &ModernFacts, key: &Key) -> bool {
    let can_be_asked = key.capabilities.as_ref().is_some_and(|client| {
        ["elicitation", "sampling", "roots"]
            .iter()
            .any(|capability| client.declares(capability))
    });
    facts.kind.may_ask_for_input() && (key.logs || can_be_asked)
}
