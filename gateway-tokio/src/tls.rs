//! TLS under a connection: the handshake, and a stream that is encrypted or is not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway_kit::tls::HANDSHAKE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// What HTTP is spoken over.
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed, so that it costs those nothing who have no use for it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below: what is read from it is what the peer sent, encrypted or not.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Why a connection has no TLS.
pub(crate) enum Failure {
    /// The peer spoke at once of something else.
    NotTls(TcpStream),
    /// The two could not agree, which the peer was told as TLS tells it.
    NoHandshake(TcpStream),
    /// The peer has gone.
    Gone,
}

/// Begins TLS. It waits for the peer as long as it takes.
pub(crate) async fn accept(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<Stream, Failure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1..) if first[0] == HANDSHAKE => {}
        Ok(1..) => return Err(Failure::NotTls(stream)),
        Ok(0) | Err(_) => return Err(Failure::Gone),
    }
    let accepted = TlsAcceptor::from(config).accept(stream).into_fallible();
    match accepted.await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err((error, stream)) => {
            debug!(%error, "no TLS handshake");
            Err(Failure::NoHandshake(stream))
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => match Pin::new(stream).poll_read(context, buffer) {
                // HTTP tells by itself where a request ends: whoever closes without a word of TLS's
                // has closed (RFC 9112 section 9.8).
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Tells the peer that nothing more comes, in TLS's words first where it is spoken.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
