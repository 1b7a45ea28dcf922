//! A child that is started to find out what it speaks, and whether it works.
//!
//! ```text
//! Discovering ──error, or silence──> Initializing ──┐
//!      └────────discovered, or its end──────────────┴──> Ended
//! ```
//!
//! MCP 2026-07-28, stdio, "Backward Compatibility": whoever knows both kinds of revision asks
//! `server/discover` first, and falls back to `initialize` on whatever is no error of a revision without
//! handshake. After silence both questions are open: a server that starts slowly may answer either.

use bytes::Bytes;

use super::child::Child;
use super::message::is_method;
use super::role::Role;
use super::{Letter, Stage, UpstreamStanding};
use crate::audit::SessionEnd;
use crate::envelope::{self, Document, Envelope, Field, Kind, Source};
use crate::framing::{Frame, Text};
use crate::gateway::{News, Outcome};
use crate::id::UpstreamId;
use crate::limits::Limits;
use crate::time::{Instant, Now};
use crate::version::MODERN;

const DISCOVER: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/discover\",\"params\":{\
    \"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
    \"io.modelcontextprotocol/clientInfo\":{\"name\":\"mcp-gateway\",\"version\":\"0\"},\
    \"io.modelcontextprotocol/clientCapabilities\":{}}}}\n";

const INITIALIZE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\
    \"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
    \"clientInfo\":{\"name\":\"mcp-gateway\",\"version\":\"0\"}}}\n";

/// Ends the handshake, so that the child sees a whole one.
const INITIALIZED: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/// The errors that only revisions without handshake know: `HeaderMismatch` to
/// `UnsupportedProtocolVersion`.
const MODERN_ERRORS: [&[u8]; 3] = [b"-32020", b"-32021", b"-32022"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Discovering { silent_at: Instant },
    Initializing,
    Ended,
}

pub(super) struct Probe {
    child: Child,
    stage: Stage,
    phase: Phase,
    deadline: Instant,
}

impl Role for Probe {
    fn child(&self) -> &Child {
        &self.child
    }

    fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    fn child_ended(&mut self, end: SessionEnd, now: Now) {
        let outcome = match end {
            SessionEnd::SpawnFailed => Outcome::Failed,
            _ => self.unanswered(),
        };
        self.end(Some(outcome), now);
    }

    fn take_line(&mut self, _text: Text<'_>, document: &[u8], now: Now) {
        match envelope::scan(document, Source::Child) {
            Ok(Document::Single(message)) => self.hear(document, &message, now),
            Ok(Document::Batch(_)) | Err(_) => self.child.skip_line(),
        }
    }

    fn settle(&mut self, _now: Now) {
        self.child.settle();
    }

    fn is_empty(&self) -> bool {
        true
    }

    fn take(&mut self, letter: Letter, now: Now) {
        // It is granted to nobody, so that nobody else writes.
        if let Letter::Retire { granted, .. } = letter {
            self.child.granted = Some(granted);
            self.end(None, now);
        }
    }

    fn do_due(&mut self, now: Now) {
        match self.phase {
            Phase::Discovering { silent_at } if silent_at <= now.monotonic => self.initialize(),
            _ => {}
        }
        if self.phase != Phase::Ended && self.deadline <= now.monotonic {
            let outcome = self.unanswered();
            self.end(Some(outcome), now);
        }
    }

    fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Discovering { silent_at } => Some(silent_at.min(self.deadline)),
            Phase::Initializing => Some(self.deadline),
            Phase::Ended => None,
        }
    }

    fn standing(&self) -> UpstreamStanding {
        UpstreamStanding {
            state: self.child.state(),
            calls: 0,
            streams: 0,
            stdin_bytes: self.child.stdin_queued(),
        }
    }
}

impl Probe {
    pub(super) fn new(id: UpstreamId, stage: Stage, limits: &Limits, now: Now) -> Self {
        let mut child = Child::new(id, limits);
        let phase = match stage {
            Stage::Discover => {
                child.stdin(Frame::from(DISCOVER));
                Phase::Discovering {
                    silent_at: now.monotonic + limits.discover_time,
                }
            }
            Stage::Initialize => {
                child.stdin(Frame::from(INITIALIZE));
                Phase::Initializing
            }
        };
        Self {
            child,
            stage,
            phase,
            deadline: now.monotonic + limits.request_time,
        }
    }

    fn hear(&mut self, document: &[u8], message: &Envelope, now: Now) {
        let id = message.raw(Field::Id, document);
        match (message.kind(), id) {
            (Kind::Request, Some(id)) if is_method(message, document, "ping") => {
                self.child.pong(id);
            }
            (Kind::Response, Some(b"1")) => self.discovered(document, message, now),
            (Kind::Response, Some(b"0")) => {
                let outcome = match message.raw(Field::Result, document) {
                    Some(result) => {
                        self.child.stdin(Frame::from(INITIALIZED));
                        Outcome::Legacy(Bytes::copy_from_slice(result))
                    }
                    None => Outcome::Refused,
                };
                self.end(Some(outcome), now);
            }
            _ => {}
        }
    }

    fn discovered(&mut self, document: &[u8], message: &Envelope, now: Now) {
        if let Some(result) = message.raw(Field::Result, document)
            && serves_modern(result)
        {
            let result = Bytes::copy_from_slice(result);
            return self.end(Some(Outcome::Modern(result)), now);
        }
        let code = message.raw(Field::ErrorCode, document);
        if code.is_some_and(|code| MODERN_ERRORS.contains(&code)) {
            // It has no handshake, and none of the revisions without one that are known here.
            return self.end(Some(Outcome::Refused), now);
        }
        self.initialize();
    }

    fn initialize(&mut self) {
        if let Phase::Discovering { .. } = self.phase {
            self.phase = Phase::Initializing;
            self.child.stdin(Frame::from(INITIALIZE));
        }
    }

    /// What it means that the question which it was asked alone has no answer; with both questions open,
    /// the server does not work.
    fn unanswered(&self) -> Outcome {
        match (self.phase, self.stage) {
            (Phase::Discovering { .. }, _) | (_, Stage::Initialize) => Outcome::Refused,
            _ => Outcome::Failed,
        }
    }

    /// Stops the child; `outcome` is what the gateway has to hear.
    fn end(&mut self, outcome: Option<Outcome>, now: Now) {
        if std::mem::replace(&mut self.phase, Phase::Ended) == Phase::Ended {
            return;
        }
        self.child.stop(now);
        if let Some(outcome) = outcome {
            self.child.news(News::Probed(outcome));
        }
    }
}

/// Whether a result is a `DiscoverResult` that names 2026-07-28: some servers answer whatever they are
/// asked.
fn serves_modern(result: &[u8]) -> bool {
    let result: serde_json::Value = serde_json::from_slice(result).unwrap_or_default();
    let versions = result["supportedVersions"].as_array();
    versions.is_some_and(|versions| versions.iter().any(|version| version == MODERN))
}
