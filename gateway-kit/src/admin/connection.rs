//! One connection: one request, and its answer.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use mcp_proto::h1::{Connection, Limits, Output};
use mcp_proto::{Instant, Refusal, RequestHead, admin};

use super::{Answer, Answers};
use crate::driver::Clock;

/// How long a connection may last, and how long its peer may send and take nothing.
const TIME: Duration = Duration::from_secs(10);

/// The shortest wait for the peer: the system takes none for one without end.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Most slices of one vectored write.
const SLICES_PER_WRITE: usize = 16;

/// What a scraper sends is short.
fn limits() -> Limits {
    Limits {
        target_bytes: 1024,
        head_time: TIME / 2,
        body_bytes: 0,
        keep_alive_time: TIME,
        ..Limits::default()
    }
}

/// Serves a connection until it has closed. `Connection: close` stands in every answer, so that a
/// scraper takes no place between its scrapes.
///
/// # Errors
///
/// If the connection breaks.
pub(super) fn serve(stream: &TcpStream, answers: &Answers) -> io::Result<()> {
    let clock = Clock::new();
    let end = clock.now().monotonic + TIME;
    let mut http = Connection::new(limits(), clock.now());
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(TIME))?;
    loop {
        if clock.now().monotonic >= end {
            return Ok(());
        }
        let answer = match http.poll_output() {
            Some(Output::Request(head)) => {
                let (method, target) = (head.method(), head.target());
                let head = RequestHead::new(method, target, head.authority(), head.fields());
                Some(answers(&head))
            }
            Some(Output::Violation(violation)) => Some(Refusal::from(violation).into()),
            Some(Output::ShutdownWrite) => {
                stream.shutdown(Shutdown::Write)?;
                None
            }
            // No body is wanted.
            Some(Output::Body(_) | Output::BodyEnd | Output::Disconnect) => None,
            None => {
                if http.is_closed() {
                    return Ok(());
                }
                if http.wants_write() {
                    write(&mut http, stream, &clock)?;
                } else {
                    read(&mut http, stream, &clock, end)?;
                }
                None
            }
        };
        if let Some(answer) = answer {
            respond(&mut http, answer, &clock);
        }
    }
}

fn respond(http: &mut Connection, answer: Answer, clock: &Clock) {
    let fields = |field: &mut dyn FnMut(HeaderName, HeaderValue)| {
        let mut add = |name, value| field(name, HeaderValue::from_static(value));
        add(header::CONTENT_TYPE, answer.content_type);
        add(header::CACHE_CONTROL, "no-store");
        add(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if answer.status == http::StatusCode::METHOD_NOT_ALLOWED {
            add(header::ALLOW, admin::ALLOW);
        }
        add(header::CONNECTION, "close");
    };
    let now = clock.now();
    let length = answer.body.len() as u64;
    http.handle_response(answer.status, Some(length), fields, now);
    http.handle_chunk(&[answer.body], now);
    http.handle_end(now);
}

fn write(http: &mut Connection, mut stream: &TcpStream, clock: &Clock) -> io::Result<()> {
    let mut slots = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let filled = http.unwritten(&mut slots);
    let written = stream.write_vectored(&slots[..filled])?;
    http.handle_written(written, clock.now());
    Ok(())
}

/// Waits for the peer until something is due.
fn read(
    http: &mut Connection,
    mut stream: &TcpStream,
    clock: &Clock,
    end: Instant,
) -> io::Result<()> {
    let due = http.poll_timeout().map_or(end, |due| due.min(end));
    let now = clock.now().monotonic;
    if due <= now {
        http.handle_timeout(clock.now());
        return Ok(());
    }
    stream.set_read_timeout(Some((due - now).max(SHORTEST_WAIT)))?;
    match stream.read(http.read_buffer()) {
        Ok(read) => http.handle_read(read, clock.now()),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
            _ => return Err(error),
        },
    }
    Ok(())
}
