//! What clients receive, and what the model expects them to.

use http::Method;
use mcp_proto::{AuditEvent, ExchangeId, UpstreamId};
use serde_json::Value;

use crate::play::ledger::{SaidKind, SentKind, fields, marker};
use crate::play::{Act, PER_CLIENT, Play};
use crate::request::Event as StreamEvent;
use crate::rng::hash;

impl Play {
    /// Looks at what has come of a response.
    pub(in crate::play) fn received(&mut self, exchange: ExchangeId) {
        let client = (exchange.0 / PER_CLIENT) as usize;
        let response = self.world.response(exchange);
        let asked = self.clients[client]
            .asked
            .get_mut(&exchange)
            .expect("asked");
        if response.head.is_none() || asked.over {
            return;
        }
        let is_first = !std::mem::replace(&mut asked.has_head, true);
        let named = response.field("mcp-session-id").filter(|_| is_first);
        let events = if response.is_stream() {
            let events = asked.events.read(&response.body[asked.looked..]);
            asked.looked = response.body.len();
            events
        } else {
            vec![]
        };
        if let Some(session) = named {
            let asked = &self.clients[client].asked[&exchange];
            assert!(asked.start.is_some(), "only initialize names a session");
            let stream = asked.stream.expect("it is a call");
            self.clients[client].streams[stream].session = session.clone();
            self.clients[client].sessions.push(session.clone());
            let opened = self.world.opened().iter();
            let opened = opened.clone().find(|(_, by)| *by == Some(exchange));
            let (upstream, _) = opened.expect("a session has a child");
            let borne = self.clients[client].asked[&exchange].borne;
            self.owners.insert(session.clone(), borne);
            self.sessions.insert(session, *upstream);
        }
        if self.modern.has(exchange) {
            for event in events {
                assert_eq!(event.id, None, "there is nothing to resume");
                let text = String::from_utf8(event.data).expect("UTF-8");
                self.modern_message(exchange, &text);
            }
            return;
        }
        let stream = self.clients[client].asked[&exchange].stream;
        for event in events {
            let stream = stream.expect("only what may stream does");
            self.event(client, stream, event);
        }
    }

    fn event(&mut self, client: usize, stream: usize, event: StreamEvent) {
        let this = &mut self.clients[client];
        let of = &mut this.streams[stream];
        let id = event.id.expect("every event has an id");
        let (name, sequence) = id.rsplit_once('-').expect("an event id");
        let sequence: u64 = sequence.parse().expect("a number");
        match &of.name {
            Some(known) => assert_eq!(known, name, "one stream, one name"),
            None => of.name = Some(name.to_owned()),
        }
        if event.data.is_empty() {
            assert_eq!(of.version, "2025-11-25", "others get no empty event");
            assert_eq!(sequence, of.last_sequence, "a cursor stands where it stood");
            of.last_id = Some(id);
            return;
        }
        assert_eq!(
            sequence,
            of.last_sequence + 1,
            "nothing is lost, nothing comes twice"
        );
        of.last_sequence = sequence;
        of.last_id = Some(id);
        let text = String::from_utf8(event.data).expect("UTF-8");
        self.message(client, stream, &text);
    }

    fn message(&mut self, client: usize, stream: usize, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let id = message.get("id");
        // As it is written.
        let id = id.map(|_| fields(text)["id"].get().to_owned());
        let marker = marker(&message);
        match (message.get("method"), id) {
            (None, Some(id)) => self.answered(client, stream, text, &message, &id, marker),
            (Some(_), Some(id)) => {
                let marker = marker.expect("the gateway asks nothing");
                let kind = self.ledger.said.get(&marker).map(|said| said.kind.clone());
                assert!(matches!(kind, Some(SaidKind::Request(_))), "{text}");
                self.ledger.client_reads(client, &marker, text, &id);
                self.ledger.said.get_mut(&marker).expect("said").minted = id;
                self.count("asked");
                let choice = hash(marker.as_bytes());
                let session = self.clients[client].streams[stream].session.clone();
                if !choice.is_multiple_of(10) {
                    let again = choice % 10 == 1;
                    let act = Act::Answer {
                        request: marker,
                        session,
                        again,
                    };
                    self.plan((choice >> 8) % 700, client, choice, act);
                }
            }
            (Some(_), None) => self.notified(client, stream, text, &message, marker),
            (None, None) => panic!("no message: {text}"),
        }
    }

    fn notified(
        &mut self,
        client: usize,
        stream: usize,
        text: &str,
        message: &Value,
        marker: Option<String>,
    ) {
        let Some(marker) = marker else {
            assert_eq!(message["method"], "notifications/cancelled", "{text}");
            // A translation that takes its question back does not say why.
            let reason = &message["params"]["reason"];
            let is_translated = !self.modern.eras.server.has_handshake() && reason.is_null();
            assert!(is_translated || reason == "timed out", "{text}");
            return;
        };
        let kind = self.ledger.said.get(&marker).map(|said| said.kind.clone());
        let known = match kind {
            Some(SaidKind::Notification) => String::new(),
            Some(SaidKind::Progress(call)) => {
                let calls = self.clients[client].calls.iter();
                let call = calls.clone().find(|other| other.marker == call);
                let call = call.expect("progress on a call of this client");
                assert_eq!(call.stream, stream, "progress goes with its call");
                call.token.clone()
            }
            Some(SaidKind::Cancel(request)) => {
                let id = message["params"]["requestId"].to_string();
                let cancelled = &self.ledger.said[&request];
                // Of two requests with one id, it may be the other that is left to cancel; a slow
                // reader may have to read of it yet.
                let same = self.ledger.said.values().any(|said| {
                    said.upstream == cancelled.upstream
                        && said.kind == cancelled.kind
                        && (said.minted == id || said.read == 0)
                });
                // The request may be on a stream that this client lost.
                let lost = self.clients[client]
                    .streams
                    .iter()
                    .any(|stream| stream.lost);
                assert!(same || lost || !self.options.lockstep, "{text}");
                id
            }
            kind => panic!("{text} is {kind:?}"),
        };
        self.ledger.client_reads(client, &marker, text, &known);
    }

    fn answered(
        &mut self,
        client: usize,
        stream: usize,
        text: &str,
        message: &Value,
        id: &str,
        marker: Option<String>,
    ) {
        let calls = self.clients[client].calls.iter_mut();
        let mut calls = calls.filter(|call| call.stream == stream && call.id == id);
        let call = calls
            .next()
            .unwrap_or_else(|| panic!("nobody asked for {text}"));
        call.answers += 1;
        assert_eq!(call.answers, 1, "answered twice: {text}");
        let is_initialize = self.ledger.sent[&call.marker].kind == SentKind::Initialize;
        if let Some(marker) = marker {
            let kind = SaidKind::Answer(call.marker.clone());
            let said = self.ledger.said.get(&marker);
            assert_eq!(said.map(|said| &said.kind), Some(&kind), "{text}");
            self.ledger.client_reads(client, &marker, text, id);
            self.count("answers");
        } else if is_initialize && message["result"].is_object() {
            let this = &mut self.clients[client];
            let version = this.streams[stream].version.clone();
            assert_eq!(message["result"]["protocolVersion"], version.as_str());
            this.version = version;
            let session = this.streams[stream].session.clone();
            assert!(!session.is_empty(), "the answer names the session");
            this.session = Some(session.clone());
            self.plan(1, client, 2, Act::Initialized { session });
        } else {
            let code = message["error"]["code"].as_i64();
            let own = [-32000, -32001, -32602, -32603];
            assert!(code.is_some_and(|code| own.contains(&code)), "{text}");
            self.count(&format!("error {}", code.unwrap_or_default()));
        }
    }

    /// A connection is done.
    pub(in crate::play) fn over(&mut self, exchange: ExchangeId) {
        let client = (exchange.0 / PER_CLIENT) as usize;
        let response = self.world.response(exchange).clone();
        let this = &mut self.clients[client];
        let asked = this.asked.get_mut(&exchange).expect("asked");
        if std::mem::replace(&mut asked.over, true) {
            return;
        }
        let session = asked.session.clone();
        let is_post = asked.method == Method::POST;
        let stream = asked.stream;
        let status = response.status();
        if let Some(length) = response.head.as_ref().and_then(|head| head.length)
            && response.complete
        {
            assert_eq!(
                length,
                response.body.len() as u64,
                "the length that was told"
            );
        }
        if response.dropped && !self.modern.has(exchange) {
            self.count("dropped");
        }
        if self.modern.has(exchange) {
            return self.modern_over(exchange);
        }
        let this = &mut self.clients[client];
        let asked = &this.asked[&exchange];
        let own = session.as_ref().and_then(|it| self.owners.get(it));
        let own = own.is_none_or(|&owner| {
            self.outside.principal(owner) == self.outside.principal(asked.borne)
        });
        if status == 404 && own && session.is_some() && this.session == session {
            this.session = None;
        }
        let Some(stream) = stream else {
            let asked = &this.asked[&exchange];
            if asked.method == Method::GET && response.complete {
                assert!(status >= 400, "nobody resumes from a forged id");
            }
            return;
        };
        match status {
            200 if response.is_stream() => {
                let ended = response.complete && self.token_ended(exchange);
                self.stream_over(client, stream, response.complete, ended);
            }
            200 if response.complete => {
                let text = response.text().to_owned();
                self.message(client, stream, &text);
            }
            202 => panic!("a call is not merely accepted"),
            204 => {
                let calls = this.calls.iter().filter(|call| call.stream == stream);
                let resumed = this.streams[stream].resumed > 0;
                assert!(resumed && calls.clone().all(|call| call.answers == 1));
                self.count("nothing to resume");
            }
            status => {
                let refused = status >= 400 && response.complete;
                assert!(refused || !response.complete, "{status}");
                if refused && is_post {
                    let body = response.json();
                    assert!(body["error"]["code"].is_number(), "{body}");
                }
                this.streams[stream].lost = true;
            }
        }
    }

    /// Whether a stream was closed since its token was not good any more.
    pub(in crate::play) fn token_ended(&mut self, exchange: ExchangeId) -> bool {
        let ended = self.world.audit().iter().any(|record| {
            record.event == AuditEvent::TokenEnded && record.exchange == Some(exchange)
        });
        if ended {
            self.count("token ended");
        }
        ended
    }

    fn stream_over(&mut self, client: usize, stream: usize, complete: bool, ended: bool) {
        let this = &mut self.clients[client];
        let unanswered = this
            .calls
            .iter()
            .any(|call| call.stream == stream && call.answers == 0);
        let of = &mut this.streams[stream];
        let can_resume = of.last_id.is_some() && !of.lost;
        if complete {
            let is_call = this.calls.iter().any(|call| call.stream == stream);
            let child = self.sessions.get(&of.session);
            let lost = child.is_some_and(|&child| self.world.child(child).is_lost());
            if lost || ended && (!is_call || !can_resume) {
                of.lost = true;
                return;
            }
            if is_call && unanswered && !of.lost {
                assert!(can_resume, "a stream ends without its answers");
                self.plan(20, client, stream as u64, Act::Resume { stream });
                self.count("poll");
            }
            return;
        }
        let choice = hash(format!("{client}.{stream}.{}", of.resumed).as_bytes());
        if can_resume && !choice.is_multiple_of(4) && of.resumed < 5 {
            let after = (choice >> 8) % 900;
            self.plan(after, client, stream as u64, Act::Resume { stream });
        } else {
            of.lost = true;
        }
    }

    /// What comes on this connection may be missed from now on.
    pub(in crate::play) fn forgive(&mut self, exchange: ExchangeId) {
        let client = (exchange.0 / PER_CLIENT) as usize;
        if let Some(stream) = self.clients[client].asked[&exchange].stream {
            self.clients[client].streams[stream].lost = true;
        }
    }

    /// Whoever waits on a child that has ended has heard of it.
    pub(in crate::play) fn check_end(&self, client: usize, upstream: UpstreamId) {
        for (exchange, asked) in &self.clients[client].asked {
            let session = asked.session.as_ref();
            let child = session.and_then(|session| self.sessions.get(session));
            // Nor has anyone been given to the child who waits for a verdict.
            if child == Some(&upstream) && !asked.excused && !self.outside.is_open(asked.borne) {
                assert!(asked.over, "{exchange:?} waits on a child that has ended");
            }
        }
    }

    /// Every call that was admitted has been answered, unless its client gave up on it.
    pub(in crate::play) fn check_calls(&self) {
        for (number, client) in self.clients.iter().enumerate() {
            for call in &client.calls {
                let sent = client
                    .asked
                    .values()
                    .any(|asked| asked.markers.contains(&call.marker));
                let lost = client
                    .streams
                    .get(call.stream)
                    .is_none_or(|stream| stream.lost);
                assert!(
                    call.answers == 1 || lost || !sent,
                    "client {number} never got an answer to {}",
                    call.marker
                );
            }
        }
    }
}
