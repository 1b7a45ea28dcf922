//! A child as its upstream holds it: the process's life, its pipes, and what is wanted of the driver.

use std::collections::VecDeque;

use bytes::Bytes;

use super::mail::{FromHost, ToHost};
use super::process::Process;
use super::{ChildState, Letter, Sender, Stop, UpstreamMail, UpstreamOutput, message};
use crate::audit::{AuditEvent, AuditRecord};
use crate::envelope::{self, Document, Source};
use crate::exchange::{self, ExchangeMail, Rejection};
use crate::framing::{Frame, LineBuffer, Text};
use crate::gateway::{GatewayMail, News};
use crate::id::{ExchangeId, UpstreamId};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::time::{Instant, Now};
use crate::translation::legacy_server::{LegacyServer, Output};

/// Counts of what was dropped; a record is kept of the first, second, fourth, eighth, ...
#[derive(Default)]
struct Counts {
    lines: u64,
    answers: u64,
    messages: u64,
}

pub(super) struct Child {
    id: UpstreamId,
    pub(super) limits: Limits,
    process: Process,
    pub(super) stdout: LineBuffer,
    stdout_closed: bool,
    /// Bytes for the child that the driver has not written.
    stdin_queued: usize,
    /// Grants that have come in.
    pub(super) seen: u64,
    /// Grants that were given in all, once the gateway has said so.
    pub(super) granted: Option<u64>,
    drained: bool,
    counts: Counts,
    /// What stands in a process's place.
    shared: Option<Box<Shared>>,
    outputs: VecDeque<UpstreamOutput>,
}

/// A child that is a host's, and shared with others.
struct Shared {
    host: UpstreamId,
    server: LegacyServer,
}

impl Child {
    /// A child that is to be started.
    pub(super) fn new(id: UpstreamId, limits: &Limits) -> Self {
        Self {
            id,
            process: Process::Starting { stop: false },
            stdout: LineBuffer::new(limits.line_bytes),
            stdout_closed: false,
            stdin_queued: 0,
            seen: 0,
            granted: None,
            drained: false,
            counts: Counts::default(),
            shared: None,
            outputs: VecDeque::from([UpstreamOutput::Spawn]),
            limits: limits.clone(),
        }
    }

    /// A child that is the host's, which speaks 2026-07-28 and said this of itself.
    pub(super) fn shared(
        id: UpstreamId,
        host: UpstreamId,
        discovered: &[u8],
        limits: &Limits,
    ) -> Self {
        Self {
            process: Process::Running,
            stdout_closed: true,
            shared: Some(Box::new(Shared {
                host,
                server: LegacyServer::new(discovered, limits),
            })),
            outputs: VecDeque::new(),
            ..Self::new(id, limits)
        }
    }

    pub(super) fn id(&self) -> UpstreamId {
        self.id
    }

    /// Takes note that the process runs.
    pub(super) fn started(&mut self, now: Now) {
        let stop = self.process.started(&self.limits, now.monotonic);
        self.stopping(stop);
    }

    /// Has the process end.
    pub(super) fn stop(&mut self, now: Now) {
        if let Some(shared) = self.shared.take() {
            self.process = Process::Gone;
            let letter = Letter::ToHost {
                from: self.id,
                letter: ToHost::Ended,
            };
            return self.mail(shared.host, letter);
        }
        let stop = self.process.stop(&self.limits, now.monotonic);
        self.stopping(stop);
    }

    /// Takes note that the process has ended, or never began.
    pub(super) fn gone(&mut self) {
        self.process = Process::Gone;
    }

    pub(super) fn stdout_closed(&mut self) {
        self.stdout_closed = true;
    }

    pub(super) fn stdin_written(&mut self, bytes: usize) {
        self.stdin_queued = self.stdin_queued.saturating_sub(bytes);
    }

    /// Makes an ending process end harder, if that is due.
    pub(super) fn timeout(&mut self, now: Now) {
        let stop = self.process.timeout(&self.limits, now.monotonic);
        self.stopping(stop);
    }

    /// When to call [`Child::timeout`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.process.due()
    }

    fn stopping(&mut self, stop: Option<Stop>) {
        if let Some(stop) = stop {
            self.outputs.push_back(UpstreamOutput::Stop(stop));
        }
    }

    pub(super) fn wants_stdout(&self) -> bool {
        !self.stdout_closed && self.process != Process::Gone
    }

    pub(super) fn state(&self) -> ChildState {
        match self.process {
            Process::Starting { .. } => ChildState::Starting,
            Process::Running => ChildState::Running,
            Process::Closing { .. } | Process::Terminating { .. } | Process::Killed => {
                ChildState::Stopping
            }
            Process::Gone => ChildState::Gone,
        }
    }

    pub(super) fn stdin_queued(&self) -> usize {
        self.stdin_queued
    }

    /// Whether so much waits for the child to read it that `more` bytes are too many.
    pub(super) fn is_behind(&self, more: usize) -> bool {
        self.stdin_queued > 0 && self.stdin_queued + more > self.limits.stdin_bytes
    }

    /// Once the process and all grants are gone: says so, once.
    pub(super) fn settle(&mut self) {
        if self.process == Process::Gone && self.granted == Some(self.seen) && !self.drained {
            self.drained = true;
            self.news(News::Drained);
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    pub(super) fn poll_output(&mut self) -> Option<UpstreamOutput> {
        self.outputs.pop_front()
    }

    pub(super) fn stdin(&mut self, frame: Frame) {
        // What holds a second line holds a second message, which nothing has judged.
        assert!(
            message::is_one_line(&frame),
            "a frame for the child is one line"
        );
        if let Some(shared) = &mut self.shared {
            let line = frame.to_bytes();
            if let Ok(Document::Single(message)) = envelope::scan(&line, Source::Child) {
                shared.server.handle_line(&line, &message);
            }
            return;
        }
        if self.process.accepts_input() {
            self.stdin_queued += frame.len();
            self.outputs.push_back(UpstreamOutput::Stdin(frame));
        }
    }

    /// Takes what the host of a shared child says about a call.
    pub(super) fn hear_host(&mut self, reference: u64, letter: FromHost) {
        let Some(shared) = &mut self.shared else {
            return;
        };
        let (message, is_answer) = match letter {
            FromHost::Answer(message) => (message, true),
            FromHost::Notification(message) => (message, false),
            FromHost::Failed(refusal) => (failed(reference, refusal), true),
        };
        let Ok(Document::Single(envelope)) = envelope::scan(&message, Source::Child) else {
            return;
        };
        let text = Text::Long(&message);
        match is_answer {
            true => shared
                .server
                .handle_answer(reference, text, &message, &envelope),
            false => shared
                .server
                .handle_notification(reference, text, &message, &envelope),
        }
    }

    /// The next line of a shared child's, whose calls are made on the way.
    pub(super) fn poll_line(&mut self) -> Option<Frame> {
        loop {
            let shared = self.shared.as_mut()?;
            let letter = match shared.server.poll_output()? {
                Output::Line(line) => return Some(line),
                Output::Call { reference, request } => ToHost::Call { reference, request },
                Output::Cancel { reference } => ToHost::Cancel { reference },
            };
            let (host, from) = (shared.host, self.id);
            self.mail(host, Letter::ToHost { from, letter });
        }
    }

    /// Answers a request of the child's in the client's place.
    pub(super) fn answer_line(&mut self, line: Vec<u8>) {
        // A child that asks without end and does not read must not make this queue grow.
        if self.stdin_queued + line.len() > self.limits.stdin_bytes {
            return self.drop_message();
        }
        self.stdin(Bytes::from(line).into());
    }

    /// Answers a ping of the child's in the client's place.
    pub(super) fn pong(&mut self, id: &[u8]) {
        let line = [b"{\"jsonrpc\":\"2.0\",\"id\":", id, b",\"result\":{}}\n"].concat();
        self.answer_line(line);
    }

    /// Answers a request of the child's with an error. `message` needs no escapes in JSON.
    pub(super) fn answer_error(&mut self, id: &[u8], code: i32, message: &str) {
        let mut line = Vec::with_capacity(128);
        line.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        line.extend_from_slice(id);
        line.extend_from_slice(
            format!(",\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}\n").as_bytes(),
        );
        self.answer_line(line);
    }

    pub(super) fn refuse(&mut self, exchange: ExchangeId, rejection: impl Into<Rejection>) {
        self.tell(exchange, exchange::Letter::Refused(rejection.into()), true);
    }

    pub(super) fn tell(&mut self, exchange: ExchangeId, letter: exchange::Letter, last: bool) {
        self.outputs.push_back(UpstreamOutput::ToExchange {
            exchange,
            mail: ExchangeMail(letter),
            last,
        });
    }

    pub(super) fn disconnect(&mut self, exchange: ExchangeId) {
        self.outputs
            .push_back(UpstreamOutput::Disconnect { exchange });
    }

    /// Tells another upstream something.
    pub(super) fn mail(&mut self, upstream: UpstreamId, letter: Letter) {
        self.outputs.push_back(UpstreamOutput::ToUpstream {
            upstream,
            mail: UpstreamMail(letter),
        });
    }

    pub(super) fn news(&mut self, news: News) {
        self.outputs
            .push_back(UpstreamOutput::ToGateway(GatewayMail::news(self.id, news)));
    }

    pub(super) fn audit(&mut self, event: AuditEvent, sender: Option<&Sender>) {
        self.outputs.push_back(UpstreamOutput::Audit(AuditRecord {
            exchange: sender.map(|sender| sender.exchange),
            request: sender.map(|sender| sender.request.clone()),
            upstream: Some(self.id),
            ..AuditRecord::new(event)
        }));
    }

    pub(super) fn drop_answer(&mut self) {
        self.counts.answers += 1;
        let count = self.counts.answers;
        self.audit_count(count, AuditEvent::AnswerDropped { count });
    }

    pub(super) fn drop_message(&mut self) {
        self.counts.messages += 1;
        let count = self.counts.messages;
        self.audit_count(count, AuditEvent::MessageDropped { count });
    }

    pub(super) fn skip_line(&mut self) {
        self.counts.lines += 1;
        let count = self.counts.lines;
        self.audit_count(count, AuditEvent::LineSkipped { count });
    }

    /// A flood makes few records: the first, second, fourth, eighth, ...
    fn audit_count(&mut self, count: u64, event: AuditEvent) {
        if count.is_power_of_two() {
            self.audit(event, None);
        }
    }
}

/// The error that answers a call which the host could not have answered.
fn failed(reference: u64, refusal: Refusal) -> Bytes {
    let (code, message) = (refusal.code(), refusal.message());
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{reference},\
         \"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}"
    )
    .into()
}
