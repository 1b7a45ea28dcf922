//! A document of another server's, fetched anew from time to time.
//!
//! Fresh for ten minutes, and used for an hour while it cannot be fetched again. Between two fetches
//! lie at least thirty seconds, whatever is asked for and however they end.

use std::time::Duration;

use crate::time::Instant;

const FRESH_TIME: Duration = Duration::from_secs(10 * 60);
const STALE_TIME: Duration = Duration::from_secs(60 * 60);
const FLOOR: Duration = Duration::from_secs(30);

/// What is there to be used.
#[derive(Debug)]
pub(crate) struct Cached<T> {
    value: Option<T>,
    /// When the value was fetched; `None` for one that was given and lasts.
    fetched: Option<Instant>,
    /// When the last fetch began.
    tried: Option<Instant>,
    fetching: bool,
    /// Whether the last fetch brought nothing.
    failing: bool,
}

impl<T> Cached<T> {
    /// Nothing yet.
    pub(crate) fn empty() -> Self {
        Self {
            value: None,
            fetched: None,
            tried: None,
            fetching: false,
            failing: false,
        }
    }

    /// A value that was given, and is never fetched.
    pub(crate) fn given(value: T) -> Self {
        Self {
            value: Some(value),
            ..Self::empty()
        }
    }

    fn is_given(&self) -> bool {
        self.value.is_some() && self.fetched.is_none()
    }

    /// The value, unless it is too old.
    pub(crate) fn get(&self, now: Instant) -> Option<&T> {
        let good = self.fetched.is_none_or(|at| now - at < STALE_TIME);
        self.value.as_ref().filter(|_| good)
    }

    /// Whether the value need not be fetched again yet.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.is_given() || self.fetched.is_some_and(|at| now - at < FRESH_TIME)
    }

    /// Whether the last fetch brought nothing.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Whether a fetch is under way.
    pub(crate) fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Whether to fetch now: with nothing to be used, with a value that is not fresh, or if
    /// `wanting` something that the value lacks. The fetch then counts as begun.
    pub(crate) fn begin(&mut self, wanting: bool, now: Instant) -> bool {
        let fresh = self.is_fresh(now);
        let too_soon = self.tried.is_some_and(|at| now - at < FLOOR);
        if self.is_given() || self.fetching || too_soon || (fresh && !wanting) {
            return false;
        }
        self.tried = Some(now);
        self.fetching = true;
        true
    }

    /// The fetch that was begun has ended; with `None`, the value stays as it was.
    pub(crate) fn end(&mut self, value: Option<T>, now: Instant) {
        self.fetching = false;
        self.failing = value.is_none();
        if value.is_some() {
            self.value = value;
            self.fetched = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn fetches_are_one_at_a_time_and_apart() {
        let mut cached = Cached::empty();
        assert_eq!(cached.get(at(100)), None);
        assert!(cached.begin(false, at(100)));
        assert!(!cached.begin(true, at(500)), "one is under way");
        cached.end(None, at(101));
        assert!(!cached.begin(true, at(129)), "too soon");
        assert!(cached.begin(false, at(130)));
        cached.end(Some(1), at(131));
        assert!(!cached.begin(false, at(700)), "it is fresh");
        assert!(cached.begin(true, at(700)));
        cached.end(None, at(701));
        assert_eq!(cached.get(at(730)), Some(&1));
        assert!(cached.begin(false, at(731)), "it is not fresh any more");
        cached.end(None, at(732));
        assert_eq!(cached.get(at(131 + 3599)), Some(&1));
        assert_eq!(cached.get(at(131 + 3600)), None);
    }

    #[test]
    fn what_was_given_lasts() {
        let mut cached = Cached::given(1);
        assert!(!cached.begin(true, at(1_000_000)));
        assert_eq!(cached.get(at(1_000_000)), Some(&1));
    }
}
