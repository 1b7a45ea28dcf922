//! What a server speaks is found out by children that serve nobody.

use std::time::Duration;

use mcp_proto::{AuditEvent, Refusal};
use mcp_proto_sim::{Batches, Cuts, Event, Manner, Request, Scene, Wakes, World};

use super::*;

#[test]
fn a_server_that_answers_both_questions_is_served_as_what_each_client_speaks() {
    let (mut scene, host, second) = modern(finding_out(|_| {}));
    assert_eq!(method(&scene.hears_one(second)), "initialize");
    let (old, _) = scene.initialize("2025-11-25");
    assert!(scene.is_waiting(old), "it is not known yet");
    scene.says(second, &result("0", INITIALIZED));
    assert_eq!(
        method(&scene.hears_one(second)),
        "notifications/initialized"
    );
    assert_eq!(scene.audit(), [AuditEvent::Probed { passed: true }]);

    // The session has a child of its own; the modern client has the host still.
    let own = scene.new_child();
    let minted = scene.minted(own);
    scene.says(own, &result(&minted, INITIALIZED));
    assert_eq!(scene.response(old).status(), 200);
    let (asked, minted) = begin(&mut scene, host, &prompt("7"));
    scene.answers(host, &minted, "x");
    scene.assert_answered(asked, 7.into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_server_that_answers_discover_only_gives_its_sessions_the_shared_child() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (old, _) = scene.initialize("2025-11-25");
    assert_eq!(scene.new_children(), []);
    assert_eq!(scene.response(old).status(), 200);
    assert!(scene.response(old).field("mcp-session-id").is_some());
    assert_eq!(scene.hears(host), [""; 0]);
    scene.assert_nothing_is_left();
}

#[test]
fn an_error_that_no_revision_without_handshake_has_leads_to_initialize_on_the_same_child() {
    for code in [-32601, -32602, -32600, -32000, 0] {
        let mut scene = Scene::of(finding_out(|_| {}));
        let asked = scene.ask(&discover());
        let probe = scene.new_child();
        assert_eq!(method(&scene.hears_one(probe)), "server/discover");
        scene.says(probe, &error("1", code));
        assert_eq!(method(&scene.hears_one(probe)), "initialize");
        assert!(scene.is_waiting(asked));
        scene.says(probe, &result("0", INITIALIZED));
        let body = scene.response(asked).json();
        assert_eq!(body["result"]["supportedVersions"][0], "2026-07-28");
        assert_eq!(body["result"]["capabilities"]["tools"]["listChanged"], true);
        assert_eq!(scene.new_children(), []);
        assert!(!scene.world.child(probe).lives());
        scene.assert_nothing_is_left();
    }
}

#[test]
fn an_error_of_a_revision_without_handshake_rules_out_that_the_child_is_asked_further() {
    for code in [-32020, -32021, -32022] {
        let mut scene = Scene::of(finding_out(|_| {}));
        let asked = scene.ask(&discover());
        let probe = scene.new_child();
        scene.hears_one(probe);
        scene.says(probe, &error("1", code));
        assert_eq!(scene.hears(probe), [""; 0]);
        // A fresh one is asked the other question, and settles it.
        let second = scene.new_child();
        assert_eq!(method(&scene.hears_one(second)), "initialize");
        scene.says(second, &error("0", -32601));
        scene.assert_refused_modern(asked, Refusal::ChildUnavailable);
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_silent_server_is_asked_to_initialize_as_well_and_either_answer_counts() {
    for answers_discover in [false, true] {
        let mut scene = Scene::of(limited(|limits| {
            limits.discover_time = Duration::from_secs(2);
        }));
        let asked = scene.ask(&prompt("1"));
        let probe = scene.new_child();
        assert_eq!(method(&scene.hears_one(probe)), "server/discover");
        scene.wait_secs(2);
        assert_eq!(method(&scene.hears_one(probe)), "initialize");
        assert!(scene.is_waiting(asked));
        if answers_discover {
            scene.says(probe, &result("1", DISCOVERED));
            let children = scene.new_children();
            let (second, host) = (children[0], children[1]);
            assert_eq!(method(&scene.hears_one(second)), "initialize");
            assert_eq!(method(&scene.hears_one(host)), "prompts/get");
        } else {
            scene.says(probe, &result("0", INITIALIZED));
            let host = scene.new_child();
            let minted = first_call(&mut scene, host);
            scene.answers(host, &minted, "x");
            assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
        }
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_server_that_ends_at_the_question_is_asked_the_other_one_anew() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let asked = scene.ask(&discover());
    let probe = scene.new_child();
    scene.exits(probe);
    let second = scene.new_child();
    assert_eq!(method(&scene.hears_one(second)), "initialize");
    scene.says(second, &result("0", INITIALIZED));
    assert_eq!(scene.response(asked).status(), 200);
    assert_eq!(scene.audit(), [AuditEvent::Probed { passed: true }]);
    scene.assert_nothing_is_left();
}

#[test]
fn whoever_waits_is_refused_when_nothing_is_found_out_and_the_next_to_come_has_it_tried_again() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let modern = scene.ask(&prompt("\"a\""));
    let (legacy, _) = scene.initialize("2025-06-18");
    let probe = scene.new_child();
    scene.exits(probe);
    let second = scene.new_child();
    scene.exits(second);
    scene.assert_refused_modern(modern, Refusal::ChildUnavailable);
    assert_eq!(scene.response(modern).json()["id"], "a");
    scene.assert_refused(legacy, Refusal::ChildUnavailable);

    // At once it would only fail again.
    let early = scene.ask(&prompt("2"));
    scene.assert_refused_modern(early, Refusal::ChildUnavailable);
    assert_eq!(scene.new_children(), []);
    scene.wait_secs(1);
    let late = scene.ask(&discover());
    let probe = scene.new_child();
    assert_eq!(method(&scene.hears_one(probe)), "server/discover");
    scene.says(probe, &error("1", -32601));
    scene.says(probe, &result("0", INITIALIZED));
    assert_eq!(scene.response(late).status(), 200);
    scene.assert_nothing_is_left();
}

#[test]
fn of_a_server_that_answers_nothing_a_session_shows_what_is_wrong() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let (first, _) = scene.initialize("2025-06-18");
    for _ in 0..2 {
        let probe = scene.new_child();
        scene.exits(probe);
    }
    let child = scene.new_child();
    assert_eq!(method(&scene.hears_one(child)), "initialize");
    scene.exits(child);
    scene.assert_refused(first, Refusal::ChildExited);
    // The next has a child at once, and it works.
    scene.wait_secs(1);
    let (second, _) = scene.initialize("2025-06-18");
    let child = scene.new_child();
    let minted = scene.minted(child);
    scene.says(child, &result(&minted, INITIALIZED));
    assert_eq!(scene.response(second).status(), 200);
    scene.assert_nothing_is_left();
}

#[test]
fn sessions_of_a_modern_server_whose_second_probe_does_not_start_have_the_shared_child() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let modern = scene.ask(&discover());
    let probe = scene.new_child();
    scene.spawning_waits();
    scene.says(probe, &result("1", DISCOVERED));
    let (legacy, _) = scene.initialize("2025-06-18");
    let children = scene.new_children();
    let (second, host) = (children[0], children[1]);
    scene.fails_to_start(second);
    scene.spawning_works();
    assert_eq!(scene.response(legacy).status(), 200);
    assert_eq!(answer(&scene, legacy)["result"]["serverInfo"]["name"], "s");
    assert_eq!(scene.new_children(), []);
    let minted = scene.minted(host);
    scene.says(host, &result(&minted, DISCOVERED));
    assert_eq!(scene.response(modern).status(), 200);
    scene.assert_nothing_is_left();
}

#[test]
fn a_probe_that_nobody_waits_for_is_repeated_after_a_pause() {
    let mut scene = Scene::of(finding_out(|policy| policy.startup_probe = true));
    let probe = scene.new_child();
    scene.exits(probe);
    let second = scene.new_child();
    scene.exits(second);
    assert!(scene.world.gateway().standing().degraded);
    scene.wait_secs(15);
    let third = scene.new_child();
    assert_eq!(method(&scene.hears_one(third)), "server/discover");
    scene.says(third, &result("1", DISCOVERED));
    let fourth = scene.new_child();
    scene.says(fourth, &result("0", INITIALIZED));
    assert!(!scene.world.gateway().standing().degraded);
    scene.assert_nothing_is_left();
}

#[test]
fn a_drain_refuses_whoever_waits_and_ends_the_probe() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let modern = scene.ask(&prompt("1"));
    let (legacy, _) = scene.initialize("2025-06-18");
    let probe = scene.new_child();
    scene.world.drain();
    scene.settle();
    scene.assert_refused_modern(modern, Refusal::Draining);
    scene.assert_refused(legacy, Refusal::Draining);
    assert!(!scene.world.child(probe).lives());
    let late = scene.ask(&prompt("2"));
    scene.assert_refused_modern(late, Refusal::Draining);
    scene.assert_nothing_is_left();
}

#[test]
fn what_a_probe_finds_out_during_a_drain_starts_nothing() {
    for order in 0..8 {
        for answer in [
            Some(result("1", DISCOVERED)),
            Some(error("1", -32022)),
            None,
        ] {
            let manner = Manner {
                order,
                cuts: Cuts::Whole,
                batches: Batches::Single,
                wakes: Wakes::Due,
            };
            let startup = finding_out(|policy| policy.startup_probe = true);
            let mut world = World::new(startup, manner);
            let probe = loop {
                match world.next_event() {
                    Some(Event::Spawn(probe)) => break probe,
                    event => assert!(event.is_some(), "a probe is started"),
                }
            };
            world.spawned(probe, true);
            world.settle();
            match &answer {
                Some(answer) => world.child_writes(probe, format!("{answer}\n").as_bytes()),
                None => world.child_exits(probe),
            }
            world.drain();
            world.settle();
            assert_eq!(world.children().count(), 1, "{order}");
            assert_eq!(world.upstreams(), 0);
            assert!(world.gateway().is_idle());
            assert_eq!(world.next_deadline(), None);
        }
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let asked = scene.ask(&prompt("1"));
    let probe = scene.new_child();
    scene.leave(asked);
    scene.says(probe, &error("1", -32601));
    scene.says(probe, &result("0", INITIALIZED));
    assert_eq!(scene.new_children(), []);
    assert_eq!(scene.world.upstreams(), 0);
    scene.assert_nothing_is_left();
}

#[test]
fn a_modern_notification_is_taken_and_goes_nowhere() {
    let mut scene = Scene::of(finding_out(|_| {}));
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let request = Request::modern(body).field("mcp-protocol-version", "2026-07-28");
    let asked = scene.send(request);
    assert_eq!(scene.response(asked).status(), 202);
    assert_eq!(scene.new_children(), []);
}
