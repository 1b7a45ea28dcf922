//! The example that embeds a gateway serves, and ends when it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_embedded_gateway_serves_and_stops() {
    // cargo builds the examples with the tests, beside the binary.
    let binary = Path::new(env!("CARGO_BIN_EXE_mcp-gateway-smol"));
    let example = binary.with_file_name("examples").join("embedded");
    let mut process = Ended(
        Command::new(example)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example was built"),
    );
    let stdout = process.0.stdout.take().expect("stdout is piped");
    let mut url = String::new();
    // Kept, since audit records follow.
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut url).expect("stdout can be read");
    let authority = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next())
        .expect("the example tells its URL");
    let body = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(authority).expect("the example listens");
    let mut answer = String::new();
    stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_to_string(&mut answer).map(drop))
        .expect("the example answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let told = Command::new("kill")
        .args(["-INT", &process.0.id().to_string()])
        .status();
    assert!(told.expect("kill is there").success());
    let status = process.0.wait().expect("it is a child");
    assert!(status.success(), "{status}");
}
