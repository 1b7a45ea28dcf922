//! What clients will do, and make their children do, as the seed says.

use std::time::Duration;

use mcp_proto::Limits;

use super::modern::Ask;
use crate::rng::{Rng, Seed};

/// One thing that a child does after it has read a call.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Milliseconds after the call was read.
    pub(super) after: u64,
    /// What it says: an answer (`a`), one among other messages (`b`), the same twice (`2`), an error
    /// (`e`); progress (`p`), a notification (`n`), a large one (`w`), forty (`f`), two hundred large
    /// ones (`m`); a request (`q`), a cancel of one (`k`). What it says wrong: garbage (`g`), empty
    /// lines (`o`), bytes that are no text (`u`), an answer that nobody asked for (`d`), half a line
    /// for a while (`h`), a line that is too long (`l`), one without an end (`F`). What it does: it
    /// stops reading (`s`), reads on (`r`), closes its stdout (`c`), exits (`x`), exits in the middle
    /// of a line (`z`), or its driver fails (`X`).
    pub(super) what: char,
}

/// One thing that a client does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Initialize(Start),
    Call {
        steps: Vec<Step>,
        token: bool,
        how: How,
    },
    Batch {
        calls: Vec<Vec<Step>>,
        how: How,
    },
    Notify,
    /// Cancels a call in flight, or one that never was.
    Cancel {
        bogus: bool,
    },
    /// Answers what it was not asked.
    Unasked,
    Listen {
        how: How,
    },
    /// Leaves one of its connections.
    Leave,
    /// Says something that is no message, or none that is allowed.
    Bad(u64),
    /// Calls with the id of a call in flight.
    Again,
    /// Resumes from where nobody ever was.
    Forge,
    /// Begins a body that ends so, so many milliseconds later.
    Stall(BodyEnd, u64),
    /// Sends a head that is not to be let in.
    Strange(u64),
    Delete,
    /// Asks as clients of 2026-07-28 do.
    Ask(Box<Ask>),
}

/// How a body that was held back ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Never,
    Whole,
    /// The driver has no memory for it.
    NoRoom,
    /// Its framing is broken.
    Malformed,
}

/// How a session begins.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) version: &'static str,
    pub(super) end: StartEnd,
    pub(super) spawn_after: u64,
    pub(super) answer_after: u64,
    pub(super) heeds_stdin: bool,
    pub(super) heeds_term: bool,
    /// Whether the client leaves before it is answered, and when.
    pub(super) leaves_after: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartEnd {
    Opens,
    SpawnFails,
    Refuses,
    Exits,
    Hangs,
}

/// How a client reads a response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    pub(super) leaves_at: Option<usize>,
    pub(super) unread: bool,
    /// Begins to read so many milliseconds late.
    pub(super) late: Option<u64>,
}

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tone {
    /// Nothing that makes one client's fate depend on another's.
    pub(super) calm: bool,
}

/// Small bounds, so that they are met.
pub(super) fn limits(seed: &Seed, tone: Tone) -> Limits {
    let dice = &mut seed.dice("limits");
    let mut limits = Limits {
        silence_time: Duration::from_millis(500 + dice.draw() % 3000),
        comment_time: Duration::from_millis(1000 + dice.draw() % 3000),
        poll_after: dice
            .percent(50)
            .then(|| Duration::from_millis(300 + dice.draw() % 3000)),
        request_time: Duration::from_secs(20),
        request_time_max: Duration::from_secs(60),
        client_answer_time: Duration::from_secs(10),
        session_ttl: Duration::from_secs(100),
        stream_queue_bytes: *dice.pick(&[1500, 6000, 1 << 20]),
        replay_bytes: *dice.pick(&[1000, 20_000, 1 << 20]),
        waiting_bytes: *dice.pick(&[800, 1 << 20]),
        line_bytes: 3000,
        stdin_bytes: *dice.pick(&[3000, 1 << 24]),
        streams_per_session: *dice.pick(&[1, 3]),
        calls_per_session: *dice.pick(&[3, 256]),
        ..Limits::default()
    };
    if tone.calm {
        // Whether a reader keeps up is timing.
        limits.stream_queue_bytes = 1 << 20;
    } else {
        limits.sessions = *dice.pick(&[1, 2, 100]);
    }
    limits
}

/// What a client does, each thing so many milliseconds after the one before.
pub(super) fn plan(seed: &Seed, client: usize, tone: Tone) -> Vec<(u64, Op)> {
    let dice = &mut seed.dice(&format!("client {client}"));
    let mut plan = vec![(dice.draw() % 300, Op::Initialize(start(dice, tone)))];
    for number in 0..3 + dice.below(25) {
        let gap = match dice.below(20) {
            0 => dice.draw() % 30_000,
            1..4 => dice.draw() % 4000,
            4..10 => 0,
            _ => dice.draw() % 400,
        };
        // Most wait for the session to open.
        let gap = if number == 0 && dice.percent(80) {
            gap + 120
        } else {
            gap
        };
        plan.push((gap, op(dice, tone)));
    }
    plan
}

fn start(dice: &mut Rng, tone: Tone) -> Start {
    let versions = [
        "2025-03-26",
        "2025-06-18",
        "2025-11-25",
        "2025-11-25",
        "2024-11-05",
    ];
    let end = match dice.below(20) {
        0 if !tone.calm => StartEnd::SpawnFails,
        1 if !tone.calm => StartEnd::Exits,
        2 => StartEnd::Refuses,
        3 => StartEnd::Hangs,
        _ => StartEnd::Opens,
    };
    Start {
        version: versions[dice.below(versions.len())],
        end,
        spawn_after: dice.draw() % 50,
        answer_after: dice.draw() % 50,
        heeds_stdin: dice.percent(80),
        heeds_term: dice.percent(80),
        leaves_after: dice.percent(5).then(|| dice.draw() % 100),
    }
}

fn op(dice: &mut Rng, tone: Tone) -> Op {
    match dice.below(100) {
        0..38 => Op::Call {
            steps: steps(dice),
            token: dice.percent(70),
            how: how(dice),
        },
        38..46 => Op::Batch {
            calls: (0..1 + dice.below(3)).map(|_| steps(dice)).collect(),
            how: how(dice),
        },
        46..52 => Op::Notify,
        52..60 => Op::Cancel {
            bogus: dice.percent(30),
        },
        60..63 => Op::Unasked,
        63..74 => {
            let how = how(dice);
            // Where a GET stream breaks decides what waits instead: that is timing.
            let leaves_at = how.leaves_at.filter(|_| !tone.calm);
            Op::Listen {
                how: How { leaves_at, ..how },
            }
        }
        74..82 => Op::Leave,
        82..86 => Op::Bad(dice.draw()),
        86..89 => Op::Again,
        89..92 => Op::Forge,
        92..95 => {
            let end = match dice.below(10) {
                0..2 => BodyEnd::Never,
                2..4 => BodyEnd::NoRoom,
                4..6 => BodyEnd::Malformed,
                _ => BodyEnd::Whole,
            };
            Op::Stall(end, dice.draw() % 3000)
        }
        95..97 => Op::Delete,
        97..98 => Op::Strange(dice.draw()),
        _ => Op::Initialize(start(dice, tone)),
    }
}

pub(super) fn how(dice: &mut Rng) -> How {
    How {
        leaves_at: dice.percent(20).then(|| 1 + dice.below(600)),
        unread: dice.percent(5),
        late: dice.percent(5).then(|| dice.draw() % 5000),
    }
}

fn steps(dice: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..dice.below(6) {
        let what = match dice.below(100) {
            0..40 => 'p',
            40..55 => 'n',
            55..72 => 'q',
            72..76 => 'k',
            76..80 => 'g',
            80..84 => 'd',
            84..87 => 'h',
            87..88 => 'f',
            88..91 => 'w',
            91..93 => 's',
            93..94 => *dice.pick(&['l', 'F', 'm']),
            94..96 => *dice.pick(&['x', 'z', 'X']),
            96..97 => 'c',
            97..98 => 'u',
            98..99 => 'o',
            _ => 'n',
        };
        steps.push(Step {
            after: delay(dice),
            what,
        });
        if what == 's' && dice.percent(60) {
            let after = delay(dice);
            steps.push(Step { after, what: 'r' });
        }
    }
    let answer = match dice.below(20) {
        0 => None,
        1 | 2 => Some('e'),
        3 | 4 => Some('b'),
        5 => Some('2'),
        _ => Some('a'),
    };
    if let Some(what) = answer {
        let after = delay(dice);
        steps.push(Step { after, what });
    }
    steps
}

pub(super) fn delay(dice: &mut Rng) -> u64 {
    match dice.below(10) {
        0..4 => 0,
        4..8 => dice.draw() % 300,
        _ => dice.draw() % 6000,
    }
}
