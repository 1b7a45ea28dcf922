//! `mcp_proto::h1` against a parser that reads whole messages, and against hyper.
//!
//! An input is what a client sends on one connection.

mod hyper;
mod model;

use std::io::IoSlice;

use http::StatusCode;
use mcp_proto::Now;
use mcp_proto::h1::{Connection, Limits, Output, Validator, Violation};

use self::model::{End, Request};

/// Longer inputs find nothing that shorter ones do not, but for bounds that have tests.
const MOST: usize = 8 * 1024;

/// What could make a request of one that is not complete, if anything can.
const COMPLETIONS: [&str; 12] = [
    "\r\n\r\n",
    "\n\r\n",
    "\n",
    " / HTTP/1.1\r\nHost: a\r\n\r\n",
    "/ HTTP/1.1\r\nHost: a\r\n\r\n",
    " HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nHost: a\r\n\r\n",
    ": a\r\n\r\n",
    "0\r\n0\r\n\r\n",
    "\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "a: b\r\n\r\n",
];

/// The requests and their bodies are to be those that a plain parser finds, however the bytes come,
/// and are to be refused where it refuses; a validator is to judge alike, and hyper is to find the
/// same in what it takes.
pub fn check(input: &[u8]) {
    if input.len() > MOST {
        return;
    }
    let (requests, violation) = serve(input, usize::MAX);
    for piece in [1, 7] {
        assert_eq!(serve(input, piece), (requests.clone(), violation));
    }
    check_validator(input, &requests, violation);
    check_model(input, &requests, violation);
    hyper::check(input, &requests, violation.is_some());
}

fn check_model(input: &[u8], requests: &[Request], violation: Option<Violation>) {
    let (expected, end) = model::read(input);
    match violation {
        None => assert_ne!(end, End::Refused),
        // Not all of it has come, but nothing that could would make it a request.
        Some(_) if end == End::Incomplete => {
            for completion in COMPLETIONS {
                let whole = [input, completion.as_bytes()].concat();
                let (completed, end) = model::read(&whole);
                let is_complete = end != End::Refused && completed.len() > expected.len();
                assert!(!is_complete, "{completion:?} would make it a request");
            }
        }
        Some(_) => assert_eq!(end, End::Refused),
    }
    assert_eq!(requests, expected);
}

/// What the connection tells of input that comes in pieces of this many bytes, where everything is
/// answered.
fn serve(mut input: &[u8], piece: usize) -> (Vec<Request>, Option<Violation>) {
    let now = Now::default();
    let mut connection = Connection::new(Limits::default(), now);
    let (mut requests, mut body, mut refused) = (Vec::<Request>::new(), Vec::new(), None);
    loop {
        loop {
            let mut answer = None;
            let mut is_request = false;
            match connection.poll_output() {
                None => break,
                Some(Output::Request(head)) => {
                    is_request = true;
                    requests.push(Request {
                        method: head.method().to_string(),
                        authority: head.authority().map(str::to_owned),
                        target: head.target().to_owned(),
                        fields: head
                            .fields()
                            .map(|(name, value)| (name.to_owned(), value.to_vec()))
                            .collect(),
                        body: None,
                    });
                }
                Some(Output::Body(bytes)) => body.extend_from_slice(&bytes),
                Some(Output::BodyEnd) => {
                    let request = requests.last_mut().expect("a body has a head");
                    assert_eq!(request.body.replace(std::mem::take(&mut body)), None);
                    answer = Some(StatusCode::OK);
                }
                Some(Output::Violation(violation)) => {
                    assert_eq!(refused.replace(violation), None, "it is told once");
                    answer = Some(violation.status());
                }
                Some(Output::Disconnect) => panic!("the client is there"),
                Some(Output::ShutdownWrite) => {}
            }
            if is_request {
                connection.handle_body_wanted(now);
            }
            if let Some(status) = answer {
                connection.handle_response(status, Some(2), |_| {}, now);
                connection.handle_chunk(&["ok".into()], now);
                connection.handle_end(now);
            }
            while connection.wants_write() {
                let mut slots = [IoSlice::new(&[]); 4];
                let filled = connection.unwritten(&mut slots);
                let written = slots[..filled].iter().map(|slice| slice.len()).sum();
                connection.handle_written(written, now);
            }
        }
        if input.is_empty() || !connection.wants_read() {
            break;
        }
        let room = connection.read_buffer();
        let length = room.len().min(input.len()).min(piece);
        room[..length].copy_from_slice(&input[..length]);
        connection.handle_read(length, now);
        input = &input[length..];
    }
    (requests, refused)
}

/// A validator refuses where the connection does, and passes on whole heads and nothing that is
/// refused. It judges on behind a request that is the last, where the connection looks at nothing.
fn check_validator(input: &[u8], requests: &[Request], violation: Option<Violation>) {
    for piece in [1, 5, MOST] {
        let mut validator = Validator::new(Limits::default());
        let (mut passed, mut held) = (Vec::new(), Vec::new());
        let mut found = None;
        for bytes in input.chunks(piece) {
            held.extend_from_slice(bytes);
            let verdict = validator.read(&held);
            passed.extend(held.drain(..verdict.passed));
            found = verdict.violation.map(|(_, violation)| violation);
            if found.is_some() {
                break;
            }
        }
        if violation.is_some() {
            assert_eq!(found, violation, "in pieces of {piece}");
        }
        if found.is_none() {
            assert_eq!(violation, None, "in pieces of {piece}");
            assert_eq!([passed.as_slice(), &held].concat(), input);
        }
        assert_eq!(serve(&passed, MOST), (requests.to_vec(), None));
    }
}
