//! A world whose clients and children act by themselves, and a model that watches every byte.
//!
//! Clients and children decide by dice that depend on the seed and on who they are, never on the
//! driver's order. In lockstep one thing happens at a time, and all that follows from it before the
//! next: then the driver's freedom (order, cuts, batches, ticks) must not show in anything that a
//! peer receives. Without it, everything is late by as much as the dice say.

mod addresses;
mod child;
mod client;
mod ledger;
mod outside;
mod plan;
mod tokens;
mod troubles;

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use mcp_proto::{AuditEvent, ExchangeId, Instant, Policy, UpstreamId};

use self::child::{Mind, Reaction};
use self::client::Client;
use self::ledger::Ledger;
use self::outside::Question;
use self::plan::{BodyEnd, Op, StartEnd, Tone};
use self::tokens::{Borne, Outside};
use self::troubles::{Trouble, Troubled};
use crate::rng::{Rng, hash};
use crate::world::{BEGIN, BEGIN_UNIX, Event, Manner, Measure, World};

/// Requests of one client are named from this times its number on.
const PER_CLIENT: u64 = 1_000_000;

/// What to play.
#[derive(Clone, Copy, Debug)]
pub struct PlayOptions {
    /// Says what clients and children do.
    pub seed: u64,
    /// Says what the driver does.
    pub manner: Manner,
    /// Whether one thing happens at a time.
    pub lockstep: bool,
    /// Whether clients are kept from meeting at shared bounds.
    pub calm: bool,
    /// A client that does not take part.
    pub without: Option<usize>,
    /// Measures what the machines allocate.
    pub measure: Option<Measure>,
}

impl PlayOptions {
    /// A run in which everything is late, and anything goes.
    pub fn wild(seed: u64) -> Self {
        let dice = &mut Rng::named(seed, "manner");
        let manner = Manner {
            order: dice.draw(),
            cuts: crate::Cuts::Random(dice.draw()),
            batches: crate::Batches::Random,
            wakes: *dice.pick(&[crate::Wakes::Due, crate::Wakes::Around]),
        };
        Self {
            seed,
            manner,
            lockstep: false,
            calm: false,
            without: None,
            measure: None,
        }
    }

    /// A run in which one thing happens at a time.
    pub fn lockstep(seed: u64, manner: Manner) -> Self {
        Self {
            seed,
            manner,
            lockstep: true,
            calm: true,
            without: None,
            measure: None,
        }
    }
}

/// What one client, and its children, got to see, and what was recorded of them: with the names
/// that are minted at random put out of the way.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// Each response, in the order of the requests.
    pub responses: Vec<String>,
    /// Each child's lines.
    pub lines: Vec<Vec<String>>,
    /// The audit records, sorted.
    pub audit: Vec<String>,
}

/// What came of a play.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// A hash of all that happened, in its order.
    pub trace: u64,
    /// By client.
    pub views: BTreeMap<usize, View>,
    /// How often what happened.
    pub counts: BTreeMap<String, u64>,
}

enum Act {
    Op(Op),
    Spawned(UpstreamId),
    Opens {
        upstream: UpstreamId,
        minted: String,
    },
    Step {
        upstream: UpstreamId,
        call: String,
        what: char,
    },
    FinishHalf(UpstreamId),
    Initialized {
        session: String,
    },
    Answer {
        request: String,
        session: String,
        again: bool,
    },
    Resume {
        stream: usize,
    },
    EndBody(ExchangeId, BodyEnd),
    Read(ExchangeId),
    Leave(ExchangeId),
    /// Whoever was asked this, about a token perhaps, answers; `wrong` says how, if they do not say
    /// what is true.
    Tell {
        number: usize,
        token: Option<usize>,
        wrong: Option<u64>,
    },
    TakeBack,
    Trouble(Trouble),
}

/// When it happens; whose it is; which of several at once; in the order of being planned.
type When = (Instant, usize, u64, u64);

/// A world whose clients and children act by themselves.
pub struct Play {
    options: PlayOptions,
    world: World,
    dice: Rng,
    clients: Vec<Client>,
    troubled: Troubled,
    minds: BTreeMap<UpstreamId, Mind>,
    sessions: BTreeMap<String, UpstreamId>,
    ledger: Ledger,
    outside: Outside,
    /// Whose each session is, where somebody is asked.
    owners: BTreeMap<String, Borne>,
    agenda: BTreeMap<When, Act>,
    planned: u64,
    counts: BTreeMap<String, u64>,
}

impl Play {
    /// Plays to the end, and checks throughout that what has to hold holds.
    pub fn run(options: PlayOptions) -> Outcome {
        let tone = Tone { calm: options.calm };
        let count = 1 + Rng::named(options.seed, "clients").below(5);
        let mut limits = plan::limits(options.seed, tone);
        let (auth, outside) =
            tokens::prepare(options.seed, count, tone, &mut limits, BEGIN_UNIX, BEGIN);
        let policy = Policy {
            ports: vec![8080],
            startup_probe: !tone.calm && options.seed.is_multiple_of(4),
            auth,
            limits,
            ..Policy::default()
        };
        let mut play = Self {
            options,
            world: World::measured(policy, options.manner, options.measure),
            dice: Rng::named(options.seed, "play"),
            clients: (0..count).map(|_| Client::default()).collect(),
            troubled: Troubled::default(),
            minds: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ledger: Ledger::default(),
            outside,
            owners: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            counts: BTreeMap::new(),
        };
        play.world.note(format_args!("play {:?}", options.manner));
        let mut last = 0;
        for client in 0..count {
            let mut after = 0;
            let plan = plan::plan(options.seed, client, tone);
            for (number, (gap, op)) in plan.into_iter().enumerate() {
                after += gap;
                if options.without != Some(client) {
                    play.plan(after, client, number as u64, Act::Op(op));
                }
            }
            last = last.max(after);
        }
        for moment in play.outside.taken_back() {
            let after = moment.saturating_since(BEGIN).as_millis() as u64;
            play.plan(after, usize::MAX, 2, Act::TakeBack);
        }
        if !tone.calm {
            play.plan_troubles();
        }
        play.run_until_done(Duration::from_millis(last));
        play.check_calls();
        play.finish();
        play.check_refusals();
        play.check_secrets();
        play.outcome()
    }

    /// Plans something. `key` says what comes first of what one client does at one time.
    fn plan(&mut self, after: u64, client: usize, key: u64, act: Act) {
        let when = self.world.now() + Duration::from_millis(after);
        self.planned += 1;
        self.agenda.insert((when, client, key, self.planned), act);
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Until nothing is planned, and every call has had its time. The end does not depend on who
    /// takes part.
    fn run_until_done(&mut self, last: Duration) {
        let limits = &self.world.gateway().policy().limits;
        let patience = limits.request_time_max + limits.client_answer_time;
        let until = self.world.now() + last + 2 * patience;
        self.run_on();
        while self.world.now() < until {
            let next = self.world.now() + Duration::from_secs(1);
            self.pass(next.min(until));
            self.run_on();
        }
    }

    /// Until nothing is planned.
    fn run_on(&mut self) {
        loop {
            self.hear();
            let next = self.agenda.first_key_value().map(|(when, _)| when.0);
            if self.options.lockstep {
                self.settle();
                let Some(next) = self.agenda.first_key_value().map(|(when, _)| when.0) else {
                    return;
                };
                self.pass(next);
                self.act_if_due();
                continue;
            }
            let busy = !self.world.is_settled();
            match next {
                // The world is late: time goes on while there are things to do.
                Some(next) if busy && self.dice.percent(4) => {
                    let soon = self.world.now() + Duration::from_millis(2);
                    if next <= soon {
                        self.pass(next.max(self.world.now()));
                        self.act_if_due();
                    } else {
                        self.pass(soon);
                    }
                }
                _ if busy => {
                    self.world.step();
                }
                Some(_) if self.dice.percent(5) && self.act_at_a_deadline() => {}
                Some(next) => {
                    self.pass(next.max(self.world.now()));
                    self.act_if_due();
                }
                None => return,
            }
        }
    }

    /// Lets time pass, and wakes the machines when they want to be woken.
    fn pass(&mut self, then: Instant) {
        loop {
            let next = self.world.next_moment();
            let Some(next) = next.filter(|&next| next < then) else {
                break;
            };
            let next = if !self.options.lockstep && self.dice.percent(10) {
                let late = Duration::from_nanos(self.dice.draw() % 50_000_000);
                (next + late).min(then)
            } else {
                next
            };
            self.world.set_time(next.max(self.world.now()));
            if self.options.lockstep || self.dice.percent(90) {
                self.settle();
            }
            // Whatever was planned meanwhile may come first.
            let first = self.agenda.first_key_value();
            if first.is_some_and(|(when, _)| when.0 < then) {
                return;
            }
        }
        self.world.set_time(then.max(self.world.now()));
        if self.options.lockstep {
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            self.world.settle();
            self.hear();
            if self.world.is_settled() {
                return;
            }
        }
    }

    /// Performs the first thing that is planned, if it is due.
    fn act_if_due(&mut self) {
        let next = self.agenda.first_key_value();
        if next.is_some_and(|(when, _)| when.0 <= self.world.now()) {
            self.act();
        }
    }

    /// Performs the first thing that is planned.
    fn act(&mut self) {
        let Some(((_, client, key, _), act)) = self.agenda.pop_first() else {
            return;
        };
        match act {
            Act::Op(op) => self.op(client, key, op),
            Act::Spawned(upstream) => {
                let mind = self.minds.get(&upstream);
                let works = mind.is_none_or(|mind| mind.start.end != StartEnd::SpawnFails);
                self.world.spawned(upstream, works);
            }
            Act::Opens { upstream, minted } => self.opens(upstream, &minted),
            Act::Step {
                upstream,
                call,
                what,
            } => {
                self.count(&format!("step {what}"));
                let mind = self
                    .minds
                    .get_mut(&upstream)
                    .expect("a child that was told");
                mind.step(&call, what, &mut self.world, &mut self.ledger);
                if self.options.lockstep && matches!(what, 'x' | 'c' | 'z' | 'X') {
                    self.settle();
                    self.check_end(client, upstream);
                }
                if matches!(what, 'h' | 'F') {
                    self.plan(60, client, hash(call.as_bytes()), Act::FinishHalf(upstream));
                }
            }
            Act::FinishHalf(upstream) => {
                let mind = self
                    .minds
                    .get_mut(&upstream)
                    .expect("a child that was told");
                mind.finish_half(&mut self.world);
            }
            Act::Initialized { session } => self.initialized(client, &session),
            Act::Answer {
                request,
                session,
                again,
            } => self.answer(client, &request, &session, again),
            Act::Resume { stream } => self.resume(client, stream),
            Act::EndBody(exchange, end) => match end {
                BodyEnd::Never => {}
                BodyEnd::Whole => self.world.upload(exchange),
                BodyEnd::NoRoom => self.world.no_room(exchange),
                BodyEnd::Malformed => self.world.body_malformed(exchange),
            },
            Act::Read(exchange) => self.world.set_reading(exchange, true),
            Act::Tell {
                number,
                token,
                wrong,
            } => self.tell(number, token, wrong),
            Act::TakeBack => self.take_back(),
            Act::Trouble(trouble) => self.befall(trouble),
            Act::Leave(exchange) => self.world.leave(exchange),
        }
    }

    /// Takes note of what has happened.
    fn hear(&mut self) {
        self.debug_memory("most");
        while let Some(event) = self.world.next_event() {
            match event {
                Event::Spawn(upstream) => self.spawn(upstream),
                Event::Line(upstream, line) => {
                    let line = std::str::from_utf8(&line).expect("UTF-8");
                    self.line(upstream, line.trim_end_matches('\n'));
                }
                Event::Received(exchange) => self.received(exchange),
                Event::Over(exchange) => {
                    self.received(exchange);
                    self.over(exchange);
                }
                Event::StdinClosed(_) | Event::Terminated(_) => {}
                Event::Started(_) => self.outside.started += 1,
                Event::Fetch(request) => self.asked_outside(Question::Fetch(request)),
                Event::CheckSignature(check) => self.asked_outside(Question::Check(check)),
                Event::VerifyToken(verification, token) => {
                    self.asked_outside(Question::Opinion(verification, token));
                }
            }
        }
    }

    fn debug_memory(&mut self, what: &str) {
        if let Some(b) = self.world.held_bytes() {
            let e = self.counts.entry(format!("mem {what}")).or_default();
            *e = (*e).max(b.max(0) as u64);
        }
    }

    fn spawn(&mut self, upstream: UpstreamId) {
        let opened = self.world.opened().iter().rev();
        let by = opened.clone().find(|(opened, _)| *opened == upstream);
        let Some(exchange) = by.and_then(|(_, by)| *by) else {
            // A probe.
            return self.plan(10, usize::MAX, 1, Act::Spawned(upstream));
        };
        let client = (exchange.0 / PER_CLIENT) as usize;
        let start = self.clients[client].start_of(exchange);
        let ordinal = self.clients[client].children.len();
        self.clients[client].children.push(upstream);
        let after = start.spawn_after;
        let child = self.world.child_mut(upstream);
        (child.heeds_stdin, child.heeds_term) = (start.heeds_stdin, start.heeds_term);
        let mind = Mind::new(client, ordinal, upstream, start);
        self.minds.insert(upstream, mind);
        self.plan(after, client, 1000, Act::Spawned(upstream));
    }

    fn line(&mut self, upstream: UpstreamId, line: &str) {
        let Some(mind) = self.minds.get_mut(&upstream) else {
            return self.probed(upstream, line);
        };
        let client = mind.client;
        let after = mind.start.answer_after;
        match mind.reads(line, &mut self.ledger) {
            Reaction::Initialize { minted } => {
                self.plan(after, client, 1001, Act::Opens { upstream, minted });
            }
            Reaction::Call { marker, steps } => {
                for (number, (after, what)) in steps.into_iter().enumerate() {
                    let key = hash(marker.as_bytes()).wrapping_add(number as u64);
                    let call = marker.clone();
                    let act = Act::Step {
                        upstream,
                        call,
                        what,
                    };
                    self.plan(after, client, key, act);
                }
            }
            Reaction::None => {}
        }
    }

    /// The start-up probe's child reads a line.
    fn probed(&mut self, upstream: UpstreamId, line: &str) {
        let answers = !self.options.seed.is_multiple_of(3);
        if answers && line.contains("\"initialize\"") {
            let answer = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n";
            self.world.child_writes(upstream, answer);
        }
    }

    fn opens(&mut self, upstream: UpstreamId, minted: &str) {
        let mind = self
            .minds
            .get_mut(&upstream)
            .expect("a child that was started");
        match mind.start.end {
            StartEnd::Opens => mind.opens(minted, &mut self.world, false),
            StartEnd::Refuses => mind.opens(minted, &mut self.world, true),
            StartEnd::Exits => self.world.child_exits(upstream),
            StartEnd::Hangs | StartEnd::SpawnFails => {}
        }
    }

    /// Everyone goes, and all times pass.
    fn finish(&mut self) {
        let open: Vec<_> = self.world.open_requests().collect();
        for exchange in open {
            self.forgive(exchange);
            self.world.leave(exchange);
        }
        self.answer_everything();
        self.agenda.clear();
        assert_eq!(self.outside.started, 1, "that all were tried is told once");
        for (_, mind) in std::mem::take(&mut self.minds) {
            self.world.child_mut(mind.upstream).reads = true;
        }
        let limits = &self.world.gateway().policy().limits;
        let longest = limits.session_ttl + limits.request_time_max + limits.body_time;
        // What was found good is known for longer than it is good.
        let longest = longest + limits.verifier_time + limits.verdict_time * 10;
        let until = self.world.now() + longest + Duration::from_secs(60);
        self.world.settle();
        while let Some(next) = self.world.next_moment().filter(|&next| next <= until) {
            self.world.set_time(next.max(self.world.now()));
            self.world.settle();
        }
        let standing = self.world.gateway().standing();
        assert!(
            self.world.gateway().is_idle(),
            "the gateway holds {standing:?}"
        );
        assert_eq!(self.world.upstreams(), 0, "every upstream is drained");
        assert_eq!(self.world.next_deadline(), None, "no timer is left");
        for (upstream, child) in self.world.children() {
            assert!(!child.lives(), "{upstream:?} lives");
        }
        self.debug_memory("end");
        let opened = self.world.opened().len();
        *self.counts.entry("children".to_owned()).or_default() += opened as u64;
    }

    /// No token stands anywhere but where it has to go.
    fn check_secrets(&self) {
        for record in self.world.audit() {
            assert!(!shows_token(&format!("{record:?}")), "{record:?}");
        }
        for line in self.world.warnings() {
            assert!(!shows_token(line), "{line}");
        }
        for (exchange, response) in self.clients.iter().flat_map(|client| {
            let asked = client.asked.keys();
            asked.map(|&exchange| (exchange, self.world.response(exchange)))
        }) {
            assert!(
                !shows_token(&format!("{:?}", response.head)),
                "{exchange:?}"
            );
        }
    }

    /// Each refused request has one record, and no child has read anything of it.
    fn check_refusals(&mut self) {
        let mut refused: BTreeMap<ExchangeId, u32> = BTreeMap::new();
        for record in self.world.audit() {
            let what = format!("audit {}", name(&record.event));
            *self.counts.entry(what).or_default() += 1;
            if let (Some(caller), Some(exchange)) = (&record.caller, record.exchange) {
                let client = (exchange.0 / PER_CLIENT) as usize;
                let from = self.clients[client].asked[&exchange].address;
                assert_eq!(caller.address, from, "{exchange:?} comes from elsewhere");
            }
            if let (AuditEvent::Refused(_), Some(exchange)) = (record.event, record.exchange) {
                *refused.entry(exchange).or_default() += 1;
            }
        }
        for client in &self.clients {
            for (&exchange, asked) in &client.asked {
                let response = self.world.response(exchange);
                let records = refused.get(&exchange).copied().unwrap_or(0);
                let status = response.status();
                *self.counts.entry(format!("status {status}")).or_default() += 1;
                let owner = asked.session.as_ref().and_then(|it| self.owners.get(it));
                let owner = owner.and_then(|&owner| self.outside.principal(owner));
                let foreign =
                    owner.is_some_and(|it| Some(it) != self.outside.principal(asked.borne));
                if foreign || asked.must_refuse {
                    assert!(status == 0 || status >= 400, "{exchange:?} was let in");
                    for marker in &asked.markers {
                        let read = self.ledger.sent[marker].read;
                        assert_eq!(read, 0, "{marker} was not to be let in and is read");
                    }
                    let what = if foreign { "foreign" } else { "unwelcome" };
                    *self.counts.entry(what.to_owned()).or_default() += 1;
                }
                if status == 401 {
                    assert!(
                        !self.must_allow(asked.borne),
                        "{exchange:?} bears a good token"
                    );
                }
                let body = String::from_utf8_lossy(&response.body);
                assert!(!shows_token(&body), "{body}");
                if status >= 400 {
                    assert_eq!(records, 1, "{exchange:?}: {}", response.text());
                    for marker in &asked.markers {
                        let read = self.ledger.sent[marker].read;
                        assert_eq!(read, 0, "{marker} was refused and read");
                    }
                } else if asked.markers.len() == 1 {
                    assert!(records <= 1, "{exchange:?}");
                }
                if asked.method == Method::DELETE && status == 204 {
                    assert_eq!(records, 0);
                }
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        let mut views = BTreeMap::new();
        for (number, client) in self.clients.iter().enumerate() {
            let mut view = View::default();
            for &exchange in client.asked.keys() {
                let response = self.world.response(exchange);
                let mut text = format!("{exchange:?} {}", response.status());
                if let Some(head) = &response.head {
                    head.for_each_field(|name, value| {
                        text += &format!("\n{name}: {}", value.to_str().expect("ASCII"));
                    });
                }
                text += &format!(
                    "\ncomplete: {}, dropped: {}\n\n{}",
                    response.complete,
                    response.dropped,
                    String::from_utf8_lossy(&response.body)
                );
                for session in &client.sessions {
                    text = text.replace(session.as_str(), "(session)");
                }
                view.responses.push(without_nonces(&text));
            }
            for &upstream in &client.children {
                let lines = self.world.child(upstream).lines.iter();
                let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
                view.lines.push(lines.collect());
            }
            for record in self.world.audit() {
                let child = |upstream| client.children.iter().position(|&own| own == upstream);
                let upstream = record.upstream.and_then(child);
                let by = record.exchange.map(|exchange| exchange.0 / PER_CLIENT);
                if upstream.is_some() || by == Some(number as u64) {
                    let exchange = record.exchange;
                    view.audit
                        .push(format!("{exchange:?} {upstream:?} {:?}", record.event));
                }
            }
            view.audit.sort_unstable();
            views.insert(number, view);
        }
        let hash = self.world.trace();
        Outcome {
            trace: hash,
            views,
            counts: std::mem::take(&mut self.counts),
        }
    }
}

/// Whether a token can be read in a text, or enough of one.
fn shows_token(text: &str) -> bool {
    text.contains("-secret") || text.contains("eyJ")
}

/// Event ids, perhaps cut short, without the part that is random.
fn without_nonces(text: &str) -> String {
    let mut parts = text.split("\nid: ");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let nonce = part
            .bytes()
            .take(8)
            .take_while(u8::is_ascii_hexdigit)
            .count();
        clean += "\nid: ";
        clean += &"*".repeat(nonce);
        clean += &part[nonce..];
    }
    clean
}

fn name(event: &AuditEvent) -> String {
    let text = format!("{event:?}");
    let end = text.find(" {").unwrap_or(text.len());
    text[..end].to_owned()
}
