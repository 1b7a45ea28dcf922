//! What becomes of a gateway whose embedder has no more use for it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gateway_kit::AuditSink;
use gateway_kit::settings::{ChildCommand, Settings};
use gateway_tokio::Server;
use tokio::runtime::Runtime;

/// A server that says in a file which process it is, answers `initialize`, and then neither reads
/// nor ends when it is asked to.
fn settings(said: &Path) -> Settings {
    let answer = r#"{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"stubborn","version":"1"}}}"#;
    let script = format!(
        "trap '' TERM; read -r line; id=${{line#*\\\"id\\\":}}; id=${{id%%,*}}; \
         echo $$ > {}; printf '{answer}\\n' \"$id\"; while :; do sleep 1; done",
        said.display()
    );
    let child = ChildCommand::new("sh")
        .args(["-c", &script])
        .inherit(std::env::vars_os());
    let mut settings = Settings::new(child);
    settings.policy.startup_probe = false;
    settings.policy.limits.terminate_after = Duration::from_millis(50);
    settings.policy.limits.kill_after = Duration::from_millis(50);
    settings.audit = AuditSink::Off;
    settings.listen = vec![([127, 0, 0, 1], 0).into()];
    settings
}

/// Opens a session, and returns its connection.
fn initialize(address: SocketAddr) -> TcpStream {
    let body = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(request.as_bytes())
        .expect("the gateway reads");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("the gateway answers");
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// Where a process stands in `/proc`, as long as it has not been reaped.
fn process(said: &Path) -> PathBuf {
    let id = std::fs::read_to_string(said).expect("the server said which process it is");
    Path::new("/proc").join(id.trim())
}

/// A gateway with a session, whose `run` was dropped.
async fn abandon(said: &Path) -> TcpStream {
    let server = Server::bind(settings(said)).await.expect("a port is free");
    let address = server.addresses()[0];
    tokio::select! {
        () = server.run(std::future::pending()) => unreachable!("nobody stops it"),
        stream = tokio::task::spawn_blocking(move || initialize(address)) => {
            stream.expect("a session was opened")
        }
    }
}

#[test]
fn children_end_once_nobody_runs_their_gateway() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let said = directory.path().join("process");
    let runtime = Runtime::new().expect("threads can be had");
    let _connection = runtime.block_on(abandon(&said));
    let process = process(&said);
    let start = Instant::now();
    while process.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the child lives");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn children_end_with_their_runtime() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let said = directory.path().join("process");
    let runtime = Runtime::new().expect("threads can be had");
    let _connection = runtime.block_on(abandon(&said));
    let process = process(&said);
    drop(runtime);
    assert!(!process.exists(), "the child lives");
}
