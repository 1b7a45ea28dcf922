//! All byte scripts against both binaries, or those that `MCP_GATEWAY_BIN` names, without TLS and with.
//!
//! `SCRIPTS=http/chunk` plays only those whose path holds this text.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conformance::gateway;
use conformance::script::{parse, read_all};
use conformance::suite::{Subject, run};
use conformance::tls::Tls;
use conformance::wire::DEADLINE;

/// The set as a whole must not shrink unnoticed.
const LEAST: usize = 150;

fn subject() -> Subject {
    Subject {
        binaries: gateway::locate().unwrap_or_else(|why| panic!("{why}")),
        scripted_child: env!("CARGO_BIN_EXE_scripted-child").into(),
        patience: DEADLINE,
        tls: None,
    }
}

/// All gateways of one run are enough for a machine.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn every_script_passes() {
    all_pass(&subject());
}

#[test]
fn every_script_passes_over_tls() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripts-tls");
    fs::create_dir_all(&directory).expect("the directory is ours");
    let mut subject = subject();
    subject.tls = Some(Tls::make(&directory).unwrap_or_else(|why| panic!("{why}")));
    all_pass(&subject);
}

fn all_pass(subject: &Subject) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut scripts = read_all(&directory).unwrap_or_else(|errors| panic!("{errors}"));
    scripts.retain(|script| subject.tls.is_none() || !script.plain_only);
    let only = std::env::var("SCRIPTS").ok();
    if let Some(only) = &only {
        scripts.retain(|script| script.path.to_string_lossy().contains(only.as_str()));
    }
    let report = run(subject, scripts);
    // Past the harness, which shows what a test prints only if it fails.
    let _ = write!(std::io::stderr(), "{}", report.text());
    let failed = report.failures.len();
    assert!(failed == 0, "{failed} scripts failed; they are told above");
    if only.is_some() {
        assert!(report.passed > 0, "no script is of that name");
    } else {
        assert!(report.passed >= LEAST);
        assert!(report.compared >= LEAST || subject.binaries.len() == 1);
    }
}

/// Scripts that expect what does not come, and what must be told of each.
const WRONG: &[(&str, &str)] = &[
    (
        "request a GET /health\nexpect a 404",
        ": expected 404; received HTTP/1.1 200",
    ),
    (
        "request a GET /health\nexpect a 200c",
        "expected Connection: close",
    ),
    (
        "request a GET /health\nexpect a 200\n| etag: *",
        "expected etag once",
    ),
    (
        "request a GET /health\nexpect a 200\n| !content-type",
        "expected no content-type",
    ),
    (
        "request a GET /health\nexpect a 200\n| content-type: text/*",
        "like \"text/*\"",
    ),
    (
        "request a GET /health\nexpect a 200\n~ {\"sessions\":1}",
        "/sessions: 0, expected 1",
    ),
    (
        "request a GET /health\nexpect a 200\n= {}",
        "expected the body {}",
    ),
    (
        "request a GET /health\nexpect a 200\n? a*",
        "expected a body like a*",
    ),
    (
        "request a GET /health\nexpect a 200 events",
        "no event stream",
    ),
    (
        "request a GET /health\nexpect a 200\nexpect a silence\nrequest a GET /\nexpect a silence",
        "received HTTP/1.1 200",
    ),
    (
        "request a GET /health\nrequest a GET /health\nexpect a 200\nexpect a closed",
        "received HTTP/1.1 200",
    ),
    (
        "session s\nget a s\nexpect a 200 events\nexpect a event",
        "expected Event; received the event id: ",
    ),
    (
        "session s\nget a s\nexpect a 200 events\nexpect a priming\nend s\nexpect a event",
        "expected an event",
    ),
    (
        "session s\nget a s\nexpect a 200 events\nexpect a end",
        "expected the stream's end",
    ),
    (
        "session s\nexpect no-log *session-opened*",
        "this is in the log",
    ),
    (
        "request a GET /x\nexpect a 404\nexpect no-log *not-found*",
        "this is in the log",
    ),
    (
        "connect a\nsend a\n| {nothing}\nexpect a 400",
        "{nothing} has no value",
    ),
    ("expect b closed", "no connection is named b"),
    (
        "request a GET /\nexpect a 200\ncapture a x header etag",
        "etag is there 0 times",
    ),
    // What is checked after every script.
    (
        "request a GET /x\nexpect a 404 head",
        "expected 0 records of refusals",
    ),
    (
        "post a\n= {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}}}\nexpect a 200",
        "/children: 1, expected 0",
    ),
];

#[test]
fn what_does_not_come_is_missed() {
    let scripts = WRONG.iter().map(|(text, _)| {
        // Each has a gateway of its own, so that they are told apart and can run side by side.
        let text = format!("# wrong\n{text}\n");
        parse(Path::new("x.script"), &text).unwrap_or_else(|why| panic!("{text}: {why}"))
    });
    let mut subject = subject();
    subject.binaries.truncate(1);
    subject.patience = Duration::from_secs(1);
    for (script, (text, why)) in scripts.zip(WRONG) {
        let report = run(&subject, vec![script]);
        let told = report.failures.join("\n");
        assert!(
            told.contains(why),
            "{text}\nmust tell {why:?}, told {told:?}"
        );
    }
}

/// One binary under two names, of which one calls its service otherwise: nothing that the script
/// expects, and still no equal answer.
#[test]
fn answers_that_differ_are_told() {
    let mut subject = subject();
    subject.binaries.truncate(1);
    let mut other = subject.binaries[0].clone();
    let binary = other.path.display().to_string();
    other.path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-gateway");
    let program = format!("#!/bin/sh\nexec '{binary}' --service-name other \"$@\"\n");
    fs::write(&other.path, program).expect("the directory is there");
    fs::set_permissions(&other.path, Permissions::from_mode(0o755)).expect("it is ours");
    other.name = "other".to_owned();
    subject.binaries.push(other);

    let text = "# health\nrequest a GET /health\nexpect a 200\n";
    let script = parse(Path::new("x.script"), text).expect("it is a script");
    let report = run(&subject, vec![script]);
    assert_eq!((report.passed, report.failures.len()), (0, 1));
    let told = &report.failures[0];
    for part in [
        "x.script:3: health\n    the answers differ\n",
        "\"service\":\"demo\"",
        "    other: HTTP/1.1 200 OK",
        "\"service\":\"other\"",
    ] {
        assert!(told.contains(part), "must tell {part:?}, told {told}");
    }
}
