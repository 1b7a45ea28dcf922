//! What the benchmarks share: their messages, a load generator, and what processes cost.
//!
//! `relay-cost` puts `mcp-gateway` in front of `echo-child`, and beside it `limit`, a server that
//! answers the same from a constant; it drives both in turn and compares their processor time.

pub mod load;
pub mod process;
pub mod wire;
