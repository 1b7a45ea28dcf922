//! What is kept of who came: where it goes, and whether it is whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::http::{Caller, LIST};
use super::run::{Gateway, Launch};
use crate::BINARY;

const TOKEN: &str = "current-token-0123456789";

fn launch() -> Launch {
    Launch::demo().variable("DEMO_API_TOKEN", TOKEN)
}

/// A gateway that keeps its records in this file.
fn keeping(path: &Path) -> Gateway {
    let path = path.to_str().expect("it is text");
    launch().options(&["--audit", path]).start()
}

/// Comes in, does something, leaves.
fn visit(gateway: &Gateway) {
    let caller = Caller::bearer(gateway.address, TOKEN);
    let session = caller.initialize();
    let listed = caller.request("POST", Some(&session), LIST);
    assert_eq!(listed.status, 200);
    assert_eq!(caller.request("DELETE", Some(&session), "").status, 204);
}

fn end(mut gateway: Gateway) {
    gateway.signal("-TERM");
    assert_eq!(gateway.wait(), Some(0));
}

fn verify(files: &[&Path]) -> Output {
    Command::new(BINARY)
        .args(["audit", "verify"])
        .args(files)
        .output()
        .expect("the binary starts")
}

/// Verifies files that are whole; returns the report.
fn whole(files: &[&Path]) -> String {
    let output = verify(files);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    String::from_utf8(output.stdout).expect("the report is text")
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}

#[test]
fn who_came_stands_on_stdout() {
    let gateway = launch().start();
    visit(&gateway);
    let refused = Caller::bearer(gateway.address, "wrong-token-0123456789").knock();
    assert_eq!(refused.status, 401);
    let stdout = gateway.stdout.clone();
    end(gateway);
    let told = stdout.whole();
    let auth: Vec<&str> = told.lines().filter(|line| line.contains("AUTH")).collect();
    for (event, count) in [
        (r#""event":"verifier-tried","outcome":"success""#, 1),
        (r#""event":"authenticated","outcome":"success""#, 3),
        (r#""event":"refused","outcome":"failure","reason":"#, 1),
    ] {
        let found = auth.iter().filter(|line| line.contains(event)).count();
        assert_eq!(found, count, "{event} in {told}");
    }
    assert!(told.contains(r#""principal":"demo""#), "{told}");
    assert!(told.contains(r#""method":"tools/list""#), "{told}");
    // The lines of records, without the URL, are a trail by themselves.
    let directory = Directory::new();
    let path = directory.file("stdout");
    fs::write(&path, &told).expect("it can be written");
    whole(&[&path]);
}

#[test]
fn a_trail_goes_on_in_the_next_file_and_over_restarts() {
    let directory = Directory::new();
    let [old, new] = ["audit.log.1", "audit.log"].map(|name| directory.file(name));
    let gateway = keeping(&new);
    visit(&gateway);
    fs::rename(&new, &old).expect("it can be renamed");
    gateway.signal("-HUP");
    super::processes::eventually("the file is opened anew", || new.exists());
    visit(&gateway);
    end(gateway);
    let gateway = keeping(&new);
    visit(&gateway);
    // A second signal with the same file in place changes nothing.
    gateway.signal("-HUP");
    visit(&gateway);
    end(gateway);
    let report = whole(&[&old, &new]);
    assert!(report.contains("the chain begins: 1"), "{report}");
    assert_eq!(read(&old).matches(r#""event":"session-opened""#).count(), 1);
    assert_eq!(read(&new).matches(r#""event":"session-opened""#).count(), 3);
    // By itself the newer one is whole, and says that something stands before.
    let report = whole(&[&new]);
    assert!(report.contains("the chain begins: 0"), "{report}");
    assert!(report.contains("the chain continues, with seq"), "{report}");
}

#[test]
fn a_change_is_found_and_named() {
    let directory = Directory::new();
    let path = directory.file("audit.log");
    let gateway = keeping(&path);
    visit(&gateway);
    end(gateway);
    let written = read(&path);
    let lines: Vec<&str> = written.lines().collect();
    let changed = lines
        .iter()
        .position(|line| line.contains(r#""method":"tools/list""#));
    let changed = changed.expect("the call is on record");
    let forged = |lines: Vec<String>| {
        fs::write(&path, lines.join("\n") + "\n").expect("it can be written");
        let output = verify(&[&path]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("errors are text")
    };
    let owned = || {
        lines
            .iter()
            .map(|&line| line.to_owned())
            .collect::<Vec<_>>()
    };
    let mut one_byte = owned();
    one_byte[changed] = one_byte[changed].replace("tools/list", "tools/lisT");
    let told = forged(one_byte);
    let named = format!("audit.log:{}: ", changed + 1);
    assert!(told.contains(&named), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let mut removed = owned();
    removed.remove(changed);
    assert!(forged(removed).contains("removed"), "a line is missing");
    let mut swapped = owned();
    swapped.swap(changed, changed + 1);
    forged(swapped);
    // As it was, it is whole.
    fs::write(&path, &written).expect("it can be written");
    whole(&[&path]);
    // A file that is not there is no whole trail either.
    assert_eq!(verify(&[&directory.file("none")]).status.code(), Some(1));
    assert_eq!(verify(&[]).status.code(), Some(2));
}

#[test]
fn a_gateway_that_is_killed_leaves_a_trail_that_goes_on() {
    let directory = Directory::new();
    let path = directory.file("audit.log");
    for _ in 0..3 {
        let gateway = keeping(&path);
        let address = gateway.address;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // Whatever comes of it: the gateway dies meanwhile.
                scope.spawn(|| {
                    while let Ok(mut stream) = std::net::TcpStream::connect(address) {
                        let head = b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
                        let sent = std::io::Write::write_all(&mut stream, head);
                        let _ = sent.and_then(|()| std::io::Read::read(&mut stream, &mut [0; 64]));
                    }
                });
            }
            super::processes::eventually("records are written", || {
                read(&path).matches("not-found").count() > 100
            });
            gateway.signal("-KILL");
        });
        drop(gateway);
        whole(&[&path]);
        // A write that was cut short leaves this.
        let written = read(&path);
        let cut = written.trim_end().len() - 20;
        fs::write(&path, &written[..cut]).expect("it can be written");
        let gateway = keeping(&path);
        visit(&gateway);
        end(gateway);
        let report = whole(&[&path]);
        assert!(report.contains("torn lines: 1"), "{report}");
        assert!(report.contains("the chain begins: 1"), "{report}");
        fs::remove_file(&path).expect("it can be removed");
    }
}

#[test]
fn an_end_in_order_loses_no_record() {
    let directory = Directory::new();
    let path = directory.file("audit.log");
    let gateway = keeping(&path);
    let caller = Caller::new(gateway.address);
    for _ in 0..500 {
        assert_eq!(caller.get("/nothing").status, 404);
    }
    end(gateway);
    whole(&[&path]);
    assert_eq!(read(&path).matches("not-found").count(), 500);
}

fn full() -> File {
    let full = File::options().write(true).open("/dev/full");
    full.expect("Linux has it")
}

#[test]
fn records_that_cannot_be_kept_are_told_and_stop_nothing() {
    let gateway = launch().stdout(full()).start();
    visit(&gateway);
    gateway.stderr.wait_for("audit records cannot be kept", 1);
    visit(&gateway);
    end(gateway);
}

#[test]
fn who_will_not_serve_without_records_refuses() {
    let gateway = launch()
        .options(&["--audit-failure", "refuse"])
        .stdout(full())
        .start();
    let caller = Caller::bearer(gateway.address, TOKEN);
    caller.eventually(503);
    let refused = caller.knock();
    assert_eq!(refused.status, 503);
    assert!(refused.field("retry-after").is_some());
    // What is not the MCP endpoint goes on.
    assert_eq!(caller.get("/health").status, 200);
    end(gateway);
}

#[test]
fn a_file_is_one_gateways() {
    let directory = Directory::new();
    let path = directory.file("audit.log");
    let first = keeping(&path);
    let path = path.to_str().expect("it is text");
    for (bad, code) in [(path, 1), ("/nonexistent/audit.log", 2)] {
        let output = launch().options(&["--audit", bad]).run();
        assert_eq!(output.status.code(), Some(code));
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(bad), "{told}");
    }
    visit(&first);
}
