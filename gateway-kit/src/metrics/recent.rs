//! What happened lately, for people: the rates of the last minute and the last refusals.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use mcp_proto::{AuditRecord, Now, Refusal, RequestId};

/// Refusals that are kept.
const KEPT: usize = 32;

/// Seconds that rates are of.
const SECONDS: u64 = 60;

/// Places for seconds: a power of two above those that are asked for, and the one that runs.
const PLACES: usize = 64;

/// Requests a second over the last minute, or over the gateway's life if that is shorter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// All that have ended.
    pub requests: f64,
    /// Of these, those that ended in an error which is not the client's.
    pub errors: f64,
}

/// A refusal as it is remembered.
#[derive(Clone, Debug)]
pub struct LastRefusal {
    /// When, in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// What for.
    pub refusal: Refusal,
    /// Who was refused.
    pub address: Option<IpAddr>,
    /// The request's id, which is in the audit trail and the access log too.
    pub request: Option<RequestId>,
}

pub(super) struct Recent {
    seconds: [Second; PLACES],
    refusals: Mutex<VecDeque<LastRefusal>>,
}

/// What was counted in one second. Counts that come while another thread begins the place anew may be
/// lost: this is for people, and takes no lock.
#[derive(Default)]
struct Second {
    /// Which: its number and 1, so that 0 is none.
    number: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            seconds: std::array::from_fn(|_| Second::default()),
            refusals: Mutex::default(),
        }
    }
}

impl Recent {
    /// Counts a request that has ended.
    pub(super) fn count(&self, is_error: bool, now: Now) {
        let number = second(now) + 1;
        let place = &self.seconds[number as usize % PLACES];
        let before = place.number.load(Ordering::Relaxed);
        if before != number
            && place
                .number
                .compare_exchange(before, number, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            place.requests.store(0, Ordering::Relaxed);
            place.errors.store(0, Ordering::Relaxed);
        }
        place.requests.fetch_add(1, Ordering::Relaxed);
        place
            .errors
            .fetch_add(u64::from(is_error), Ordering::Relaxed);
    }

    pub(super) fn rates(&self, now: Now) -> Rates {
        let last = second(now) + 1;
        let first = last.saturating_sub(SECONDS - 1).max(1);
        let (mut requests, mut errors) = (0, 0);
        for place in &self.seconds {
            if (first..=last).contains(&place.number.load(Ordering::Relaxed)) {
                requests += place.requests.load(Ordering::Relaxed);
                errors += place.errors.load(Ordering::Relaxed);
            }
        }
        let lasted = (last - first + 1) as f64;
        Rates {
            requests: requests as f64 / lasted,
            errors: errors as f64 / lasted,
        }
    }

    /// Remembers a refusal.
    pub(super) fn keep(&self, record: &AuditRecord, refusal: Refusal, now: Now) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.truncate(KEPT - 1);
        refusals.push_front(LastRefusal {
            unix_ms: now.unix_ms,
            refusal,
            address: record.caller.as_ref().map(|caller| caller.address),
            request: record.request.clone(),
        });
    }

    pub(super) fn refusals(&self) -> Vec<LastRefusal> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().cloned().collect()
    }
}

fn second(now: Now) -> u64 {
    now.monotonic.as_nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_proto::{AuditEvent, Instant};

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Instant::from_nanos(seconds * 1_000_000_000),
            unix_ms: 0,
        }
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let recent = Recent::default();
        assert_eq!(recent.rates(at(0)).requests, 0.0);
        recent.count(true, at(0));
        assert_eq!(
            recent.rates(at(0)),
            Rates {
                requests: 1.0,
                errors: 1.0
            }
        );
        assert_eq!(recent.rates(at(9)).requests, 0.1);
        for second in 1..=200 {
            recent.count(false, at(second));
            recent.count(second % 2 == 0, at(second));
        }
        assert_eq!(
            recent.rates(at(200)),
            Rates {
                requests: 2.0,
                errors: 0.5
            }
        );
        assert_eq!(recent.rates(at(229)).requests, 2.0 * 31.0 / 60.0);
        assert_eq!(recent.rates(at(1000)).requests, 0.0);
    }

    #[test]
    fn the_last_refusals_are_kept_and_no_others() {
        let recent = Recent::default();
        for (number, refusal) in (0..).zip(Refusal::ALL) {
            recent.keep(
                &AuditRecord::new(AuditEvent::Refused(refusal)),
                refusal,
                at(number),
            );
        }
        let kept: Vec<_> = recent.refusals().iter().map(|kept| kept.refusal).collect();
        let mut last = Refusal::ALL[Refusal::ALL.len() - KEPT..].to_vec();
        last.reverse();
        assert_eq!(kept, last);
    }
}
