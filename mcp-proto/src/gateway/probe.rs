//! What the wrapped server speaks, and whether it works: found out by children that serve nobody.
//!
//! A server that answers `server/discover` speaks 2026-07-28. It may have a handshake too, which
//! nothing in that answer tells, and the question may have settled what its process speaks: so a second
//! child is asked to `initialize`. What was found out holds for as long as the gateway runs.
//!
//! ```text
//! Unknown ──initialize──> Legacy
//!    └──────discovered──> Modern ──a second child: initialize, or not──> Modern, and Legacy or not
//! ```
//!
//! A probe is started before anyone comes, or by the first who does, and again after starts that
//! failed.
//!
//! A gateway whose last start failed is not ready, so that orchestrators send nobody there; then no
//! session would ever show that the wrapped server works again. So it is probed until it does:
//!
//! ```text
//! Rests ──a start failed──> Due ──PAUSE──> Running ──answered, or draining──> Rests
//!   ^                        │ ^              │
//!   └──────a session opened──┘ └────failed────┘
//! ```

use std::time::Duration;

use bytes::Bytes;

use super::health::LastStart;
use super::{Facts, Gateway, GatewayOutput, Outcome, Owner};
use crate::audit::{AuditEvent, AuditRecord, SessionEnd};
use crate::id::{ExchangeId, UpstreamId};
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::upstream::{Purpose, Stage};

/// What the wrapped server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Unknown,
    /// Revisions with a handshake only.
    Legacy {
        /// Its `InitializeResult`, once a probe has had it.
        initialize: Option<Bytes>,
    },
    /// 2026-07-28.
    Modern {
        /// Its `DiscoverResult`.
        discovered: Bytes,
        /// Whether it has a handshake too, once that is known.
        has_handshake: Option<bool>,
    },
}

/// A request that waits until it is known what the server speaks.
pub(super) struct Undiscovered {
    pub(super) exchange: ExchangeId,
    facts: Facts,
    owner: Owner,
}

/// From a start that failed to the next probe.
const PAUSE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Rests,
    Due(Instant),
    Running(UpstreamId, Stage),
}

impl Gateway {
    pub(super) fn start_probe(&mut self, now: Now) {
        let stage = match &self.server {
            Server::Unknown
            | Server::Modern {
                has_handshake: Some(false),
                ..
            } => Stage::Discover,
            _ => Stage::Initialize,
        };
        self.start_stage(stage, now);
    }

    fn start_stage(&mut self, stage: Stage, now: Now) {
        let upstream = self.open_child(None, Purpose::Probe(stage), now);
        self.probe = Probe::Running(upstream, stage);
    }

    /// Has a request wait until it is known what the server speaks.
    pub(super) fn find_out(&mut self, exchange: ExchangeId, facts: Facts, owner: Owner, now: Now) {
        let runs = matches!(self.probe, Probe::Running(..));
        if !runs && now.monotonic < self.next_start {
            return self.refuse_route(exchange, Refusal::ChildUnavailable);
        }
        if self.undiscovered.len() >= self.policy.limits.connections {
            return self.refuse_route(exchange, Refusal::TooManyCalls);
        }
        self.undiscovered.push(Undiscovered {
            exchange,
            facts,
            owner,
        });
        if !runs {
            self.start_probe(now);
        }
    }

    /// Routes those who have waited to know what the server speaks.
    fn serve_undiscovered(&mut self, now: Now) {
        for waiting in std::mem::take(&mut self.undiscovered) {
            self.route(waiting.exchange, waiting.facts, waiting.owner, now);
        }
    }

    /// When the next probe is to be started.
    pub(super) fn probe_due(&self) -> Option<Instant> {
        match self.probe {
            Probe::Due(due) => Some(due),
            Probe::Rests | Probe::Running(..) => None,
        }
    }

    /// Takes what a probe's child has answered.
    pub(super) fn probed(&mut self, upstream: UpstreamId, outcome: Outcome, now: Now) {
        self.retire(upstream, SessionEnd::Deleted);
        let stage = match self.probe {
            Probe::Running(running, stage) if running == upstream => stage,
            _ => return,
        };
        self.probe = Probe::Rests;
        if self.draining {
            // Whoever waited has been refused, and nothing more is started.
            return;
        }
        let known = match (&mut self.server, outcome, stage) {
            (Server::Unknown, Outcome::Modern(discovered), _) => {
                self.server = Server::Modern {
                    discovered,
                    has_handshake: None,
                };
                self.start_stage(Stage::Initialize, now);
                return self.serve_undiscovered(now);
            }
            (server @ Server::Unknown, Outcome::Legacy(initialize), _)
            | (server @ Server::Legacy { initialize: None }, Outcome::Legacy(initialize), _) => {
                *server = Server::Legacy {
                    initialize: Some(initialize),
                };
                true
            }
            // Some end at a question that they do not know: a fresh child is asked the other one.
            (Server::Unknown, Outcome::Refused, Stage::Discover) => {
                return self.start_stage(Stage::Initialize, now);
            }
            (Server::Modern { has_handshake, .. }, outcome, Stage::Initialize)
                if has_handshake.is_none() && outcome != Outcome::Failed =>
            {
                *has_handshake = Some(matches!(outcome, Outcome::Legacy(_)));
                true
            }
            (_, outcome, _) => matches!(outcome, Outcome::Modern(_) | Outcome::Legacy(_)),
        };
        self.outputs.push_back(GatewayOutput::Audit(AuditRecord {
            upstream: Some(upstream),
            ..AuditRecord::new(AuditEvent::Probed { passed: known })
        }));
        if known {
            self.start_succeeded(now);
            self.serve_undiscovered(now);
        } else {
            self.probe_failed(now);
        }
    }

    fn probe_failed(&mut self, now: Now) {
        let (sessions, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.undiscovered)
            .into_iter()
            .partition(|waiting| matches!(waiting.facts, Facts::Initialize { .. }));
        // Or every further request would have the next probe started.
        if !others.is_empty() {
            self.start_failed(now);
        }
        self.is_unanswering = true;
        // One that a request had started says nothing of whether to send others here: no further probe
        // would show that it is over.
        if self.policy.startup_probe {
            self.last_start = LastStart::ProbeFailed;
        }
        self.probe_later(now);
        for waiting in others {
            self.refuse_route(waiting.exchange, Refusal::ChildUnavailable);
        }
        self.undiscovered = sessions;
        self.serve_undiscovered(now);
    }

    /// Takes note that a child is lost whose driver panicked.
    pub(super) fn probe_lost(&mut self, upstream: UpstreamId, now: Now) {
        if matches!(self.probe, Probe::Running(running, _) if running == upstream) {
            self.probe = Probe::Rests;
            self.probe_failed(now);
        }
    }

    /// Takes note that a child has answered `initialize`.
    pub(super) fn start_succeeded(&mut self, now: Now) {
        self.failed_starts = 0;
        self.is_unanswering = false;
        self.next_start = now.monotonic;
        self.last_start = LastStart::Succeeded;
        if let Probe::Due(_) = self.probe {
            self.probe = Probe::Rests;
        }
    }

    /// Has the server probed after a pause, unless a probe is under way or due.
    pub(super) fn probe_later(&mut self, now: Now) {
        if self.probe == Probe::Rests && self.policy.startup_probe && !self.draining {
            self.probe = Probe::Due(now.monotonic + PAUSE);
        }
    }
}
