//! Fetches and signatures as the core asks for them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use gateway_kit::fetch::{Client, Roots};
use gateway_kit::outside::Outside;
use http::{HeaderValue, Method};
use mcp_proto::auth::{
    Algorithm, FetchFailure, FetchId, FetchRequest, SignatureCheck, SignatureId,
};

fn start() -> Outside {
    Outside::start(Client::new("test/1.2.3", &Roots::default())).unwrap()
}

fn request(url: String) -> FetchRequest {
    FetchRequest {
        id: FetchId(1),
        method: Method::GET,
        url,
        authorization: None,
        form: None,
        most_bytes: 1000,
        time: Duration::from_secs(60),
        allow_private_addresses: false,
    }
}

#[test]
fn a_request_is_sent_with_its_credential_and_its_form() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = Vec::new();
        while !sent.ends_with(b"token=abc") {
            let mut some = [0; 1000];
            let length = stream.read(&mut some).unwrap();
            assert_ne!(length, 0, "the body has come");
            sent.extend_from_slice(&some[..length]);
        }
        stream
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
        String::from_utf8(sent).unwrap()
    });
    let (done, answers) = channel();
    let outside = start();
    let request = FetchRequest {
        method: Method::POST,
        authorization: Some(HeaderValue::from_static("Basic YTpi")),
        form: Some("token=abc".into()),
        ..request(url)
    };
    outside.fetch(request, move |result| done.send(result).unwrap());
    let fetched = answers.recv().unwrap().unwrap();
    assert_eq!((fetched.status.as_u16(), &*fetched.body), (401, &b"{}"[..]));
    let sent = server.join().unwrap();
    assert!(sent.starts_with("POST /introspect HTTP/1.1\r\n"), "{sent}");
    for line in [
        "authorization: Basic YTpi",
        "content-type: application/x-www-form-urlencoded",
    ] {
        assert!(sent.lines().any(|sent| sent == line), "{line}\n{sent}");
    }
}

#[test]
fn time_counts_while_a_fetch_waits_and_what_is_too_much_is_busy() {
    // Accepts by its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let outside = start();
    let (done, answers) = channel();
    for _ in 0..200 {
        let done = done.clone();
        let request = FetchRequest {
            time: Duration::from_millis(300),
            ..request(url.clone())
        };
        outside.fetch(request, move |result| {
            done.send(result.unwrap_err()).unwrap();
        });
    }
    let answers: Vec<_> = answers.iter().take(200).collect();
    let count = |failure| answers.iter().filter(|&answer| *answer == failure).count();
    let (late, busy) = (count(FetchFailure::TimedOut), count(FetchFailure::Busy));
    assert_eq!(late + busy, 200);
    assert!(late >= 64 && busy > 0, "{late} late, {busy} busy");
}

#[test]
fn an_url_that_cannot_be_read_is_not_quoted() {
    let outside = start();
    let (done, answers) = channel();
    let request = request("https://host name/?secret".to_owned());
    outside.fetch(request, move |result| done.send(result).unwrap());
    let expected = FetchFailure::Unreachable("the URL cannot be read".to_owned());
    assert_eq!(answers.recv().unwrap(), Err(expected));
}

#[test]
fn a_signature_is_checked() {
    let file: serde_json::Value = serde_json::from_str(include_str!("signatures.json")).unwrap();
    let outside = start();
    for (key, expected) in [("ed", Ok(false)), ("p256", Err(()))] {
        let check = SignatureCheck {
            id: SignatureId(1),
            algorithm: Algorithm::EdDsa,
            key: file["keys"][key].to_string().into(),
            message: "message".into(),
            signature: "signature".into(),
        };
        let (done, answers) = channel();
        outside.check_signature(check, move |result| done.send(result).unwrap());
        assert_eq!(answers.recv().unwrap().map_err(|_| ()), expected);
    }
}
