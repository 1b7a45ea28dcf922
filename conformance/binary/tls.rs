//! TLS in the gateway itself: who is served, what they are shown, and how connections end.
//!
//! The byte scripts are played over TLS as well; here is what they cannot see.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::http::{Caller, INITIALIZE, INITIALIZED, LIST, Response, receive};
use super::processes::eventually;
use super::run::{Gateway, Launch, shell_server};
use crate::BINARY;

/// A certificate and its key in the two files of a gateway.
struct Files(TempDir);

impl Files {
    fn of(made: &CertifiedKey<KeyPair>) -> Self {
        let files = Self(tempfile::tempdir().expect("a directory can be made"));
        files.write("certificate", &made.cert.pem());
        files.write("key", &made.signing_key.serialize_pem());
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("it can be written");
    }

    fn options(&self) -> Vec<String> {
        let path = |name| self.0.path().join(name).display().to_string();
        let [certificate, key] = ["certificate", "key"].map(path);
        vec![
            "--tls-certificate".to_owned(),
            certificate,
            "--tls-key".to_owned(),
            key,
        ]
    }
}

fn made() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("it can be made")
}

/// A client that believes one certificate and asks for these protocols.
fn client(made: &CertifiedKey<KeyPair>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("it is one");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Who resumes is shown no certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A socket that keeps what was received, as it came.
struct Tapped {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Read for Tapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.received.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl Write for Tapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

type Connection = StreamOwned<ClientConnection, Tapped>;

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the gateway listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time-out can be set");
    stream.set_nodelay(true).expect("it can be set");
    stream
}

/// Opens a connection, unless there is no agreement.
fn connect(gateway: &Gateway, config: &Arc<ClientConfig>) -> io::Result<Connection> {
    let name = ServerName::from(gateway.address.ip());
    let session = ClientConnection::new(Arc::clone(config), name).expect("it can begin");
    let stream = Tapped {
        stream: tcp(gateway.address),
        received: Vec::new(),
    };
    let mut connection = StreamOwned::new(session, stream);
    while connection.conn.is_handshaking() {
        connection.conn.complete_io(&mut connection.sock)?;
    }
    Ok(connection)
}

/// Sends a request on a connection of its own, which ends with the answer.
fn request(
    gateway: &Gateway,
    config: &Arc<ClientConfig>,
    session: Option<&str>,
    body: &str,
) -> Response {
    let mut connection = connect(gateway, config).expect("there is an agreement");
    let mut caller = Caller::new(gateway.address).with("Connection", "close");
    if let Some(session) = session {
        caller = caller.with("Mcp-Session-Id", session);
    }
    let text = caller.text("POST", "/mcp", body);
    connection.write_all(text.as_bytes()).expect("it is taken");
    // An end that TLS was not told of is an error.
    receive(connection)
}

/// Opens a session and returns its id.
fn initialize(gateway: &Gateway, config: &Arc<ClientConfig>) -> String {
    let response = request(gateway, config, None, INITIALIZE);
    response
        .session
        .unwrap_or_else(|| panic!("no session: {}", response.body))
}

/// Reads a response whose length is told, and leaves the connection open.
fn answer(connection: &mut impl Read) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("the head arrives");
        text.extend(byte);
    }
    let head = String::from_utf8(text).expect("the head is text");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("the length is told")];
    connection.read_exact(&mut body).expect("the body arrives");
    head + &String::from_utf8(body).expect("the body is text")
}

#[test]
fn a_session_is_served_and_the_url_is_https() {
    let made = made();
    let files = Files::of(&made);
    let gateway = Launch::demo().options(&files.options()).start();
    let url = format!("https://{}/mcp", gateway.address);
    gateway.stdout.wait_for(&url, 1);
    let config = client(&made, &[]);
    let session = initialize(&gateway, &config);
    let session = Some(session.as_str());
    assert_eq!(request(&gateway, &config, session, INITIALIZED).status, 202);
    let listed = request(&gateway, &config, session, LIST);
    assert!(listed.body.contains(r#""tools":["#), "{}", listed.body);
}

#[test]
fn whoever_speaks_no_http_1_1_is_told_so() {
    let made = made();
    let files = Files::of(&made);
    let gateway = Launch::demo().options(&files.options()).start();
    let spoken = |protocols: &[&str]| {
        let connection = connect(&gateway, &client(&made, protocols))?;
        Ok(connection.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    for protocols in [&["http/1.1"][..], &["h2", "http/1.1"]] {
        let protocol = spoken(protocols).expect("there is an agreement");
        assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    }
    let none: io::Result<_> = spoken(&["h2"]);
    let error = none.expect_err("there is none").into_inner();
    let refused = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(error.expect("it says why").downcast_ref(), Some(&refused));
}

#[test]
fn plain_http_is_told_to_use_https_and_garbage_is_nobodys() {
    let made = made();
    let files = Files::of(&made);
    let gateway = Launch::demo().options(&files.options()).start();
    let answer = Caller::new(gateway.address).get("/health");
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("https://"), "{}", answer.body);
    gateway.stdout.wait_for(r#""reason":"plain-http""#, 1);
    // The beginning of a record, and nothing of TLS behind it.
    let mut stream = tcp(gateway.address);
    stream.write_all(&[0x16; 64]).expect("it is taken");
    let mut told = Vec::new();
    // An alert, or nothing.
    let _ = stream.read_to_end(&mut told);
    assert!(told.is_empty() || told[0] == 0x15, "{told:?}");
    // One that leaves at once, and one that leaves in the middle.
    drop(tcp(gateway.address));
    tcp(gateway.address)
        .write_all(&[0x16, 3, 1])
        .expect("it is taken");
    initialize(&gateway, &client(&made, &[]));
}

#[test]
fn a_handshake_that_stalls_counts_as_a_connection_and_has_the_time_of_a_head() {
    let made = made();
    let files = Files::of(&made);
    let gateway = Launch::demo()
        .options(&files.options())
        .options(&["--connections", "2", "--head-time", "2s"])
        .start();
    let silent = tcp(gateway.address);
    let mut stalled = tcp(gateway.address);
    stalled.write_all(&[0x16, 3, 1, 1]).expect("it is taken");
    // Served once one of those was left.
    initialize(&gateway, &client(&made, &[]));
    for mut stream in [silent, stalled] {
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        assert!(told.is_empty(), "{told:?}");
    }
}

#[test]
fn a_renewed_certificate_is_shown_to_whoever_connects_then() {
    let (old, new) = (made(), made());
    let files = Files::of(&old);
    let gateway = Launch::demo().options(&files.options()).start();
    let [old, new] = [(&old, client(&old, &[])), (&new, client(&new, &[]))];
    let session = initialize(&gateway, &old.1);
    let caller = Caller::new(gateway.address).with("Mcp-Session-Id", &session);
    let mut open = connect(&gateway, &old.1).expect("there is an agreement");
    let mut ask = || {
        let text = caller.text("POST", "/mcp", LIST);
        open.write_all(text.as_bytes()).expect("it is taken");
        let answer = answer(&mut open);
        assert!(answer.contains(r#""tools":["#), "{answer}");
    };
    ask();
    // Half a renewal.
    files.write("certificate", &new.0.cert.pem());
    gateway
        .stderr
        .wait_for("the certificate stays as it was", 1);
    ask();
    assert!(connect(&gateway, &old.1).is_ok());
    files.write("key", &new.0.signing_key.serialize_pem());
    eventually("the new one is shown", || connect(&gateway, &new.1).is_ok());
    assert!(connect(&gateway, &old.1).is_err());
    ask();
    let told = gateway.stderr.text();
    assert_eq!(told.matches("stays as it was").count(), 1, "{told}");
}

#[test]
fn an_answer_is_one_record() {
    /// The type of a record, whatever is in it, that is encrypted (RFC 8446 section 5.2).
    const ENCRYPTED: u8 = 0x17;
    let made = made();
    let files = Files::of(&made);
    let gateway = Launch::demo().options(&files.options()).start();
    let mut connection = connect(&gateway, &client(&made, &[])).expect("there is an agreement");
    let text = Caller::new(gateway.address).text("GET", "/health", "");
    // What else the gateway has to say after the handshake comes before the first.
    for _ in 0..2 {
        connection.sock.received.clear();
        connection.write_all(text.as_bytes()).expect("it is taken");
        answer(&mut connection);
    }
    let received = &connection.sock.received;
    let length = usize::from(u16::from_be_bytes([received[3], received[4]]));
    assert_eq!((received[0], received.len()), (ENCRYPTED, 5 + length));
}

#[test]
fn large_bodies_and_answers_pass_whole() {
    const LENGTH: usize = 16 << 20;
    let made = made();
    let files = Files::of(&made);
    let server = shell_server(
        "",
        &format!(
            r#"read -r line
printf '{{"jsonrpc":"2.0","id":2,"result":{{"got":'${{#line}}',"text":"'
head -c {LENGTH} /dev/zero | tr '\0' x
printf '"}}}}\n'
read -r line"#
        ),
    );
    let gateway = Launch::new(&["sh", "-c", &server])
        .options(&[
            "--startup-probe",
            "off",
            "--discover",
            "off",
            "--line-bytes",
            "64MiB",
        ])
        .options(&files.options())
        .start();
    let config = client(&made, &[]);
    let session = initialize(&gateway, &config);
    let padding = "y".repeat((4 << 20) - 200);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{{"name":"{padding}"}}}}"#
    );
    let answer = request(&gateway, &config, Some(&session), &call);
    assert_eq!(answer.status, 200);
    let got = answer
        .body
        .split_once(r#""got":"#)
        .and_then(|(_, rest)| rest.split_once(','));
    let got: usize = got
        .and_then(|(got, _)| got.parse().ok())
        .expect("it is told");
    assert!(got >= padding.len(), "{got}");
    assert_eq!(
        answer.body.matches('x').count(),
        LENGTH + "text".matches('x').count()
    );
}

#[test]
fn a_call_in_flight_is_answered_before_the_end() {
    let made = made();
    let files = Files::of(&made);
    let taken = files.0.path().join("taken");
    let answer = r#"sleep 1; echo '{"jsonrpc":"2.0","id":2,"result":{"late":true}}'; read -r line"#;
    let server = shell_server(
        "",
        &format!("read -r line; : > {}; {answer}", taken.display()),
    );
    let mut gateway = Launch::new(&["sh", "-c", &server])
        .options(&["--startup-probe", "off", "--discover", "off"])
        .options(&files.options())
        .start();
    let config = client(&made, &[]);
    let session = initialize(&gateway, &config);
    let mut connection = connect(&gateway, &config).expect("there is an agreement");
    let caller = Caller::new(gateway.address).with("Mcp-Session-Id", &session);
    let text = caller.text("POST", "/mcp", LIST);
    connection.write_all(text.as_bytes()).expect("it is taken");
    eventually("the server has read the call", || taken.exists());
    // A handshake that has not ended keeps nobody.
    let _stalled = tcp(gateway.address);
    gateway.signal("-TERM");
    let answer = receive(connection);
    assert_eq!(
        answer.body,
        r#"{"jsonrpc":"2.0","id":"l","result":{"late":true}}"#
    );
    assert_eq!(gateway.wait(), Some(0));
    let told = gateway.stderr.whole();
    assert!(!told.contains("not finished in time"), "{told}");
}

#[test]
fn what_cannot_be_served_with_is_said_at_the_start() {
    let (mine, other) = (made(), made());
    let files = Files::of(&mine);
    files.write("key", &other.signing_key.serialize_pem());
    let output = Launch::demo().options(&files.options()).run();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("tls-key") && told.contains("not the first certificate's"),
        "{told}"
    );
}

#[test]
fn health_believes_the_operators_own_authorities() {
    let made = made();
    let files = Files::of(&made);
    let gateway = Launch::demo().options(&files.options()).start();
    let url = format!("https://{}/health", gateway.address);
    for (authorities, healthy) in [("certificate", true), ("", false)] {
        let file = match authorities {
            "" => String::new(),
            name => files.0.path().join(name).display().to_string(),
        };
        let asked = Command::new(BINARY)
            .args(["health", "--url", &url])
            .env("SSL_CERT_FILE", file)
            .output()
            .expect("it can be started");
        assert_eq!(asked.status.success(), healthy, "{asked:?}");
    }
}
