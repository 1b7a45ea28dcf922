//! What the machines may allocate, by their limits.

use super::Play;

/// What they may hold when nobody is there: verdicts, keys, buckets, documents.
pub(super) const FIXED_BYTES: usize = 64 << 10;

/// What is read from a child at once.
const READ_BYTES: usize = 64 << 10;

/// What a call, a stream or a request of a child's takes up in tables.
const ENTRY_BYTES: usize = 2 << 10;

impl Play {
    /// Property 9: what is allocated never passes what the limits allow for who is there now.
    pub(super) fn check_memory(&mut self) {
        let Some(held) = self.world.held_bytes() else {
            return;
        };
        let limits = &self.world.gateway().policy().limits;
        // A line that is being read, and one that is larger than the bound that it is kept within.
        let lines = 2 * limits.line_bytes;
        let child =
            READ_BYTES + lines + limits.waiting_bytes + limits.replay_bytes + limits.stdin_bytes;
        let request = ENTRY_BYTES + limits.line_bytes + limits.stream_queue_bytes;
        let requests = self.world.open_requests().count();
        let budget = FIXED_BYTES + self.world.upstreams() * child + requests * request;
        assert!(held <= budget, "{held} bytes are allocated, of {budget}");
        if held > budget / 3 && !std::mem::replace(&mut self.is_full, true) {
            self.count("a third of the memory");
        }
    }
}
