//! What holds of any bytes, in any pieces.

use bytes::Bytes;
use http::StatusCode;
use mcp_proto::h1::{Limits, last_response};
use proptest::prelude::*;

use super::strictness::validator;
use super::wire::{DATE, Told, UNIX_MS, Wire};

/// Pieces of requests, so that what is put together of them often nearly is one.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "POST /b HTTP/1.1\r\nHost: a\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "Expect: 100-continue\r\n",
            "\r\n",
            "\r\n\r\n",
            "hello",
            "5\r\nhello\r\n",
            "0\r\n\r\n",
            "0\r\nA: b\r\n\r\n",
            "a;b=c\r\n0123456789\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// All that a connection tells and writes if each request is answered once its body is complete.
fn serve(bytes: &[u8], cuts: &[usize]) -> (Vec<Told>, String) {
    let mut wire = Wire::new();
    let (mut all, mut written): (Vec<Told>, _) = (Vec::new(), String::new());
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    loop {
        loop {
            let told = wire.told();
            if told.is_empty() {
                break;
            }
            for told in told {
                match &told {
                    Told::Request { .. } => wire.want_body(),
                    Told::BodyEnd => wire.answer(StatusCode::OK, "fine"),
                    Told::Violation(violation) => wire.answer(violation.status(), "no"),
                    Told::Body(_) | Told::Disconnect | Told::ShutdownWrite => {}
                }
                match (all.last_mut(), told) {
                    (Some(Told::Body(before)), Told::Body(more)) => before.extend(more),
                    (_, told) => all.push(told),
                }
            }
            written += &wire.written();
        }
        if rest.is_empty() {
            return (all, written);
        }
        let length = cuts
            .next()
            .map_or(rest.len(), |&cut| cut.clamp(1, rest.len()));
        wire.send(&rest[..length]);
        rest = &rest[length..];
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn how_bytes_are_cut_changes_nothing(
        bytes in pieces(),
        cuts in prop::collection::vec(1..40_usize, 1..8),
    ) {
        let whole = serve(&bytes, &[]);
        prop_assert_eq!(&serve(&bytes, &cuts), &whole);
        prop_assert_eq!(&serve(&bytes, &[1]), &whole);
    }

    #[test]
    fn a_validator_judges_as_a_connection_does(bytes in pieces(), size in 1..60_usize) {
        let (told, _) = serve(&bytes, &[]);
        let refused = told.iter().find_map(|told| match told {
            Told::Violation(violation) => Some(*violation),
            _ => None,
        });
        let (passed, found) = validator(&bytes, size, Limits::default());
        let found = found.map(|(_, violation)| violation);
        // A connection looks at nothing behind a request that is the last; a validator does.
        if refused.is_some() {
            prop_assert_eq!(found, refused);
        }
        if found.is_none() {
            prop_assert_eq!(refused, None);
        }
        // What it passes is served in the same way, without anything to refuse.
        let (behind, _) = serve(&passed, &[]);
        let accepted: Vec<_> = told
            .into_iter()
            .take_while(|told| !matches!(told, Told::Violation(_)))
            .collect();
        prop_assert_eq!(behind, accepted);
    }

    #[test]
    fn a_streams_chunks_are_read_back(
        chunks in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..4), 0..8),
    ) {
        let mut wire = Wire::new();
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.told();
        wire.respond(StatusCode::OK, None);
        for chunk in &chunks {
            let slices: Vec<_> = chunk.iter().map(|slice| Bytes::copy_from_slice(slice)).collect();
            wire.connection.handle_chunk(&slices, wire.now);
        }
        wire.finish();
        let mut written = Vec::new();
        while wire.connection.wants_write() {
            let mut slots = [std::io::IoSlice::new(&[]); 1];
            wire.connection.unwritten(&mut slots);
            let slice = slots[0].to_vec();
            wire.connection.handle_written(slice.len(), wire.now);
            written.extend(slice);
        }
        // The same framing, read as a request's.
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let start = written.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut back = Wire::new();
        back.send(&[head, &written[start..]].concat());
        back.told();
        back.want_body();
        let body = chunks.concat().concat();
        let mut expected = vec![Told::BodyEnd];
        if !body.is_empty() {
            expected.insert(0, Told::Body(body));
        }
        prop_assert_eq!(back.told(), expected);
    }
}

#[test]
fn a_last_response_is_that_of_a_connection() {
    let mut wire = Wire::new();
    wire.send(b"x\n");
    wire.told();
    wire.answer(StatusCode::BAD_REQUEST, "no");
    let mut slots = [std::io::IoSlice::new(&[]); 2];
    let last = last_response(StatusCode::BAD_REQUEST, |_| {}, "no".into(), wire.now);
    let filled = last.fill(&mut slots);
    let last: Vec<u8> = slots[..filled]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    assert_eq!(wire.written().into_bytes(), last);
    assert!(String::from_utf8(last).unwrap().contains(DATE) && UNIX_MS > 0);
}
