//! How things stand, told to whoever asks at the admin address.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use http::StatusCode;
use mcp_proto::admin::{self, AdminRoute};
use mcp_proto::{ChildState, RequestHead, UpstreamId, UpstreamStanding};

use super::Driver;
use crate::admin::Answer;
use crate::metrics::{self, Levels};
use crate::status::{Child, Session, Status};

/// How an upstream stands, as its task last left it. Each value is right by itself; two of them may
/// be of different moments.
#[derive(Default)]
pub(super) struct Shown {
    /// The child's process id; 0 before it runs.
    pid: AtomicU32,
    /// An index of [`ChildState::ALL`].
    state: AtomicUsize,
    calls: AtomicUsize,
    streams: AtomicUsize,
    stdin_bytes: AtomicUsize,
}

impl Shown {
    pub(super) fn set(&self, standing: UpstreamStanding) {
        self.state.store(standing.state as usize, Ordering::Relaxed);
        self.calls.store(standing.calls, Ordering::Relaxed);
        self.streams.store(standing.streams, Ordering::Relaxed);
        self.stdin_bytes
            .store(standing.stdin_bytes, Ordering::Relaxed);
    }

    fn standing(&self) -> UpstreamStanding {
        let state = self.state.load(Ordering::Relaxed);
        UpstreamStanding {
            state: *ChildState::ALL.get(state).unwrap_or(&ChildState::Gone),
            calls: self.calls.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
            stdin_bytes: self.stdin_bytes.load(Ordering::Relaxed),
        }
    }

    fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|&pid| pid != 0)
    }
}

impl Driver {
    /// Takes note that the child of `upstream` runs.
    pub(crate) fn child_started(&self, upstream: UpstreamId, pid: u32) {
        self.metrics.children_started.inc();
        if let Some(inbox) = self.upstream(upstream) {
            inbox.shown.pid.store(pid, Ordering::Relaxed);
        }
    }

    /// Answers a request at the admin address.
    pub(super) fn answer(&self, head: &RequestHead<'_>) -> Answer {
        let judged = {
            let (core, now) = self.lock_core();
            let judged = admin::judge(core.gateway.policy(), head);
            if let Ok(AdminRoute::Health(route)) = judged {
                let (status, body) = core.gateway.health(route, now);
                return Answer::json(status, body);
            }
            judged
        };
        match judged {
            Err(refusal) => refusal.into(),
            Ok(AdminRoute::Status) => Answer::json(StatusCode::OK, self.status().to_json()),
            Ok(AdminRoute::Metrics | AdminRoute::Health(_)) => Answer {
                status: StatusCode::OK,
                content_type: metrics::CONTENT_TYPE,
                body: self.metrics.to_text(&self.levels()).into(),
            },
        }
    }

    fn levels(&self) -> Levels {
        let (standing, children) = {
            let (core, now) = self.lock_core();
            let children: Vec<_> = core.gateway.children(now).collect();
            (core.gateway.standing(), children)
        };
        let stdin_bytes = |upstream| self.shown(upstream).0.stdin_bytes;
        let children = children.iter().map(|child| child.upstream);
        Levels {
            standing,
            stdin_bytes: children.map(stdin_bytes).sum(),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            audit_waiting: self.equipment.audit.waiting(),
            audit_lost: self.equipment.audit.lost(),
            access_lost: self.equipment.access.lost(),
        }
    }

    fn status(&self) -> Status {
        let (mut status, sessions, children) = {
            let (core, now) = self.lock_core();
            let gateway = &core.gateway;
            let status = Status::of(gateway.policy(), gateway.standing(), now);
            let sessions: Vec<_> = gateway.sessions(now).collect();
            let children: Vec<_> = gateway.children(now).collect();
            (status, sessions, children)
        };
        let now = self.now();
        status.rates = self.metrics.rates(now);
        status.refusals = self.metrics.last_refusals();
        status.sessions = sessions
            .into_iter()
            .map(|session| Session {
                upstream: self.shown(session.upstream).0,
                session,
            })
            .collect();
        status.children = children
            .into_iter()
            .map(|child| {
                let (upstream, pid) = self.shown(child.upstream);
                Child {
                    child,
                    upstream,
                    pid,
                }
            })
            .collect();
        // The longest first: what comes and goes stands at the end.
        status
            .sessions
            .sort_by_key(|it| std::cmp::Reverse(it.session.age));
        status
    }

    /// How an upstream stands, and its child's process id.
    fn shown(&self, upstream: UpstreamId) -> (UpstreamStanding, Option<u32>) {
        match self.upstream(upstream) {
            Some(inbox) => (inbox.shown.standing(), inbox.shown.pid()),
            // It is drained, and the gateway has not heard of it yet.
            None => {
                let gone = UpstreamStanding {
                    state: ChildState::Gone,
                    calls: 0,
                    streams: 0,
                    stdin_bytes: 0,
                };
                (gone, None)
            }
        }
    }
}
