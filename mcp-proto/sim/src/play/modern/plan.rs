//! What modern clients will do, and make children do.

use crate::play::plan::{BodyEnd, How, Op, Step, Tone, delay, how};
use crate::rng::{Rng, Seed};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::play) enum What {
    Discover,
    List,
    Get,
    /// A tool, one of whose parameters a header mirrors; perhaps wrongly.
    Tool {
        mirrored: bool,
    },
    Listen,
    /// Something that has to be refused.
    Bad(u64),
}

/// A request, and what the child does about it.
#[derive(Clone, Debug)]
pub(in crate::play) struct Ask {
    pub(in crate::play) what: What,
    /// What the child does, one thing after the other: it answers (`a`), twice (`2`), with an error
    /// (`e`), or with one that is a status too (`E`); it reports progress (`p`), at length (`w`), logs (`l`), asks the
    /// client (`q`), tells that something has changed (`n`), cancels a subscription (`k`), asks what
    /// nobody may (`r`); says garbage (`g`), or answers what nobody asked (`d`); stops reading (`s`), or reads on
    /// (`R`); exits (`x`), or its driver fails (`X`).
    pub(in crate::play) steps: Vec<Step>,
    pub(in crate::play) token: bool,
    pub(in crate::play) how: How,
    /// Whether the client can be asked.
    pub(in crate::play) can: bool,
    pub(in crate::play) logs: bool,
    /// How its body ends, if that is late, and when.
    pub(in crate::play) stall: Option<(BodyEnd, u64)>,
}

/// What a client does, each thing so many milliseconds after the one before.
pub(in crate::play) fn plan(seed: &Seed, client: usize, tone: Tone) -> Vec<(u64, Op)> {
    let dice = &mut seed.dice(&format!("client {client}"));
    let mut plan = Vec::new();
    for _ in 0..3 + dice.below(14) {
        let gap = match dice.below(20) {
            0 => dice.draw() % 30_000,
            1..4 => dice.draw() % 4000,
            4..10 => 0,
            _ => dice.draw() % 400,
        };
        let op = match dice.below(20) {
            0..3 => Op::Leave,
            _ => Op::Ask(Box::new(ask(dice, tone))),
        };
        plan.push((gap, op));
    }
    plan
}

fn ask(dice: &mut Rng, tone: Tone) -> Ask {
    let what = match dice.below(100) {
        0..6 => What::Discover,
        6..16 => What::List,
        16..60 => What::Get,
        60..80 => What::Tool {
            mirrored: dice.percent(90),
        },
        80..90 => What::Listen,
        _ => What::Bad(dice.draw()),
    };
    let can = dice.percent(60);
    // Whether a log message can only be one call's depends on what else its child is at.
    let logs = dice.percent(25) && !tone.calm;
    let how = how(dice);
    // How long a state is depends on what its child has done before.
    let leaves_at = how.leaves_at.filter(|_| !tone.calm);
    let how = How { leaves_at, ..how };
    Ask {
        what,
        steps: steps(dice, tone, what, can, logs),
        token: dice.percent(70),
        how,
        can,
        logs,
        stall: dice.percent(4).then(|| {
            let end = *dice.pick(&[BodyEnd::Never, BodyEnd::Whole, BodyEnd::Malformed]);
            (end, dice.draw() % 3000)
        }),
    }
}

fn steps(dice: &mut Rng, tone: Tone, what: What, can: bool, logs: bool) -> Vec<Step> {
    // That a call failed for what its client cannot be asked is told only if nothing else was going on.
    let asks = matches!(what, What::Get | What::Tool { .. }) && (can || !tone.calm);
    let mut steps = Vec::new();
    for _ in 0..dice.below(5) {
        let what = match dice.below(100) {
            _ if what == What::Listen => 'n',
            0..40 => 'p',
            40..70 if asks => 'q',
            70..80 if logs => 'l',
            80..84 => 'g',
            84..88 => 'd',
            88..91 => 'r',
            91..94 if !tone.calm => 'n',
            94..96 if !tone.calm => *dice.pick(&['x', 'x', 'X']),
            96..97 if !tone.calm => 's',
            97..100 => 'w',
            _ => 'p',
        };
        steps.push(Step {
            after: delay(dice),
            what,
        });
        if what == 's' {
            let after = delay(dice);
            steps.push(Step { after, what: 'R' });
        }
    }
    let answer = match dice.below(20) {
        0 => None,
        _ if what == What::Listen => *dice.pick(&[None, None, Some('a'), Some('k')]),
        1 | 2 => Some('e'),
        3 => Some('E'),
        4 => Some('2'),
        _ => Some('a'),
    };
    steps.extend(answer.map(|what| Step {
        after: delay(dice),
        what,
    }));
    steps
}
