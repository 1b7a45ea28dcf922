//! One child process, and the session that it serves.
//!
//! ```text
//! Probing ──answered, or failed──────────────────────────────┐
//! Opening ──initialize answered──> Live ──┐                  │
//!    └──────────────┴── DELETE, TTL, child's end, drain ──> Ended
//! ```
//!
//! Beside that runs the process's own life (`process.rs`). The upstream relays in both directions
//! (`to_child.rs`, `to_client.rs`; only ids and tokens are changed, as splices on the raw bytes). It
//! keeps what is in flight (`calls.rs`, `timeouts.rs`), the session's event streams and their replay
//! buffer (`streams.rs`), and the messages that wait for a stream (`waiting.rs`).
//!
//! It ends the session by its own doing (the child's end) or on the gateway's order, fails what is
//! in flight, stops the process, and is drained once the process is gone and every grant has come
//! in.

mod calls;
mod mail;
pub(crate) mod message;
mod process;
mod streams;
mod timeouts;
mod to_child;
mod to_client;
mod waiting;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use self::calls::Calls;
pub(crate) use self::mail::{Letter, Purpose, Sender};
pub use self::mail::{Opening, UpstreamMail};
use self::process::Process;
pub use self::process::Stop;
use self::streams::{Kind, Sending, Streams};
use self::waiting::Waiting;
use crate::audit::{AuditEvent, AuditRecord, SessionEnd};
use crate::exchange::{self, ExchangeMail};
use crate::framing::{Frame, LineBuffer};
use crate::gateway::{GatewayMail, News};
use crate::id::{ExchangeId, UpstreamId};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::sse;
use crate::time::{Instant, Now};
use crate::version::Version;

/// What the start-up probe asks; its id is none that [`Calls::mint`] gives.
const PROBE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\
    \"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
    \"clientInfo\":{\"name\":\"mcp-gateway\",\"version\":\"0\"}}}\n";

/// Ends the probe's handshake, so that the child sees a whole one.
const INITIALIZED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/// What an [`Upstream`] wants done.
#[derive(Debug)]
pub enum UpstreamOutput {
    /// Start the child, and tell [`Upstream::handle_spawned`]. Comes once, first.
    Spawn,
    /// Write these bytes to the child's stdin, and tell [`Upstream::handle_stdin_written`].
    Stdin(Frame),
    /// Make the child end.
    Stop(Stop),
    /// Hand this to the [`Exchange`](crate::Exchange) of this name; if there is none any more,
    /// drop it.
    ToExchange {
        /// Whose mail it is.
        exchange: ExchangeId,
        /// The mail.
        mail: ExchangeMail,
        /// Whether no more will come for this exchange.
        last: bool,
    },
    /// Close the connection of this exchange at once: its reader has stopped reading.
    Disconnect {
        /// The exchange.
        exchange: ExchangeId,
    },
    /// Hand this to the [`Gateway`](crate::Gateway).
    ToGateway(GatewayMail),
    /// Keep this record.
    Audit(AuditRecord),
}

/// How things stand with one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamStanding {
    /// Where the child is in its life.
    pub state: ChildState,
    /// Calls in flight.
    pub calls: usize,
    /// Event streams that are open.
    pub streams: usize,
    /// Bytes that wait for its stdin.
    pub stdin_bytes: usize,
}

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It was told to end.
    Stopping,
    /// It has ended, or could not be started.
    Gone,
}

impl ChildState {
    /// All that there are, in their order.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Running, Self::Stopping, Self::Gone];

    /// The state's name: stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Probing,
    Opening,
    Live,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Call(u64),
    ChildRequest(u64),
    Process,
    Probe,
    Drain,
}

/// Counts of what was dropped; a record is kept of the first, second, fourth, eighth, ...
#[derive(Default)]
struct Counts {
    lines: u64,
    answers: u64,
    messages: u64,
}

/// One child process, and the session that it serves.
pub struct Upstream {
    id: UpstreamId,
    limits: Limits,
    phase: Phase,
    /// What the child's answer to `initialize` said, if it is a known revision.
    version: Option<Version>,
    process: Process,
    stdout: LineBuffer,
    stdout_closed: bool,
    /// Bytes for the child that the driver has not written.
    stdin_queued: usize,
    calls: Calls,
    streams: Streams,
    waiting: Waiting,
    /// Since when the client has owed an answer to a request of the child's.
    owed_since: Option<Instant>,
    timers: BTreeSet<(Instant, Timer)>,
    /// Grants that have come in.
    seen: u64,
    /// Grants that were given in all, once the gateway has said so.
    granted: Option<u64>,
    /// Whether the gateway waits to hear that the session is idle, which it is not before this
    /// many grants have come in.
    report_idle: Option<u64>,
    /// Whether a call was in flight or a stream open after the last input.
    busy: bool,
    /// When the last call or stream ended. The gateway sees only requests begin, and would end a
    /// session right after a long call.
    idle_since: Instant,
    /// What a call is told that comes after the session's end.
    late: Refusal,
    draining: bool,
    drained: bool,
    counts: Counts,
    outputs: VecDeque<UpstreamOutput>,
}

impl Upstream {
    /// The upstream that the gateway ordered.
    pub fn new(opening: Opening, limits: &Limits, now: Now) -> Self {
        let mut upstream = Self {
            id: opening.upstream,
            phase: match opening.purpose {
                Purpose::Probe => Phase::Probing,
                Purpose::Session => Phase::Opening,
            },
            version: None,
            process: Process::Starting { stop: false },
            stdout: LineBuffer::new(limits.line_bytes),
            stdout_closed: false,
            stdin_queued: 0,
            calls: Calls::default(),
            streams: Streams::new(opening.nonce, limits),
            waiting: Waiting::default(),
            owed_since: None,
            timers: BTreeSet::new(),
            seen: 0,
            granted: None,
            report_idle: None,
            busy: false,
            idle_since: now.monotonic,
            late: Refusal::SessionNotFound,
            draining: false,
            drained: false,
            counts: Counts::default(),
            outputs: VecDeque::from([UpstreamOutput::Spawn]),
            limits: limits.clone(),
        };
        if upstream.phase == Phase::Probing {
            upstream.stdin(Frame::from(PROBE));
            let due = now.monotonic + limits.request_time;
            upstream.timers.insert((due, Timer::Probe));
        }
        upstream
    }

    /// The name that the gateway gave.
    pub fn id(&self) -> UpstreamId {
        self.id
    }

    /// Takes note that the child runs, or could not be started.
    pub fn handle_spawned(&mut self, spawned: bool, now: Now) {
        if spawned {
            let stop = self.process.started(&self.limits, now.monotonic);
            self.stopping(stop);
        } else {
            self.process = Process::Gone;
            self.end(SessionEnd::SpawnFailed, true, now);
        }
        self.settle(now);
    }

    /// Takes mail from the gateway or an exchange.
    pub fn handle_mail(&mut self, mail: UpstreamMail, now: Now) {
        match mail.0 {
            Letter::Call {
                sender,
                body,
                document,
            } => {
                self.seen += 1;
                self.take_call(&sender, &body, &document, now);
            }
            Letter::Listen {
                sender,
                last_event_id,
            } => {
                self.seen += 1;
                self.listen(sender, last_event_id.as_ref());
            }
            Letter::Forfeit => self.seen += 1,
            Letter::Release { exchange, bytes } => self.streams.release(exchange, bytes),
            Letter::Disconnect { exchange } => self.disconnected(exchange, now),
            Letter::Expire {
                granted,
                last_seen,
                end,
            } => self.asked_to_expire(granted, last_seen, end, now),
            Letter::Retire { granted, end } => {
                self.granted = Some(granted);
                self.end(end, false, now);
            }
            Letter::Drain { until } => {
                self.draining = true;
                self.timers.insert((until, Timer::Drain));
            }
        }
        self.settle(now);
    }

    /// Room for what the child writes to its stdout, while [`Upstream::wants_stdout`].
    pub fn stdout_buffer(&mut self) -> &mut [u8] {
        self.stdout.spare()
    }

    /// Takes note that `bytes` bytes were read into [`Upstream::stdout_buffer`].
    pub fn handle_stdout(&mut self, bytes: usize, now: Now) {
        self.stdout.filled(bytes);
        self.take_lines(now);
        self.settle(now);
    }

    /// Takes note that the child has closed its stdout: nothing it is asked can be answered.
    pub fn handle_stdout_closed(&mut self, now: Now) {
        self.stdout_closed = true;
        self.end(SessionEnd::ChildExited, true, now);
        self.settle(now);
    }

    /// Takes note that `bytes` bytes were written to the child's stdin.
    pub fn handle_stdin_written(&mut self, bytes: usize, _now: Now) {
        self.stdin_queued = self.stdin_queued.saturating_sub(bytes);
    }

    /// Takes note that the child has ended, that what it wrote before was handed over, and that
    /// its process group is gone.
    pub fn handle_exit(&mut self, now: Now) {
        self.process = Process::Gone;
        self.end(SessionEnd::ChildExited, true, now);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(&(due, timer)) = self.timers.first()
            && due <= now.monotonic
        {
            self.timers.pop_first();
            match timer {
                Timer::Call(minted) => self.call_timer(minted, now),
                Timer::ChildRequest(minted) => self.child_request_timer(minted, now),
                Timer::Process => {
                    let stop = self.process.timeout(&self.limits, now.monotonic);
                    self.stopping(stop);
                }
                Timer::Probe | Timer::Drain => self.end(SessionEnd::Draining, true, now),
            }
        }
        self.settle(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<UpstreamOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Upstream::handle_timeout`] if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(due, _)| due)
    }

    /// Whether the child's stdout should be read on. It should whether or not its stdin can be
    /// written: a child that is not read may not read either.
    pub fn wants_stdout(&self) -> bool {
        !self.stdout_closed && self.process != Process::Gone
    }

    /// How things stand, for whoever operates the gateway.
    pub fn standing(&self) -> UpstreamStanding {
        UpstreamStanding {
            state: match self.process {
                Process::Starting { .. } => ChildState::Starting,
                Process::Running => ChildState::Running,
                Process::Closing { .. } | Process::Terminating { .. } | Process::Killed => {
                    ChildState::Stopping
                }
                Process::Gone => ChildState::Gone,
            },
            calls: self.calls.len(),
            streams: self.streams.attached_count(),
            stdin_bytes: self.stdin_queued,
        }
    }

    /// Whether nothing more will come of it once the outputs are drained: the driver drops it.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// Whether every table is empty.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.calls.request_count() == 0
            && self.streams.is_empty()
            && self.waiting.is_empty()
    }

    /// Whether the session may not be ended as idle.
    fn is_busy(&self) -> bool {
        !self.calls.is_empty() || self.streams.is_attached()
    }

    fn asked_to_expire(&mut self, granted: u64, last_seen: Instant, end: SessionEnd, now: Now) {
        if self.phase == Phase::Ended {
            return;
        }
        if self.is_busy() || granted != self.seen {
            self.report_idle = Some(granted);
            self.news(News::Busy);
        } else if self.idle_since > last_seen {
            let since = self.idle_since;
            self.news(News::Idle { since });
        } else {
            self.end(end, true, now);
        }
    }

    fn listen(&mut self, sender: Sender, last_event_id: Option<&Bytes>) {
        let exchange = sender.exchange;
        if self.phase == Phase::Ended {
            return self.refuse(exchange, Refusal::SessionNotFound);
        }
        if let Some(id) = last_event_id {
            return match self.streams.resume(sender, id) {
                Ok(resumed) => self.resumed(exchange, resumed),
                Err(refusal) => self.refuse(exchange, refusal),
            };
        }
        if self.draining {
            return self.refuse(exchange, Refusal::Draining);
        }
        if !self.streams.may_listen() {
            return self.refuse(exchange, Refusal::TooManyStreams);
        }
        let stream = self.streams.open(Kind::Listen, sender, 0);
        self.begin(stream);
        self.flush_waiting(stream, false);
    }

    fn resumed(&mut self, exchange: ExchangeId, resumed: streams::Resumed) {
        if let Some(replaced) = resumed.replaced {
            self.tell(replaced, exchange::Letter::End, true);
        }
        if resumed.finished && resumed.events.is_empty() {
            self.streams.finish(resumed.key);
            return self.tell(exchange, exchange::Letter::NothingToResume, true);
        }
        // The cursor stays where it is until the first event.
        let priming = self
            .has_priming_events()
            .then(|| sse::priming(resumed.id, self.limits.retry_time));
        self.tell(exchange, exchange::Letter::Begin(priming), false);
        for event in resumed.events {
            self.tell(exchange, exchange::Letter::Event(event), false);
        }
        if resumed.finished {
            self.finish(resumed.key);
        } else if resumed.kind == Kind::Listen {
            self.flush_waiting(resumed.key, false);
        }
    }

    fn disconnected(&mut self, exchange: ExchangeId, now: Now) {
        let Some(stream) = self.streams.detach(exchange) else {
            return;
        };
        if self.phase == Phase::Opening && !self.streams.is_deliverable(stream) {
            // The client never learned the session's id.
            self.end(SessionEnd::ClientGone, true, now);
        }
    }

    /// Begins the stream's response as an event stream, unless it has begun.
    fn begin(&mut self, stream: u64) {
        let Some((false, Some(exchange))) = self
            .streams
            .get(stream)
            .map(|stream| (stream.begun, stream.exchange()))
        else {
            return;
        };
        let priming = self
            .streams
            .begin(stream, self.has_priming_events())
            .map(|id| sse::priming(id, self.limits.retry_time));
        self.tell(exchange, exchange::Letter::Begin(priming), false);
    }

    fn has_priming_events(&self) -> bool {
        self.version.is_some_and(Version::has_priming_events)
    }

    /// Sends an event on a stream that has begun.
    fn send(&mut self, stream: u64, event: Frame) {
        match self.streams.send(stream, &event) {
            Sending::To(exchange) => {
                self.tell(exchange, exchange::Letter::Event(event), false);
            }
            Sending::Overrun(reader) => {
                let exchange = reader.exchange;
                self.outputs
                    .push_back(UpstreamOutput::Disconnect { exchange });
                self.audit(AuditEvent::ReaderDropped, Some(&reader));
            }
            Sending::Kept => {}
        }
    }

    /// Ends a stream for good.
    fn finish(&mut self, stream: u64) {
        if let Some(exchange) = self.streams.finish(stream) {
            self.tell(exchange, exchange::Letter::End, true);
        }
    }

    /// Ends the session: fails what is in flight and stops the child. `report` says whether
    /// the gateway has to hear of it.
    fn end(&mut self, end: SessionEnd, report: bool, now: Now) {
        let refusal = match end {
            SessionEnd::SpawnFailed => Refusal::ChildUnavailable,
            SessionEnd::ChildExited => Refusal::ChildExited,
            _ => Refusal::SessionEnded,
        };
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        if phase == Phase::Ended {
            return;
        }
        // A start that fails may be quicker than the `initialize` that it was for.
        if phase == Phase::Opening && self.seen == 0 {
            self.late = match end {
                SessionEnd::Draining => Refusal::Draining,
                _ => refusal,
            };
        }
        while let Some(minted) = self.calls.first() {
            self.fail(minted, refusal);
        }
        for exchange in self.streams.clear() {
            self.tell(exchange, exchange::Letter::End, true);
        }
        self.calls.clear_requests();
        self.waiting.clear();
        self.timers.clear();
        self.owed_since = None;
        let stop = self.process.stop(&self.limits, now.monotonic);
        self.stopping(stop);
        if report {
            self.news(match phase {
                Phase::Probing => News::Probed { passed: false },
                _ => News::Ended(end),
            });
        }
    }

    /// After every input: what follows from the state that it left.
    fn settle(&mut self, now: Now) {
        let idle = self.calls.is_empty();
        let busy = self.is_busy();
        if std::mem::replace(&mut self.busy, busy) && !busy {
            self.idle_since = now.monotonic;
        }
        if self.draining && idle && self.phase != Phase::Ended {
            self.end(SessionEnd::Draining, true, now);
        }
        if self.report_idle.is_some_and(|granted| granted <= self.seen)
            && !busy
            && self.phase != Phase::Ended
        {
            self.report_idle = None;
            let since = now.monotonic;
            self.news(News::Idle { since });
        }
        if idle {
            self.stdout.release();
        }
        if self.process == Process::Gone && self.granted == Some(self.seen) && !self.drained {
            self.drained = true;
            self.news(News::Drained);
        }
    }

    fn stopping(&mut self, stop: Option<Stop>) {
        if let Some(stop) = stop {
            self.outputs.push_back(UpstreamOutput::Stop(stop));
        }
        if let Some(due) = self.process.due() {
            self.timers.insert((due, Timer::Process));
        }
    }

    fn stdin(&mut self, frame: Frame) {
        // What holds a second line holds a second message, which nothing has judged.
        assert!(
            message::is_one_line(&frame),
            "a frame for the child is one line"
        );
        if self.process.accepts_input() {
            self.stdin_queued += frame.len();
            self.outputs.push_back(UpstreamOutput::Stdin(frame));
        }
    }

    fn refuse(&mut self, exchange: ExchangeId, refusal: Refusal) {
        self.tell(exchange, exchange::Letter::Refused(refusal), true);
    }

    fn tell(&mut self, exchange: ExchangeId, letter: exchange::Letter, last: bool) {
        self.outputs.push_back(UpstreamOutput::ToExchange {
            exchange,
            mail: ExchangeMail(letter),
            last,
        });
    }

    fn news(&mut self, news: News) {
        self.outputs
            .push_back(UpstreamOutput::ToGateway(GatewayMail::news(self.id, news)));
    }

    fn audit(&mut self, event: AuditEvent, sender: Option<&Sender>) {
        self.outputs.push_back(UpstreamOutput::Audit(AuditRecord {
            exchange: sender.map(|sender| sender.exchange),
            request: sender.map(|sender| sender.request.clone()),
            upstream: Some(self.id),
            ..AuditRecord::new(event)
        }));
    }
}
