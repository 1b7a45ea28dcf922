//! The admin address: metrics, the status and health, for whoever operates the gateway.
//!
//! It is served by threads of its own with blocking sockets: it answers whatever the runtime is, and
//! when the runtime is stuck. Who may ask is [`mcp_proto::admin`]'s to judge.

mod connection;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mcp_proto::{Refusal, RequestHead};
use tracing::warn;

use crate::settings::{AdminAddress, reachable};

/// Most connections at a time. Each has one request, and ten seconds.
const MOST_CONNECTIONS: usize = 8;

/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long its end waits until the thread that accepts has seen it.
const STOP_TIME: Duration = Duration::from_secs(1);

/// What a request is answered with.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            content_type: "application/json",
            body,
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self {
            status: refusal.status(),
            content_type: "text/plain; charset=utf-8",
            body: format!("{}\n", refusal.message()).into(),
        }
    }
}

/// Whoever answers; called by several threads at once.
pub(crate) type Answers = dyn Fn(&RequestHead<'_>) -> Answer + Send + Sync;

/// The admin address, from when it is served to its end. Dropping it closes it.
pub(crate) struct Admin {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Binds the address; `None` if it is one that nobody named, and cannot be had: a second gateway on
/// the machine is to start all the same.
///
/// # Errors
///
/// If an address that was named cannot be bound; it says which.
pub(crate) fn bind(admin: AdminAddress) -> io::Result<Option<TcpListener>> {
    let AdminAddress { address, named } = admin;
    match TcpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if named => {
            let line = format!("cannot listen on {address}: {error}; see --admin");
            Err(io::Error::new(error.kind(), line))
        }
        Err(error) => {
            warn!(%address, %error, "no metrics and no status are served; see --admin");
            Ok(None)
        }
    }
}

impl Admin {
    /// Answers those who come to `listener`.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub(crate) fn start(listener: TcpListener, answers: Box<Answers>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (stopping, answers) = (Arc::clone(&stopping), Arc::from(answers));
            thread::Builder::new()
                .name("admin".to_owned())
                .spawn(move || accept(&listener, &stopping, &answers))?
        };
        Ok(Self {
            address,
            stopping,
            thread: Some(thread),
        })
    }

    /// The address that is bound; a port that was 0 is told.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Whoever waits for a connection gets one.
        let waked = TcpStream::connect_timeout(&reachable(self.address), STOP_TIME);
        if let Some(thread) = self.thread.take()
            && waked.is_ok()
        {
            // If it panicked, it said so.
            let _ = thread.join();
        }
    }
}

/// Accepts until it is told to stop.
fn accept(listener: &TcpListener, stopping: &AtomicBool, answers: &Arc<Answers>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if stopping.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                let place = Place::take(&open);
                if open.load(Ordering::Acquire) > MOST_CONNECTIONS {
                    continue;
                }
                let answers = Arc::clone(answers);
                let serving = thread::Builder::new()
                    .name("admin".to_owned())
                    .spawn(move || {
                        // A client that has gone needs no answer.
                        let _ = connection::serve(&stream, &*answers);
                        drop(place);
                    });
                if let Err(error) = serving {
                    warn!(%error, "the admin address cannot answer");
                }
            }
            Err(error) => {
                warn!(%error, "a connection to the admin address could not be accepted");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// A connection among those that are open.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
