//! Fake clients, and what they do.

mod received;

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::Method;
use mcp_proto::{ExchangeId, UpstreamId};

use super::ledger::{ID, SentKind, TOKEN, filler};
use super::plan::{BodyEnd, How, Op, Start, Step};
use super::tokens::Borne;
use super::{Act, PER_CLIENT, Play};
use crate::request::{Events, Request};
use crate::rng::hash;

/// A client.
#[derive(Default)]
pub(super) struct Client {
    session: Option<String>,
    version: String,
    next_request: u64,
    next_message: u64,
    calls: Vec<Call>,
    streams: Vec<Stream>,
    /// Every request, in order.
    pub(super) asked: BTreeMap<ExchangeId, Asked>,
    pub(super) children: Vec<UpstreamId>,
    /// Every session's id.
    pub(super) sessions: Vec<String>,
}

/// A request that a client sent.
pub(super) struct Asked {
    pub(super) method: Method,
    /// Of the messages in it.
    pub(super) markers: Vec<String>,
    stream: Option<usize>,
    start: Option<Start>,
    pub(super) session: Option<String>,
    pub(super) borne: Borne,
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// Whether nothing may come of it, for what it bears.
    pub(super) must_refuse: bool,
    /// How much of the body was looked at.
    looked: usize,
    has_head: bool,
    events: Events,
    over: bool,
    /// Whether it may stand open though nothing more will come: its client does not read, or has
    /// not sent all of it.
    excused: bool,
}

/// A call that a client made.
struct Call {
    marker: String,
    /// As raw JSON.
    id: String,
    token: String,
    stream: usize,
    answers: u32,
}

/// What belongs together, over all connections that carried it.
struct Stream {
    session: String,
    /// The revision of the session.
    version: String,
    /// Whether what comes on it may be missed: its client left for good, or does not read.
    lost: bool,
    /// Nonce and number.
    name: Option<String>,
    last_sequence: u64,
    last_id: Option<String>,
    resumed: u32,
}

impl Asked {
    /// Whether it may stand open though nothing more will come.
    pub(super) fn is_excused(&self) -> bool {
        self.excused
    }

    /// Whether it begins a session.
    pub(super) fn is_start(&self) -> bool {
        self.start.is_some()
    }
}

impl Client {
    pub(super) fn start_of(&self, exchange: ExchangeId) -> Start {
        let asked = &self.asked[&exchange];
        asked.start.clone().expect("it was an initialize")
    }

    fn open_calls(&self) -> Vec<usize> {
        let calls = self.calls.iter().enumerate();
        calls
            .filter(|(_, call)| call.answers == 0)
            .map(|(number, _)| number)
            .collect()
    }

    fn new_stream(&mut self, how: How) -> usize {
        self.streams.push(Stream {
            session: self.session.clone().unwrap_or_default(),
            version: self.version.clone(),
            lost: how.unread,
            name: None,
            last_sequence: 0,
            last_id: None,
            resumed: 0,
        });
        self.streams.len() - 1
    }

    /// An id and a progress token, as raw JSON: other clients use the same.
    pub(super) fn next_id(&mut self) -> (u64, String, String) {
        self.next_message += 1;
        let n = self.next_message;
        let id = match n % 6 {
            0 => format!("{n}"),
            1 => format!("\"{n}\""),
            2 => format!("18446744073709551616{n}"),
            3 => format!("\"\\u0061\\/{n}\""),
            4 => format!("-{n}"),
            _ => format!("\"\u{e9}{n}\""),
        };
        let token = match n % 3 {
            0 => "0".to_owned(),
            1 => format!("\"t{n}\""),
            _ => format!("{n}"),
        };
        (n, id, token)
    }
}

pub(super) fn describe(steps: &[Step]) -> String {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| format!("[{},\"{}\"]", step.after, step.what))
        .collect();
    format!("[{}]", steps.join(","))
}

// What clients do.
impl Play {
    pub(super) fn op(&mut self, client: usize, key: u64, op: Op) {
        match op {
            Op::Initialize(start) => self.initialize(client, start),
            Op::Call { .. } | Op::Again | Op::Stall(..)
                if self.clients[client].session.is_none() && !key.is_multiple_of(4) => {}
            Op::Call { steps, token, how } => {
                let (marker, text) = self.call(client, &steps, token, None);
                self.post_calls(client, vec![marker], text, how, false);
            }
            Op::Batch { calls, how } => self.batch(client, &calls, how),
            Op::Notify => {
                let marker = self.marker(client);
                let filler = filler(hash(marker.as_bytes()));
                let text = format!(
                    "\r\n{{\"jsonrpc\":\"2.0\",\n\"method\":\"notifications/x\",\"params\":{{\"marker\":\"{marker}\", \"x\":{filler}}}}}\n"
                );
                self.say(client, &marker, &text, SentKind::Notification);
            }
            Op::Cancel { bogus } => self.cancel(client, key, bogus),
            Op::Unasked => {
                let marker = self.marker(client);
                let text = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":777{key},\"result\":{{\"marker\":\"{marker}\"}}}}"
                );
                self.say(client, &marker, &text, SentKind::Bogus);
            }
            Op::Listen { how } => {
                let Some(session) = self.clients[client].session.clone() else {
                    return;
                };
                let stream = self.clients[client].new_stream(how);
                let request = dress(Request::get().session(&session), how);
                let exchange = self.send(client, request, vec![], Some(stream), None);
                self.read_late(client, exchange, how);
            }
            Op::Leave => {
                let asked = self.clients[client].asked.iter();
                let open: Vec<_> = asked.filter(|(_, asked)| !asked.over).collect();
                if !open.is_empty() {
                    let exchange = *open[key as usize % open.len()].0;
                    self.count("leave");
                    self.world.leave(exchange);
                }
            }
            Op::Bad(choice) => self.bad(client, choice),
            Op::Again => {
                let open = self.clients[client].open_calls();
                let open = open
                    .last()
                    .map(|&call| self.clients[client].calls[call].id.clone());
                if let Some(id) = open {
                    let steps = [Step {
                        after: 5,
                        what: 'a',
                    }];
                    let (marker, text) = self.call(client, &steps, false, Some(id));
                    self.post_calls(client, vec![marker], text, How::default(), false);
                }
            }
            Op::Forge => self.forge(client, key),
            Op::Stall(end, after) => {
                let steps = [Step {
                    after: 5,
                    what: 'a',
                }];
                let (marker, text) = self.call(client, &steps, false, None);
                if end != BodyEnd::Whole {
                    self.ledger.sent.get_mut(&marker).expect("sent").kind = SentKind::Bogus;
                }
                let exchange = self.post_calls(client, vec![marker], text, How::default(), true);
                self.count(&format!("body {end:?}"));
                if end != BodyEnd::Never {
                    self.plan(after, client, key, Act::EndBody(exchange, end));
                }
            }
            Op::Ask(ask) => self.ask(client, *ask),
            Op::Strange(choice) => self.strange(client, choice),
            Op::Delete => {
                let Some(session) = self.clients[client].session.take() else {
                    return;
                };
                self.send(
                    client,
                    Request::delete().session(&session),
                    vec![],
                    None,
                    None,
                );
            }
        }
    }

    fn marker(&mut self, client: usize) -> String {
        self.clients[client].next_message += 1;
        format!("c{client}.{}", self.clients[client].next_message)
    }

    fn send(
        &mut self,
        client: usize,
        request: Request,
        markers: Vec<String>,
        stream: Option<usize>,
        start: Option<Start>,
    ) -> ExchangeId {
        self.send_bearing(client, request, None, markers, stream, start)
    }

    /// Sends a request that bears this, or whatever the dice say.
    pub(super) fn send_bearing(
        &mut self,
        client: usize,
        request: Request,
        borne: Option<Borne>,
        markers: Vec<String>,
        stream: Option<usize>,
        start: Option<Start>,
    ) -> ExchangeId {
        let number = self.clients[client].next_request + 1;
        let borne =
            borne.unwrap_or_else(|| self.choose_credential(client, number, start.is_some()));
        let must_refuse = self.must_refuse(borne) || self.troubled.sink_fails;
        let request = self.dress_credential(borne, request);
        let (request, address) = self.address(client, number, request);
        let this = &mut self.clients[client];
        this.next_request = number;
        let exchange = ExchangeId(client as u64 * PER_CLIENT + number);
        let asked = Asked {
            borne,
            address,
            must_refuse,
            method: request.method.clone(),
            markers,
            stream,
            start,
            session: this.session.clone(),
            looked: 0,
            has_head: false,
            events: Events::default(),
            over: false,
            excused: request.stalls || !request.reads,
        };
        this.asked.insert(exchange, asked);
        self.world.send(exchange, Self::dress_id(exchange, request));
        exchange
    }

    /// Posts one message that is no call.
    fn say(&mut self, client: usize, marker: &str, text: &str, kind: SentKind) {
        let Some(session) = self.clients[client].session.clone() else {
            return;
        };
        self.ledger.send(client, marker, text, kind);
        let request = Request::post(text.to_owned()).session(&session);
        self.send(client, request, vec![marker.to_owned()], None, None);
    }

    fn initialize(&mut self, client: usize, start: Start) {
        let this = &mut self.clients[client];
        if this.session.is_some() {
            // In an open session it is refused.
            return self.bad(client, 4);
        }
        let (n, id, _) = this.next_id();
        let marker = format!("c{client}.i{n}");
        let version = start.version;
        let template = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{ID},\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{version}\",\n\"capabilities\":{{\"elicitation\":{{}}}},\"marker\":\"{marker}\"}}}}"
        );
        let stream = this.new_stream(How::default());
        // A translation speaks no revision that has to be offered to it.
        let is_offered = version == "2024-11-05" && self.ledger.rewrites_envelopes;
        let spoken = if is_offered { "2025-11-25" } else { version };
        spoken.clone_into(&mut this.streams[stream].version);
        this.calls.push(Call {
            marker: marker.clone(),
            id: id.clone(),
            token: String::new(),
            stream,
            answers: 0,
        });
        self.ledger
            .send(client, &marker, &template, SentKind::Initialize);
        let request = Request::post(template.replace(ID, &id));
        let leaves_after = start.leaves_after;
        let markers = vec![marker];
        let exchange = self.send(client, request, markers, Some(stream), Some(start));
        if let Some(after) = leaves_after {
            self.plan(after, client, 0, Act::Leave(exchange));
        }
    }

    pub(super) fn initialized(&mut self, client: usize, session: &str) {
        if self.clients[client].session.as_deref() == Some(session) {
            let marker = self.marker(client);
            let text = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\",\"params\":{{\"marker\":\"{marker}\"}}}}"
            );
            self.say(client, &marker, &text, SentKind::Notification);
        }
    }

    /// Makes a call, which waits to be posted; returns its marker and its text.
    fn call(
        &mut self,
        client: usize,
        steps: &[Step],
        with_token: bool,
        id: Option<String>,
    ) -> (String, String) {
        let this = &mut self.clients[client];
        let (n, new_id, token) = this.next_id();
        let id = id.unwrap_or(new_id);
        let marker = format!("c{client}.{n}");
        let steps = describe(steps);
        let filler = filler(hash(marker.as_bytes()));
        let meta = if with_token {
            format!(",\"_meta\":{{\"x\":1,\"progressToken\": {TOKEN} }}")
        } else {
            String::new()
        };
        let template = match n % 3 {
            0 => format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{ID},\"method\":\"tools/call\",\"params\":{{\"marker\":\"{marker}\",\"do\":{steps},\"x\":{filler}{meta}}}}}"
            ),
            1 => format!(
                "\n{{\n  \"params\": {{\r\n \"x\": {filler}, \"marker\":\"{marker}\",\n\"do\":\n{steps}{meta} }},\n  \"id\" : {ID},\n  \"method\": \"tools/call\",\n  \"jsonrpc\": \"2.0\"\n}}\n"
            ),
            _ => format!(
                "{{\"method\":\"tools/call\",\"unknown\":{filler},\"params\":{{\"do\":{steps},\"marker\":\"{marker}\"{meta}}},\"jsonrpc\":\"2.0\",\"\\u0069d\":\t{ID}}}"
            ),
        };
        let text = template.replace(ID, &id).replace(TOKEN, &token);
        let raw_id = id.clone();
        let stream = this.streams.len();
        this.calls.push(Call {
            marker: marker.clone(),
            id,
            token,
            stream,
            answers: 0,
        });
        let kind = if self.clients[client].session.is_some() {
            SentKind::Call
        } else {
            SentKind::Bogus
        };
        self.ledger.send(client, &marker, &template, kind);
        self.ledger.sent.get_mut(&marker).expect("sent").id = raw_id;
        (marker, text)
    }

    /// Posts calls that were just made; without a session, to see them refused.
    fn post_calls(
        &mut self,
        client: usize,
        markers: Vec<String>,
        text: String,
        how: How,
        stalls: bool,
    ) -> ExchangeId {
        let stream = self.clients[client].new_stream(how);
        let mut request = dress(Request::post(text), how);
        if let Some(session) = self.clients[client].session.clone() {
            request = request.session(&session);
        }
        if stalls {
            request = request.stalling();
        }
        let exchange = self.send(client, request, markers, Some(stream), None);
        self.read_late(client, exchange, how);
        exchange
    }

    fn batch(&mut self, client: usize, calls: &[Vec<Step>], how: How) {
        if self.clients[client].session.is_none() {
            return;
        }
        let mut markers = Vec::new();
        let mut texts = Vec::new();
        for steps in calls {
            let (marker, text) = self.call(client, steps, true, None);
            markers.push(marker);
            texts.push(text);
        }
        let note = self.marker(client);
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":{{\"marker\":\"{note}\"}}}}"
        );
        self.ledger
            .send(client, &note, &text, SentKind::Notification);
        texts.insert(1, text);
        markers.push(note);
        self.count("batch");
        self.post_calls(
            client,
            markers,
            format!(" [{}\n] ", texts.join(" ,\n")),
            how,
            false,
        );
    }

    fn cancel(&mut self, client: usize, key: u64, bogus: bool) {
        let open = self.clients[client].open_calls();
        let marker = self.marker(client);
        let template = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\": {ID} ,\"marker\":\"{marker}\"}}}}"
        );
        let (kind, id) = if bogus || open.is_empty() {
            (SentKind::Bogus, "424242".to_owned())
        } else {
            let calls = &self.clients[client].calls;
            let id = calls[open[key as usize % open.len()]].id.clone();
            (SentKind::Cancel(id.clone()), id)
        };
        let Some(session) = self.clients[client].session.clone() else {
            return;
        };
        self.ledger.send(client, &marker, &template, kind);
        let request = Request::post(template.replace(ID, &id)).session(&session);
        self.send(client, request, vec![marker], None, None);
    }

    fn bad(&mut self, client: usize, choice: u64) {
        let marker = self.marker(client);
        let params = format!("\"params\":{{\"marker\":\"{marker}\"}}");
        let batches = self.clients[client].version == "2025-03-26";
        let text = match choice % 7 {
            0 => format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\",{params}}}"),
            1 => format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",{params}}}}}"),
            2 => format!("{{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\",{params}}}"),
            3 if !batches => {
                format!("[{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",{params}}}]")
            }
            4 => format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",{params}}}"),
            5 => format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"result\":1,{params}}}"
            ),
            _ => format!("\u{feff}{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",{params}}}"),
        };
        self.say(client, &marker, &text, SentKind::Bogus);
    }

    /// Sends a message whose head forbids it.
    fn strange(&mut self, client: usize, choice: u64) {
        let Some(session) = self.clients[client].session.clone() else {
            return;
        };
        let marker = self.marker(client);
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":{{\"marker\":\"{marker}\"}}}}"
        );
        self.ledger.send(client, &marker, &text, SentKind::Bogus);
        let request = Request::post(text).session(&session);
        let request = match choice % 10 {
            0 => request.without("host"),
            1 => request.with("host", "rebound.example"),
            2 => request.field("origin", "http://127.0.0.1.evil"),
            3 => request.with("content-type", "text/plain"),
            4 => request.with("accept", "application/json"),
            5 => request.field("mcp-session-id", &session),
            6 => request.with("mcp-session-id", &session.replace(['0', '1'], "2")),
            7 => request.field("mcp-protocol-version", "1999-12-31"),
            8 => request.field("content-encoding", "gzip"),
            _ => request.without("mcp-session-id"),
        };
        self.count("strange");
        let exchange = self.send(client, request, vec![marker], None, None);
        let asked = self.clients[client].asked.get_mut(&exchange);
        let asked = asked.expect("it was sent");
        asked.must_refuse = true;
        asked.session = None;
    }

    /// A client that did not read begins to.
    pub(super) fn read_late(&mut self, client: usize, exchange: ExchangeId, how: How) {
        if let Some(after) = how.late.filter(|_| !how.unread) {
            self.count("slow reader");
            self.plan(after, client, 4, Act::Read(exchange));
        }
    }

    fn forge(&mut self, client: usize, key: u64) {
        let Some(session) = self.clients[client].session.clone() else {
            return;
        };
        let own = self.clients[client].streams.iter();
        let own = own.rev().find_map(|stream| stream.name.clone());
        let id = match (key % 3, own) {
            (0, Some(name)) => format!("{name}-99999"),
            (1, Some(name)) => format!("0{}-0", &name[..name.len() - 1]),
            _ => "forged".to_owned(),
        };
        self.count("forge");
        let request = Request::get().session(&session).field("last-event-id", &id);
        let exchange = self.send(client, request, vec![], None, None);
        self.clients[client]
            .asked
            .get_mut(&exchange)
            .expect("sent")
            .markers
            .clear();
    }

    pub(super) fn resume(&mut self, client: usize, stream: usize) {
        let this = &mut self.clients[client];
        let of = &mut this.streams[stream];
        let last = of.last_id.clone().expect("an id to resume from");
        of.resumed += 1;
        let session = of.session.clone();
        self.count("resume");
        let request = Request::get()
            .session(&session)
            .field("last-event-id", &last);
        self.send(client, request, vec![], Some(stream), None);
    }

    pub(super) fn answer(&mut self, client: usize, request: &str, session: &str, again: bool) {
        let id = self.ledger.said[request].minted.clone();
        let marker = self.marker(client);
        let template = format!(
            "{{\"jsonrpc\":\"2.0\",\"result\":{{\"marker\":\"{marker}\",\"action\":\"accept\"}},\r\n\"id\":{ID}}}"
        );
        let kind = SentKind::Answer(request.to_owned());
        self.ledger.send(client, &marker, &template, kind);
        let post = Request::post(template.replace(ID, &id)).session(session);
        self.send(client, post, vec![marker], None, None);
        if again {
            let act = Act::Answer {
                request: request.to_owned(),
                session: session.to_owned(),
                again: false,
            };
            self.plan(hash(request.as_bytes()) % 3, client, 3, act);
        }
    }
}

pub(super) fn dress(request: Request, how: How) -> Request {
    let request = if how.unread || how.late.is_some() {
        request.unread()
    } else {
        request
    };
    match how.leaves_at {
        Some(bytes) if !how.unread => request.leaving_at(bytes),
        _ => request,
    }
}
