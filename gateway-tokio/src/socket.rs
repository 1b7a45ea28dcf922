//! A socket as hyper reads and writes it, with TLS or without: hyper sees nothing that is no request.
//!
//! A [`Validator`] reads along. hyper gets heads that are complete and were judged; what is refused in
//! place of one the connection's task answers, once hyper has finished with the requests before it.
//! In a body hyper meets an error at that point, which says what was wrong.
//!
//! hyper has one time-out for the wait between requests and for a head that arrives slowly. Here
//! they are two, and a slow head is answered.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mcp_proto::h1::{Limits, MOST_DISCARDED, Place, Validator, Violation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::tls::Stream;

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between requests, since this many nanoseconds.
    Idle(u64),
    /// A head has begun to arrive.
    Head(u64),
    /// A request is being answered.
    Busy,
    /// The response is complete, and hyper is writing it: these are the nanoseconds of the last
    /// time that the socket took some of it.
    Flushing(u64),
}

/// What a connection is at, shared by its socket and its requests.
#[derive(Debug)]
pub(crate) struct Progress {
    origin: Instant,
    /// A [`Phase`]: 0 is busy; else nanoseconds since `origin`, times four, plus one within a head
    /// or two while a response is being written.
    phase: AtomicU64,
    /// Nanoseconds since `origin` at which the socket last refused to take bytes, if it has taken
    /// none since; else 0.
    stalled: AtomicU64,
    /// Requests that hyper has got and not begun: it takes a pause among many.
    unbegun: AtomicUsize,
    /// What came in place of a head.
    violation: OnceLock<Violation>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let progress = Self {
            origin: Instant::now(),
            phase: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            unbegun: AtomicUsize::new(0),
            violation: OnceLock::new(),
        };
        progress.set(Phase::Idle(progress.nanoseconds()));
        progress
    }

    /// Notes that hyper has begun a request.
    pub(crate) fn busy(&self) {
        self.unbegun.fetch_sub(1, Ordering::Relaxed);
        self.set(Phase::Busy);
    }

    /// Notes that a response is complete. A large one has yet to be written.
    pub(crate) fn answered(&self) {
        self.set(Phase::Flushing(self.nanoseconds()));
    }

    /// When the connection is to be closed if nothing happens.
    pub(crate) fn due(&self, head_time: Duration, keep_alive_time: Duration) -> Option<Instant> {
        match self.get() {
            Phase::Idle(since) | Phase::Flushing(since) => Some(self.at(since) + keep_alive_time),
            Phase::Head(since) => Some(self.at(since) + head_time),
            Phase::Busy => match self.stalled.load(Ordering::Relaxed) {
                0 => None,
                since => Some(self.at(since) + keep_alive_time),
            },
        }
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.get(), Phase::Head(_))
    }

    /// What came in place of a head, once all requests before it are answered.
    pub(crate) fn violation(&self) -> Option<Violation> {
        let is_waiting = matches!(self.get(), Phase::Idle(_) | Phase::Head(_));
        let is_its_turn = is_waiting && self.unbegun.load(Ordering::Relaxed) == 0;
        self.violation.get().copied().filter(|_| is_its_turn)
    }

    fn arrived(&self) {
        if let Phase::Idle(_) = self.get() {
            self.set(Phase::Head(self.nanoseconds()));
        }
    }

    /// Notes whether the socket took some of a response. A reader that is slow is not idle.
    fn wrote(&self, some: bool) {
        if !some {
            let now = self.nanoseconds().max(1);
            let relaxed = Ordering::Relaxed;
            let _ = self.stalled.compare_exchange(0, now, relaxed, relaxed);
            return;
        }
        self.stalled.store(0, Ordering::Relaxed);
        if let Phase::Flushing(_) = self.get() {
            self.answered();
        }
    }

    /// Notes that all was written. The next head may have begun to arrive before that.
    fn flushed(&self, in_head: bool) {
        self.stalled.store(0, Ordering::Relaxed);
        if let Phase::Flushing(_) = self.get() {
            self.set(match in_head {
                true => Phase::Head(self.nanoseconds()),
                false => Phase::Idle(self.nanoseconds()),
            });
        }
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn at(&self, nanoseconds: u64) -> Instant {
        self.origin + Duration::from_nanos(nanoseconds)
    }

    fn get(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Busy,
            phase if phase & 3 == 1 => Phase::Head(phase >> 2),
            phase if phase & 3 == 2 => Phase::Flushing(phase >> 2),
            phase => Phase::Idle(phase >> 2),
        }
    }

    fn set(&self, phase: Phase) {
        let phase = match phase {
            Phase::Busy => 0,
            Phase::Idle(since) => since.max(1) << 2,
            Phase::Head(since) => since << 2 | 1,
            Phase::Flushing(since) => since << 2 | 2,
        };
        self.phase.store(phase, Ordering::Relaxed);
    }
}

/// A socket that is read along with, and tells of its [`Progress`].
pub(crate) struct Socket {
    stream: Stream,
    progress: Arc<Progress>,
    validator: Validator,
    /// What was read and hyper has not got: a head that is not complete, mostly.
    kept: Vec<u8>,
    /// How many of those bytes hyper may get.
    passed: usize,
    violation: Option<(Place, Violation)>,
    /// Bytes behind a violation that were thrown away.
    discarded: usize,
}

impl Socket {
    pub(crate) fn new(stream: Stream, progress: Arc<Progress>, limits: Limits) -> Self {
        Self {
            stream,
            progress,
            validator: Validator::new(limits),
            kept: Vec::new(),
            passed: 0,
            violation: None,
            discarded: 0,
        }
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Judges bytes, and says how many of them hyper may get.
    fn judge(&mut self, bytes: &[u8]) -> usize {
        let verdict = self.validator.read(bytes);
        let unbegun = &self.progress.unbegun;
        unbegun.fetch_add(verdict.heads, Ordering::Relaxed);
        self.violation = verdict.violation;
        if let Some((Place::Head, violation)) = verdict.violation {
            // There is one at most.
            let _ = self.progress.violation.set(violation);
        }
        verdict.passed
    }

    /// Reads what has come, and says how much that was.
    fn poll_some(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.progress.arrived();
        }
        Poll::Ready(Ok(read))
    }

    /// Reads what follows a violation, of which only the end matters: it tells that the client has
    /// gone.
    fn poll_behind(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 1024];
        while self.discarded < MOST_DISCARDED {
            match ready!(self.poll_some(context, &mut ReadBuf::new(&mut bytes)))? {
                0 => return Poll::Ready(Ok(())),
                read => self.discarded += read,
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passed > 0 {
                let some = this.passed.min(buffer.remaining());
                buffer.put_slice(&this.kept[..some]);
                this.kept.drain(..some);
                this.passed -= some;
                if this.kept.is_empty() {
                    this.kept = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.violation {
                None => {}
                Some((Place::Head, _)) => return this.poll_behind(context),
                Some((Place::Body, violation)) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, violation);
                    return Poll::Ready(Err(error));
                }
            }
            if this.kept.is_empty() {
                let before = buffer.filled().len();
                if ready!(this.poll_some(context, buffer))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                // A head is complete as a rule, and then nothing is copied.
                let passed = this.judge(&buffer.filled()[before..]);
                this.kept
                    .extend_from_slice(&buffer.filled()[before + passed..]);
                buffer.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut bytes = [0; 4096];
                let mut more = ReadBuf::new(&mut bytes);
                if ready!(this.poll_some(context, &mut more))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                this.kept.extend_from_slice(more.filled());
                let kept = std::mem::take(&mut this.kept);
                this.passed = this.judge(&kept);
                this.kept = kept;
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.progress.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.progress.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has written all that it holds. What TLS has of it may be waiting still.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_pending() {
            self.progress.wrote(false);
            return Poll::Pending;
        }
        let in_head = !self.kept.is_empty() && self.passed == 0;
        self.progress.flushed(in_head);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_and_the_wait_for_one_have_their_own_time() {
        let (head, idle) = (Duration::from_secs(1), Duration::from_secs(60));
        let progress = Progress::new();
        let waits = progress.due(head, idle).unwrap();
        progress.arrived();
        assert!(progress.is_in_head() && progress.due(head, idle).unwrap() < waits);
        let due = progress.due(head, idle);
        progress.arrived();
        assert_eq!(progress.due(head, idle), due, "further bytes buy no time");
        progress.unbegun.store(1, Ordering::Relaxed);
        progress.busy();
        progress.arrived();
        assert_eq!(progress.due(head, idle), None);
        progress.answered();
        progress.arrived();
        assert!(
            !progress.is_in_head(),
            "a head after it waits for the response"
        );
        progress.flushed(false);
        assert!(!progress.is_in_head() && progress.due(head, idle).unwrap() >= waits);
    }

    #[test]
    fn a_head_that_came_early_has_its_time_from_its_turn() {
        let (head, idle) = (Duration::from_secs(1), Duration::from_secs(60));
        let progress = Progress::new();
        progress.unbegun.store(1, Ordering::Relaxed);
        progress.busy();
        progress.answered();
        let idles = progress.due(head, idle).unwrap();
        progress.flushed(true);
        assert!(progress.is_in_head() && progress.due(head, idle).unwrap() < idles);
    }

    #[test]
    fn who_takes_nothing_of_a_response_is_left() {
        let (head, idle) = (Duration::from_secs(1), Duration::from_secs(60));
        let progress = Progress::new();
        progress.unbegun.store(1, Ordering::Relaxed);
        progress.busy();
        assert_eq!(progress.due(head, idle), None);
        progress.wrote(false);
        let due = progress.due(head, idle);
        assert!(due.is_some());
        progress.wrote(false);
        assert_eq!(progress.due(head, idle), due, "a further try buys no time");
        progress.wrote(true);
        assert_eq!(progress.due(head, idle), None);
        progress.wrote(false);
        assert!(progress.due(head, idle).is_some());
        progress.flushed(false);
        assert_eq!(progress.due(head, idle), None, "all of it was taken");
    }
}
