//! Plays of the whole gateway: the input is the dice.

use mcp_proto_sim::Seed;

/// The ten properties hold in whatever play the bytes make.
pub fn check(input: &[u8]) {
    mcp_proto_sim::check(&Seed::from(input), None);
}
