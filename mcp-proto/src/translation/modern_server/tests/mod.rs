//! Scenarios: what the client and the child say, and what each of them hears.

mod calls;
mod cancellation;
mod handshake;
mod logging;
mod random;
mod results;
mod rounds;
mod subscriptions;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{ModernServer, Readiness};
use crate::envelope::{Document, Envelope, Source, scan};
use crate::framing::{Frame, Text};
use crate::limits::Limits;
use crate::time::Now;
use crate::translation::TranslationOutput;

/// What a client declares that can be asked for everything.
const ALL: &str =
    r#"{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}"#;

/// What the child of most scenarios says of itself.
fn initialize_result() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {
            "logging": {},
            "tools": {"listChanged": true},
            "resources": {"subscribe": true},
        },
        "serverInfo": {"name": "old", "version": "1"},
    })
}

/// A machine between a client and a child that a scenario plays.
struct Script {
    server: ModernServer,
    now: Now,
    to_child: VecDeque<Value>,
    /// The last line for the child, as it was written.
    last_line: Vec<u8>,
    to_client: VecDeque<Value>,
}

impl Script {
    /// The child has been sent `initialize`.
    fn opening(capabilities: &str) -> Self {
        Self::limited(capabilities, &Limits::default())
    }

    fn limited(capabilities: &str, limits: &Limits) -> Self {
        let now = Now::default();
        let mut script = Self {
            server: ModernServer::new(capabilities.as_bytes(), limits, now),
            now,
            to_child: VecDeque::new(),
            last_line: Vec::new(),
            to_client: VecDeque::new(),
        };
        script.drain();
        script
    }

    /// The handshake is over.
    fn ready(capabilities: &str) -> Self {
        let mut script = Self::opening(capabilities);
        script.initialize();
        script
    }

    fn initialize(&mut self) {
        assert_eq!(self.child_hears()["method"], "initialize");
        self.child(json!({"id": 0, "result": initialize_result()}));
        assert_eq!(self.child_hears()["method"], "notifications/initialized");
        assert_eq!(self.server.readiness(), Readiness::Ready);
    }

    /// The client sends a request, which its host has judged.
    fn request(&mut self, id: u64, method: &str, params: Value) {
        self.request_with(id, method, params, json!({}));
    }

    /// The same, with more members in `_meta`.
    fn request_with(&mut self, id: u64, method: &str, mut params: Value, more: Value) {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let members = more.as_object().unwrap().clone();
        meta.as_object_mut().unwrap().extend(members);
        params["_meta"] = meta;
        self.client(json!({"id": id, "method": method, "params": params}));
    }

    fn client(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        self.client_line(&message.to_string());
    }

    fn client_line(&mut self, line: &str) {
        let line = Bytes::copy_from_slice(line.as_bytes());
        let message = single(&line, Source::Client);
        self.server.handle_request(&line, &message, self.now);
        self.drain();
    }

    fn child(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        self.child_line(&message.to_string());
    }

    fn child_line(&mut self, line: &str) {
        let message = single(line.as_bytes(), Source::Child);
        let text = Text::Short(line.as_bytes());
        self.server
            .handle_child(text, line.as_bytes(), &message, self.now);
        self.drain();
    }

    /// Time passes; what falls due meanwhile is done when it is.
    fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(due) = self.server.poll_timeout().filter(|&due| due <= end) {
            self.now.monotonic = self.now.monotonic.max(due);
            self.server.handle_timeout(self.now);
            self.drain();
            assert_ne!(
                self.server.poll_timeout(),
                Some(due),
                "a timer is done with"
            );
        }
        self.now.monotonic = end;
    }

    /// What the child asks at the same time has been gathered.
    fn gathered(&mut self) {
        self.pass(Duration::from_millis(20));
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                TranslationOutput::ToChild(frame) => {
                    let bytes = frame.to_bytes();
                    let line = bytes.strip_suffix(b"\n").expect("a line ends in LF");
                    self.to_child.push_back(message(line));
                    self.last_line = line.to_vec();
                }
                TranslationOutput::ToClient(frame) => {
                    self.to_client.push_back(message(&frame.to_bytes()));
                }
            }
        }
    }

    fn child_hears(&mut self) -> Value {
        self.to_child
            .pop_front()
            .expect("the child hears something")
    }

    fn client_hears(&mut self) -> Value {
        let heard = self.to_client.pop_front();
        heard.expect("the client hears something")
    }

    fn all_is_quiet(&self) {
        assert_eq!(
            self.to_child,
            [Value::Null; 0],
            "the child hears nothing more"
        );
        assert_eq!(self.to_client, [Value::Null; 0], "nor does the client");
    }

    /// Nothing is kept of what was.
    fn is_empty(&self) -> bool {
        let server = &self.server;
        server.calls.is_empty()
            && server.turn.is_none()
            && server.waiting.is_empty()
            && server.subscriptions.is_empty()
            && server.poll_timeout().is_none()
    }
}

/// Reads what the machine has said: one message on one line.
fn message(line: &[u8]) -> Value {
    assert!(
        memchr::memchr2(b'\r', b'\n', line).is_none(),
        "a message is one line"
    );
    scan(line, Source::Client).expect("no key stands twice");
    serde_json::from_slice(line).expect("it is JSON")
}

fn single(document: &[u8], source: Source) -> Envelope {
    match scan(document, source) {
        Ok(Document::Single(message)) => message,
        other => panic!("{}: {other:?}", document.escape_ascii()),
    }
}

/// What a modern server adds to the result of a call.
fn completed(mut result: Value) -> Value {
    result["resultType"] = "complete".into();
    result["_meta"] =
        json!({"io.modelcontextprotocol/serverInfo": {"name": "old", "version": "1"}});
    result
}

fn answer(id: u64, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.to_bytes().to_vec()
}
