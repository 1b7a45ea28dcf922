//! The limits as options: one line each, from which the option, the variable, the key of the file,
//! the help and `--check-config` all come.

use super::amount::{Bytes, Count, PerTime, PerTimeOrOff, Time, TimeOrOff, Zero};
use super::options::{Shape, Spec};
use mcp_proto::Limits;

/// One field of [`Limits`] as an option.
pub(crate) struct Limit {
    pub(crate) spec: Spec,
    /// Sets the field from text, or says what is wrong with the text.
    pub(crate) read: fn(&mut Limits, &str) -> Result<(), String>,
    /// The field's value, as text that `read` takes.
    pub(crate) show: fn(&Limits) -> String,
}

macro_rules! limits {
    ($($field:ident $kind:ident zero $zero:ident, $help:literal;)*) => {
        /// Every limit, in the order of the help.
        pub(crate) const LIMITS: &[Limit] = &[$(Limit {
            spec: Spec {
                name: {
                    const NAME: [u8; stringify!($field).len()] = kebab(stringify!($field));
                    match str::from_utf8(&NAME) {
                        Ok(name) => name,
                        Err(_) => panic!("a field's name is UTF-8"),
                    }
                },
                value: $kind::VALUE,
                shape: Shape::One,
                help: $help,
            },
            read: |limits, text| {
                limits.$field = $kind::read(text, Zero::$zero)?;
                Ok(())
            },
            show: |limits| $kind::show(&limits.$field),
        }),*];

        /// Does not compile while a field of [`Limits`] has no line in the table.
        const _: fn(&Limits) = |Limits { $($field: _),* }| {};
    };
}

limits! {
    head_bytes Bytes zero Refused, "Most bytes of a request's head (431)";
    head_fields Count zero Refused, "Most fields in a request's head (431)";
    target_bytes Bytes zero Refused, "Most bytes of a request's target (414)";
    head_time Time zero Refused, "Time for a whole request head to arrive (408)";
    body_bytes Bytes zero Refused, "Most bytes of a request's body (413)";
    body_time Time zero Refused, "Time for a whole request body to arrive (408)";
    chunk_line_bytes Bytes zero Refused, "Most bytes of the line that tells a chunk's size (400)";
    chunk_framing_bytes Bytes zero Refused, "Most bytes of a body in chunks that are no data (400)";
    keep_alive_time Time zero Refused, "Time that a connection may stand idle between requests";
    connections Count zero Refused, "Most connections at once; one more waits";
    body_budget_bytes Bytes zero Refused, "Most bytes of request bodies held at once, over all connections (503)";

    sessions Count zero Refused, "Most sessions at once (503)";
    sessions_per_principal Count zero Refused, "Most sessions of one principal at once, static tokens excepted (503)";
    session_ttl Time zero Refused, "Idle time after which a session and its child end, and a child of 2026-07-28 that many share";
    calls_per_session Count zero Refused, "Most calls in flight in one session (503)";
    streams_per_session Count zero Refused, "Most open GET streams in one session (503)";

    hosts Count zero Refused, "Most children at once that are shared: by clients of 2026-07-28, and by sessions that have none of their own (503)";
    idle_host_time Time zero Refused, "Idle time after which such a child ends, if its server has a handshake";
    calls_per_child Count zero Refused, "Most calls in flight at one such child, and most that wait for one (503)";
    discover_time Time zero Allowed, "Silence after which a server that was asked server/discover is asked to initialize too";
    request_state_time Time zero Refused, "Time that a requestState is good for";

    token_bytes Bytes zero Refused, "Most bytes of a bearer token (401)";
    verdict_time Time zero Refused, "Time that a verifier's verdict on a token is good for";
    verdicts Count zero Refused, "Most verdicts that are kept, of the good and of the bad each";
    verifier_time Time zero Refused, "Time that a verifier may take for one token (503)";
    credential_rate PerTime zero Refused, "For each address: tokens that are not good, and calls to verifiers (429)";
    probe_rate PerTime zero Refused, "For each address: requests without a token, and for OAuth metadata (429)";
    principal_rate PerTimeOrOff zero Refused, "For each principal: requests to the MCP endpoint (429)";
    address_rate PerTimeOrOff zero Refused, "For each address: requests to the MCP endpoint (429)";
    rate_entries Count zero Refused, "Most addresses that a rate is kept for; those beyond share one";

    stream_queue_bytes Bytes zero Refused, "Most bytes that wait for one slow reader before its stream closes";
    replay_bytes Bytes zero Allowed, "Most bytes of sent events kept per session for Last-Event-ID";
    waiting_bytes Bytes zero Allowed, "Most bytes per session that wait for a stream to carry them";
    silence_time Time zero Allowed, "Silence after which a call's answer becomes an event stream";
    comment_time Time zero Refused, "Silence after which an event stream carries a comment";
    poll_after TimeOrOff zero Refused, "Time after which a call's stream closes for the client to resume (2025-11-25 and later)";
    retry_time Time zero Allowed, "Reconnection time that event streams tell";

    line_bytes Bytes zero Refused, "Most bytes of one line from a child; a longer one is skipped";
    stdin_bytes Bytes zero Refused, "Most bytes that wait for a child to read its stdin (503)";
    request_time Time zero Refused, "Time that a call may take; progress starts it anew";
    request_time_max Time zero Refused, "Time that a call may take however much progress it reports";
    client_answer_time Time zero Refused, "Time that a client may take to answer a request from the child";

    terminate_after Time zero Allowed, "Time from a child's stdin closing to SIGTERM";
    kill_after Time zero Allowed, "Time from SIGTERM to SIGKILL";
    drain_time Time zero Allowed, "Time from the order to stop until the process ends";
}

/// What the HTTP library of one of the adapters takes.
const LONGEST_TARGET: usize = 65_534;

/// What the limits must be, by themselves and to each other; the key and what is wrong with it.
pub(crate) fn consistent(limits: &Limits) -> Result<(), (&'static str, String)> {
    if limits.target_bytes > LONGEST_TARGET {
        let most = Bytes::show(&LONGEST_TARGET);
        return Err((
            "target-bytes",
            format!("is more than a target can have; give {most} or less"),
        ));
    }
    let stop = limits.terminate_after + limits.kill_after;
    if limits.drain_time < stop {
        let stop = Time::show(&stop);
        return Err((
            "drain-time",
            format!("is less than terminate-after and kill-after together; give {stop} or more"),
        ));
    }
    if limits.request_time_max < limits.request_time {
        let least = Time::show(&limits.request_time);
        return Err((
            "request-time-max",
            format!("is less than request-time; give {least} or more"),
        ));
    }
    let body = Bytes::show(&limits.body_bytes);
    if limits.body_budget_bytes < limits.body_bytes {
        return Err((
            "body-budget-bytes",
            format!("has no room for one body of body-bytes; give {body} or more"),
        ));
    }
    if limits.stdin_bytes < limits.body_bytes {
        return Err((
            "stdin-bytes",
            format!("has no room for one body of body-bytes; give {body} or more"),
        ));
    }
    Ok(())
}

/// A field's name as an option's: `session_ttl` is `session-ttl`.
const fn kebab<const N: usize>(field: &str) -> [u8; N] {
    let mut name = [0; N];
    let mut at = 0;
    while at < N {
        let byte = field.as_bytes()[at];
        name[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    name
}
