//! How things stand, as it is asked when the text is wanted.

use mcp_proto::Standing;
use prometheus::{IntCounter, IntGauge, Registry};

use super::series::{counter, gauge, raise};
use super::signed;

/// How things stand, as it is asked when the text is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels {
    /// Sessions, children, and who waits for room.
    pub standing: Standing,
    /// Bytes that wait for children's stdin.
    pub stdin_bytes: usize,
    /// Bytes of request bodies that stand in the budget.
    pub body_bytes: usize,
    /// Audit records that wait for the sink.
    pub audit_waiting: usize,
    /// Audit records that were lost so far.
    pub audit_lost: u64,
    /// Lines of the access log that were lost so far.
    pub access_lost: u64,
}

/// What [`Levels`] are told by.
pub(super) struct LevelMetrics {
    sessions: IntGauge,
    waiting: IntGauge,
    children: IntGauge,
    ready: IntGauge,
    stdin_bytes: IntGauge,
    body_bytes: IntGauge,
    audit_waiting: IntGauge,
    audit_lost: IntCounter,
    access_lost: IntCounter,
    log_lost: IntCounter,
}

impl LevelMetrics {
    pub(super) fn new(add: &Registry, body_budget: usize) -> Self {
        let budget = gauge(
            add,
            "request_body_budget_bytes",
            "The most bytes of request bodies at a time",
        );
        budget.set(signed(body_budget));
        Self {
            sessions: gauge(add, "sessions", "Sessions that are open or being opened"),
            waiting: gauge(
                add,
                "requests_waiting",
                "Requests that wait for room for a session",
            ),
            children: gauge(add, "children", "Children that have not ended"),
            ready: gauge(
                add,
                "ready",
                "Whether further clients may come, as /health/ready says: 1 if so, else 0",
            ),
            stdin_bytes: gauge(
                add,
                "child_stdin_waiting_bytes",
                "Bytes that wait for children to read them",
            ),
            body_bytes: gauge(
                add,
                "request_bodies_bytes",
                "Bytes of request bodies that are held now",
            ),
            audit_waiting: gauge(
                add,
                "audit_records_waiting",
                "Audit records that wait for the sink",
            ),
            audit_lost: counter(
                add,
                "audit_records_lost_total",
                "Audit records that were lost",
            ),
            access_lost: counter(
                add,
                "access_lines_lost_total",
                "Lines of the access log that were lost",
            ),
            log_lost: counter(
                add,
                "log_lines_lost_total",
                "Lines of the log that were lost",
            ),
        }
    }

    pub(super) fn set(&self, levels: &Levels) {
        let standing = levels.standing;
        self.sessions.set(signed(standing.sessions));
        self.waiting.set(signed(standing.waiting));
        self.children.set(signed(standing.children));
        self.ready.set(i64::from(standing.not_ready.is_none()));
        self.stdin_bytes.set(signed(levels.stdin_bytes));
        self.body_bytes.set(signed(levels.body_bytes));
        self.audit_waiting.set(signed(levels.audit_waiting));
        raise(&self.audit_lost, levels.audit_lost);
        raise(&self.access_lost, levels.access_lost);
        raise(&self.log_lost, crate::logging::lost_lines());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_once() {
        let metrics = LevelMetrics::new(&Registry::new(), 0);
        for lost in [3, 3, 5] {
            raise(&metrics.audit_lost, lost);
        }
        assert_eq!(metrics.audit_lost.get(), 5);
    }
}
