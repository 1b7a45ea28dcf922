//! What was read from a connection and is not used yet.

/// How much is read at first.
pub(super) const FIRST_READ: usize = 4 * 1024;

/// How much is read at once when reads fill what they are given.
const FULL_READ: usize = 64 * 1024;

/// A buffer that is read into at its end and used up from its start.
///
/// # Invariants
///
/// - `start <= end <= buffer.len()`; what is held lies in `start..end`.
/// - While nothing is held, `start` and `end` are 0.
#[derive(Debug)]
pub(super) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    read_size: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            read_size: FIRST_READ,
        }
    }

    /// What is held.
    pub(super) fn held(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room to read into, never empty.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        // With nothing to copy, a larger buffer costs no more than the next read gains.
        let least = match self.is_empty() {
            true => self.read_size,
            false => self.read_size / 2,
        };
        if self.buffer.len() - self.end < least {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let wanted = self.end + self.read_size;
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Says that the first `n` bytes of [`Input::spare`] were read into. Panics if there are fewer.
    pub(super) fn filled(&mut self, n: usize) {
        let spare = self.buffer.len() - self.end;
        assert!(n <= spare, "a read of {n} bytes into {spare}");
        self.end += n;
        if n == spare {
            self.read_size = (self.read_size * 2).min(FULL_READ);
        }
    }

    /// Uses up the first `n` bytes that are held.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end, "more was used than was there");
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Throws away all that is held.
    pub(super) fn clear(&mut self) {
        self.consume(self.end - self.start);
    }

    /// Begins with small reads again if nothing is held, and gives an allocation back that is larger
    /// than `kept`.
    pub(super) fn release(&mut self, kept: usize) {
        if self.is_empty() && self.buffer.len() > kept {
            self.buffer = Vec::new();
            self.read_size = FIRST_READ;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(input: &mut Input, bytes: &[u8]) {
        input.spare()[..bytes.len()].copy_from_slice(bytes);
        input.filled(bytes.len());
    }

    #[test]
    fn reads_that_fill_the_buffer_make_it_grow_up_to_a_bound() {
        let mut input = Input::new();
        let mut rooms = Vec::new();
        for _ in 0..7 {
            let room = input.spare().len();
            input.filled(room);
            input.consume(room);
            rooms.push(room);
        }
        let kib = 1024;
        let expected = [4, 8, 16, 32, 64, 64, 64].map(|room| room * kib);
        assert_eq!(rooms, expected);
        // It stays as large until nothing more is wanted of it.
        assert_eq!(input.spare().len(), 64 * kib);
        input.release(64 * kib);
        assert_eq!(input.spare().len(), 64 * kib);
        input.release(64 * kib - 1);
        assert_eq!(input.buffer.capacity(), 0);
        assert_eq!(input.spare().len(), 4 * kib);
    }

    #[test]
    fn a_small_read_does_not_make_it_grow() {
        let mut input = Input::new();
        for _ in 0..10 {
            read(&mut input, &[1; 4095]);
            input.consume(4095);
            assert_eq!(input.buffer.len(), 4 * 1024);
        }
    }

    #[test]
    fn what_is_held_is_not_released() {
        let mut input = Input::new();
        read(&mut input, b"ab");
        input.release(0);
        assert_eq!(input.held(), b"ab");
        input.clear();
        assert!(input.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_read_is_held_until_it_is_used_up(
            acts in prop::collection::vec((0..9000_usize, 0..9000_usize), 0..30),
        ) {
            let mut input = Input::new();
            let (mut model, mut next) = (Vec::new(), 0_u8);
            for (more, used) in acts {
                let room = input.spare().len();
                prop_assert!(room >= FIRST_READ / 2);
                let bytes: Vec<u8> = (0..more.min(room)).map(|_| { next = next.wrapping_add(1); next }).collect();
                read(&mut input, &bytes);
                model.extend_from_slice(&bytes);
                prop_assert_eq!(input.held(), &model[..]);
                let used = used.min(model.len());
                input.consume(used);
                model.drain(..used);
                prop_assert_eq!(input.held(), &model[..]);
                prop_assert_eq!(input.is_empty(), model.is_empty());
                // Room for a read more than what was held at the most.
                prop_assert!(input.buffer.len() <= FULL_READ + 30 * 9000);
            }
        }
    }
}
