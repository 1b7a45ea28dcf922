//! Scanning a message's envelope, and splicing another id into it.

use std::hint::black_box;

use benches::wire;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcp_proto::envelope::{self, Document, Field, Source};
use mcp_proto::framing::{Text, splice};

/// Sizes of messages: a small call's, a tool list's, a document's.
const SIZES: [(&str, usize); 3] = [("0.3 KB", 300), ("21 KB", 21_000), ("1 MB", 1_000_000)];

/// A message of `size` bytes with as much structure as lists of tools have: the first argument is
/// filled up with objects.
fn structured(size: usize) -> Bytes {
    let mut message = br#"{"jsonrpc":"2.0","id":123456,"method":"tools/call","params":{"_meta":{"progressToken":123456},"name":"echo","arguments":{"items":["#.to_vec();
    let end = b"0]}}}";
    let mut number = 0;
    while message.len() + end.len() < size {
        let left = size - message.len() - end.len();
        let item = format!(
            r#"{{"name":"item_{number}","description":"What the item is for, in \"one\" line of text.","type":"object","required":[true,null,{number}]}},"#
        );
        match item.len() <= left {
            true => message.extend_from_slice(item.as_bytes()),
            false => message.resize(message.len() + left, b' '),
        }
        number += 1;
    }
    message.extend_from_slice(end);
    message.into()
}

/// A message of `size` bytes that is one long string, but for its envelope.
fn text(size: usize) -> Bytes {
    let mut message = Vec::new();
    wire::push_answer(&mut message, b"123456", b"");
    let length = size.saturating_sub(message.len());
    message.clear();
    wire::push_answer(&mut message, b"123456", wire::text(length).as_bytes());
    message.into()
}

fn scan(criterion: &mut Criterion) {
    let sources = [("client", Source::Client), ("child", Source::Child)];
    for (name, source) in sources {
        let mut group = criterion.benchmark_group(format!("scan/{name}"));
        for (label, size) in SIZES {
            for (shape, message) in [("objects", structured(size)), ("text", text(size))] {
                group.throughput(Throughput::Bytes(message.len() as u64));
                group.bench_with_input(
                    BenchmarkId::new(shape, label),
                    &message,
                    |bench, message| {
                        bench.iter(|| envelope::scan(black_box(message), source));
                    },
                );
            }
        }
        group.finish();
    }
}

fn splices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("splice");
    for (label, size) in SIZES {
        let message = structured(size);
        let Ok(Document::Single(envelope)) = envelope::scan(&message, Source::Client) else {
            panic!("the message is one");
        };
        let edits = [Field::Id, Field::ProgressToken]
            .map(|field| (envelope.get(field).expect("the field is there"), &b"42"[..]));
        group.throughput(Throughput::Bytes(message.len() as u64));
        for (name, line_breaks) in [("as it is", false), ("with line breaks", true)] {
            group.bench_with_input(BenchmarkId::new(name, label), &message, |bench, message| {
                let text = Text::Long(message);
                let span = envelope.span();
                bench.iter(|| splice(b"", black_box(text), span, line_breaks, &edits, b"\n"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, scan, splices);
criterion_main!(benches);
