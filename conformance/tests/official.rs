//! The official conformance suite, official clients with real servers, and official clients that
//! obtain their tokens from a real authorization server: all of it through each of the binaries.
//!
//! The work is done by `conformance/run`, `conformance/clients/run` and `conformance/oauth/run`, which
//! need node with npm and python 3.11, and install what is pinned in this folder under the target
//! directory. What stands in front of the gateway in the field is tested by `conformance/nginx/run`,
//! which needs nginx too and is for CI to call.

use std::path::Path;
use std::process::Command;

use conformance::gateway;

/// Runs one of the programs of this folder for each binary; what it prints is the report.
fn run(program: &str) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let mut failed = Vec::new();
    for binary in gateway::locate().unwrap_or_else(|why| panic!("{why}")) {
        let output = Command::new(&program)
            .env("GATEWAY_BIN", &binary.path)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let (report, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        println!("{}:\n{report}\n{errors}", binary.name);
        if !output.status.success() {
            failed.push(binary.name);
        }
    }
    assert!(
        failed.is_empty(),
        "{failed:?} failed; the reports are above"
    );
}

#[test]
fn the_official_suite_passes() {
    run("run");
}

#[test]
fn official_clients_use_real_servers() {
    run("clients/run");
}

#[test]
fn official_clients_obtain_their_tokens() {
    run("oauth/run");
}
