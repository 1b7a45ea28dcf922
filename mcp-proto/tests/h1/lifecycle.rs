//! What happens in which order: requests, bodies, responses, and the end.

use http::header::{ALLOW, CONNECTION, HeaderValue};
use http::{StatusCode, Version};
use mcp_proto::h1::{Output, Violation};

use super::wire::{DATE, Told, Wire, request};

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";

fn is_closing(wire: &mut Wire) -> bool {
    wire.told() == [Told::ShutdownWrite]
}

#[test]
fn head_and_body_of_a_response_are_one_slice() {
    let mut wire = Wire::new();
    wire.send(GET);
    assert_eq!(wire.told(), [request("GET", "/a")]);
    wire.connection.handle_response(
        StatusCode::METHOD_NOT_ALLOWED,
        Some(2),
        |field| field(ALLOW, HeaderValue::from_static("POST")),
        wire.now,
    );
    wire.chunk(b"no");
    wire.finish();
    let mut slots = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(wire.connection.unwritten(&mut slots), 1);
    let head = "HTTP/1.1 405 Method Not Allowed\r\nallow: POST\r\ncontent-length: 2\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\nno"));
    assert!(!wire.connection.is_closed());
}

#[test]
fn a_connection_is_used_again() {
    let mut wire = Wire::new();
    for _ in 0..3 {
        wire.send(GET);
        assert_eq!(wire.told(), [request("GET", "/a")]);
        wire.answer(StatusCode::OK, "x");
        assert!(wire.told().is_empty());
        assert!(wire.written().ends_with("\r\n\r\nx"));
    }
}

#[test]
fn an_absolute_target_is_told_as_path_and_authority() {
    for (sent, target) in [
        ("http://a/b?c", "/b?c"),
        ("http://a", "/"),
        ("HTTP://A?c", "?c"),
    ] {
        let mut wire = Wire::new();
        wire.send(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(wire.told(), [request("GET", target)]);
    }
    let mut wire = Wire::new();
    wire.send(b"GET http://A/ HTTP/1.1\r\nHost: a\r\n\r\n");
    let Some(Output::Request(head)) = wire.connection.poll_output() else {
        panic!("it is a request");
    };
    assert_eq!(
        (head.authority(), head.version()),
        (Some("A"), Version::HTTP_11)
    );
}

#[test]
fn a_length_is_told_in_full() {
    for length in [0_u64, 9, 12_345, u64::MAX] {
        let mut wire = Wire::new();
        wire.send(GET);
        wire.told();
        wire.respond(StatusCode::OK, Some(length));
        assert!(
            wire.written()
                .contains(&format!("\r\ncontent-length: {length}\r\n"))
        );
    }
}

#[test]
fn a_body_comes_once_it_is_wanted() {
    let mut wire = Wire::new();
    wire.send(POST);
    wire.send(b"he");
    let told = wire.told();
    assert!(matches!(&told[..], [Told::Request { .. }]), "{told:?}");
    wire.want_body();
    assert_eq!(wire.told(), [Told::Body(b"he".to_vec())]);
    wire.send(b"lloGET ");
    assert_eq!(wire.told(), [Told::Body(b"llo".to_vec()), Told::BodyEnd]);
}

#[test]
fn a_body_may_be_empty_or_absent() {
    for head in [
        &b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"[..],
        b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut wire = Wire::new();
        wire.send(head);
        wire.told();
        wire.want_body();
        assert_eq!(wire.told(), [Told::BodyEnd]);
    }
}

#[test]
fn chunks_extensions_and_trailers_are_put_away() {
    let mut wire = Wire::new();
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
    wire.told();
    wire.want_body();
    wire.send(b"2;x=\"y;\t\xff\"\r\nhe\r\n003\r\nllo\r\n0;z\r\nHost: b\r\nX-Empty:\r\n\r\n");
    assert_eq!(wire.told(), [Told::Body(b"hello".to_vec()), Told::BodyEnd]);
    wire.answer(StatusCode::OK, "");
    wire.send(GET);
    assert_eq!(wire.told(), [request("GET", "/a")]);
}

#[test]
fn pipelined_requests_are_told_one_after_the_other() {
    let mut wire = Wire::new();
    wire.send(&[POST, b"hello", GET].concat());
    assert_eq!(wire.told().len(), 1);
    wire.want_body();
    assert_eq!(wire.told(), [Told::Body(b"hello".to_vec()), Told::BodyEnd]);
    assert!(wire.told().is_empty());
    wire.answer(StatusCode::OK, "1");
    assert_eq!(wire.told(), [request("GET", "/a")]);
    wire.answer(StatusCode::OK, "2");
    let written = wire.written();
    let both = ["\r\n\r\n1HTTP/1.1 200 OK\r\n", "\r\n\r\n2"];
    assert!(both.iter().all(|part| written.contains(part)), "{written}");
}

#[test]
fn who_reads_no_responses_gets_no_further_ones() {
    let mut wire = Wire::new();
    wire.send(&[GET, GET].concat());
    wire.told();
    wire.answer(StatusCode::OK, &"x".repeat(64 * 1024));
    assert!(wire.told().is_empty() && !wire.connection.wants_read());
    assert!(!wire.connection.wants_chunk());
    wire.written();
    assert_eq!(wire.told(), [request("GET", "/a")]);
}

#[test]
fn what_is_read_ahead_is_bounded() {
    let mut wire = Wire::new();
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    wire.told();
    let mut sent = 0;
    while wire.connection.wants_read() {
        wire.send(&[b'x'; 1000]);
        sent += 1000;
    }
    assert!((16_000..18_000).contains(&sent), "{sent}");
    wire.want_body();
    assert!(wire.connection.wants_read());
    assert_eq!(wire.told(), [Told::Body(vec![b'x'; sent])]);
}

#[test]
fn a_client_that_waits_is_told_to_go_on_once_its_request_is_admitted() {
    let head = b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    let mut wire = Wire::new();
    wire.send(head);
    let told = wire.told();
    assert!(matches!(
        told[..],
        [Told::Request {
            expects_continue: true,
            ..
        }]
    ));
    assert!(!wire.connection.wants_write());
    wire.want_body();
    assert_eq!(wire.written(), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.want_body();
    assert!(!wire.connection.wants_write());
    wire.send(b"hello");
    assert_eq!(wire.told(), [Told::Body(b"hello".to_vec()), Told::BodyEnd]);
    wire.answer(StatusCode::OK, "");
    assert!(wire.written().starts_with("HTTP/1.1 200 "));

    // Refused: its body may come or not, so that the connection cannot go on.
    wire.send(head);
    wire.told();
    wire.answer(StatusCode::FORBIDDEN, "");
    assert!(wire.written().contains("\r\nconnection: close\r\n"));
    assert!(is_closing(&mut wire));
}

#[test]
fn only_http_1_1_and_only_with_a_body_waits_to_go_on() {
    for head in [
        &b"POST /a HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"[..],
        b"GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: something\r\nContent-Length: 5\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\n",
    ] {
        let mut wire = Wire::new();
        wire.send(head);
        wire.told();
        wire.want_body();
        assert!(!wire.connection.wants_write());
    }
}

#[test]
fn a_stream_is_chunked_for_http_1_1() {
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.chunk(b"event");
    wire.chunk(b"");
    let large = "y".repeat(20_000);
    wire.connection
        .handle_chunk(&["x".into(), large.clone().into()], wire.now);
    wire.finish();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let body = format!("5\r\nevent\r\n4e21\r\nx{large}\r\n0\r\n\r\n");
    assert_eq!(wire.written(), format!("{head}{DATE}\r\n{body}"));
    wire.send(GET);
    assert_eq!(wire.told(), [request("GET", "/a")]);
}

#[test]
fn a_long_slice_is_not_copied_and_a_short_one_is() {
    for (length, stands_alone) in [(16 * 1024 - 1, false), (16 * 1024, true)] {
        let mut wire = Wire::new();
        wire.send(GET);
        wire.told();
        wire.respond(StatusCode::OK, None);
        wire.written();
        wire.connection
            .handle_chunk(&[vec![b'x'; length].into()], wire.now);
        let mut slots = [std::io::IoSlice::new(&[]); 4];
        let filled = wire.connection.unwritten(&mut slots);
        // What is copied lies behind what tells the chunk's size.
        let is_it = |slot: &std::io::IoSlice<'_>| slot.len() == length;
        assert_eq!(slots[..filled].iter().any(is_it), stands_alone);
    }
}

#[test]
fn what_is_unwritten_is_bounded_where_the_driver_asks() {
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.written();
    let mut taken = 0;
    while wire.connection.wants_chunk() {
        wire.chunk(&[b'x'; 1000]);
        taken += 1000;
    }
    assert!((60_000..70_000).contains(&taken), "{taken}");
    wire.written();
    assert!(wire.connection.wants_chunk());
}

#[test]
fn a_stream_ends_with_the_connection_for_http_1_0() {
    let mut wire = Wire::new();
    wire.send(b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.chunk(b"event");
    wire.finish();
    let head = "HTTP/1.0 200 OK\r\nconnection: close\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\nevent"));
    assert!(is_closing(&mut wire));
}

#[test]
fn http_1_0_goes_on_only_if_it_asks_to() {
    let mut wire = Wire::new();
    wire.send(b"GET /a HTTP/1.0\r\nConnection: x, Keep-Alive\r\n\r\n");
    wire.told();
    wire.answer(StatusCode::OK, "");
    let head = "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\n"));
    wire.send(b"GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(wire.told().len(), 1);
    wire.answer(StatusCode::OK, "");
    let head = "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\n"));
    assert!(is_closing(&mut wire));
}

#[test]
fn a_response_without_a_body_has_none_whatever_it_says() {
    let mut wire = Wire::new();
    wire.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    wire.told();
    wire.answer(StatusCode::OK, "hello");
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\n"));
    wire.send(GET);
    wire.told();
    wire.answer(StatusCode::NO_CONTENT, "");
    let head = "HTTP/1.1 204 No Content\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\n"));
}

#[test]
fn either_side_may_close_after_a_response() {
    let mut wire = Wire::new();
    wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n");
    wire.send(GET);
    assert_eq!(wire.told().len(), 1);
    wire.answer(StatusCode::OK, "");
    assert!(wire.told().is_empty(), "not before all is written");
    assert!(wire.written().contains("\r\nconnection: close\r\n"));
    assert!(is_closing(&mut wire));

    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    let close = HeaderValue::from_static("close");
    wire.connection.handle_response(
        StatusCode::OK,
        Some(0),
        |field| field(CONNECTION, close),
        wire.now,
    );
    wire.finish();
    assert_eq!(wire.written().matches("close").count(), 1);
    assert!(is_closing(&mut wire));

    // To HTTP/1.0 it goes without saying, unless it was said.
    let mut wire = Wire::new();
    wire.send(b"GET /a HTTP/1.0\r\n\r\n");
    wire.told();
    let close = HeaderValue::from_static("close");
    wire.connection.handle_response(
        StatusCode::OK,
        Some(0),
        |field| field(CONNECTION, close),
        wire.now,
    );
    wire.finish();
    assert!(wire.written().contains("\r\nconnection: close\r\n"));
}

#[test]
fn after_the_last_response_what_comes_is_thrown_away_for_a_while() {
    let closing = || {
        let mut wire = Wire::new();
        wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        wire.told();
        wire.answer(StatusCode::OK, "");
        wire.written();
        assert!(is_closing(&mut wire));
        assert!(wire.connection.wants_read() && !wire.connection.is_closed());
        wire
    };
    let mut wire = closing();
    wire.send(GET);
    assert!(wire.told().is_empty());
    wire.end();
    assert!(wire.connection.is_closed() && wire.due_in().is_none());

    let mut wire = closing();
    for _ in 0..64 {
        assert!(!wire.connection.is_closed());
        wire.send(&[b'x'; 1024]);
    }
    assert!(wire.connection.is_closed());

    let mut wire = closing();
    let due = wire.due_in().expect("it does not last");
    wire.pass(due);
    assert!(wire.connection.is_closed());
}

#[test]
fn what_has_come_of_a_refused_body_is_passed_over() {
    let mut wire = Wire::new();
    wire.send(&[POST, b"hello", GET].concat());
    wire.told();
    wire.answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, "");
    assert!(!wire.written().contains("close"));
    assert_eq!(wire.told(), [request("GET", "/a")]);
}

#[test]
fn what_is_still_to_come_of_a_refused_body_costs_the_connection() {
    let chunked = &b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"[..];
    for (head, body) in [
        (POST, &b"hell"[..]),
        (chunked, b"5\r\nhello\r\n0\r\n"),
        (chunked, b"x"),
    ] {
        let mut wire = Wire::new();
        wire.send(&[head, body].concat());
        wire.told();
        wire.answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, "");
        assert!(wire.written().contains("\r\nconnection: close\r\n"));
        assert!(is_closing(&mut wire));
        wire.send(GET);
        assert!(wire.told().is_empty());
    }
}

#[test]
fn a_body_that_is_none_is_told_of_once() {
    let mut wire = Wire::new();
    wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhexx");
    wire.told();
    wire.want_body();
    let violation = Told::Violation(Violation::MalformedBody);
    assert_eq!(wire.told(), [Told::Body(b"he".to_vec()), violation]);
    wire.send(GET);
    assert!(wire.told().is_empty());
    wire.answer(StatusCode::BAD_REQUEST, "");
    assert!(wire.written().contains("\r\nconnection: close\r\n"));
    assert!(is_closing(&mut wire));
}

#[test]
fn what_is_no_request_is_answered_like_one() {
    let mut wire = Wire::new();
    wire.send(b"GET /a HTTP/1.1\r\n\r\n");
    wire.send(GET);
    assert_eq!(wire.told(), [Told::Violation(Violation::BadHost)]);
    wire.answer(StatusCode::BAD_REQUEST, "bad");
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\nconnection: close\r\n";
    assert_eq!(wire.written(), format!("{head}{DATE}\r\nbad"));
    assert!(is_closing(&mut wire));
    wire.send(GET);
    assert!(wire.told().is_empty());
}

#[test]
fn a_violation_waits_for_the_responses_before_it() {
    let mut wire = Wire::new();
    wire.send(&[GET, b"\r\n"].concat());
    assert_eq!(wire.told(), [request("GET", "/a")]);
    wire.answer(StatusCode::OK, "1");
    assert_eq!(wire.told(), [Told::Violation(Violation::MalformedHead)]);
    wire.answer(StatusCode::BAD_REQUEST, "2");
    let written = wire.written();
    assert!(written.contains("\r\n\r\n1HTTP/1.1 400 ") && written.ends_with("\r\n\r\n2"));
}

#[test]
fn a_client_that_leaves_is_noticed() {
    // Between requests, or within a head: nobody waits.
    for sent in [&b""[..], b"GET /a HT"] {
        let mut wire = Wire::new();
        wire.send(sent);
        wire.told();
        wire.end();
        assert!(wire.told().is_empty() && wire.connection.is_closed());
    }
    // Within a body, before the response, and within it.
    for (sent, responds) in [(&POST[..POST.len() - 2], false), (GET, false), (GET, true)] {
        let mut wire = Wire::new();
        wire.send(sent);
        wire.send(b"\r\n");
        wire.told();
        wire.want_body();
        if responds {
            wire.respond(StatusCode::OK, None);
        }
        assert!(wire.connection.wants_read());
        wire.told();
        wire.end();
        assert!(!wire.connection.is_closed());
        assert_eq!(wire.told(), [Told::Disconnect]);
        assert!(wire.connection.is_closed() && !wire.connection.wants_write());
        // What crosses it is nothing to anybody.
        if !responds {
            wire.respond(StatusCode::OK, None);
        }
        wire.chunk(b"late");
        wire.finish();
        assert!(wire.told().is_empty() && !wire.connection.wants_write());
    }
}

#[test]
fn a_client_that_ends_after_its_answer_is_complete_gets_it() {
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.answer(StatusCode::OK, "hello");
    wire.end();
    assert!(wire.told().is_empty());
    assert!(wire.written().ends_with("hello"));
    assert!(is_closing(&mut wire));
}

#[test]
fn a_broken_connection_is_closed_whatever_it_was_at() {
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.connection.handle_disconnect(wire.now);
    assert_eq!(wire.told(), [Told::Disconnect]);
    assert!(wire.connection.is_closed());
    wire.connection.handle_disconnect(wire.now);
    assert!(wire.told().is_empty());
}

#[test]
fn a_shutdown_lets_what_is_in_flight_finish() {
    let mut wire = Wire::new();
    wire.connection.handle_shutdown(wire.now);
    assert!(is_closing(&mut wire));

    let mut wire = Wire::new();
    wire.send(&[GET, GET].concat());
    wire.told();
    wire.connection.handle_shutdown(wire.now);
    assert!(wire.told().is_empty());
    wire.answer(StatusCode::OK, "last");
    assert!(wire.written().contains("\r\nconnection: close\r\n"));
    assert!(is_closing(&mut wire));

    // A response that has begun can say no more that it is the last.
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.connection.handle_shutdown(wire.now);
    wire.chunk(b"event");
    wire.finish();
    assert!(wire.written().ends_with("5\r\nevent\r\n0\r\n\r\n"));
    assert!(is_closing(&mut wire));
}

#[test]
#[should_panic(expected = "a request has one response")]
fn a_second_response_is_the_drivers_fault() {
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.respond(StatusCode::OK, None);
}

#[test]
#[should_panic(expected = "a body is as long as its head says")]
fn a_body_that_is_too_short_is_the_drivers_fault() {
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, Some(1));
    wire.finish();
}
