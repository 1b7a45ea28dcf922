//! What is read once there is something, and not tried before: no buffer has to be there until then.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use async_io::Async;

/// A pipe or a socket that is read.
pub(crate) struct Source<T> {
    io: Async<T>,
    /// Whether there may be something to read.
    ready: bool,
}

impl<T: AsFd> Source<T> {
    pub(crate) fn new(io: Async<T>) -> Self {
        Self { io, ready: false }
    }

    pub(crate) fn io(&self) -> &Async<T> {
        &self.io
    }

    pub(crate) fn into_io(self) -> Async<T> {
        self.io
    }

    /// Ready once [`read`](Read::read) has something to tell: bytes, the end, or an error.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.ready {
            // An error comes with the read, too.
            let _ = ready!(self.io.poll_readable(context));
            self.ready = true;
        }
        Poll::Ready(())
    }
}

/// Reads what is there; it is an error of kind `WouldBlock` if that is nothing.
impl<T> Read for Source<T>
where
    for<'a> &'a T: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.io.get_ref().read(buffer);
        // Less than there was room for is all that there was.
        self.ready = match &read {
            Ok(read) => *read == buffer.len(),
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        };
        read
    }
}

/// Whether a read is to be tried again, once there is something.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
