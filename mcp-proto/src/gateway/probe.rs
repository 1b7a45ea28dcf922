//! The start-up probe: one child that is started before anyone comes, and again after starts that
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

use super::health::LastStart;
use super::{Gateway, GatewayOutput};
use crate::audit::{AuditEvent, AuditRecord, SessionEnd};
use crate::id::UpstreamId;
use crate::time::{Instant, Now};
use crate::upstream::Purpose;

/// From a start that failed to the next probe.
const PAUSE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Rests,
    Due(Instant),
    Running(UpstreamId),
}

impl Gateway {
    pub(super) fn start_probe(&mut self, now: Now) {
        let upstream = self.open_child(None, Purpose::Probe, now);
        self.probe = Probe::Running(upstream);
    }

    /// When the next probe is to be started.
    pub(super) fn probe_due(&self) -> Option<Instant> {
        match self.probe {
            Probe::Due(due) => Some(due),
            Probe::Rests | Probe::Running(_) => None,
        }
    }

    /// Takes what became of the probe's child.
    pub(super) fn probed(&mut self, upstream: UpstreamId, passed: bool, now: Now) {
        self.outputs.push_back(GatewayOutput::Audit(AuditRecord {
            upstream: Some(upstream),
            ..AuditRecord::new(AuditEvent::Probed { passed })
        }));
        self.probe = Probe::Rests;
        if passed {
            self.start_succeeded(now);
        } else {
            self.last_start = LastStart::ProbeFailed;
            self.probe_later(now);
        }
        self.retire(upstream, SessionEnd::Deleted);
    }

    /// Takes note that a child is lost whose driver panicked.
    pub(super) fn probe_lost(&mut self, upstream: UpstreamId, now: Now) {
        if self.probe == Probe::Running(upstream) {
            self.probe = Probe::Rests;
            self.last_start = LastStart::ProbeFailed;
            self.probe_later(now);
        }
    }

    /// Takes note that a child has answered `initialize`.
    pub(super) fn start_succeeded(&mut self, now: Now) {
        self.failed_starts = 0;
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
