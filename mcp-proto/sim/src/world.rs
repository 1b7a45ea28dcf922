//! The driver: it owns the three machines and everything between them, as an adapter does.
//!
//! Each machine has inboxes, one for each thing that it hears from, and each of these is first in,
//! first out. Which of them comes next, how many inputs a machine takes before its outputs are
//! drained, and into which pieces bytes are cut, is drawn from the seed. The gateway has no inbox:
//! its lock is taken, the mail handed over and its outputs performed in one go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mcp_proto::auth::{
    FetchFailure, FetchId, FetchRequest, Fetched, SignatureCheck, SignatureFailure, SignatureId,
    StartupFailure, StaticToken, Token, Verdict, VerificationId,
};
use mcp_proto::framing::Frame;
use mcp_proto::{
    AuditRecord, Exchange, ExchangeId, ExchangeMail, ExchangeOutput, Gateway, GatewayMail,
    GatewayOutput, Instant, Now, Policy, RequestHead, Stop, Upstream, UpstreamId, UpstreamMail,
    UpstreamOutput,
};

use crate::process::Child;
use crate::request::{Request, Response};
use crate::rng::{Rng, hash_on};

/// The Unix time of the origin of every world's clock, in milliseconds.
const EPOCH: u64 = 1_800_000_000_000;

/// When every world begins.
pub(crate) const BEGIN: Instant = Instant::from_nanos(1_000_000_000);

/// The same, in seconds since the Unix epoch.
pub(crate) const BEGIN_UNIX: u64 = EPOCH / 1000 + 1;

/// Into which pieces bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// As large as they come.
    Whole,
    /// One byte at a time.
    Bytes,
    /// Whatever this seed says.
    Random(u64),
}

/// How many inputs a machine takes before its outputs are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batches {
    /// One.
    Single,
    /// All that there are.
    All,
    /// Whatever the seed says.
    Random,
}

/// How the driver behaves where it is free to choose.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Decides the order in which inboxes are served.
    pub order: u64,
    /// Into which pieces bytes are cut.
    pub cuts: Cuts,
    /// How many inputs are taken at once.
    pub batches: Batches,
    /// Whether every machine is told the time every millisecond; else only when it asked for it.
    pub ticks: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            order: 0,
            cuts: Cuts::Whole,
            batches: Batches::Single,
            ticks: false,
        }
    }
}

/// What peers may want to react to.
#[derive(Debug)]
pub enum Event {
    /// A child is to be started; see [`World::spawned`].
    Spawn(UpstreamId),
    /// A child has a line on its stdin.
    Line(UpstreamId, Bytes),
    /// A child's stdin is closed.
    StdinClosed(UpstreamId),
    /// A child was sent SIGTERM.
    Terminated(UpstreamId),
    /// A response has bytes, or its head, that its client has not looked at.
    Received(ExchangeId),
    /// A response is complete, or its connection is gone.
    Over(ExchangeId),
    /// Another server is to be asked; see [`World::fetched`].
    Fetch(FetchRequest),
    /// A signature is to be checked; see [`World::checked`].
    CheckSignature(SignatureCheck),
    /// The embedder is asked about a token; see [`World::verified`].
    VerifyToken(VerificationId, Token),
    /// Every verifier was tried.
    Started(Vec<StartupFailure>),
}

/// One HTTP request on its connection.
struct Wire {
    exchange: Option<Exchange>,
    mail: VecDeque<ExchangeMail>,
    upload: Bytes,
    uploading: bool,
    /// Bytes on the way to the client.
    pipe: BytesMut,
    reading: bool,
    /// The client leaves when it has read this much.
    leaves_at: Option<usize>,
    ended: bool,
    over: bool,
    response: Response,
}

/// One child and its upstream.
struct Line {
    upstream: Upstream,
    mail: VecDeque<UpstreamMail>,
    /// Exchanges that were sent the last mail.
    finished: BTreeSet<ExchangeId>,
    told_stdout_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Wire(ExchangeId),
    Line(UpstreamId),
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Mail,
    Upload,
    Download,
    Stdout,
    Stdin,
    StdoutClosed,
    Exit,
}

/// The machines, the connections, the pipes and the clock.
pub struct World {
    now: Instant,
    /// By how many milliseconds the wall clock was set forward.
    stepped: u64,
    manner: Manner,
    order: Rng,
    cuts: Rng,
    gateway: Gateway,
    wires: BTreeMap<ExchangeId, Wire>,
    /// Wires that something may still happen on.
    open: BTreeSet<ExchangeId>,
    lines: BTreeMap<UpstreamId, Line>,
    children: BTreeMap<UpstreamId, Child>,
    /// Upstreams in the order in which they were opened, with the exchange that they were opened
    /// for.
    opened: Vec<(UpstreamId, Option<ExchangeId>)>,
    /// Those that were opened in this drain of the gateway, to learn for whom.
    just_opened: Option<UpstreamId>,
    audit: Vec<AuditRecord>,
    warnings: Vec<String>,
    events: VecDeque<Event>,
    trace: Trace,
}

/// A hash over all that happened; with `SIM_TRACE` set, each line of it is printed too.
struct Trace {
    hash: u64,
    print: bool,
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hash = hash_on(self.hash, text.as_bytes());
        if self.print {
            eprint!("{text}");
        }
        Ok(())
    }
}

impl World {
    /// A world in which nothing has happened but the gateway's start.
    pub fn new(policy: Policy, manner: Manner) -> Self {
        let now = BEGIN;
        let mut world = Self {
            now,
            stepped: 0,
            manner,
            order: Rng::named(manner.order, "order"),
            cuts: Rng::named(
                match manner.cuts {
                    Cuts::Random(seed) => seed,
                    Cuts::Whole | Cuts::Bytes => 0,
                },
                "cuts",
            ),
            gateway: Gateway::new(policy, [7; 32], at(now, 0)),
            wires: BTreeMap::new(),
            open: BTreeSet::new(),
            lines: BTreeMap::new(),
            children: BTreeMap::new(),
            opened: Vec::new(),
            just_opened: None,
            audit: Vec::new(),
            warnings: Vec::new(),
            events: VecDeque::new(),
            trace: Trace {
                hash: 0,
                #[expect(
                    clippy::disallowed_methods,
                    reason = "whoever replays a run asks for it"
                )]
                print: std::env::var_os("SIM_TRACE").is_some(),
            },
        };
        world.drain_gateway();
        world
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The time on the wall clock, in seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> u64 {
        at(self.now, self.stepped).unix_ms / 1000
    }

    /// A hash of all that happened, in its order.
    pub fn trace(&self) -> u64 {
        self.trace.hash
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, note: fmt::Arguments<'_>) {
        let now = self.now.as_nanos();
        let _ = writeln!(self.trace, "{now} {note}");
    }

    /// What peers may want to react to, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Every audit record so far.
    pub fn audit(&self) -> &[AuditRecord] {
        &self.audit
    }

    /// Takes out the audit records so far.
    pub fn take_audit(&mut self) -> Vec<AuditRecord> {
        std::mem::take(&mut self.audit)
    }

    /// What the operator was told so far.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Forgets what no machine remembers: requests that are over, dead children, lines that were
    /// read, bytes that were received, and records.
    pub fn forget_history(&mut self) {
        self.wires.retain(|_, wire| !wire.over);
        self.children.retain(|_, child| child.lives());
        self.opened.clear();
        self.audit = Vec::new();
        self.warnings = Vec::new();
        for wire in self.wires.values_mut() {
            wire.response.body = Vec::new();
        }
        for child in self.children.values_mut() {
            child.lines = Vec::new();
        }
        for line in self.lines.values_mut() {
            let finished = std::mem::take(&mut line.finished);
            let known = finished
                .into_iter()
                .filter(|id| self.wires.contains_key(id));
            line.finished = known.collect();
        }
    }

    /// The upstreams that were opened, each with the exchange that it was opened for; a probe has
    /// none.
    pub fn opened(&self) -> &[(UpstreamId, Option<ExchangeId>)] {
        &self.opened
    }

    /// Upstreams that are not drained.
    pub fn upstreams(&self) -> usize {
        self.lines.len()
    }

    /// A child, dead ones included.
    pub fn child(&self, upstream: UpstreamId) -> &Child {
        &self.children[&upstream]
    }

    /// The same, to change.
    pub fn child_mut(&mut self, upstream: UpstreamId) -> &mut Child {
        self.children
            .get_mut(&upstream)
            .expect("a child of this world")
    }

    /// Every child, dead ones included.
    pub fn children(&self) -> impl Iterator<Item = (UpstreamId, &Child)> {
        self.children.iter().map(|(&id, child)| (id, child))
    }

    /// What the client has read of a response.
    pub fn response(&self, exchange: ExchangeId) -> &Response {
        &self.wires[&exchange].response
    }

    /// Whether nothing more will happen on this request's connection.
    pub fn is_over(&self, exchange: ExchangeId) -> bool {
        self.wires[&exchange].over
    }

    /// Requests whose connections are still in use.
    pub fn open_requests(&self) -> impl Iterator<Item = ExchangeId> {
        self.wires
            .iter()
            .filter(|(_, wire)| !wire.over)
            .map(|(&id, _)| id)
    }

    /// Bytes that wait for readers, and for children to read.
    pub fn queued_bytes(&self) -> usize {
        let pipes: usize = self.wires.values().map(|wire| wire.pipe.len()).sum();
        let stdins: usize = self.children.values().map(Child::queued).sum();
        pipes + stdins
    }
}

// What peers do.
impl World {
    /// A client sends a request. `exchange` is a name that was not used before.
    pub fn send(&mut self, exchange: ExchangeId, request: Request) {
        self.note(format_args!("send {exchange:?} {}", request.method));
        let limits = &self.gateway.policy().limits;
        let wire = Wire {
            exchange: Some(Exchange::new(exchange, limits, at(self.now, self.stepped))),
            mail: VecDeque::new(),
            upload: request.body.clone(),
            uploading: !request.stalls,
            pipe: BytesMut::new(),
            reading: request.reads,
            leaves_at: request.leaves_at,
            ended: false,
            over: false,
            response: Response::default(),
        };
        let before = self.wires.insert(exchange, wire);
        assert!(before.is_none(), "{exchange:?} is used twice");
        self.open.insert(exchange);
        let authority = request.authority.as_deref();
        let fields = request
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = RequestHead::new(&request.method, &request.target, authority, fields);
        self.gateway
            .handle_request(exchange, request.peer, &head, at(self.now, self.stepped));
        self.drain_gateway();
    }

    /// Another server has answered, or not.
    pub fn fetched(&mut self, fetch: FetchId, result: Result<Fetched, FetchFailure>) {
        self.note(format_args!("fetched {fetch:?}"));
        self.gateway
            .handle_fetched(fetch, result, at(self.now, self.stepped));
        self.drain_gateway();
    }

    /// A signature was checked.
    pub fn checked(&mut self, signature: SignatureId, result: Result<bool, SignatureFailure>) {
        self.note(format_args!("checked {signature:?}"));
        self.gateway
            .handle_signature(signature, result, at(self.now, self.stepped));
        self.drain_gateway();
    }

    /// The embedder has said what they think of a token.
    pub fn verified(&mut self, verification: VerificationId, verdict: Verdict) {
        self.note(format_args!("verified {verification:?}"));
        self.gateway
            .handle_verdict(verification, verdict, at(self.now, self.stepped));
        self.drain_gateway();
    }

    /// The operator gives out other tokens.
    pub fn replace_tokens(&mut self, tokens: &[StaticToken]) {
        self.gateway
            .handle_static_tokens(tokens, at(self.now, self.stepped));
        self.drain_gateway();
    }

    /// Audit records cannot be kept, or can again.
    pub fn audit_sink(&mut self, works: bool) {
        self.gateway
            .handle_audit_sink(works, at(self.now, self.stepped));
        self.drain_gateway();
    }

    /// A client that held back its body sends it.
    pub fn upload(&mut self, exchange: ExchangeId) {
        self.wire(exchange).uploading = true;
        self.open.insert(exchange);
    }

    /// The driver has no memory for more of this body.
    pub fn no_room(&mut self, exchange: ExchangeId) {
        let now = at(self.now, self.stepped);
        if let Some(exchange) = &mut self.wire(exchange).exchange {
            exchange.handle_no_room(now);
        }
        self.drain_exchange(exchange);
    }

    /// A client goes.
    pub fn leave(&mut self, exchange: ExchangeId) {
        self.note(format_args!("leave {exchange:?}"));
        self.hang_up(exchange);
    }

    /// A client stops reading, or reads on.
    pub fn set_reading(&mut self, exchange: ExchangeId, reading: bool) {
        self.note(format_args!("reading {exchange:?} {reading}"));
        self.wire(exchange).reading = reading;
        self.open.insert(exchange);
    }

    /// A child runs, or could not be started.
    pub fn spawned(&mut self, upstream: UpstreamId, spawned: bool) {
        self.note(format_args!("spawned {upstream:?} {spawned}"));
        let now = at(self.now, self.stepped);
        self.child_mut(upstream).spawned(spawned);
        if let Some(line) = self.lines.get_mut(&upstream) {
            line.upstream.handle_spawned(spawned, now);
        }
        self.drain_upstream(upstream);
    }

    /// A child writes to its stdout; a dead one does not.
    pub fn child_writes(&mut self, upstream: UpstreamId, bytes: &[u8]) {
        self.child_mut(upstream).write(bytes);
    }

    /// A child ends.
    pub fn child_exits(&mut self, upstream: UpstreamId) {
        self.note(format_args!("exit {upstream:?}"));
        self.child_mut(upstream).exit();
    }

    /// SIGTERM to the gateway.
    pub fn drain(&mut self) {
        self.note(format_args!("drain"));
        self.gateway.handle_drain(at(self.now, self.stepped));
        self.drain_gateway();
    }
}

// Time.
impl World {
    /// When the next machine wants to be told the time.
    pub fn next_deadline(&self) -> Option<Instant> {
        let exchanges = self.open.iter().filter_map(|id| {
            let exchange = self.wires[id].exchange.as_ref()?;
            exchange.poll_timeout()
        });
        let upstreams = self.lines.values();
        let upstreams = upstreams.filter_map(|line| line.upstream.poll_timeout());
        let gateway = self.gateway.poll_timeout();
        exchanges.chain(upstreams).chain(gateway).min()
    }

    /// Lets time pass to `then`, and tells the machines when they want to be told. What they cause
    /// meanwhile is not performed beyond their inboxes: see [`World::step`].
    pub fn set_time(&mut self, then: Instant) {
        assert!(then >= self.now, "time goes forward");
        self.now = then;
        self.fire();
    }

    /// Someone sets the wall clock forward.
    pub fn step_clock(&mut self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("a clock has 64 bits");
        self.stepped += by;
    }

    /// Lets time pass, and all that it causes happen.
    pub fn wait(&mut self, time: Duration) {
        let then = self.now + time;
        self.settle();
        while let Some(next) = self.next_moment().filter(|&next| next <= then) {
            self.set_time(next.max(self.now));
            self.settle();
        }
        self.set_time(then);
        self.settle();
    }

    /// The next time at which machines are told the time, if there is one.
    pub fn next_moment(&self) -> Option<Instant> {
        let deadline = self.next_deadline()?;
        if self.manner.ticks {
            Some(deadline.min(self.now + Duration::from_millis(1)))
        } else {
            Some(deadline)
        }
    }

    fn fire(&mut self) {
        let now = at(self.now, self.stepped);
        let ticks = self.manner.ticks;
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now.monotonic);
        if ticks || is_due(self.gateway.poll_timeout()) {
            self.gateway.handle_timeout(now);
            self.drain_gateway();
            assert!(!is_due(self.gateway.poll_timeout()), "a timer is stuck");
        }
        for id in self.lines.keys().copied().collect::<Vec<_>>() {
            let Some(line) = self.lines.get_mut(&id) else {
                continue;
            };
            if ticks || is_due(line.upstream.poll_timeout()) {
                line.upstream.handle_timeout(now);
                let stuck = is_due(line.upstream.poll_timeout());
                assert!(!stuck, "a timer is stuck");
                self.drain_upstream(id);
            }
        }
        for id in self.open.iter().copied().collect::<Vec<_>>() {
            let Some(exchange) = &mut self.wire(id).exchange else {
                continue;
            };
            if ticks || is_due(exchange.poll_timeout()) {
                exchange.handle_timeout(now);
                assert!(!is_due(exchange.poll_timeout()), "a timer is stuck");
                self.drain_exchange(id);
            }
        }
    }
}

// What happens by itself.
impl World {
    /// Lets everything happen that can happen now.
    pub fn settle(&mut self) {
        let mut steps = 0_u32;
        while self.step() {
            steps += 1;
            assert!(steps < 5_000_000, "the machines keep each other busy");
        }
    }

    /// Whether anything can happen now.
    pub fn is_settled(&self) -> bool {
        self.units().next().is_none()
    }

    /// Lets one machine take what is in one of its inboxes, or a few of them. False if there is
    /// nothing anywhere.
    pub fn step(&mut self) -> bool {
        let count = self.units().count();
        if count == 0 {
            return false;
        }
        let chosen = self.order.below(count);
        let unit = self.units().nth(chosen).expect("it was counted");
        let most = match self.manner.batches {
            Batches::Single => 1,
            Batches::All => usize::MAX,
            Batches::Random => 1 + self.order.below(4),
        };
        let mut taken = 0;
        while taken < most && self.feed(unit) {
            taken += 1;
        }
        match unit {
            Unit::Wire(id) => {
                self.drain_exchange(id);
                self.look_over(id);
            }
            Unit::Line(id) => self.drain_upstream(id),
        }
        true
    }

    fn units(&self) -> impl Iterator<Item = Unit> {
        let wires = self.open.iter().copied();
        let wires = wires.filter(|id| self.wires[id].sources().next().is_some());
        let lines = self.lines.iter();
        let lines = lines.filter(|(id, line)| line.sources(&self.children[id]).next().is_some());
        wires
            .map(Unit::Wire)
            .chain(lines.map(|(&id, _)| Unit::Line(id)))
    }

    /// Gives a machine one input.
    fn feed(&mut self, unit: Unit) -> bool {
        let sources: Vec<Source> = match unit {
            Unit::Wire(id) => self.wires[&id].sources().collect(),
            Unit::Line(id) => match self.lines.get(&id) {
                Some(line) => line.sources(&self.children[&id]).collect(),
                None => return false,
            },
        };
        if sources.is_empty() {
            return false;
        }
        let source = *self.order.pick(&sources);
        match unit {
            Unit::Wire(id) => self.feed_wire(id, source),
            Unit::Line(id) => self.feed_line(id, source),
        }
        true
    }

    fn feed_wire(&mut self, id: ExchangeId, source: Source) {
        let now = at(self.now, self.stepped);
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        match source {
            Source::Mail => {
                let mail = wire.mail.pop_front();
                if let (Some(exchange), Some(mail)) = (&mut wire.exchange, mail) {
                    exchange.handle_mail(mail, now);
                }
            }
            Source::Upload => {
                let Some(exchange) = &mut wire.exchange else {
                    return;
                };
                if wire.upload.is_empty() {
                    wire.uploading = false;
                    exchange.handle_body_end(now);
                } else {
                    let size = cut(&mut self.cuts, self.manner.cuts, wire.upload.len());
                    exchange.handle_body(wire.upload.split_to(size), now);
                }
            }
            Source::Download => {
                let mut size = cut(&mut self.cuts, self.manner.cuts, wire.pipe.len());
                if let Some(leaves_at) = wire.leaves_at {
                    size = size.min(leaves_at - wire.response.body.len());
                }
                wire.response
                    .body
                    .extend_from_slice(&wire.pipe.split_to(size));
                if let Some(exchange) = &mut wire.exchange {
                    exchange.handle_written(size, now);
                }
                self.events.push_back(Event::Received(id));
            }
            Source::Stdout | Source::Stdin | Source::StdoutClosed | Source::Exit => {}
        }
        let (now, trace) = (self.now.as_nanos(), &mut self.trace);
        let _ = writeln!(trace, "{now} {id:?} {source:?}");
    }

    fn feed_line(&mut self, id: UpstreamId, source: Source) {
        let now = at(self.now, self.stepped);
        let (Some(line), Some(child)) = (self.lines.get_mut(&id), self.children.get_mut(&id))
        else {
            return;
        };
        match source {
            Source::Mail => {
                if let Some(mail) = line.mail.pop_front() {
                    line.upstream.handle_mail(mail, now);
                }
            }
            Source::Stdout => {
                let room = line.upstream.stdout_buffer();
                assert!(!room.is_empty(), "room to read into is never empty");
                let most = room.len().min(child.stdout.len());
                let size = cut(&mut self.cuts, self.manner.cuts, most);
                room[..size].copy_from_slice(&child.stdout.split_to(size));
                line.upstream.handle_stdout(size, now);
            }
            Source::Stdin => {
                let most = child.queued();
                let size = cut(&mut self.cuts, self.manner.cuts, most);
                if size > 0 {
                    for text in child.take_stdin(size) {
                        self.events.push_back(Event::Line(id, text));
                    }
                    line.upstream.handle_stdin_written(size, now);
                }
                if child.sees_end_of_stdin() {
                    self.events.push_back(Event::StdinClosed(id));
                }
            }
            Source::StdoutClosed => {
                line.told_stdout_closed = true;
                line.upstream.handle_stdout_closed(now);
            }
            Source::Exit => {
                child.reaped = true;
                line.upstream.handle_exit(now);
            }
            Source::Upload | Source::Download => {}
        }
        let (now, trace) = (self.now.as_nanos(), &mut self.trace);
        let _ = writeln!(trace, "{now} {id:?} {source:?}");
    }

    /// Whether a response is complete, or its client has seen enough.
    fn look_over(&mut self, id: ExchangeId) {
        let wire = self.wire(id);
        let read = wire.response.body.len();
        if !wire.over && wire.leaves_at.is_some_and(|leaves_at| read >= leaves_at) {
            wire.response.left = true;
            return self.hang_up(id);
        }
        if wire.ended && wire.pipe.is_empty() && !wire.over {
            wire.over = true;
            wire.response.complete = true;
            wire.exchange = None;
            self.open.remove(&id);
            self.events.push_back(Event::Over(id));
        }
    }

    /// Closes a connection, from whichever end: the rule of `Exchange::handle_disconnect`.
    fn hang_up(&mut self, id: ExchangeId) {
        let now = at(self.now, self.stepped);
        let wire = self.wire(id);
        if wire.over {
            return;
        }
        wire.over = true;
        wire.pipe.clear();
        let mail = std::mem::take(&mut wire.mail);
        if let Some(exchange) = &mut wire.exchange {
            if exchange.awaits_gateway() {
                for mail in mail {
                    exchange.handle_mail(mail, now);
                }
            }
            exchange.handle_disconnect(now);
        }
        self.drain_exchange(id);
        let exchange = self.wire(id).exchange.take();
        if let Some(exchange) = exchange {
            assert!(exchange.is_done(), "a disconnected exchange is done");
        }
        self.open.remove(&id);
        self.events.push_back(Event::Over(id));
    }

    fn wire(&mut self, id: ExchangeId) -> &mut Wire {
        self.wires.get_mut(&id).expect("a request of this world")
    }
}

// Outputs.
impl World {
    fn drain_gateway(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                GatewayOutput::ToExchange { exchange, mail } => {
                    if let Some(upstream) = self.just_opened.take() {
                        self.opened.push((upstream, Some(exchange)));
                    }
                    self.mail_exchange(exchange, mail);
                }
                GatewayOutput::ToUpstream { upstream, mail } => {
                    assert!(
                        self.lines.contains_key(&upstream),
                        "the gateway writes to {upstream:?}, which is drained: {mail:?}"
                    );
                    self.mail_upstream(upstream, mail);
                }
                GatewayOutput::Open(opening) => self.open(opening),
                GatewayOutput::Audit(record) => self.keep(record),
                GatewayOutput::Fetch(request) => self.events.push_back(Event::Fetch(request)),
                GatewayOutput::CheckSignature(check) => {
                    self.events.push_back(Event::CheckSignature(check));
                }
                GatewayOutput::VerifyToken {
                    verification,
                    token,
                } => self
                    .events
                    .push_back(Event::VerifyToken(verification, token)),
                GatewayOutput::Started(failures) => {
                    self.events.push_back(Event::Started(failures));
                }
                GatewayOutput::Warn(line) => {
                    self.note(format_args!("warn {line}"));
                    self.warnings.push(line);
                }
            }
        }
        if let Some(upstream) = self.just_opened.take() {
            self.opened.push((upstream, None));
        }
    }

    fn open(&mut self, opening: mcp_proto::Opening) {
        let id = opening.upstream();
        self.just_opened = Some(id);
        let limits = &self.gateway.policy().limits;
        let line = Line {
            upstream: Upstream::new(opening, limits, at(self.now, self.stepped)),
            mail: VecDeque::new(),
            finished: BTreeSet::new(),
            told_stdout_closed: false,
        };
        self.lines.insert(id, line);
        self.children.insert(id, Child::default());
        self.drain_upstream(id);
    }

    fn drain_exchange(&mut self, id: ExchangeId) {
        loop {
            let wire = self.wire(id);
            let Some(output) = wire.exchange.as_mut().and_then(Exchange::poll_output) else {
                return;
            };
            match output {
                ExchangeOutput::ToGateway(mail) => self.mail_gateway(mail),
                ExchangeOutput::ToUpstream { upstream, mail } => self.mail_upstream(upstream, mail),
                ExchangeOutput::Head(head) => {
                    assert!(wire.response.head.is_none(), "one head");
                    assert!(!wire.over, "nothing is sent to nobody");
                    wire.response.head = Some(head);
                    self.events.push_back(Event::Received(id));
                }
                ExchangeOutput::Chunk(frame) => {
                    assert!(wire.response.head.is_some(), "a head before its body");
                    assert!(!wire.ended, "nothing after the end");
                    assert!(!frame.is_empty(), "a chunk holds something");
                    append(&mut wire.pipe, &frame);
                }
                ExchangeOutput::End => {
                    assert!(wire.response.head.is_some(), "a head before the end");
                    assert!(!std::mem::replace(&mut wire.ended, true), "one end");
                    let exchange = wire.exchange.as_ref();
                    assert!(exchange.is_some_and(Exchange::is_done), "it ends once");
                    self.look_over(id);
                }
                ExchangeOutput::Audit(record) => self.keep(record),
            }
        }
    }

    fn drain_upstream(&mut self, id: UpstreamId) {
        loop {
            let Some(line) = self.lines.get_mut(&id) else {
                return;
            };
            let Some(output) = line.upstream.poll_output() else {
                break;
            };
            match output {
                UpstreamOutput::Spawn => self.events.push_back(Event::Spawn(id)),
                UpstreamOutput::Stdin(frame) => self.child_mut(id).queue(&frame),
                UpstreamOutput::Stop(stop) => self.stop(id, stop),
                UpstreamOutput::ToExchange {
                    exchange,
                    mail,
                    last,
                } => {
                    assert!(
                        !line.finished.contains(&exchange),
                        "mail for {exchange:?} after its last: {mail:?}"
                    );
                    if last {
                        line.finished.insert(exchange);
                    }
                    self.mail_exchange(exchange, mail);
                }
                UpstreamOutput::Disconnect { exchange } => {
                    line.finished.insert(exchange);
                    self.note(format_args!("overrun {exchange:?}"));
                    if let Some(wire) = self.wires.get_mut(&exchange) {
                        wire.response.dropped = true;
                        self.hang_up(exchange);
                    }
                }
                UpstreamOutput::ToGateway(mail) => self.mail_gateway(mail),
                UpstreamOutput::Audit(record) => self.keep(record),
            }
        }
        let drained = self.lines[&id].upstream.is_drained();
        if drained && let Some(line) = self.lines.remove(&id) {
            self.note(format_args!("drained {id:?}"));
            assert!(line.upstream.is_empty(), "a drained upstream holds nothing");
            assert!(
                !self.children[&id].lives(),
                "no child outlives its upstream"
            );
            for mail in line.mail {
                self.lost(id, &mail);
            }
        }
    }

    fn stop(&mut self, id: UpstreamId, stop: Stop) {
        self.note(format_args!("stop {id:?} {stop:?}"));
        let now = self.now;
        let child = self.child_mut(id);
        child.stop(stop, now);
        if child.sees_end_of_stdin() {
            self.events.push_back(Event::StdinClosed(id));
        }
        if stop == Stop::Terminate {
            self.events.push_back(Event::Terminated(id));
        }
    }

    fn mail_gateway(&mut self, mail: GatewayMail) {
        self.gateway.handle_mail(mail, at(self.now, self.stepped));
        self.drain_gateway();
    }

    fn mail_exchange(&mut self, id: ExchangeId, mail: ExchangeMail) {
        if let Some(wire) = self.wires.get_mut(&id)
            && wire.exchange.is_some()
        {
            wire.mail.push_back(mail);
        }
    }

    fn mail_upstream(&mut self, id: UpstreamId, mail: UpstreamMail) {
        match self.lines.get_mut(&id) {
            Some(line) => line.mail.push_back(mail),
            None => self.lost(id, &mail),
        }
    }

    /// An upstream is dropped only when every grant has come in.
    fn lost(&self, id: UpstreamId, mail: &UpstreamMail) {
        let mail = format!("{mail:?}");
        // Of these, only a second `Retire` can be late: it takes the first to drain it.
        let late = [
            "UpstreamMail(Release",
            "UpstreamMail(Disconnect",
            "UpstreamMail(Retire",
        ];
        assert!(
            late.iter().any(|late| mail.starts_with(late)),
            "{id:?} is drained and misses {mail}"
        );
    }

    fn keep(&mut self, record: AuditRecord) {
        self.note(format_args!("{record:?}"));
        self.audit.push(record);
    }
}

impl Wire {
    fn sources(&self) -> impl Iterator<Item = Source> {
        let exchange = self.exchange.as_ref();
        let mail = exchange.is_some() && !self.mail.is_empty();
        let upload = self.uploading && exchange.is_some_and(Exchange::wants_body);
        let read = self.response.body.len();
        let stays = self.leaves_at.is_none_or(|leaves_at| read < leaves_at);
        let download = self.reading && stays && !self.pipe.is_empty();
        [
            (mail, Source::Mail),
            (upload, Source::Upload),
            (download, Source::Download),
        ]
        .into_iter()
        .filter_map(|(there, source)| there.then_some(source))
    }
}

impl Line {
    fn sources(&self, child: &Child) -> impl Iterator<Item = Source> {
        let unread = !child.stdout.is_empty() && self.upstream.wants_stdout();
        let closed = child.stdout_closed && child.stdout.is_empty() && !self.told_stdout_closed;
        let exited = child.exited && child.stdout.is_empty() && !child.reaped;
        [
            (!self.mail.is_empty(), Source::Mail),
            (unread, Source::Stdout),
            (child.can_read(), Source::Stdin),
            (closed && self.upstream.wants_stdout(), Source::StdoutClosed),
            (exited, Source::Exit),
        ]
        .into_iter()
        .filter_map(|(there, source)| there.then_some(source))
    }
}

/// The time on both clocks, of which the wall clock has been stepped by so many milliseconds.
fn at(now: Instant, stepped: u64) -> Now {
    Now {
        monotonic: now,
        unix_ms: EPOCH + now.as_nanos() / 1_000_000 + stepped,
    }
}

fn append(pipe: &mut BytesMut, frame: &Frame) {
    for slice in frame.slices() {
        pipe.extend_from_slice(slice);
    }
}

/// How much of so many bytes comes now: at least one.
fn cut(dice: &mut Rng, cuts: Cuts, most: usize) -> usize {
    match cuts {
        Cuts::Whole => most,
        Cuts::Bytes => most.min(1),
        // Small ones are as frequent as large ones; megabytes are not cut into thousands.
        Cuts::Random(_) => match (most, dice.below(4)) {
            (0, _) => 0,
            (_, 0) if most < 4096 => 1,
            (_, 1) => most,
            _ => 1 + dice.below(most),
        },
    }
}
