//! Clients that do not come back to what they were asked, and those who wait for a child.

use mcp_proto::auth::{AuthPolicy, Identity, Principal, Verdict, Verifier};

use super::rounds::{asking, elicit, first, retry, round};
use super::*;

/// A call that is parked at a child of its own; gives the state to come back with.
#[track_caller]
fn parked(scene: &mut Scene) -> (UpstreamId, String, String) {
    let (asked, child, minted) = first(scene);
    scene.says(child, &elicit("1", "one"));
    let (_, state) = round(scene, asked);
    (child, minted, state)
}

#[test]
fn many_who_do_not_come_back_keep_others_waiting_for_seconds_only() {
    let mut scene = legacy(limited(|limits| limits.hosts = 4));
    let children: Vec<_> = (0..4).map(|_| parked(&mut scene).0).collect();
    scene.wait_secs(20);
    let waiting: Vec<_> = (0..4).map(|_| scene.ask(&asking())).collect();
    scene.wait_secs(2);
    for child in children {
        assert!(!scene.world.child(child).lives());
    }
    for asked in waiting {
        assert!(scene.is_waiting(asked));
    }
    for child in scene.new_children() {
        let line = scene.hears_one(child);
        assert_eq!(method(&line), "initialize");
        scene.says(child, &result("0", INITIALIZED));
        assert_eq!(method(&scene.hears(child)[1]), "prompts/get");
    }
    scene.assert_nothing_is_left();
}

#[test]
fn the_one_that_is_taken_for_longest_gives_way_and_the_others_stay() {
    let mut scene = legacy(limited(|limits| limits.hosts = 2));
    let (oldest, ..) = parked(&mut scene);
    scene.wait_secs(1);
    let (other, other_minted, state) = parked(&mut scene);
    scene.wait_secs(60);
    scene.ask(&asking());
    scene.wait_secs(2);
    assert!(!scene.world.child(oldest).lives());
    let last = scene.ask(&retry(&state, &[("request-1", "a")]));
    assert_eq!(json(&scene.hears_one(other))["id"], 1);
    scene.answers(other, &other_minted, "x");
    assert_eq!(answer(&scene, last)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_call_that_runs_goes_on() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let (asked, child, minted) = first(&mut scene);
    let waits = scene.ask(&asking());
    scene.wait_secs(60);
    assert_eq!(scene.hears(child), [""; 0]);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
    let minted = scene.minted(child);
    scene.answers(child, &minted, "y");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "y");
    scene.assert_nothing_is_left();
}

#[test]
fn nobody_gives_way_while_nobody_waits() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let (child, minted, state) = parked(&mut scene);
    scene.wait_secs(60);
    let last = scene.ask(&retry(&state, &[("request-1", "a")]));
    assert_eq!(json(&scene.hears_one(child))["id"], 1);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, last)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

/// Lets in whoever bears this.
#[track_caller]
fn log_in(scene: &mut Scene, token: &str) {
    scene.presents(token);
    scene.ask(&discover());
    let (verification, _) = scene.verification();
    let identity = Identity {
        principal: Principal {
            issuer: "them".to_owned(),
            subject: token.to_owned(),
            client_id: None,
        },
        scopes: Vec::new(),
        expires_at: None,
    };
    scene.verifies(verification, Verdict::Allowed(identity));
}

#[test]
fn one_person_has_half_of_the_children_at_most() {
    let mut scene = Scene::of(finding_out(|policy| {
        policy.limits.hosts = 4;
        policy.startup_probe = true;
        policy.auth = AuthPolicy {
            verifiers: vec![Verifier::Custom],
            ..AuthPolicy::default()
        };
    }));
    assert_eq!(scene.started(), []);
    let probe = scene.new_child();
    scene.says(probe, &error("1", -32601));
    scene.says(probe, &result("0", INITIALIZED));
    log_in(&mut scene, "bob");
    log_in(&mut scene, "ann");
    let (_, running, minted) = first(&mut scene);
    let (idles, idle, idle_minted) = first(&mut scene);
    let waits = scene.ask(&asking().capabilities(r#"{"roots":{}}"#));
    scene.presents("bob");
    first(&mut scene);
    first(&mut scene);
    assert!(scene.is_waiting(waits));

    // Of her own, one that is idle makes room.
    scene.answers(idle, &idle_minted, "x");
    assert_eq!(answer(&scene, idles)["result"]["marker"], "x");
    assert!(!scene.world.child(idle).lives());
    let child = scene.new_child();
    let waited = first_call(&mut scene, child);
    scene.answers(child, &waited, "z");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "z");
    scene.answers(running, &minted, "y");
    scene.assert_nothing_is_left();
}
