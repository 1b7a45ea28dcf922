//! The log and whoever reads it.

use std::process::{Command, Stdio};

use super::http;
use crate::BINARY;

/// The log goes to a pipe that nobody reads, which holds 64 KiB.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    drop(listener);
    let mut gateway = Command::new(BINARY)
        .args([
            "--demo",
            "--startup-probe",
            "off",
            "--discover",
            "off",
            "--port",
        ])
        .arg(address.port().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    super::processes::eventually("the gateway listens", || {
        std::net::TcpStream::connect(address).is_ok()
    });
    // Each is refused, and each refusal is a line.
    for _ in 0..2000 {
        let refused = http::request(address, "GET", None, "");
        assert_eq!(refused.status, 400);
    }
    gateway.kill().expect("it runs");
    gateway.wait().expect("it ends");
}
