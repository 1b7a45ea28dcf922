//! What each fuzz target does with one input, as functions that need no fuzzer: `cargo fuzz` finds
//! inputs (`fuzz/run`), and the tests replay those that were kept, in `corpus/`, on any compiler.
//!
//! A target compares a part of `mcp-proto` with code that does the same in the plainest way, and
//! panics where the two differ. `world` compares the whole with the simulator's model.

pub mod envelope;
pub mod framing;
pub mod h1;
pub mod headers;
pub mod sse;
pub mod world;

/// A target.
pub struct Target {
    /// Its name: of its binary, and of its folder in `corpus/`.
    pub name: &'static str,
    /// What it does with one input.
    pub check: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "envelope",
        check: envelope::check,
    },
    Target {
        name: "framing",
        check: framing::check,
    },
    Target {
        name: "h1",
        check: h1::check,
    },
    Target {
        name: "headers",
        check: headers::check,
    },
    Target {
        name: "sse",
        check: sse::check,
    },
    Target {
        name: "world",
        check: world::check,
    },
];
