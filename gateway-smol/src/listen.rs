//! Listening, accepting, and stopping.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_executor::Executor;
use async_io::{Async, Timer};
use async_lock::Semaphore;
use futures_lite::future::or;
use gateway_kit::driver::{Callbacks, Driver, Prepared, Verification};
use gateway_kit::listen;
use gateway_kit::settings::Settings;
use mcp_proto::auth::{Token, Verdict};
use rustls::ServerConfig;
use tracing::{debug, info, warn};

use crate::{child, connection};

/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway that listens and does not serve yet.
pub struct Server {
    executor: Arc<Executor<'static>>,
    listeners: Vec<Async<TcpListener>>,
    addresses: Vec<SocketAddr>,
    prepared: Prepared,
    /// Somebody has to call [`Driver::attend`].
    attended: Receiver<()>,
    /// Told once no child is left.
    children_ended: Receiver<()>,
}

impl Server {
    /// Binds every address of the settings, tries every verifier, and starts the start-up probe if
    /// it is on.
    ///
    /// Connections and children are tasks of `executor`, which has to be run meanwhile, by as many
    /// threads as may serve; [`Settings::workers`] is not heeded here. Dropping the executor ends the
    /// children's process groups at once; what has left its group is then the guard's to end.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, the audit sink cannot be opened, the guard or a thread cannot
    /// be started, or the system has no entropy; and if a verifier does not work, unless the
    /// settings say [`StartupCheck::Warn`](gateway_kit::StartupCheck).
    pub async fn bind(settings: Settings, executor: Arc<Executor<'static>>) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for (listener, address) in listen::bind(&settings)? {
            listeners.push(Async::new_nonblocking(listener)?);
            addresses.push(address);
        }
        let (attend, attended) = async_channel::bounded(1);
        let (started, failures) = async_channel::bounded(1);
        let (ended, children_ended) = async_channel::bounded(1);
        // Tasks hold the driver, and the executor holds its tasks: the driver must not hold it.
        let (to_drive, to_verify) = (Arc::downgrade(&executor), Arc::downgrade(&executor));
        let callbacks = Callbacks {
            drive: Box::new(move |upstream| {
                if let Some(executor) = to_drive.upgrade() {
                    let driving = child::drive(upstream, Weak::clone(&to_drive));
                    executor.spawn(driving).detach();
                }
            }),
            verify: Box::new(move |verification: Verification| {
                if let Some(executor) = to_verify.upgrade() {
                    executor.spawn(verification).detach();
                }
            }),
            attend: Arc::new(move || {
                // One that waits already is enough.
                let _ = attend.try_send(());
            }),
            started: Box::new(move |failures| {
                // Whoever starts the server may have gone.
                let _ = started.try_send(failures);
            }),
            children_ended: Box::new(move || {
                let _ = ended.try_send(());
            }),
        };
        let mut server = Self {
            executor,
            listeners,
            prepared: Prepared::new(settings, &addresses, callbacks)?,
            addresses,
            attended,
            children_ended,
        };
        let failures = failures.recv().await.map_err(io::Error::other)?;
        if let Err(error) = server.prepared.judge(failures) {
            server.prepared.driver().drain();
            let _ = server.children_ended.recv().await;
            return Err(error);
        }
        Ok(server)
    }

    /// Has `verify` asked about tokens, where the policy has
    /// [`Verifier::Custom`](mcp_proto::auth::Verifier::Custom). A future that panics, or that takes
    /// longer than [`Limits::verifier_time`](mcp_proto::Limits), cannot say.
    #[must_use]
    pub fn verify_with<F>(self, verify: impl Fn(Token) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.prepared.driver().verify_with(verify);
        self
    }

    /// What opens the audit file anew, for whoever rotates it.
    pub fn audit_reopener(&self) -> impl Fn() + Send + 'static {
        self.prepared.audit_reopener()
    }

    /// The URL that clients use.
    pub fn url(&self) -> &str {
        self.prepared.url()
    }

    /// The addresses that are bound, in the order of the settings; a port that was 0 is told.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` is ready; then closes the listeners, finishes what is in flight within
    /// the drain limit, and ends the children. Audit records are written from now on.
    ///
    /// Dropping the future begins that too; the executor's tasks then see to the end of it.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            executor,
            listeners,
            addresses,
            mut prepared,
            attended,
            children_ended,
        } = self;
        prepared.begin();
        let admin = prepared.admin_address().map(tracing::field::display);
        info!(url = prepared.url(), ?addresses, admin, "listening");
        let driver = prepared.driver();
        // It ends with the driver: later than this future, if an embedder drops that.
        executor
            .spawn(attend(Arc::downgrade(driver), attended))
            .detach();
        let permits = Arc::new(Semaphore::new(driver.limits().connections));
        // Nothing is sent on either: the ends of one tell those of the other that they are gone.
        let (close, closing) = async_channel::bounded(1);
        let (open, closed) = async_channel::bounded(1);
        // Dropped with this future, if an embedder drops it, these tasks end with it.
        let acceptors: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let acceptor = Acceptor {
                    tls: prepared.tls(),
                    driver: Arc::clone(driver),
                    executor: Arc::downgrade(&executor),
                    permits: Arc::clone(&permits),
                    closing: closing.clone(),
                    open: open.clone(),
                };
                executor.spawn(acceptor.accept(listener))
            })
            .collect();
        drop(open);

        stop.await;
        info!("stopping");
        let deadline = Instant::now() + driver.limits().drain_time;
        // A listener is closed once its acceptor has ended.
        for acceptor in acceptors {
            acceptor.cancel().await;
        }
        driver.drain();
        let finished = async {
            let _ = children_ended.recv().await;
            // Answers have been handed over; connections close as soon as they have left.
            drop(close);
            let _ = closed.recv().await;
            true
        };
        let late = async {
            Timer::at(deadline).await;
            false
        };
        if !or(finished, late).await {
            warn!("some connections or children were not finished in time");
        }
        // What happened until now is on record.
        drop(prepared);
        info!("stopped");
    }
}

struct Acceptor {
    tls: Option<Arc<ServerConfig>>,
    driver: Arc<Driver>,
    executor: Weak<Executor<'static>>,
    permits: Arc<Semaphore>,
    closing: Receiver<Infallible>,
    /// Held by every connection.
    open: Sender<Infallible>,
}

impl Acceptor {
    async fn accept(self, listener: Async<TcpListener>) {
        loop {
            let permit = self.permits.acquire_arc().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    debug!(%peer, "connected");
                    listen::configure(&stream);
                    let (driver, closing) = (Arc::clone(&self.driver), self.closing.clone());
                    let (tls, open) = (self.tls.clone(), self.open.clone());
                    let Some(executor) = self.executor.upgrade() else {
                        return;
                    };
                    let connected = self.driver.connected();
                    let serving = async move {
                        let closing = async move {
                            let _ = closing.recv().await;
                        };
                        connection::serve(stream, tls, peer.ip(), driver, closing).await;
                        drop((permit, open, connected));
                    };
                    executor.spawn(serving).detach();
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    Timer::after(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Wakes the gateway when something is due, or has changed, until it has gone.
async fn attend(driver: Weak<Driver>, attended: Receiver<()>) {
    loop {
        let Some(due) = driver.upgrade().map(|driver| driver.attend()) else {
            return;
        };
        let changed = async { attended.recv().await.is_ok() };
        let goes_on = match due {
            // Early or late does no harm.
            Some(due) => {
                let late = async {
                    Timer::at(due).await;
                    true
                };
                or(changed, late).await
            }
            None => changed.await,
        };
        if !goes_on {
            return;
        }
    }
}
