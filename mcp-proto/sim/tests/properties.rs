//! The ten properties, over many seeds.
//!
//! `SIM_SEEDS=100000` plays more seeds, `SIM_SEED=7` plays one of them, and with `SIM_TRACE=1` all
//! that happens in it is printed.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mcp_proto_sim::{Play, PlayOptions, Seed, check};

/// How many seeds are played, unless the environment says otherwise.
const SEEDS: u64 = 10_000;

/// By how many bytes what this thread has allocated rises.
fn measure(work: &mut dyn FnMut()) -> i64 {
    allocation_counter::measure(work).bytes_current
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much to test is no part of a run"
)]
fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

/// Checks the seeds on every core; of those that fail, tells how to play them again. How often what
/// happened is returned.
#[expect(clippy::disallowed_methods, reason = "a seed is played by one thread")]
fn check_all(seeds: std::ops::Range<u64>) -> BTreeMap<String, u64> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.len() == 3 {
                return (counts, failed);
            }
            match catch_unwind(|| check(&Seed::from(seed), Some(measure))) {
                Ok(happened) => {
                    for (what, count) in happened {
                        *counts.entry(what).or_default() += count;
                    }
                }
                Err(_) => failed.push(seed),
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (mut counts, mut failed) = (BTreeMap::new(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (happened, more) = worker.join().expect("it catches what fails");
            failed.extend(more);
            for (what, count) in happened {
                *counts.entry(what).or_default() += count;
            }
        }
    });
    failed.sort_unstable();
    let replay =
        |seed| format!("replay: SIM_SEED={seed} cargo test -p mcp-proto-sim --test properties");
    let lines: Vec<String> = failed.into_iter().map(replay).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    counts
}

/// All ten, and what else the model watches: an answer reaches its asker and nobody else, nothing on
/// a stream is lost or comes twice, what is refused reaches no child and makes one record, nothing
/// comes of a token that is not good nor of another's session, and no token stands where anyone
/// could read it.
#[test]
fn whatever_happens_the_rules_hold() {
    let seeds = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    let played = seeds.end - seeds.start;
    let counts = check_all(seeds);
    if played < 1000 {
        return;
    }
    // A run in which nothing happens shows nothing.
    for what in [
        "a third of the memory",
        "a tick after a deadline",
        "a tick before a deadline",
        "answers",
        "asked",
        "at a deadline",
        "batch",
        "body Malformed",
        "body Never",
        "body NoRoom",
        "body Whole",
        "clock set back",
        "clock set forward",
        "delivered",
        "dropped",
        "ended gracefully",
        "error -32000",
        "error -32001",
        "error -32603",
        "exits at discover",
        "foreign",
        "from IPv4",
        "from IPv4 in IPv6",
        "from IPv6",
        "from a proxy",
        "from no proxy",
        "from two proxies",
        "leave",
        "modern answers",
        "modern bad",
        "modern body Malformed",
        "modern body Never",
        "modern body Whole",
        "modern discover",
        "modern dropped",
        "modern error -32021",
        "modern error -32603",
        "modern get",
        "modern list",
        "modern listen",
        "modern refused -32020",
        "modern refused -32022",
        "modern refused -32600",
        "modern refused -32601",
        "modern refused -32602",
        "modern tool",
        "move 2",
        "move E",
        "move R",
        "move X",
        "move a",
        "move d",
        "move e",
        "move g",
        "move k",
        "move l",
        "move n",
        "move p",
        "move q",
        "move r",
        "move s",
        "move w",
        "move x",
        "never answered",
        "nonsense",
        "poll",
        "resume",
        "round",
        "round abandoned",
        "round answered",
        "round forged",
        "round late",
        "round refused",
        "round returned",
        "round twice",
        "round unanswered",
        "server hangs",
        "session is asked",
        "session's call",
        "session's round answered",
        "silent about discover",
        "slow reader",
        "step 2",
        "step F",
        "step X",
        "step c",
        "step d",
        "step f",
        "step g",
        "step h",
        "step l",
        "step m",
        "step o",
        "step r",
        "step s",
        "step u",
        "step x",
        "step z",
        "strange",
        "token ended",
        "told late",
        "unwelcome",
        "verifier away",
        "word Answer",
        "word Delivered",
        "word InputRequired",
        "word Log",
        "word Progress",
        "status 400",
        "status 401",
        "status 403",
        "status 404",
        "status 408",
        "status 429",
        "status 503",
        "audit AnswerDropped",
        "audit Authenticated(Custom)",
        "audit Authenticated(Http)",
        "audit Authenticated(Introspection)",
        "audit Authenticated(Jwt)",
        "audit Authenticated(Static)",
        "audit CancelDropped",
        "audit ClientSilent",
        "audit LineSkipped",
        "audit MessageDropped",
        "audit Probed",
        "audit ReaderDropped",
        "audit Refused(AuditUnavailable)",
        "audit Refused(BadHost)",
        "audit Refused(BodyBudget)",
        "audit Refused(BodyTimeout)",
        "audit Refused(ChildExited)",
        "audit Refused(ChildNotReading)",
        "audit Refused(ChildUnavailable)",
        "audit Refused(CredentialsMalformed)",
        "audit Refused(CredentialsMissing)",
        "audit Refused(Draining)",
        "audit Refused(DuplicateId)",
        "audit Refused(HeaderMismatch)",
        "audit Refused(HostNotAllowed)",
        "audit Refused(InsufficientScope)",
        "audit Refused(InvalidMeta)",
        "audit Refused(InvalidRequestState)",
        "audit Refused(InvalidToken)",
        "audit Refused(MalformedBody)",
        "audit Refused(MethodNotFound)",
        "audit Refused(NotAcceptable)",
        "audit Refused(OriginNotAllowed)",
        "audit Refused(RepeatedField)",
        "audit Refused(RequestTimeout)",
        "audit Refused(SessionNotFound)",
        "audit Refused(SessionRequired)",
        "audit Refused(TooManyCalls)",
        "audit Refused(TooManyCredentials)",
        "audit Refused(TooManyOwnSessions)",
        "audit Refused(TooManyRequests)",
        "audit Refused(TooManySessions)",
        "audit Refused(TooManyStreams)",
        "audit Refused(UnknownEventId)",
        "audit Refused(UnsupportedContentEncoding)",
        "audit Refused(UnsupportedMediaType)",
        "audit Refused(UnsupportedProtocolVersion)",
        "audit Refused(UnsupportedVersion)",
        "audit Refused(VerifierUnavailable)",
        "audit ResponseDropped",
        "audit SessionEnded(ChildExited)",
        "audit SessionEnded(ClientGone)",
        "audit SessionEnded(Deleted)",
        "audit SessionEnded(Draining)",
        "audit SessionEnded(Expired)",
        "audit SessionEnded(InitializeFailed)",
        "audit SessionEnded(MadeRoom)",
        "audit SessionEnded(SpawnFailed)",
        "audit TokenEnded",
        "audit TokensReplaced",
        "audit VerifierFailed(Custom)",
        "audit VerifierFailed(Http)",
        "audit VerifierFailed(Introspection)",
        "audit VerifierFailed(Jwt)",
    ] {
        let count = counts.get(what).copied().unwrap_or(0);
        assert!(
            count >= 5,
            "{what} happened {count} times in {played} seeds"
        );
    }
}

/// That a seed makes the same trace each time says something only if others make others.
#[test]
fn another_seed_makes_another_trace() {
    let trace = |seed: u64| Play::run(PlayOptions::wild(&seed.into())).trace;
    assert_ne!(trace(0), trace(1));
}

/// What a fuzzer does with the dice, on a few inputs.
#[test]
fn bytes_decide_what_a_seed_does_not() {
    let mut inputs: Vec<Vec<u8>> = vec![vec![], vec![b'\n'; 40], vec![0; 200], vec![0xff; 200]];
    for length in [3, 8, 30, 100, 300, 1000] {
        for number in 0..5 {
            let mut dice = Seed::from(number).dice("bytes");
            inputs.push((0..length).map(|_| dice.below(256) as u8).collect());
        }
    }
    let happened: Vec<_> = inputs
        .iter()
        .map(|bytes| check(&Seed::from(&bytes[..]), Some(measure)))
        .collect();
    // Two that differ in one client's line only: what it does is not the same.
    let plays = [
        b"number..\x03\n\n\n\n\nfirst plan",
        b"number..\x03\n\n\n\n\nother plan",
    ];
    let plays = plays.map(|bytes| check(&Seed::from(&bytes[..]), None));
    assert_ne!(plays[0], plays[1]);
    assert!(happened.iter().any(|counts| counts.contains_key("answers")));
}
