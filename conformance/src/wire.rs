//! A connection: bytes out, and what comes back as responses, events and ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::text::{find, show};
use crate::tls::Tls;

/// How long anything that must come may take: only a hang takes longer.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Most bytes that a response may have in these tests.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A response, with whatever of its body was read with it.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The fields in their order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, if it was read.
    pub body: Vec<u8>,
    head: Vec<u8>,
}

impl Response {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the server says that it closes the connection.
    pub fn says_close(&self) -> bool {
        let values = self.values("connection");
        values
            .iter()
            .any(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The line that the head begins with.
    pub fn status_line(&self) -> String {
        let end = find(&self.head, b"\r\n").unwrap_or(self.head.len());
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    /// As a report shows it.
    pub fn show(&self) -> String {
        let text = [self.head.as_slice(), &self.body].concat();
        show(&text)
    }
}

/// An event of a stream, or a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its fields in their order: `id`, `event`, `retry`, `data`; a comment's name is empty.
    pub fields: Vec<(String, String)>,
}

impl Event {
    /// The data lines, joined as the standard says (WHATWG HTML, section 9.2.6).
    pub fn data(&self) -> String {
        self.values("data").join("\n")
    }

    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether there is nothing but comments.
    pub fn is_comment(&self) -> bool {
        self.fields.iter().all(|(name, _)| name.is_empty())
    }

    /// Whether it is an id and a reconnection time with empty data.
    pub fn is_priming(&self) -> bool {
        let values = [self.values("id"), self.values("retry"), self.values("data")];
        self.fields.len() == 3
            && values.iter().all(|values| values.len() == 1)
            && !values[0][0].is_empty()
            && values[1][0].parse::<u64>().is_ok()
            && values[2][0].is_empty()
    }
}

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Nothing: the next thing is a response.
    None,
    Bytes(usize),
    /// Chunks, the next thing being a size.
    Chunks,
    UntilClose,
}

/// What the bytes travel on.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            // By hand, since the stream itself would first send what could not be sent.
            Self::Tls(stream) => loop {
                match stream.conn.reader().read(buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        stream.conn.read_tls(&mut stream.sock)?;
                        let processed = stream.conn.process_new_packets();
                        processed.map_err(std::io::Error::other)?;
                    }
                    read => return read,
                }
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// What was received and not yet taken.
    received: Vec<u8>,
    /// How the peer ended, once it did.
    ended: Option<String>,
    /// Whether the peer closed and did not say so first, as TLS has it (RFC 8446 section 6.1).
    cut_off: bool,
    /// What went wrong while sending. A server that refuses early may close before all is sent, so
    /// that this is no failure by itself.
    send_error: Option<String>,
    rest: Rest,
    /// Bytes of the events' stream that were taken out of their chunks.
    stream_bytes: Vec<u8>,
    /// The last response.
    pub response: Response,
    /// The last event.
    pub event: Event,
}

impl Wire {
    /// Opens a connection, over TLS if it is given what to speak it with.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn connect(address: SocketAddr, tls: Option<&Tls>) -> Result<Self, String> {
        let session = tls.map(Tls::connect).transpose()?;
        let connect = || {
            let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(DEADLINE))?;
            let Some(mut session) = session else {
                return Ok(Stream::Plain(stream));
            };
            stream.set_read_timeout(Some(DEADLINE))?;
            while session.is_handshaking() {
                session.complete_io(&mut stream)?;
            }
            Ok(Stream::Tls(Box::new(StreamOwned::new(session, stream))))
        };
        let stream =
            connect().map_err(|error: std::io::Error| format!("no connection: {error}"))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            ended: None,
            cut_off: false,
            send_error: None,
            rest: Rest::None,
            stream_bytes: Vec::new(),
            response: Response::default(),
            event: Event::default(),
        })
    }

    /// Sends bytes, in writes of `by` bytes if that is given, each of which is a record of TLS.
    ///
    /// # Errors
    ///
    /// If the peer does not take them in time.
    pub fn send(&mut self, bytes: &[u8], by: Option<usize>) -> Result<(), String> {
        for piece in bytes.chunks(by.unwrap_or(usize::MAX).max(1)) {
            let sent = self.stream.write_all(piece);
            match sent.and_then(|()| self.stream.flush()) {
                Ok(()) => {}
                Err(error) if is_timeout(error.kind()) => {
                    return Err(format!("the peer did not read for {DEADLINE:?}"));
                }
                Err(error) => {
                    self.send_error = Some(error.to_string());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Closes the sending side.
    pub fn half_close(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
        }
        // It may be closed already, which is as good.
        let _ = self.stream.flush();
        let _ = self.stream.tcp().shutdown(Shutdown::Write);
    }

    /// Closes the connection with a reset.
    ///
    /// # Errors
    ///
    /// If the system does not offer it.
    pub fn reset(self) -> Result<(), String> {
        // To linger for no time at all is what makes a close a reset.
        rustix::net::sockopt::set_socket_linger(self.stream.tcp(), Some(Duration::ZERO))
            .map_err(|error| error.to_string())
    }

    /// Reads a response, its body too unless it is one of events or `has_body` is false.
    ///
    /// # Errors
    ///
    /// If there is none, or it is malformed.
    pub fn read_response(&mut self, has_body: bool, events: bool) -> Result<(), String> {
        if self.rest != Rest::None {
            return Err("the response before has not ended".to_owned());
        }
        let until = Instant::now() + DEADLINE;
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            self.need("a response", until)?;
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        self.response = parse_head(head)?;
        self.rest = self.body_length(has_body)?;
        if events {
            let media_type = self.response.values("content-type");
            if media_type != ["text/event-stream"] {
                return Err(format!("no event stream: {}", self.response.show()));
            }
        } else {
            while let Some(bytes) = self.read_body(until)? {
                self.response.body.extend(bytes);
            }
        }
        Ok(())
    }

    fn body_length(&self, has_body: bool) -> Result<Rest, String> {
        let response = &self.response;
        let (lengths, codings) = (
            response.values("content-length"),
            response.values("transfer-encoding"),
        );
        if !has_body || response.status < 200 || matches!(response.status, 204 | 304) {
            return Ok(Rest::None);
        }
        match (lengths.as_slice(), codings.as_slice()) {
            ([length], []) => {
                let bytes = length.parse().map_err(|_| format!("length {length}"))?;
                Ok(if bytes == 0 {
                    Rest::None
                } else {
                    Rest::Bytes(bytes)
                })
            }
            ([], ["chunked"]) => Ok(Rest::Chunks),
            ([], []) => Ok(Rest::UntilClose),
            _ => Err(format!("a body of unclear length: {}", response.show())),
        }
    }

    /// The next bytes of the body; none at its end.
    fn read_body(&mut self, until: Instant) -> Result<Option<Vec<u8>>, String> {
        match self.rest {
            Rest::None => Ok(None),
            Rest::Bytes(left) => {
                while self.received.is_empty() {
                    self.need("the rest of a body", until)?;
                }
                let taken = left.min(self.received.len());
                self.rest = if taken == left {
                    Rest::None
                } else {
                    Rest::Bytes(left - taken)
                };
                Ok(Some(self.received.drain(..taken).collect()))
            }
            Rest::UntilClose => {
                while self.ended.is_none() && self.received.is_empty() {
                    self.fill(until)?;
                }
                if self.received.is_empty() {
                    self.rest = Rest::None;
                    return Ok(None);
                }
                Ok(Some(std::mem::take(&mut self.received)))
            }
            Rest::Chunks => {
                let line_end = loop {
                    if let Some(at) = find(&self.received, b"\r\n") {
                        break at;
                    }
                    self.need("a chunk's size", until)?;
                };
                let line = String::from_utf8_lossy(&self.received[..line_end]).into_owned();
                let size = usize::from_str_radix(&line, 16)
                    .ok()
                    .filter(|&size| size <= MOST_BYTES)
                    .ok_or_else(|| format!("a chunk's size is {line:?}"))?;
                let whole = line_end + 2 + size + 2;
                while self.received.len() < whole {
                    self.need("the rest of a chunk", until)?;
                }
                if !self.received[..whole].ends_with(b"\r\n") {
                    return Err(format!("a chunk without its end: {}", show(&self.received)));
                }
                let chunk = self
                    .received
                    .drain(..whole)
                    .skip(line_end + 2)
                    .take(size)
                    .collect();
                if size == 0 {
                    self.rest = Rest::None;
                    return Ok(None);
                }
                Ok(Some(chunk))
            }
        }
    }

    /// Reads an event or a comment; none at the end of the response.
    ///
    /// # Errors
    ///
    /// If nothing comes, or what comes is no event.
    pub fn read_event(&mut self) -> Result<Option<Event>, String> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = find(&self.stream_bytes, b"\n\n") {
                let block: Vec<u8> = self.stream_bytes.drain(..at + 2).collect();
                let event = parse_event(&block)?;
                self.event.clone_from(&event);
                return Ok(Some(event));
            }
            match self.read_body(until)? {
                Some(bytes) => self.stream_bytes.extend(bytes),
                None if self.stream_bytes.is_empty() => return Ok(None),
                None => return Err(format!("half an event: {}", show(&self.stream_bytes))),
            }
        }
    }

    /// Waits for the peer to close.
    ///
    /// # Errors
    ///
    /// If it does not, or sends something before.
    pub fn read_close(&mut self) -> Result<(), String> {
        let until = Instant::now() + DEADLINE;
        loop {
            let received = self.left();
            if !received.is_empty() {
                return Err(format!("received {}", show(&received)));
            }
            if let Some(end) = &self.ended {
                return match self.cut_off {
                    true => Err(end.clone()),
                    false => Ok(()),
                };
            }
            self.fill(until)
                .map_err(|_| format!("still open after {DEADLINE:?}"))?;
        }
    }

    /// Sees that nothing comes for a time, neither bytes nor an end.
    ///
    /// # Errors
    ///
    /// If something does.
    pub fn read_silence(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            let received = self.left();
            if !received.is_empty() {
                return Err(format!("received {}", show(&received)));
            }
            if let Some(end) = &self.ended {
                return Err(end.clone());
            }
            if self.fill(until).is_err() {
                return Ok(());
            }
        }
    }

    fn left(&self) -> Vec<u8> {
        [self.stream_bytes.as_slice(), &self.received].concat()
    }

    /// Reads on, as something must come.
    fn need(&mut self, what: &str, until: Instant) -> Result<(), String> {
        let sent = |wire: &Self| match &wire.send_error {
            Some(error) => format!(" (sending failed: {error})"),
            None => String::new(),
        };
        if let Some(end) = &self.ended {
            let left = show(&self.left());
            return Err(format!(
                "{end}, but {what} was to come; left: {left}{}",
                sent(self)
            ));
        }
        self.fill(until).map_err(|why| {
            format!(
                "{why}, but {what} was to come; so far: {}{}",
                show(&self.left()),
                sent(self)
            )
        })
    }

    /// Reads some bytes, or that the peer has ended.
    fn fill(&mut self, until: Instant) -> Result<(), String> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("nothing more came".to_owned());
        }
        self.limit(left)?;
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = Some("the peer closed".to_owned()),
            Ok(count) if self.received.len() + count > MOST_BYTES => {
                return Err("more bytes than any test expects".to_owned());
            }
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if is_timeout(error.kind()) => return Err("nothing more came".to_owned()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.ended = Some("the peer closed without a close_notify".to_owned());
                self.cut_off = true;
            }
            Err(error) => self.ended = Some(format!("the connection broke: {error}")),
        }
        Ok(())
    }

    fn limit(&self, time: Duration) -> Result<(), String> {
        let time = time.max(Duration::from_millis(1));
        let set = self.stream.tcp().set_read_timeout(Some(time));
        set.map_err(|error| error.to_string())
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Reads a response's head, its last empty line included.
pub(crate) fn parse_head(head: Vec<u8>) -> Result<Response, String> {
    let malformed = || format!("a malformed head: {}", show(&head));
    let text = str::from_utf8(&head).map_err(|_| malformed())?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut status_line = lines.next().unwrap_or_default().splitn(3, ' ');
    let (version, status) = (status_line.next(), status_line.next());
    let status = match (version, status.map(str::parse)) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(Ok(status))) => status,
        _ => return Err(malformed()),
    };
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Response {
        status,
        fields,
        body: Vec::new(),
        head,
    })
}

fn parse_event(block: &[u8]) -> Result<Event, String> {
    let wrong = |why: &str| format!("{why}: {}", show(block));
    let text = str::from_utf8(block).map_err(|_| wrong("an event that is not UTF-8"))?;
    if text.contains('\r') {
        return Err(wrong("a CR, which ends a line too"));
    }
    let mut fields = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if !matches!(name, "" | "id" | "event" | "retry" | "data") {
            return Err(wrong("an unknown field"));
        }
        let value = value.strip_prefix(' ').unwrap_or(value);
        fields.push((name.to_owned(), value.to_owned()));
    }
    Ok(Event { fields })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A connection whose peer says these bytes and closes.
    fn told(bytes: &'static [u8]) -> (Wire, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for byte in bytes {
                stream.write_all(&[*byte]).unwrap();
            }
        });
        (Wire::connect(address, None).unwrap(), peer)
    }

    #[test]
    fn responses_follow_each_other() {
        let (mut wire, peer) = told(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\na:  c \r\n\r\nok\
              HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n\
              HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        );
        wire.read_response(true, false).unwrap();
        assert_eq!(
            (wire.response.status, wire.response.body.as_slice()),
            (200, &b"ok"[..])
        );
        assert_eq!(wire.response.values("a"), ["b", "c"]);
        wire.read_response(true, false).unwrap();
        assert_eq!(
            (wire.response.status, wire.response.body.as_slice()),
            (404, &b"abc"[..])
        );
        wire.read_response(false, false).unwrap();
        wire.read_response(true, false).unwrap();
        assert_eq!(wire.response.status, 204);
        wire.read_close().unwrap();
        assert!(wire.read_silence(Duration::from_millis(1)).is_err());
        assert!(
            wire.read_response(true, false)
                .unwrap_err()
                .contains("the peer closed")
        );
        peer.join().unwrap();
    }

    #[test]
    fn events_are_read_one_by_one_however_they_are_cut() {
        let (mut wire, peer) = told(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
              a\r\nid: 1\nretr\r\nb\r\ny: 5\ndata: \r\n15\r\n\n\n: x\n\ndata: a\ndata:b\r\n2\r\n\n\n\r\n0\r\n\r\n",
        );
        wire.read_response(true, true).unwrap();
        assert!(wire.read_event().unwrap().unwrap().is_priming());
        assert!(wire.read_event().unwrap().unwrap().is_comment());
        let event = wire.read_event().unwrap().unwrap();
        assert_eq!(event.data(), "a\nb");
        assert!(!event.is_priming() && !event.is_comment());
        assert_eq!(wire.read_event(), Ok(None));
        peer.join().unwrap();
    }

    #[test]
    fn what_is_malformed_is_told() {
        for (bytes, why) in [
            (&b"HTP/1.1 200 OK\r\n\r\n"[..], "malformed head"),
            (b"HTTP/1.1 200 OK\r\nab\r\n\r\n", "malformed head"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", "left: "),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
                "chunk's size",
            ),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
                "its end",
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
                "unclear",
            ),
        ] {
            let (mut wire, peer) = told(bytes);
            let error = wire.read_response(true, false).unwrap_err();
            assert!(error.contains(why), "{error}");
            peer.join().unwrap();
        }
        assert!(parse_event(b"dat: a\n\n").is_err());
        assert!(parse_event(b"data: a\rb\n\n").is_err());
    }
}
