//! One request and its response, as the HTTP/1.1 machine and the validator in front of hyper see them.

use std::hint::black_box;
use std::io::IoSlice;

use benches::wire;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use mcp_proto::Now;
use mcp_proto::h1::{Connection, Limits, Output, Validator};

/// A call as clients send it.
fn request() -> Vec<u8> {
    let mut body = Vec::new();
    wire::push_call(&mut body, 1234, &wire::text(200), 0);
    let mut request = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nUser-Agent: node\r\n\
         Mcp-Session-Id: 0123456789abcdef0123456789abcdef\r\nMCP-Protocol-Version: 2025-11-25\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept-Language: *\r\nConnection: keep-alive\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request
}

fn requests(criterion: &mut Criterion) {
    let request = request();
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("validator", |bench| {
        let mut validator = Validator::new(Limits::default());
        bench.iter(|| validator.read(black_box(&request)));
    });
    let mut answer = Vec::new();
    wire::push_answer(&mut answer, b"1234", wire::text(200).as_bytes());
    let answer = Bytes::from(answer);
    group.bench_function("connection", |bench| {
        let now = Now::default();
        let mut connection = Connection::new(Limits::default(), now);
        bench.iter(|| {
            connection.read_buffer()[..request.len()].copy_from_slice(&request);
            connection.handle_read(request.len(), now);
            let mut fields = 0;
            if let Some(Output::Request(head)) = connection.poll_output() {
                fields = head.fields().count();
            }
            connection.handle_body_wanted(now);
            while let Some(output) = connection.poll_output() {
                black_box(&output);
            }
            let head = |field: &mut dyn FnMut(_, _)| {
                field(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                field(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            };
            connection.handle_response(StatusCode::OK, Some(answer.len() as u64), head, now);
            connection.handle_chunk(std::slice::from_ref(&answer), now);
            connection.handle_end(now);
            let mut slots = [IoSlice::new(&[]); 4];
            let filled = connection.unwritten(&mut slots);
            let written = slots[..filled].iter().map(|slot| slot.len()).sum();
            connection.handle_written(black_box(written), now);
            fields
        });
    });
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
