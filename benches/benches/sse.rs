//! Writing messages as events.

use std::hint::black_box;

use benches::wire;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcp_proto::framing::Frame;
use mcp_proto::sse::{self, EventId};

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    let id = EventId {
        nonce: 0x1234_5678,
        stream: 42,
        sequence: 1234,
    };
    for (label, size) in [("0.1 KB", 30), ("21 KB", 21_000), ("1 MB", 1_000_000)] {
        let mut message = Vec::new();
        wire::push_answer(&mut message, b"1", wire::text(size).as_bytes());
        let message = Frame::from(Bytes::from(message));
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("whole", label),
            &message,
            |bench, message| {
                bench.iter(|| sse::event(black_box(Some(id)), message));
            },
        );
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("prefix", |bench| {
        bench.iter(|| sse::event_prefix(black_box(Some(id))));
    });
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
