//! The ten properties that hold in every run. Four of them compare runs; the others are checked
//! within each run, byte by byte, by the model in `src/play`.
//!
//! `SIM_SEEDS=100000` plays more seeds, `SIM_SEED=7` plays one of them, and with `SIM_TRACE=1` all
//! that happens in it is printed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mcp_proto_sim::{Batches, Cuts, Manner, Outcome, Play, PlayOptions, View, Wakes};

/// Plays the seeds; of one that fails, tells how to play it again.
#[expect(
    clippy::disallowed_methods,
    reason = "how much to test is no part of a run"
)]
fn each_seed(test: &str, count: u64, mut check: impl FnMut(u64)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    let seeds: Vec<u64> = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count_set) => (0..count_set.unwrap_or(count)).collect(),
    };
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| check(seed))).is_err() {
            panic!("replay: SIM_SEED={seed} cargo test -p mcp-proto-sim --test properties {test}");
        }
    }
}

/// Says of two runs where they differ first.
fn assert_same(one: &BTreeMap<usize, View>, other: &BTreeMap<usize, View>) {
    for (client, view) in one {
        let Some(second) = other.get(client) else {
            continue;
        };
        for (response, second) in view.responses.iter().zip(&second.responses) {
            let pairs = response.chars().zip(second.chars());
            let same = pairs.take_while(|(one, other)| one == other).count();
            let differ = |text: &str| -> String {
                let from = same.saturating_sub(80);
                text.chars().skip(from).take(200).collect()
            };
            let name = response.split(' ').next();
            assert!(
                response == second,
                "client {client} receives something else in {name:?}, at {same}:\n{}\n---\n{}",
                differ(response),
                differ(second)
            );
        }
        assert_eq!(
            view.lines, second.lines,
            "client {client}'s child reads something else"
        );
        assert_eq!(
            view.audit, second.audit,
            "something else is recorded of client {client}"
        );
        assert_eq!(view, second);
    }
}

fn lockstep(seed: u64, manner: Manner) -> Outcome {
    Play::run(PlayOptions::lockstep(seed, manner))
}

/// Properties 5 (every admitted request ends exactly once), 6 (a relayed payload is identical but
/// for the splices), 8 (after everyone has gone, nothing is left) and 10 (a crash reaches whoever
/// waits) hold in every run; so do: an answer reaches its asker and nobody else, nothing on a stream
/// is lost or comes twice, what is refused reaches no child and makes one record, nothing comes of a
/// token that is not good nor of another's session, and no token stands where anyone could read it.
#[test]
fn whatever_happens_the_rules_hold() {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut seeds = 0;
    each_seed("whatever_happens", 600, |seed| {
        for (what, count) in Play::run(PlayOptions::wild(seed)).counts {
            *counts.entry(what).or_default() += count;
        }
        seeds += 1;
    });
    if seeds < 300 {
        return;
    }
    // A run in which nothing happens shows nothing.
    for what in [
        "answers",
        "asked",
        "batch",
        "dropped",
        "poll",
        "resume",
        "leave",
        "unwelcome",
        "foreign",
        "nonsense",
        "never answered",
        "token ended",
        "error -32000",
        "error -32001",
        "error -32603",
        "status 400",
        "status 401",
        "status 403",
        "status 404",
        "status 408",
        "status 429",
        "status 503",
        "audit AnswerDropped",
        "audit Authenticated(Static)",
        "audit Authenticated(Http)",
        "audit Authenticated(Introspection)",
        "audit Authenticated(Jwt)",
        "audit Authenticated(Custom)",
        "audit CancelDropped",
        "audit ClientSilent",
        "audit LineSkipped",
        "audit MessageDropped",
        "audit Probed",
        "audit Refused(ChildExited)",
        "audit Refused(CredentialsMalformed)",
        "audit Refused(CredentialsMissing)",
        "audit Refused(Draining)",
        "audit Refused(DuplicateId)",
        "audit Refused(InsufficientScope)",
        "audit Refused(InvalidToken)",
        "audit Refused(RequestTimeout)",
        "audit Refused(TooManyCalls)",
        "audit Refused(TooManyCredentials)",
        "audit Refused(TooManyOwnSessions)",
        "audit Refused(TooManyRequests)",
        "audit Refused(TooManySessions)",
        "audit Refused(TooManyStreams)",
        "audit Refused(UnknownEventId)",
        "audit Refused(VerifierUnavailable)",
        "audit ResponseDropped",
        "audit SessionEnded(ClientGone)",
        "audit SessionEnded(Deleted)",
        "audit SessionEnded(Expired)",
        "audit SessionEnded(InitializeFailed)",
        "audit SessionEnded(MadeRoom)",
        "audit SessionEnded(SpawnFailed)",
        "audit TokenEnded",
        "audit TokensReplaced",
        "audit VerifierFailed(Http)",
        "audit VerifierFailed(Introspection)",
        "audit VerifierFailed(Jwt)",
        "audit VerifierFailed(Custom)",
    ] {
        let count = counts.get(what).copied().unwrap_or(0);
        assert!(count >= 5, "{what} happened {count} times in {seeds} seeds");
    }
}

/// The same, with one thing at a time: then the model can also say when a crash is heard of.
#[test]
fn one_thing_at_a_time_the_rules_hold() {
    each_seed("one_thing_at_a_time", 300, |seed| {
        let mut options = PlayOptions::lockstep(seed, Manner::default());
        options.calm = false;
        Play::run(options);
    });
}

/// Property 1.
#[test]
fn the_same_seed_makes_the_same_trace() {
    each_seed("the_same_seed", 60, |seed| {
        let (one, other) = (PlayOptions::wild(seed), PlayOptions::wild(seed));
        let (one, other) = (Play::run(one), Play::run(other));
        assert_same(&one.views, &other.views);
        assert_eq!(one.trace, other.trace);
        assert_ne!(one.trace, Play::run(PlayOptions::wild(seed + 1)).trace);
    });
}

/// Property 2.
#[test]
fn how_bytes_are_cut_changes_nothing() {
    each_seed("how_bytes_are_cut", 25, |seed| {
        let whole = lockstep(seed, Manner::default());
        for cuts in [Cuts::Bytes, Cuts::Random(seed)] {
            let manner = Manner {
                cuts,
                ..Manner::default()
            };
            assert_same(&whole.views, &lockstep(seed, manner).views);
        }
    });
}

/// Property 3, and that the order in which machines are served changes nothing either.
#[test]
fn how_inputs_are_batched_and_ordered_changes_nothing() {
    each_seed("how_inputs_are_batched", 100, |seed| {
        let single = lockstep(seed, Manner::default());
        for batches in [Batches::All, Batches::Random] {
            let manner = Manner {
                order: seed + 1,
                batches,
                ..Manner::default()
            };
            assert_same(&single.views, &lockstep(seed, manner).views);
        }
    });
}

/// Property 4.
#[test]
fn waking_every_millisecond_changes_nothing() {
    each_seed("waking_every_millisecond", 4, |seed| {
        let sleeping = lockstep(seed, Manner::default());
        let manner = Manner {
            wakes: Wakes::Ticks,
            ..Manner::default()
        };
        assert_same(&sleeping.views, &lockstep(seed, manner).views);
    });
}

/// Property 7.
#[test]
fn without_one_client_the_others_receive_the_same() {
    each_seed("without_one_client", 100, |seed| {
        let all = lockstep(seed, Manner::default());
        for gone in 0..all.views.len() {
            let mut options = PlayOptions::lockstep(seed, Manner::default());
            options.without = Some(gone);
            let mut others = Play::run(options).views;
            others.remove(&gone);
            assert_same(&all.views, &others);
        }
    });
}
