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

const TOKIO: &str = "mcp-gateway";
const SMOL: &str = "mcp-gateway-smol";

/// Runs one of the programs of this folder for a binary; what it prints is the report.
fn run(program: &str, name: &str) {
    let binaries = gateway::locate().unwrap_or_else(|why| panic!("{why}"));
    let binary = binaries.iter().find(|binary| binary.name == name);
    let binary = binary.unwrap_or_else(|| panic!("no binary is named {name}"));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let output = Command::new(&program)
        .env("GATEWAY_BIN", &binary.path)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let (report, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{report}");
    assert!(output.status.success(), "{report}\n{errors}");
}

// One test for each program and binary, since cargo runs tests beside each other.

#[test]
fn the_official_suite_passes_on_tokio() {
    run("run", TOKIO);
}

#[test]
fn the_official_suite_passes_on_smol() {
    run("run", SMOL);
}

#[test]
fn official_clients_use_real_servers_on_tokio() {
    run("clients/run", TOKIO);
}

#[test]
fn official_clients_use_real_servers_on_smol() {
    run("clients/run", SMOL);
}

#[test]
fn official_clients_obtain_their_tokens_on_tokio() {
    run("oauth/run", TOKIO);
}

#[test]
fn official_clients_obtain_their_tokens_on_smol() {
    run("oauth/run", SMOL);
}
