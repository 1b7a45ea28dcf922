//! A load generator: keep-alive connections, each with one call at a time, and every answer
//! checked.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::wire;

/// The token that every request carries, wanted or not.
pub const TOKEN: &str = "0f7d6e21c5a84b0b9d3e6c1f2a5b8d94";

/// A server, and the session that calls go to.
#[derive(Clone, Debug)]
pub struct Target {
    address: SocketAddr,
    session: Option<String>,
}

/// What every call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Connections, each with one call at a time.
    pub connections: u64,
    /// Bytes of the text that is echoed.
    pub text: usize,
    /// Progress notifications before each answer, which make it an event stream.
    pub notifications: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured<T> {
    /// Calls that were answered.
    pub calls: u64,
    /// In this time.
    pub time: Duration,
    /// Half of the calls took no longer.
    pub median: Duration,
    /// What the probe told before and after.
    pub probes: (T, T),
}

impl Target {
    /// A server that needs no session.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            session: None,
        }
    }

    /// Waits until the server accepts, and opens a session.
    ///
    /// # Errors
    ///
    /// If it does not accept within ten seconds, or refuses.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let mut target = Self::new(address);
        let begun = Instant::now();
        let mut connection = loop {
            match Connection::open(&target).await {
                Ok(connection) => break connection,
                Err(error) if begun.elapsed() > Duration::from_secs(10) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let mut body = Vec::new();
        wire::push_initialize(&mut body, 1);
        let head = connection.exchange(&body).await?;
        if head.status != 200 {
            return Err(unexpected("initialize", &head, &connection.body));
        }
        target.session = head.session;
        let mut connection = Connection::open(&target).await?;
        let head = connection.exchange(wire::INITIALIZED).await?;
        if head.status != 202 {
            return Err(unexpected(
                "notifications/initialized",
                &head,
                &connection.body,
            ));
        }
        Ok(target)
    }
}

/// Loads a server, and measures for a time after a shorter one of warming up. `probe` is asked as
/// measuring begins and ends.
///
/// # Errors
///
/// If a connection fails, or an answer is not what it should be.
pub async fn measure<T>(
    target: &Target,
    load: Load,
    time: Duration,
    mut probe: impl FnMut() -> io::Result<T>,
) -> io::Result<Measured<T>> {
    let shared = Arc::new(Shared::default());
    let mut callers = JoinSet::new();
    for number in 0..load.connections {
        let connection = Connection::open(target).await?;
        callers.spawn(call(connection, number, load, Arc::clone(&shared)));
    }
    wait(&mut callers, (time / 5).min(Duration::from_millis(500))).await?;
    shared.measuring.store(true, Ordering::Relaxed);
    let (begun, before) = (Instant::now(), probe()?);
    let calls = shared.calls.load(Ordering::Relaxed);
    wait(&mut callers, time).await?;
    let calls = shared.calls.load(Ordering::Relaxed) - calls;
    let (time, after) = (begun.elapsed(), probe()?);
    shared.stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.append(&mut done.map_err(io::Error::other)??);
    }
    let middle = times.len() / 2;
    if middle == 0 {
        return Err(io::Error::other("there was time for no call"));
    }
    let (_, &mut median, _) = times.select_nth_unstable(middle);
    Ok(Measured {
        calls,
        time,
        median,
        probes: (before, after),
    })
}

/// Waits for a time; before its end only a caller that failed comes back.
async fn wait(callers: &mut JoinSet<io::Result<Vec<Duration>>>, time: Duration) -> io::Result<()> {
    match tokio::time::timeout(time, callers.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(done)) => {
            done.map_err(io::Error::other)??;
            Err(io::Error::other("a connection has stopped calling"))
        }
        Ok(None) => Err(io::Error::other("there is no connection")),
    }
}

#[derive(Default)]
struct Shared {
    calls: AtomicU64,
    measuring: AtomicBool,
    stop: AtomicBool,
}

/// Calls until it is stopped; returns how long the calls took that were measured.
async fn call(
    mut connection: Connection,
    number: u64,
    load: Load,
    shared: Arc<Shared>,
) -> io::Result<Vec<Duration>> {
    let text = wire::text(load.text);
    let mut times = Vec::new();
    let mut body = Vec::new();
    // Ids of one length, and no two alike.
    let first = 100_000_000_000 + number * 1_000_000_000;
    for id in first.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        body.clear();
        wire::push_call(&mut body, id, &text, load.notifications);
        let begun = Instant::now();
        let head = connection.exchange(&body).await?;
        if !is_answer(&head, &connection.body, id, &text, load.notifications) {
            return Err(unexpected("tools/call", &head, &connection.body));
        }
        shared.calls.fetch_add(1, Ordering::Relaxed);
        if shared.measuring.load(Ordering::Relaxed) {
            times.push(begun.elapsed());
        }
    }
    Ok(times)
}

/// Whether a response is the answer to the call: all of its notifications in their order, and last
/// its text, all under its id.
fn is_answer(head: &Head, body: &[u8], id: u64, text: &str, notifications: u64) -> bool {
    let is_result = |message: &[u8]| {
        wire::number(message, wire::ID) == Some(id)
            && wire::string(message, wire::TEXT) == Some(text.as_bytes())
    };
    if head.status != 200 {
        return false;
    }
    if !head.is_stream {
        return notifications == 0 && is_result(body);
    }
    let mut seen = 0;
    let mut answered = false;
    for line in body.split(|&byte| byte == b'\n') {
        let Some(message) = line.strip_prefix(b"data: ") else {
            continue;
        };
        // A priming event carries nothing.
        if message.is_empty() {
            continue;
        }
        if answered {
            return false;
        }
        if wire::number(message, wire::PROGRESS_TOKEN) == Some(id) {
            seen += 1;
            if wire::number(message, wire::PROGRESS) != Some(seen) {
                return false;
            }
        } else {
            answered = is_result(message);
            if !answered {
                return false;
            }
        }
    }
    answered && seen == notifications
}

fn unexpected(what: &str, head: &Head, body: &[u8]) -> io::Error {
    let body = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
    io::Error::other(format!(
        "{what}: an unexpected response: {head:?}, which begins: {body}"
    ))
}

/// What matters of a response's head.
#[derive(Debug)]
struct Head {
    status: u16,
    is_stream: bool,
    is_chunked: bool,
    length: usize,
    session: Option<String>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let mut head = Self {
            status: lines.next()?.get(9..12)?.parse().ok()?,
            is_stream: false,
            is_chunked: false,
            length: 0,
            session: None,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.parse().ok()?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.is_chunked = value == "chunked";
            } else if name.eq_ignore_ascii_case("content-type") {
                head.is_stream = value == "text/event-stream";
            } else if name.eq_ignore_ascii_case("mcp-session-id") {
                head.session = Some(value.to_owned());
            }
        }
        Some(head)
    }
}

/// A keep-alive connection.
struct Connection {
    stream: TcpStream,
    /// What every request's head begins with.
    fields: String,
    request: Vec<u8>,
    input: Vec<u8>,
    /// The last response's body.
    body: Vec<u8>,
}

impl Connection {
    async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let mut fields = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\nuser-agent: load\r\n\
             accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
             authorization: Bearer {TOKEN}\r\n",
            target.address
        );
        if let Some(session) = &target.session {
            write!(
                fields,
                "mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n"
            )
            .map_err(io::Error::other)?;
        }
        Ok(Self {
            stream,
            fields,
            request: Vec::new(),
            input: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Sends a request and takes in the whole response.
    async fn exchange(&mut self, body: &[u8]) -> io::Result<Head> {
        self.request.clear();
        self.request.extend_from_slice(self.fields.as_bytes());
        wire::push(
            &mut self.request,
            format_args!("content-length: {}\r\n\r\n", body.len()),
        );
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;

        self.input.clear();
        self.body.clear();
        let end = self.find(0, b"\r\n\r\n").await?;
        let head = Head::parse(&self.input[..end])
            .ok_or_else(|| io::Error::other("a response's head cannot be read"))?;
        let mut at = end + 4;
        if head.is_chunked {
            loop {
                let end = self.find(at, b"\r\n").await?;
                let size = std::str::from_utf8(&self.input[at..end])
                    .ok()
                    .and_then(|digits| usize::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| io::Error::other("a chunk's size cannot be read"))?;
                let start = end + 2;
                at = start + size + 2;
                self.have(at).await?;
                if size == 0 {
                    break;
                }
                self.body
                    .extend_from_slice(&self.input[start..start + size]);
            }
        } else {
            self.have(at + head.length).await?;
            self.body
                .extend_from_slice(&self.input[at..at + head.length]);
            at += head.length;
        }
        if self.input.len() > at {
            return Err(io::Error::other("there is more than one response"));
        }
        Ok(head)
    }

    /// Where `pattern` stands at or after `from`; reads until it does.
    async fn find(&mut self, from: usize, pattern: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = self
                .input
                .get(from..)
                .and_then(|input| memmem::find(input, pattern))
            {
                return Ok(from + at);
            }
            self.read().await?;
        }
    }

    /// Reads until this many bytes are there.
    async fn have(&mut self, length: usize) -> io::Result<()> {
        while self.input.len() < length {
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        self.input.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(is_stream: bool) -> Head {
        let kind = if is_stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        let text = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 7");
        Head::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_answer_with_another_id_or_text_is_none() {
        let mut body = Vec::new();
        wire::push_answer(&mut body, b"7", b"hello");
        assert!(is_answer(&head(false), &body, 7, "hello", 0));
        assert!(!is_answer(&head(false), &body, 8, "hello", 0));
        assert!(!is_answer(&head(false), &body, 7, "hell", 0));
        assert!(!is_answer(&head(false), &body, 7, "hello", 1));
    }

    #[test]
    fn a_stream_has_every_notification_once_and_the_answer_last() {
        let stream = |numbers: &[u64]| {
            let mut body = b"id: 1\nretry: 1000\ndata: \n\n".to_vec();
            for &number in numbers {
                body.extend_from_slice(b"data: ");
                wire::push_progress(&mut body, b"7", number, 2);
                body.extend_from_slice(b"\n\n");
            }
            body.extend_from_slice(b"data: ");
            wire::push_answer(&mut body, b"7", b"hello");
            body.extend_from_slice(b"\n\n");
            is_answer(&head(true), &body, 7, "hello", 2)
        };
        assert!(stream(&[1, 2]));
        for wrong in [&[][..], &[1], &[2, 1], &[1, 1], &[1, 2, 3]] {
            assert!(!stream(wrong), "{wrong:?}");
        }
    }
}
