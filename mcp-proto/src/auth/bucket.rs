//! Token buckets, by the generic cell rate algorithm: one instant for each key.
//!
//! The instant is the *theoretical arrival time* of the generic cell rate algorithm (ITU-T I.371,
//! annex A): when the bucket will be full again. A key whose bucket is full has no entry, so that
//! forgetting it changes nothing. Entries that are not full are never evicted: where the table has
//! no room, keys without an entry share one bucket, so that nobody gets a fresh one by crowding the
//! table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Rate;
use crate::time::Instant;

/// A bucket for each key, all of one rate.
pub(crate) struct Buckets<K> {
    /// What one unit costs, in time.
    interval: Duration,
    /// What a full bucket holds, in time.
    depth: Duration,
    capacity: usize,
    full_at: BTreeMap<K, Instant>,
    /// The same, by time.
    order: BTreeSet<(Instant, K)>,
    /// Of those that found no room.
    shared: Instant,
}

impl<K: Ord + Clone> Buckets<K> {
    /// Full buckets of `rate`, for at most `capacity` keys.
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        let interval = rate.period / rate.count.get();
        Self {
            interval,
            depth: interval * rate.count.get(),
            capacity,
            full_at: BTreeMap::new(),
            order: BTreeSet::new(),
            shared: Instant::default(),
        }
    }

    /// Whether the key's bucket holds one unit.
    ///
    /// # Errors
    ///
    /// With an empty bucket: the time until it holds one.
    pub(crate) fn check(&mut self, key: &K, now: Instant) -> Result<(), Duration> {
        self.judge(key, now).map(drop)
    }

    /// Takes one unit from the key's bucket.
    ///
    /// # Errors
    ///
    /// With an empty bucket: the time until it holds one.
    pub(crate) fn take(&mut self, key: &K, now: Instant) -> Result<(), Duration> {
        let full_at = self.judge(key, now)?;
        match self.full_at.get(key).copied() {
            None if self.full_at.len() >= self.capacity => self.shared = full_at,
            known => {
                if let Some(known) = known {
                    self.order.remove(&(known, key.clone()));
                }
                self.full_at.insert(key.clone(), full_at);
                self.order.insert((full_at, key.clone()));
            }
        }
        Ok(())
    }

    /// When the key's bucket will be full again if one unit is taken.
    fn judge(&mut self, key: &K, now: Instant) -> Result<Instant, Duration> {
        while let Some((full_at, _)) = self.order.first()
            && *full_at <= now
        {
            if let Some((_, key)) = self.order.pop_first() {
                self.full_at.remove(&key);
            }
        }
        let before = match self.full_at.get(key) {
            Some(full_at) => *full_at,
            None if self.full_at.len() >= self.capacity => self.shared.max(now),
            None => now,
        };
        let full_at = before + self.interval;
        let debt = full_at - now;
        if debt > self.depth {
            return Err(debt - self.depth);
        }
        Ok(full_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// The bucket as textbooks have it: a level that is filled up as time goes by.
    struct Model {
        level: f64,
        at: u64,
    }

    proptest! {
        #[test]
        fn a_bucket_is_a_level_that_fills_up(
            count in 1u32..20,
            steps in prop::collection::vec((0u64..30_000, 0u8..8), 1..200),
        ) {
            let rate = Rate::per_minute(count);
            let mut buckets = Buckets::new(rate, 8);
            let mut model = Model { level: f64::from(count), at: 0 };
            let mut now = 100 * SECOND;
            model.at = now;
            for (milliseconds, choice) in steps {
                now += milliseconds * 1_000_000;
                let filled = (now - model.at) as f64 / (60.0 * SECOND as f64) * f64::from(count);
                model.level = (model.level + filled).min(f64::from(count));
                model.at = now;
                let checked = buckets.check(&0u8, Instant::from_nanos(now));
                if choice == 0 {
                    continue;
                }
                let taken = buckets.take(&0, Instant::from_nanos(now));
                prop_assert_eq!(checked, taken);
                // The model rounds, the bucket does not: within a millionth either may be right.
                if (model.level - 1.0).abs() > 1e-6 {
                    prop_assert_eq!(taken.is_ok(), model.level >= 1.0);
                }
                match taken {
                    Ok(()) => model.level -= 1.0,
                    Err(wait) => {
                        let missing = (1.0 - model.level) * 60.0 / f64::from(count);
                        prop_assert!((wait.as_secs_f64() - missing).abs() < 1e-6);
                    }
                }
            }
        }

        /// Whatever others do, and however full the table is: nobody gets more than a bucket of
        /// their own and the shared one hold.
        #[test]
        fn crowding_the_table_gives_nobody_more(
            capacity in 1usize..6,
            takes in prop::collection::vec((0u8..12, 0u64..2_000), 1..400),
        ) {
            let rate = Rate::per_minute(3);
            let mut buckets = Buckets::new(rate, capacity);
            let mut granted: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
            let mut now = 100 * SECOND;
            for (key, milliseconds) in takes {
                now += milliseconds * 1_000_000;
                if buckets.take(&key, Instant::from_nanos(now)).is_ok() {
                    granted.entry(key).or_default().push(now);
                }
                prop_assert!(buckets.full_at.len() <= capacity);
                prop_assert_eq!(buckets.full_at.len(), buckets.order.len());
            }
            for times in granted.values() {
                for window in times.windows(13) {
                    // Each bucket's three, and as many again.
                    prop_assert!(window[12] - window[0] >= 60 * SECOND);
                }
            }
        }
    }

    #[test]
    fn who_finds_room_again_owes_nothing_of_what_others_shared() {
        let mut buckets = Buckets::new(Rate::per_minute(2), 1);
        let at = |seconds: u64| Instant::from_nanos(seconds * SECOND);
        assert!(buckets.take(&'a', at(100)).is_ok());
        for shared in ['b', 'c'] {
            assert!(buckets.take(&shared, at(120)).is_ok());
        }
        assert!(buckets.check(&'d', at(120)).is_err());
        // The first one's bucket is full again, and has made room; the shared one is not.
        assert!(buckets.take(&'d', at(131)).is_ok());
        assert!(buckets.take(&'d', at(131)).is_ok());
        assert!(buckets.take(&'d', at(131)).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut buckets = Buckets::new(Rate::per_minute(2), 8);
        let at = |seconds: u64| Instant::from_nanos(seconds * SECOND);
        assert!(buckets.take(&(), at(100)).is_ok());
        assert!(buckets.take(&(), at(100)).is_ok());
        assert!(buckets.take(&(), at(40)).is_err());
        assert!(buckets.take(&(), at(100)).is_err());
        assert!(buckets.take(&(), at(130)).is_ok());
    }
}
