//! The official conformance suite, and official clients with real servers, through the gateway.
//!
//! The work is done by `conformance/run` and `conformance/clients/run`, which need node with npm and
//! python 3.11, and install what is pinned in this folder under the target directory.

use std::path::Path;
use std::process::Command;

use conformance::gateway;

/// Runs one of the programs of this folder; what it prints is the report.
fn run(program: &str) {
    let gateway = gateway::locate().unwrap_or_else(|why| panic!("{why}"));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let output = Command::new(&program)
        .env("GATEWAY_BIN", gateway)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let (report, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{report}");
    assert!(output.status.success(), "{report}\n{errors}");
}

#[test]
fn the_official_suite_passes() {
    run("run");
}

#[test]
fn official_clients_use_real_servers() {
    run("clients/run");
}
