//! Hosts that give way to calls that wait.
//!
//! A call that waits for its client's input is parked at a child of its own, and not every client comes
//! back. So that a few who do not come back do not keep all others waiting for
//! [`Limits::client_answer_time`](crate::Limits::client_answer_time), a call that waits for a host has one
//! host after the other told of it; a host whose call is parked for longer than a few seconds gives it
//! up then, and one whose call runs goes on.

use std::cmp::Reverse;
use std::time::Duration;

use super::hosts::{Host, Key};
use super::{Gateway, GatewayOutput};
use crate::id::UpstreamId;
use crate::time::Now;
use crate::upstream::{self, UpstreamMail};

/// How often a call that waits has another host told.
pub(super) const PRESS_TIME: Duration = Duration::from_secs(2);

impl Gateway {
    /// Has hosts told for whose sake it is time.
    pub(super) fn press(&mut self, now: Now) {
        let mut due = Vec::new();
        for queued in &mut self.queue {
            if queued.presses_at <= now.monotonic {
                queued.presses_at = now.monotonic + PRESS_TIME;
                due.push(queued.key.clone());
            }
        }
        for key in due {
            let Some(upstream) = self.next_to_give_way(&key) else {
                continue;
            };
            if let Some(host) = self.hosts.get_mut(&upstream)
                && let Some(taken) = &mut host.taken
            {
                taken.pressed = Some(now.monotonic);
            }
            self.outputs.push_back(GatewayOutput::ToUpstream {
                upstream,
                mail: UpstreamMail(upstream::Letter::GiveWay),
            });
        }
    }

    /// Of the hosts that would be of use to a call if they were free: the one that was not told or
    /// not for the longest time; rather the principal's own, then of whoever has the most; and of
    /// these the one that has been taken for longest.
    fn next_to_give_way(&self, key: &Key) -> Option<UpstreamId> {
        let count =
            |of: &dyn Fn(&Host) -> bool| self.hosts.values().filter(|host| of(host)).count();
        let no_more_of_it = count(&|host| host.key == *key && !host.spent) >= self.most(key);
        let own_full = self.has_its_share(key);
        let is_own = |host: &Host| host.key.principal == key.principal;
        let is_of_use = |host: &Host| {
            (!no_more_of_it || host.key == *key) && (!own_full || is_own(host)) && !host.spent
        };
        let hosts = self.hosts.iter().filter(|(_, host)| is_of_use(host));
        let taken = hosts.filter_map(|(&upstream, host)| Some((upstream, host, host.taken?)));
        let next = taken.min_by_key(|(_, host, taken)| {
            let principals = count(&|other| other.key.principal == host.key.principal);
            let told = (taken.pressed, !is_own(host));
            (told, Reverse(principals), taken.since)
        });
        next.map(|(upstream, ..)| upstream)
    }
}
