//! A connection, from its first byte to its last.
//!
//! ```text
//!          a head                      the response is complete, and the body
//!  Head ──────────────> InFlight ──────────────────────────────────────────────> Head
//!   │ a violation, or       │ a violation, a body that was not read,
//!   │ too slow a head       │ or either side wants no more
//!   │                       v
//!   └──> (InFlight) ──> Flushing ──written──> Lingering ──end, time──> Closed
//!
//!  any state ──the peer has gone──> Closed
//! ```
//!
//! One request is in flight at a time. What comes behind it stays in the buffer until the response
//! is complete, bounded; up to that bound the client's sending side is read on meanwhile, because its
//! end is how a client that has gone is noticed.
//!
//! A connection that closes shuts down its sending side first and reads for a while what may still
//! come: closing with bytes unread would reset the connection, and the reset would overtake the
//! response.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Version};
use std::io::IoSlice;

use super::body::BodyReader;
use super::head::HeadScan;
use super::input::{FIRST_READ, Input};
use super::response::{Fields, Framing, StatusLine, begin_chunk};
use super::{LINGER_TIME, Limits, MOST_DISCARDED, RequestHead, Violation};
use crate::framing::{COPY_LIMIT, WriteQueue};
use crate::time::{Instant, Now};

/// Most bytes that are read while nobody wants them yet: a body whose request is not admitted, or
/// requests behind the one in flight.
const READ_AHEAD: usize = 16 * 1024;

/// What waits to be written and above which no more is wanted.
const MOST_UNWRITTEN: usize = 64 * 1024;

/// What a [`Connection`] wants done, or tells.
#[derive(Debug)]
pub enum Output<'a> {
    /// A request has begun. It is answered by [`Connection::handle_response`]; its body comes once
    /// [`Connection::handle_body_wanted`] was called.
    Request(RequestHead<'a>),
    /// A piece of the request's body.
    Body(Bytes),
    /// The request's body is complete.
    BodyEnd,
    /// What came is no request, or the body of the one in flight is none. It is to be answered like
    /// a request, or for the one in flight, by [`Connection::handle_response`]; then the connection
    /// closes.
    Violation(Violation),
    /// The client has gone: nothing that is answered would arrive.
    Disconnect,
    /// Shut down the socket's sending side. All that was to be written has been.
    ShutdownWrite,
}

/// A connection's state.
#[derive(Debug)]
enum State {
    /// Waiting for a head, or within one.
    Head {
        scan: HeadScan,
        /// Whether a byte of it has come.
        begun: bool,
        /// Since the first byte of the head, or since nothing was left to be done.
        since: Instant,
    },
    /// A request is being answered.
    InFlight(InFlight),
    /// No request is wanted, and something is left to be written.
    Flushing,
    /// All is written, and what comes is thrown away.
    Lingering { until: Instant, left: usize },
    /// Nothing is left to be done: the socket can be closed.
    Closed,
}

/// A request that is being answered.
#[derive(Debug)]
struct InFlight {
    version: Version,
    /// Whether its method is HEAD.
    is_head: bool,
    body: BodyReader,
    /// When the body must have come.
    body_due: Option<Instant>,
    /// Whether the driver has said that it wants the body.
    body_wanted: bool,
    /// Whether the driver was told that the body is complete, or needs not be.
    body_told: bool,
    /// Whether the client waits to be told to go on.
    withheld: bool,
    /// What the driver is to be told of next.
    violation: Option<Violation>,
    /// Whether another request may follow.
    persists: bool,
    /// The response's, once it has begun.
    framing: Option<Framing>,
}

/// One connection of an HTTP/1.1 server.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    state: State,
    input: Input,
    output: WriteQueue,
    /// Bytes of the head that the last output borrowed.
    lent: usize,
    /// Whether the driver is to be told that the client has gone.
    gone: bool,
    /// Whether the driver wants no further request.
    closing: bool,
    /// The time of the last input.
    now: Instant,
    /// When the peer last took something of what is written.
    taken_at: Instant,
}

impl Connection {
    /// A connection that was accepted.
    pub fn new(limits: Limits, now: Now) -> Self {
        Self {
            limits,
            state: State::Head {
                scan: HeadScan::default(),
                begun: false,
                since: now.monotonic,
            },
            input: Input::new(),
            output: WriteQueue::default(),
            lent: 0,
            gone: false,
            closing: false,
            now: now.monotonic,
            taken_at: now.monotonic,
        }
    }

    // From the client.

    /// Where to read into, never empty. Ask for it when there is something to read, not before: a
    /// connection that is idle holds no buffer, or a small one.
    pub fn read_buffer(&mut self) -> &mut [u8] {
        self.return_lent();
        self.input.spare()
    }

    /// Takes note that so many bytes were read into [`Connection::read_buffer`]. None is the end of
    /// what the client sends.
    pub fn handle_read(&mut self, bytes: usize, now: Now) {
        self.now = now.monotonic;
        if bytes == 0 {
            return self.handle_read_end();
        }
        self.input.filled(bytes);
        match &mut self.state {
            State::Head { begun, since, .. } => {
                if !std::mem::replace(begun, true) {
                    *since = now.monotonic;
                }
            }
            State::InFlight(_) => {}
            State::Flushing | State::Closed => self.input.clear(),
            State::Lingering { left, .. } => {
                self.input.clear();
                *left = left.saturating_sub(bytes);
                if *left == 0 {
                    self.state = State::Closed;
                }
            }
        }
    }

    /// A client that ends its sending side while it is answered counts as gone: it is how most
    /// clients leave, and the others cannot be told from them.
    fn handle_read_end(&mut self) {
        match &self.state {
            State::InFlight(_) => self.lose(),
            State::Head { .. } if !self.output.is_empty() => {
                self.input.clear();
                self.state = State::Flushing;
            }
            State::Flushing => {}
            State::Head { .. } | State::Lingering { .. } | State::Closed => self.close(),
        }
    }

    /// Takes note that the connection is broken, or that the driver drops it.
    pub fn handle_disconnect(&mut self, now: Now) {
        self.now = now.monotonic;
        self.lose();
    }

    fn lose(&mut self) {
        self.gone |= matches!(self.state, State::InFlight(_));
        self.close();
    }

    fn close(&mut self) {
        self.return_lent();
        self.input.clear();
        self.input.release(0);
        self.output.clear();
        self.state = State::Closed;
    }

    /// Takes note that the first `bytes` of what was unwritten were written.
    pub fn handle_written(&mut self, bytes: usize, now: Now) {
        self.now = now.monotonic;
        self.output.advance(bytes);
        self.taken_at = now.monotonic;
        if let State::Head { since, .. } = &mut self.state
            && self.output.is_empty()
        {
            // What has come of a head meanwhile may not have been looked at.
            *since = now.monotonic;
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now.monotonic;
        if self.poll_timeout().is_none_or(|due| due > now.monotonic) {
            return;
        }
        match &mut self.state {
            State::Head { begun, .. } if self.output.is_empty() => {
                if *begun {
                    self.refuse_head(Violation::HeadTimeout);
                } else {
                    self.state = State::Flushing;
                }
            }
            State::InFlight(request) if request.framing.is_none() => {
                request.violate(Violation::BodyTimeout);
            }
            State::InFlight(_) => self.lose(),
            State::Head { .. } | State::Flushing | State::Lingering { .. } | State::Closed => {
                self.close();
            }
        }
    }

    // From whoever answers.

    /// Takes note that the request is admitted and its body wanted. A client that waits for this is
    /// told to go on.
    pub fn handle_body_wanted(&mut self, now: Now) {
        self.now = now.monotonic;
        self.return_lent();
        if let State::InFlight(request) = &mut self.state {
            request.body_wanted = true;
            // Even if the body has come meanwhile: that must not depend on luck.
            if std::mem::take(&mut request.withheld) {
                self.output.copy(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
        }
    }

    /// Begins the response. `length` is that of the body, `None` for a stream. `fields` is called
    /// once and hands over the head's fields, but for those that are this machine's:
    /// `Content-Length`, `Transfer-Encoding` and `Date`. `Connection: close` closes the connection
    /// after the response.
    ///
    /// What has come of a body that was not wanted, or not read to its end, is thrown away; if that
    /// is not all of it, the connection closes after the response.
    ///
    /// Panics if the response has begun before.
    pub fn handle_response(
        &mut self,
        status: StatusCode,
        length: Option<u64>,
        fields: impl FnOnce(&mut dyn FnMut(HeaderName, HeaderValue)),
        now: Now,
    ) {
        self.now = now.monotonic;
        self.return_lent();
        let State::InFlight(request) = &mut self.state else {
            return;
        };
        assert!(request.framing.is_none(), "a request has one response");
        let framing = Framing::of(status, length, request.is_head, request.version);
        request.framing = Some(framing);
        self.taken_at = now.monotonic;
        request.discard_body(&mut self.input, &self.limits);
        request.persists &= framing != Framing::Close && !self.closing;
        // A stream may last for hours, with nothing to read.
        let kept = if length.is_none() { 0 } else { FIRST_READ };
        self.input.release(kept);
        let mut writer = Fields::begin(&mut self.output, request.version, status);
        fields(&mut |name, value| writer.add(&name, &value));
        request.persists &= !writer.close;
        writer.end(&StatusLine {
            version: request.version,
            status,
            length,
            framing,
            persists: request.persists,
            unix_ms: now.unix_ms,
        });
    }

    /// Takes bytes of the response's body; all of them are one chunk of a stream. Short slices are
    /// copied. Look at [`Connection::wants_chunk`] before, so that what is unwritten stays bounded.
    ///
    /// Panics if the response has not begun, or has fewer bytes to come.
    pub fn handle_chunk(&mut self, slices: &[Bytes], now: Now) {
        self.now = now.monotonic;
        let State::InFlight(request) = &mut self.state else {
            return;
        };
        let framing = request.framing.as_mut().expect("a response has begun");
        if self.output.is_empty() {
            self.taken_at = now.monotonic;
        }
        let length: usize = slices.iter().map(Bytes::len).sum();
        match framing {
            Framing::Length(left) => {
                let after = left.checked_sub(length as u64);
                *left = after.expect("a body is as long as its head says");
            }
            Framing::Chunked if length > 0 => begin_chunk(&mut self.output, length),
            Framing::Chunked | Framing::Close => {}
            Framing::Omitted => return,
        }
        let is_chunk = *framing == Framing::Chunked && length > 0;
        for slice in slices {
            if slice.len() < COPY_LIMIT {
                self.output.copy(slice);
            } else {
                self.output.push(slice.clone());
            }
        }
        if is_chunk {
            self.output.copy(b"\r\n");
        }
    }

    /// Takes note that the response's body is complete.
    ///
    /// Panics if the response has not begun, or has bytes to come.
    pub fn handle_end(&mut self, now: Now) {
        self.now = now.monotonic;
        let State::InFlight(request) = &self.state else {
            return;
        };
        match request.framing.expect("a response has begun") {
            Framing::Length(left) => assert!(left == 0, "a body is as long as its head says"),
            Framing::Chunked => self.output.copy(b"0\r\n\r\n"),
            Framing::Close | Framing::Omitted => {}
        }
        self.taken_at = now.monotonic;
        self.state = if request.persists && !self.closing {
            State::Head {
                scan: HeadScan::default(),
                begun: !self.input.is_empty(),
                since: now.monotonic,
            }
        } else {
            self.input.clear();
            State::Flushing
        };
    }

    /// Takes note that no further request is wanted: the connection closes once nothing is in
    /// flight.
    pub fn handle_shutdown(&mut self, now: Now) {
        self.now = now.monotonic;
        self.return_lent();
        self.closing = true;
        if let State::Head { .. } = self.state {
            self.input.clear();
            self.state = State::Flushing;
        }
    }

    // To the driver.

    /// The next thing to do or to know, until `None`. A head is borrowed from the buffer, and gone
    /// with the next call of any other method that takes the connection mutably.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        self.return_lent();
        if std::mem::take(&mut self.gone) {
            return Some(Output::Disconnect);
        }
        match self.state {
            State::Head { .. } => self.poll_head(),
            State::InFlight(_) => self.poll_body(),
            State::Flushing if self.output.is_empty() => {
                self.state = State::Lingering {
                    until: self.now + LINGER_TIME,
                    left: MOST_DISCARDED,
                };
                Some(Output::ShutdownWrite)
            }
            State::Flushing | State::Lingering { .. } | State::Closed => None,
        }
    }

    fn poll_head(&mut self) -> Option<Output<'_>> {
        let State::Head { scan, begun, .. } = &mut self.state else {
            return None;
        };
        // A client that reads none of its responses gets no further ones.
        if !*begun || self.output.len() >= MOST_UNWRITTEN {
            return None;
        }
        let found = match scan.search(self.input.held(), &self.limits) {
            Ok(found) => found?,
            Err(violation) => {
                self.refuse_head(violation);
                return self.poll_body();
            }
        };
        let head = &self.input.held()[..found.length];
        match RequestHead::parse(head, found.lines) {
            Ok(head) => {
                self.state = State::InFlight(InFlight::new(&head, &self.limits, self.now));
                self.lent = found.length;
                Some(Output::Request(head))
            }
            Err(violation) => {
                self.state = State::InFlight(InFlight::refused());
                Some(Output::Violation(violation))
            }
        }
    }

    fn poll_body(&mut self) -> Option<Output<'_>> {
        let State::InFlight(request) = &mut self.state else {
            return None;
        };
        if let Some(violation) = request.violation.take() {
            return Some(Output::Violation(violation));
        }
        if !request.body_wanted || request.framing.is_some() || request.body_told {
            return None;
        }
        // Sizes of chunks come before data: the first step may yield none.
        while !request.body.has_ended() {
            let held = self.input.held();
            match request.body.step(held, &self.limits) {
                Ok(step) if step.read == 0 => return None,
                Ok(step) => {
                    let data = Bytes::copy_from_slice(&held[step.data]);
                    self.input.consume(step.read);
                    if !data.is_empty() {
                        return Some(Output::Body(data));
                    }
                }
                Err(violation) => {
                    self.input.clear();
                    request.violate(violation);
                    request.violation = None;
                    return Some(Output::Violation(violation));
                }
            }
        }
        request.body_told = true;
        request.body_due = None;
        Some(Output::BodyEnd)
    }

    /// Has whatever came in place of a head answered.
    fn refuse_head(&mut self, violation: Violation) {
        self.input.clear();
        let mut request = InFlight::refused();
        request.violation = Some(violation);
        self.state = State::InFlight(request);
    }

    /// Uses up the head that was lent.
    fn return_lent(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        self.input.consume(lent);
    }

    /// Fills slots with what is to be written next, and says how many it filled.
    pub fn unwritten<'a>(&'a self, slots: &mut [IoSlice<'a>]) -> usize {
        self.output.fill(slots)
    }

    /// Whether there is something to be written.
    pub fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether more of the response's body is wanted: what is unwritten is bounded by this.
    pub fn wants_chunk(&self) -> bool {
        self.output.len() < MOST_UNWRITTEN
    }

    /// Whether the client's bytes should be read.
    pub fn wants_read(&self) -> bool {
        let held = self.input.held().len();
        match &self.state {
            State::Head { .. } => self.output.len() < MOST_UNWRITTEN,
            State::InFlight(request) => request.reads_body() || held < READ_AHEAD,
            State::Lingering { .. } => true,
            State::Flushing | State::Closed => false,
        }
    }

    /// When to call [`Connection::handle_timeout`] if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Flushing => Some(self.taken_at + self.limits.keep_alive_time),
            State::Head { .. }
            | State::InFlight(InFlight {
                framing: Some(_), ..
            }) if !self.output.is_empty() => Some(self.taken_at + self.limits.keep_alive_time),
            State::Head { begun, since, .. } => Some(match begun {
                true => *since + self.limits.head_time,
                false => *since + self.limits.keep_alive_time,
            }),
            State::InFlight(request) => request.body_due,
            State::Lingering { until, .. } => Some(*until),
            State::Closed => None,
        }
    }

    /// Whether nothing is left to be done: the socket can be closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed) && !self.gone
    }
}

impl InFlight {
    fn new(head: &RequestHead<'_>, limits: &Limits, now: Instant) -> Self {
        let body = head.body().clone();
        let has_body = !body.has_ended();
        Self {
            version: head.version(),
            is_head: head.method() == http::Method::HEAD,
            body_due: limits.body_time.filter(|_| has_body).map(|time| now + time),
            body,
            body_wanted: false,
            body_told: false,
            withheld: has_body && head.expects_continue(),
            violation: None,
            persists: head.persists(),
            framing: None,
        }
    }

    /// In place of a request that is none.
    fn refused() -> Self {
        Self {
            version: Version::HTTP_11,
            is_head: false,
            body: BodyReader::Length(0),
            body_due: None,
            body_wanted: false,
            body_told: true,
            withheld: false,
            violation: None,
            persists: false,
            framing: None,
        }
    }

    /// Takes note that the body is none. A response that has begun is finished all the same.
    fn violate(&mut self, violation: Violation) {
        self.body = BodyReader::Length(0);
        self.body_told = true;
        self.body_due = None;
        self.persists = false;
        if self.framing.is_none() {
            self.violation = Some(violation);
        }
    }

    fn reads_body(&self) -> bool {
        self.body_wanted && self.framing.is_none() && !self.body.has_ended()
    }

    /// Throws away what has come of a body that nobody will read.
    fn discard_body(&mut self, input: &mut Input, limits: &Limits) {
        self.body_due = None;
        while !self.body.has_ended() {
            match self.body.step(input.held(), limits) {
                Ok(step) if step.read > 0 => input.consume(step.read),
                _ => {
                    self.persists = false;
                    return;
                }
            }
        }
    }
}
