//! What happened, for a person and for a comparison.

use std::fmt;

use mcp_proto::Instant;

use crate::rng::hash_on;

/// A hash over all that happened; with `SIM_TRACE` set, each line of it is printed too.
pub(super) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            hash: 0,
            #[expect(
                clippy::disallowed_methods,
                reason = "whoever replays a run asks for it"
            )]
            print: std::env::var_os("SIM_TRACE").is_some(),
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Something that happens often: what it is, as numbers to compare and as a line to read.
    pub(super) fn step(&mut self, now: Instant, numbers: [u64; 2], line: fmt::Arguments<'_>) {
        for number in [now.as_nanos(), numbers[0], numbers[1]] {
            self.hash = (self.hash.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if self.print {
            eprintln!("{} {line}", now.as_nanos());
        }
    }

    pub(super) fn note(&mut self, now: Instant, line: fmt::Arguments<'_>) {
        self.step(now, [0, 0], line);
        // Formatting fails only if this does.
        let _ = fmt::write(self, line);
    }
}

impl fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hash = hash_on(self.hash, text.as_bytes());
        Ok(())
    }
}
