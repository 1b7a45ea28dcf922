//! The driver: it owns the three machines and everything between them, as an adapter does.
//!
//! Each machine has inboxes, one for each thing that it hears from, and each of these is first in,
//! first out. Which of them comes next, how many inputs a machine takes before its outputs are
//! drained, and into which pieces bytes are cut, is drawn from the seed. The gateway has no inbox:
//! its lock is taken, the mail handed over and its outputs performed in one go.

mod held;
mod outputs;
mod peers;
mod run;
mod time;
mod trace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};
use mcp_proto::auth::{FetchRequest, SignatureCheck, StartupFailure, Token, VerificationId};
use mcp_proto::{
    AccessRecord, AuditRecord, Exchange, ExchangeId, ExchangeMail, Gateway, Instant, Now, Policy,
    Upstream, UpstreamId, UpstreamMail,
};

use self::held::Held;
pub use self::held::Measure;
use self::trace::Trace;
use crate::process::Child;
use crate::request::Response;
use crate::rng::{Rng, Seed};

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
    /// One byte at a time; of very much, a few thousand.
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

/// When the machines are told the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakes {
    /// Each when it asked for it.
    Due,
    /// All of them when one asked for it, and a nanosecond before and after.
    Around,
    /// All of them every millisecond, and when one asked for it.
    Ticks,
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
    /// When the machines are told the time.
    pub wakes: Wakes,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            order: 0,
            cuts: Cuts::Whole,
            batches: Batches::Single,
            wakes: Wakes::Due,
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
    exchange: Exchange,
    mail: VecDeque<ExchangeMail>,
    upload: Bytes,
    uploading: bool,
    /// Bytes on the way to the client.
    pipe: BytesMut,
    reading: bool,
    /// The client leaves when it has read this much.
    leaves_at: Option<usize>,
    /// Where its message went.
    upstream: Option<UpstreamId>,
    ended: bool,
    /// Its client is gone, or was sent away.
    gone: bool,
    response: Response,
}

/// One child and its upstream.
struct Line {
    /// How many were opened before.
    number: u64,
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
    /// By how many milliseconds the wall clock was set forward; back if this is less than 0.
    stepped: i64,
    manner: Manner,
    order: Rng,
    cuts: Rng,
    gateway: Gateway,
    wires: BTreeMap<ExchangeId, Wire>,
    /// What was received on those that are gone.
    responses: BTreeMap<ExchangeId, Response>,
    lines: BTreeMap<UpstreamId, Line>,
    children: BTreeMap<UpstreamId, Child>,
    /// Upstreams in the order in which they were opened, with the exchange that they were opened
    /// for.
    opened: Vec<(UpstreamId, Option<ExchangeId>)>,
    /// Those that were opened in this drain of the gateway, to learn for whom.
    just_opened: Option<UpstreamId>,
    audit: Vec<AuditRecord>,
    access: BTreeMap<ExchangeId, AccessRecord>,
    warnings: Vec<String>,
    events: VecDeque<Event>,
    /// Room for the units that something can happen to.
    ready: Vec<Unit>,
    /// When machines were last told what they wanted to be told.
    was_due: Option<Instant>,
    held: Held,
    trace: Trace,
}

impl World {
    /// A world in which nothing has happened but the gateway's start.
    pub fn new(policy: Policy, manner: Manner) -> Self {
        Self::measured(policy, manner, None)
    }

    /// The same, with an account of what the machines allocate.
    pub fn measured(policy: Policy, manner: Manner, measure: Option<Measure>) -> Self {
        Self::seeded(policy, manner, measure, [7; 32])
    }

    /// Another process of the same gateway: what it draws at random is something else.
    pub fn replica(policy: Policy, manner: Manner) -> Self {
        Self::seeded(policy, manner, None, [8; 32])
    }

    fn seeded(policy: Policy, manner: Manner, measure: Option<Measure>, seed: [u8; 32]) -> Self {
        let now = BEGIN;
        let mut held = Held::new(measure);
        let mut world = Self {
            now,
            stepped: 0,
            manner,
            order: Seed::from(manner.order).dice("order"),
            cuts: Seed::from(match manner.cuts {
                Cuts::Random(seed) => seed,
                Cuts::Whole | Cuts::Bytes => 0,
            })
            .dice("cuts"),
            gateway: held.by(|| Gateway::new(policy, seed, at(now, 0))),
            held,
            wires: BTreeMap::new(),
            responses: BTreeMap::new(),
            lines: BTreeMap::new(),
            children: BTreeMap::new(),
            opened: Vec::new(),
            just_opened: None,
            audit: Vec::new(),
            access: BTreeMap::new(),
            warnings: Vec::new(),
            events: VecDeque::new(),
            ready: Vec::new(),
            was_due: None,
            trace: Trace::new(),
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
        self.clocks().unix_ms / 1000
    }

    /// The time on both clocks.
    fn clocks(&self) -> Now {
        at(self.now, self.stepped)
    }

    /// A hash of all that happened, in its order.
    pub fn trace(&self) -> u64 {
        self.trace.hash()
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, note: fmt::Arguments<'_>) {
        self.trace.note(self.now, note);
    }

    /// What peers may want to react to, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Every audit record so far.
    pub fn audit(&self) -> &[AuditRecord] {
        &self.audit
    }

    /// What became of a request, once it is over.
    pub fn access(&self, exchange: ExchangeId) -> Option<&AccessRecord> {
        self.access.get(&exchange)
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
        self.responses.clear();
        self.children.retain(|_, child| child.lives());
        self.opened.clear();
        self.audit = Vec::new();
        self.access.clear();
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
        let open = self.wires.get(&exchange);
        open.map_or_else(|| &self.responses[&exchange], |wire| &wire.response)
    }

    /// Whether nothing more will happen on this request's connection.
    pub fn is_over(&self, exchange: ExchangeId) -> bool {
        !self.wires.contains_key(&exchange)
    }

    /// Requests whose connections are still in use.
    pub fn open_requests(&self) -> impl Iterator<Item = ExchangeId> {
        self.wires.keys().copied()
    }

    /// What the machines have allocated and not freed, and what they have given to the driver to
    /// write and it has not written, if that is measured.
    pub fn held_bytes(&self) -> Option<usize> {
        let held = self.held.bytes()?;
        // What a machine frees and the world has made can only be overlooked.
        Some(usize::try_from(held).unwrap_or(0) + self.queued_bytes())
    }

    /// Bytes that wait for readers, and for children to read.
    pub fn queued_bytes(&self) -> usize {
        let pipes: usize = self.wires.values().map(|wire| wire.pipe.len()).sum();
        let stdins: usize = self.children.values().map(Child::queued).sum();
        pipes + stdins
    }
}

/// The time on both clocks, of which the wall clock has been stepped by so many milliseconds.
fn at(now: Instant, stepped: i64) -> Now {
    Now {
        monotonic: now,
        unix_ms: (EPOCH + now.as_nanos() / 1_000_000).saturating_add_signed(stepped),
    }
}
