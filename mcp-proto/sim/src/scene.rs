//! A world whose clients and children a test plays line by line.

use std::collections::VecDeque;
use std::time::Duration;

use mcp_proto::{AuditEvent, Era, ExchangeId, Instant, Limits, Policy, Refusal, UpstreamId};
use serde_json::Value;

use crate::request::{Request, Response};
use crate::world::{Event, Manner, Measure, World};

/// A request that was sent.
pub type Asked = ExchangeId;

/// The policy of most tests: a gateway on port 8080, without a probe, in front of
/// a server that has a handshake.
pub fn policy() -> Policy {
    Policy {
        ports: vec![8080],
        startup_probe: false,
        discover: false,
        ..Policy::default()
    }
}

/// An open session and its child.
#[derive(Debug)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Its child.
    pub upstream: UpstreamId,
}

impl From<&Session> for UpstreamId {
    fn from(session: &Session) -> Self {
        session.upstream
    }
}

/// A request of 2026-07-28. What it is made of is raw JSON.
#[derive(Clone, Debug)]
pub struct Ask {
    id: String,
    method: String,
    params: String,
    capabilities: String,
    meta: String,
}

impl Ask {
    /// A request by a client that can do nothing. `params` are members, or nothing.
    pub fn new(id: &str, method: &str, params: &str) -> Self {
        Self {
            id: id.to_owned(),
            method: method.to_owned(),
            params: params.to_owned(),
            capabilities: "{}".to_owned(),
            meta: String::new(),
        }
    }

    /// By a client of these capabilities.
    pub fn capabilities(mut self, capabilities: &str) -> Self {
        capabilities.clone_into(&mut self.capabilities);
        self
    }

    /// With one more member of its parameters.
    pub fn param(mut self, member: &str) -> Self {
        if !self.params.is_empty() {
            self.params.push(',');
        }
        self.params.push_str(member);
        self
    }

    /// With one more member of `_meta`.
    pub fn meta(mut self, member: &str) -> Self {
        self.meta.push(',');
        self.meta.push_str(member);
        self
    }

    /// Under another id.
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The message.
    pub fn text(&self) -> String {
        let Self {
            id,
            method,
            params,
            capabilities,
            meta,
        } = self;
        let comma = if params.is_empty() { "" } else { "," };
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{params}{comma}\"_meta\":{{\
             \"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
             \"io.modelcontextprotocol/clientInfo\":{{\"name\":\"c\",\"version\":\"0\"}},\
             \"io.modelcontextprotocol/clientCapabilities\":{capabilities}{meta}}}}}}}"
        )
    }

    /// The message and the head that goes with it.
    pub fn request(&self) -> Request {
        Request::modern(self.text())
    }
}

/// What becomes of children that are to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spawning {
    Works,
    Fails,
    Waits,
}

/// A world whose clients and children a test plays line by line. Whatever is done to it, all that
/// follows has happened when the call returns.
pub struct Scene {
    /// The world.
    pub world: World,
    /// What others than clients and children are asked, oldest first.
    pub outside: VecDeque<Event>,
    next: u64,
    spawning: Spawning,
    held: Vec<UpstreamId>,
    /// What requests bear that say nothing of it themselves.
    token: Option<String>,
    /// Children that were to be started, which the test has not asked for.
    started: Vec<UpstreamId>,
    /// How many lines of each child the test has seen.
    heard: std::collections::BTreeMap<UpstreamId, usize>,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// With the default limits.
    pub fn new() -> Self {
        Self::of(policy())
    }

    /// With other limits.
    pub fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut policy = policy();
        change(&mut policy.limits);
        Self::of(policy)
    }

    /// With a policy.
    pub fn of(policy: Policy) -> Self {
        Self::measured(policy, None)
    }

    /// The same, with an account of what the machines allocate.
    pub fn measured(policy: Policy, measure: Option<Measure>) -> Self {
        Self::in_world(World::measured(policy, Manner::default(), measure))
    }

    /// Another process of the same gateway.
    pub fn replica(policy: Policy) -> Self {
        Self::in_world(World::replica(policy, Manner::default()))
    }

    fn in_world(world: World) -> Self {
        let mut scene = Self {
            world,
            outside: VecDeque::new(),
            next: 0,
            spawning: Spawning::Works,
            held: Vec::new(),
            token: None,
            started: Vec::new(),
            heard: std::collections::BTreeMap::new(),
        };
        scene.settle();
        scene
    }

    /// Lets everything happen that follows.
    pub fn settle(&mut self) {
        loop {
            self.world.settle();
            while let Some(event) = self.world.next_event() {
                if let Event::Spawn(upstream) = event {
                    self.started.push(upstream);
                }
                match (event, self.spawning) {
                    (Event::Spawn(upstream), Spawning::Works) => {
                        self.world.spawned(upstream, true);
                    }
                    (Event::Spawn(upstream), Spawning::Fails) => {
                        self.world.spawned(upstream, false);
                    }
                    (Event::Spawn(upstream), Spawning::Waits) => self.held.push(upstream),
                    (
                        event @ (Event::Fetch(_)
                        | Event::CheckSignature(_)
                        | Event::VerifyToken(..)
                        | Event::Started(_)),
                        _,
                    ) => self.outside.push_back(event),
                    _ => {}
                }
            }
            if self.world.is_settled() {
                return;
            }
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let then = self.world.now() + time;
        while let Some(next) = self.world.next_moment().filter(|&next| next <= then) {
            self.world.set_time(next.max(self.world.now()));
            self.settle();
        }
        self.world.set_time(then);
        self.settle();
    }

    /// Lets seconds pass.
    pub fn wait_secs(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// From now on children cannot be started.
    pub fn spawning_fails(&mut self) {
        self.spawning = Spawning::Fails;
    }

    /// From now on children can be started.
    pub fn spawning_works(&mut self) {
        self.spawning = Spawning::Works;
        for upstream in std::mem::take(&mut self.held) {
            self.world.spawned(upstream, true);
        }
        self.settle();
    }

    /// From now on starting a child takes as long as the test says.
    pub fn spawning_waits(&mut self) {
        self.spawning = Spawning::Waits;
    }

    /// A child whose start waits cannot be started.
    pub fn fails_to_start(&mut self, child: UpstreamId) {
        self.held.retain(|&held| held != child);
        self.world.spawned(child, false);
        self.settle();
    }

    /// From now on requests bear this token, unless they bear another credential.
    pub fn presents(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// From now on requests bear a credential only if they say so.
    pub fn presents_nothing(&mut self) {
        self.token = None;
    }

    /// Sends a request.
    pub fn send(&mut self, request: Request) -> Asked {
        let request = match &self.token {
            Some(token) if !request.has_field("authorization") => request.bearer(token),
            _ => request,
        };
        self.next += 1;
        let exchange = ExchangeId(self.next);
        self.world.send(exchange, request);
        self.settle();
        exchange
    }

    /// Sends a request of 2026-07-28.
    pub fn ask(&mut self, ask: &Ask) -> Asked {
        self.send(ask.request())
    }

    /// The children that were to be started since this was last asked.
    pub fn new_children(&mut self) -> Vec<UpstreamId> {
        std::mem::take(&mut self.started)
    }

    /// The one child that was to be started since that was last asked.
    #[track_caller]
    pub fn new_child(&mut self) -> UpstreamId {
        let started = self.new_children();
        assert_eq!(started.len(), 1, "{started:?}");
        started[0]
    }

    /// Sends `initialize` with id 0 and returns what the child got.
    pub fn initialize(&mut self, version: &str) -> (Asked, Option<UpstreamId>) {
        let asked = self.send(Request::post(initialize(version)));
        let opened = self.world.opened();
        let upstream = opened.iter().rev().find(|(_, by)| *by == Some(asked));
        (asked, upstream.map(|&(upstream, _)| upstream))
    }

    /// Opens a session of this revision.
    #[track_caller]
    pub fn open(&mut self, version: &str) -> Session {
        let (asked, upstream) = self.initialize(version);
        let upstream = upstream.expect("a child is started");
        let mut session = Session {
            id: String::new(),
            upstream,
        };
        let id = self.minted(&session);
        self.says(
            &session,
            &format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"{version}","capabilities":{{}},"serverInfo":{{"name":"s","version":"0"}}}}}}"#
            ),
        );
        let response = self.world.response(asked);
        assert_eq!(response.status(), 200);
        session.id = response.field("mcp-session-id").expect("a session id");
        self.post(
            &session,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        );
        self.hears(&session);
        self.world.take_audit();
        session
    }

    /// Posts a message in a session.
    pub fn post(&mut self, session: &Session, body: &str) -> Asked {
        self.send(Request::post(body.to_owned()).session(&session.id))
    }

    /// Calls a tool; `id` is raw JSON.
    pub fn call(&mut self, session: &Session, id: &str) -> Asked {
        self.post(session, &call(id))
    }

    /// Calls a tool with a progress token; both are raw JSON.
    pub fn call_with_token(&mut self, session: &Session, id: &str, token: &str) -> Asked {
        self.post(
            session,
            &format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t","_meta":{{"progressToken":{token}}}}}}}"#
            ),
        )
    }

    /// Opens an event stream.
    pub fn listen(&mut self, session: &Session) -> Asked {
        self.send(Request::get().session(&session.id))
    }

    /// Resumes an event stream.
    pub fn resume(&mut self, session: &Session, last_event_id: &str) -> Asked {
        self.send(
            Request::get()
                .session(&session.id)
                .field("last-event-id", last_event_id),
        )
    }

    /// Ends a session.
    pub fn delete(&mut self, session: &Session) -> Asked {
        self.send(Request::delete().session(&session.id))
    }

    /// The client goes.
    pub fn leave(&mut self, asked: Asked) {
        self.world.leave(asked);
        self.settle();
    }

    /// The child writes a line.
    pub fn says(&mut self, child: impl Into<UpstreamId>, line: &str) {
        self.writes(child, &format!("{line}\n"));
    }

    /// The child writes this.
    pub fn writes(&mut self, child: impl Into<UpstreamId>, text: &str) {
        self.world.child_writes(child.into(), text.as_bytes());
        self.settle();
    }

    /// The child answers the call that it knows by this id, with a result that holds `marker`.
    pub fn answers(&mut self, child: impl Into<UpstreamId>, minted: &str, marker: &str) {
        self.says(
            child,
            &format!(r#"{{"jsonrpc":"2.0","id":{minted},"result":{{"marker":"{marker}"}}}}"#),
        );
    }

    /// The child ends.
    pub fn exits(&mut self, child: impl Into<UpstreamId>) {
        self.world.child_exits(child.into());
        self.settle();
    }

    /// What the child has read since this was last asked, line by line.
    pub fn hears(&mut self, child: impl Into<UpstreamId>) -> Vec<String> {
        let child = child.into();
        let heard = self.heard.entry(child).or_default();
        let lines = &self.world.child(child).lines;
        let lines = &lines[*heard..];
        *heard += lines.len();
        lines
            .iter()
            .map(|line| {
                std::str::from_utf8(line)
                    .expect("UTF-8")
                    .trim_end_matches('\n')
                    .to_owned()
            })
            .collect()
    }

    /// The one line that the child has read since this was last asked.
    #[track_caller]
    pub fn hears_one(&mut self, child: impl Into<UpstreamId>) -> String {
        let mut lines = self.hears(child);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// The id in the one request that the child has read since this was last asked, as raw JSON.
    #[track_caller]
    pub fn minted(&mut self, child: impl Into<UpstreamId>) -> String {
        let line: Value = serde_json::from_str(&self.hears_one(child)).expect("JSON");
        line["id"].to_string()
    }

    /// Makes a call and returns it with the id that the child knows it by.
    #[track_caller]
    pub fn begin_call(&mut self, session: &Session, id: &str) -> (Asked, String) {
        let asked = self.call(session, id);
        let minted = self.minted(session);
        (asked, minted)
    }

    /// Forgets what no machine remembers.
    pub fn forget_history(&mut self) {
        self.heard.clear();
        self.world.forget_history();
    }

    /// What has come of a response.
    pub fn response(&self, asked: Asked) -> &Response {
        self.world.response(asked)
    }

    /// Whether no byte of a response has come, and the connection stands.
    pub fn is_waiting(&self, asked: Asked) -> bool {
        self.response(asked).head.is_none() && !self.world.is_over(asked)
    }

    /// The messages of an event stream so far.
    pub fn messages(&self, asked: Asked) -> Vec<Value> {
        let events = self.response(asked).events();
        let events = events.iter().filter(|event| !event.data.is_empty());
        events.map(|event| event.json()).collect()
    }

    /// The id of the last event of a stream.
    pub fn last_id(&self, asked: Asked) -> String {
        let events = self.response(asked).events();
        let id = events.iter().rev().find_map(|event| event.id.clone());
        id.expect("an event with an id")
    }

    /// The events of the audit records since this was last asked.
    pub fn audit(&mut self) -> Vec<AuditEvent> {
        let records = self.world.take_audit();
        records.into_iter().map(|record| record.event).collect()
    }

    /// Checks that a request was refused so: status, code, message, and one audit record.
    #[track_caller]
    pub fn assert_refused(&mut self, asked: Asked, refusal: Refusal) {
        self.assert_refused_in(asked, refusal, Era::Legacy);
    }

    /// The same of a request of 2026-07-28.
    #[track_caller]
    pub fn assert_refused_modern(&mut self, asked: Asked, refusal: Refusal) {
        self.assert_refused_in(asked, refusal, Era::Modern);
    }

    #[track_caller]
    fn assert_refused_in(&mut self, asked: Asked, refusal: Refusal, era: Era) {
        let response = self.world.response(asked);
        assert!(response.complete, "it is over");
        assert_eq!(response.status(), refusal.status().as_u16(), "{response:?}");
        let body = response.json();
        if body.get("jsonrpc").is_some() {
            assert_eq!(body["error"]["code"], refusal.code_for(era));
            assert_eq!(body["error"]["message"], refusal.message());
        } else {
            assert_eq!(body["error_description"], refusal.message());
        }
        let waits = [429, 503].contains(&response.status());
        assert_eq!(response.field("retry-after").is_some(), waits);
        let records = self.world.audit().iter();
        let records: Vec<_> = records
            .filter(|record| record.exchange == Some(asked))
            .collect();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0].event, AuditEvent::Refused(refusal));
    }

    /// Checks that a call was answered by plain JSON that holds this.
    #[track_caller]
    pub fn assert_answered(&self, asked: Asked, id: Value, marker: &str) {
        let response = self.world.response(asked);
        assert!(response.complete, "it is over");
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.field("content-type").as_deref(),
            Some("application/json")
        );
        let body = response.json();
        assert_eq!(body["id"], id);
        assert_eq!(body["result"]["marker"], marker);
    }

    /// Lets everyone go and all times pass, and checks that nothing is left.
    #[track_caller]
    pub fn assert_nothing_is_left(&mut self) {
        self.spawning_works();
        let open: Vec<_> = self.world.open_requests().collect();
        for asked in open {
            self.leave(asked);
        }
        let limits = &self.world.gateway().policy().limits;
        let longest = limits.session_ttl + limits.request_time_max + limits.body_time;
        self.wait(longest + Duration::from_secs(60));
        assert!(
            self.world.gateway().is_idle(),
            "the gateway holds something"
        );
        assert_eq!(self.world.upstreams(), 0);
        for (_, child) in self.world.children() {
            assert!(!child.lives());
        }
        assert_eq!(self.world.next_deadline(), None, "a timer is left");
    }
}

/// An `initialize` request with id 0.
pub(crate) fn initialize(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"c","version":"0"}}}}}}"#
    )
}

fn call(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#)
}
