//! The binary as a user starts it, by the tests that both binaries pass.

#[path = "../../conformance/binary/mod.rs"]
mod binary;

/// The binary that is tested.
const BINARY: &str = env!("CARGO_BIN_EXE_mcp-gateway-smol");

/// The example that embeds a gateway.
const EXAMPLE: &str = "embedded-smol";
