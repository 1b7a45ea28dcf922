//! How things stand, for whoever runs the process: people, orchestrators and load balancers.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::Gateway;
use crate::access::Route;
use crate::time::Now;

/// How things stand; by default nobody is there, and clients may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Open sessions, those that are being opened included.
    pub sessions: usize,
    /// Requests that wait until there is room for a further session.
    pub waiting: usize,
    /// Children that have not ended.
    pub children: usize,
    /// Whether the gateway is stopping.
    pub draining: bool,
    /// Whether the start-up probe, or the last child that was started, failed.
    pub degraded: bool,
    /// Why no further clients should be sent here; `None` if they should.
    pub not_ready: Option<NotReady>,
}

/// Why no further clients should be sent to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It is stopping.
    Draining,
    /// The start-up probe has not been answered yet.
    ProbePending,
    /// The start-up probe failed, and no child has answered `initialize` since.
    ProbeFailed,
    /// The last child that was started for a session failed.
    StartFailed,
}

impl NotReady {
    /// The reason as `/health/ready` tells it: kebab-case, stable.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::ProbePending => "probe-pending",
            Self::ProbeFailed => "probe-failed",
            Self::StartFailed => "start-failed",
        }
    }
}

/// What became of the child that was started last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastStart {
    /// It is the start-up probe's, and has not answered.
    Probing,
    /// It answered; or there was none yet, and no probe is wanted.
    Succeeded,
    /// It was the start-up probe's, and did not answer.
    ProbeFailed,
    /// It was a session's, and did not answer.
    Failed,
}

impl Gateway {
    /// How things stand.
    pub fn standing(&self) -> Standing {
        let (degraded, not_ready) = match self.last_start {
            LastStart::Probing => (false, Some(NotReady::ProbePending)),
            LastStart::Succeeded => (false, None),
            LastStart::ProbeFailed => (true, Some(NotReady::ProbeFailed)),
            LastStart::Failed => (true, Some(NotReady::StartFailed)),
        };
        Standing {
            sessions: self.sessions.len(),
            waiting: self.waiting.len(),
            children: self.children.len(),
            draining: self.draining,
            degraded,
            not_ready: match self.draining {
                true => Some(NotReady::Draining),
                false => not_ready,
            },
        }
    }

    /// The document of health's at `route`, and its status:
    ///
    /// - [`Route::HealthLive`]: 200, since whoever could not go on would not answer.
    /// - [`Route::HealthReady`]: 503 with the reason if no further clients should be sent here.
    /// - anywhere else: a summary; 503 if the gateway is stopping, or the last start failed.
    pub fn health(&self, route: Route, now: Now) -> (StatusCode, Bytes) {
        let standing = self.standing();
        let (is_well, body) = match route {
            Route::HealthLive => (true, json!({"status": "ok"})),
            Route::HealthReady => match standing.not_ready {
                None => (true, json!({"status": "ok"})),
                Some(why) => {
                    let body = json!({"status": "unavailable", "reason": why.reason()});
                    (false, body)
                }
            },
            _ => {
                let word = match (standing.draining, standing.degraded) {
                    (true, _) => "draining",
                    (false, true) => "degraded",
                    (false, false) => "ok",
                };
                let body = json!({
                    "status": word,
                    "service": self.policy.service_name,
                    "version": self.policy.service_version,
                    "uptime_seconds": (now.monotonic - self.started).as_secs(),
                    "sessions": standing.sessions,
                    "children": standing.children,
                });
                (word == "ok", body)
            }
        };
        let status = match is_well {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, body.to_string().into())
    }
}
