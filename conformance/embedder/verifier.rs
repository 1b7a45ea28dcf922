//! An embedder's own verifier of tokens.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use gateway_kit::AuditSink;
use gateway_kit::settings::{ChildCommand, Settings};
use mcp_proto::auth::{Clients, HttpVerifier, Identity, Principal, Token, Verdict, Verifier};

/// Says yes to one token, and of others what embedders might.
pub(crate) async fn verify(token: Token) -> Verdict {
    match token.expose() {
        "good" => Verdict::Allowed(Identity {
            principal: Principal {
                issuer: "test".to_owned(),
                subject: "ada".to_owned(),
                client_id: None,
            },
            scopes: Vec::new(),
            expires_at: None,
        }),
        "panics" => panic!("on purpose: in the verifier"),
        "slow" => std::future::pending().await,
        "unsure" => Verdict::Unavailable,
        _ => Verdict::Denied,
    }
}

/// The status, and the value of `Retry-After`.
fn knock(address: SocketAddr, token: &str) -> (u16, bool) {
    let body = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out can be set");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_to_string(&mut answer).map(drop))
        .expect("the gateway answers");
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let status = status.expect("the answer has a status");
    (status, answer.contains("\r\nretry-after: "))
}

/// Runs a gateway with these verifiers while `act` goes on.
fn serve(verifiers: Vec<Verifier>, act: impl FnOnce(SocketAddr)) {
    let child = ChildCommand::new(crate::BINARY)
        .args(["demo-server"])
        .inherit(std::env::vars_os());
    let mut settings = Settings::new(child);
    settings.policy.auth.verifiers = verifiers;
    settings.policy.limits.verifier_time = Duration::from_millis(300);
    settings.policy.startup_probe = false;
    settings.policy.discover = false;
    settings.audit = AuditSink::Off;
    settings.listen = vec![([127, 0, 0, 1], 0).into()];
    crate::serve(settings, act);
}

#[test]
fn an_embedders_word_counts_and_its_silence_lets_nobody_in() {
    serve(vec![Verifier::Custom], |address| {
        // The second round shows what is remembered: a verdict, and never that there was none.
        for _ in 0..2 {
            for (token, expected) in [
                ("good", (200, false)),
                ("bad", (401, false)),
                ("panics", (503, true)),
                ("slow", (503, true)),
                ("unsure", (503, true)),
            ] {
                assert_eq!(knock(address, token), expected, "{token}");
            }
        }
    });
}

/// The answer comes on a thread that is not the runtime's, and what follows from it is done there.
#[test]
fn an_embedder_is_asked_after_a_service_has_said_no() {
    let service = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!(
        "http://{}/whoami",
        service.local_addr().expect("it is bound")
    );
    thread::spawn(move || {
        for mut stream in service.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    let service = HttpVerifier {
        url,
        method: http::Method::GET,
        client_pointer: None,
        expiry_pointer: None,
        clients: Clients::Any,
        issuer: None,
        token_prefix: None,
        own_token: None,
    };
    serve(vec![Verifier::Http(service), Verifier::Custom], |address| {
        assert_eq!(knock(address, "good"), (200, false));
        assert_eq!(knock(address, "bad"), (401, false));
    });
}
