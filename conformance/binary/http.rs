//! A client of a few lines: one request a connection.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::processes::eventually;

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
pub(crate) const LIST: &str = r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#;

/// A response, taken apart.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    /// The value of a field, whose name is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Whoever sends requests, and the fields that each of them has.
#[derive(Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    fields: String,
}

impl Caller {
    /// One without a token.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            fields: String::new(),
        }
    }

    /// One with a token.
    pub(crate) fn bearer(address: SocketAddr, token: &str) -> Self {
        Self::new(address).with("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.fields, "{name}: {value}\r\n");
        self
    }

    /// The bytes of a request to any target.
    pub(crate) fn text(&self, method: &str, target: &str, body: &str) -> String {
        let Self { address, fields } = self;
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             {fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends a request to any target, and leaves the response unread.
    pub(crate) fn send_to(&self, method: &str, target: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("the gateway listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a time-out can be set");
        let closing = self.clone().with("Connection", "close");
        stream
            .write_all(closing.text(method, target, body).as_bytes())
            .expect("the request is taken");
        stream
    }

    /// Sends a request to the MCP endpoint, and leaves the response unread.
    pub(crate) fn send(&self, method: &str, session: Option<&str>, body: &str) -> TcpStream {
        let mut caller = self.clone();
        if let Some(id) = session {
            caller = caller.with("Mcp-Session-Id", id);
        }
        caller.send_to(method, "/mcp", body)
    }

    pub(crate) fn request(&self, method: &str, session: Option<&str>, body: &str) -> Response {
        receive(self.send(method, session, body))
    }

    /// Reads what is not the MCP endpoint.
    pub(crate) fn get(&self, target: &str) -> Response {
        receive(self.send_to("GET", target, ""))
    }

    /// Sends `initialize`, and whatever comes of it.
    pub(crate) fn knock(&self) -> Response {
        self.request("POST", None, INITIALIZE)
    }

    /// Opens a session and returns its id.
    pub(crate) fn initialize(&self) -> String {
        let response = self.knock();
        response
            .session
            .unwrap_or_else(|| panic!("no session: {}", response.body))
    }

    /// Opens a session's GET stream.
    pub(crate) fn listen(&self, session: &str) -> TcpStream {
        let mut stream = self.send("GET", Some(session), "");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the head arrives");
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
        stream
    }

    /// Knocks until the answer has this status.
    pub(crate) fn eventually(&self, status: u16) {
        eventually(&format!("status {status}"), || {
            self.knock().status == status
        });
    }
}

/// Sends a request and leaves the response unread.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    session: Option<&str>,
    body: &str,
) -> TcpStream {
    Caller::new(address).send(method, session, body)
}

/// Reads the response to its end.
pub(crate) fn receive(mut stream: impl Read) -> Response {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).expect("the response ends");
    let text = String::from_utf8(text).expect("the response is text");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .expect("the response has a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Response {
        status: status.expect("the response has a status"),
        session: field(head, "mcp-session-id").map(str::to_owned),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    session: Option<&str>,
    body: &str,
) -> Response {
    Caller::new(address).request(method, session, body)
}

/// Opens a session and returns its id.
pub(crate) fn initialize(address: SocketAddr) -> String {
    Caller::new(address).initialize()
}
