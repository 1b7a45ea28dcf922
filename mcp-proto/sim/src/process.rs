//! A child process as its pipes and signals show it; what it says is up to whoever plays it.

use bytes::{Bytes, BytesMut};
use mcp_proto::framing::Frame;
use mcp_proto::{Instant, Stop};

/// A child process.
#[derive(Debug)]
pub struct Child {
    /// Whether it was to be started. What has its child from another has none of its own.
    ordered: bool,
    runs: bool,
    failed: bool,
    lost: bool,
    /// Written to it and not read by it.
    stdin: BytesMut,
    stdin_closing: bool,
    stdin_end_seen: bool,
    /// Read by it, up to the last newline.
    unfinished: BytesMut,
    pub(crate) stdout: BytesMut,
    pub(crate) stdout_closed: bool,
    pub(crate) exited: bool,
    pub(crate) reaped: bool,
    /// Whether it reads its stdin.
    pub reads: bool,
    /// Whether it ends when its stdin is closed.
    pub heeds_stdin: bool,
    /// Whether it ends on SIGTERM.
    pub heeds_term: bool,
    /// How it was made to end, and when.
    pub stops: Vec<(Instant, Stop)>,
    /// Every line that it has read, with its newline.
    pub lines: Vec<Bytes>,
}

impl Default for Child {
    fn default() -> Self {
        Self {
            ordered: false,
            runs: false,
            failed: false,
            lost: false,
            stdin: BytesMut::new(),
            stdin_closing: false,
            stdin_end_seen: false,
            unfinished: BytesMut::new(),
            stdout: BytesMut::new(),
            stdout_closed: false,
            exited: false,
            reaped: false,
            reads: true,
            heeds_stdin: true,
            heeds_term: true,
            stops: Vec::new(),
            lines: Vec::new(),
        }
    }
}

impl Child {
    /// Whether it was to be started and has not been reaped.
    pub fn lives(&self) -> bool {
        self.ordered && !self.failed && !self.reaped
    }

    /// Whether it can still write and read.
    pub fn runs(&self) -> bool {
        self.runs && !self.exited
    }

    /// Bytes that wait for it to read.
    pub fn queued(&self) -> usize {
        self.stdin.len()
    }

    /// Closes its stdout and goes on.
    pub fn close_stdout(&mut self) {
        self.stdout_closed = true;
    }

    pub(crate) fn order(&mut self) {
        assert!(!std::mem::replace(&mut self.ordered, true), "started once");
    }

    pub(crate) fn spawned(&mut self, spawned: bool) {
        self.runs = spawned;
        self.failed = !spawned;
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.runs() && !self.stdout_closed {
            self.stdout.extend_from_slice(bytes);
        }
    }

    pub(crate) fn exit(&mut self) {
        if self.runs() {
            self.exited = true;
            self.stdout_closed = true;
            self.stdin.clear();
        }
    }

    /// Its driver failed, and killed it.
    pub(crate) fn lose(&mut self) {
        self.exit();
        self.lost = true;
        self.reaped = true;
    }

    /// Whether its driver failed.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    pub(crate) fn queue(&mut self, frame: &Frame) {
        assert!(!self.stdin_closing, "nothing is written to a closed stdin");
        assert!(!frame.is_empty());
        if !self.exited && !self.failed {
            for slice in frame.slices() {
                self.stdin.extend_from_slice(slice);
            }
        }
    }

    pub(crate) fn stop(&mut self, stop: Stop, now: Instant) {
        assert!(self.runs, "only what runs is stopped");
        self.stops.push((now, stop));
        match stop {
            Stop::CloseStdin => self.stdin_closing = true,
            Stop::Terminate if !self.heeds_term => {}
            Stop::Terminate | Stop::Kill => self.exit(),
        }
    }

    pub(crate) fn can_read(&self) -> bool {
        let end = self.stdin_closing && !self.stdin_end_seen;
        self.runs() && self.reads && (!self.stdin.is_empty() || end)
    }

    /// Reads so many bytes; the lines that this completes are returned.
    pub(crate) fn take_stdin(&mut self, size: usize) -> Vec<Bytes> {
        self.unfinished
            .extend_from_slice(&self.stdin.split_to(size));
        let mut lines = Vec::new();
        while let Some(newline) = self.unfinished.iter().position(|&byte| byte == b'\n') {
            let line = self.unfinished.split_to(newline + 1).freeze();
            let text = &line[..newline];
            assert!(!text.contains(&b'\r'), "a line holds no CR");
            let json = serde_json::from_slice::<&serde_json::value::RawValue>(text);
            assert!(json.is_ok(), "a line is JSON ({json:?}): {text:?}");
            assert_eq!(text.first(), Some(&b'{'), "a line is one message");
            self.lines.push(line.clone());
            lines.push(line);
        }
        lines
    }

    /// True once, when it has read all that there will be; unless it ignores that, it ends.
    pub(crate) fn sees_end_of_stdin(&mut self) -> bool {
        let sees = self.runs()
            && self.reads
            && self.stdin_closing
            && self.stdin.is_empty()
            && !self.stdin_end_seen;
        if sees {
            assert!(self.unfinished.is_empty(), "stdin ends after a whole line");
            self.stdin_end_seen = true;
            if self.heeds_stdin {
                self.exit();
            }
        }
        sees
    }
}
