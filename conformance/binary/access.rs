//! One line for each request, and the id by which it is found again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::http::{Caller, INITIALIZED, LIST, Response};
use super::run::{Gateway, Launch, shell_server};

const TOKEN: &str = "current-token-0123456789";

/// What a gateway wrote, once it has ended.
struct Written {
    /// The access log.
    access: Vec<String>,
    audit: Vec<Value>,
}

fn end(mut gateway: Gateway) -> Written {
    gateway.signal("-TERM");
    assert_eq!(gateway.wait(), Some(0));
    let (stdout, stderr) = (gateway.stdout.whole(), gateway.stderr.whole());
    let is_access =
        |line: &&str| line.contains(" access: ") || line.contains(r#""target":"access""#);
    let audit = stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Written {
        access: stderr
            .lines()
            .filter(is_access)
            .map(str::to_owned)
            .collect(),
        audit: audit.collect(),
    }
}

impl Written {
    /// The one access line of a request, and the reason of its refusal on record.
    fn of(&self, request: &str) -> (&str, Option<&str>) {
        let text = format!(" request={request} ");
        let json = format!(r#""request":"{request}","#);
        let lines = self.access.iter();
        let lines: Vec<_> = lines
            .filter(|line| line.contains(&text) || line.contains(&json))
            .collect();
        let [line] = lines[..] else {
            panic!("one line of {request} in {:?}", self.access);
        };
        let records = self.audit.iter();
        let mut records = records.filter(|record| record["request"] == request);
        let reason = records.find_map(|record| record["reason"].as_str());
        (line, reason)
    }
}

fn error_of(response: &Response) -> Value {
    serde_json::from_str(&response.body).expect("the body is JSON")
}

#[test]
fn a_request_is_found_again_by_the_id_that_its_caller_chose() {
    let gateway = Launch::demo().variable("DEMO_API_TOKEN", TOKEN).start();
    let caller = Caller::bearer(gateway.address, TOKEN);
    let session = caller.initialize();
    let listed = caller.clone().with("X-Request-Id", "its.list");
    let listed = listed.request("POST", Some(&session), LIST);
    assert_eq!(listed.field("x-request-id"), Some("its.list"));
    let refused = caller.clone().with("X-Request-Id", "its.refusal");
    let refused = refused.request("POST", None, LIST);
    assert_eq!(refused.field("x-request-id"), Some("its.refusal"));
    assert_eq!(
        error_of(&refused)["error"]["data"]["requestId"],
        "its.refusal"
    );
    let lost = caller
        .with("X-Request-Id", "its.loss")
        .get("/token-in-a-path");
    assert_eq!(error_of(&lost)["request_id"], "its.loss");

    let written = end(gateway);
    let (line, reason) = written.of("its.list");
    for part in [
        "  INFO access: request=its.list ip=127.0.0.1 method=POST path=/mcp rpc=tools/list status=200 ",
        &format!(
            " bytes_in={} bytes_out={} ms=",
            LIST.len(),
            listed.body.len()
        ),
        " child_ms=",
        " session=",
        " principal=",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(reason, None);
    assert!(
        written.audit.iter().any(|record| {
            record["request"] == "its.list" && record["event"] == "authenticated"
        })
    );
    let (line, reason) = written.of("its.refusal");
    assert!(
        line.contains(" status=400 reason=session-required "),
        "{line}"
    );
    assert_eq!(reason, Some("session-required"));
    let (line, reason) = written.of("its.loss");
    assert!(
        line.contains(" method=GET path=- status=404 reason=not-found "),
        "{line}"
    );
    assert_eq!(reason, Some("not-found"));
    let access = written.access.concat();
    for secret in [TOKEN, &session, "token-in-a-path"] {
        assert!(!access.contains(secret), "{secret} in {access}");
    }
}

#[test]
fn what_is_no_request_has_an_id_and_a_line_too() {
    let gateway = Launch::demo().options(&["--log-format", "json"]).start();
    let mut stream = TcpStream::connect(gateway.address).expect("the gateway listens");
    let _ = stream.write_all(b"GET /mcp HTTP/1.1\r\nHost : x\r\n\r\n");
    let mut response = String::new();
    stream
        .read_to_string(&mut response)
        .expect("it is answered");
    let id = response.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("x-request-id: ")
            .map(str::to_owned)
    });
    let id = id.expect("the response has an id");
    assert!(
        response.contains(&format!(r#""requestId":"{id}""#)),
        "{response}"
    );

    let written = end(gateway);
    let (line, reason) = written.of(&id);
    let line: Value = serde_json::from_str(line).expect("the line is JSON");
    assert_eq!(line["method"], "-");
    assert_eq!(line["status"], 400);
    assert_eq!(line["reason"], "malformed-head");
    assert_eq!(reason, Some("malformed-head"));
}

#[test]
fn a_call_whose_child_ends_has_the_id_in_its_error() {
    let script = shell_server("", "read -r line; read -r line; exit 1");
    let gateway = Launch::new(&["sh", "-c", &script])
        .options(&["--startup-probe", "off", "--discover", "off"])
        .start();
    let caller = Caller::new(gateway.address);
    let session = caller.initialize();
    caller.request("POST", Some(&session), INITIALIZED);
    let failed = caller.with("X-Request-Id", "its.failure");
    let failed = failed.request("POST", Some(&session), LIST);
    assert_eq!(
        error_of(&failed)["error"]["data"]["requestId"],
        "its.failure"
    );

    let written = end(gateway);
    let (line, reason) = written.of("its.failure");
    assert!(line.contains(" status=200 reason=child-exited "), "{line}");
    assert_eq!(reason, Some("child-exited"));
}

#[test]
fn a_client_that_leaves_has_a_line() {
    let gateway = Launch::demo().start();
    let session = Caller::new(gateway.address).initialize();
    let caller = Caller::new(gateway.address).with("X-Request-Id", "its.own");
    drop(caller.listen(&session));
    gateway.stderr.wait_for(" request=its.own ", 1);
    let written = end(gateway);
    let (line, _) = written.of("its.own");
    let parts = [
        " method=GET path=/mcp status=200 ",
        " streamed=true client_left=true",
    ];
    for part in parts {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn nobody_has_to_have_the_lines() {
    let gateway = Launch::demo().options(&["--access-log", "off"]).start();
    let response = Caller::new(gateway.address)
        .with("X-Request-Id", "its.own")
        .get("/");
    assert_eq!(response.field("x-request-id"), Some("its.own"));
    let written = end(gateway);
    assert_eq!(written.access, [""; 0]);
}
