//! The ten properties that hold in every run.
//!
//! Some are checked while a play goes on, byte by byte, by the model in `src/play`: every admitted
//! request ends exactly once (5), a relayed payload is identical but for the splices (6), after
//! everyone has gone nothing is left (8), what is allocated stays within a budget (9), and a crash
//! reaches whoever waits (10). Of how each request ends there is one record (5), and its id is the same
//! wherever it stands. The others compare plays of one seed: the same seed makes the same
//! trace (1); neither how bytes are cut (2), nor how inputs are batched and ordered (3), nor when
//! the machines are told the time (4), nor that one client stays away (7) changes what a peer
//! receives and what is recorded.

use std::collections::BTreeMap;

use crate::play::{Outcome, Play, PlayOptions, View};
use crate::rng::Seed;
use crate::world::{Batches, Cuts, Manner, Measure, Wakes};

/// Plays what a seed says as often as it takes to check all ten properties, and panics if one of
/// them does not hold. How often what happened is returned. Property 9 needs `measure`.
pub fn check(seed: &Seed, measure: Option<Measure>) -> BTreeMap<String, u64> {
    let mut wild = PlayOptions::wild(seed);
    wild.measure = measure;
    let one = Play::run(wild);
    let other = Play::run(PlayOptions::wild(seed));
    assert_same("the same seed again", &one.views, &other.views);
    assert_eq!(one.trace, other.trace, "the same seed, another trace");

    let calm = lockstep(seed, Manner::default());
    driven_otherwise(seed, &calm);
    let dice = &mut seed.dice("check");
    let mut without = PlayOptions::lockstep(seed, Manner::default());
    let gone = dice.below(calm.views.len());
    without.without = Some(gone);
    let mut others = Play::run(without).views;
    others.remove(&gone);
    assert_same("without one client", &calm.views, &others);

    // Shared bounds, and one thing at a time: then the model can say when a crash is heard of.
    if seed.number().is_multiple_of(4) {
        let mut orderly = PlayOptions::lockstep(seed, Manner::default());
        orderly.calm = false;
        Play::run(orderly);
    }
    one.counts
}

fn lockstep(seed: &Seed, manner: Manner) -> Outcome {
    Play::run(PlayOptions::lockstep(seed, manner))
}

/// Uses all of the driver's freedom at once; if that shows, one after the other, to say which.
fn driven_otherwise(seed: &Seed, calm: &Outcome) {
    let dice = &mut seed.dice("driven otherwise");
    let order = dice.draw();
    let cuts = if dice.percent(10) {
        Cuts::Bytes
    } else {
        Cuts::Random(dice.draw())
    };
    let batches = *dice.pick(&[Batches::All, Batches::Random]);
    // Every millisecond takes a hundred times as long.
    let wakes = if dice.below(500) == 0 {
        Wakes::Ticks
    } else {
        Wakes::Around
    };
    let usual = Manner::default();
    let otherwise = Manner {
        order,
        cuts,
        batches,
        wakes,
    };
    let outcome = lockstep(seed, otherwise);
    if outcome.views == calm.views {
        return;
    }
    for (what, manner) in [
        ("bytes are cut", Manner { cuts, ..usual }),
        ("inputs are batched", Manner { batches, ..usual }),
        (
            "machines are served in another order",
            Manner { order, ..usual },
        ),
        ("machines are told the time", Manner { wakes, ..usual }),
    ] {
        assert_same(what, &calm.views, &lockstep(seed, manner).views);
    }
    assert_same("the driver does all of it", &calm.views, &outcome.views);
}

/// Says of two plays where they differ first.
fn assert_same(why: &str, one: &BTreeMap<usize, View>, other: &BTreeMap<usize, View>) {
    for (client, view) in one {
        let Some(second) = other.get(client) else {
            continue;
        };
        if view == second {
            continue;
        }
        let texts = |view: &View| {
            let lines = view.lines.iter().flatten().cloned();
            let all = view.responses.iter().cloned().chain(lines);
            all.chain(view.audit.iter().cloned()).collect::<Vec<_>>()
        };
        for (text, second) in texts(view).iter().zip(&texts(second)) {
            let pairs = text.chars().zip(second.chars());
            let same = pairs.take_while(|(one, other)| one == other).count();
            let differ = |text: &str| -> String {
                let from = same.saturating_sub(80);
                text.chars().skip(from).take(200).collect()
            };
            let begins: String = text.chars().take(20).collect();
            assert!(
                text == second,
                "{why}: client {client} sees something else in {begins:?}, at {same}:\n{}\n---\n{}",
                differ(text),
                differ(second)
            );
        }
        assert_eq!(view, second, "{why}: client {client} sees less, or more");
    }
}
