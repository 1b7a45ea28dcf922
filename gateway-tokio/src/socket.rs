//! A TCP socket as hyper reads and writes it, which notes when a head begins to arrive.
//!
//! hyper has one time-out for the wait between requests and for a head that arrives slowly. Here
//! they are two, and a slow head is answered.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

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
}

impl Progress {
    pub(crate) fn new() -> Self {
        let progress = Self {
            origin: Instant::now(),
            phase: AtomicU64::new(0),
        };
        progress.set(Phase::Idle(progress.nanoseconds()));
        progress
    }

    /// Notes that a head is complete.
    pub(crate) fn busy(&self) {
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
            Phase::Busy => None,
        }
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.get(), Phase::Head(_))
    }

    fn arrived(&self) {
        if let Phase::Idle(_) = self.get() {
            self.set(Phase::Head(self.nanoseconds()));
        }
    }

    /// A reader that is slow is not idle.
    fn wrote(&self) {
        if let Phase::Flushing(_) = self.get() {
            self.answered();
        }
    }

    fn flushed(&self) {
        if let Phase::Flushing(_) = self.get() {
            self.set(Phase::Idle(self.nanoseconds()));
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

/// A TCP socket that tells of its [`Progress`].
pub(crate) struct Socket {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.progress.arrived();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.progress.wrote();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        self.progress.wrote();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes once it has written all that it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.progress.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
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
        progress.busy();
        progress.arrived();
        assert_eq!(progress.due(head, idle), None);
        progress.answered();
        progress.arrived();
        assert!(
            !progress.is_in_head(),
            "a head after it waits for the response"
        );
        progress.flushed();
        assert!(!progress.is_in_head() && progress.due(head, idle).unwrap() >= waits);
    }
}
