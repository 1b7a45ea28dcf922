//! What befalls the gateway from beyond its connections: a clock that is set, verifiers that are
//! away, audit records that cannot be kept, an order to stop; and how it fares at its deadlines.

use std::time::Duration;

use mcp_proto::Instant;

use super::{Act, Play};
use crate::rng::Seed;

/// The shortest time that there is.
const TICK: Duration = Duration::from_nanos(1);

/// Something that befalls the gateway.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The wall clock is set, by so many milliseconds.
    Clock(i64),
    /// Whoever is asked about tokens is away, or back.
    Away(bool),
    /// Audit records can be kept, or not.
    Sink(bool),
    Drain,
}

/// What has befallen the gateway.
#[derive(Debug, Default)]
pub(super) struct Troubled {
    pub(super) away: bool,
    pub(super) sink_fails: bool,
    /// By how many seconds the wall clock is ever set back.
    pub(super) set_back: u64,
}

/// What will befall it, each so many milliseconds after the beginning.
fn troubles(seed: &Seed) -> Vec<(u64, Trouble)> {
    let dice = &mut seed.dice("troubles");
    let mut troubles = Vec::new();
    if dice.percent(14) {
        troubles.push((dice.draw() % 8000, Trouble::Drain));
    }
    if dice.percent(20) {
        for _ in 0..1 + dice.below(3) {
            let by = *dice.pick(&[-60_000, -1500, -1, 1, 999, 15_000, 3_600_000]);
            troubles.push((dice.draw() % 20_000, Trouble::Clock(by)));
        }
    }
    let mut spell = |percent, trouble: fn(bool) -> Trouble, begins, ends| {
        if dice.percent(percent) {
            let from = dice.draw() % 10_000;
            troubles.push((from, trouble(begins)));
            troubles.push((from + dice.draw() % 15_000, trouble(ends)));
        }
    };
    spell(25, Trouble::Away, true, false);
    spell(15, Trouble::Sink, false, true);
    troubles
}

impl Play {
    pub(super) fn plan_troubles(&mut self) {
        for (after, trouble) in troubles(&self.options.seed) {
            if let Trouble::Clock(by) = trouble {
                let back = u64::try_from(-by).unwrap_or(0);
                self.troubled.set_back += back.div_ceil(1000);
            }
            self.plan(after, usize::MAX, 0, Act::Trouble(trouble));
        }
    }

    pub(super) fn befall(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Clock(by) => {
                self.count(if by < 0 {
                    "clock set back"
                } else {
                    "clock set forward"
                });
                self.world.step_clock(by);
            }
            Trouble::Away(away) => self.troubled.away = away,
            Trouble::Sink(works) => {
                self.troubled.sink_fails = !works;
                self.world.audit_sink(works);
            }
            Trouble::Drain => self.world.drain(),
        }
    }

    /// Lets what is planned next happen at a machine's deadline, or a nanosecond off; the machine may
    /// be told of the time only afterwards. False if there is none that is near.
    pub(super) fn act_at_a_deadline(&mut self) -> bool {
        let next = self.agenda.first_key_value();
        // What others do keeps its time.
        let Some(&(_, client, ..)) = next.map(|(when, _)| when) else {
            return false;
        };
        let near = self.world.now() + Duration::from_secs(*self.dice.pick(&[1, 5, 100]));
        let deadline = self.world.next_deadline().filter(|&it| it <= near);
        let Some(deadline) = deadline.filter(|_| client != usize::MAX) else {
            return false;
        };
        let before = Instant::from_nanos(deadline.as_nanos() - 1);
        let (moment, what) = match self.dice.below(3) {
            0 => (before, "a tick before a deadline"),
            1 => (deadline, "at a deadline"),
            _ => (deadline + TICK, "a tick after a deadline"),
        };
        let moment = moment.max(self.world.now());
        self.count(what);
        if self.dice.percent(50) {
            self.count("told late");
            self.world.pass_unnoticed(moment);
            self.act();
            for _ in 0..self.dice.below(4) {
                self.world.step();
                self.hear();
            }
            self.world.set_time(moment);
        } else {
            self.world.set_time(moment);
            self.act();
        }
        true
    }
}
