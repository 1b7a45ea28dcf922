//! What a legacy child asks of a modern client: in rounds, each of which is a request of its own.

use std::time::Duration;

use mcp_proto::{Refusal, SealKey};

use super::*;

pub(super) fn elicit(id: &str, message: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"mode":"form","message":"{message}","requestedSchema":{{"type":"object","properties":{{}}}}}}}}"#
    )
}

pub(super) fn asking() -> Ask {
    prompt("1").capabilities(ELICITS)
}

/// The call again, with the state of a round and an answer to each of these.
pub(super) fn retry(state: &str, answers: &[(&str, &str)]) -> Ask {
    let answers: Vec<_> = answers
        .iter()
        .map(|(key, text)| {
            format!(r#""{key}":{{"action":"accept","content":{{"said":"{text}"}}}}"#)
        })
        .collect();
    asking().param(&format!(
        r#""requestState":"{state}","inputResponses":{{{}}}"#,
        answers.join(",")
    ))
}

/// Makes a call at a child of its own.
#[track_caller]
pub(super) fn first(scene: &mut Scene) -> (Asked, UpstreamId, String) {
    let asked = scene.ask(&asking());
    let child = scene.new_child();
    assert_eq!(method(&scene.hears_one(child)), "initialize");
    scene.says(child, &result("0", INITIALIZED));
    let lines = scene.hears(child);
    assert_eq!(lines.len(), 2);
    (asked, child, json(&lines[1])["id"].to_string())
}

/// The round that a call has ended with: what is asked, by its key, and the state.
#[track_caller]
pub(super) fn round(scene: &mut Scene, asked: Asked) -> (Vec<(String, String)>, String) {
    // What is asked at about the same time is gathered.
    scene.wait(Duration::from_millis(20));
    let body = answer(scene, asked);
    assert_eq!(body["result"]["resultType"], "input_required", "{body}");
    let requests = body["result"]["inputRequests"].as_object().unwrap();
    let requests = requests.iter().map(|(key, request)| {
        assert_eq!(request["method"], "elicitation/create");
        let message = request["params"]["message"].as_str().unwrap();
        (key.clone(), message.to_owned())
    });
    let state = body["result"]["requestState"].as_str().unwrap();
    (requests.collect(), state.to_owned())
}

#[test]
fn the_answers_reach_the_child_and_its_answer_the_last_request() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, minted) = first(&mut scene);
    scene.says(child, &elicit("\"q\"", "one"));
    scene.says(child, &elicit("7", "two"));
    let (requests, state) = round(&mut scene, asked);
    assert_eq!(requests.len(), 2);
    assert_eq!((&*requests[0].1, &*requests[1].1), ("one", "two"));
    let answers = [(&*requests[0].0, "a"), (&*requests[1].0, "b")];
    let again = scene.ask(&retry(&state, &answers).id("\"again\""));
    let lines = scene.hears(child);
    let said = |line: &str| {
        let line = json(line);
        (
            line["id"].clone(),
            line["result"]["content"]["said"].clone(),
        )
    };
    assert_eq!(said(&lines[0]), ("q".into(), "a".into()));
    assert_eq!(said(&lines[1]), (7.into(), "b".into()));

    // And once more.
    scene.says(child, &elicit("\"q\"", "three"));
    let (requests, state) = round(&mut scene, again);
    assert_eq!(requests.len(), 1);
    let last = scene.ask(&retry(&state, &[(&requests[0].0, "c")]).id("5"));
    let line = scene.hears_one(child);
    assert_eq!(said(&line), ("q".into(), "c".into()));
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, last)["id"], 5);
    assert_eq!(answer(&scene, last)["result"]["marker"], "x");
    assert_eq!(scene.new_children(), []);

    // The child is free again.
    let (next, minted) = begin(&mut scene, child, &asking());
    scene.answers(child, &minted, "y");
    assert_eq!(answer(&scene, next)["result"]["marker"], "y");
    scene.assert_nothing_is_left();
}

#[test]
fn what_is_not_answered_is_asked_again() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, minted) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    scene.says(child, &elicit("2", "two"));
    let (requests, state) = round(&mut scene, asked);
    let again = scene.ask(&retry(&state, &[(&requests[1].0, "b")]));
    assert_eq!(json(&scene.hears_one(child))["id"], 2);
    let (requests, state) = round(&mut scene, again);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].1, "one");
    let last = scene.ask(&retry(&state, &[(&requests[0].0, "a")]));
    assert_eq!(json(&scene.hears_one(child))["id"], 1);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, last)["result"]["marker"], "x");
    scene.assert_nothing_is_left();
}

#[test]
fn a_round_that_nobody_comes_back_to_blocks_nobody_and_its_child_is_replaced() {
    let mut scene = legacy(limited(|limits| limits.hosts = 2));
    let (abandoned, child, minted) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    let (_, state) = round(&mut scene, abandoned);
    // Others have a child of their own meanwhile.
    let (other, other_child, other_minted) = first(&mut scene);
    let waits = scene.ask(&asking());
    scene.wait_secs(4);
    assert_eq!(scene.hears(child), [""; 0]);
    assert!(scene.is_waiting(waits));
    scene.wait_secs(2);
    let lines = scene.hears(child);
    let cancelled = lines.iter().map(|line| json(line)).find(|line| {
        line["method"] == "notifications/cancelled" && line["params"]["requestId"] == json(&minted)
    });
    assert!(cancelled.is_some(), "{lines:?}");
    assert!(!scene.world.child(child).lives());
    let fresh = scene.new_child();
    let fresh_minted = first_call(&mut scene, fresh);
    scene.answers(fresh, &fresh_minted, "z");
    assert_eq!(answer(&scene, waits)["result"]["marker"], "z");
    scene.answers(other_child, &other_minted, "y");
    assert_eq!(answer(&scene, other)["result"]["marker"], "y");

    // Whoever comes back too late begins anew.
    let late = scene.ask(&retry(&state, &[("request-1", "a")]));
    let line = [other_child, fresh]
        .into_iter()
        .flat_map(|child| scene.hears(child))
        .collect::<Vec<_>>();
    assert_eq!(line.len(), 1);
    assert_eq!(method(&line[0]), "prompts/get");
    assert!(scene.is_waiting(late));
    scene.assert_nothing_is_left();
}

#[test]
fn a_round_that_comes_to_another_gateway_with_the_same_key_is_asked_again() {
    let keyed = || finding_out(|policy| policy.seal_keys = vec![SealKey([1; 32])]);
    let mut scene = legacy(keyed());
    let (asked, child, _) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    let (requests, state) = round(&mut scene, asked);
    let mut replica = legacy_in(Scene::replica(keyed()));
    // Its first child has a call parked too, under the same number.
    let (_, parked, _) = first(&mut replica);
    replica.says(parked, &elicit("1", "another's"));
    replica.wait_secs(1);
    let again = replica.ask(&retry(&state, &[(&requests[0].0, "a")]));
    assert_eq!(replica.hears(parked), [""; 0], "it is not answered by this");
    let fresh = replica.new_child();
    replica.hears_one(fresh);
    replica.says(fresh, &result("0", INITIALIZED));
    let lines = replica.hears(fresh);
    assert_eq!(method(&lines[1]), "prompts/get");
    let params = &json(&lines[1])["params"];
    assert_eq!(params["requestState"], Value::Null);
    assert_eq!(params["inputResponses"], Value::Null);
    replica.says(fresh, &elicit("1", "one"));
    let (requests, _) = round(&mut replica, again);
    assert_eq!(requests[0].1, "one");
    replica.assert_nothing_is_left();
}

#[test]
fn an_earlier_round_that_comes_twice_is_taken_once() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, minted) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    let (requests, state) = round(&mut scene, asked);
    let ask = retry(&state, &[(&requests[0].0, "a")]);
    let again = scene.ask(&ask);
    assert_eq!(json(&scene.hears_one(child))["id"], 1);
    // The call goes on: it is not parked any more, and this would be another.
    let twice = scene.ask(&ask);
    assert_eq!(scene.new_children().len(), 0);
    assert_eq!(scene.hears(child), [""; 0]);
    scene.answers(child, &minted, "x");
    assert_eq!(answer(&scene, again)["result"]["marker"], "x");
    let minted = scene.minted(child);
    scene.answers(child, &minted, "y");
    assert_eq!(answer(&scene, twice)["result"]["marker"], "y");
    scene.assert_nothing_is_left();
}

#[test]
fn the_childs_end_forgets_its_rounds() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, _) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    let (requests, state) = round(&mut scene, asked);
    scene.exits(child);
    let again = scene.ask(&retry(&state, &[(&requests[0].0, "a")]));
    let fresh = scene.new_child();
    scene.hears_one(fresh);
    scene.says(fresh, &result("0", INITIALIZED));
    let lines = scene.hears(fresh);
    assert_eq!(method(&lines[1]), "prompts/get");
    assert!(scene.is_waiting(again));
    scene.assert_nothing_is_left();
}

#[test]
fn a_client_that_leaves_in_a_later_round_has_the_call_cancelled() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, minted) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    let (requests, state) = round(&mut scene, asked);
    let again = scene.ask(&retry(&state, &[(&requests[0].0, "a")]));
    scene.hears_one(child);
    scene.leave(again);
    let line = json(&scene.hears_one(child));
    assert_eq!(line["method"], "notifications/cancelled");
    assert_eq!(line["params"]["requestId"], json(&minted));
    assert!(!scene.world.child(child).lives());
    scene.assert_nothing_is_left();
}

#[test]
fn a_drain_does_not_wait_for_a_round() {
    let mut scene = legacy(finding_out(|_| {}));
    let (asked, child, _) = first(&mut scene);
    scene.says(child, &elicit("1", "one"));
    let (requests, state) = round(&mut scene, asked);
    scene.world.drain();
    scene.settle();
    assert!(!scene.world.child(child).lives());
    let late = scene.ask(&retry(&state, &[(&requests[0].0, "a")]));
    scene.assert_refused_modern(late, Refusal::Draining);
    scene.assert_nothing_is_left();
}
