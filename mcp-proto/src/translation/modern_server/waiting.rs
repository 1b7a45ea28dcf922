//! Requests that the child is not to see yet.

use std::collections::VecDeque;

use bytes::Bytes;

use super::number;
use crate::envelope::{Envelope, Field};

/// What a waiting request costs beside its bytes.
const ENTRY_BYTES: usize = size_of::<(Bytes, Envelope)>();

/// Requests that wait for the handshake to end, or for their turn; oldest first.
#[derive(Default)]
pub(super) struct Waiting {
    requests: VecDeque<(Bytes, Envelope)>,
    bytes: usize,
}

impl Waiting {
    /// Whether the request may wait: there is room for it.
    pub(super) fn push(&mut self, line: &Bytes, message: &Envelope, most_bytes: usize) -> bool {
        let cost = line.len() + ENTRY_BYTES;
        if self.bytes > 0 && self.bytes + cost > most_bytes {
            return false;
        }
        self.bytes += cost;
        self.requests.push_back((line.clone(), *message));
        true
    }

    pub(super) fn pop(&mut self) -> Option<(Bytes, Envelope)> {
        let request = self.requests.pop_front()?;
        self.bytes -= request.0.len() + ENTRY_BYTES;
        Some(request)
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = (Bytes, Envelope)> + use<> {
        std::mem::take(self).requests.into_iter()
    }

    /// Whether the request waited.
    pub(super) fn remove(&mut self, request: u64) -> bool {
        let is_it = |(line, message): &(Bytes, Envelope)| {
            message.raw(Field::Id, line).and_then(number) == Some(request)
        };
        let at = self.requests.iter().position(is_it);
        let removed = at.and_then(|at| self.requests.remove(at));
        self.bytes -= removed
            .as_ref()
            .map_or(0, |(line, _)| line.len() + ENTRY_BYTES);
        removed.is_some()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.bytes == 0
    }
}
