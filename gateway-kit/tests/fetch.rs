//! The HTTP client against a small server on loopback.
#![allow(clippy::disallowed_methods, reason = "tests wait for what is outside")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_kit::fetch::{Bounds, Client, Roots};
use http::Request;
use mcp_proto::auth::{FetchFailure, Fetched};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Long enough for whatever does answer.
const AMPLE: Duration = Duration::from_secs(60);

/// Short, for what never answers.
const SHORT: Duration = Duration::from_millis(200);

/// A server that gives each connection to `serve`.
struct Server {
    address: SocketAddr,
    /// What `serve` returned, one by one: the requests.
    requests: Receiver<String>,
}

impl Server {
    fn start(serve: impl Fn(TcpStream) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if sender.send(serve(stream.unwrap())).is_err() {
                    break;
                }
            }
        });
        Self { address, requests }
    }

    /// Gives each request this answer, and closes the connection.
    fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            let request = read_request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            request
        })
    }

    fn url(&self) -> String {
        format!("http://{}/path", self.address)
    }

    fn was_asked(&self) -> bool {
        self.requests.try_recv().is_ok()
    }
}

/// The head and the body.
fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head.to_ascii_lowercase().lines().find_map(|line| {
        let length = line.strip_prefix("content-length: ")?;
        Some(length.parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + str::from_utf8(&body).unwrap()
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn client() -> Client {
    Client::new("test/1.2.3", &Roots::default())
}

fn bounds() -> Bounds {
    Bounds {
        most_bytes: 1000,
        deadline: Instant::now() + AMPLE,
        allow_private_addresses: false,
    }
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn fetch(url: &str) -> Result<Fetched, FetchFailure> {
    client().send(get(url), &bounds())
}

fn unreachable(result: Result<Fetched, FetchFailure>) -> String {
    match result {
        Err(FetchFailure::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_status_is_an_answer_and_no_redirect_is_followed() {
    let elsewhere = Server::answering(ok("elsewhere"));
    for status in [
        200, 201, 301, 302, 303, 307, 308, 400, 401, 404, 429, 500, 503,
    ] {
        let server = Server::answering(format!(
            "HTTP/1.1 {status} As It Is\r\nLocation: {}\r\nConnection: close\r\n\
             Content-Length: 4\r\n\r\nbody",
            elsewhere.url(),
        ));
        let fetched = fetch(&server.url()).unwrap();
        assert_eq!(fetched.status, status);
        assert_eq!(fetched.body, "body", "{status}");
    }
    assert!(!elsewhere.was_asked());
    let server = Server::answering("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    let fetched = fetch(&server.url()).unwrap();
    assert_eq!((fetched.status.as_u16(), &*fetched.body), (204, &b""[..]));
}

#[test]
fn a_request_says_what_it_was_given_and_little_else() {
    let server = Server::answering(ok("{}"));
    let address = server.address;
    fetch(&format!("http://{address}/keys?a=b#c")).unwrap();
    let lines = |request: &str| {
        let mut lines: Vec<_> = request.lines().map(str::to_owned).collect();
        lines[1..].sort();
        lines
    };
    let expected = [
        "GET /keys?a=b HTTP/1.1",
        "",
        "accept: application/json",
        &format!("host: {address}"),
        "user-agent: test/1.2.3",
    ];
    assert_eq!(lines(&server.requests.recv().unwrap()), expected);

    let request = Request::post(server.url())
        .header("authorization", "Basic Y3JlZGVudGlhbA==")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("token=abc".into());
    client().send(request.unwrap(), &bounds()).unwrap();
    let expected = [
        "POST /path HTTP/1.1",
        "",
        "accept: application/json",
        "authorization: Basic Y3JlZGVudGlhbA==",
        "content-length: 9",
        "content-type: application/x-www-form-urlencoded",
        &format!("host: {address}"),
        "token=abc",
        "user-agent: test/1.2.3",
    ];
    assert_eq!(lines(&server.requests.recv().unwrap()), expected);

    // A POST need have no body.
    let request = Request::post(server.url()).body(Bytes::new()).unwrap();
    client().send(request, &bounds()).unwrap();
    assert!(server.requests.recv().unwrap().starts_with("POST /path "));
}

#[test]
fn a_body_has_at_most_as_many_bytes_as_are_asked_for() {
    let chunked = |length: usize| {
        let body = "x".repeat(length);
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    let until_close = |length| format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(length));
    for (length, answers) in [
        (
            1000,
            [ok(&"x".repeat(1000)), chunked(1000), until_close(1000)],
        ),
        (
            1001,
            [ok(&"x".repeat(1001)), chunked(1001), until_close(1001)],
        ),
    ] {
        for answer in answers {
            match fetch(&Server::answering(answer).url()) {
                Ok(fetched) => assert_eq!((fetched.body.len(), length), (1000, 1000)),
                Err(failure) => assert_eq!((failure, length), (FetchFailure::TooLarge, 1001)),
            }
        }
    }
}

#[test]
fn a_body_without_end_is_not_read_to_its_end() {
    let server = Server::start(|mut stream| {
        let request = read_request(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        // Ends when the client closes.
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
        request
    });
    assert_eq!(fetch(&server.url()), Err(FetchFailure::TooLarge));
    server.requests.recv().unwrap();
}

#[test]
fn what_takes_too_long_is_ended_wherever_it_stands() {
    let silent = Server::start(|mut stream| {
        let request = read_request(&mut stream);
        // Ends when the client closes.
        let _ = stream.read(&mut [0]);
        request
    });
    let dripping = |head: &'static [u8]| {
        Server::start(move |mut stream| {
            let request = read_request(&mut stream);
            stream.write_all(head).unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
            request
        })
    };
    for server in [
        silent,
        dripping(b"HTTP/1.1 200 OK\r\nX-Endless: "),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        let bounds = Bounds {
            most_bytes: usize::MAX,
            deadline: Instant::now() + SHORT,
            ..bounds()
        };
        let result = client().send(get(&server.url()), &bounds);
        assert_eq!(result, Err(FetchFailure::TimedOut));
        server.requests.recv().unwrap();
    }
}

#[test]
fn after_the_deadline_nobody_is_asked() {
    let server = Server::answering(ok("{}"));
    let bounds = Bounds {
        deadline: Instant::now(),
        ..bounds()
    };
    let result = client().send(get(&server.url()), &bounds);
    assert_eq!(result, Err(FetchFailure::TimedOut));
    assert!(!server.was_asked());
}

#[test]
fn a_broken_answer_is_none() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Len",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncut",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
    ] {
        unreachable(fetch(&Server::answering(answer).url()));
    }
}

#[test]
fn a_failures_text_holds_nothing_of_the_request() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let broken = Server::start(|mut stream| {
        let _ = stream.write_all(b"broken\r\n\r\n");
        String::new()
    });
    for url in [
        format!("http://{nobody}/secret?secret"),
        format!("https://{}/secret?secret", broken.address),
        format!("http://{}/secret?secret", broken.address),
        "ftp://127.0.0.1/secret?secret".to_owned(),
        "http://no..name/secret?secret".to_owned(),
        "/secret?secret".to_owned(),
    ] {
        let request = Request::post(&url)
            .header("authorization", "Bearer secret")
            .body("secret".into());
        let why = unreachable(client().send(request.unwrap(), &bounds()));
        assert!(!why.contains("secret") && !why.is_empty(), "{url}: {why}");
    }
}

#[test]
fn loopback_is_asked_only_where_the_url_says_so() {
    let server = Server::answering(ok("{}"));
    let port = server.address.port();
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]"] {
        let fetched = fetch(&format!("http://{host}:{port}/")).unwrap();
        assert_eq!(fetched.status, 200, "{host}");
        server.requests.recv().unwrap();
    }
    // The system's resolver takes these for 127.0.0.1, or connects to it.
    for host in [
        "127.1",
        "0x7f000001",
        "2130706433",
        "0.0.0.0",
        "[::ffff:0.0.0.0]",
    ] {
        for allow_private_addresses in [false, true] {
            let bounds = Bounds {
                allow_private_addresses,
                ..bounds()
            };
            let result = client().send(get(&format!("http://{host}:{port}/")), &bounds);
            assert_eq!(result, Err(FetchFailure::AddressNotAllowed), "{host}");
        }
    }
    assert!(!server.was_asked());
}

/// Only what is refused: a test asks nobody but itself.
#[test]
fn private_addresses_are_refused_and_public_ones_without_https() {
    for (url, refused_if_allowed) in [
        ("https://10.0.0.1/", false),
        ("http://10.0.0.1/", false),
        ("https://169.254.169.254/", false),
        ("https://[fd00::1]/", false),
        ("https://[::ffff:10.0.0.1]/", false),
        ("http://198.41.0.4/", true),
        ("http://[2001:500:2::c]/", true),
        ("https://224.0.0.1/", true),
        ("https://0.0.0.0/", true),
    ] {
        for allow_private_addresses in [false, refused_if_allowed] {
            let bounds = Bounds {
                allow_private_addresses,
                ..bounds()
            };
            let result = client().send(get(url), &bounds);
            assert_eq!(result, Err(FetchFailure::AddressNotAllowed), "{url}");
        }
    }
}

#[test]
fn a_connection_serves_the_next_request_and_one_that_ended_does_no_harm() {
    // The rendezvous keeps the test from asking before the server has closed.
    let (closed, closes) = channel();
    let server = Server::start(move |mut stream| {
        let requests = read_request(&mut stream);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(answer).unwrap();
        let requests = requests + &read_request(&mut stream);
        stream.write_all(answer).unwrap();
        drop(stream);
        closed.send(()).unwrap();
        requests
    });
    let client = client();
    for _ in 0..2 {
        for _ in 0..2 {
            client.send(get(&server.url()), &bounds()).unwrap();
        }
        closes.recv().unwrap();
        let requests = server.requests.recv().unwrap();
        assert_eq!(requests.matches("GET /path").count(), 2);
    }
}

#[test]
fn https_is_believed_by_its_certificate_alone() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let server = Server::start(move |stream| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut first = [0; 4];
        match stream.read_exact(&mut first) {
            Ok(()) => {
                let rest = read_request(&mut stream);
                stream.write_all(ok("{}").as_bytes()).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
                String::from_utf8_lossy(&first).into_owned() + &rest
            }
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock);
                "refused".to_owned()
            }
        }
    });
    let port = server.address.port();
    let url = format!("https://localhost:{port}/keys");

    let why = unreachable(fetch(&url));
    assert!(why.contains("certificate"), "{why}");
    assert_eq!(server.requests.recv().unwrap(), "refused");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certified.cert.pem()).unwrap();
    let mut roots = Roots::default();
    roots.add_file(file.path()).unwrap();
    let client = Client::new("test/1.2.3", &roots);
    let fetched = client.send(get(&url), &bounds()).unwrap();
    assert_eq!(&*fetched.body, b"{}");
    let request = server.requests.recv().unwrap();
    assert!(request.starts_with("GET /keys HTTP/1.1\r\n"), "{request}");

    // The certificate is for the name, not for the address.
    let url = format!("https://127.0.0.1:{port}/keys");
    let why = unreachable(client.send(get(&url), &bounds()));
    assert!(why.contains("certificate"), "{why}");
}
