//! A server that does not end by itself, for embedders who have no more use for their gateway.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_kit::AuditSink;
use gateway_kit::settings::{ChildCommand, Settings};

/// A server that says in a file which process it is, answers `initialize`, and then neither reads
/// nor ends when it is asked to.
pub(crate) fn settings(said: &Path) -> Settings {
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
    settings.policy.discover = false;
    settings.policy.limits.terminate_after = Duration::from_millis(50);
    settings.policy.limits.kill_after = Duration::from_millis(50);
    settings.audit = AuditSink::Off;
    settings.listen = vec![([127, 0, 0, 1], 0).into()];
    settings
}

/// Opens a session, and returns its connection.
pub(crate) fn initialize(address: SocketAddr) -> TcpStream {
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
pub(crate) fn process(said: &Path) -> PathBuf {
    let id = std::fs::read_to_string(said).expect("the server said which process it is");
    Path::new("/proc").join(id.trim())
}
