//! Heads of requests, as far as `mcp_proto` reads them: `Host`, `Origin`, credentials, media types,
//! the session's id, the revision and `Last-Event-ID`.
//!
//! An input is text: a first line with the method, then a line for each field, `name: value`. Of
//! fields that no line names there is what a client would send; a line without a colon names a field
//! that is not sent.

mod model;

use http::Method;
use mcp_proto::auth::{StaticToken, Token, Verdict, Verifier};
use mcp_proto::{AuditEvent, Policy, Refusal, SessionId};
use mcp_proto_sim::{Asked, Event, Request, Scene, Session, policy};

use self::model::{Expected, Head, Input};

/// The token that whoever has opened the session bears.
const TOKEN: &str = "a.good-token~1";

/// Sends the request to a gateway with a session, once where nobody is asked who they are and once
/// where everybody is. The answer is to be the one that the plainest reading of the head leads to.
pub fn check(input: &[u8]) {
    let Some(input) = Input::read(input) else {
        return;
    };
    for asks in [false, true] {
        let stage = Stage::new(asks);
        let head = input
            .clone()
            .complete(&stage.session.id, &stage.issued, asks);
        check_texts(&head);
        stage.check(&head);
    }
}

/// What is read as an id or a token is written back as it was.
fn check_texts(head: &Head) {
    for value in head.values("mcp-session-id") {
        if let Some(id) = SessionId::parse(value.as_bytes()) {
            assert_eq!(id.to_text(), value.as_bytes());
        }
    }
    for value in head.values("last-event-id") {
        if let Ok(id) = value.parse::<mcp_proto::sse::EventId>() {
            assert_eq!(id.to_string(), value);
        }
    }
    for value in head.values("host") {
        if let Ok(host) = value.parse::<mcp_proto::origin::Host>() {
            let written = host.to_string();
            assert_eq!(written.parse(), Ok(host), "{written}");
        }
    }
    for value in head.values("origin") {
        if let Ok(origin) = value.parse::<mcp_proto::origin::Origin>() {
            let written = origin.to_string();
            assert_eq!(written.parse(), Ok(origin), "{written}");
        }
    }
}

/// A gateway with one session, in which an event stream has carried two events and ended.
struct Stage {
    scene: Scene,
    session: Session,
    /// The ids that the stream has carried, oldest first.
    issued: Vec<String>,
    asks: bool,
}

impl Stage {
    fn new(asks: bool) -> Self {
        let mut policy = Policy {
            public_origin: Some("https://mcp.example.com".parse().expect("an origin")),
            allowed_hosts: ["inner", "ported:81"]
                .map(|host| host.parse().expect("a host"))
                .into(),
            allowed_origins: ["https://pages.example.com", "http://[::1]:9000"]
                .map(|origin| origin.parse().expect("an origin"))
                .into(),
            ..policy()
        };
        if asks {
            let token = Token::new(TOKEN).expect("a token");
            let name = "ann".to_owned();
            let verifiers = &mut policy.auth.verifiers;
            verifiers.push(Verifier::Static(vec![StaticToken { name, token }]));
            verifiers.push(Verifier::Custom);
        }
        let mut scene = Scene::of(policy);
        scene.presents(TOKEN);
        let session = scene.open("2025-11-25");
        let stream = scene.listen(&session);
        for n in 0..2 {
            let message =
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/n","params":{{"n":{n}}}}}"#);
            scene.says(&session, &message);
        }
        let events = scene.response(stream).events();
        let issued = events.into_iter().flat_map(|event| event.id).collect();
        scene.leave(stream);
        scene.presents_nothing();
        scene.world.take_audit();
        scene.outside.clear();
        Self {
            scene,
            session,
            issued,
            asks,
        }
    }

    fn check(mut self, head: &Head) {
        let expected = head.judge(&self.session.id, &self.issued, self.asks);
        let mut request = match head.method {
            Method::POST => Request::post(r#"{"jsonrpc":"2.0","method":"notifications/n"}"#),
            _ => Request::new(head.method.clone(), "/mcp"),
        };
        for name in ["host", "content-type", "accept"] {
            request = request.without(name);
        }
        for (name, value) in &head.fields {
            request = request.field(name, value);
        }
        let asked = self.scene.send(request);
        if let Some(Event::VerifyToken(verification, token)) = self.scene.outside.pop_front() {
            assert_eq!(
                expected,
                Expected::Asked(token.expose().to_owned()),
                "{head:?}"
            );
            self.scene.verifies(verification, Verdict::Denied);
            self.check_refused(asked, Refusal::InvalidToken, head);
            return;
        }
        match expected {
            Expected::Refused(refusal) => self.check_refused(asked, refusal, head),
            Expected::Asked(token) => panic!("nobody is asked about {token:?}"),
            Expected::Status(status) => {
                assert_eq!(self.scene.response(asked).status(), status, "{head:?}");
            }
            Expected::Events(from) => {
                let response = self.scene.response(asked);
                assert_eq!(response.status(), 200, "{head:?}");
                let events = response.events().into_iter();
                let carried = events.filter(|event| !event.data.is_empty());
                let carried: Vec<_> = carried.flat_map(|event| event.id).collect();
                assert_eq!(carried, self.issued[from..], "{head:?}");
            }
        }
    }

    /// Status and one record that says why. Where the token was good there may be a record of that
    /// too.
    fn check_refused(&self, asked: Asked, refusal: Refusal, head: &Head) {
        let response = self.scene.response(asked);
        assert_eq!(response.status(), refusal.status().as_u16(), "{head:?}");
        let records = self.scene.world.audit().iter();
        let events = records.map(|record| record.event);
        let refused = events.filter(|event| matches!(event, AuditEvent::Refused(_)));
        let refused: Vec<_> = refused.collect();
        assert_eq!(refused, [AuditEvent::Refused(refusal)], "{head:?}");
    }
}
