//! Splitting what a child writes into lines.

use std::hint::black_box;

use benches::wire;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcp_proto::Limits;
use mcp_proto::framing::LineBuffer;

/// Feeds `input` in reads of at most `most` bytes; returns how many lines came out.
fn feed(buffer: &mut LineBuffer, mut input: &[u8], most: usize) -> usize {
    let mut lines = 0;
    while !input.is_empty() {
        let spare = buffer.spare();
        let read = spare.len().min(input.len()).min(most);
        spare[..read].copy_from_slice(&input[..read]);
        buffer.filled(read);
        input = &input[read..];
        while let Some(line) = buffer.next_line() {
            black_box(&line);
            lines += 1;
        }
    }
    lines
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lines");
    // Reads are as large as the buffer lets them be, or as a pipe's page.
    for (reads, most) in [("large reads", usize::MAX), ("reads of 4 KiB", 4096)] {
        for (label, size, count) in [
            ("0.3 KB", 300, 200),
            ("21 KB", 21_000, 10),
            ("1 MB", 1_000_000, 1),
        ] {
            let mut line = Vec::new();
            wire::push_answer(&mut line, b"1", wire::text(size - 70).as_bytes());
            line.push(b'\n');
            let input = line.repeat(count);
            group.throughput(Throughput::Bytes(input.len() as u64));
            group.bench_with_input(BenchmarkId::new(reads, label), &input, |bench, input| {
                let mut buffer = LineBuffer::new(Limits::default().line_bytes);
                bench.iter(|| assert_eq!(feed(&mut buffer, black_box(input), most), count));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
