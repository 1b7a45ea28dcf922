//! Drives the core by hand: one `initialize` and one call, with no runtime, no socket, no clock and
//! no process. Run it with `cargo run -p mcp-proto --example by_hand`.
//!
//! [`Host`] is all that an adapter is: it owns the machines, carries their mail, and performs their
//! outputs. A real one has many exchanges and upstreams, reads and writes sockets and pipes where
//! this one prints, and wakes the machines when `poll_timeout` says so. `docs/DRIVING.md` has the
//! whole contract.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::Method;
use mcp_proto::{
    Exchange, ExchangeId, ExchangeOutput, Gateway, GatewayOutput, Instance, Instant, Limits, Now,
    Policy, RequestHead, Upstream, UpstreamOutput,
};

/// Time is an argument; in this program it stands still.
const NOW: Now = Now {
    monotonic: Instant::from_nanos(0),
    unix_ms: 1_800_000_000_000,
};

/// As the seed: from the system's CSPRNG, but for this program.
const INSTANCE: Instance = Instance([0; 4]);

struct Host {
    gateway: Gateway,
    exchange: Option<Exchange>,
    upstream: Option<Upstream>,
    session: Option<String>,
}

impl Host {
    /// One HTTP request: its head goes to the gateway, its body to its exchange.
    fn post(&mut self, id: u64, body: &'static str) {
        println!("client -> gateway  {body}");
        let id = ExchangeId(id);
        let session = self.session.clone();
        let mut fields = vec![
            ("host", &b"localhost"[..]),
            ("content-type", b"application/json"),
            ("accept", b"application/json, text/event-stream"),
        ];
        fields.extend(session.iter().map(|id| ("mcp-session-id", id.as_bytes())));
        let head = RequestHead::new(&Method::POST, "/mcp", None, fields.into_iter());
        let limits = &self.gateway.policy().limits;
        self.exchange = Some(Exchange::new(id, &head, INSTANCE, limits, NOW));
        let peer = Ipv4Addr::LOCALHOST.into();
        self.gateway.handle_request(id, peer, &head, NOW);
        self.settle();
        let exchange = self.exchange();
        if exchange.wants_body() {
            exchange.handle_body(body.into(), NOW);
            exchange.handle_body_end(NOW);
            self.settle();
        }
    }

    /// The child writes a line to its stdout.
    fn child_writes(&mut self, line: &str) {
        println!("child  -> gateway  {line}");
        let bytes = Bytes::from(format!("{line}\n"));
        let upstream = self.upstream.as_mut().expect("a child runs");
        upstream.stdout_buffer()[..bytes.len()].copy_from_slice(&bytes);
        upstream.handle_stdout(bytes.len(), NOW);
        self.settle();
    }

    /// Performs outputs until no machine has any. The gateway's come first: an adapter drains them
    /// before it lets go of the gateway's lock.
    fn settle(&mut self) {
        loop {
            if let Some(output) = self.gateway.poll_output() {
                match output {
                    GatewayOutput::ToExchange { mail, .. } => {
                        self.exchange().handle_mail(mail, NOW);
                    }
                    GatewayOutput::ToUpstream { mail, .. } => {
                        self.upstream().handle_mail(mail, NOW);
                    }
                    GatewayOutput::Open(opening) => {
                        self.upstream = Some(Upstream::new(opening, &Limits::default(), NOW));
                    }
                    GatewayOutput::Audit(record) => println!("audit: {:?}", record.event),
                    GatewayOutput::Started(failures) => assert!(failures.is_empty()),
                    GatewayOutput::Warn(line) => println!("{line}"),
                    GatewayOutput::Fetch(_)
                    | GatewayOutput::CheckSignature(_)
                    | GatewayOutput::VerifyToken { .. } => {
                        unreachable!("the policy has no verifier")
                    }
                }
            } else if let Some(output) = self.exchange().poll_output() {
                match output {
                    ExchangeOutput::ToGateway(mail) => self.gateway.handle_mail(mail, NOW),
                    ExchangeOutput::ToUpstream { mail, .. } => {
                        self.upstream().handle_mail(mail, NOW);
                    }
                    ExchangeOutput::Head(head) => {
                        println!("gateway -> client  HTTP {}", head.status);
                        head.for_each_field(|name, value| {
                            if name == "mcp-session-id" {
                                self.session = value.to_str().ok().map(str::to_owned);
                            }
                        });
                    }
                    ExchangeOutput::Chunk(frame) => {
                        println!("gateway -> client  {}", frame.to_bytes().escape_ascii());
                        // As soon as the transport has taken it.
                        self.exchange().handle_written(frame.len(), NOW);
                    }
                    ExchangeOutput::End => println!("gateway -> client  (end of response)"),
                    ExchangeOutput::Audit(record) => println!("audit: {:?}", record.event),
                    ExchangeOutput::Access(record) => println!("access: {:?}", record.status),
                }
            } else if let Some(output) = self.upstream.as_mut().and_then(Upstream::poll_output) {
                match output {
                    UpstreamOutput::Spawn => self.upstream().handle_spawned(true, NOW),
                    UpstreamOutput::Stdin(frame) => {
                        println!("gateway -> child   {}", frame.to_bytes().escape_ascii());
                        self.upstream().handle_stdin_written(frame.len(), NOW);
                    }
                    UpstreamOutput::Stop(stop) => println!("gateway -> child   {stop:?}"),
                    UpstreamOutput::ToExchange { mail, .. } => {
                        self.exchange().handle_mail(mail, NOW);
                    }
                    UpstreamOutput::Disconnect { .. } => self.exchange().handle_disconnect(NOW),
                    UpstreamOutput::ToGateway(mail) => self.gateway.handle_mail(mail, NOW),
                    // Only children that are shared have anything to say to one another.
                    UpstreamOutput::ToUpstream { .. } => {}
                    UpstreamOutput::Audit(record) => println!("audit: {:?}", record.event),
                }
            } else {
                return;
            }
        }
    }

    fn exchange(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("a request was sent")
    }

    fn upstream(&mut self) -> &mut Upstream {
        self.upstream.as_mut().expect("it was opened")
    }
}

fn main() {
    let policy = Policy {
        startup_probe: false,
        discover: false,
        ..Policy::default()
    };
    let mut host = Host {
        exchange: None,
        // The seed comes from the system's CSPRNG, but for this program.
        gateway: Gateway::new(policy, [0; 32], NOW),
        upstream: None,
        session: None,
    };
    host.post(
        1,
        r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{}}"#,
    );
    host.child_writes(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#);
    host.post(2, r#"{"jsonrpc":"2.0","id":"b","method":"tools/list"}"#);
    host.child_writes(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
    host.child_writes(r#"{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}"#);
}
