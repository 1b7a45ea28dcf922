//! HTTP as a client sees it.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::Method;
use mcp_proto::ResponseHead;
use serde_json::Value;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) authority: Option<String>,
    pub(crate) peer: IpAddr,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) stalls: bool,
    pub(crate) reads: bool,
    pub(crate) leaves_at: Option<usize>,
}

impl Request {
    /// A request with the one field that every request has.
    pub fn new(method: Method, target: &str) -> Self {
        Self {
            method,
            target: target.to_owned(),
            authority: None,
            peer: Ipv4Addr::LOCALHOST.into(),
            fields: vec![("host".to_owned(), "localhost:8080".to_owned())],
            body: Bytes::new(),
            stalls: false,
            reads: true,
            leaves_at: None,
        }
    }

    /// A message.
    pub fn post(body: impl Into<Bytes>) -> Self {
        let mut request = Self::new(Method::POST, "/mcp")
            .field("content-type", "application/json")
            .field("accept", "application/json, text/event-stream");
        request.body = body.into();
        request
    }

    /// A message of 2026-07-28, with the fields that mirror its version, its method and what it names.
    pub fn modern(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let message: Value = serde_json::from_slice(&body).expect("JSON");
        let params = &message["params"];
        let named = match message["method"].as_str().unwrap_or_default() {
            "tools/call" | "prompts/get" => &params["name"],
            "resources/read" => &params["uri"],
            "tasks/get" | "tasks/update" | "tasks/cancel" => &params["taskId"],
            _ => &Value::Null,
        };
        let fields = [
            (
                "mcp-protocol-version",
                &params["_meta"]["io.modelcontextprotocol/protocolVersion"],
            ),
            ("mcp-method", &message["method"]),
            ("mcp-name", named),
        ];
        let mut request = Self::post(body);
        for (field, value) in fields {
            if let Some(value) = value.as_str() {
                request = request.field(field, value);
            }
        }
        request
    }

    /// An event stream.
    pub fn get() -> Self {
        Self::new(Method::GET, "/mcp").field("accept", "text/event-stream")
    }

    /// An end to a session.
    pub fn delete() -> Self {
        Self::new(Method::DELETE, "/mcp")
    }

    /// With one more field.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without this field.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    /// With this value of the field, and no other.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).field(name, value)
    }

    pub(crate) fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    /// In this session.
    pub fn session(self, id: &str) -> Self {
        self.field("mcp-session-id", id)
    }

    /// With an absolute-form target of this authority.
    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    /// From this address.
    pub fn from(mut self, peer: &str) -> Self {
        self.peer = peer.parse().expect("an address");
        self
    }

    /// With this credential.
    pub fn bearer(self, token: &str) -> Self {
        self.field("authorization", &format!("Bearer {token}"))
    }

    /// With a body that does not come before [`World::upload`](crate::World::upload).
    pub fn stalling(mut self) -> Self {
        self.stalls = true;
        self
    }

    /// By a client that does not read the response.
    pub fn unread(mut self) -> Self {
        self.reads = false;
        self
    }

    /// By a client that leaves when it has read this much.
    pub fn leaving_at(mut self, bytes: usize) -> Self {
        self.leaves_at = Some(bytes);
        self
    }
}

/// What a client has read of a response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Its head, once that has come.
    pub head: Option<ResponseHead>,
    /// Its body so far.
    pub body: Vec<u8>,
    /// Whether the body was complete.
    pub complete: bool,
    /// Whether the gateway closed the connection on a reader that was too slow.
    pub dropped: bool,
    /// Whether the client left where it meant to.
    pub left: bool,
}

impl Response {
    /// The status; 0 if no head has come.
    pub fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status.as_u16())
    }

    /// The value of a field of the head.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut found = None;
        if let Some(head) = &self.head {
            head.for_each_field(|field, value| {
                if field.as_str() == name {
                    let value = value.to_str().expect("fields are ASCII").to_owned();
                    assert!(found.replace(value).is_none(), "{name} stands once");
                }
            });
        }
        found
    }

    /// Whether it is an event stream.
    pub fn is_stream(&self) -> bool {
        self.field("content-type").as_deref() == Some("text/event-stream")
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The events that are complete.
    pub fn events(&self) -> Vec<Event> {
        let mut stream = Events::default();
        stream.read(&self.body)
    }
}

/// A server-sent event as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: Option<String>,
    /// Its reconnection time.
    pub retry: Option<u64>,
    /// Its data.
    pub data: Vec<u8>,
}

impl Event {
    /// Its data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.data).expect("events hold JSON")
    }
}

/// Reads an event stream, by the rules of WHATWG HTML, section 9.2.6, as far as they are needed.
#[derive(Clone, Debug, Default)]
pub struct Events {
    rest: Vec<u8>,
    id: Option<String>,
    retry: Option<u64>,
    data: Option<Vec<u8>>,
}

impl Events {
    /// Takes the next bytes of a stream; the events that this completes are returned.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|&byte| byte == b'\n') {
            let line = self.rest[start..start + length].to_vec();
            start += length + 1;
            assert!(!line.contains(&b'\r'), "a CR would end a line");
            if line.is_empty() {
                let (id, retry) = (self.id.take(), self.retry.take());
                if let Some(data) = self.data.take() {
                    events.push(Event { id, retry, data });
                }
                continue;
            }
            let colon = line.iter().position(|&byte| byte == b':');
            let colon = colon.expect("every line has a name");
            let value = &line[colon + 1..];
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let text = || std::str::from_utf8(value).expect("UTF-8").to_owned();
            match &line[..colon] {
                b"" => assert_eq!(value, b"keep-alive"),
                b"id" => assert!(self.id.replace(text()).is_none(), "one id"),
                b"retry" => self.retry = Some(text().parse().expect("a number")),
                b"data" => assert!(self.data.replace(value.to_vec()).is_none(), "one line"),
                name => panic!("an unknown field: {:?}", name.escape_ascii().to_string()),
            }
        }
        self.rest.drain(..start);
        events
    }
}
