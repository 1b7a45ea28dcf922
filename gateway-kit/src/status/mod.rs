//! How things stand: the document that the admin address serves, and what `mcp-gateway status` makes
//! of it. It holds no token, no session id and no payload.

mod table;

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use mcp_proto::{ChildStanding, Now, Policy, SessionStanding, Standing, UpstreamStanding};
use serde_json::{Value, json};

use crate::audit::LAST_SECOND;
use crate::health::{self, Asked};
use crate::metrics::{LastRefusal, Rates};

/// A session, and how its upstream stands.
pub(crate) struct Session {
    pub(crate) session: SessionStanding,
    pub(crate) upstream: UpstreamStanding,
}

/// A child, and how its upstream stands.
pub(crate) struct Child {
    pub(crate) child: ChildStanding,
    pub(crate) upstream: UpstreamStanding,
    pub(crate) pid: Option<u32>,
}

/// How things stand.
pub(crate) struct Status {
    service: String,
    version: String,
    uptime: Duration,
    standing: Standing,
    pub(crate) rates: Rates,
    pub(crate) sessions: Vec<Session>,
    pub(crate) children: Vec<Child>,
    pub(crate) refusals: Vec<LastRefusal>,
}

impl Status {
    /// Of a gateway with this policy, whose clock began at its start.
    pub(crate) fn of(policy: &Policy, standing: Standing, now: Now) -> Self {
        Self {
            service: policy.service_name.clone(),
            version: policy.service_version.clone(),
            uptime: Duration::from_nanos(now.monotonic.as_nanos()),
            standing,
            rates: Rates {
                requests: 0.0,
                errors: 0.0,
            },
            sessions: Vec::new(),
            children: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// The document. Times are seconds, or as RFC 3339 has them.
    pub(crate) fn to_json(&self) -> Bytes {
        let reason = self.standing.not_ready.map(|why| why.reason());
        let sessions: Vec<_> = self.sessions.iter().map(session).collect();
        let children: Vec<_> = self.children.iter().map(child).collect();
        let refusals: Vec<_> = self.refusals.iter().map(refusal).collect();
        let document = json!({
            "service": self.service,
            "version": self.version,
            "gateway_version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.uptime.as_secs(),
            "ready": reason.is_none(),
            "reason": reason,
            "requests_per_second": self.rates.requests,
            "errors_per_second": self.rates.errors,
            "requests_waiting": self.standing.waiting,
            "sessions": sessions,
            "children": children,
            "last_refusals": refusals,
        });
        document.to_string().into()
    }
}

fn session(shown: &Session) -> Value {
    let Session { session, upstream } = shown;
    let caller = &session.caller;
    let principal = caller.identity.as_ref().map(|it| &it.principal.subject);
    json!({
        "session": session.digest.to_string(),
        "principal": principal,
        "ip": caller.address.to_string(),
        "opening": session.opening,
        "child": session.upstream.get(),
        "age_seconds": session.age.as_secs(),
        "idle_seconds": session.idle.as_secs(),
        "calls": upstream.calls,
        "streams": upstream.streams,
    })
}

fn child(shown: &Child) -> Value {
    json!({
        "child": shown.child.upstream.get(),
        "pid": shown.pid,
        "state": shown.upstream.state.as_str(),
        "age_seconds": shown.child.age.as_secs(),
        "stdin_waiting_bytes": shown.upstream.stdin_bytes,
        "session": shown.child.session.map(|digest| digest.to_string()),
    })
}

fn refusal(refused: &LastRefusal) -> Value {
    let since = Duration::from_millis(refused.unix_ms).min(LAST_SECOND);
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + since);
    json!({
        "time": time.to_string(),
        "reason": refused.refusal.reason(),
        "ip": refused.address.map(|address| address.to_string()),
        "request": refused.request.as_ref().map(|request| request.as_str()),
    })
}

/// Asks a gateway's admin address how things stand, and says so: as a table, or as the document that
/// came. Blocks for five seconds at most.
///
/// # Errors
///
/// A line that says why nothing can be told.
pub fn ask(asked: &Asked, json: bool) -> Result<String, String> {
    let url = &asked.url;
    let answer = health::get(asked).map_err(|why| format!("{url} {why}; see --admin"))?;
    if answer.status != http::StatusCode::OK {
        return Err(format!("{url} answered {}", answer.status.as_u16()));
    }
    let foreign = || format!("{url} is not a gateway's admin address");
    let text = String::from_utf8(answer.body.into()).map_err(|_| foreign())?;
    let document: Value = serde_json::from_str(&text).map_err(|_| foreign())?;
    if json {
        return Ok(text + "\n");
    }
    table::of(&document).ok_or_else(foreign)
}
