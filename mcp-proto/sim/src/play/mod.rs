//! A world whose clients and children act by themselves, and a model that watches every byte.
//!
//! Clients and children decide by dice that depend on the seed and on who they are, never on the
//! driver's order. In lockstep one thing happens at a time, and all that follows from it before the
//! next: then the driver's freedom (order, cuts, batches, ticks) must not show in anything that a
//! peer receives. Without it, everything is late by as much as the dice say.

mod access;
mod addresses;
mod child;
mod client;
mod ending;
mod ledger;
mod memory;
mod modern;
mod outside;
mod plan;
mod tokens;
mod troubles;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_proto::{ExchangeId, Instant, Policy, UpstreamId};

use self::child::{Mind, Reaction};
use self::client::Client;
use self::ledger::Ledger;
use self::modern::{Eras, Modern, Round};
use self::outside::Question;
use self::plan::{BodyEnd, Op, StartEnd, Tone};
use self::tokens::{Borne, Outside};
use self::troubles::{Trouble, Troubled};
pub use self::view::{Outcome, View};
use crate::rng::{Rng, Seed, hash};
use crate::world::{BEGIN, BEGIN_UNIX, Event, Manner, Measure, World};

/// Requests of one client are named from this times its number on.
const PER_CLIENT: u64 = 1_000_000;

/// What to play.
#[derive(Clone, Debug)]
pub struct PlayOptions {
    /// Says what clients and children do.
    pub seed: Seed,
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
    pub fn wild(seed: &Seed) -> Self {
        let dice = &mut seed.dice("manner");
        let manner = Manner {
            order: dice.draw(),
            cuts: crate::Cuts::Random(dice.draw()),
            batches: crate::Batches::Random,
            wakes: *dice.pick(&[crate::Wakes::Due, crate::Wakes::Around]),
        };
        Self {
            seed: seed.clone(),
            manner,
            lockstep: false,
            calm: false,
            without: None,
            measure: None,
        }
    }

    /// A run in which one thing happens at a time.
    pub fn lockstep(seed: &Seed, manner: Manner) -> Self {
        Self {
            seed: seed.clone(),
            manner,
            lockstep: true,
            calm: true,
            without: None,
            measure: None,
        }
    }
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
    /// A server says this.
    Says {
        upstream: UpstreamId,
        line: String,
    },
    /// A server does what a call has it do.
    Move {
        upstream: UpstreamId,
        leg: String,
        step: usize,
    },
    Round(Box<Round>),
    /// A server does what a legacy session's call has it do.
    SessionStep {
        upstream: UpstreamId,
        call: String,
        step: usize,
        what: char,
    },
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
    modern: Modern,
    outside: Outside,
    /// Whose each session is, where somebody is asked.
    owners: BTreeMap<String, Borne>,
    agenda: BTreeMap<When, Act>,
    planned: u64,
    counts: BTreeMap<String, u64>,
    /// Whether a good part of the memory was ever used.
    is_full: bool,
}

impl Play {
    /// Plays to the end, and checks throughout that what has to hold holds.
    pub fn run(options: PlayOptions) -> Outcome {
        let tone = Tone { calm: options.calm };
        let count = 1 + options.seed.dice("clients").below(5);
        let mut limits = plan::limits(&options.seed, tone);
        let (auth, outside) =
            tokens::prepare(&options.seed, count, tone, &mut limits, BEGIN_UNIX, BEGIN);
        let eras = Eras::draw(&options.seed, count, tone, &mut limits);
        let policy = Policy {
            ports: vec![8080],
            // In a calm play nobody is the first who comes.
            startup_probe: match tone.calm {
                true => eras.discover,
                false => options.seed.number().is_multiple_of(4),
            },
            discover: eras.discover,
            share: eras.share,
            start_ahead: eras.start_ahead,
            auth,
            limits,
            ..Policy::default()
        };
        let mut play = Self {
            world: World::measured(policy, options.manner, options.measure),
            dice: options.seed.dice("play"),
            options,
            clients: (0..count).map(|_| Client::default()).collect(),
            troubled: Troubled::default(),
            minds: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ledger: Ledger {
                rewrites_envelopes: !eras.server.has_handshake(),
                ..Ledger::default()
            },
            modern: Modern::new(eras),
            outside,
            owners: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            counts: BTreeMap::new(),
            is_full: false,
        };
        play.world
            .note(format_args!("play {:?}", play.options.manner));
        let mut last = 0;
        for client in 0..count {
            let mut after = 1;
            let eras = &play.modern.eras;
            let plan = match eras.is_modern(client) {
                true => modern::plan(&play.options.seed, client, tone),
                false => plan::plan(&play.options.seed, client, tone),
            };
            for (number, (gap, op)) in plan.into_iter().enumerate() {
                after += gap;
                if play.options.without != Some(client) {
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
        play.check_legs();
        play.finish();
        play.check_refusals();
        play.check_access();
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
        let mut until = self.world.now() + last + 2 * patience;
        self.run_on();
        if !self.options.lockstep {
            // What was done at far deadlines was done later than planned.
            until = until.max(self.world.now() + 2 * patience);
        }
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
                let works = mind.is_none_or(|mind| mind.start.end != StartEnd::SpawnFails)
                    && self.server_starts(upstream);
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
            Act::Says { upstream, line } => {
                self.server_says(upstream, &line);
            }
            Act::Move {
                upstream,
                leg,
                step,
            } => self.server_moves(upstream, &leg, step),
            Act::Round(round) => self.return_round(&round),
            Act::SessionStep {
                upstream,
                call,
                step,
                what,
            } => self.session_step(upstream, &call, step, what),
            Act::Trouble(trouble) => self.befall(trouble),
            Act::Leave(exchange) => self.world.leave(exchange),
        }
    }

    /// Takes note of what has happened.
    fn hear(&mut self) {
        self.check_memory();
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

    fn spawn(&mut self, upstream: UpstreamId) {
        let opened = self.world.opened().iter().rev();
        let by = opened.clone().find(|(opened, _)| *opened == upstream);
        let by = by.and_then(|(_, by)| *by);
        let begins = |exchange: &ExchangeId| {
            let client = (exchange.0 / PER_CLIENT) as usize;
            self.clients[client].asked[exchange].is_start()
        };
        let Some(exchange) = by.filter(begins) else {
            if self.modern.eras.are_played() {
                return self.spawn_server(upstream);
            }
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
        if self.is_server(upstream) {
            return self.server_reads(upstream, line);
        }
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
        let answers = !self.options.seed.number().is_multiple_of(3);
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
            // A server without handshake is asked to begin one where no probe had an answer from it.
            StartEnd::Opens => {
                let refuses = !self.modern.eras.server.has_handshake();
                mind.opens(minted, &mut self.world, refuses);
            }
            StartEnd::Refuses => mind.opens(minted, &mut self.world, true),
            StartEnd::Exits => self.world.child_exits(upstream),
            StartEnd::Hangs | StartEnd::SpawnFails => {}
        }
    }
}
