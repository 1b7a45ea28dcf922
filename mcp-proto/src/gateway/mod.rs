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

mod admission;
mod expiries;
mod giving_way;
mod health;
mod hosts;
mod listing;
mod mail;
mod probe;
mod sessions;
mod siblings;
mod wanted;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::admission::Pending;
use self::expiries::Expiries;
use self::health::LastStart;
pub use self::health::{NotReady, Standing};
use self::hosts::{Host, Queued};
pub use self::listing::{ChildStanding, SessionStanding};
pub use self::mail::GatewayMail;
use self::mail::Letter;
pub(crate) use self::mail::{Facts, ModernFacts, News, Outcome};
use self::probe::{Probe, Server, Undiscovered};
pub(crate) use self::sessions::Owner;
use self::sessions::{Session, Waiting};
use crate::audit::{AuditRecord, SessionEnd};
use crate::auth::{
    Answer, Authenticator, Challenges, Discovery, FetchFailure, FetchId, FetchRequest, Fetched,
    SignatureCheck, SignatureFailure, SignatureId, StartupFailure, StaticToken, Token, Verdict,
    VerificationId, resource_metadata_url,
};
use crate::exchange::{self, ExchangeMail, Rejection, Seals};
use crate::id::{ExchangeId, SessionId, UpstreamId};
use crate::modern::SealKeys;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::upstream::{self, Opening, UpstreamMail};

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
    /// Fetch this, and tell [`Gateway::handle_fetched`].
    Fetch(FetchRequest),
    /// Check this, and tell [`Gateway::handle_signature`].
    CheckSignature(SignatureCheck),
    /// Say whether this token is good, to [`Gateway::handle_verdict`]: the policy has
    /// [`Verifier::Custom`](crate::auth::Verifier::Custom). An answer that has not come within
    /// [`Limits::verifier_time`](crate::Limits::verifier_time) is none, and need not come any more.
    VerifyToken {
        /// The name to answer under.
        verification: VerificationId,
        /// The token.
        token: Token,
    },
    /// Every verifier was tried; these do not work. Comes once, before anyone should be served.
    Started(Vec<StartupFailure>),
    /// Keep this record.
    Audit(AuditRecord),
    /// Tell the operator this.
    Warn(String),
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

/// A child that has not ended, and what was granted of it.
struct Child {
    session: Option<SessionId>,
    /// Whether it is a host's, or was.
    is_host: bool,
    since: Instant,
    granted: u64,
}

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
    expiries: Expiries<SessionId>,
    /// Requests that wait for an idle session to make room.
    waiting: VecDeque<Waiting>,
    /// What the wrapped server speaks.
    server: Server,
    /// Whether the last probe failed, and no child has answered since.
    is_unanswering: bool,
    /// Requests that wait until that is known.
    undiscovered: Vec<Undiscovered>,
    hosts: BTreeMap<UpstreamId, Host>,
    /// A host that was started before it was known for whom.
    ahead: Option<UpstreamId>,
    /// When to look whether a host has been idle for its time.
    host_expiries: Expiries<UpstreamId>,
    /// Calls that wait for a host.
    queue: VecDeque<Queued>,
    /// Which hosts hold which tasks, the oldest first.
    tasks: VecDeque<(Box<str>, UpstreamId)>,
    seals: Arc<Seals>,
    authenticator: Authenticator,
    challenges: Arc<Challenges>,
    /// Requests that wait for a verdict, or for a document.
    pending: BTreeMap<ExchangeId, Pending>,
    /// Whether audit records cannot be kept.
    audit_failed: bool,
    failed_starts: u32,
    next_start: Instant,
    last_start: LastStart,
    probe: Probe,
    draining: bool,
    outputs: VecDeque<GatewayOutput>,
}

impl Gateway {
    /// A gateway under this policy. `seed` is 32 bytes from the system's CSPRNG: session ids come
    /// from it.
    pub fn new(policy: Policy, seed: [u8; 32], now: Now) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut salt = [0; 48];
        random.fill_bytes(&mut salt);
        let authenticator = Authenticator::new(
            policy.auth.clone(),
            &policy.service_name,
            &policy.path,
            &policy.limits,
            salt,
            now,
        );
        let published =
            policy.auth.authorization_server.is_some() && policy.auth.discovery != Discovery::Off;
        let challenges = Challenges::new(
            policy.service_name.clone(),
            published.then(|| resource_metadata_url(&policy.auth.resource)),
            policy.auth.required_scopes.clone(),
            policy.auth.scope_rules.clone(),
        );
        let (mut own_key, mut instance) = ([0; 32], [0; 8]);
        random.fill_bytes(&mut own_key);
        random.fill_bytes(&mut instance);
        let keys = match policy.seal_keys.split_first() {
            Some((first, others)) => SealKeys::new(first.0, others.iter().map(|key| key.0)),
            None => SealKeys::new(own_key, []),
        };
        let seals = Seals { keys, instance };
        let mut gateway = Self {
            random,
            authenticator,
            challenges: Arc::new(challenges),
            pending: BTreeMap::new(),
            audit_failed: false,
            started: now.monotonic,
            sessions: BTreeMap::new(),
            children: BTreeMap::new(),
            next_upstream: 1,
            expiries: Expiries::default(),
            waiting: VecDeque::new(),
            server: match policy.discover {
                true => Server::Unknown,
                false => Server::Legacy { initialize: None },
            },
            is_unanswering: false,
            undiscovered: Vec::new(),
            hosts: BTreeMap::new(),
            ahead: None,
            host_expiries: Expiries::default(),
            queue: VecDeque::new(),
            tasks: VecDeque::new(),
            seals: Arc::new(seals),
            failed_starts: 0,
            next_start: now.monotonic,
            probe: Probe::Rests,
            last_start: match policy.startup_probe {
                true => LastStart::Probing,
                false => LastStart::Succeeded,
            },
            draining: false,
            outputs: VecDeque::new(),
            policy,
        };
        if gateway.policy.startup_probe {
            gateway.start_probe(now);
        }
        gateway.drain_authenticator(now);
        gateway
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes mail from an exchange or an upstream.
    pub fn handle_mail(&mut self, mail: GatewayMail, now: Now) {
        match mail.0 {
            Letter::Route {
                exchange,
                facts,
                owner,
            } => self.route(exchange, facts, owner, now),
            Letter::Renew { exchange, digest } => {
                let answer = self.authenticator.renew(exchange, digest, now);
                if let Answer::Decided(answer) = answer {
                    self.renewed(exchange, answer);
                }
                self.drain_authenticator(now);
            }
            Letter::Gone { exchange, request } => {
                self.waiting.retain(|waiting| waiting.exchange != exchange);
                self.undiscovered
                    .retain(|waiting| waiting.exchange != exchange);
                self.queue.retain(|queued| queued.exchange != exchange);
                self.authenticator.handle_gone(exchange);
                self.abandon(exchange, request);
            }
            Letter::News { upstream, news } => self.hear(upstream, news, now),
        }
    }

    /// Takes note that an upstream is lost: its driver panicked. Whoever waits on it is told by
    /// [`Exchange::handle_upstream_lost`](crate::Exchange::handle_upstream_lost).
    pub fn handle_upstream_lost(&mut self, upstream: UpstreamId, now: Now) {
        if let Some(id) = self
            .children
            .remove(&upstream)
            .and_then(|child| child.session)
        {
            self.forget_session(id, SessionEnd::ChildExited);
        }
        for session in self.forget_host(upstream) {
            self.outputs.push_back(GatewayOutput::ToUpstream {
                upstream: session,
                mail: UpstreamMail(upstream::Letter::HostEnded),
            });
        }
        self.probe_lost(upstream, now);
        self.serve_queue(now);
        self.serve_waiting(now);
    }

    /// Takes the answer to a [`GatewayOutput::Fetch`].
    pub fn handle_fetched(
        &mut self,
        fetch: FetchId,
        result: Result<Fetched, FetchFailure>,
        now: Now,
    ) {
        self.authenticator.handle_fetched(fetch, result, now);
        self.drain_authenticator(now);
    }

    /// Takes the answer to a [`GatewayOutput::CheckSignature`]: whether the signature is the key's.
    pub fn handle_signature(
        &mut self,
        signature: SignatureId,
        result: Result<bool, SignatureFailure>,
        now: Now,
    ) {
        self.authenticator.handle_signature(signature, result, now);
        self.drain_authenticator(now);
    }

    /// Takes the answer to a [`GatewayOutput::VerifyToken`].
    pub fn handle_verdict(&mut self, verification: VerificationId, verdict: Verdict, now: Now) {
        self.authenticator
            .handle_verdict(verification, verdict, now);
        self.drain_authenticator(now);
    }

    /// Takes other static tokens for all that there are. Those that are not among them are not good
    /// any more.
    pub fn handle_static_tokens(&mut self, tokens: &[StaticToken], now: Now) {
        self.authenticator.handle_static_tokens(tokens);
        self.drain_authenticator(now);
    }

    /// Takes note whether audit records can be kept. While they cannot, requests to the MCP endpoint
    /// are refused if [`AuthPolicy::refuse_unaudited`](crate::auth::AuthPolicy) says so.
    pub fn handle_audit_sink(&mut self, works: bool, _now: Now) {
        self.audit_failed = !works;
    }

    /// Begins to stop: opens nothing more, and tells every child to finish.
    pub fn handle_drain(&mut self, now: Now) {
        if self.draining {
            return;
        }
        self.draining = true;
        if self.probe_due().is_some() {
            self.probe = Probe::Rests;
        }
        for waiting in std::mem::take(&mut self.waiting) {
            self.refuse_route(waiting.exchange, Refusal::Draining);
        }
        for waiting in std::mem::take(&mut self.undiscovered) {
            self.refuse_route(waiting.exchange, Refusal::Draining);
        }
        self.forget_ahead();
        for queued in std::mem::take(&mut self.queue) {
            self.refuse_route(queued.exchange, Refusal::Draining);
        }
        self.refuse_pending(Refusal::Draining);
        let until = now.monotonic + self.policy.limits.finish_time();
        for (&upstream, child) in &self.children {
            let serves = child.session.is_some() || self.hosts.contains_key(&upstream);
            let letter = match serves {
                true => upstream::Letter::Drain { until },
                // A probe, or a child that is on its way out already.
                false => upstream::Letter::Retire {
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
        self.authenticator.handle_timeout(now);
        self.drain_authenticator(now);
        if self.probe_due().is_some_and(|due| due <= now.monotonic) {
            self.start_probe(now);
        }
        self.expire_hosts(now);
        self.expire_queue(now);
        self.press(now);
        while let Some(id) = self.expiries.pop_due(now.monotonic) {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if session.phase != Phase::Live {
                continue;
            }
            let due = session.last_seen + self.policy.limits.session_ttl;
            if due > now.monotonic {
                self.expiries.set(id, due);
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
        let due = [
            self.expiries.next(),
            self.host_expiries.next(),
            self.queue.front().map(|queued| queued.deadline),
            self.queue.iter().map(|queued| queued.presses_at).min(),
            self.authenticator.poll_timeout(),
            self.probe_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// Whether no session is open, no child lives, and nothing is awaited. Verdicts may still be kept,
    /// for as long as [`Gateway::poll_timeout`] says.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.children.is_empty()
            && self.waiting.is_empty()
            && self.undiscovered.is_empty()
            && self.queue.is_empty()
            && self.pending.is_empty()
            && self.authenticator.is_idle()
    }

    fn tell(&mut self, exchange: ExchangeId, letter: exchange::Letter) {
        self.outputs.push_back(GatewayOutput::ToExchange {
            exchange,
            mail: ExchangeMail(letter),
        });
    }
}
