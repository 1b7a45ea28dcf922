//! Modern clients of a legacy server: whose child serves whom, and when.

use std::time::Duration;

use mcp_proto::{AuditEvent, Refusal, Share};

use super::*;

/// The server elicits something.
const ELICIT: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"mode":"form","message":"?","requestedSchema":{"type":"object","properties":{}}}}"#;

/// Makes the first call of these capabilities; gives it, its child, and the id that it is known by.
#[track_caller]
fn first(scene: &mut Scene, ask: &Ask) -> (Asked, UpstreamId, String) {
    let asked = scene.ask(ask);
    let child = scene.new_child();
    assert_eq!(method(&scene.hears_one(child)), "initialize");
    scene.says(child, &result("0", INITIALIZED));
    let lines = scene.hears(child);
    assert_eq!(lines.len(), 2);
    let minted = json(&lines[1])["id"].to_string();
    (asked, child, minted)
}

#[test]
fn what_the_server_is_is_told_without_a_child() {
    let mut scene = legacy(finding_out(|_| {}));
    for id in ["1", "\"x\""] {
        let asked = scene.ask(&discover().id(id));
        let body = scene.response(asked).json();
        assert_eq!(body["id"], json(id));
        let result = &body["result"];
        assert_eq!(result["supportedVersions"], json(r#"["2026-07-28"]"#));
        assert_eq!(
            (&result["ttlMs"], &result["cacheScope"]),
            (&0.into(), &"private".into())
        );
        assert_eq!(
            result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
            "s"
        );
    }
    assert_eq!(scene.new_children(), []);
    scene.assert_nothing_is_left();
}

#[test]
fn a_result_is_completed_and_nothing_else_of_it_is_changed() {
    let mut scene = legacy(finding_out(|_| {}));
    let list = Ask::new("\"i\"", "prompts/list", "");
    let (asked, child, minted) = first(&mut scene, &list);
    scene.says(
        child,
        &result(
            &minted,
            r#"{"prompts":[ ], "x":1.50,"nextCursor":"\u0061"}"#,
        ),
    );
    assert_eq!(
        scene.response(asked).text(),
        result(
            "\"i\"",
            r#"{"prompts":[ ], "x":1.50,"nextCursor":"\u0061","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"0"}}}"#
        )
    );
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_is_for_those_whose_capabilities_it_was_told() {
    let mut scene = legacy(finding_out(|_| {}));
    let (_, plain, plain_minted) = first(&mut scene, &prompt("1"));
    scene.answers(plain, &plain_minted, "x");
    let asking = prompt("1").capabilities(r#"{"elicitation":{"form":{}},"sampling":{}}"#);
    let (_, asking_child, minted) = first(&mut scene, &asking);
    scene.answers(asking_child, &minted, "x");
    // The same in other words.
    let same = prompt("1").capabilities(r#"{ "sampling":{ }, "elicitation":{"form":{}}}"#);
    let (asked, minted) = begin(&mut scene, asking_child, &same);
    scene.answers(asking_child, &minted, "y");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "y");
    assert_eq!(scene.new_children(), []);
    scene.assert_nothing_is_left();
}

#[test]
fn calls_that_may_not_ask_share_a_child_at_the_same_time() {
    let mut scene = legacy(finding_out(|_| {}));
    let (one, child, one_minted) = first(&mut scene, &prompt("1"));
    let (other, other_minted) = begin(&mut scene, child, &prompt("1"));
    scene.answers(child, &other_minted, "b");
    scene.answers(child, &one_minted, "a");
    assert_eq!(answer(&scene, one)["result"]["marker"], "a");
    assert_eq!(answer(&scene, other)["result"]["marker"], "b");
    scene.assert_nothing_is_left();
}

#[test]
fn calls_that_may_ask_have_a_child_each_until_there_are_enough_and_then_wait_for_their_turn() {
    let mut scene = legacy(limited(|limits| limits.hosts = 2));
    let ask = prompt("1").capabilities(ELICITS);
    let (one, first_child, one_minted) = first(&mut scene, &ask);
    let (two, second_child, two_minted) = first(&mut scene, &ask);
    let three = scene.ask(&ask);
    let four = scene.ask(&ask);
    assert_eq!(scene.new_children(), []);
    // What may not ask does not wait for them.
    let list = Ask::new("9", "prompts/list", "").capabilities(ELICITS);
    let (listed, minted) = begin(&mut scene, first_child, &list);
    scene.answers(first_child, &minted, "list");
    assert_eq!(answer(&scene, listed)["result"]["marker"], "list");
    assert!(scene.is_waiting(three) && scene.is_waiting(four));

    scene.answers(second_child, &two_minted, "two");
    let three_minted = scene.minted(second_child);
    assert_eq!(scene.hears(first_child), [""; 0]);
    scene.answers(first_child, &one_minted, "one");
    let four_minted = scene.minted(first_child);
    scene.answers(first_child, &four_minted, "four");
    scene.answers(second_child, &three_minted, "three");
    for (asked, marker) in [(one, "one"), (two, "two"), (three, "three"), (four, "four")] {
        assert_eq!(answer(&scene, asked)["result"]["marker"], marker);
    }
    scene.assert_nothing_is_left();
}

#[test]
fn a_call_that_waits_for_its_turn_for_too_long_is_refused_and_one_whose_client_leaves_is_forgotten()
{
    let mut scene = legacy(limited(|limits| {
        limits.hosts = 1;
        limits.request_time = Duration::from_secs(30);
        limits.request_time_max = Duration::from_secs(300);
        limits.calls_per_child = 2;
    }));
    let ask = prompt("1").capabilities(ELICITS);
    let (lasting, child, minted) = first(&mut scene, &ask.clone().meta(r#""progressToken":1"#));
    let leaves = scene.ask(&ask);
    let late = scene.ask(&ask);
    let beyond = scene.ask(&ask);
    scene.assert_refused_modern(beyond, Refusal::TooManyCalls);
    scene.leave(leaves);
    scene.wait_secs(20);
    scene.says(
        child,
        &format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{minted},"progress":1}}}}"#
        ),
    );
    scene.wait_secs(10);
    scene.assert_refused_modern(late, Refusal::TooManyCalls);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, lasting)["result"]["marker"], "x");
    assert_eq!(scene.hears(child), [""; 0]);
    scene.assert_nothing_is_left();
}

#[test]
fn a_pool_that_is_full_makes_room_of_what_is_idle() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let (_, idle, minted) = first(&mut scene, &prompt("1"));
    scene.answers(idle, &minted, "x");
    let other = scene.ask(&prompt("1").capabilities(ELICITS));
    assert!(!scene.world.child(idle).lives());
    let child = scene.new_child();
    let minted = first_call(&mut scene, child);
    scene.answers(child, &minted, "y");
    assert_eq!(answer(&scene, other)["result"]["marker"], "y");
    scene.assert_nothing_is_left();
}

#[test]
fn children_of_modern_clients_take_no_room_from_sessions() {
    let mut scene = legacy(limited(|limits| limits.sessions = 1));
    first(&mut scene, &prompt("1"));
    first(&mut scene, &prompt("1").capabilities(ELICITS));
    scene.open("2025-06-18");
}

#[test]
fn children_that_are_slow_to_end_count_too() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let ask = prompt("1").capabilities(ELICITS);
    for _ in 0..2 {
        let (asked, child, _) = first(&mut scene, &ask);
        let slow = scene.world.child_mut(child);
        (slow.heeds_stdin, slow.heeds_term) = (false, false);
        // Cancelled, it may still ask for this call, and is not used again.
        scene.leave(asked);
    }
    let waits = scene.ask(&ask);
    assert_eq!(scene.new_children(), []);
    scene.wait_secs(5);
    let child = scene.new_child();
    let minted = first_call(&mut scene, child);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn no_more_calls_wait_for_a_shared_child_than_may() {
    let mut scene = legacy(finding_out(|policy| {
        policy.share = Share::Shared;
        policy.limits.calls_per_child = 1;
    }));
    let ask = prompt("1").capabilities(ELICITS);
    let (_, child, minted) = first(&mut scene, &ask);
    let waits = scene.ask(&ask);
    let refused = scene.ask(&ask);
    scene.assert_refused_modern(refused, Refusal::TooManyCalls);
    scene.answers(child, &minted, "x");
    assert!(scene.is_waiting(waits));
    let minted = scene.minted(child);
    scene.answers(child, &minted, "y");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "y");
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_nobody_uses_ends_after_its_time() {
    let mut scene = legacy(limited(|limits| {
        limits.idle_host_time = Duration::from_secs(60);
    }));
    let (_, child, minted) = first(&mut scene, &prompt("1"));
    scene.wait_secs(50);
    scene.answers(child, &minted, "x");
    scene.wait_secs(59);
    assert!(scene.world.child(child).lives());
    scene.wait_secs(2);
    assert!(!scene.world.child(child).lives());
    assert_eq!(scene.world.upstreams(), 0);
    assert_eq!(scene.world.next_deadline(), None);
}

#[test]
fn a_child_that_may_still_ask_for_a_call_that_was_cancelled_gets_no_further_one() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let ask = prompt("1").capabilities(ELICITS);
    let (asked, child, minted) = first(&mut scene, &ask);
    let waits = scene.ask(&ask);
    scene.leave(asked);
    let line = json(&scene.hears_one(child));
    assert_eq!(line["method"], "notifications/cancelled");
    assert_eq!(line["params"]["requestId"], json(&minted));
    assert!(!scene.world.child(child).lives(), "nothing else is at it");
    let fresh = scene.new_child();
    let minted = first_call(&mut scene, fresh);
    scene.answers(fresh, &minted, "x");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_spent_child_finishes_what_others_have_it_do() {
    let mut scene = legacy(finding_out(|_| {}));
    let ask = prompt("1").capabilities(ELICITS);
    let (asked, child, _) = first(&mut scene, &ask);
    let list = Ask::new("2", "prompts/list", "").capabilities(ELICITS);
    let (listed, minted) = begin(&mut scene, child, &list);
    scene.leave(asked);
    scene.hears_one(child);
    assert!(scene.world.child(child).lives());
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, listed)["result"]["marker"], "x");
    assert!(!scene.world.child(child).lives());
    scene.assert_nothing_is_left();
}

#[test]
fn a_child_that_asks_for_what_the_client_cannot_do_is_refused_and_so_is_the_call() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, minted) = first(&mut scene, &prompt("1"));
    scene.says(child, ELICIT);
    let line = json(&scene.hears_one(child));
    assert_eq!(
        (&line["id"], &line["error"]["code"]),
        (&"q".into(), &(-32601).into())
    );
    assert!(scene.is_waiting(asked));
    scene.says(child, &error(&minted, -32603));
    assert_error(&scene, asked, 400, -32021, &1.into());
    let data = &scene.response(asked).json()["error"]["data"];
    assert!(
        data["requiredCapabilities"]["elicitation"].is_object(),
        "{data}"
    );
    scene.assert_nothing_is_left();
}

#[test]
fn what_a_child_asks_while_nothing_may_ask_is_refused_to_it() {
    let mut scene = legacy(finding_out(|_| {}));
    let list = Ask::new("2", "prompts/list", "").capabilities(ELICITS);
    let (asked, child, minted) = first(&mut scene, &list);
    scene.says(child, ELICIT);
    let line = json(&scene.hears_one(child));
    assert_eq!(
        (&line["id"], &line["error"]["code"]),
        (&"q".into(), &(-32603).into())
    );
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn log_messages_go_to_the_call_that_asked_for_them() {
    let mut scene = legacy(finding_out(|_| {}));
    let log =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#;
    let ask = prompt("1").meta(r#""io.modelcontextprotocol/logLevel":"warning""#);
    let asked = scene.ask(&ask);
    let child = scene.new_child();
    scene.hears_one(child);
    scene.says(child, &result("0", INITIALIZED));
    let lines = scene.hears(child);
    assert_eq!(json(&lines[1])["method"], "logging/setLevel");
    assert_eq!(json(&lines[1])["params"]["level"], "warning");
    let minted = json(&lines[2])["id"].to_string();
    // One that does not is served by another child.
    let (silent, other, other_minted) = first(&mut scene, &prompt("1"));
    scene.says(other, log);
    scene.says(child, log);
    assert!(scene.is_waiting(silent));
    scene.answers(child, &minted, "x");
    scene.answers(other, &other_minted, "y");
    let messages = scene.messages(asked);
    assert_eq!(messages[0], json(log));
    assert_eq!(messages[1]["result"]["marker"], "x");
    assert!(!scene.response(silent).is_stream());
    scene.assert_nothing_is_left();
}

#[test]
fn what_legacy_servers_do_not_have_is_no_method() {
    let mut scene = legacy(finding_out(|_| {}));
    for ask in [
        Ask::new("1", "tasks/get", r#""taskId":"t""#),
        Ask::new("1", "x/unknown", ""),
    ] {
        let asked = scene.ask(&ask);
        assert_error(&scene, asked, 404, -32601, &1.into());
    }
    assert_eq!(scene.new_children(), []);
}

#[test]
fn a_child_that_refuses_to_initialize_refuses_those_who_wait_for_it() {
    let mut scene = legacy(finding_out(|_| {}));
    let asked = scene.ask(&prompt("1"));
    let child = scene.new_child();
    scene.hears_one(child);
    scene.says(child, &error("0", -32602));
    let body = scene.response(asked).json();
    assert_eq!(
        (&body["id"], &body["error"]["code"]),
        (&1.into(), &(-32603).into())
    );
    assert!(!scene.world.child(child).lives());
    let early = scene.ask(&prompt("2"));
    scene.assert_refused_modern(early, Refusal::ChildUnavailable);
    scene.wait_secs(1);
    let (late, child, minted) = first(&mut scene, &prompt("3"));
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, late)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn the_childs_end_reaches_those_who_wait_and_frees_the_pool() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let ask = prompt("1").capabilities(ELICITS);
    let (asked, child, _) = first(&mut scene, &ask);
    let waits = scene.ask(&ask);
    scene.exits(child);
    let code = Refusal::ChildExited.code_for(mcp_proto::Era::Modern);
    assert_error(&scene, asked, 200, code, &1.into());
    let fresh = scene.new_child();
    let minted = first_call(&mut scene, fresh);
    scene.answers(fresh, &minted, "x");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "x");
    assert!(!scene.audit().contains(&AuditEvent::ReaderDropped));
    scene.assert_nothing_is_left();
}

#[test]
fn a_drain_refuses_those_who_wait_for_their_turn() {
    let mut scene = legacy(limited(|limits| limits.hosts = 1));
    let ask = prompt("1").capabilities(ELICITS);
    let (asked, child, minted) = first(&mut scene, &ask);
    let waits = scene.ask(&ask);
    scene.world.drain();
    scene.settle();
    scene.assert_refused_modern(waits, Refusal::Draining);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, asked)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}
