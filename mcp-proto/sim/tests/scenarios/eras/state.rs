//! What a child gives a client to bring back with its next round.

use std::time::Duration;

use mcp_proto::SealKey;

use super::*;

const ASKED: &str = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"requestState":"its \u00e9 \"own\""}"#;

/// Has a call asked for input, and gives the state that it came with.
#[track_caller]
fn asked_for_input(scene: &mut Scene, host: UpstreamId, ask: &Ask) -> String {
    let (asked, minted) = begin(scene, host, ask);
    scene.says(host, &result(&minted, ASKED));
    let response = scene.response(asked).json();
    assert_eq!(
        response["result"]["inputRequests"]["a"]["method"],
        "roots/list"
    );
    let state = response["result"]["requestState"].as_str().unwrap();
    assert!(!state.contains("own"), "{state}");
    state.to_owned()
}

fn retry(ask: Ask, state: &str) -> Ask {
    ask.param(&format!(
        r#""requestState":"{state}","inputResponses":{{"a":{{"roots":[]}}}}"#
    ))
}

#[test]
fn it_comes_back_to_the_child_as_its_own() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let ask = prompt("1").param(r#""arguments":{"b":1,"a":[]}"#);
    let state = asked_for_input(&mut scene, host, &ask);
    // The same call in other words, under another id.
    let same = Ask::new(
        "\"x\"",
        "prompts/get",
        r#""arguments" : {"a":[ ],"b" : 1},"n\u0061me":"p""#,
    );
    let again = scene.ask(&retry(same, &state));
    let line = scene.hears_one(host);
    assert_eq!(json(&line)["params"]["requestState"], "its \u{e9} \"own\"");
    assert_eq!(
        json(&line)["params"]["inputResponses"]["a"]["roots"],
        json("[]")
    );
    let minted = json(&line)["id"].to_string();
    scene.answers(host, &minted, "x");
    scene.assert_answered(again, "x".into(), "x");
    scene.assert_nothing_is_left();
}

#[test]
fn it_is_not_taken_if_it_was_changed_or_comes_with_another_call_or_too_late() {
    let (mut scene, host) = modern_only(limited(|limits| {
        limits.request_state_time = Duration::from_secs(60);
    }));
    let state = asked_for_input(&mut scene, host, &prompt("1"));
    let changed = match state.strip_prefix('A') {
        Some(rest) => format!("B{rest}"),
        None => format!("A{}", &state[1..]),
    };
    let other = Ask::new("1", "prompts/get", r#""name":"q""#);
    let further = prompt("1").param(r#""arguments":{}"#);
    let mut wrong = vec![
        retry(prompt("1"), &changed),
        retry(prompt("1"), &state[1..]),
        retry(prompt("1"), ""),
        retry(prompt("1"), "its own"),
        retry(tool("1"), &state),
        retry(other, &state),
        retry(further, &state),
        prompt("1").param(r#""requestState":7"#),
    ];
    for ask in wrong.drain(..) {
        let asked = scene.ask(&ask);
        assert_error(&scene, asked, 400, -32602, &1.into());
    }
    scene.wait_secs(60);
    let late = scene.ask(&retry(prompt("1"), &state));
    assert_error(&scene, late, 400, -32602, &1.into());
    assert_eq!(scene.hears(host), [""; 0]);
    scene.assert_nothing_is_left();
}

#[test]
fn it_is_not_taken_from_anyone_else() {
    let mut scene = Scene::of(finding_out(for_two));
    scene.presents(ANN);
    let asked = scene.ask(&prompt("1"));
    let probe = scene.new_child();
    scene.says(probe, &result("1", DISCOVERED));
    let host = scene.new_children()[1];
    let minted = scene.minted(host);
    scene.says(host, &result(&minted, ASKED));
    let response = scene.response(asked).json();
    let state = response["result"]["requestState"].as_str().unwrap();
    scene.presents(BOB);
    let stolen = scene.ask(&retry(prompt("1"), state));
    assert_error(&scene, stolen, 400, -32602, &1.into());
    scene.presents(ANN);
    scene.ask(&retry(prompt("1"), state));
    let line = scene.hears_one(host);
    assert_eq!(json(&line)["params"]["requestState"], "its \u{e9} \"own\"");
}

#[test]
fn a_gateway_with_the_same_key_takes_it_and_one_with_another_does_not() {
    let keyed = |key: u8| finding_out(|policy| policy.seal_keys = vec![SealKey([key; 32])]);
    let (mut scene, host) = modern_only(keyed(1));
    let state = asked_for_input(&mut scene, host, &prompt("1"));
    for (key, is_taken) in [(1, true), (2, false)] {
        let (mut replica, its_host) = modern_only(keyed(key));
        let asked = replica.ask(&retry(prompt("1"), &state));
        if is_taken {
            let line = replica.hears_one(its_host);
            assert_eq!(json(&line)["params"]["requestState"], "its \u{e9} \"own\"");
        } else {
            assert_error(&replica, asked, 400, -32602, &1.into());
        }
    }
    // After the keys were changed, the old one is good for what is under way.
    let changed = finding_out(|policy| policy.seal_keys = vec![SealKey([3; 32]), SealKey([1; 32])]);
    let (mut replica, its_host) = modern_only(changed);
    replica.ask(&retry(prompt("1"), &state));
    assert_eq!(method(&replica.hears_one(its_host)), "prompts/get");
}

#[test]
fn a_stream_may_end_with_it() {
    let (mut scene, host) = modern_only(finding_out(|_| {}));
    let (asked, minted) = begin(&mut scene, host, &prompt("1"));
    scene.wait_secs(15);
    scene.says(host, &result(&minted, ASKED));
    let state = answer(&scene, asked)["result"]["requestState"].clone();
    let asked = scene.ask(&retry(prompt("2"), state.as_str().unwrap()));
    assert_eq!(method(&scene.hears_one(host)), "prompts/get");
    assert!(scene.is_waiting(asked));
}
