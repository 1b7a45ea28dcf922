//! What peers, other servers and the operator do.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use mcp_proto::auth::{
    FetchFailure, FetchId, Fetched, SignatureFailure, SignatureId, StaticToken, Verdict,
    VerificationId,
};
use mcp_proto::{Exchange, ExchangeId, Instance, Now, Refusal, RequestHead, UpstreamId};

use super::{Wire, World};
use crate::request::{Request, Response};

/// What the ids begin with that are made in a world.
const INSTANCE: Instance = Instance([0x3f, 0x9a, 0x12, 0xc4]);

impl World {
    /// A client sends a request. `exchange` is a name that was not used before.
    pub fn send(&mut self, exchange: ExchangeId, request: Request) {
        self.note(format_args!("send {exchange:?} {}", request.method));
        let now = self.clocks();
        let limits = &self.gateway.policy().limits;
        let authority = request.authority.as_deref();
        let fields = request
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = RequestHead::new(&request.method, &request.target, authority, fields);
        let wire = Wire {
            exchange: self
                .held
                .by(|| Exchange::new(exchange, &head, INSTANCE, limits, now)),
            mail: VecDeque::new(),
            upload: request.body.clone(),
            uploading: !request.stalls,
            pipe: BytesMut::new(),
            reading: request.reads,
            leaves_at: request.leaves_at,
            upstream: None,
            ended: false,
            gone: false,
            response: Response::default(),
        };
        assert!(!self.responses.contains_key(&exchange));
        let before = self.wires.insert(exchange, wire);
        assert!(before.is_none(), "{exchange:?} is used twice");
        self.held.by(|| {
            let peer = request.peer;
            self.gateway.handle_request(exchange, peer, &head, now);
        });
        self.drain_gateway();
    }

    /// Another server has answered, or not.
    pub fn fetched(&mut self, fetch: FetchId, result: Result<Fetched, FetchFailure>) {
        self.note(format_args!("fetched {fetch:?}"));
        let now = self.clocks();
        self.held.by(|| {
            let result = result.as_ref().map(|fetched| Fetched {
                status: fetched.status,
                body: Bytes::copy_from_slice(&fetched.body),
            });
            let result = result.map_err(FetchFailure::clone);
            self.gateway.handle_fetched(fetch, result, now);
        });
        self.drain_gateway();
    }

    /// A signature was checked.
    pub fn checked(&mut self, signature: SignatureId, result: Result<bool, SignatureFailure>) {
        self.note(format_args!("checked {signature:?}"));
        let now = self.clocks();
        self.held.by(|| {
            self.gateway
                .handle_signature(signature, result.clone(), now);
        });
        self.drain_gateway();
    }

    /// The embedder has said what they think of a token.
    pub fn verified(&mut self, verification: VerificationId, verdict: Verdict) {
        self.note(format_args!("verified {verification:?}"));
        let now = self.clocks();
        self.held.by(|| {
            self.gateway
                .handle_verdict(verification, verdict.clone(), now);
        });
        self.drain_gateway();
    }

    /// The operator gives out other tokens.
    pub fn replace_tokens(&mut self, tokens: &[StaticToken]) {
        let now = self.clocks();
        self.held
            .by(|| self.gateway.handle_static_tokens(tokens, now));
        self.drain_gateway();
    }

    /// Audit records cannot be kept, or can again.
    pub fn audit_sink(&mut self, works: bool) {
        self.note(format_args!("audit sink {works}"));
        let now = self.clocks();
        self.held.by(|| self.gateway.handle_audit_sink(works, now));
        self.drain_gateway();
    }

    /// A client that held back its body sends it.
    pub fn upload(&mut self, exchange: ExchangeId) {
        if let Some(wire) = self.wires.get_mut(&exchange) {
            wire.uploading = true;
        }
    }

    /// The driver has no memory for more of this body.
    pub fn no_room(&mut self, exchange: ExchangeId) {
        self.note(format_args!("no room {exchange:?}"));
        self.with_exchange(exchange, Exchange::handle_no_room);
    }

    /// A body whose end cannot be found.
    pub fn body_malformed(&mut self, exchange: ExchangeId) {
        self.note(format_args!("malformed {exchange:?}"));
        self.with_exchange(exchange, |exchange, now| {
            exchange.handle_body_refused(Refusal::MalformedBody, now);
        });
    }

    fn with_exchange(&mut self, id: ExchangeId, handle: fn(&mut Exchange, Now)) {
        let now = self.clocks();
        if let Some(wire) = self.wires.get_mut(&id) {
            self.held.by(|| handle(&mut wire.exchange, now));
        }
        self.drain_exchange(id);
    }

    /// A client goes.
    pub fn leave(&mut self, exchange: ExchangeId) {
        self.note(format_args!("leave {exchange:?}"));
        self.hang_up(exchange);
    }

    /// A client stops reading, or reads on.
    pub fn set_reading(&mut self, exchange: ExchangeId, reading: bool) {
        self.note(format_args!("reading {exchange:?} {reading}"));
        if let Some(wire) = self.wires.get_mut(&exchange) {
            wire.reading = reading;
        }
    }

    /// A child runs, or could not be started.
    pub fn spawned(&mut self, upstream: UpstreamId, spawned: bool) {
        self.note(format_args!("spawned {upstream:?} {spawned}"));
        let now = self.clocks();
        self.child_mut(upstream).spawned(spawned);
        if let Some(line) = self.lines.get_mut(&upstream) {
            self.held.by(|| line.upstream.handle_spawned(spawned, now));
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

    /// Frees what came from a machine and was passed on.
    pub fn free<T>(&mut self, thing: T) {
        self.held.free(thing);
    }

    /// The driver's own code fails in a child's task: the child is killed, and whoever waits on it
    /// is told.
    pub fn lose(&mut self, upstream: UpstreamId) {
        let Some(mut line) = self.lines.remove(&upstream) else {
            return;
        };
        self.note(format_args!("lose {upstream:?}"));
        self.child_mut(upstream).lose();
        self.held.by(|| line.mail.clear());
        self.held.free(line.upstream);
        let now = self.clocks();
        self.held
            .by(|| self.gateway.handle_upstream_lost(upstream, now));
        self.drain_gateway();
        let waits = |(&id, wire): (&ExchangeId, &Wire)| {
            let waits = wire.upstream == Some(upstream) && !line.finished.contains(&id);
            waits.then_some(id)
        };
        for exchange in self.wires.iter().filter_map(waits).collect::<Vec<_>>() {
            self.with_exchange(exchange, Exchange::handle_upstream_lost);
        }
    }

    /// SIGTERM to the gateway.
    pub fn drain(&mut self) {
        self.note(format_args!("drain"));
        let now = self.clocks();
        self.held.by(|| self.gateway.handle_drain(now));
        self.drain_gateway();
    }
}
