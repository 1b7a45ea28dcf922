//! The keys of the objects that are open, and whether two of one object are equal.

use super::text::Decoded;

/// Objects of up to this many keys are compared pair by pair: quicker than sorting, and bounded.
const PAIRWISE: usize = 16;

/// How many keys are held without an allocation.
const INLINE: usize = 32;

/// A key's content: what stands between its quotes.
#[derive(Clone, Copy, Default)]
struct Key {
    start: u32,
    end: u32,
    escaped: bool,
}

impl Key {
    /// The value: a part of `text`, or of `decoded` if it has escapes.
    fn value<'a>(self, text: &'a str, decoded: &'a str) -> &'a str {
        let source = if self.escaped { decoded } else { text };
        &source[self.start as usize..self.end as usize]
    }
}

/// A stack of keys: those of an object stand above those of the objects around it.
pub(super) struct Keys {
    inline: [Key; INLINE],
    /// How many of `inline` are in use, as long as `spilled` is empty.
    held: usize,
    spilled: Vec<Key>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            inline: [Key::default(); INLINE],
            held: 0,
            spilled: Vec::new(),
        }
    }

    /// How many keys are held: where the next object's will begin.
    pub(super) fn len(&self) -> usize {
        if self.spilled.is_empty() {
            self.held
        } else {
            self.spilled.len()
        }
    }

    /// Adds a key whose content lies from `start` to `end`.
    pub(super) fn push(&mut self, start: u32, end: u32, escaped: bool) {
        let key = Key {
            start,
            end,
            escaped,
        };
        if !self.spilled.is_empty() {
            self.spilled.push(key);
        } else if let Some(free) = self.inline.get_mut(self.held) {
            *free = key;
            self.held += 1;
        } else {
            self.spilled.reserve(4 * INLINE);
            self.spilled.extend_from_slice(&self.inline);
            self.spilled.push(key);
        }
    }

    /// Drops the keys from `base` on, which are one object's, and says whether two were equal.
    pub(super) fn close(&mut self, base: usize, text: &str) -> bool {
        let spilled = !self.spilled.is_empty();
        let keys = if spilled {
            &mut self.spilled[base..]
        } else {
            &mut self.inline[base..self.held]
        };

        // Escaped keys are decoded once, not at every comparison. A lone surrogate has been refused
        // already, so it does not matter what it is equal to.
        let mut decoded = String::new();
        for key in keys.iter_mut().filter(|key| key.escaped) {
            let start = decoded.len() as u32;
            let content = &text[key.start as usize..key.end as usize];
            decoded.extend(Decoded::new(content).filter_map(Result::ok));
            (key.start, key.end) = (start, decoded.len() as u32);
        }
        let value = |key: &Key| key.value(text, &decoded);

        let twice = if keys.len() <= PAIRWISE {
            keys.iter().enumerate().any(|(index, key)| {
                keys[..index]
                    .iter()
                    .any(|earlier| value(earlier) == value(key))
            })
        } else {
            keys.sort_unstable_by(|left, right| value(left).cmp(value(right)));
            keys.windows(2)
                .any(|pair| value(&pair[0]) == value(&pair[1]))
        };
        if spilled && base > 0 {
            self.spilled.truncate(base);
        } else {
            self.spilled.clear();
            self.held = base;
        }
        twice
    }
}
