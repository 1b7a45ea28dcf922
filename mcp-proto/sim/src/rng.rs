//! Dice: small, seeded, and the same on every machine.

use std::sync::Arc;

/// What the dice of a play depend on: a number, and perhaps bytes that they are drawn from first.
#[derive(Clone, Debug)]
pub struct Seed {
    number: u64,
    lines: Arc<[u8]>,
}

/// The dice that are drawn from bytes, by the number of the line that holds theirs.
const LINES: [&str; 11] = [
    "clients", "limits", "outside", "manner", "troubles", "client 0", "client 1", "client 2",
    "client 3", "client 4", "eras",
];

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Self {
            number,
            lines: Arc::new([]),
        }
    }
}

impl From<&[u8]> for Seed {
    /// Takes eight bytes for the number, and then lines, each of which decides one thing: how many
    /// clients there are, what the limits are, and so on. Where a line is at its end, the number
    /// decides. So a change of a byte changes one thing.
    fn from(bytes: &[u8]) -> Self {
        let (number, lines) = bytes.split_at(bytes.len().min(8));
        let number = number
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte));
        Self {
            number,
            lines: lines.into(),
        }
    }
}

impl Seed {
    /// The number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A source of its own for each name, whatever was drawn from another.
    pub fn dice(&self, name: &str) -> Rng {
        let mut rng =
            Rng::new(self.number.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ hash(name.as_bytes()));
        if let Some(number) = LINES.iter().position(|line| *line == name) {
            let line = self.lines.split(|&byte| byte == b'\n').nth(number);
            rng.bytes = line.unwrap_or_default().iter().rev().copied().collect();
        }
        rng
    }
}

/// A source of numbers that look random (SplitMix64), after those that its bytes say.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    /// The first is the last.
    bytes: Vec<u8>,
}

impl Rng {
    /// The source that this seed stands for.
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            bytes: Vec::new(),
        }
    }

    /// The next number; one below 65,536 while there are bytes.
    pub fn draw(&mut self) -> u64 {
        if let Some(byte) = self.bytes.pop() {
            let second = self.bytes.pop().unwrap_or_default();
            return u64::from(u16::from_le_bytes([byte, second]));
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit <= 256
            && let Some(byte) = self.bytes.pop()
        {
            return usize::from(byte) % limit;
        }
        (self.draw() % limit as u64) as usize
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    hash_on(0xcbf2_9ce4_8422_2325, bytes)
}

/// Goes on with a hash.
pub(crate) fn hash_on(mut hash: u64, bytes: &[u8]) -> u64 {
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
