//! Official clients that obtain their tokens from a real authorization server, through the gateway.
//!
//! The work is done by `conformance/oauth/run`, which needs what `conformance/run` needs. What stands
//! in front of the gateway in the field is tested by `conformance/nginx/run`, which needs nginx too and
//! is for CI to call.

use std::path::Path;
use std::process::Command;

use conformance::gateway;

#[test]
fn official_clients_obtain_their_tokens() {
    let gateway = gateway::locate().unwrap_or_else(|why| panic!("{why}"));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("oauth/run");
    let output = Command::new(&program)
        .env("GATEWAY_BIN", gateway)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{report}");
    assert!(output.status.success(), "{report}\n{errors}");
}
