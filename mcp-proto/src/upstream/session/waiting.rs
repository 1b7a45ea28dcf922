//! Messages of the child's that wait for a stream to carry them.

use std::collections::VecDeque;

use crate::framing::Frame;

/// What a message that waits for a stream costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// Messages of the child's that wait for a stream to carry them.
#[derive(Default)]
pub(super) struct Waiting {
    messages: VecDeque<Message>,
    pub(super) bytes: usize,
}

pub(super) struct Message {
    pub(super) text: Frame,
    /// The minted id, for a request.
    pub(super) request: Option<u64>,
}

impl Message {
    pub(super) fn cost(&self) -> usize {
        self.text.len() + ENTRY_BYTES
    }
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.cost();
        self.messages.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.cost();
        Some(message)
    }

    /// Takes out all messages, or all requests.
    pub(super) fn take(&mut self, requests_only: bool) -> Vec<Message> {
        let (taken, left): (Vec<_>, Vec<_>) = std::mem::take(self)
            .messages
            .into_iter()
            .partition(|message| !requests_only || message.request.is_some());
        left.into_iter().for_each(|message| self.push(message));
        taken
    }

    pub(super) fn remove_request(&mut self, minted: u64) {
        self.messages
            .retain(|message| message.request != Some(minted));
        self.bytes = self.messages.iter().map(Message::cost).sum();
    }
}
