//! What connections and children share, whatever the runtime: the [`Gateway`] under its one lock,
//! and where mail goes.
//!
//! An adapter is left with its drive loops. It starts with [`Prepared`], makes a [`DrivenExchange`]
//! for each request, and drives each [`DrivenUpstream`] that it is handed. What the driver wants of
//! its runtime are the few [`Callbacks`].

mod clock;
mod exchange;
mod inbox;
mod prepared;
mod standing;
mod sweep;
mod upstream;
mod verification;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, Weak};
use std::time::Instant as StdInstant;

use bytes::Bytes;
use mcp_proto::auth::{FetchFailure, SignatureFailure, StartupFailure, Token, Verdict};
use mcp_proto::{
    AccessRecord, AuditEvent, AuditRecord, Caller, Exchange, ExchangeId, Gateway, GatewayMail,
    GatewayOutput, Instance, Instant, Limits, Now, Policy, Refusal, RequestHead, RequestId,
    ResponseHead, Upstream, UpstreamId,
};
use tracing::warn;

pub(crate) use self::clock::Clock;
pub use self::exchange::{DrivenExchange, Response};
pub use self::inbox::Connection;
use self::inbox::{ExchangeInbox, UpstreamInbox, lock};
pub use self::prepared::Prepared;
use self::sweep::Sweep;
pub use self::upstream::{ChildOutput, DrivenUpstream};
pub use self::verification::Verification;
use self::verification::Verifier;
use crate::access::AccessWriter;
use crate::audit::AuditWriter;
use crate::guard::GuardHandle;
use crate::metrics::{Metrics, Raised};
use crate::outside::Outside;
use crate::settings::ChildCommand;

/// What a [`Driver`] wants of its runtime. Whichever thread brings the news calls these, and they must
/// not wait. All but those that start tasks are often called with the gateway's lock held, and must not
/// call the driver.
pub struct Callbacks {
    /// Starts a task that drives this until it is drained.
    pub drive: Box<dyn Fn(DrivenUpstream) + Send + Sync>,
    /// Starts a task that awaits this.
    pub verify: Box<dyn Fn(Verification) + Send + Sync>,
    /// Wakes the task that calls [`Driver::attend`]. If it is not waiting, it must not wait next.
    pub attend: Arc<dyn Fn() + Send + Sync>,
    /// Every verifier was tried; these do not work. [`Prepared::judge`] takes them.
    pub started: Box<dyn FnOnce(Vec<StartupFailure>) + Send>,
    /// Draining has begun, and no child is left.
    pub children_ended: Box<dyn Fn() + Send + Sync>,
}

/// A child that has not quite ended; when the last of these is dropped, all have.
#[derive(Clone)]
struct Alive(#[expect(dead_code, reason = "held for its end")] Arc<Children>);

struct Children(Box<dyn Fn() + Send + Sync>);

impl Drop for Children {
    fn drop(&mut self) {
        (self.0)();
    }
}

struct Core {
    gateway: Gateway,
    /// Exchanges that wait for the gateway's word.
    waiting: HashMap<ExchangeId, Arc<ExchangeInbox>>,
    /// When the timer's task will look.
    timer: Option<Instant>,
    /// Who waits for the verifiers to be tried.
    starting: Option<Box<dyn FnOnce(Vec<StartupFailure>) + Send>>,
    /// What is to be driven by a task, which is started once the lock is free.
    to_drive: Vec<DrivenUpstream>,
    /// As above, to be awaited.
    to_verify: Vec<Verification>,
}

/// What a driver works with.
struct Equipment {
    command: ChildCommand,
    guard: Option<GuardHandle>,
    /// Marks this process's children in their environment.
    instance: String,
    /// What the ids of this process's requests begin with.
    request_ids: Instance,
    audit: AuditWriter,
    access: AccessWriter,
    /// Whether audit records can be kept, as the sink last said.
    audited: Arc<AtomicBool>,
    /// Whoever fetches and checks signatures, where that may be wanted.
    outside: Option<Outside>,
}

/// What connections and children share.
pub struct Driver {
    me: Weak<Self>,
    clock: Clock,
    core: Mutex<Core>,
    upstreams: RwLock<HashMap<UpstreamId, Arc<UpstreamInbox>>>,
    next_exchange: AtomicU64,
    body_bytes: AtomicUsize,
    metrics: Metrics,
    sweep: Arc<Sweep>,
    limits: Limits,
    equipment: Equipment,
    /// What the gateway was last told of the audit sink.
    audit_told: AtomicBool,
    drive: Box<dyn Fn(DrivenUpstream) + Send + Sync>,
    verify: Box<dyn Fn(Verification) + Send + Sync>,
    attend: Arc<dyn Fn() + Send + Sync>,
    verifier: OnceLock<Verifier>,
    /// Held by every child's task; taken when draining begins.
    children: Mutex<Option<Alive>>,
}

impl Driver {
    fn new(
        policy: Policy,
        equipment: Equipment,
        callbacks: Callbacks,
        seed: [u8; 32],
    ) -> Arc<Self> {
        let clock = Clock::new();
        let limits = policy.limits.clone();
        let gateway = Gateway::new(policy, seed, clock.now());
        let driver = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            core: Mutex::new(Core {
                gateway,
                waiting: HashMap::new(),
                timer: None,
                starting: Some(callbacks.started),
                to_drive: Vec::new(),
                to_verify: Vec::new(),
            }),
            clock,
            upstreams: RwLock::default(),
            next_exchange: AtomicU64::new(1),
            body_bytes: AtomicUsize::new(0),
            metrics: Metrics::new(env!("CARGO_PKG_VERSION"), limits.body_budget_bytes),
            sweep: Arc::default(),
            limits,
            equipment,
            audit_told: AtomicBool::new(true),
            drive: callbacks.drive,
            verify: callbacks.verify,
            attend: callbacks.attend,
            verifier: OnceLock::new(),
            children: Mutex::new(Some(Alive(Arc::new(Children(callbacks.children_ended))))),
        });
        driver.with_gateway(|_, _| {});
        driver
    }

    /// The bounds that are in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How to start a child.
    pub fn command(&self) -> &ChildCommand {
        &self.equipment.command
    }

    pub(crate) fn guard(&self) -> Option<&GuardHandle> {
        self.equipment.guard.as_ref()
    }

    /// What a child has in its environment as its mark.
    pub(crate) fn marker(&self, upstream: UpstreamId) -> String {
        format!("{}-{}", self.equipment.instance, upstream.get())
    }

    /// The time, for the machines.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// A machine's deadline, for a timer.
    pub fn to_std(&self, instant: Instant) -> StdInstant {
        self.clock.to_std(instant)
    }

    fn next_exchange(&self) -> ExchangeId {
        ExchangeId(self.next_exchange.fetch_add(1, Ordering::Relaxed))
    }

    /// Has the gateway judge a head, and the exchange hear of it: at once, or by its inbox.
    fn admit(
        &self,
        exchange: &mut Exchange,
        peer: IpAddr,
        head: &RequestHead<'_>,
        inbox: impl FnOnce() -> Arc<ExchangeInbox>,
    ) {
        let (mut core, now) = self.lock_core();
        core.gateway.handle_request(exchange.id(), peer, head, now);
        self.perform(&mut core, Some(exchange), now);
        if exchange.awaits_gateway() {
            core.waiting.insert(exchange.id(), inbox());
        }
        self.release(core);
    }

    /// Has `verify` asked about tokens, where the policy has
    /// [`Verifier::Custom`](mcp_proto::auth::Verifier::Custom). A future that panics, or that takes
    /// longer than [`Limits::verifier_time`], cannot say. The first call counts.
    pub fn verify_with<F>(&self, verify: impl Fn(Token) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let _ = self
            .verifier
            .set(Box::new(move |token| Box::pin(verify(token))));
    }

    /// Keeps a record.
    pub fn audit(&self, record: AuditRecord) {
        if record.event == (AuditEvent::Probed { passed: false }) {
            warn!("start-up probe failed: the wrapped server did not answer initialize");
        }
        self.metrics.count_audit(&record, self.now());
        self.equipment.audit.write(record);
    }

    /// Takes note of what became of a request.
    fn access(&self, record: &AccessRecord) {
        self.metrics.count_access(record, self.now());
        self.equipment.access.write(record);
    }

    /// Takes note that a connection was accepted; it counts as open until what is returned is
    /// dropped.
    pub fn connected(&self) -> Raised {
        Raised::new(&self.metrics.connections)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes note that audit records cannot be kept.
    fn audit_failed(&self) {
        self.equipment.audited.store(false, Ordering::Release);
        self.relay_audit_state();
    }

    /// Tells the gateway if the audit sink is not as it was.
    fn relay_audit_state(&self) {
        let works = self.equipment.audited.load(Ordering::Acquire);
        if self.audit_told.swap(works, Ordering::AcqRel) != works {
            self.with_gateway(|gateway, now| gateway.handle_audit_sink(works, now));
        }
    }

    /// Does what is due for the gateway, and tells it whether audit records can be kept: the sink
    /// may say so while the gateway's lock is held. Returns when to call this if
    /// [`Callbacks::attend`] is not called before.
    pub fn attend(&self) -> Option<StdInstant> {
        self.relay_audit_state();
        let due = |timer: Option<Instant>| timer.map(|timer| self.to_std(timer));
        let timer = lock_core(&self.core).timer;
        if due(timer).is_none_or(|due| due > Clock::std_now()) {
            return due(timer);
        }
        self.with_gateway(Gateway::handle_timeout);
        due(lock_core(&self.core).timer)
    }

    /// Hands an exchange's mail to the gateway; the answer comes to its inbox.
    fn ask(&self, exchange: ExchangeId, inbox: &Arc<ExchangeInbox>, mail: GatewayMail) {
        let (mut core, now) = self.lock_core();
        core.waiting.insert(exchange, Arc::clone(inbox));
        core.gateway.handle_mail(mail, now);
        self.perform(&mut core, None, now);
        self.release(core);
    }

    /// Ends an exchange that waits for the gateway's word: under its lock, so that no word comes
    /// between the exchange's last look and its end.
    fn withdraw(
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
        self.perform(&mut core, None, now);
        self.release(core);
    }

    /// Hands an upstream's mail to the gateway.
    fn tell_gateway(&self, mail: GatewayMail) {
        self.with_gateway(|gateway, now| gateway.handle_mail(mail, now));
    }

    /// Keeps records that what `peer` sent was no request, and returns what it is answered with.
    pub fn refuse(&self, refusal: Refusal, peer: IpAddr) -> (ResponseHead, Bytes) {
        let exchange = self.next_exchange();
        let request = RequestId::made(self.equipment.request_ids, exchange);
        let caller = Caller {
            address: peer,
            identity: None,
        };
        self.audit(AuditRecord {
            exchange: Some(exchange),
            request: Some(request.clone()),
            caller: Some(caller.clone()),
            ..AuditRecord::new(AuditEvent::Refused(refusal))
        });
        let (head, body) = refusal.to_response(request.clone());
        let sent = body.len() as u64;
        let record = AccessRecord::of_violation(exchange, request, refusal, caller, sent);
        self.access(&record);
        (head, body)
    }

    /// Begins to stop; [`Callbacks::children_ended`] is called once no child is left.
    pub fn drain(&self) {
        self.with_gateway(Gateway::handle_drain);
        // Children's tasks hold their own.
        let alive = lock(&self.children).take();
        drop(alive);
    }

    fn upstream(&self, upstream: UpstreamId) -> Option<Arc<UpstreamInbox>> {
        let upstreams = self
            .upstreams
            .read()
            .unwrap_or_else(|_| std::process::abort());
        upstreams.get(&upstream).cloned()
    }

    /// Forgets an upstream that is drained.
    fn forget(&self, upstream: UpstreamId) {
        let mut upstreams = self
            .upstreams
            .write()
            .unwrap_or_else(|_| std::process::abort());
        upstreams.remove(&upstream);
    }

    /// Ends an upstream whose task panicked.
    fn lose(&self, upstream: UpstreamId) {
        self.forget(upstream);
        self.with_gateway(|gateway, now| gateway.handle_upstream_lost(upstream, now));
    }

    /// Sets bytes of request bodies aside; false if the budget does not have them.
    fn reserve_body(&self, bytes: usize) -> bool {
        let before = self.body_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.limits.body_budget_bytes;
        if !fits {
            self.release_body(bytes);
        }
        fits
    }

    fn release_body(&self, bytes: usize) {
        self.body_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Locks the gateway, and then reads the clock: read before, it would go backwards for the
    /// gateway whenever another came first to the lock.
    fn lock_core(&self) -> (MutexGuard<'_, Core>, Now) {
        let core = lock_core(&self.core);
        (core, self.now())
    }

    fn with_gateway(&self, act: impl FnOnce(&mut Gateway, Now)) {
        let (mut core, now) = self.lock_core();
        act(&mut core.gateway, now);
        self.perform(&mut core, None, now);
        self.release(core);
    }

    /// Frees the gateway's lock, and then starts what is to be started: a runtime that is about to end
    /// may drop a task at once, or all of its tasks, and these call the driver when they are dropped.
    fn release(&self, mut core: MutexGuard<'_, Core>) {
        let to_drive = std::mem::take(&mut core.to_drive);
        let to_verify = std::mem::take(&mut core.to_verify);
        drop(core);
        to_drive.into_iter().for_each(&self.drive);
        to_verify.into_iter().for_each(&self.verify);
    }

    /// Does what the gateway wants done, with its lock held. Mail for `current` goes straight in.
    fn perform(&self, core: &mut Core, mut current: Option<&mut Exchange>, now: Now) {
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
                    let alive = lock(&self.children).clone();
                    if let (Some(driver), Some(alive)) = (self.me.upgrade(), alive) {
                        let driven = DrivenUpstream::new(upstream, inbox, driver, alive);
                        core.to_drive.push(driven);
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
                } => {
                    let verification = Verification::new(self.me.clone(), verification, token);
                    core.to_verify.push(verification);
                }
                GatewayOutput::Started(failures) => {
                    if let Some(starting) = core.starting.take() {
                        starting(failures);
                    }
                }
                GatewayOutput::Warn(line) => warn!("{line}"),
                GatewayOutput::Audit(record) => self.audit(record),
            }
        }
        let timer = core.gateway.poll_timeout();
        if timer.is_some_and(|timer| core.timer.is_none_or(|set| timer < set)) {
            (self.attend)();
        }
        core.timer = timer;
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
    use super::*;
    use crate::AuditSink;
    use crate::audit::AuditLog;

    #[test]
    fn time_does_not_go_backwards_for_who_waits_for_the_gateway() {
        let driver = driver(false, Box::new(drop));
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

    #[test]
    fn the_gateway_is_free_when_a_task_is_started() {
        let (sender, started) = std::sync::mpsc::channel();
        let drive = Box::new(move |driven: DrivenUpstream| {
            let is_free = driven.driver().core.try_lock().is_ok();
            sender.send(is_free).expect("somebody waits");
        });
        // The start-up probe is a child.
        let _driver = driver(true, drive);
        assert!(started.try_recv().expect("a task is started"));
    }

    fn driver(
        startup_probe: bool,
        drive: Box<dyn Fn(DrivenUpstream) + Send + Sync>,
    ) -> Arc<Driver> {
        let command = ChildCommand::new("true");
        let policy = Policy {
            startup_probe,
            ..Policy::default()
        };
        let equipment = Equipment {
            command,
            guard: None,
            instance: String::new(),
            request_ids: Instance([0; 4]),
            audit: AuditLog::open(&AuditSink::Off, |_| {})
                .expect("nothing is opened")
                .writer(),
            access: AccessWriter::off(),
            audited: Arc::new(AtomicBool::new(true)),
            outside: None,
        };
        let callbacks = Callbacks {
            drive,
            verify: Box::new(drop),
            attend: Arc::new(|| {}),
            started: Box::new(drop),
            children_ended: Box::new(|| {}),
        };
        Driver::new(policy, equipment, callbacks, [0; 32])
    }
}
