//! What connections and children share: the [`Gateway`] under its one lock, and where mail goes.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, Weak};
use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use gateway_kit::audit::AuditWriter;
use gateway_kit::guard::GuardHandle;
use gateway_kit::outside::Outside;
use gateway_kit::settings::ChildCommand;
use mcp_proto::auth::{
    FetchFailure, SignatureFailure, StartupFailure, Token, Verdict, VerificationId,
};
use mcp_proto::{
    AuditEvent, AuditRecord, Exchange, ExchangeId, Gateway, GatewayMail, GatewayOutput, Instant,
    Limits, Now, Policy, RequestHead, Upstream, UpstreamId,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::warn;

use crate::child;
use crate::inbox::{ExchangeInbox, UpstreamInbox, lock};
use crate::sweep::Sweep;

/// The process's two clocks, as the machines want them.
struct Clock {
    origin: StdInstant,
}

impl Clock {
    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic: Instant::from_nanos(
                u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            ),
            unix_ms: unix.map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
        }
    }

    fn to_tokio(&self, instant: Instant) -> tokio::time::Instant {
        let origin = tokio::time::Instant::from_std(self.origin);
        origin + std::time::Duration::from_nanos(instant.as_nanos())
    }
}

struct Core {
    gateway: Gateway,
    /// Exchanges that wait for the gateway's word.
    waiting: HashMap<ExchangeId, Arc<ExchangeInbox>>,
    /// When the timer's task will look.
    timer: Option<Instant>,
    /// Who waits for the verifiers to be tried.
    starting: Option<oneshot::Sender<Vec<StartupFailure>>>,
}

/// An embedder's own verifier of tokens.
pub(crate) type Verifier =
    Box<dyn Fn(Token) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// What a driver works with.
pub(crate) struct Equipment {
    pub(crate) command: ChildCommand,
    pub(crate) guard: Option<GuardHandle>,
    /// Marks this process's children in their environment.
    pub(crate) instance: String,
    pub(crate) audit: AuditWriter,
    /// Whether audit records can be kept, as the sink last said.
    pub(crate) audited: Arc<AtomicBool>,
    /// Whoever fetches and checks signatures, where that may be wanted.
    pub(crate) outside: Option<Outside>,
}

/// What connections and children share.
pub(crate) struct Driver {
    me: Weak<Self>,
    clock: Clock,
    core: Mutex<Core>,
    upstreams: RwLock<HashMap<UpstreamId, Arc<UpstreamInbox>>>,
    next_exchange: AtomicU64,
    body_bytes: AtomicUsize,
    pub(crate) timer_changed: Notify,
    pub(crate) sweep: Arc<Sweep>,
    pub(crate) limits: Limits,
    pub(crate) equipment: Equipment,
    /// What the gateway was last told of the audit sink.
    audit_told: AtomicBool,
    /// The gateway's outputs are performed by whichever thread brings an answer, and not all of them
    /// are the runtime's.
    runtime: Handle,
    verifier: OnceLock<Verifier>,
    /// Held by every child's task; the other end closes when all have ended.
    children: Mutex<Option<mpsc::Sender<()>>>,
}

impl Driver {
    /// A driver, the receiver that is told once every verifier was tried, and the one that closes
    /// once draining has ended and no child is left.
    pub(crate) fn new(
        policy: Policy,
        equipment: Equipment,
        seed: [u8; 32],
    ) -> (
        Arc<Self>,
        oneshot::Receiver<Vec<StartupFailure>>,
        mpsc::Receiver<()>,
    ) {
        let clock = Clock {
            origin: StdInstant::now(),
        };
        let (children, ended) = mpsc::channel(1);
        let (starting, started) = oneshot::channel();
        let limits = policy.limits.clone();
        let gateway = Gateway::new(policy, seed, clock.now());
        let driver = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            core: Mutex::new(Core {
                gateway,
                waiting: HashMap::new(),
                timer: None,
                starting: Some(starting),
            }),
            clock,
            upstreams: RwLock::default(),
            next_exchange: AtomicU64::new(1),
            body_bytes: AtomicUsize::new(0),
            timer_changed: Notify::new(),
            sweep: Arc::default(),
            limits,
            equipment,
            audit_told: AtomicBool::new(true),
            runtime: Handle::current(),
            verifier: OnceLock::new(),
            children: Mutex::new(Some(children)),
        });
        driver.with_gateway(|_, _| {});
        (driver, started, ended)
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn to_tokio(&self, instant: Instant) -> tokio::time::Instant {
        self.clock.to_tokio(instant)
    }

    pub(crate) fn next_exchange(&self) -> ExchangeId {
        ExchangeId(self.next_exchange.fetch_add(1, Ordering::Relaxed))
    }

    /// Has the gateway judge a head, and the exchange hear of it: at once, or by its inbox.
    pub(crate) fn admit(
        &self,
        exchange: &mut Exchange,
        peer: IpAddr,
        head: &RequestHead<'_>,
        inbox: impl FnOnce() -> Arc<ExchangeInbox>,
    ) {
        let (mut core, now) = self.lock_core();
        core.gateway.handle_request(exchange.id(), peer, head, now);
        self.drain(&mut core, Some(exchange), now);
        if exchange.awaits_gateway() {
            core.waiting.insert(exchange.id(), inbox());
        }
    }

    /// Has an embedder's own verifier asked from now on.
    pub(crate) fn verify_with(&self, verifier: Verifier) {
        // Whoever binds the server sets it once.
        let _ = self.verifier.set(verifier);
    }

    /// Keeps a record.
    pub(crate) fn audit(&self, record: AuditRecord) {
        if record.event == (AuditEvent::Probed { passed: false }) {
            warn!("start-up probe failed: the wrapped server did not answer initialize");
        }
        self.equipment.audit.write(record);
    }

    /// Takes note that audit records cannot be kept.
    pub(crate) fn audit_failed(&self) {
        self.equipment.audited.store(false, Ordering::Release);
        self.relay_audit_state();
    }

    /// Tells the gateway if the audit sink is not as it was.
    pub(crate) fn relay_audit_state(&self) {
        let works = self.equipment.audited.load(Ordering::Acquire);
        if self.audit_told.swap(works, Ordering::AcqRel) != works {
            self.with_gateway(|gateway, now| gateway.handle_audit_sink(works, now));
        }
    }

    /// Hands an exchange's mail to the gateway; the answer comes to its inbox.
    pub(crate) fn ask(&self, exchange: ExchangeId, inbox: &Arc<ExchangeInbox>, mail: GatewayMail) {
        let (mut core, now) = self.lock_core();
        core.waiting.insert(exchange, Arc::clone(inbox));
        core.gateway.handle_mail(mail, now);
        self.drain(&mut core, None, now);
    }

    /// Ends an exchange that waits for the gateway's word: under its lock, so that no word comes
    /// between the exchange's last look and its end.
    pub(crate) fn withdraw(
        &self,
        exchange: &mut Exchange,
        inbox: &ExchangeInbox,
        mut output: impl FnMut(mcp_proto::ExchangeOutput) -> Option<GatewayMail>,
    ) {
        let (mut core, now) = self.lock_core();
        core.waiting.remove(&exchange.id());
        inbox.deliver(exchange, now, None);
        exchange.handle_disconnect(now);
        while let Some(next) = exchange.poll_output() {
            if let Some(mail) = output(next) {
                core.gateway.handle_mail(mail, now);
            }
        }
        self.drain(&mut core, None, now);
    }

    /// Hands an upstream's mail to the gateway.
    pub(crate) fn tell_gateway(&self, mail: GatewayMail) {
        self.with_gateway(|gateway, now| gateway.handle_mail(mail, now));
    }

    pub(crate) fn handle_timeout(&self) {
        self.with_gateway(Gateway::handle_timeout);
    }

    /// Begins to stop.
    pub(crate) fn drain_all(&self) {
        self.with_gateway(Gateway::handle_drain);
        // Children's tasks hold their own ends.
        *lock(&self.children) = None;
    }

    pub(crate) fn gateway_timeout(&self) -> Option<Instant> {
        lock_core(&self.core).timer
    }

    pub(crate) fn upstream(&self, upstream: UpstreamId) -> Option<Arc<UpstreamInbox>> {
        let upstreams = self
            .upstreams
            .read()
            .unwrap_or_else(|_| std::process::abort());
        upstreams.get(&upstream).cloned()
    }

    /// Forgets an upstream that is drained.
    pub(crate) fn forget(&self, upstream: UpstreamId) {
        let mut upstreams = self
            .upstreams
            .write()
            .unwrap_or_else(|_| std::process::abort());
        upstreams.remove(&upstream);
    }

    /// Ends an upstream whose task panicked.
    pub(crate) fn lose(&self, upstream: UpstreamId) {
        self.forget(upstream);
        self.with_gateway(|gateway, now| gateway.handle_upstream_lost(upstream, now));
    }

    /// Sets bytes of request bodies aside; false if the budget does not have them.
    pub(crate) fn reserve_body(&self, bytes: usize) -> bool {
        let before = self.body_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.limits.body_budget_bytes;
        if !fits {
            self.release_body(bytes);
        }
        fits
    }

    pub(crate) fn release_body(&self, bytes: usize) {
        self.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Locks the gateway, and then reads the clock: read before, it would go backwards for the
    /// gateway whenever another came first to the lock.
    fn lock_core(&self) -> (MutexGuard<'_, Core>, Now) {
        let core = lock_core(&self.core);
        (core, self.now())
    }

    pub(crate) fn with_gateway(&self, act: impl FnOnce(&mut Gateway, Now)) {
        let (mut core, now) = self.lock_core();
        act(&mut core.gateway, now);
        self.drain(&mut core, None, now);
    }

    /// Does what the gateway wants done, with its lock held. Mail for `current` goes straight in.
    fn drain(&self, core: &mut Core, mut current: Option<&mut Exchange>, now: Now) {
        while let Some(output) = core.gateway.poll_output() {
            match output {
                GatewayOutput::ToExchange { exchange, mail } => match &mut current {
                    Some(current) if current.id() == exchange => current.handle_mail(mail, now),
                    _ => {
                        if let Some(inbox) = core.waiting.remove(&exchange) {
                            inbox.push(mail);
                            inbox.wake();
                        }
                    }
                },
                GatewayOutput::ToUpstream { upstream, mail } => {
                    if let Some(inbox) = self.upstream(upstream) {
                        inbox.push(mail, None);
                    }
                }
                GatewayOutput::Open(opening) => {
                    let upstream = Upstream::new(opening, &self.limits, now);
                    let inbox = Arc::new(UpstreamInbox::default());
                    self.upstreams
                        .write()
                        .unwrap_or_else(|_| std::process::abort())
                        .insert(upstream.id(), Arc::clone(&inbox));
                    if let (Some(driver), Some(alive)) =
                        (self.me.upgrade(), lock(&self.children).clone())
                    {
                        self.runtime
                            .spawn(child::drive(upstream, inbox, driver, alive));
                    }
                }
                GatewayOutput::Fetch(request) => {
                    let (driver, id) = (self.me.clone(), request.id);
                    let done = move |result| {
                        with_live(&driver, |gateway, now| {
                            gateway.handle_fetched(id, result, now);
                        });
                    };
                    match &self.equipment.outside {
                        Some(outside) => outside.fetch(request, done),
                        None => core
                            .gateway
                            .handle_fetched(id, Err(FetchFailure::Busy), now),
                    }
                }
                GatewayOutput::CheckSignature(check) => {
                    let (driver, id) = (self.me.clone(), check.id);
                    let done = move |result| {
                        with_live(&driver, |gateway, now| {
                            gateway.handle_signature(id, result, now);
                        });
                    };
                    match &self.equipment.outside {
                        Some(outside) => outside.check_signature(check, done),
                        None => {
                            let failure = SignatureFailure("nobody checks signatures".to_owned());
                            core.gateway.handle_signature(id, Err(failure), now);
                        }
                    }
                }
                GatewayOutput::VerifyToken {
                    verification,
                    token,
                } => self.verify(verification, token),
                GatewayOutput::Started(failures) => {
                    if let Some(starting) = core.starting.take() {
                        let _ = starting.send(failures);
                    }
                }
                GatewayOutput::Warn(line) => warn!("{line}"),
                GatewayOutput::Audit(record) => self.audit(record),
            }
        }
        let timer = core.gateway.poll_timeout();
        if timer.is_some_and(|timer| core.timer.is_none_or(|set| timer < set)) {
            self.timer_changed.notify_one();
        }
        core.timer = timer;
    }

    /// Has the embedder's verifier asked, in a task of its own: one that panics cannot say.
    fn verify(&self, verification: VerificationId, token: Token) {
        let driver = self.me.clone();
        let asked = self.runtime.spawn(async move {
            let verdict = {
                let driver = driver.upgrade()?;
                driver.verifier.get().map(|verifier| verifier(token))
            };
            Some(verdict?.await)
        });
        let driver = self.me.clone();
        self.runtime.spawn(async move {
            let verdict = asked.await.ok().flatten();
            let verdict = verdict.unwrap_or(Verdict::Unavailable);
            with_live(&driver, |gateway, now| {
                gateway.handle_verdict(verification, verdict, now);
            });
        });
    }
}

/// Acts on the gateway of a driver that may have gone.
fn with_live(driver: &Weak<Driver>, act: impl FnOnce(&mut Gateway, Now)) {
    if let Some(driver) = driver.upgrade() {
        driver.with_gateway(act);
    }
}

/// A gateway that panicked half-way may admit anyone: nothing goes on with it.
fn lock_core(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(|_| std::process::abort())
}

#[cfg(test)]
mod tests {
    use gateway_kit::AuditSink;
    use gateway_kit::audit::AuditLog;

    use super::*;

    #[test]
    fn time_does_not_go_backwards_for_who_waits_for_the_gateway() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("it needs nothing");
        let _entered = runtime.enter();
        let command = ChildCommand::new("true");
        let policy = Policy {
            startup_probe: false,
            ..Policy::default()
        };
        let equipment = Equipment {
            command,
            guard: None,
            instance: String::new(),
            audit: AuditLog::open(&AuditSink::Off, "", |_| {})
                .expect("nothing is opened")
                .writer(),
            audited: Arc::new(AtomicBool::new(true)),
            outside: None,
        };
        let (driver, _started, _ended) = Driver::new(policy, equipment, [0; 32]);
        std::thread::scope(|scope| {
            let (core, _) = driver.lock_core();
            let waits = scope.spawn(|| driver.lock_core().1);
            std::thread::sleep(std::time::Duration::from_millis(100));
            let before = driver.now();
            drop(core);
            let after = waits.join().expect("it gets the lock");
            assert!(after.monotonic >= before.monotonic);
        });
    }
}
