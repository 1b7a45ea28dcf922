//! Requests that the child is not to see yet.

use std::collections::VecDeque;

use bytes::Bytes;

use super::number;
use crate::envelope::{Envelope, Field};

/// What a waiting request costs beside its bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();

struct Entry {
    line: Bytes,
    message: Envelope,
    /// Whether it needs the turn.
    needs_turn: bool,
}

impl Entry {
    fn cost(&self) -> usize {
        self.line.len() + ENTRY_BYTES
    }
}

/// Requests that wait for the handshake to end, or for their turn; oldest first.
#[derive(Default)]
pub(super) struct Waiting {
    requests: VecDeque<Entry>,
    bytes: usize,
}

impl Waiting {
    /// Whether the request may wait: there is room for it.
    pub(super) fn push(
        &mut self,
        line: &Bytes,
        message: &Envelope,
        needs_turn: bool,
        most_bytes: usize,
    ) -> bool {
        let entry = Entry {
            line: line.clone(),
            message: *message,
            needs_turn,
        };
        if self.bytes > 0 && self.bytes + entry.cost() > most_bytes {
            return false;
        }
        self.bytes += entry.cost();
        self.requests.push_back(entry);
        true
    }

    pub(super) fn pop(&mut self) -> Option<(Bytes, Envelope)> {
        let entry = self.requests.pop_front()?;
        self.bytes -= entry.cost();
        Some((entry.line, entry.message))
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = (Bytes, Envelope)> + use<> {
        let requests = std::mem::take(self).requests.into_iter();
        requests.map(|entry| (entry.line, entry.message))
    }

    /// Whether the request waited.
    pub(super) fn remove(&mut self, request: u64) -> bool {
        let is_it = |entry: &Entry| {
            entry.message.raw(Field::Id, &entry.line).and_then(number) == Some(request)
        };
        let at = self.requests.iter().position(is_it);
        let removed = at.and_then(|at| self.requests.remove(at));
        self.bytes -= removed.as_ref().map_or(0, Entry::cost);
        removed.is_some()
    }

    /// Whether a request that needs the turn waits.
    pub(super) fn has_turns(&self) -> bool {
        self.requests.iter().any(|entry| entry.needs_turn)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.bytes == 0
    }
}
