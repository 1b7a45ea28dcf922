//! One connection: hyper's HTTP/1.1, and an [`Exchange`] for each request.
//!
//! The exchange lives in the request's future until the response begins, and in the response's
//! body after that. hyper tells of a disconnect by dropping either.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use gateway_kit::driver::{self, DrivenExchange, Driver};
use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body, Frame as BodyFrame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mcp_proto::framing::COPY_LIMIT;
use mcp_proto::h1::{LINGER_TIME, MOST_DISCARDED, Violation, last_response};
use mcp_proto::{Refusal, RequestHead, ResponseHead};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant as TokioInstant, Sleep};
use tokio_rustls::rustls::ServerConfig;

use crate::socket::{Progress, Socket};
use crate::tls::{self, Failure, Stream};

/// Most bytes that hyper gathers of a response before it writes, and of a head, unless heads may be
/// larger.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a head may have beside its target and its fields.
const AROUND_HEAD: usize = 1024;

/// Most fields of a head that hyper takes by itself; to be told a number costs it an allocation for
/// each request.
const HYPERS_HEAD_FIELDS: usize = 100;

/// What a connection's requests and its task tell each other.
pub(crate) struct Connection {
    progress: Arc<Progress>,
    aborted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Connection {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            progress: Arc::new(Progress::new()),
            aborted: AtomicBool::new(false),
            waker: Mutex::default(),
        })
    }

    /// A waker is whole whatever happened to whoever held it.
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl driver::Connection for Connection {
    fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        if let Some(waker) = self.waker().take() {
            waker.wake();
        }
    }
}

/// Serves a connection until it closes, with TLS if it is given what to speak it with. `closing` is
/// ready when no further request is wanted.
pub(crate) async fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    peer: IpAddr,
    driver: Arc<Driver>,
    closing: impl Future<Output = ()>,
) {
    let limits = driver.limits();
    let mut closing = std::pin::pin!(closing);
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(config) => {
            // Boxed, so that it costs those nothing who have no use for it.
            let accepting = Box::pin(tls::accept(stream, config));
            let accepted = tokio::select! {
                accepted = tokio::time::timeout(limits.head_time, accepting) => accepted,
                () = &mut closing => return,
            };
            match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(Failure::NotTls(stream))) => {
                    let refusal = Some(Refusal::PlainHttp);
                    return part(Stream::Plain(stream), refusal, peer, &driver).await;
                }
                Ok(Err(Failure::NoHandshake(stream))) => {
                    return part(Stream::Plain(stream), None, peer, &driver).await;
                }
                Ok(Err(Failure::Gone)) | Err(_) => return,
            }
        }
    };
    let connection = Connection::new();
    let socket = Socket::new(stream, Arc::clone(&connection.progress), limits.into());
    let service = {
        let (driver, connection) = (Arc::clone(&driver), Arc::clone(&connection));
        service_fn(move |request| {
            connection.progress.busy();
            respond(request, peer, Arc::clone(&driver), Arc::clone(&connection))
        })
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES.max(limits.target_bytes + limits.head_bytes + AROUND_HEAD));
    if limits.head_fields > HYPERS_HEAD_FIELDS {
        builder.max_headers(limits.head_fields);
    }
    let mut http = builder.serve_connection(TokioIo::new(socket), service);
    let mut sleep = Box::pin(tokio::time::sleep(limits.head_time));
    let mut closed = false;
    let end = poll_fn(|context| {
        *connection.waker() = Some(context.waker().clone());
        if connection.aborted.load(Ordering::Acquire) {
            return Poll::Ready(End::Aborted);
        }
        if !closed && closing.as_mut().poll(context).is_ready() {
            closed = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        if Pin::new(&mut http).poll(context).is_ready() {
            return Poll::Ready(End::Closed);
        }
        let progress = &connection.progress;
        if let Some(violation) = progress.violation() {
            return Poll::Ready(End::Refused(violation));
        }
        loop {
            match progress.due(limits.head_time, limits.keep_alive_time) {
                Some(due) if due <= TokioInstant::now() && progress.is_in_head() => {
                    return Poll::Ready(End::Refused(Violation::HeadTimeout));
                }
                Some(due) if due <= TokioInstant::now() => return Poll::Ready(End::Closed),
                // An alarm that comes early does no harm, so that a later one need not be set.
                Some(due) if due < sleep.deadline() || sleep.is_elapsed() => {
                    sleep.as_mut().reset(due);
                }
                Some(_) => {}
                None => return Poll::Pending,
            }
            ready!(sleep.as_mut().poll(context));
        }
    })
    .await;
    let refusal = match end {
        End::Aborted => return,
        End::Refused(violation) => Some(violation.into()),
        End::Closed => None,
    };
    let stream = http.into_parts().io.into_inner().into_stream();
    part(stream, refusal, peer, &driver).await;
}

/// Ends a connection so that the last response arrives: closing with bytes unread would reset it and
/// take the response along. What is no request, of which hyper knows nothing, is answered first.
async fn part(mut stream: Stream, refusal: Option<Refusal>, peer: IpAddr, driver: &Driver) {
    let parting = async {
        if let Some(refusal) = refusal {
            let (head, body) = driver.refuse(refusal, peer);
            let fields = |field: &mut dyn FnMut(_, _)| head.for_each_field(field);
            let mut response = last_response(head.status, fields, body, driver.now());
            while !response.is_empty() {
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = response.fill(&mut slices);
                let written = stream.write_vectored(&slices[..filled]).await?;
                response.advance(written);
            }
            stream.flush().await?;
        }
        stream.shutdown().await?;
        linger(stream.tcp()).await
    };
    // A peer that has gone needs no goodbye.
    let _ = tokio::time::timeout(LINGER_TIME, parting).await;
}

/// Throws away what still comes, until the peer has closed too.
async fn linger(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut discarded = 0;
    while discarded < MOST_DISCARDED {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => discarded += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why a connection ends.
enum End {
    /// By either side, between requests or after one that asked for it.
    Closed,
    /// This came in place of a request.
    Refused(Violation),
    /// A reader has stopped reading.
    Aborted,
}

async fn respond(
    request: Request<Incoming>,
    peer: IpAddr,
    driver: Arc<Driver>,
    connection: Arc<Connection>,
) -> io::Result<Response<ResponseBody>> {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let authority = parts.uri.scheme().and(parts.uri.authority());
    let head = RequestHead::new(
        &parts.method,
        target,
        authority.map(|authority| authority.as_str()),
        parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes())),
    );
    let mut request = Running {
        exchange: DrivenExchange::admit(
            &driver,
            peer,
            &head,
            Arc::<Connection>::clone(&connection),
        ),
        connection,
        head: None,
        chunks: VecDeque::new(),
        ended: false,
        sleep: None,
        body_withheld: parts
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
        body_asked: false,
        body_ended: false,
    };
    let mut body = body;
    let head = poll_fn(|context| request.poll_head(&mut body, context)).await?;
    let ends_with_connection = parts.version == Version::HTTP_10 && head.length.is_none();
    let closes = !request.body_ended || ends_with_connection;
    let mut response = Response::new(ResponseBody {
        length: head.length,
        request,
    });
    *response.status_mut() = head.status;
    head.for_each_field(|name, value| {
        response.headers_mut().insert(name, value);
    });
    if ends_with_connection {
        // Else hyper says that the connection goes on, which it cannot.
        *response.version_mut() = Version::HTTP_10;
    }
    if closes {
        // hyper closes, since the rest of the request's body may still come, but would not say so.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

/// Takes in what has come of a body that nobody wants: a small one then does not cost the
/// connection. Whether that was all of it.
fn discard(body: &mut Incoming, context: &mut Context<'_>) -> bool {
    let mut discarded = 0;
    while discarded < MOST_DISCARDED && !body.is_end_stream() {
        match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                discarded += frame.data_ref().map_or(0, Bytes::len);
            }
            Poll::Ready(None) => return true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => break,
        }
    }
    body.is_end_stream()
}

/// An exchange that is being driven.
struct Running {
    exchange: DrivenExchange,
    connection: Arc<Connection>,
    head: Option<ResponseHead>,
    chunks: VecDeque<Bytes>,
    ended: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether the client waits to be told to send the request's body.
    body_withheld: bool,
    /// Whether hyper was given a turn to bring what it has of a body that nobody wants.
    body_asked: bool,
    /// Whether all of the request's body was read.
    body_ended: bool,
}

impl Running {
    /// Drives the exchange until the response begins.
    fn poll_head(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<ResponseHead>> {
        loop {
            self.perform();
            if self.head.is_some() {
                self.exchange.release_body();
                self.body_ended = self.body_ended || discard(body, context);
                // hyper brings what it has of a body once it was asked, but then also tells a
                // client that waits with its body to go on.
                if !self.body_ended && !self.body_asked && !self.body_withheld {
                    self.body_asked = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Some(head) = self.head.take() {
                    return Poll::Ready(Ok(head));
                }
            }
            if self.exchange.wants_body() {
                match Pin::new(&mut *body).poll_frame(context) {
                    Poll::Ready(frame) => {
                        self.take_body(frame)?;
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            if !self.poll_events(context) {
                return Poll::Pending;
            }
        }
    }

    fn take_body(
        &mut self,
        frame: Option<Result<BodyFrame<Bytes>, hyper::Error>>,
    ) -> io::Result<()> {
        match frame {
            None => {
                self.body_ended = true;
                self.exchange.handle_body_end();
            }
            Some(Err(error)) => match violation(&error) {
                Some(violation) => self.exchange.handle_body_refused(violation.into()),
                // The exchange ends when it is dropped.
                None => return Err(io::Error::other(error)),
            },
            // Trailers are read and mean nothing.
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    self.exchange.handle_body(chunk);
                }
            }
        }
        Ok(())
    }

    /// Takes mail and time. Whether anything happened; if not, `context` is woken when it does.
    fn poll_events(&mut self, context: &mut Context<'_>) -> bool {
        if self.exchange.poll_events(context) {
            return true;
        }
        let Some(due) = self.exchange.due().map(TokioInstant::from_std) else {
            return false;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        // An alarm that comes early does no harm, so that a later one need not be set.
        if due < sleep.deadline() || sleep.is_elapsed() {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(context).is_ready() {
            sleep.as_mut().reset(due);
        }
        false
    }

    fn perform(&mut self) {
        while let Some(response) = self.exchange.poll_response() {
            match response {
                driver::Response::Head(head) => self.head = Some(head),
                driver::Response::Chunk(frame) => self.chunks.extend(frame.into_slices()),
                driver::Response::End => self.ended = true,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.progress.answered();
    }
}

/// What was wrong with a body, unless the client has gone.
fn violation(error: &hyper::Error) -> Option<Violation> {
    let cause: &io::Error = std::error::Error::source(error)?.downcast_ref()?;
    let violation = cause
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .copied();
    // Where the bounds of chunks are raised, hyper's own are met first.
    let hypers = matches!(
        cause.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    );
    violation.or(hypers.then_some(Violation::MalformedBody))
}

/// Takes the next chunk, together with those behind it while they are small: of each that it is
/// given hyper makes a chunk of its own with three slices, and writes after sixteen.
fn gather(chunks: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let mut length = 0;
    let small = chunks.iter().take_while(|chunk| {
        length += chunk.len();
        length <= COPY_LIMIT
    });
    let small = small.count();
    if small < 2 {
        return chunks.pop_front();
    }
    let mut gathered = Vec::with_capacity(length.min(COPY_LIMIT));
    for chunk in chunks.drain(..small) {
        gathered.extend_from_slice(&chunk);
    }
    Some(gathered.into())
}

/// A response's body: what the exchange hands out.
struct ResponseBody {
    /// Bytes of the whole body, if it is no stream.
    length: Option<u64>,
    request: Running,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let request = &mut self.get_mut().request;
        loop {
            if let Some(chunk) = gather(&mut request.chunks) {
                // hyper takes it into a buffer that is bounded.
                request.exchange.handle_written(chunk.len());
                request.perform();
                return Poll::Ready(Some(Ok(BodyFrame::data(chunk))));
            }
            if request.ended {
                return Poll::Ready(None);
            }
            if !request.poll_events(context) {
                return Poll::Pending;
            }
            request.perform();
        }
    }

    fn is_end_stream(&self) -> bool {
        self.request.ended && self.request.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(_) => {
                let left = self.request.chunks.iter().map(|chunk| chunk.len() as u64);
                SizeHint::with_exact(left.sum())
            }
            None => SizeHint::default(),
        }
    }
}
