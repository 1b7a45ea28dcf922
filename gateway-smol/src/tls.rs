//! TLS under a connection: the handshake, and a stream that is encrypted or is not.
//!
//! rustls is driven here as it is, without I/O of its own: so encrypted connections too are read once
//! there is something to read, and need no buffer until then.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_lite::AsyncWrite;
use gateway_kit::tls::HANDSHAKE;
use rustls::{ServerConfig, ServerConnection};
use tracing::debug;

use crate::source::{Source, is_transient};

/// What HTTP is spoken over.
pub(crate) enum Stream {
    Plain(Source<TcpStream>),
    /// Boxed, so that it costs those nothing who have no use for it.
    Tls(Box<Tls>),
}

impl Stream {
    /// Ready once [`Stream::read`] has something to tell. It may find that it was not enough.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(source) => source.poll_ready(context),
            Self::Tls(tls) if tls.more => Poll::Ready(()),
            Self::Tls(tls) => tls.source.poll_ready(context),
        }
    }

    /// Reads what is there; it is an error of kind `WouldBlock` if that is nothing.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Writes from the beginning of `slices`, and says how much. While that waits, the bytes must stay
    /// what they are.
    pub(crate) fn poll_write(
        &mut self,
        slices: &[IoSlice<'_>],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(source) => {
                let mut stream = source.io();
                Pin::new(&mut stream).poll_write_vectored(context, slices)
            }
            Self::Tls(tls) => tls.poll_write(slices, context),
        }
    }

    /// Tells the peer that nothing more comes, in TLS's words first where it is spoken.
    pub(crate) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let source = match self {
            Self::Plain(source) => source,
            Self::Tls(tls) => {
                tls.session.send_close_notify();
                ready!(tls.poll_send(context))?;
                &mut tls.source
            }
        };
        Poll::Ready(source.io().get_ref().shutdown(Shutdown::Write))
    }

    /// Tells a peer that spoke TLS and may listen still, unless it was told, that nothing more comes.
    pub(crate) fn close(&mut self) {
        if let Self::Tls(tls) = self {
            tls.session.send_close_notify();
            // If there is no room for it, nobody listens.
            let _ = tls.session.write_tls(&mut tls.source.io().get_ref());
        }
    }
}

/// A stream that is encrypted.
pub(crate) struct Tls {
    source: Source<TcpStream>,
    session: ServerConnection,
    /// Whether what was received and decrypted may not all have been read.
    more: bool,
    /// Bytes of a write that are encrypted and not all sent.
    taken: usize,
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.receive()?;
                }
                // HTTP tells by itself where a request ends: whoever closes without a word of TLS's
                // has closed (RFC 9112 section 9.8).
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => {
                    self.more = matches!(read, Ok(read) if read == buffer.len());
                    return read;
                }
            }
        }
    }

    /// Takes in what the socket has, and says how much that was.
    fn receive(&mut self) -> io::Result<usize> {
        self.more = false;
        let read = self.session.read_tls(&mut self.source)?;
        match self.session.process_new_packets() {
            Ok(state) => {
                self.more = state.plaintext_bytes_to_read() > 0 || state.peer_has_closed();
                Ok(read)
            }
            Err(error) => {
                // The alert that tells the peer, if there is room for it.
                let _ = self.session.write_tls(&mut self.source.io().get_ref());
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Encrypts once, and is ready when all of it was sent: what the socket has not taken was not
    /// written.
    fn poll_write(
        &mut self,
        slices: &[IoSlice<'_>],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            self.taken = self.session.writer().write_vectored(slices)?;
        }
        ready!(self.poll_send(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken)))
    }

    /// Sends what is encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.source.io().get_ref()) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => ready!(self.source.io().poll_writable(context))?,
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.source.poll_ready(context));
            match self.receive() {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if !is_transient(&error) => return Poll::Ready(Err(error)),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Why a connection has no TLS.
pub(crate) enum Failure {
    /// The peer spoke at once of something else.
    NotTls(Async<TcpStream>),
    /// The two could not agree, which the peer was told as TLS tells it.
    NoHandshake(Async<TcpStream>),
    /// The peer has gone.
    Gone,
}

/// Begins TLS. It waits for the peer as long as it takes.
pub(crate) async fn accept(
    stream: Async<TcpStream>,
    config: Arc<ServerConfig>,
) -> Result<Stream, Failure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1..) if first[0] == HANDSHAKE => {}
        Ok(1..) => return Err(Failure::NotTls(stream)),
        Ok(0) | Err(_) => return Err(Failure::Gone),
    }
    let session = match ServerConnection::new(config) {
        Ok(session) => session,
        Err(error) => {
            debug!(%error, "no TLS session");
            return Err(Failure::Gone);
        }
    };
    let mut tls = Box::new(Tls {
        source: Source::new(stream),
        session,
        more: false,
        taken: 0,
    });
    match poll_fn(|context| tls.poll_handshake(context)).await {
        Ok(()) => Ok(Stream::Tls(tls)),
        Err(error) => {
            debug!(%error, "no TLS handshake");
            Err(Failure::NoHandshake(tls.source.into_io()))
        }
    }
}
