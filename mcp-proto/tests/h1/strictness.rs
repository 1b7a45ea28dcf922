//! What is no request, and why: by both who judge, in one piece and byte by byte.

use mcp_proto::h1::{Limits, Output, Place, Validator, Violation};

use super::wire::{Told, Wire};

use Violation::{
    AmbiguousLength, BadHost, BodyTooLarge, HeadTooLarge, MalformedBody, MalformedHead,
    TargetTooLong, UnsupportedTransferCoding,
};

fn limits() -> Limits {
    Limits {
        target_bytes: 100,
        head_bytes: 400,
        head_fields: 5,
        body_bytes: 1000,
        chunk_line_bytes: 20,
        chunk_framing_bytes: 100,
        ..Limits::default()
    }
}

/// What the connection says of bytes that come in pieces of `size`.
fn connection(bytes: &[u8], size: usize) -> Option<Violation> {
    let mut wire = Wire::with(limits());
    for piece in bytes.chunks(size) {
        wire.send(piece);
        for told in wire.told() {
            match told {
                Told::Violation(violation) => return Some(violation),
                Told::Request { .. } => wire.want_body(),
                _ => {}
            }
        }
        for told in wire.told() {
            if let Told::Violation(violation) = told {
                return Some(violation);
            }
        }
    }
    None
}

/// What the validator says of bytes that come in pieces of `size`, and which of them it passes.
pub(crate) fn validator(
    bytes: &[u8],
    size: usize,
    limits: Limits,
) -> (Vec<u8>, Option<(Place, Violation)>) {
    let mut validator = Validator::new(limits);
    let (mut passed, mut kept) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        kept.extend_from_slice(piece);
        let verdict = validator.read(&kept);
        passed.extend(kept.drain(..verdict.passed));
        if verdict.violation.is_some() {
            let again = validator.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!((again.passed, again.violation), (0, verdict.violation));
            return (passed, verdict.violation);
        }
    }
    (passed, None)
}

fn check(bytes: &[u8], place: Place, violation: Option<Violation>) {
    let shown = bytes.escape_ascii();
    for size in [bytes.len(), 1, 2, 3, 7] {
        assert_eq!(connection(bytes, size), violation, "{size}: {shown}");
        let (passed, found) = validator(bytes, size, limits());
        let expected = violation.map(|violation| (place, violation));
        assert_eq!(found, expected, "{size}: {shown}");
        // Whoever stands behind it sees nothing of a head that is refused.
        if found.is_some() && place == Place::Head {
            assert!(passed.is_empty(), "{size}: {shown}");
        }
    }
}

fn head(bytes: &[u8], violation: Violation) {
    check(bytes, Place::Head, Some(violation));
}

fn lines(lines: &str, violation: Violation) {
    let bytes = format!("GET / HTTP/1.1\r\n{lines}\r\n");
    head(bytes.as_bytes(), violation);
}

fn fine(bytes: &[u8]) {
    check(bytes, Place::Head, None);
}

#[test]
fn request_lines() {
    for line in [
        "GET /",
        "/",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET /a b HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET /# HTTP/1.1",
        "GET /\" HTTP/1.1",
        "GET /% HTTP/1.1",
        "GET /%a HTTP/1.1",
        "GET /%ag HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http://a/\" HTTP/1.1",
        "CONNECT a:80:80 HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        head(
            format!("{line}\r\nHost: a\r\n\r\n").as_bytes(),
            MalformedHead,
        );
    }
    for line in [
        "GET /%20~:@!$&'()*+,;=?a=/?&%c3%a9 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "CONNECT /a HTTP/1.1",
        "GET http://a/b?c HTTP/1.1",
        "GET HTTPS://A HTTP/1.1",
        "GET http://a?c HTTP/1.1",
        "x!#$%&'*+-.^_`|~9 / HTTP/1.1",
    ] {
        fine(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
    }
    head(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", MalformedHead);
}

#[test]
fn what_speaks_something_else_hears_of_it_at_once() {
    for bytes in [&b"\x16\x03\x01"[..], b"\0", b"GET \x7f", b"\xff"] {
        head(bytes, MalformedHead);
    }
}

#[test]
fn a_request_line_of_another_version_needs_no_fields_to_be_refused() {
    for bytes in [
        &b"GET /\r\n"[..],
        b"GET / HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        head(bytes, MalformedHead);
    }
}

#[test]
fn line_ends() {
    for bytes in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\rHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
    ] {
        head(bytes, MalformedHead);
    }
}

#[test]
fn fields() {
    for field in [
        "X",
        ": b",
        "X : b",
        " X: b",
        "X\t: b",
        "X(: b",
        "X: b\0",
        "X: \u{1}",
        "X: \u{7f}",
        "X\u{e9}: b",
        "Connection: \"close\"",
        "Connection: close\u{e9}",
        "Connection: close, a b",
        "Connection: close;",
        "X: b\r\n c",
        "X: b\r\n\tc",
    ] {
        lines(&format!("Host: a\r\n{field}\r\n"), MalformedHead);
    }
    lines(" Host: a\r\n", MalformedHead);
    fine(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: , x-y,\tkeep-alive ,\r\n\r\n");
    fine(b"GET / HTTP/1.1\r\nhOST:a\r\nX:\r\nY: \t b\xff\tc \t\r\n\r\n");
}

#[test]
fn hosts() {
    lines("", BadHost);
    for host in [
        "", "a b", "a,b c", "a/b", "user@a", "a:", "a:x", "a:65536", "a:+80", ":80", "[::1",
        "[::g]", "[]", "::1", "a%", "a%4", "\u{e9}",
    ] {
        lines(&format!("Host: {host}\r\n"), BadHost);
    }
    lines("Host: a\r\nHost: a\r\n", BadHost);
    lines("Host: a\r\nhost: b\r\n", BadHost);
    for host in [
        "a",
        "A-b.c_d",
        "a:0",
        "a:65535",
        "127.0.0.1:1",
        "[::1]:80",
        "a%41",
    ] {
        fine(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
    head(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", BadHost);
    head(b"GET / HTTP/1.0\r\nHost: \r\n\r\n", BadHost);
    fine(b"GET / HTTP/1.0\r\n\r\n");
    head(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", BadHost);
    head(b"GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", BadHost);
    head(b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadHost);
    head(b"GET http:///x HTTP/1.0\r\n\r\n", BadHost);
}

#[test]
fn lengths() {
    for length in [
        "",
        "+1",
        "-1",
        "01",
        "00",
        "1,1",
        "1, 1",
        "0x1",
        "1_0",
        "1 1",
        "1.0",
        "a",
        "18446744073709551616",
    ] {
        lines(
            &format!("Host: a\r\nContent-Length: {length}\r\n"),
            AmbiguousLength,
        );
    }
    for fields in [
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
    ] {
        lines(&format!("Host: a\r\n{fields}\r\n"), AmbiguousLength);
    }
    for fields in ["gzip, chunked", "x-compress,\tDeflate , CHUNKED"] {
        let fields = format!("Host: a\r\nTransfer-Encoding: {fields}\r\n");
        lines(&fields, UnsupportedTransferCoding);
    }
    head(
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        AmbiguousLength,
    );
    fine(b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: x\r\nTransfer_Encoding: y\r\n\r\n");
    fine(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n");
}

#[test]
fn bounds_of_a_head() {
    let target = |length: usize| {
        let pad = "a".repeat(length - 1);
        format!("GET /{pad} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
    };
    fine(&target(100));
    head(&target(101), TargetTooLong);
    // Refused before it is complete.
    head(&target(300)[..200], TargetTooLong);
    head(&[b'a'; 200], MalformedHead);
    head(
        format!("GET / {}", "a".repeat(300)).as_bytes(),
        MalformedHead,
    );

    let fields = |length: usize| {
        let pad = "a".repeat(length - "Host: a\r\nX: \r\n".len());
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {pad}\r\n\r\n").into_bytes()
    };
    fine(&fields(400));
    head(&fields(401), HeadTooLarge);
    head(&fields(500)[..450], HeadTooLarge);
    lines(&format!("Host: a\r\n{}", "X: \r\n".repeat(5)), HeadTooLarge);
    fine(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: \r\n".repeat(4)).as_bytes());
}

#[test]
fn more_fields_than_fit_the_stack() {
    let limits = Limits {
        head_fields: 1000,
        ..Limits::default()
    };
    let mut wire = Wire::with(limits);
    let fields: String = (0..999).map(|n| format!("X: {n}\r\n")).collect();
    wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    let told = wire.told();
    let [Told::Request { fields, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((fields.len(), &fields[999].1[..]), (1000, &b"998"[..]));
}

#[test]
fn chunks() {
    let body = |body: &str, violation| {
        let bytes =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        check(bytes.as_bytes(), Place::Body, violation);
    };
    for malformed in [
        "\r\n",
        ";\r\n",
        " 1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "g\r\n",
        "1 \r\n",
        "1 ;a\r\n",
        "1\n",
        "1\rx",
        "1;a\n",
        "1;a\0\r\n",
        "1;a\u{7f}\r\n",
        "1;\rx",
        "1\r\nx\n",
        "1\r\nxx",
        "1\r\nx\rx",
        "1\r\nx\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\r\nA",
        "0\r\n A: b\r\n",
        "0\r\nA b\r\n",
        "0\r\n: b\r\n",
        "0\r\nA: b\n",
        "0\r\nA: b\rc",
        "0\r\nA: b\0\r\n",
    ] {
        // Unfinished ones are not judged yet: one byte more, and they are.
        body(&format!("{malformed}\0"), Some(MalformedBody));
    }
    body("10;234567890123456\r\n", None);
    body("10;2345678901234567\r\n", Some(MalformedBody));
    let small = "1\r\nx\r\n";
    body(&small.repeat(20), None);
    body(&small.repeat(21), Some(MalformedBody));
    body(&format!("0\r\n{}", "A:\r\n".repeat(5)), None);
    body(&format!("0\r\n{}", "A:\r\n".repeat(6)), Some(MalformedBody));
    body(&format!("0\r\nA: {}", "b".repeat(94)), None);
    body(&format!("0\r\nA: {}", "b".repeat(95)), Some(MalformedBody));
    body("0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
    for large in ["3e9", "fffffffffffffffff", "3e8\r\n"] {
        let more = if large.ends_with('\n') {
            format!("{large}{}\r\n1", "x".repeat(1000))
        } else {
            large.to_owned()
        };
        body(&more, Some(BodyTooLarge));
    }
}

#[test]
fn behind_a_request_that_is_the_last_only_a_validator_judges() {
    for last in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let bytes = format!("{last}\n\0anything");
        assert_eq!(connection(bytes.as_bytes(), bytes.len()), None);
        // The server behind it may read on.
        let (passed, found) = validator(bytes.as_bytes(), 7, limits());
        assert_eq!(passed, last.as_bytes());
        assert_eq!(found, Some((Place::Head, MalformedHead)));
    }
}

#[test]
fn fields_whose_names_are_as_long_as_others_mean_nothing() {
    let fields = "Date: b\r\nCookie: 100-continue\r\nKeep-Alive: close\r\n\
                  Content-Syntax: 1\r\n";
    let mut wire = Wire::with(limits());
    wire.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    let Some(Output::Request(head)) = wire.connection.poll_output() else {
        panic!("it is a request");
    };
    assert!(head.persists() && !head.expects_continue());
    assert_eq!(head.authority(), None);
}

#[test]
fn a_head_is_passed_on_once_it_is_complete() {
    let head = &b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"[..];
    let bytes = [head, b"hi", &head[..20]].concat();
    for size in [1, 7, 20, bytes.len()] {
        let (passed, violation) = validator(&bytes, size, limits());
        assert_eq!((passed.len(), violation), (head.len() + 2, None));
    }
    let (passed, violation) = validator(&head[..head.len() - 1], 5, limits());
    assert_eq!((passed.len(), violation), (0, None));

    let mut validator = Validator::new(limits());
    for (bytes, heads) in [
        (&bytes[..], 1),
        (&[head, b"hi", head].concat(), 2),
        (b"hi", 0),
    ] {
        assert_eq!(validator.read(bytes).heads, heads);
    }
}
