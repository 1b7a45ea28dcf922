//! One connection: how long it is kept, and what a client that goes leaves behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::http;
use super::run::{Gateway, shell_server};

const CALL: &str = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"large"}}"#;

/// Sends a request that leaves the connection open.
fn ask(stream: &mut TcpStream, session: &str, length: usize, body: &str) {
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Mcp-Session-Id: {session}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream
        .write_all(request.as_bytes())
        .expect("the request is taken");
}

/// Reads a response with a `Content-Length` to its end.
fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head arrives");
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("the head is text");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("the length is told")];
    stream.read_exact(&mut body).expect("the body arrives");
    (head, body)
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address).expect("the gateway listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out can be set");
    stream
}

#[test]
fn a_reader_that_is_slow_is_not_idle() {
    const LENGTH: usize = 32 << 20;
    let mark = format!("slow-{}", std::process::id());
    let large = format!(
        r#"read -r line
printf '{{"jsonrpc":"2.0","id":2,"result":{{"text":"'
head -c {LENGTH} /dev/zero | tr '\0' x
printf '"}}}}\n'
read -r line"#
    );
    let options = [
        "--startup-probe",
        "off",
        "--discover",
        "off",
        "--keep-alive-time",
        "2s",
        "--line-bytes",
        "64MiB",
    ];
    let server = shell_server("", &large);
    let gateway = Gateway::start(&mark, &options, &["sh", "-c", &server]);
    let session = http::initialize(gateway.address);
    let mut stream = connect(&gateway);
    ask(&mut stream, &session, CALL.len(), CALL);
    let mut piece = vec![0; 1 << 19];
    let mut got = 0;
    while got < LENGTH {
        let read = stream.read(&mut piece).expect("the answer arrives");
        assert_ne!(read, 0, "cut off after {got} bytes");
        got += read;
        std::thread::sleep(Duration::from_secs_f64(read as f64 / (5 << 20) as f64));
    }
}

#[test]
fn a_connection_that_will_be_closed_says_so() {
    let mark = format!("close-{}", std::process::id());
    let gateway = Gateway::start(
        &mark,
        &["--startup-probe", "off", "--discover", "off"],
        &["true"],
    );
    let unknown = "0123456789abcdef0123456789abcdef";
    let mut stream = connect(&gateway);
    // What came along with the head is thrown away.
    for _ in 0..2 {
        ask(&mut stream, unknown, CALL.len(), CALL);
        let (head, _) = answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
    }
    ask(&mut stream, unknown, CALL.len(), &CALL[..10]);
    let (head, _) = answer(&mut stream);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(stream.read(&mut [0]).expect("the connection closes"), 0);
}

#[test]
fn requests_that_end_early_leave_nothing_behind() {
    let mark = format!("early-{}", std::process::id());
    let server = shell_server("", "while read -r line; do :; done");
    let level = format!("{}=info", env!("CARGO_PKG_NAME").replace('-', "_"));
    let options = [
        "--startup-probe",
        "off",
        "--discover",
        "off",
        "--log-level",
        &level,
    ];
    let gateway = Gateway::start(&mark, &options, &["sh", "-c", &server]);
    let session = http::initialize(gateway.address);
    let mut stream = connect(&gateway);
    let mut refused = |times| {
        for _ in 0..times {
            ask(&mut stream, &session, 1, "{");
            let (head, _) = answer(&mut stream);
            assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        }
    };
    refused(1000);
    let before = gateway.memory("VmRSS");
    refused(12_000);
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    // A hundred bytes of each would be more than a megabyte.
    assert!(grown < 512, "grown by {grown} KiB");
}

#[test]
fn a_reader_that_keeps_up_gets_all_of_a_flood() {
    const MESSAGES: usize = 10_000;
    let mark = format!("flood-{}", std::process::id());
    let text = "y".repeat(1000);
    let flood = format!(
        r#"read -r line
yes '{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{text}"}}}}' | head -n {MESSAGES}
echo '{{"jsonrpc":"2.0","id":2,"result":{{"done":true}}}}'
read -r line"#
    );
    let server = shell_server("", &flood);
    let gateway = Gateway::start(
        &mark,
        &["--startup-probe", "off", "--discover", "off"],
        &["sh", "-c", &server],
    );
    let session = http::initialize(gateway.address);
    let answer = http::request(gateway.address, "POST", Some(&session), CALL);
    assert_eq!(
        answer.body.matches("notifications/message").count(),
        MESSAGES
    );
    assert!(answer.body.contains(r#""id":"c","result":{"done":true}"#));
}

#[test]
fn sessions_that_open_at_once_do_not_hinder_each_other() {
    let mark = format!("crowd-{}", std::process::id());
    let server = shell_server("", "read -r line");
    let options = [
        "--startup-probe",
        "off",
        "--discover",
        "off",
        "--sessions",
        "1000",
    ];
    let gateway = Gateway::start(&mark, &options, &["sh", "-c", &server]);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..50).for_each(|_| drop(http::initialize(gateway.address))));
        }
    });
}
