//! A child that is started before it is known for whom.

use std::time::Duration;

use super::*;

/// A server that has a handshake, of which one child is started and has been told nothing.
#[track_caller]
fn started_ahead(change: impl FnOnce(&mut Limits)) -> (Scene, UpstreamId) {
    let mut policy = limited(change);
    policy.start_ahead = true;
    let mut scene = Scene::of(policy);
    let asked = scene.ask(&discover());
    let probe = scene.new_child();
    scene.says(probe, &error("1", -32601));
    scene.says(probe, &result("0", INITIALIZED));
    assert_eq!(scene.response(asked).status(), 200);
    let ahead = scene.new_child();
    assert_eq!(scene.hears(ahead), [""; 0]);
    (scene, ahead)
}

#[test]
fn it_serves_whoever_comes_next_and_the_next_one_is_started() {
    let (mut scene, ahead) = started_ahead(|_| {});
    let asked = scene.ask(&prompt("1").capabilities(ELICITS));
    let lines = scene.hears(ahead);
    assert_eq!(method(&lines[0]), "initialize");
    assert_eq!(
        json(&lines[0])["params"]["capabilities"],
        json(ELICITS),
        "it is told what this client can do"
    );
    scene.says(ahead, &result("0", INITIALIZED));
    let lines = scene.hears(ahead);
    let minted = json(&lines[1])["id"].to_string();
    scene.answers(ahead, &minted, "x");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
    let next = scene.new_child();
    assert_eq!(scene.hears(next), [""; 0]);
    // The same client has the same child again.
    let (asked, minted) = begin(&mut scene, ahead, &prompt("2").capabilities(ELICITS));
    scene.answers(ahead, &minted, "y");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "y");
    assert_eq!(scene.new_children(), []);
    scene.assert_nothing_is_left();
}

#[test]
fn it_ends_when_nobody_has_come_for_some_time() {
    let (mut scene, ahead) = started_ahead(|limits| {
        limits.idle_host_time = Duration::from_secs(60);
    });
    scene.wait_secs(50);
    scene.ask(&discover());
    scene.wait_secs(59);
    assert!(scene.world.child(ahead).lives());
    scene.wait_secs(2);
    assert!(!scene.world.child(ahead).lives());
    assert_eq!(scene.world.upstreams(), 0);
    assert_eq!(scene.world.next_deadline(), None);
}

#[test]
fn its_end_keeps_nobody_from_being_served() {
    let (mut scene, ahead) = started_ahead(|_| {});
    scene.exits(ahead);
    let asked = scene.ask(&prompt("1"));
    let children = scene.new_children();
    let child = children[0];
    let minted = first_call(&mut scene, child);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_drain_ends_it() {
    let (mut scene, ahead) = started_ahead(|_| {});
    scene.world.drain();
    scene.settle();
    assert!(!scene.world.child(ahead).lives());
    assert_eq!(scene.world.upstreams(), 0);
}

#[test]
fn none_is_started_for_a_server_that_serves_all_by_one_or_where_it_is_not_wanted() {
    let ahead = |wanted| finding_out(|policy| policy.start_ahead = wanted);
    // All children that these start are accounted for.
    let (mut scene, host) = modern_only(ahead(true));
    begin(&mut scene, host, &prompt("1"));
    assert_eq!(scene.new_children(), []);
    let mut scene = legacy(ahead(false));
    scene.ask(&prompt("1"));
    scene.new_child();
}

#[test]
fn what_it_says_before_its_handshake_is_passed_over() {
    let (mut scene, ahead) = started_ahead(|_| {});
    scene.says(ahead, &result("1", "{}"));
    scene.says(ahead, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    assert_eq!(scene.hears(ahead), [""; 0]);
    let (asked, children) = (scene.ask(&prompt("1")), scene.new_children());
    assert_eq!(children.len(), 1, "the next one");
    assert_eq!(method(&scene.hears(ahead)[0]), "initialize");
    assert!(scene.is_waiting(asked));
    scene.assert_nothing_is_left();
}

#[test]
fn none_is_started_beyond_what_is_allowed() {
    let (mut scene, ahead) = started_ahead(|limits| limits.hosts = 1);
    scene.ask(&prompt("1"));
    assert_eq!(method(&scene.hears(ahead)[0]), "initialize");
    assert_eq!(scene.new_children(), []);
    scene.assert_nothing_is_left();
}
