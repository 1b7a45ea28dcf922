//! What is known of tokens: for how long, and for whom it was asked.

use std::time::Duration;

use super::*;

fn scene() -> Scene {
    begin(gateway(vec![Verifier::Custom]))
}

/// Shows a good token.
#[track_caller]
fn learn(scene: &mut Scene, token: &str, identity: Identity) {
    let asked = scene.send(knock().bearer(token));
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Allowed(identity));
    assert_eq!(outcome(scene, asked), LET_IN);
}

#[test]
fn a_herd_is_asked_about_once() {
    for (verdict, expected) in [
        (allowed("ann"), LET_IN),
        (Verdict::Denied, Refusal::InvalidToken),
        (Verdict::Unavailable, Refusal::VerifierUnavailable),
    ] {
        let mut scene = scene();
        let mut herd = Vec::new();
        for _ in 0..50 {
            herd.push(scene.send(knock().bearer("one")));
        }
        // Some go, the first among them.
        for gone in herd.drain(..10).collect::<Vec<_>>() {
            scene.leave(gone);
        }
        let (verification, _) = scene.verification();
        scene.verifies(verification, verdict);
        for asked in herd {
            assert_eq!(outcome(&scene, asked), expected);
        }
        scene.assert_nobody_is_asked();
        scene.assert_nothing_is_left();
    }
}

#[test]
fn when_all_have_gone_the_verdict_is_there_for_whoever_comes() {
    // Who goes before the answer, and who comes after they went and before the answer.
    for latecomer in [false, true] {
        let mut scene = scene();
        let herd: Vec<_> = (0..3).map(|_| scene.send(knock().bearer("one"))).collect();
        for asked in herd {
            scene.leave(asked);
        }
        let late = latecomer.then(|| scene.send(knock().bearer("one")));
        let (verification, _) = scene.verification();
        scene.verifies(verification, allowed("ann"));
        if let Some(late) = late {
            assert_eq!(outcome(&scene, late), LET_IN);
        }
        let asked = scene.send(knock().bearer("one"));
        assert_eq!(outcome(&scene, asked), LET_IN);
        scene.assert_nothing_is_left();
    }
}

#[test]
fn when_all_have_gone_and_nobody_answers_nothing_is_left() {
    let mut scene = scene();
    let asked = scene.send(knock().bearer("one"));
    scene.verification();
    scene.leave(asked);
    scene.wait_secs(5);
    let asked = scene.send(knock().bearer("one"));
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    assert_eq!(outcome(&scene, asked), LET_IN);
    scene.assert_nothing_is_left();
}

#[test]
fn a_verdict_lives_a_minute_or_as_long_as_the_token() {
    for (token_life, verdict_life) in [(None, 60), (Some(100), 60), (Some(60), 60), (Some(7), 7)] {
        let mut scene = scene();
        let end = token_life.map(|life| scene.world.unix_seconds() + life);
        let known = Identity {
            expires_at: end,
            ..identity("ann")
        };
        learn(&mut scene, "one", known);
        scene.wait(Duration::from_secs(verdict_life) - Duration::from_millis(1));
        let asked = scene.send(knock().bearer("one"));
        assert_eq!(outcome(&scene, asked), LET_IN);
        scene.wait(Duration::from_millis(1));
        let asked = scene.send(knock().bearer("one"));
        let (verification, _) = scene.verification();
        scene.verifies(verification, Verdict::Denied);
        assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
        // And that is known for as long.
        scene.wait(Duration::from_secs(60) - Duration::from_millis(1));
        let asked = scene.send(knock().bearer("one"));
        assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
        scene.wait(Duration::from_millis(1));
        scene.send(knock().bearer("one"));
        scene.verification();
    }
}

#[test]
fn a_wall_clock_that_steps_past_the_end_ends_a_token() {
    let mut scene = scene();
    let known = Identity {
        expires_at: Some(scene.world.unix_seconds() + 3600),
        ..identity("ann")
    };
    learn(&mut scene, "one", known);
    scene.world.step_clock(3_599_000);
    let asked = scene.send(knock().bearer("one"));
    assert_eq!(outcome(&scene, asked), LET_IN);
    scene.world.step_clock(1_000);
    let asked = scene.send(knock().bearer("one"));
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
}

#[test]
fn verdicts_are_bounded_and_the_bad_do_not_drive_out_the_good() {
    let mut policy = gateway(vec![Verifier::Custom]);
    policy.limits.verdicts = 3;
    let mut scene = begin(policy);
    learn(&mut scene, "good", identity("ann"));
    for n in 0..10 {
        let asked = scene.send(
            knock()
                .bearer(&format!("bad{n}"))
                .from(&format!("10.0.0.{n}")),
        );
        let (verification, _) = scene.verification();
        scene.verifies(verification, Verdict::Denied);
        assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
    }
    let asked = scene.send(knock().bearer("good"));
    assert_eq!(outcome(&scene, asked), LET_IN);
    // Other good ones do, the oldest first.
    for n in 0..3 {
        scene.wait_secs(7);
        learn(&mut scene, &format!("good{n}"), identity("bob"));
    }
    for n in 0..3 {
        let asked = scene.send(knock().bearer(&format!("good{n}")));
        assert_eq!(outcome(&scene, asked), LET_IN);
    }
    scene.send(knock().bearer("good"));
    scene.verification();
    scene.assert_nothing_is_left();
}

#[test]
fn equal_answers_twice_are_one() {
    let mut scene = scene();
    let asked = scene.send(knock().bearer("one"));
    let (verification, _) = scene.verification();
    scene.verifies(verification, Verdict::Denied);
    scene.verifies(verification, allowed("ann"));
    assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
    let asked = scene.send(knock().bearer("one"));
    assert_eq!(outcome(&scene, asked), Refusal::InvalidToken);
}

/// What is wrong with the rest of a request is told once it is known who asks; the body is not read
/// and no child is started before.
#[test]
fn nothing_happens_before_the_verdict() {
    let mut scene = scene();
    let (asked, upstream) = {
        scene.presents("one");
        scene.initialize("2025-11-25")
    };
    assert_eq!(upstream, None);
    let (verification, _) = scene.verification();
    scene.verifies(verification, allowed("ann"));
    assert!(scene.is_waiting(asked));
    assert_eq!(scene.world.opened().len(), 1);
    let wrong = scene.send(Request::post("{").with("accept", "text/html"));
    assert_eq!(outcome(&scene, wrong), Refusal::NotAcceptable);
    scene.assert_nothing_is_left();
}

#[test]
fn a_gateway_that_stops_still_says_who_may_not_come_in() {
    let mut scene = scene();
    scene.presents("one");
    let (asked, _) = scene.initialize("2025-11-25");
    let (verification, _) = scene.verification();
    scene.world.drain();
    scene.settle();
    scene.verifies(verification, allowed("ann"));
    scene.assert_refused(asked, Refusal::Draining);
    scene.assert_nothing_is_left();
}

#[test]
fn whoever_leaves_before_the_verdict_is_on_record() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let asked = scene.send(knock().bearer("one").from("203.0.113.9"));
    let (verification, _) = scene.verification();
    scene.world.leave(asked);
    scene.settle();
    let records = scene.world.audit();
    let record = records
        .iter()
        .find(|record| record.event == AuditEvent::Abandoned)
        .expect("it is on record");
    assert_eq!(record.exchange, Some(asked));
    let caller = record.caller.as_ref().expect("an address is known");
    assert_eq!(caller.address.to_string(), "203.0.113.9");
    scene.verifies(verification, Verdict::Denied);
    scene.assert_nothing_is_left();
}

#[test]
fn whoever_waits_for_a_verdict_is_told_that_the_gateway_stops() {
    let mut scene = begin(gateway(vec![Verifier::Custom]));
    let asked = scene.send(knock().bearer("one"));
    let (verification, _) = scene.verification();
    scene.world.drain();
    scene.settle();
    scene.assert_refused(asked, Refusal::Draining);
    scene.verifies(verification, allowed("ann"));
    scene.assert_nothing_is_left();
}
