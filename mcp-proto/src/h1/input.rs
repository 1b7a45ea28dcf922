//! What was read from a connection and is not used yet.

/// How much is read at first.
const FIRST_READ: usize = 4 * 1024;

/// How much is read at once when reads fill what they are given.
const FULL_READ: usize = 64 * 1024;

/// A buffer that is read into at its end and used up from its start.
///
/// # Invariants
///
/// - `start <= end <= buffer.len()`; what is held lies in `start..end`.
/// - While nothing is held, `start` and `end` are 0, and at most [`FIRST_READ`] bytes are allocated.
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
        if self.buffer.len() - self.end < self.read_size / 2 {
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
            if self.buffer.len() > FIRST_READ {
                self.release();
            }
        }
    }

    /// Throws away all that is held.
    pub(super) fn clear(&mut self) {
        self.consume(self.end - self.start);
    }

    /// Gives the allocation back if nothing is held.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            self.buffer = Vec::new();
            self.read_size = FIRST_READ;
        }
    }
}
