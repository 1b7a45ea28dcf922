//! Listening, accepting, and stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_kit::audit::AuditLog;
use gateway_kit::fetch::Client;
use gateway_kit::guard::GuardHandle;
use gateway_kit::outside::Outside;
use gateway_kit::settings::{Settings, StartupCheck};
use gateway_kit::static_tokens::Watch;
use mcp_proto::auth::{Token, Verdict};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use crate::connection;
use crate::driver::{Driver, Equipment};

/// How long data may stay unacknowledged: with a comment at least every 25 seconds on each event
/// stream, a peer that has gone is found within a minute.
const USER_TIMEOUT_MS: u32 = 30_000;

/// How the gateway names itself to other servers.
const USER_AGENT: &str = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));

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
    audit: AuditLog,
    audit_changed: Arc<Notify>,
    /// Reads the static tokens again.
    watch: Option<Watch>,
}

impl Server {
    /// Binds every address of the settings, tries every verifier, and starts the start-up probe if
    /// it is on.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, the audit sink cannot be opened, the guard or a thread cannot
    /// be started, or the system has no entropy; and if a verifier does not work, unless the
    /// settings say [`StartupCheck::Warn`].
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
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let mut entropy = [0; 40];
        getrandom::fill(&mut entropy).map_err(io::Error::other)?;
        let (seed, instance) = entropy.split_at(32);
        let seed: [u8; 32] = seed.try_into().map_err(io::Error::other)?;
        let instance: String = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        let guard = match settings.guard {
            true => Some(GuardHandle::spawn(&instance)?),
            false => None,
        };
        let audited = Arc::new(AtomicBool::new(true));
        let audit_changed = Arc::new(Notify::new());
        let audit = {
            let (audited, changed) = (Arc::clone(&audited), Arc::clone(&audit_changed));
            AuditLog::open(&settings.audit, &instance[..8], move |works| {
                audited.store(works, Ordering::Release);
                changed.notify_one();
            })?
        };
        let outside = match settings.policy.auth.asks_others() {
            true => Some(Outside::start(Client::new(USER_AGENT, &settings.roots))?),
            false => None,
        };
        let equipment = Equipment {
            command: settings.child,
            guard,
            instance,
            audit: audit.writer(),
            audited,
            outside,
        };
        let (driver, started, children_ended) = Driver::new(settings.policy, equipment, seed);
        let mut server = Self {
            listeners,
            addresses,
            url,
            driver,
            children_ended,
            audit,
            audit_changed,
            watch: None,
        };
        let failures = started.await.map_err(io::Error::other)?;
        for failure in &failures {
            warn!("{failure}");
        }
        if let Some(failure) = failures.into_iter().next()
            && settings.startup_check == StartupCheck::Stop
        {
            server.end_children().await;
            return Err(io::Error::other(format!(
                "{failure} (--startup-check warn starts anyway)"
            )));
        }
        if let Some(file) = settings.token_file {
            let driver = Arc::downgrade(&server.driver);
            server.watch = Some(file.watch(move |tokens| {
                if let Some(driver) = driver.upgrade() {
                    driver.with_gateway(|gateway, now| gateway.handle_static_tokens(&tokens, now));
                }
            })?);
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
        self.driver
            .verify_with(Box::new(move |token| Box::pin(verify(token))));
        self
    }

    /// What opens the audit file anew, for whoever rotates it.
    pub fn audit_reopener(&self) -> impl Fn() + Send + 'static {
        let writer = self.audit.writer();
        move || writer.reopen()
    }

    /// Ends what a start that fails has begun.
    async fn end_children(&mut self) {
        self.driver.drain_all();
        while self.children_ended.recv().await.is_some() {}
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
    /// the drain limit, and ends the children. Audit records are written from now on.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            listeners,
            addresses,
            url,
            driver,
            mut children_ended,
            mut audit,
            audit_changed,
            watch,
        } = self;
        if let Err(error) = audit.begin() {
            error!(%error, "audit records cannot be written");
            driver.audit_failed();
        }
        info!(%url, ?addresses, "listening");
        // Dropped with this future, if an embedder drops it, they end with it.
        let mut timer = JoinSet::new();
        timer.spawn(time(Arc::clone(&driver)));
        timer.spawn(watch_audit(Arc::clone(&driver), audit_changed));
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
        // What happened until now is on record.
        drop(audit);
        drop(watch);
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
                    connection::serve(stream, peer.ip(), driver, closing).await;
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

/// Tells the gateway whether audit records can be kept. The sink may say so while the gateway's
/// lock is held, so that it is told from here.
async fn watch_audit(driver: Arc<Driver>, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        driver.relay_audit_state();
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
