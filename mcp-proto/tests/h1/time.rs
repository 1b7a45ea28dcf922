//! Each wait has a time of its own, and what is early does no harm.

use std::time::Duration;

use http::StatusCode;
use mcp_proto::h1::{Limits, Violation};

use super::wire::{Told, Wire, request};

const SECOND: Duration = Duration::from_secs(1);
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

/// Nothing is due a nanosecond before it is, and it is then.
fn at_its_time(wire: &mut Wire, time: Duration) -> Vec<Told> {
    assert_eq!(wire.due_in(), Some(time));
    wire.pass(time - Duration::from_nanos(1));
    assert!(wire.told().is_empty() && !wire.connection.is_closed());
    wire.pass(Duration::from_nanos(1));
    wire.told()
}

#[test]
fn a_connection_may_stand_idle_for_a_while() {
    let mut wire = Wire::new();
    let idle = Limits::default().keep_alive_time;
    assert_eq!(at_its_time(&mut wire, idle), [Told::ShutdownWrite]);

    let mut wire = Wire::new();
    wire.pass(SECOND);
    wire.send(GET);
    wire.told();
    wire.pass(2 * SECOND);
    wire.answer(StatusCode::OK, "");
    wire.pass(3 * SECOND);
    wire.written();
    assert_eq!(at_its_time(&mut wire, idle), [Told::ShutdownWrite]);
}

#[test]
fn a_head_has_its_time_from_its_first_byte() {
    let mut wire = Wire::new();
    wire.pass(5 * SECOND);
    wire.send(b"GET ");
    wire.pass(4 * SECOND);
    wire.send(b"/");
    assert_eq!(
        at_its_time(&mut wire, 6 * SECOND),
        [Told::Violation(Violation::HeadTimeout)]
    );
    wire.answer(StatusCode::REQUEST_TIMEOUT, "");
    assert!(wire.written().contains("\r\nconnection: close\r\n"));
    assert_eq!(wire.told(), [Told::ShutdownWrite]);
}

#[test]
fn a_head_that_came_early_has_its_time_from_its_turn() {
    let mut wire = Wire::new();
    wire.send(&[GET, b"GET"].concat());
    wire.told();
    wire.pass(60 * SECOND);
    wire.answer(StatusCode::OK, "");
    wire.written();
    assert_eq!(
        at_its_time(&mut wire, 10 * SECOND),
        [Told::Violation(Violation::HeadTimeout)]
    );
}

#[test]
fn a_body_has_its_time_unless_whoever_answers_watches_it() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell";
    let mut wire = Wire::new();
    wire.send(head);
    wire.told();
    assert_eq!(
        at_its_time(&mut wire, 30 * SECOND),
        [Told::Violation(Violation::BodyTimeout)]
    );
    wire.pass(30 * SECOND);
    assert!(wire.told().is_empty());
    wire.answer(StatusCode::REQUEST_TIMEOUT, "");
    assert!(wire.written().contains("\r\nconnection: close\r\n"));

    let limits = Limits {
        body_time: None,
        ..Limits::default()
    };
    let mut wire = Wire::with(limits);
    wire.send(head);
    wire.told();
    assert_eq!(wire.due_in(), None);
}

#[test]
fn a_response_takes_as_long_as_it_takes() {
    for sent in [
        GET,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx",
    ] {
        let mut wire = Wire::new();
        wire.send(sent);
        wire.told();
        wire.want_body();
        wire.told();
        wire.respond(StatusCode::OK, None);
        wire.written();
        assert_eq!(wire.due_in(), None);
    }
}

#[test]
fn a_request_that_waited_for_a_slow_reader_is_not_late() {
    let mut wire = Wire::new();
    wire.send(&[GET, GET].concat());
    wire.told();
    wire.answer(StatusCode::OK, &"x".repeat(64 * 1024));
    assert!(
        wire.told().is_empty(),
        "not before its reader has caught up"
    );
    wire.pass(60 * SECOND);
    wire.written();
    wire.pass(Duration::ZERO);
    assert_eq!(wire.told(), [request("GET", "/a")]);
}

#[test]
fn who_takes_nothing_of_a_stream_is_left() {
    let limit = Limits::default().keep_alive_time;
    let mut wire = Wire::new();
    wire.send(GET);
    wire.told();
    wire.respond(StatusCode::OK, None);
    wire.written();
    wire.pass(10 * limit);
    wire.chunk(b"event");
    wire.pass(SECOND);
    wire.chunk(b"event");
    assert_eq!(at_its_time(&mut wire, limit - SECOND), [Told::Disconnect]);
    assert!(wire.connection.is_closed());
}

#[test]
fn who_takes_nothing_of_a_response_is_left() {
    let limit = Limits::default().keep_alive_time;
    for head in [GET, b"GET /a HTTP/1.0\r\n\r\n"] {
        let mut wire = Wire::new();
        wire.send(head);
        wire.told();
        wire.pass(SECOND);
        wire.answer(StatusCode::OK, "");
        wire.pass(limit - SECOND);
        wire.connection.handle_written(1, wire.now);
        assert!(at_its_time(&mut wire, limit).is_empty());
        assert!(wire.connection.is_closed());
    }
}
