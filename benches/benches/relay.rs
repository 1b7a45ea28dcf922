//! A whole relay through the three machines, with no I/O: from a request's head to the last byte
//! of its response, the child's line included.

use std::hint::black_box;
use std::time::Duration;

use benches::wire;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use mcp_proto::{
    Exchange, ExchangeId, ExchangeOutput, Gateway, GatewayOutput, Instance, Instant, Now, Policy,
    RequestHead, Upstream, UpstreamOutput,
};

/// The machines with one session open, and everything that a driver would hold for them.
struct Driven {
    gateway: Gateway,
    upstream: Option<Upstream>,
    exchange: Option<Exchange>,
    next_exchange: u64,
    time: u64,
    session: Option<String>,
    /// What came of the request at hand.
    status: u16,
    body_bytes: usize,
    ended: bool,
    stdin: Vec<Bytes>,
}

impl Driven {
    fn new() -> Self {
        let policy = Policy {
            startup_probe: false,
            discover: false,
            ..Policy::default()
        };
        let mut driven = Self {
            gateway: Gateway::new(policy, [7; 32], Now::default()),
            upstream: None,
            exchange: None,
            next_exchange: 0,
            time: 0,
            session: None,
            status: 0,
            body_bytes: 0,
            ended: false,
            stdin: Vec::new(),
        };
        let mut body = Vec::new();
        wire::push_initialize(&mut body, 1);
        driven.begin(body.into());
        let mut line = Vec::new();
        wire::push_initialized(&mut line, driven.stdin_id());
        driven.answer(&line);
        driven.end(200);
        driven.begin(Bytes::from_static(wire::INITIALIZED));
        driven.end(202);
        driven
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Instant::from_nanos(self.time),
            unix_ms: self.time / 1_000_000,
        }
    }

    /// Takes in a request; what is for the child stands in `stdin` then.
    fn begin(&mut self, body: Bytes) {
        self.time += 10_000;
        self.next_exchange += 1;
        self.stdin.clear();
        (self.status, self.body_bytes, self.ended) = (0, 0, false);
        let now = self.now();
        let id = ExchangeId(self.next_exchange);
        let length = body.len().to_string();
        let session = self.session.as_ref();
        let fields = [
            ("host", "127.0.0.1:8080"),
            ("user-agent", "load"),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("content-length", length.as_str()),
        ];
        let of_session = session.map(|session| {
            [
                ("mcp-session-id", session.as_str()),
                ("mcp-protocol-version", "2025-11-25"),
            ]
        });
        let fields = fields.into_iter().chain(of_session.into_iter().flatten());
        let fields = fields.map(|(name, value)| (name, value.as_bytes()));
        let head = RequestHead::new(&Method::POST, "/mcp", None, fields);
        self.exchange = Some(Exchange::new(
            id,
            &head,
            Instance([0; 4]),
            &self.gateway.policy().limits,
            now,
        ));
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        self.gateway.handle_request(id, peer, &head, now);
        self.drain();
        let exchange = self.exchange.as_mut().expect("it was just made");
        assert!(exchange.wants_body(), "the head is admitted");
        exchange.handle_body(body, now);
        exchange.handle_body_end(now);
        self.drain();
    }

    /// The id under which the child got the request.
    fn stdin_id(&self) -> &[u8] {
        self.stdin
            .iter()
            .find_map(|bytes| wire::integer(bytes, wire::ID))
            .expect("a request is among what was written")
    }

    /// Feeds what the child writes; without the last line's end, which is added.
    fn answer(&mut self, mut lines: &[u8]) {
        while let Some(upstream) = &mut self.upstream {
            let spare = upstream.stdout_buffer();
            let read = spare.len().min(lines.len());
            spare[..read].copy_from_slice(&lines[..read]);
            let last = lines.is_empty();
            if last {
                spare[0] = b'\n';
            }
            lines = &lines[read..];
            let now = Now {
                monotonic: Instant::from_nanos(self.time),
                unix_ms: 0,
            };
            upstream.handle_stdout(if last { 1 } else { read }, now);
            self.drain();
            if last {
                return;
            }
        }
    }

    fn end(&mut self, status: u16) {
        let exchange = self.exchange.take().expect("a request is at hand");
        assert!(exchange.is_done() && self.ended);
        assert_eq!(self.status, status);
    }

    /// Carries mail until there is none.
    fn drain(&mut self) {
        let now = self.now();
        loop {
            let mut any = false;
            while let Some(output) = self.gateway.poll_output() {
                any = true;
                match output {
                    GatewayOutput::ToExchange { mail, .. } => {
                        if let Some(exchange) = &mut self.exchange {
                            exchange.handle_mail(mail, now);
                        }
                    }
                    GatewayOutput::ToUpstream { mail, .. } => {
                        if let Some(upstream) = &mut self.upstream {
                            upstream.handle_mail(mail, now);
                        }
                    }
                    GatewayOutput::Open(opening) => {
                        let limits = &self.gateway.policy().limits;
                        self.upstream = Some(Upstream::new(opening, limits, now));
                    }
                    GatewayOutput::Audit(_) | GatewayOutput::Started(_) => {}
                    GatewayOutput::Fetch(_)
                    | GatewayOutput::CheckSignature(_)
                    | GatewayOutput::VerifyToken { .. }
                    | GatewayOutput::Warn(_) => unreachable!("the policy has no verifier"),
                }
            }
            if let Some(exchange) = &mut self.exchange {
                while let Some(output) = exchange.poll_output() {
                    any = true;
                    match output {
                        ExchangeOutput::ToGateway(mail) => self.gateway.handle_mail(mail, now),
                        ExchangeOutput::ToUpstream { mail, .. } => {
                            if let Some(upstream) = &mut self.upstream {
                                upstream.handle_mail(mail, now);
                            }
                        }
                        ExchangeOutput::Head(head) => {
                            self.status = head.status.as_u16();
                            head.for_each_field(|name, value| {
                                if name == "mcp-session-id" {
                                    self.session = value.to_str().ok().map(str::to_owned);
                                }
                                black_box((name, value));
                            });
                        }
                        ExchangeOutput::Chunk(frame) => {
                            self.body_bytes += frame.len();
                            exchange.handle_written(frame.len(), now);
                        }
                        ExchangeOutput::End => self.ended = true,
                        ExchangeOutput::Access(_) => {}
                        ExchangeOutput::Audit(record) => panic!("nothing goes wrong: {record:?}"),
                    }
                }
            }
            if let Some(upstream) = &mut self.upstream {
                while let Some(output) = upstream.poll_output() {
                    any = true;
                    match output {
                        UpstreamOutput::Spawn => upstream.handle_spawned(true, now),
                        UpstreamOutput::Stdin(frame) => {
                            upstream.handle_stdin_written(frame.len(), now);
                            self.stdin.extend(frame.into_slices());
                        }
                        UpstreamOutput::ToExchange { mail, .. } => {
                            if let Some(exchange) = &mut self.exchange {
                                exchange.handle_mail(mail, now);
                            }
                        }
                        UpstreamOutput::ToGateway(mail) => self.gateway.handle_mail(mail, now),
                        UpstreamOutput::Stop(_)
                        | UpstreamOutput::Disconnect { .. }
                        | UpstreamOutput::ToUpstream { .. } => {
                            panic!("nothing goes wrong")
                        }
                        UpstreamOutput::Audit(_) => {}
                    }
                }
            }
            if !any {
                return;
            }
        }
    }
}

fn relay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    group.measurement_time(Duration::from_secs(4));
    for (label, size) in [("0.3 KB", 200), ("21 KB", 21_000), ("1 MB", 1_000_000)] {
        let text = wire::text(size);
        let mut body = Vec::new();
        wire::push_call(&mut body, 100_000_000_000, &text, 0);
        let body = Bytes::from(body);
        let mut driven = Driven::new();
        let mut line = Vec::new();
        // What goes in and what comes out.
        group.throughput(Throughput::Bytes((body.len() + size + 80) as u64));
        group.bench_function(BenchmarkId::new("answer", label), |bench| {
            bench.iter(|| {
                driven.begin(body.clone());
                line.clear();
                wire::push_answer(&mut line, driven.stdin_id(), text.as_bytes());
                driven.answer(&line);
                assert!(driven.body_bytes > size);
                driven.end(200);
            });
        });
    }

    let text = wire::text(200);
    let mut body = Vec::new();
    wire::push_call(&mut body, 100_000_000_000, &text, 100);
    let body = Bytes::from(body);
    let mut driven = Driven::new();
    let mut lines = Vec::new();
    group.throughput(Throughput::Elements(101));
    group.bench_function("100 notifications and an answer", |bench| {
        bench.iter(|| {
            driven.begin(body.clone());
            lines.clear();
            let id = driven.stdin_id();
            for number in 1..=100 {
                wire::push_progress(&mut lines, id, number, 100);
                lines.push(b'\n');
            }
            wire::push_answer(&mut lines, id, text.as_bytes());
            driven.answer(&lines);
            assert!(driven.body_bytes > 100 * 100);
            driven.end(200);
        });
    });
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
