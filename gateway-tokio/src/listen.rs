//! Listening, accepting, and stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gateway_kit::driver::{Callbacks, Driver, Prepared};
use gateway_kit::listen;
use gateway_kit::settings::Settings;
use mcp_proto::auth::{Token, Verdict};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tracing::{debug, info, warn};

use crate::{child, connection};

/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway that listens and does not serve yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    prepared: Prepared,
    /// Somebody has to call [`Driver::attend`].
    attended: mpsc::Receiver<()>,
    /// Told once no child is left.
    children_ended: mpsc::Receiver<()>,
}

impl Server {
    /// Binds every address of the settings, tries every verifier, and starts the start-up probe if
    /// it is on.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, the audit sink cannot be opened, the guard or a thread cannot
    /// be started, or the system has no entropy; and if a verifier does not work, unless the
    /// settings say [`StartupCheck::Warn`](gateway_kit::StartupCheck).
    pub async fn bind(settings: Settings) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for (listener, address) in listen::bind(&settings)? {
            listeners.push(TcpListener::from_std(listener)?);
            addresses.push(address);
        }
        let (attend, attended) = mpsc::channel(1);
        let (started, failures) = oneshot::channel();
        let (ended, children_ended) = mpsc::channel(1);
        // Not all threads that call back are the runtime's.
        let (to_drive, to_verify) = (Handle::current(), Handle::current());
        let callbacks = Callbacks {
            drive: Box::new(move |upstream| drop(to_drive.spawn(child::drive(upstream)))),
            verify: Box::new(move |verification| drop(to_verify.spawn(verification))),
            attend: Arc::new(move || {
                // One that waits already is enough.
                let _ = attend.try_send(());
            }),
            // Whoever starts the server may have gone.
            started: Box::new(move |failures| drop(started.send(failures))),
            children_ended: Box::new(move || {
                let _ = ended.try_send(());
            }),
        };
        let mut server = Self {
            listeners,
            prepared: Prepared::new(settings, &addresses, callbacks)?,
            addresses,
            attended,
            children_ended,
        };
        let failures = failures.await.map_err(io::Error::other)?;
        if let Err(error) = server.prepared.judge(failures) {
            server.prepared.driver().drain();
            server.children_ended.recv().await;
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
    /// Dropping the future begins that too; the runtime's tasks then see to the end of it.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            listeners,
            addresses,
            mut prepared,
            attended,
            mut children_ended,
        } = self;
        prepared.begin();
        let admin = prepared.admin_address().map(tracing::field::display);
        info!(url = prepared.url(), ?addresses, admin, "listening");
        let driver = prepared.driver();
        // It ends with the driver: later than this future, if an embedder drops that.
        tokio::spawn(attend(Arc::downgrade(driver), attended));
        let permits = Arc::new(Semaphore::new(driver.limits().connections));
        let (close, closing) = watch::channel(false);
        // Dropped with this future, if an embedder drops it, these tasks end with it.
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            let (driver, permits) = (Arc::clone(driver), Arc::clone(&permits));
            let tls = prepared.tls();
            acceptors.spawn(accept(listener, tls, driver, permits, closing.clone()));
        }
        drop(closing);

        stop.await;
        info!("stopping");
        let drain_time = driver.limits().drain_time;
        let deadline = tokio::time::Instant::now() + drain_time;
        // A listener is closed once its acceptor has ended.
        acceptors.shutdown().await;
        driver.drain();
        let finished = async {
            children_ended.recv().await;
            // Answers have been handed over; connections close as soon as they have left.
            let _ = close.send(true);
            close.closed().await;
        };
        if tokio::time::timeout_at(deadline, finished).await.is_err() {
            warn!("some connections or children were not finished in time");
        }
        // What happened until now is on record.
        drop(prepared);
        info!("stopped");
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    driver: Arc<Driver>,
    permits: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
) {
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                debug!(%peer, "connected");
                listen::configure(&stream);
                let (driver, tls) = (Arc::clone(&driver), tls.clone());
                let mut closing = closing.clone();
                let open = driver.connected();
                tokio::spawn(async move {
                    let closing = async move {
                        let _ = closing.wait_for(|&closing| closing).await;
                    };
                    connection::serve(stream, tls, peer.ip(), driver, closing).await;
                    drop((permit, open));
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Wakes the gateway when something is due, or has changed, until it has gone.
async fn attend(driver: Weak<Driver>, mut attended: mpsc::Receiver<()>) {
    loop {
        let Some(due) = driver.upgrade().map(|driver| driver.attend()) else {
            return;
        };
        let goes_on = match due {
            // Early or late does no harm.
            Some(due) => match tokio::time::timeout_at(due.into(), attended.recv()).await {
                Ok(changed) => changed.is_some(),
                Err(_) => true,
            },
            None => attended.recv().await.is_some(),
        };
        if !goes_on {
            return;
        }
    }
}
