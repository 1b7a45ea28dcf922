//! Bytes that wait to be written, and how they go out in few vectored writes.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::Frame;

/// What is copied is gathered in pieces of about this size.
const PIECE: usize = 4 * 1024;

/// Bytes that wait for a pipe or a socket to take them, in their order.
///
/// # Invariants
///
/// - What is held is `slices`, then `copied[taken..]`; `length` is its length. No slice is empty.
/// - Once nothing is held, nothing but the first 4 KiB of `copied` stay allocated.
#[derive(Default)]
pub struct WriteQueue {
    slices: VecDeque<Bytes>,
    copied: Vec<u8>,
    taken: usize,
    length: usize,
}

impl WriteQueue {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none do.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds bytes without copying them.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.seal();
        self.length += bytes.len();
        self.slices.push_back(bytes);
    }

    /// Adds a frame without copying it.
    pub fn push_frame(&mut self, frame: Frame) {
        for slice in frame.into_slices() {
            self.push(slice);
        }
    }

    /// Adds a copy of bytes: what is small and comes one after the other then leaves as one slice.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.copied.extend_from_slice(bytes);
        if self.copied.len() >= PIECE {
            self.seal();
        }
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Fills slots with the first slices that wait, and says how many it filled.
    pub fn fill<'a>(&'a self, slots: &mut [IoSlice<'a>]) -> usize {
        let copied = self.copied.get(self.taken..).unwrap_or_default();
        let slices = self.slices.iter().map(|slice| &slice[..]);
        let slices = slices.chain(Some(copied).filter(|copied| !copied.is_empty()));
        let mut filled = 0;
        for (slot, slice) in slots.iter_mut().zip(slices) {
            *slot = IoSlice::new(slice);
            filled += 1;
        }
        filled
    }

    /// Takes note that the first `bytes` were written. Panics if there are fewer.
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.length, "more was written than waited");
        self.length -= bytes;
        let mut left = bytes;
        while let Some(first) = self.slices.front_mut() {
            if first.len() > left {
                first.advance(left);
                return;
            }
            left -= first.len();
            self.slices.pop_front();
        }
        self.taken += left;
        if self.length == 0 {
            self.taken = 0;
            self.copied.clear();
            self.copied.shrink_to(PIECE);
            self.slices.shrink_to(4);
        }
    }

    /// Makes a slice of what was copied, so that a slice may follow.
    fn seal(&mut self) {
        if self.copied.len() > self.taken {
            let mut copied = Bytes::from(std::mem::take(&mut self.copied));
            copied.advance(self.taken);
            self.slices.push_back(copied);
        }
        self.copied.clear();
        self.taken = 0;
    }
}

/// Shows lengths only: payloads are not for logs.
impl fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteQueue")
            .field("length", &self.length)
            .field("slices", &self.slices.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_copied_leaves_in_pieces_of_a_size() {
        let mut queue = WriteQueue::default();
        for _ in 0..3 * PIECE / 100 {
            queue.copy(&[0; 100]);
        }
        let mut slots = [IoSlice::new(&[]); 8];
        let filled = queue.fill(&mut slots);
        let lengths: Vec<_> = slots[..filled].iter().map(|slot| slot.len()).collect();
        assert_eq!(lengths, [4100, 4100, 4000]);
    }

    #[test]
    fn what_is_thrown_away_is_gone() {
        let mut queue = WriteQueue::default();
        queue.push("a".into());
        queue.copy(b"b");
        queue.clear();
        assert!(queue.is_empty() && queue.fill(&mut [IoSlice::new(&[])]) == 0);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Push(Vec<u8>),
        PushFrame(Vec<Vec<u8>>),
        Copy(Vec<u8>),
        Write { slots: usize, share: u8 },
    }

    fn act() -> impl Strategy<Value = Act> {
        let bytes = || {
            prop_oneof![
                4 => prop::collection::vec(any::<u8>(), 0..20),
                1 => prop::collection::vec(any::<u8>(), PIECE - 2..PIECE + 2),
            ]
        };
        prop_oneof![
            bytes().prop_map(Act::Push),
            prop::collection::vec(bytes(), 0..3).prop_map(Act::PushFrame),
            bytes().prop_map(Act::Copy),
            (1..4_usize, any::<u8>()).prop_map(|(slots, share)| Act::Write { slots, share }),
        ]
    }

    fn gathered(slices: &[IoSlice<'_>]) -> Vec<u8> {
        slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(acts in prop::collection::vec(act(), 0..40)) {
            let mut queue = WriteQueue::default();
            let (mut all, mut written) = (Vec::new(), Vec::new());
            for act in acts {
                match act {
                    Act::Push(bytes) => {
                        all.extend_from_slice(&bytes);
                        queue.push(bytes.into());
                    }
                    Act::PushFrame(slices) => {
                        all.extend(slices.concat());
                        queue.push_frame(slices.into_iter().map(Bytes::from).collect());
                    }
                    Act::Copy(bytes) => {
                        all.extend_from_slice(&bytes);
                        queue.copy(&bytes);
                    }
                    Act::Write { slots, share } => {
                        let mut slots = vec![IoSlice::new(&[]); slots];
                        let filled = queue.fill(&mut slots);
                        prop_assert!(slots[..filled].iter().all(|slice| !slice.is_empty()));
                        let offered = gathered(&slots[..filled]);
                        let taken = offered.len() * usize::from(share) / 255;
                        written.extend_from_slice(&offered[..taken]);
                        queue.advance(taken);
                    }
                }
                prop_assert_eq!(queue.len(), all.len() - written.len());
                prop_assert_eq!(queue.is_empty(), queue.fill(&mut [IoSlice::new(&[])]) == 0);
            }
            while !queue.is_empty() {
                let mut slots = [IoSlice::new(&[]); 3];
                let filled = queue.fill(&mut slots);
                let offered = gathered(&slots[..filled]);
                written.extend_from_slice(&offered);
                queue.advance(offered.len());
            }
            prop_assert_eq!(written, all);
            prop_assert!(queue.copied.capacity() <= 2 * PIECE);
        }
    }
}
