//! The start: what the user is told, and what a child gets of the gateway's.

use super::http::{self, Caller};
use super::mock::{Mock, Reply};
use super::processes::{eventually, marked};
use super::run::{Ended, Gateway, Launch, shell_server, signal_process};
use crate::BINARY;

#[test]
fn the_url_is_told_on_stdout_whatever_the_log_says() {
    let mut gateway = std::process::Command::new(BINARY)
        .args(["--demo", "--port", "0", "--log-level", "error"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = gateway.stdout.take().expect("stdout is piped");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
        .expect("stdout can be read");
    gateway.kill().expect("it runs");
    gateway.wait().expect("it ends");
    assert!(
        line.starts_with("http://127.0.0.1:") && line.ends_with("/mcp\n"),
        "{line:?}"
    );
}

#[test]
fn bad_usage_is_exit_2_even_where_nobody_can_be_told() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let status = std::process::Command::new(BINARY)
        .stderr(full.expect("Linux has it"))
        .status()
        .expect("the binary starts");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_child_gets_neither_descriptors_nor_secrets() {
    let mark = format!("inheritance-{}", std::process::id());
    let report = r#"test -e /proc/$$/fd/9 && nine=open || nine=closed
read -r line
echo "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"nine\":\"$nine\",\"secret\":\"$SECRET\",\"path\":\"${PATH:+set}\"}}"
read -r line"#;
    let server = shell_server("", report);
    let gateway = Gateway::start_from(
        "export SECRET=marker; exec 9</dev/null",
        &mark,
        &["--startup-probe", "off", "--discover", "off"],
        &["sh", "-c", &server],
    );
    let session = http::initialize(gateway.address);
    let call = r#"{"jsonrpc":"2.0","id":"c","method":"tools/list"}"#;
    let answer = http::request(gateway.address, "POST", Some(&session), call);
    assert_eq!(
        answer.body,
        r#"{"jsonrpc":"2.0","id":"c","result":{"nine":"closed","secret":"","path":"set"}}"#
    );
}

/// What makes a gateway serve more than its own machine.
const REACHES_OUT: [[&str; 2]; 3] = [
    ["--host", "0.0.0.0"],
    ["--public-url", "https://gw.example.org/mcp"],
    ["--trusted-proxies", "127.0.0.1"],
];

#[test]
fn who_can_be_reached_from_elsewhere_asks_who_comes() {
    for option in REACHES_OUT {
        let output = Launch::demo().options(&option).run();
        assert_eq!(output.status.code(), Some(2), "{option:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("--allow-unauthenticated"), "{told}");
        let check = |launch: Launch| launch.options(&["--check-config"]).run().status.code();
        let asks = Launch::demo().variable("DEMO_API_TOKEN", "token-0123456789");
        assert_eq!(check(asks.options(&option)), Some(0), "{option:?}");
        let open = Launch::demo().options(&["--allow-unauthenticated"]);
        assert_eq!(check(open.options(&option)), Some(0), "{option:?}");
    }
    let gateway = Launch::demo()
        .variable("DEMO_API_TOKEN", "token-0123456789")
        .options(&REACHES_OUT[1])
        .start();
    let caller = Caller::bearer(gateway.address, "token-0123456789");
    assert_eq!(caller.knock().status, 200);
}

#[test]
fn a_signal_ends_a_start_that_waits_for_a_verifier() {
    for signal in ["-TERM", "-INT"] {
        let mock = Mock::start(|_| Reply::Silence);
        let mark = format!("unstarted{signal}-{}", std::process::id());
        let (process, stdout, _) = Launch::new(&["sh", "-c", "setsid sleep 1000 & sleep 1000"])
            .mark(&mark)
            .options(&["--auth", "http", "--http-url", &mock.url("/whoami")])
            .options(&["--allow-any-client", "--verifier-time", "1h"])
            .begin();
        let mut process = Ended(process);
        eventually("the verifier is tried", || mock.asked().len() == 1);
        eventually("the start-up probe's processes run", || {
            marked(&mark).len() == 3
        });
        signal_process(process.0.id(), signal);
        let mut status = None;
        eventually("the gateway ends", || {
            status = process.0.try_wait().expect("it is a child");
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0));
        assert!(!stdout.whole().contains("/mcp"), "it was never served");
        eventually("nothing is left", || marked(&mark).is_empty());
    }
}
