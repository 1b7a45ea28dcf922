//! The clocks, and who is told the time.

use std::time::Duration;

use mcp_proto::Instant;

use super::{Wakes, World};

/// The shortest time that there is.
const TICK: Duration = Duration::from_nanos(1);

impl World {
    /// When the next machine wants to be told the time.
    pub fn next_deadline(&self) -> Option<Instant> {
        let exchanges = self.wires.values();
        let exchanges = exchanges.filter_map(|wire| wire.exchange.poll_timeout());
        let upstreams = self.lines.values();
        let upstreams = upstreams.filter_map(|line| line.upstream.poll_timeout());
        let gateway = self.gateway.poll_timeout();
        exchanges.chain(upstreams).chain(gateway).min()
    }

    /// The next time at which machines are told the time, if there is one.
    pub fn next_moment(&self) -> Option<Instant> {
        let deadline = self.next_deadline()?;
        Some(match self.manner.wakes {
            Wakes::Due => deadline,
            Wakes::Around if self.was_due == Some(self.now) => deadline.min(self.now + TICK),
            Wakes::Around => {
                let before = Instant::from_nanos(deadline.as_nanos().saturating_sub(1));
                if before > self.now { before } else { deadline }
            }
            Wakes::Ticks => deadline.min(self.now + Duration::from_millis(1)),
        })
    }

    /// Lets time pass to `then`, and tells the machines. What they cause is not performed beyond
    /// their inboxes: see [`World::step`].
    pub fn set_time(&mut self, then: Instant) {
        self.pass_unnoticed(then);
        self.tell_time();
    }

    /// Lets time pass to `then`; the driver is late to tell the machines.
    pub fn pass_unnoticed(&mut self, then: Instant) {
        assert!(then >= self.now, "time goes forward");
        self.now = then;
    }

    /// Someone sets the wall clock forward, or back where this is less than 0.
    pub fn step_clock(&mut self, milliseconds: i64) {
        self.note(format_args!("clock {milliseconds}"));
        self.stepped += milliseconds;
    }

    /// Lets time pass, and all that it causes happen.
    pub fn wait(&mut self, time: Duration) {
        let then = self.now + time;
        self.settle();
        while let Some(next) = self.next_moment().filter(|&next| next <= then) {
            self.set_time(next.max(self.now));
            self.settle();
        }
        self.set_time(then);
        self.settle();
    }

    /// Tells the time to whoever wants to know, or to all, as the manner is. Who did not ask does
    /// nothing.
    fn tell_time(&mut self) {
        let now = self.clocks();
        let all = self.manner.wakes != Wakes::Due;
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now.monotonic);
        if is_due(self.next_deadline()) {
            self.was_due = Some(self.now);
        }

        let due = is_due(self.gateway.poll_timeout());
        if due || all {
            self.held.by(|| self.gateway.handle_timeout(now));
            assert!(!is_due(self.gateway.poll_timeout()), "a timer is stuck");
            let done = self.drain_gateway();
            assert!(due || !done, "the gateway does something before its time");
        }
        for id in self.lines.keys().copied().collect::<Vec<_>>() {
            let Some(line) = self.lines.get_mut(&id) else {
                continue;
            };
            let due = is_due(line.upstream.poll_timeout());
            if due || all {
                self.held.by(|| line.upstream.handle_timeout(now));
                let stuck = is_due(line.upstream.poll_timeout());
                assert!(!stuck, "a timer is stuck");
                let done = self.drain_upstream(id);
                assert!(due || !done, "{id:?} does something before its time");
            }
        }
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            let Some(wire) = self.wires.get_mut(&id) else {
                continue;
            };
            let exchange = &mut wire.exchange;
            let due = is_due(exchange.poll_timeout());
            if due || all {
                self.held.by(|| exchange.handle_timeout(now));
                assert!(!is_due(exchange.poll_timeout()), "a timer is stuck");
                let done = self.drain_exchange(id);
                assert!(due || !done, "{id:?} does something before its time");
            }
        }
    }
}
