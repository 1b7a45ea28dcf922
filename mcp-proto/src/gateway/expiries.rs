//! When to look whether something has been idle for its time.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Keys, each with the one time at which to look after it.
pub(super) struct Expiries<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K> Default for Expiries<K> {
    fn default() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_key: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy> Expiries<K> {
    /// Has the key looked after at this time, and not at the one before.
    pub(super) fn set(&mut self, key: K, due: Instant) {
        self.forget(key);
        self.by_key.insert(key, due);
        self.by_time.insert((due, key));
    }

    /// Has the key not looked after any more.
    pub(super) fn forget(&mut self, key: K) {
        if let Some(before) = self.by_key.remove(&key) {
            self.by_time.remove(&(before, key));
        }
    }

    /// Takes out the key that has been due for longest.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(_, key) = self.by_time.first().filter(|&&(due, _)| due <= now)?;
        self.forget(key);
        Some(key)
    }

    /// When the next key is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(due, _)| due)
    }
}
