//! No token and no session id is anywhere but where it belongs.

use std::fs;
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::http::{Caller, INITIALIZE, INITIALIZED, LIST, Response, receive};
use super::mock::{Asked, Mock, Reply};
use super::run::{Gateway, Launch, shell_server};

/// Part of every token.
const MARKER: &str = "mArKeR";

fn whoami(asked: &Asked) -> Reply {
    match asked.token() {
        token if token.ends_with("-good") => Reply::Json(200, json!({"id": token.len()})),
        token if token.ends_with("-denied") => Reply::Json(401, json!({"error": token})),
        token if token.ends_with("-broken") => Reply::Json(500, json!({"error": token})),
        token if token.ends_with("-garbage") => Reply::Garbage,
        token if token.ends_with("-silent") => Reply::Silence,
        token if token.ends_with("-redirected") => Reply::Redirect(format!("/{token}")),
        token if token.ends_with("-echoed") => Reply::Json(200, json!({"id": null, "was": token})),
        _ => Reply::Json(401, json!({})),
    }
}

/// A server that notes all it was started with and all it reads, and answers two requests.
fn note_taker(notes: &str) -> String {
    let before = format!("cat /proc/$$/environ /proc/$$/cmdline > {notes}");
    let after = format!(
        r#"id=1
while read -r line; do
echo "$line" >> {notes}
case $line in
*tools/list*) id=$((id + 1)); echo '{{"jsonrpc":"2.0","id":'$id',"result":{{"tools":[]}}}}' ;;
esac
done"#
    );
    shell_server(&before, &after)
}

/// A JWT that nobody has signed and whose signature has the marker.
fn jwt(issuer: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{MARKER}",
        part(json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "a"})),
        part(json!({"iss": issuer, "sub": "ada"}))
    )
}

/// What a client got, and the session ids that it was given on purpose.
#[derive(Default)]
struct Received {
    answers: Vec<Response>,
    sessions: Vec<String>,
}

impl Received {
    fn take(&mut self, stream: TcpStream) -> u16 {
        let mut response = receive(stream);
        let status = response.status;
        if let Some(session) = &response.session {
            response.head = response.head.replace(session.as_str(), "");
            self.sessions.push(session.clone());
        }
        self.answers.push(response);
        status
    }
}

/// Everything that can be done with a credential, each time with the marker in it.
fn try_everything(gateway: &Gateway, received: &mut Received) {
    let address = gateway.address;
    let with = |token: &str| Caller::bearer(address, token);
    for (token, status) in [
        (format!("own_{MARKER}-0123456789"), 200),
        (format!("own_{MARKER}-previous"), 200),
        (format!("own_{MARKER}-wrong"), 401),
        (format!("svc_{MARKER}-good"), 200),
        (format!("svc_{MARKER}-denied"), 401),
        (format!("svc_{MARKER}-broken"), 503),
        (format!("svc_{MARKER}-garbage"), 503),
        (format!("svc_{MARKER}-silent"), 503),
        (format!("svc_{MARKER}-redirected"), 503),
        (format!("svc_{MARKER}-echoed"), 503),
        (format!("{MARKER} with spaces"), 401),
        (format!("\"{MARKER}\""), 401),
        (MARKER.repeat(2000), 401),
        (jwt("https://as.example.org"), 401),
        (format!("eyJ{MARKER}"), 401),
    ] {
        let stream = with(&token).send("POST", None, INITIALIZE);
        assert_eq!(received.take(stream), status, "{token}");
    }
    let good = format!("own_{MARKER}-0123456789");
    let doubled = with(&good).with("Authorization", &format!("Bearer {good}"));
    let nobody = Caller::new(address);
    for (caller, target, status) in [
        (doubled, "/mcp".to_owned(), 400),
        (nobody.clone(), format!("/mcp?access_token={good}"), 401),
        (with(&good), format!("/{good}"), 404),
        (nobody.clone(), format!("/.well-known/{good}"), 405),
        (
            nobody
                .clone()
                .with("Authorization", &format!("Basic {good}")),
            "/mcp".to_owned(),
            401,
        ),
        (
            nobody.clone().with("Authorization", &good),
            "/mcp".to_owned(),
            401,
        ),
        (
            with(&good).with("Mcp-Session-Id", &good),
            "/mcp".to_owned(),
            404,
        ),
        (
            with(&good).with("Origin", &format!("http://{good}")),
            "/mcp".to_owned(),
            403,
        ),
        (
            with(&good).with("MCP-Protocol-Version", &good),
            "/mcp".to_owned(),
            400,
        ),
        (
            with(&good).with("Content-Type", &good),
            "/mcp".to_owned(),
            400,
        ),
        (
            nobody.with("X-Forwarded-For", &good),
            "/mcp".to_owned(),
            401,
        ),
    ] {
        let stream = caller.send_to("POST", &target, INITIALIZE);
        assert_eq!(received.take(stream), status, "{target}");
    }
    let caller = with(&good);
    for body in [
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"{MARKER}"#),
        MARKER.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":1,"id":2,"method":"{MARKER}"}}"#),
    ] {
        let stream = caller.send("POST", None, &body);
        assert_eq!(received.take(stream), 400, "{body}");
    }
    let session = caller.initialize();
    for (name, value) in [("Last-Event-ID", good.as_str()), ("Accept-Language", &good)] {
        let one = caller.clone().with(name, value);
        for body in [INITIALIZED, LIST] {
            let answer = one.send("POST", Some(&session), body);
            assert!(received.take(answer) < 300);
        }
    }
    let forged = caller.clone().with("Last-Event-ID", &good);
    let stream = forged.send("GET", Some(&session), "");
    assert_eq!(received.take(stream), 400);
    let gone = caller.request("DELETE", Some(&session), "");
    assert_eq!(gone.status, 204);
    received.sessions.push(session);
}

#[test]
fn no_token_and_no_session_id_is_shown() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = |name: &str| directory.path().join(name).display().to_string();
    let [notes, audit, tokens] = ["notes", "audit.log", "tokens"].map(file);
    fs::write(&tokens, format!("ada: own_{MARKER}-in-a-file-0123\n")).expect("it can be written");
    let mock = Mock::start(whoami);
    let launch = || {
        let server = note_taker(&notes);
        Launch::new(&["sh", "-c", &server])
            .variable("SH_API_TOKEN", &format!("own_{MARKER}-0123456789"))
            .variable("SH_API_TOKEN_PREVIOUS", &format!("own_{MARKER}-previous"))
            .options(&["--auth", "static", "--auth", "http"])
            .options(&["--static-token-file", &tokens])
            .options(&[
                "--http-url",
                &mock.url("/whoami"),
                "--http-token-prefix",
                "svc_",
            ])
            .options(&["--http-client-pointer", "/id", "--allow-clients", "15"])
            .options(&["--credential-rate", "1000/m", "--verifier-time", "1s"])
            .options(&["--log-level", "trace", "--trusted-proxies", "127.0.0.1"])
            .options(&["--startup-probe", "off", "--discover", "off"])
    };
    let mut shown: Vec<(&str, String)> = Vec::new();
    let mut received = Received::default();
    for to_file in [false, true] {
        let mut launch = launch();
        if to_file {
            launch = launch.options(&["--audit", &audit]);
        }
        let mut gateway = launch.start();
        try_everything(&gateway, &mut received);
        // What replaces the file's tokens is no token.
        fs::write(&tokens, format!("ada: own {MARKER}\n")).expect("it can be written");
        gateway
            .stderr
            .wait_for("static tokens stay as they were", 1);
        fs::write(&tokens, format!("ada: own_{MARKER}-in-a-file-0123\n"))
            .expect("it can be written");
        gateway.signal("-TERM");
        assert_eq!(gateway.wait(), Some(0));
        shown.push(("stdout", gateway.stdout.whole()));
        shown.push(("stderr", gateway.stderr.whole()));
    }
    let check = launch().options(&["--check-config"]).run();
    assert_eq!(check.status.code(), Some(0));
    shown.push((
        "--check-config",
        String::from_utf8_lossy(&check.stdout).into(),
    ));
    shown.push((
        "--check-config",
        String::from_utf8_lossy(&check.stderr).into(),
    ));
    for (what, path) in [("the audit file", &audit), ("the child's notes", &notes)] {
        let bytes = fs::read(path).expect("it was written");
        assert!(!bytes.is_empty());
        shown.push((what, String::from_utf8_lossy(&bytes).into()));
    }
    for answer in &received.answers {
        shown.push(("an answer", format!("{}\n{}", answer.head, answer.body)));
    }
    assert!(received.sessions.len() > 6);
    for (what, text) in &shown {
        for secret in received.sessions.iter().map(String::as_str).chain([MARKER]) {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{what} has {secret}");
        }
    }
}
