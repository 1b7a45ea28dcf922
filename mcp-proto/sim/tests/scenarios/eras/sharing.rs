//! Who shares a child with whom, as the operator decided.

use std::num::NonZeroUsize;

use mcp_proto::{Refusal, Share};
use mcp_proto_sim::{Request, Session};

use super::*;

/// A scene of these two before anything is known of a server of this era, and which it is.
fn of_two(share: Share, is_modern: bool) -> Scene {
    let mut scene = Scene::of(finding_out(|policy| {
        for_two(policy);
        policy.share = share;
        policy.startup_probe = true;
    }));
    let probe = scene.new_child();
    if is_modern {
        scene.says(probe, &result("1", DISCOVERED));
        let second = scene.new_child();
        scene.says(second, &error("0", -32601));
    } else {
        scene.says(probe, &error("1", -32601));
        scene.says(probe, &result("0", INITIALIZED));
    }
    scene
}

/// Who bears what has a prompt got, which is not answered; gives the child that gets it.
#[track_caller]
fn served(scene: &mut Scene, token: &str, children: &mut Vec<UpstreamId>) -> usize {
    scene.presents(token);
    scene.ask(&prompt("1"));
    let new = scene.new_children();
    for &child in &new {
        let line = scene.hears(child);
        if method(&line[0]) == "initialize" {
            scene.says(child, &result("0", INITIALIZED));
            let lines = scene.hears(child);
            assert_eq!(method(&lines[1]), "prompts/get");
        }
    }
    children.extend(&new);
    if !new.is_empty() {
        assert_eq!(new.len(), 1);
        return children.len() - 1;
    }
    let heard = children.iter().map(|&child| scene.hears(child).len());
    let heard: Vec<_> = heard.collect();
    assert_eq!(heard.iter().sum::<usize>(), 1, "{heard:?}");
    heard.iter().position(|&lines| lines == 1).unwrap()
}

#[test]
fn modern_requests_go_to_the_children_that_the_operator_allows() {
    let pool = Share::Pool(NonZeroUsize::new(2).unwrap());
    for (share, is_modern, expected) in [
        (Share::Auto, true, [0, 0, 0, 0]),
        (Share::Auto, false, [0, 1, 0, 1]),
        (Share::PerSession, true, [0, 1, 0, 1]),
        (Share::PerSession, false, [0, 1, 0, 1]),
        (Share::PerPrincipal, true, [0, 1, 0, 1]),
        (Share::PerPrincipal, false, [0, 1, 0, 1]),
        (Share::Shared, true, [0, 0, 0, 0]),
        (Share::Shared, false, [0, 0, 0, 0]),
        (pool, true, [0, 1, 0, 1]),
        (pool, false, [0, 1, 0, 1]),
    ] {
        let mut scene = of_two(share, is_modern);
        let mut children = Vec::new();
        let mut all = Vec::new();
        for token in [ANN, BOB, ANN, BOB] {
            // Of a pool, the one that has rested longest takes its turn.
            scene.wait_secs(1);
            all.push(served(&mut scene, token, &mut children));
        }
        assert_eq!(all, expected, "{share:?}, modern: {is_modern}");
        scene.assert_nothing_is_left();
    }
}

#[test]
fn of_a_pool_the_same_principal_is_served_in_turn() {
    let mut scene = of_two(Share::Pool(NonZeroUsize::new(3).unwrap()), true);
    let mut children = Vec::new();
    let mut all = Vec::new();
    for _ in 0..6 {
        scene.wait_secs(1);
        all.push(served(&mut scene, ANN, &mut children));
    }
    assert_eq!(all, [0, 1, 2, 0, 1, 2]);
    scene.assert_nothing_is_left();
}

#[test]
fn of_a_pool_the_child_that_began_a_task_is_asked_about_it() {
    let mut scene = of_two(Share::Pool(NonZeroUsize::new(2).unwrap()), true);
    scene.presents(ANN);
    let asked = scene.ask(&Ask::new("1", "tools/call", r#""name":"t""#));
    let first = scene.new_child();
    let lines = scene.hears(first);
    let listed = json(&lines[1])["id"].to_string();
    scene.says(first, &result(&listed, r#"{"tools":[]}"#));
    let called = scene.minted(first);
    let task = r#"{"resultType":"task","taskId":"a\u0062","status":"working"}"#;
    scene.says(first, &result(&called, task));
    assert_eq!(answer(&scene, asked)["result"]["taskId"], "ab");
    // The other child's turn, and then whose it is.
    for id in ["2", "3", "4"] {
        scene.wait_secs(1);
        scene.ask(&prompt(id));
        scene.wait_secs(1);
        let asked = scene.ask(&Ask::new("5", "tasks/get", r#""taskId":"ab""#));
        let heard = scene.hears(first);
        let line = heard.iter().find(|line| method(line) == "tasks/get");
        let minted = json(line.expect("the child that has it"))["id"].to_string();
        scene.answers(first, &minted, id);
        assert_eq!(answer(&scene, asked)["result"]["marker"], id);
    }
    scene.assert_nothing_is_left();
}

#[test]
fn one_shared_legacy_child_takes_calls_that_may_ask_one_at_a_time_whoever_makes_them() {
    let mut scene = of_two(Share::Shared, false);
    let ask = prompt("1").capabilities(ELICITS);
    scene.presents(ANN);
    let one = scene.ask(&ask);
    let child = scene.new_child();
    let one_minted = first_call(&mut scene, child);
    scene.presents(BOB);
    let two = scene.ask(&ask);
    assert_eq!(scene.new_children(), []);
    assert_eq!(scene.hears(child), [""; 0]);
    scene.answers(child, &one_minted, "for ann");
    let two_minted = scene.minted(child);
    scene.answers(child, &two_minted, "for bob");
    assert_eq!(answer(&scene, one)["result"]["marker"], "for ann");
    assert_eq!(answer(&scene, two)["result"]["marker"], "for bob");
    scene.assert_nothing_is_left();
}

#[test]
fn sessions_of_a_modern_server_have_their_child_from_whom_the_operator_allows() {
    for (share, most) in [
        (Share::Auto, 1),
        (Share::Shared, 1),
        (Share::PerPrincipal, 2),
        (Share::PerSession, 4),
        (Share::Pool(NonZeroUsize::new(3).unwrap()), 3),
    ] {
        let mut scene = of_two(share, true);
        for token in [ANN, BOB, ANN, BOB] {
            scene.presents(token);
            let (asked, _) = scene.initialize("2025-11-25");
            assert_eq!(scene.response(asked).status(), 200);
        }
        assert_eq!(scene.new_children().len(), most, "{share:?}");
        scene.assert_nothing_is_left();
    }
}

/// Opens a session of whoever bears a token; its client can be asked for what `capabilities` say.
#[track_caller]
fn open(scene: &mut Scene, token: &str, capabilities: &str) -> Session {
    scene.presents(token);
    let asked = scene.send(Request::post(format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"clientInfo":{{"name":"old","version":"1"}}}}}}"#
    )));
    assert_eq!(answer(scene, asked)["result"]["serverInfo"]["name"], "s");
    let opened = scene.world.opened().iter().rev();
    let mut opened = opened.filter(|(_, by)| *by == Some(asked));
    let &(upstream, _) = opened.next().expect("a session");
    let id = scene.response(asked).field("mcp-session-id").unwrap();
    Session { id, upstream }
}

#[test]
fn sessions_share_the_children_of_a_server_with_a_handshake_as_the_operator_says() {
    let pool = Share::Pool(NonZeroUsize::new(2).unwrap());
    for (share, children) in [(Share::Shared, 1), (Share::PerPrincipal, 2), (pool, 2)] {
        let mut scene = of_two(share, false);
        for token in [ANN, BOB, ANN, BOB] {
            scene.wait_secs(1);
            open(&mut scene, token, "{}");
        }
        let shared = scene.new_children();
        assert_eq!(shared.len(), children, "{share:?}");
        // A child is for those whose capabilities it was told.
        open(&mut scene, ANN, ELICITS);
        let further = scene.new_child();
        for child in shared.into_iter().chain([further]) {
            shakes_hands(&mut scene, child);
        }
        scene.assert_nothing_is_left();
    }
}

#[test]
fn sessions_that_share_a_child_with_a_handshake_get_each_what_is_theirs() {
    let mut scene = of_two(Share::Shared, false);
    let ann = open(&mut scene, ANN, "{}");
    let bob = open(&mut scene, BOB, "{}");
    let child = scene.new_child();
    shakes_hands(&mut scene, child);
    // A session wants log messages, where the server has them; so these take turns.
    scene.presents(ANN);
    let of_ann = scene.call(&ann, "1");
    let lines = scene.hears(child);
    assert_eq!(method(&lines[0]), "logging/setLevel");
    let to_ann = json(&lines[1])["id"].to_string();
    scene.presents(BOB);
    let of_bob = scene.call(&bob, "1");
    assert_eq!(scene.hears(child), [""; 0]);
    scene.answers(child, &to_ann, "ann's");
    scene.assert_answered(of_ann, 1.into(), "ann's");
    let to_bob = scene.minted(child);
    scene.answers(child, &to_bob, "bob's");
    scene.assert_answered(of_bob, 1.into(), "bob's");

    // The end of a session is not that of the child; the child's end is that of all sessions.
    scene.presents(ANN);
    scene.delete(&ann);
    assert!(scene.world.child(child).lives());
    scene.presents(BOB);
    let lost = scene.call(&bob, "2");
    scene.exits(child);
    let code = Refusal::ChildExited.code();
    assert_error(&scene, lost, 200, code, &2.into());
    let late = scene.call(&bob, "3");
    assert_eq!(scene.response(late).status(), 404);
    scene.assert_nothing_is_left();
}
