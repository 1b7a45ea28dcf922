//! Clients of 2026-07-28, the server that they share children of, and what the model knows of both.
//!
//! A call may take several requests, its legs. A leg's marker stands in its `_meta`, where nothing that
//! a round is bound to is; the call's name stands in its parameters, with what the child is to do.

mod asks;
mod plan;
mod received;
mod server;
mod sessions;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use mcp_proto::{ExchangeId, Instant, Limits, Share, UpstreamId};

pub(super) use self::plan::{Ask, plan};
pub(super) use self::received::Round;
use self::server::Server;
use super::child::Mind;
use super::plan::Tone;
use super::tokens::Borne;
use crate::rng::Seed;

/// Stands in a template where `requestState` goes.
const STATE: &str = "\u{3}";
/// Stands in a result's template where what it lacks is put in.
const DONE: &str = "\u{4}";

/// What the wrapped server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Handshake,
    Both,
    Modern,
}

impl Speaks {
    pub(super) fn has_handshake(self) -> bool {
        self != Self::Modern
    }

    pub(super) fn is_modern(self) -> bool {
        self != Self::Handshake
    }
}

/// The eras of a play.
#[derive(Clone, Debug)]
pub(super) struct Eras {
    /// Whether the gateway finds out what the server speaks.
    pub(super) discover: bool,
    pub(super) server: Speaks,
    /// Whether a child is started for whoever comes next.
    pub(super) start_ahead: bool,
    pub(super) share: Share,
    /// Which clients speak 2026-07-28.
    clients: Vec<bool>,
}

impl Eras {
    /// Draws the eras, and the bounds that only modern requests meet.
    pub(super) fn draw(seed: &Seed, clients: usize, tone: Tone, limits: &mut Limits) -> Self {
        let dice = &mut seed.dice("eras");
        let pool = Share::Pool(NonZeroUsize::MIN.saturating_add(1));
        let server = *dice.pick(&[
            Speaks::Handshake,
            Speaks::Handshake,
            Speaks::Handshake,
            Speaks::Both,
            Speaks::Modern,
        ]);
        let share = *dice.pick(&[
            Share::Auto,
            Share::Auto,
            Share::PerSession,
            Share::PerPrincipal,
            Share::Shared,
            pool,
        ]);
        let is_modern = |dice: &mut crate::Rng| match server {
            // No legacy client is played where lateness may have the server taken for one without
            // handshake.
            Speaks::Both if !tone.calm => true,
            _ => dice.percent(40),
        };
        let clients: Vec<_> = (0..clients).map(|_| is_modern(dice)).collect();
        // Sessions that share children with a handshake are played in scenarios.
        let has_sessions = server.has_handshake() && clients.contains(&false);
        let share = match share {
            Share::PerPrincipal | Share::Shared | Share::Pool(_) if has_sessions => Share::Auto,
            share => share,
        };
        let start_ahead = dice.percent(50) && !tone.calm;
        limits.idle_host_time = Duration::from_secs(50);
        limits.discover_time = Duration::from_millis(500);
        limits.request_state_time = Duration::from_secs(*dice.pick(&[8, 900]));
        limits.hosts = *dice.pick(&[1, 2, 16]);
        limits.calls_per_child = *dice.pick(&[3, 1024]);
        if tone.calm {
            // Whoever has to wait for a child, or has to share its bounds, is told apart by others.
            limits.hosts = 1000;
            limits.calls_per_child = 1024;
            if clients.contains(&true) {
                // Those of one child are all subscriptions at it.
                limits.calls_per_session = 256;
            }
        }
        Self {
            discover: server.is_modern() || clients.contains(&true) && dice.percent(80),
            server,
            start_ahead,
            share: match tone.calm {
                true => Share::Auto,
                false => share,
            },
            clients,
        }
    }

    /// Whether anything is asked that only servers of these eras answer.
    pub(super) fn are_played(&self) -> bool {
        self.discover || self.clients.contains(&true)
    }

    pub(super) fn is_modern(&self, client: usize) -> bool {
        self.clients[client]
    }
}

/// A request of a modern client.
struct Leg {
    marker: String,
    /// The call that it is for.
    call: String,
    /// As raw JSON.
    id: String,
    token: String,
    template: String,
    borne: Borne,
    /// The child's own state that it brings, as far as the child knows it.
    state: Option<String>,
    /// The code of the error that it has to be answered with.
    must_fail: Option<i64>,
    /// How often a child has read it.
    read: u32,
    by: Option<UpstreamId>,
    answers: u32,
    /// Whether its end may be missed.
    lost: bool,
    /// When its connection was done.
    over: Option<Instant>,
}

/// What a modern client wants.
struct Call {
    client: usize,
    ask: Ask,
    id: String,
    token: String,
    legs: u32,
    /// How much children have said for its sake.
    words: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WordKind {
    Answer,
    InputRequired,
    Progress,
    Log,
    Question,
    Delivered,
}

/// What a child said for the sake of a call.
struct Word {
    call: String,
    template: String,
    kind: WordKind,
    /// Whether its child speaks a revision with a handshake.
    shook_hands: bool,
    /// The child's own state in it.
    state: Option<String>,
    read: u32,
}

/// What the model knows of modern clients and of the children that they share.
pub(super) struct Modern {
    pub(super) eras: Eras,
    calls: BTreeMap<String, Call>,
    legs: BTreeMap<ExchangeId, Leg>,
    /// By leg's marker.
    sent: BTreeMap<String, ExchangeId>,
    words: BTreeMap<String, Word>,
    servers: BTreeMap<UpstreamId, Server>,
    /// What children have in mind for legacy clients, by the client.
    sessions: BTreeMap<usize, Mind>,
    /// Where the calls of their sessions are.
    session_calls: BTreeMap<String, UpstreamId>,
}

impl Modern {
    pub(super) fn new(eras: Eras) -> Self {
        Self {
            eras,
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            sent: BTreeMap::new(),
            words: BTreeMap::new(),
            servers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            session_calls: BTreeMap::new(),
        }
    }

    /// The children that it knows of.
    pub(super) fn servers(&self) -> Vec<UpstreamId> {
        self.servers.keys().copied().collect()
    }

    /// Whether a request is a modern client's.
    pub(super) fn has(&self, exchange: ExchangeId) -> bool {
        self.legs.contains_key(&exchange)
    }

    /// Whether a request's answer may be a child's, whatever the status: it has read the request, or
    /// what the request brings back.
    pub(super) fn may_be_childs(&self, exchange: ExchangeId) -> bool {
        let leg = self.legs.get(&exchange);
        leg.is_some_and(|leg| leg.read + leg.answers > 0 || leg.template.contains(STATE))
    }
}
