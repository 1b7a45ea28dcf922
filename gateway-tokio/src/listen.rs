//! Listening, accepting, and stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_kit::guard::GuardHandle;
use gateway_kit::settings::Settings;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::connection;
use crate::driver::Driver;

/// How long data may stay unacknowledged: with a comment at least every 25 seconds on each event
/// stream, a peer that has gone is found within a minute.
const USER_TIMEOUT_MS: u32 = 30_000;

/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway that listens and does not serve yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    url: String,
    driver: Arc<Driver>,
    /// Closes once no child is left.
    children_ended: mpsc::Receiver<()>,
}

impl Server {
    /// Binds every address of the settings, and starts the start-up probe if it is on.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, the guard cannot be started, or the system has no entropy.
    pub async fn bind(mut settings: Settings) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for &address in &settings.listen {
            let listener = TcpListener::bind(address).await.map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address}: {error}; see --host and --port"),
                )
            })?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let url = settings.listening(&addresses);
        let mut entropy = [0; 40];
        getrandom::fill(&mut entropy).map_err(io::Error::other)?;
        let (seed, instance) = entropy.split_at(32);
        let seed: [u8; 32] = seed.try_into().map_err(io::Error::other)?;
        let instance: String = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        let guard = match settings.guard {
            true => Some(GuardHandle::spawn(&instance)?),
            false => None,
        };
        let (driver, children_ended) =
            Driver::new(settings.policy, settings.child, guard, instance, seed);
        Ok(Self {
            listeners,
            addresses,
            url,
            driver,
            children_ended,
        })
    }

    /// The URL that clients use.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The addresses that are bound, in the order of the settings; a port that was 0 is told.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` is ready; then closes the listeners, finishes what is in flight within
    /// the drain limit, and ends the children.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            listeners,
            addresses,
            url,
            driver,
            mut children_ended,
        } = self;
        info!(%url, ?addresses, "listening");
        // Dropped with this future, if an embedder drops it, they end with it.
        let mut timer = JoinSet::new();
        timer.spawn(time(Arc::clone(&driver)));
        let permits = Arc::new(Semaphore::new(driver.limits.connections));
        let (close, closing) = watch::channel(false);
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            let (driver, permits) = (Arc::clone(&driver), Arc::clone(&permits));
            acceptors.spawn(accept(listener, driver, permits, closing.clone()));
        }
        drop(closing);

        stop.await;
        info!("stopping");
        let drain_time = driver.limits.drain_time;
        let deadline = tokio::time::Instant::now() + drain_time;
        // A listener is closed once its acceptor has ended.
        acceptors.shutdown().await;
        driver.drain_all();
        let finished = async {
            // `None`: every child's task has dropped its end.
            while children_ended.recv().await.is_some() {}
            // Answers have been handed over; connections close as soon as they have left.
            let _ = close.send(true);
            close.closed().await;
        };
        if tokio::time::timeout_at(deadline, finished).await.is_err() {
            warn!("some connections or children were not finished in time");
        }
        info!("stopped");
    }
}

async fn accept(
    listener: TcpListener,
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
                configure(&stream);
                let (driver, mut closing) = (Arc::clone(&driver), closing.clone());
                tokio::spawn(async move {
                    let closing = async move {
                        let _ = closing.wait_for(|&closing| closing).await;
                    };
                    connection::serve(stream, driver, closing).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Head and body of a short answer leave in one write, which no delay may hold back; and a peer
/// that has gone is found.
fn configure(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        warn!(%error, "TCP_NODELAY could not be set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS) {
        warn!(%error, "TCP_USER_TIMEOUT could not be set");
    }
}

/// Wakes the gateway when something is due.
async fn time(driver: Arc<Driver>) {
    loop {
        match driver.gateway_timeout() {
            Some(due) => {
                tokio::select! {
                    () = tokio::time::sleep_until(driver.to_tokio(due)) => driver.handle_timeout(),
                    () = driver.timer_changed.notified() => {}
                }
            }
            None => driver.timer_changed.notified().await,
        }
    }
}
