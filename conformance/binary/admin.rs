//! The admin address: what is counted, how things stand, and who may ask.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};

use serde_json::Value;

use super::http::{Caller, INITIALIZE, INITIALIZED, LIST, Response, receive};
use super::processes::eventually;
use super::run::{Gateway, Launch};
use crate::BINARY;

fn start(launch: Launch) -> (Gateway, SocketAddr) {
    let gateway = launch.options(&["--admin", "127.0.0.1:0"]).start();
    let log = gateway.stderr.text();
    let told = log.split_once("admin=").expect("the address is told").1;
    let address = told
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    (gateway, address.expect("it is an address"))
}

fn metrics(admin: SocketAddr) -> String {
    let response = Caller::new(admin).get("/metrics");
    assert_eq!(response.status, 200);
    let text = response.field("content-type");
    assert_eq!(text, Some("text/plain; version=0.0.4"));
    response.body
}

fn status(admin: SocketAddr) -> Value {
    let response = Caller::new(admin).get("/status");
    assert_eq!(response.status, 200);
    serde_json::from_str(&response.body).expect("it is JSON")
}

/// The value of a series, whose name and labels this is.
fn value(text: &str, series: &str) -> f64 {
    let series = format!("mcp_gateway_{series} ");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(&series));
    let value = value.unwrap_or_else(|| panic!("{series} is in {text}"));
    value.parse().expect("it is a number")
}

/// Waits until a series has this value: a request is counted at its end, which is not its client's.
fn expect(admin: SocketAddr, series: &str, expected: f64) {
    let mut found = f64::NAN;
    eventually(&format!("{series} is {expected}"), || {
        found = value(&metrics(admin), series);
        found == expected
    });
}

#[test]
fn numbers_are_those_of_what_was_sent() {
    let (gateway, admin) = start(Launch::demo());
    let caller = Caller::new(gateway.address);
    let (mut sent, mut received) = (0, 0);
    let mut send = |method: &str, session: Option<&str>, body: &str, status: u16| -> Response {
        let response = caller.request(method, session, body);
        assert_eq!(response.status, status, "{}", response.body);
        sent += body.len();
        received += response.body.len();
        response
    };
    let session = send("POST", None, INITIALIZE, 200).session;
    let session = session.as_deref();
    send("POST", session, INITIALIZED, 202);
    for _ in 0..3 {
        send("POST", session, LIST, 200);
    }
    send("POST", None, LIST, 400);
    send("PUT", None, "", 405);
    send("BREW", None, "", 405);
    for target in ["/health", "/health/ready", "/no-such-path"] {
        received += caller.get(target).body.len();
    }
    let ended = caller.request("DELETE", session, "");
    assert_eq!(ended.status, 204);
    for (series, expected) in [
        (
            r#"requests_total{method="POST",outcome="ok",route="mcp"}"#,
            5,
        ),
        (
            r#"requests_total{method="POST",outcome="client_error",route="mcp"}"#,
            1,
        ),
        (
            r#"requests_total{method="POST",outcome="server_error",route="mcp"}"#,
            0,
        ),
        (
            r#"requests_total{method="PUT",outcome="client_error",route="mcp"}"#,
            1,
        ),
        (
            r#"requests_total{method="other",outcome="client_error",route="mcp"}"#,
            1,
        ),
        (
            r#"requests_total{method="DELETE",outcome="ok",route="mcp"}"#,
            1,
        ),
        (
            r#"requests_total{method="GET",outcome="ok",route="health"}"#,
            1,
        ),
        (
            r#"requests_total{method="GET",outcome="ok",route="health-ready"}"#,
            1,
        ),
        (
            r#"requests_total{method="GET",outcome="client_error",route="unknown"}"#,
            1,
        ),
        (r#"messages_total{method="initialize",outcome="ok"}"#, 1),
        (r#"messages_total{method="tools/list",outcome="ok"}"#, 3),
        (
            r#"messages_total{method="tools/list",outcome="client_error"}"#,
            1,
        ),
        ("post_duration_seconds_count", 6),
        ("child_duration_seconds_count", 4),
        (r#"refusals_total{reason="session-required"}"#, 1),
        (r#"refusals_total{reason="method-not-allowed"}"#, 2),
        (r#"refusals_total{reason="not-found"}"#, 1),
        ("sessions_opened_total", 1),
        (r#"sessions_ended_total{reason="deleted"}"#, 1),
        ("children_started_total", 1),
        ("child_starts_failed_total", 0),
        ("request_body_bytes_total", sent),
        ("response_body_bytes_total", received),
        ("sessions", 0),
        ("children", 0),
        ("event_streams", 0),
        ("connections", 0),
        ("child_stdin_waiting_bytes", 0),
        ("request_bodies_bytes", 0),
        ("ready", 1),
    ] {
        expect(admin, series, expected as f64);
    }
    let text = metrics(admin);
    let (whole, child) = ("post_duration_seconds_sum", "child_duration_seconds_sum");
    assert!(value(&text, child) <= value(&text, whole));
}

#[test]
fn levels_rise_and_fall_with_what_they_are_of() {
    let (gateway, admin) = start(Launch::demo());
    let caller = Caller::new(gateway.address);
    let session = caller.initialize();
    let stream = caller.listen(&session);
    for level in ["sessions", "children", "event_streams", "connections"] {
        expect(admin, level, 1.0);
    }
    let document = status(admin);
    let [listed] = document["sessions"]
        .as_array()
        .expect("sessions")
        .as_slice()
    else {
        panic!("one session: {document}");
    };
    assert_eq!(
        (&listed["streams"], &listed["calls"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        (&listed["principal"], &listed["ip"]),
        (&Value::Null, &"127.0.0.1".into())
    );
    let [child] = document["children"]
        .as_array()
        .expect("children")
        .as_slice()
    else {
        panic!("one child: {document}");
    };
    assert_eq!(child["session"], listed["session"]);
    assert_eq!(
        (&child["child"], &child["state"]),
        (&listed["child"], &"running".into())
    );
    let pid = child["pid"].as_u64().expect("it runs");
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    // What opens the session is nowhere; the digest that stands for it is that of the audit trail.
    assert!(!document.to_string().contains(&session));
    let digest = listed["session"].as_str().expect("a digest");
    gateway.stdout.wait_for(digest, 1);

    drop(stream);
    expect(admin, "event_streams", 0.0);
    expect(admin, "connections", 0.0);
    caller.request("DELETE", Some(&session), "");
    expect(admin, "sessions", 0.0);
    expect(admin, "children", 0.0);
    assert_eq!(status(admin)["sessions"], Value::Array(Vec::new()));
}

#[test]
fn children_that_end_or_do_not_start_are_counted() {
    let (gateway, admin) = start(Launch::new(&["/no/such/server"]).options(&[
        "--startup-probe",
        "off",
        "--discover",
        "off",
    ]));
    let caller = Caller::new(gateway.address);
    assert_eq!(caller.knock().status, 503);
    expect(admin, "child_starts_failed_total", 1.0);
    expect(admin, "children_started_total", 0.0);
    expect(admin, r#"sessions_ended_total{reason="spawn-failed"}"#, 1.0);
    expect(admin, "ready", 0.0);
    expect(
        admin,
        r#"requests_total{method="POST",outcome="server_error",route="mcp"}"#,
        1.0,
    );
    let ready = Caller::new(admin).get("/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("start-failed"), "{}", ready.body);
    assert_eq!(Caller::new(admin).get("/health/live").status, 200);
    let document = status(admin);
    assert_eq!(document["reason"], "start-failed");
    let refused = &document["last_refusals"][0];
    assert_eq!(refused["reason"], "child-unavailable");
    assert_eq!(refused["ip"], "127.0.0.1");
    // The same request in the audit trail.
    let request = refused["request"].as_str().expect("an id");
    gateway.stdout.wait_for(request, 1);
}

#[test]
fn no_label_and_no_status_holds_what_a_client_chooses() {
    const MARK: &str = "chosen-by-the-client";
    let launch = Launch::demo().variable("DEMO_API_TOKEN", "token-0123456789");
    let (gateway, admin) = start(launch);
    let caller = Caller::bearer(gateway.address, "token-0123456789")
        .with("User-Agent", MARK)
        .with("X-Forwarded-For", MARK);
    let session = caller.initialize();
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":"{MARK}","method":"tools/call","params":{{"name":"{MARK}","arguments":{{"{MARK}":1}}}}}}"#
    );
    let unknown = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{MARK}"}}"#);
    caller.request("POST", Some(&session), &call);
    caller.request("POST", Some(&session), &unknown);
    caller.request("POST", Some(MARK), LIST);
    receive(caller.send_to(MARK, "/mcp", ""));
    caller.get(&format!("/{MARK}?{MARK}"));
    Caller::bearer(gateway.address, MARK).knock();
    expect(admin, r#"refusals_total{reason="invalid-token"}"#, 1.0);

    let text = metrics(admin);
    for absent in [MARK, &session, "token-0123456789", "127.0.0.1"] {
        assert!(!text.contains(absent), "{absent} is in {text}");
    }
    let names: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0))
        .flat_map(|labels| labels.split(',').filter_map(|label| label.split_once('=')))
        .map(|(name, _)| name)
        .collect();
    let closed = [
        "event", "le", "limit", "method", "outcome", "reason", "route", "verifier", "version",
    ];
    assert_eq!(names, closed.into());

    let document = status(admin).to_string();
    for absent in [MARK, &session, "token-0123456789"] {
        assert!(!document.contains(absent), "{absent} is in {document}");
    }
}

#[test]
fn web_pages_and_others_are_refused() {
    let (_gateway, admin) = start(Launch::demo());
    let host = format!("Host: {admin}");
    for (head, status) in [
        (format!("GET /metrics HTTP/1.1\r\n{host}"), "200"),
        (format!("HEAD /metrics HTTP/1.1\r\n{host}"), "200"),
        (format!("POST /metrics HTTP/1.1\r\n{host}"), "405"),
        (format!("GET / HTTP/1.1\r\n{host}"), "404"),
        (format!("GET /mcp HTTP/1.1\r\n{host}"), "404"),
        (
            "GET /status HTTP/1.1\r\nHost: rebound.example".to_owned(),
            "403",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: rebound.example".to_owned(),
            "200",
        ),
        (
            format!("GET /status HTTP/1.1\r\n{host}\r\nOrigin: http://{admin}"),
            "403",
        ),
        ("GET /status HTTP/1.1".to_owned(), "400"),
        (
            format!("GET /{} HTTP/1.1\r\n{host}", "x".repeat(2000)),
            "414",
        ),
        ("nonsense".to_owned(), "400"),
    ] {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        write!(stream, "{head}\r\n\r\n").expect("it is taken");
        let response = receive(stream);
        let line = response.head.lines().next().unwrap_or_default();
        assert!(line.contains(status), "{head}: {line}");
        assert_eq!(response.body.is_empty(), head.starts_with("HEAD"));
        assert_eq!(response.field("connection"), Some("close"), "{head}");
        assert_eq!(response.field("access-control-allow-origin"), None);
    }
}

#[test]
fn who_says_nothing_does_not_keep_others_out_for_good() {
    let (_gateway, admin) = start(Launch::demo());
    let idle: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(admin).expect("it listens"))
        .collect();
    drop(idle);
    // One that is turned away has no answer at all.
    eventually("an answer", || {
        let mut stream = TcpStream::connect(admin).expect("it listens");
        let asked = write!(stream, "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = String::new();
        let read = std::io::Read::read_to_string(&mut stream, &mut answer);
        asked.is_ok() && read.is_ok() && answer.starts_with("HTTP/1.1 200")
    });
}

#[test]
fn an_address_that_is_taken_stops_only_who_names_it() {
    // Somebody else's, if not this one's.
    let _taken = TcpListener::bind("127.0.0.1:9090");
    let gateway = Launch::demo().variable("MCP_GATEWAY_ADMIN", "").start();
    gateway
        .stderr
        .wait_for("no metrics and no status are served", 1);
    assert_eq!(Caller::new(gateway.address).get("/health").status, 200);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = Launch::demo().options(&["--admin", &address]).run();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("--admin") && told.contains(&address),
        "{told}"
    );
}

/// Runs a subcommand of the binary, with the options of a gateway.
fn ask(arguments: &[&str]) -> Output {
    let asked = Command::new(BINARY).args(arguments).output();
    asked.expect("the binary starts")
}

#[test]
fn health_is_told_by_the_binary_itself() {
    let (mut gateway, admin) = start(Launch::demo());
    let port = gateway.address.port().to_string();
    let url = format!("http://{admin}/health/ready");
    // Once the start-up probe has been answered.
    eventually("it is ready", || {
        Caller::new(admin).get("/health/ready").status == 200
    });
    for arguments in [
        &["health", "--port", &port] as &[&str],
        &["--port", &port, "health", "--host", "0.0.0.0"],
        &["health", "--url", &url],
    ] {
        let output = ask(arguments);
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(told.ends_with("answered 200, ok\n"), "{told}");
        assert_eq!(told.lines().count(), 1);
        assert_eq!(output.stderr, b"");
    }
    let output = ask(&["health", "--url", &format!("http://{admin}/none")]);
    assert_eq!(output.status.code(), Some(1));
    gateway.signal("-TERM");
    assert_eq!(gateway.wait(), Some(0));
    let output = ask(&["health", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("cannot be reached") && told.lines().count() == 1,
        "{told}"
    );
}

#[test]
fn status_is_a_table_or_the_document() {
    let (gateway, admin) = start(Launch::demo());
    let address = admin.to_string();
    let session = Caller::new(gateway.address).initialize();
    Caller::new(gateway.address).request("POST", None, LIST);
    let digest = status(admin)["sessions"][0]["session"].clone();
    let output = ask(&["status", "--admin", &address]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(!told.contains(&session));
    for part in [
        "demo ",
        ", ready, up ",
        "requests/s",
        "sessions: 1\n",
        digest.as_str().expect("a digest"),
        "children: 1\n",
        "running",
        "session-required",
    ] {
        assert!(told.contains(part), "{part} is in {told}");
    }
    let output = ask(&["--admin", &address, "status", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(document["sessions"][0]["session"], digest);
    drop(gateway);
    let output = ask(&["status", "--admin", &address]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("--admin") && told.lines().count() == 1,
        "{told}"
    );
}
