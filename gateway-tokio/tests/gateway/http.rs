//! A client of a few lines: one request a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;

/// A response, taken apart.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    pub(crate) body: String,
}

/// Sends a request and leaves the response unread.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    session: Option<&str>,
    body: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out can be set");
    let session = session.map_or(String::new(), |id| format!("Mcp-Session-Id: {id}\r\n"));
    let request = format!(
        "{method} /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         {session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .expect("the request is taken");
    stream
}

/// Reads the response to its end.
pub(crate) fn receive(mut stream: TcpStream) -> Response {
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
    let session = head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "))
        .map(str::to_owned);
    Response {
        status: status.expect("the response has a status"),
        session,
        body: body.to_owned(),
    }
}

pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    session: Option<&str>,
    body: &str,
) -> Response {
    receive(send(address, method, session, body))
}

/// Opens a session and returns its id.
pub(crate) fn initialize(address: SocketAddr) -> String {
    let response = request(address, "POST", None, INITIALIZE);
    response
        .session
        .unwrap_or_else(|| panic!("no session: {}", response.body))
}
