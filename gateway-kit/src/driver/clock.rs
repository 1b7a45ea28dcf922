//! The process's two clocks, as the machines want them.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use mcp_proto::{Instant, Now};

pub(crate) struct Clock {
    origin: StdInstant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock that all machines are told"
)]
impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: StdInstant::now(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic: Instant::from_nanos(
                u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            ),
            unix_ms: unix.map_or(0, |time| {
                u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
            }),
        }
    }

    /// What its instants are compared with.
    pub(crate) fn std_now() -> StdInstant {
        StdInstant::now()
    }

    pub(crate) fn to_std(&self, instant: Instant) -> StdInstant {
        self.origin + Duration::from_nanos(instant.as_nanos())
    }
}
