//! Scenarios that read as scripts: what session and child say, and what each of them hears.

mod calls;
mod handshake;
mod properties;
mod rounds;
mod subscriptions;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{LegacyServer, Output};
use crate::envelope::{Document, Envelope, Source, scan};
use crate::framing::{Frame, Text};
use crate::limits::Limits;

/// A server with a session before it and a child behind it.
struct Server {
    server: LegacyServer,
    references: BTreeSet<u64>,
}

/// What a modern server with all capabilities says of itself.
fn discovered() -> Value {
    json!({
        "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {
            "tools": {"listChanged": true},
            "prompts": {"listChanged": true},
            "resources": {"listChanged": true, "subscribe": true},
            "logging": {},
            "completions": {},
        },
        "instructions": "Be kind.",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "3"}},
    })
}

fn single(document: &[u8], source: Source) -> Envelope {
    match scan(document, source) {
        Ok(Document::Single(message)) => message,
        other => panic!("{}: {other:?}", String::from_utf8_lossy(document)),
    }
}

impl Server {
    fn new(discovered: &Value) -> Self {
        Self::with_limits(discovered, &Limits::default())
    }

    fn with_limits(discovered: &Value, limits: &Limits) -> Self {
        Self {
            server: LegacyServer::new(discovered.to_string().as_bytes(), limits),
            references: BTreeSet::new(),
        }
    }

    /// A server after the handshake with a client that can do this, and nothing left to hear.
    fn open(discovered: &Value, capabilities: &Value) -> Self {
        let mut server = Self::new(discovered);
        server.says(initialize("2025-11-25", capabilities));
        server.hears();
        server.says(json!({"method": "notifications/initialized"}));
        while server.server.poll_output().is_some() {}
        server
    }

    /// The session says this to its child.
    fn says(&mut self, message: Value) {
        let line = format!("{}\n", whole(message));
        let message = single(line.as_bytes(), Source::Client);
        self.server.handle_line(&Bytes::from(line), &message);
    }

    /// The session hears this next, as one line.
    #[track_caller]
    fn hears(&mut self) -> Value {
        match self.server.poll_output() {
            Some(Output::Line(line)) => read_line(&line),
            other => panic!("not a line: {other:?}"),
        }
    }

    /// The child hears this request next, under this reference.
    #[track_caller]
    fn child_hears(&mut self) -> (u64, Value) {
        match self.server.poll_output() {
            Some(Output::Call { reference, request }) => {
                assert!(self.references.insert(reference), "used twice");
                (reference, read_call(reference, &request))
            }
            other => panic!("not a call: {other:?}"),
        }
    }

    /// This call is cancelled next.
    #[track_caller]
    fn child_loses(&mut self) -> u64 {
        match self.server.poll_output() {
            Some(Output::Cancel { reference }) => reference,
            other => panic!("nothing is cancelled: {other:?}"),
        }
    }

    /// Nobody hears anything more.
    #[track_caller]
    fn is_silent(&mut self) {
        let output = self.server.poll_output();
        assert!(output.is_none(), "{output:?}");
    }

    /// The child says this of a call.
    fn child_says(&mut self, reference: u64, message: Value) {
        self.child_writes(reference, &whole(message).to_string());
    }

    /// The child answers a call with this result.
    fn child_answers(&mut self, reference: u64, result: Value) {
        self.child_says(reference, json!({"id": reference, "result": result}));
    }

    fn child_writes(&mut self, reference: u64, document: &str) {
        let document = document.as_bytes();
        let message = single(document, Source::Child);
        let text = Text::Short(document);
        if document_is_answer(&message) {
            self.server
                .handle_answer(reference, text, document, &message);
        } else {
            self.server
                .handle_notification(reference, text, document, &message);
        }
    }
}

fn document_is_answer(message: &Envelope) -> bool {
    message.kind() == crate::envelope::Kind::Response
}

fn whole(mut message: Value) -> Value {
    message["jsonrpc"] = json!("2.0");
    message
}

/// A line as the session reads it.
fn read_line(line: &Frame) -> Value {
    let line = line.to_bytes();
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    single(&line, Source::Child);
    let mut message: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(message["jsonrpc"], "2.0");
    message.as_object_mut().unwrap().remove("jsonrpc");
    message
}

/// A call as the child reads it: a modern request.
fn read_call(reference: u64, request: &[u8]) -> Value {
    assert!(!request.contains(&b'\n') && !request.contains(&b'\r'));
    single(request, Source::Client);
    let mut message: Value = serde_json::from_slice(request).unwrap();
    let meta = &message["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    if let Some(token) = meta.get("progressToken") {
        assert_eq!(*token, reference);
    }
    assert_eq!(message["jsonrpc"], "2.0");
    assert_eq!(message["id"], reference);
    let members = message.as_object_mut().unwrap();
    members.remove("jsonrpc");
    members.remove("id");
    message
}

fn initialize(version: &str, capabilities: &Value) -> Value {
    json!({"id": 1, "method": "initialize", "params": {
        "protocolVersion": version,
        "capabilities": capabilities,
        "clientInfo": {"name": "old", "version": "1"},
    }})
}

/// A call of a tool, with a token if progress is wanted.
fn call_tool(id: u64, token: Option<u64>) -> Value {
    let mut call = json!({"id": id, "method": "tools/call", "params": {
        "name": "ask", "arguments": {"a": 1},
    }});
    if let Some(token) = token {
        call["params"]["_meta"] = json!({"progressToken": token});
    }
    call
}

/// What was put into a request's parameters beside `_meta`.
fn parameters(request: &Value) -> Value {
    let mut params = request["params"].clone();
    params.as_object_mut().unwrap().remove("_meta");
    params
}

fn error_code(response: &Value) -> i64 {
    response["error"]["code"].as_i64().unwrap()
}

/// As many objects inside one another.
fn nested(depth: usize) -> Value {
    (1..depth).fold(json!({}), |inner, _| json!({"x": inner}))
}
