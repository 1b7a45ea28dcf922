//! What a driver may have to report that no peer does: a task that panicked, memory that is not
//! there, a body whose end cannot be found.

use std::net::Ipv4Addr;

use http::Method;
use mcp_proto::{
    AccessRecord, AuditEvent, Exchange, ExchangeId, ExchangeOutput, Gateway, GatewayOutput,
    Instance, Instant, Limits, Now, Policy, Refusal, RequestHead, SessionEnd, Upstream, UpstreamId,
    UpstreamOutput,
};

const NOW: Now = Now {
    monotonic: Instant::from_nanos(0),
    unix_ms: 1_800_000_000_000,
};

const INITIALIZE: &str =
    r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"_meta":{"progressToken":"p"}}}"#;

/// One exchange, its gateway and the child that is opened for it.
struct Driver {
    gateway: Gateway,
    exchange: Exchange,
    upstream: Option<Upstream>,
    /// The status, once there is one.
    status: Option<u16>,
    closes: bool,
    body: Vec<u8>,
    ended: bool,
    events: Vec<AuditEvent>,
    access: Vec<AccessRecord>,
}

impl Driver {
    /// A driver whose exchange wants the body of a POST without a session.
    fn new() -> Self {
        let policy = Policy {
            startup_probe: false,
            discover: false,
            ..Policy::default()
        };
        let fields = [
            ("host", &b"localhost"[..]),
            ("content-type", b"application/json"),
        ];
        let head = RequestHead::new(&Method::POST, "/mcp", None, fields.into_iter());
        let id = ExchangeId(1);
        let mut driver = Self {
            exchange: Exchange::new(id, &head, Instance([0; 4]), &policy.limits, NOW),
            gateway: Gateway::new(policy, [0; 32], NOW),
            upstream: None,
            status: None,
            closes: false,
            body: Vec::new(),
            ended: false,
            events: Vec::new(),
            access: Vec::new(),
        };
        let peer = Ipv4Addr::LOCALHOST.into();
        driver.gateway.handle_request(id, peer, &head, NOW);
        driver.settle();
        assert!(driver.exchange.wants_body());
        driver
    }

    /// The same, once it has sent `initialize` to a child.
    fn initializing() -> (Self, UpstreamId) {
        let mut driver = Self::new();
        driver.exchange.handle_body(INITIALIZE.into(), NOW);
        driver.exchange.handle_body_end(NOW);
        driver.settle();
        let upstream = driver.upstream.as_ref().expect("a child was opened").id();
        (driver, upstream)
    }

    fn settle(&mut self) {
        loop {
            if let Some(output) = self.gateway.poll_output() {
                match output {
                    GatewayOutput::ToExchange { mail, .. } => self.exchange.handle_mail(mail, NOW),
                    GatewayOutput::ToUpstream { mail, .. } => {
                        if let Some(upstream) = &mut self.upstream {
                            upstream.handle_mail(mail, NOW);
                        }
                    }
                    GatewayOutput::Open(opening) => {
                        self.upstream = Some(Upstream::new(opening, &Limits::default(), NOW));
                    }
                    GatewayOutput::Audit(record) => self.events.push(record.event),
                    GatewayOutput::Started(_) => {}
                    other => panic!("{other:?}"),
                }
            } else if let Some(output) = self.exchange.poll_output() {
                match output {
                    ExchangeOutput::ToGateway(mail) => self.gateway.handle_mail(mail, NOW),
                    ExchangeOutput::ToUpstream { mail, .. } => {
                        if let Some(upstream) = &mut self.upstream {
                            upstream.handle_mail(mail, NOW);
                        }
                    }
                    ExchangeOutput::Head(head) => {
                        self.status = Some(head.status.as_u16());
                        head.for_each_field(|name, _| self.closes |= name == "connection");
                    }
                    ExchangeOutput::Chunk(frame) => self.body.extend_from_slice(&frame.to_bytes()),
                    ExchangeOutput::End => self.ended = true,
                    ExchangeOutput::Audit(record) => self.events.push(record.event),
                    ExchangeOutput::Access(record) => self.access.push(*record),
                }
            } else if let Some(output) = self.upstream.as_mut().and_then(Upstream::poll_output) {
                let upstream = self.upstream.as_mut().expect("it has an output");
                match output {
                    UpstreamOutput::Spawn => upstream.handle_spawned(true, NOW),
                    UpstreamOutput::Stdin(frame) => upstream.handle_stdin_written(frame.len(), NOW),
                    UpstreamOutput::ToExchange { mail, .. } => self.exchange.handle_mail(mail, NOW),
                    UpstreamOutput::ToGateway(mail) => self.gateway.handle_mail(mail, NOW),
                    UpstreamOutput::Audit(record) => self.events.push(record.event),
                    other => panic!("{other:?}"),
                }
            } else {
                assert_eq!(self.access.len(), usize::from(self.exchange.is_done()));
                return;
            }
        }
    }

    /// The child writes a line.
    fn child_writes(&mut self, line: &str) {
        let upstream = self.upstream.as_mut().expect("a child runs");
        let buffer = upstream.stdout_buffer();
        buffer[..line.len()].copy_from_slice(line.as_bytes());
        buffer[line.len()] = b'\n';
        upstream.handle_stdout(line.len() + 1, NOW);
        self.settle();
    }

    /// The task that drove the child has panicked, and its machine is gone with it.
    fn lose(&mut self, upstream: UpstreamId) {
        self.upstream = None;
        self.gateway.handle_upstream_lost(upstream, NOW);
        self.exchange.handle_upstream_lost(NOW);
        self.settle();
    }

    #[track_caller]
    fn assert_refused(&self, refusal: Refusal, id: &str) {
        assert_eq!(self.status, Some(refusal.status().as_u16()));
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(body["error"]["code"], refusal.code());
        assert_eq!(body["id"].to_string(), id);
        assert!(self.ended && self.exchange.is_done());
        assert!(self.events.contains(&AuditEvent::Refused(refusal)));
    }
}

#[test]
fn who_waits_for_a_child_that_is_lost_is_told_so() {
    let (mut driver, upstream) = Driver::initializing();
    driver.lose(upstream);
    driver.assert_refused(Refusal::ChildExited, r#""a""#);
    let ended = AuditEvent::SessionEnded(SessionEnd::ChildExited);
    assert!(driver.events.contains(&ended), "{:?}", driver.events);
    assert!(
        driver.gateway.is_idle(),
        "neither session nor child is left"
    );
}

#[test]
fn a_stream_of_a_child_that_is_lost_ends() {
    let (mut driver, upstream) = Driver::initializing();
    driver.child_writes(
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
    );
    assert_eq!(driver.status, Some(200));
    let carried = driver.body.len();
    assert!(carried > 0 && !driver.ended);
    driver.lose(upstream);
    assert!(driver.ended && driver.exchange.is_done());
    assert_eq!(driver.body.len(), carried);
    assert!(driver.gateway.is_idle());
}

#[test]
fn a_child_that_is_lost_twice_or_after_the_answer_is_lost_once() {
    let (mut driver, upstream) = Driver::initializing();
    driver.child_writes(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#);
    assert_eq!((driver.status, driver.ended), (Some(200), true));
    let answered = driver.body.clone();
    driver.lose(upstream);
    let records = driver.events.len();
    driver.lose(upstream);
    assert_eq!(driver.body, answered);
    assert_eq!(driver.events.len(), records);
    assert!(driver.gateway.is_idle());
}

#[test]
fn a_body_that_cannot_be_read_on_is_refused_and_the_connection_closed() {
    for refusal in [Refusal::MalformedBody, Refusal::BodyBudget] {
        let mut driver = Driver::new();
        driver.exchange.handle_body(INITIALIZE.into(), NOW);
        match refusal {
            Refusal::MalformedBody => driver.exchange.handle_body_refused(refusal, NOW),
            _ => driver.exchange.handle_no_room(NOW),
        }
        driver.settle();
        driver.assert_refused(refusal, "null");
        assert!(driver.closes);
        assert!(driver.upstream.is_none(), "nothing was started for it");

        // What comes too late changes nothing.
        let records = driver.events.len();
        driver.exchange.handle_body_refused(refusal, NOW);
        driver.exchange.handle_no_room(NOW);
        driver.exchange.handle_body_end(NOW);
        driver.settle();
        assert_eq!(driver.events.len(), records);
    }
}
