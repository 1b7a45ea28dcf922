//! SIGTERM: what is in flight is finished, and then the process ends well.

use super::http;
use super::processes::{eventually, marked};
use super::run::{Gateway, shell_server};

/// A file that the server makes once it has read the call.
struct Taken(std::path::PathBuf);

impl Taken {
    fn new(mark: &str) -> Self {
        Self(std::env::temp_dir().join(format!("mcp-gateway-test-{mark}")))
    }

    /// The line of shell that reads the call.
    fn read(&self) -> String {
        format!("read -r line; : > {}", self.0.display())
    }

    fn wait(&self) {
        eventually("the server has read the call", || self.0.exists());
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"slow"}}"#;

#[test]
fn a_call_in_flight_is_answered_before_the_end() {
    let mark = format!("drain-{}", std::process::id());
    let taken = Taken::new(&mark);
    let answer = r#"sleep 1; echo '{"jsonrpc":"2.0","id":2,"result":{"late":true}}'; read -r line"#;
    let server = shell_server("", &format!("{}; {answer}", taken.read()));
    let mut gateway = Gateway::start(
        &mark,
        &["--startup-probe", "off", "--discover", "off"],
        &["sh", "-c", &server],
    );
    let session = http::initialize(gateway.address);
    let call = http::send(gateway.address, "POST", Some(&session), CALL);
    taken.wait();
    gateway.signal("-TERM");
    let answer = http::receive(call);
    assert_eq!(
        answer.body,
        r#"{"jsonrpc":"2.0","id":"c","result":{"late":true}}"#
    );
    assert_eq!(gateway.wait(), Some(0));
    assert!(marked(&mark).is_empty());
}

#[test]
fn a_call_that_does_not_end_in_time_gets_an_error() {
    let mark = format!("late-{}", std::process::id());
    let taken = Taken::new(&mark);
    let server = shell_server("trap '' TERM", &format!("{}; sleep 1000", taken.read()));
    let options = [
        "--startup-probe",
        "off",
        "--discover",
        "off",
        "--drain-time",
        "1s",
        "--terminate-after",
        "200ms",
        "--kill-after",
        "200ms",
    ];
    let mut gateway = Gateway::start(&mark, &options, &["sh", "-c", &server]);
    let session = http::initialize(gateway.address);
    let call = http::send(gateway.address, "POST", Some(&session), CALL);
    taken.wait();
    gateway.signal("-TERM");
    let answer = http::receive(call);
    assert!(
        answer.body.contains(r#""id":"c","error""#),
        "{}",
        answer.body
    );
    assert_eq!(gateway.wait(), Some(0));
    assert!(marked(&mark).is_empty());
}

#[test]
fn a_second_signal_ends_at_once_and_takes_the_children_along() {
    let mark = format!("second-{}", std::process::id());
    let taken = Taken::new(&mark);
    let after = format!("{}; sleep 1000", taken.read());
    let server = shell_server("trap '' TERM; setsid sleep 1000 &", &after);
    let options = [
        "--startup-probe",
        "off",
        "--discover",
        "off",
        "--drain-time",
        "60s",
    ];
    let mut gateway = Gateway::start(&mark, &options, &["sh", "-c", &server]);
    let session = http::initialize(gateway.address);
    let _call = http::send(gateway.address, "POST", Some(&session), CALL);
    taken.wait();
    gateway.signal("-TERM");
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(gateway.address).is_err()
    });
    gateway.signal("-INT");
    assert_ne!(gateway.wait(), Some(0));
    eventually("nothing is left", || marked(&mark).is_empty());
}
