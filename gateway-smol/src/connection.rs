//! One connection: HTTP/1.1 by [`h1`], and an exchange for the request that is in flight.
//!
//! One task moves the bytes of both directions and carries what the two machines say to each other.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_io::{Async, Timer};
use futures_lite::future::or;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use gateway_kit::driver::{self, DrivenExchange, Driver, Response};
use mcp_proto::framing::Frame;
use mcp_proto::h1::{self, LINGER_TIME, MOST_DISCARDED, Output, last_response};
use mcp_proto::{Refusal, RequestHead, ResponseHead};
use rustls::ServerConfig;

use crate::alarm::Alarm;
use crate::source::Source;
use crate::tls::{self, Failure, Stream};

/// Steps in a row before the task lets others run.
const STEPS_PER_TURN: usize = 8;

/// Most slices of one vectored write.
const SLICES_PER_WRITE: usize = 64;

/// What a connection's exchange and its task tell each other.
#[derive(Default)]
struct Connection {
    aborted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Connection {
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
    stream: Async<TcpStream>,
    tls: Option<Arc<ServerConfig>>,
    peer: IpAddr,
    driver: Arc<Driver>,
    closing: impl Future<Output = ()>,
) {
    let mut closing = pin!(closing);
    let stream = match tls {
        None => Stream::Plain(Source::new(stream)),
        Some(config) => {
            let late = async {
                Timer::after(driver.limits().head_time).await;
            };
            let given_up = async {
                or(late, &mut closing).await;
                Err(Failure::Gone)
            };
            // Boxed, so that it costs those nothing who have no use for it.
            let accepting = Box::pin(or(tls::accept(stream, config), given_up));
            match accepting.await {
                Ok(stream) => stream,
                Err(Failure::NotTls(stream)) => {
                    return part(stream, Some(Refusal::PlainHttp), peer, &driver).await;
                }
                Err(Failure::NoHandshake(stream)) => {
                    return part(stream, None, peer, &driver).await;
                }
                Err(Failure::Gone) => return,
            }
        }
    };
    let mut task = Task {
        stream,
        peer,
        http: h1::Connection::new(driver.limits().into(), driver.now()),
        driver,
        connection: Arc::default(),
        request: None,
        alarm: Alarm::new(),
        shutting_down: false,
    };
    let mut closed = false;
    poll_fn(|context| {
        if !closed && closing.as_mut().poll(context).is_ready() {
            closed = true;
            task.http.handle_shutdown(task.driver.now());
        }
        task.poll(context)
    })
    .await;
}

/// Ends a connection that never came to HTTP so that what it was told last arrives: closing with
/// bytes unread would reset it and take that along. What is no TLS is answered first.
async fn part(
    mut stream: Async<TcpStream>,
    refusal: Option<Refusal>,
    peer: IpAddr,
    driver: &Driver,
) {
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
        }
        stream.get_ref().shutdown(Shutdown::Write)?;
        let mut buffer = vec![0; 4096];
        let mut discarded = 0;
        while discarded < MOST_DISCARDED {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => discarded += read,
            }
        }
        Ok(())
    };
    let late = async {
        Timer::after(LINGER_TIME).await;
        Ok(())
    };
    // A peer that has gone needs no goodbye.
    let _: io::Result<()> = or(parting, late).await;
}

struct Task {
    stream: Stream,
    peer: IpAddr,
    http: h1::Connection,
    driver: Arc<Driver>,
    connection: Arc<Connection>,
    /// The request in flight.
    request: Option<Running>,
    alarm: Alarm,
    /// Whether the peer is to be told that nothing more comes.
    shutting_down: bool,
}

/// An exchange that is being driven.
struct Running {
    exchange: DrivenExchange,
    /// What the connection has no room for yet.
    chunks: VecDeque<Frame>,
    ended: bool,
    /// Whether the connection was told that the body is wanted.
    body_asked: bool,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut waker = self.connection.waker();
            if !waker
                .as_ref()
                .is_some_and(|it| it.will_wake(context.waker()))
            {
                *waker = Some(context.waker().clone());
            }
        }
        for _ in 0..STEPS_PER_TURN {
            if self.connection.aborted.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let mut progress = self.perform(context);
            progress |= self.write(context);
            progress |= self.read(context);
            progress |= self.see_time(context);
            if self.http.is_closed() {
                self.stream.close();
                return Poll::Ready(());
            }
            if !progress {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries what the machines have to say to each other, until both have said all. Whether the
    /// exchange had any mail or time.
    fn perform(&mut self, context: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            self.respond();
            if self.take_request() {
                continue;
            }
            let request = self.request.as_mut();
            if !request.is_some_and(|it| it.exchange.poll_events(context)) {
                return any;
            }
            any = true;
        }
    }

    /// Hands what the exchange says to the connection.
    fn respond(&mut self) {
        let Some(request) = &mut self.request else {
            return;
        };
        let now = self.driver.now();
        loop {
            while let Some(response) = request.exchange.poll_response() {
                match response {
                    Response::Head(head) => {
                        request.exchange.release_body();
                        begin(&mut self.http, &head, now);
                    }
                    Response::Chunk(frame) => request.chunks.push_back(frame),
                    Response::End => request.ended = true,
                }
            }
            if !self.http.wants_chunk() {
                return;
            }
            let Some(frame) = request.chunks.pop_front() else {
                break;
            };
            self.http.handle_chunk(frame.slices(), now);
            // It stands in a buffer that is bounded.
            request.exchange.handle_written(frame.len());
        }
        if request.ended {
            self.http.handle_end(now);
            self.request = None;
        } else if !request.body_asked && request.exchange.wants_body() {
            request.body_asked = true;
            self.http.handle_body_wanted(now);
        }
    }

    /// Takes what the connection says next; false if that is nothing.
    fn take_request(&mut self) -> bool {
        match self.http.poll_output() {
            None => return false,
            Some(Output::Request(head)) => {
                let head = RequestHead::new(
                    head.method(),
                    head.target(),
                    head.authority(),
                    head.fields(),
                );
                let connection = Arc::<Connection>::clone(&self.connection);
                self.request = Some(Running {
                    exchange: DrivenExchange::admit(&self.driver, self.peer, &head, connection),
                    chunks: VecDeque::new(),
                    ended: false,
                    body_asked: false,
                });
            }
            Some(Output::Body(chunk)) => {
                if let Some(request) = &mut self.request {
                    request.exchange.handle_body(chunk);
                }
            }
            Some(Output::BodyEnd) => {
                if let Some(request) = &mut self.request {
                    request.exchange.handle_body_end();
                }
            }
            Some(Output::Violation(violation)) => {
                let refusal = Refusal::from(violation);
                match &mut self.request {
                    Some(request) => request.exchange.handle_body_refused(refusal),
                    None => self.refuse(refusal),
                }
            }
            // Dropped, the exchange takes note that its client has gone.
            Some(Output::Disconnect) => self.request = None,
            Some(Output::ShutdownWrite) => self.shutting_down = true,
        }
        true
    }

    /// Answers what never became a request.
    fn refuse(&mut self, refusal: Refusal) {
        let (head, body) = self.driver.refuse(refusal, self.peer);
        let now = self.driver.now();
        begin(&mut self.http, &head, now);
        self.http.handle_chunk(&[body], now);
        self.http.handle_end(now);
    }

    /// Writes what there is, in as few writes as the socket allows.
    fn write(&mut self, context: &mut Context<'_>) -> bool {
        if !self.http.wants_write() {
            // A peer that has gone needs no goodbye.
            self.shutting_down =
                self.shutting_down && self.stream.poll_shutdown(context).is_pending();
            return false;
        }
        match poll_write(&self.http, &mut self.stream, context) {
            Poll::Ready(Ok(written)) => self.http.handle_written(written, self.driver.now()),
            Poll::Ready(Err(_)) => self.http.handle_disconnect(self.driver.now()),
            Poll::Pending => return false,
        }
        true
    }

    fn read(&mut self, context: &mut Context<'_>) -> bool {
        while self.http.wants_read() && self.stream.poll_ready(context).is_ready() {
            match self.stream.read(self.http.read_buffer()) {
                Ok(read) => self.http.handle_read(read, self.driver.now()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => continue,
                    _ => self.http.handle_disconnect(self.driver.now()),
                },
            }
            return true;
        }
        false
    }

    /// Does what is due; what is due for the exchange, it takes with its mail.
    fn see_time(&mut self, context: &mut Context<'_>) -> bool {
        let http = self.http.poll_timeout().map(|due| self.driver.to_std(due));
        let exchange = self.request.as_ref().and_then(|it| it.exchange.due());
        let Some(due) = http.into_iter().chain(exchange).min() else {
            return false;
        };
        if self.alarm.poll(due, context).is_pending() {
            return false;
        }
        self.http.handle_timeout(self.driver.now());
        true
    }
}

/// Begins a response.
fn begin(http: &mut h1::Connection, head: &ResponseHead, now: mcp_proto::Now) {
    let fields = |field: &mut dyn FnMut(_, _)| head.for_each_field(field);
    http.handle_response(head.status, head.length, fields, now);
}

fn poll_write(
    http: &h1::Connection,
    stream: &mut Stream,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut slots = [IoSlice::new(&[]); SLICES_PER_WRITE];
    let filled = http.unwritten(&mut slots);
    stream.poll_write(&slots[..filled], context)
}
