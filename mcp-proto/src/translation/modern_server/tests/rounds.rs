use super::*;

fn elicitation(message: &str) -> Value {
    json!({"message": message, "requestedSchema": {"type": "object", "properties": {}}})
}

/// A call in flight whose child has asked what its name is, and a client that knows of it.
fn parked() -> Script {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({"name": "x"}));
    script.child_hears();
    script.child(json!({"id": 0, "method": "elicitation/create", "params": elicitation("Who?")}));
    script.gathered();
    assert_eq!(script.client_hears()["result"]["requestState"], "1.1");
    script.all_is_quiet();
    script
}

fn retry(script: &mut Script, id: u64, state: &str, responses: Value) {
    let params = json!({"name": "x", "requestState": state, "inputResponses": responses});
    script.request(id, "tools/call", params);
}

#[test]
fn what_the_child_asks_the_client_is_asked_and_the_call_goes_on() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({"name": "x"}));
    script.child_hears();
    script.child(json!({"id": "a", "method": "elicitation/create", "params": elicitation("Who?")}));
    script.child(json!({"id": 1, "method": "roots/list"}));
    script.all_is_quiet();
    script.gathered();
    let mut expected = completed(json!({
        "inputRequests": {
            "request-1": {"method": "elicitation/create", "params": elicitation("Who?")},
            "request-2": {"method": "roots/list"},
        },
        "requestState": "1.1",
    }));
    expected["resultType"] = "input_required".into();
    assert_eq!(script.client_hears(), answer(1, expected));
    assert!(!script.server.is_free());

    let (name, roots) = (
        json!({"action": "accept", "content": {}}),
        json!({"roots": []}),
    );
    retry(
        &mut script,
        2,
        "1.1",
        json!({"request-1": name, "request-2": roots, "more": {}}),
    );
    assert_eq!(
        script.child_hears(),
        json!({"jsonrpc": "2.0", "id": "a", "result": name})
    );
    assert_eq!(
        script.child_hears(),
        json!({"jsonrpc": "2.0", "id": 1, "result": roots})
    );
    script.all_is_quiet();
    script.child(json!({"id": 1, "result": {"content": []}}));
    assert_eq!(
        script.client_hears(),
        answer(2, completed(json!({"content": []})))
    );
    assert!(script.server.is_free() && script.is_empty());
}

#[test]
fn progress_and_logs_follow_the_call_to_its_new_request() {
    let mut script = Script::ready(ALL);
    script.request_with(1, "tools/call", json!({}), json!({"progressToken": 1}));
    script.child_hears();
    let progress = json!({
        "method": "notifications/progress",
        "params": {"progressToken": 1, "progress": 1},
    });
    let log = json!({"method": "notifications/message", "params": {"level": "error", "data": 1}});
    script.child(json!({"id": 5, "method": "roots/list"}));
    script.gathered();
    script.client_hears();
    script.child(progress.clone());
    script.child(log.clone());
    script.all_is_quiet();

    script.request_with(
        9,
        "tools/call",
        json!({"requestState": "1.1", "inputResponses": {"request-1": {"roots": []}}}),
        json!({"progressToken": 9, "io.modelcontextprotocol/logLevel": "error"}),
    );
    assert_eq!(script.child_hears()["method"], "logging/setLevel");
    assert_eq!(script.child_hears()["id"], 5);
    script.child(progress.clone());
    assert_eq!(script.client_hears()["params"]["progressToken"], 9);
    script.child(log.clone());
    assert_eq!(script.client_hears()["params"]["data"], 1);

    // A retry that does not ask for them gets none.
    script.child(json!({"id": 6, "method": "roots/list"}));
    script.gathered();
    assert_eq!(script.client_hears()["result"]["requestState"], "1.2");
    retry(&mut script, 10, "1.2", json!({"request-2": {}}));
    assert_eq!(script.child_hears()["id"], 6);
    script.child(progress);
    script.child(log);
    script.all_is_quiet();
}

#[test]
fn what_is_not_answered_is_asked_again() {
    let mut script = Script::ready(ALL);
    script.request(1, "prompts/get", json!({}));
    script.child_hears();
    for id in 1..=3 {
        script.child(json!({"id": id, "method": "roots/list", "params": {}}));
    }
    script.gathered();
    script.client_hears();
    retry(
        &mut script,
        2,
        "1.1",
        json!({"request-1": [], "request-3": {"roots": []}}),
    );
    assert_eq!(script.child_hears()["id"], 3);
    let heard = script.client_hears();
    assert_eq!(
        (&heard["id"], &heard["result"]["requestState"]),
        (&json!(2), &json!("1.2"))
    );
    let asked = heard["result"]["inputRequests"].as_object().unwrap();
    assert!(asked.keys().eq(["request-1", "request-2"]));

    // A client that has lost the last answer comes back with what it had before.
    retry(&mut script, 3, "1.1", json!({"request-3": {}}));
    assert_eq!(script.client_hears()["result"]["requestState"], "1.3");
    script.all_is_quiet();
    retry(
        &mut script,
        4,
        "1.3",
        json!({"request-1": {}, "request-2": {}}),
    );
    assert_eq!(
        (
            script.child_hears()["id"].clone(),
            script.child_hears()["id"].clone()
        ),
        (1.into(), 2.into())
    );
    script.all_is_quiet();
}

#[test]
fn what_is_asked_late_is_asked_in_the_next_round() {
    let mut script = parked();
    script.child(json!({"id": 1, "method": "roots/list"}));
    script.gathered();
    script.all_is_quiet();
    retry(
        &mut script,
        2,
        "1.1",
        json!({"request-1": {"action": "cancel"}}),
    );
    assert_eq!(script.child_hears()["id"], 0);
    let heard = script.client_hears();
    assert_eq!(
        heard["result"]["inputRequests"],
        json!({"request-2": {"method": "roots/list"}})
    );
}

#[test]
fn what_the_child_no_longer_waits_for_is_not_answered() {
    let mut script = parked();
    script.child(json!({"method": "notifications/cancelled", "params": {"requestId": 0}}));
    retry(
        &mut script,
        2,
        "1.1",
        json!({"request-1": {"action": "accept"}}),
    );
    script.all_is_quiet();
    script.child(json!({"id": 1, "result": {}}));
    assert_eq!(script.client_hears()["id"], 2);

    // Nor asked, if there is time.
    script.request(3, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 0, "method": "roots/list"}));
    script.child(json!({"method": "notifications/cancelled", "params": {"requestId": 0}}));
    script.gathered();
    script.all_is_quiet();
}

#[test]
fn an_answer_that_comes_before_the_retry_is_kept_for_it() {
    let mut script = parked();
    script.child(json!({"id": 1, "result": {"isError": true, "content": []}}));
    assert_eq!(script.child_hears()["error"]["code"], -32603);
    assert!(!script.server.is_free());
    script.child(json!({"id": 1, "method": "roots/list"}));
    assert_eq!(
        script.child_hears()["error"]["code"],
        -32603,
        "there is no call any more"
    );
    retry(&mut script, 2, "1.1", json!({"request-1": {}}));
    let expected = completed(json!({"isError": true, "content": []}));
    assert_eq!(script.client_hears(), answer(2, expected));
    assert!(script.is_empty());

    // If nobody comes back for it, it goes.
    let mut script = parked();
    script.child(json!({"id": 1, "result": {}}));
    script.child_hears();
    script.pass(Limits::default().client_answer_time);
    script.all_is_quiet();
    assert!(script.is_empty() && !script.server.is_spent());
}

#[test]
fn an_answer_that_comes_before_the_client_is_asked_ends_the_call() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 7, "method": "roots/list"}));
    script.child(json!({"id": 1, "result": {}}));
    assert_eq!(script.client_hears()["id"], 1);
    let heard = script.child_hears();
    assert_eq!(
        (&heard["id"], &heard["error"]["code"]),
        (&json!(7), &json!(-32603))
    );
    script.gathered();
    script.all_is_quiet();
    assert!(script.is_empty());
}

#[test]
fn a_state_that_names_nothing_begins_anew() {
    let mut script = Script::ready(ALL);
    script.client_line(
        "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"tools/call\",\"params\":{\"name\":\"x\",\n\
         \"arguments\":{\"a\":12345678901234567890.0},\"inputResponses\":{\"request-1\":{}},\
         \"requestState\":\"9.1\",\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\
         \"2026-07-28\",\"progressToken\":4}}}",
    );
    let line = String::from_utf8(script.last_line.clone()).unwrap();
    assert!(line.contains("\"arguments\":{\"a\":12345678901234567890.0}"));
    let mut heard = script.child_hears();
    heard["params"].as_object_mut().unwrap().remove("arguments");
    assert_eq!(
        heard,
        json!({
            "jsonrpc": "2.0",
            "id": 4,
            "method": "tools/call",
            "params": {"name": "x", "_meta": {"progressToken": 4}},
        })
    );
    script.child(json!({"id": 4, "result": {}}));
    assert_eq!(script.client_hears()["id"], 4);

    // Nor does what was answered already: a round is good once.
    let mut script = parked();
    retry(&mut script, 2, "1.1", json!({"request-1": {}}));
    script.child_hears();
    script.child(json!({"id": 1, "result": {}}));
    script.client_hears();
    retry(&mut script, 3, "1.1", json!({"request-1": {}}));
    assert_eq!(script.child_hears()["id"], 3);
    // A round that has not been is no round of this call.
    let mut script = parked();
    retry(&mut script, 2, "1.2", json!({"request-1": {}}));
    script.all_is_quiet();
}

#[test]
fn a_state_that_makes_no_sense_is_refused() {
    let mut script = parked();
    for state in [
        "", ".", "1", "1.", ".1", "1.1.1", "+1.1", "1.+1", "-1.1", "a.b", "1. 1",
    ] {
        retry(&mut script, 2, state, json!({}));
        assert_eq!(script.client_hears()["error"]["code"], -32602, "{state:?}");
    }
    script.request(3, "tools/call", json!({"requestState": 1}));
    assert_eq!(script.client_hears()["error"]["code"], -32602);
    script.all_is_quiet();
}

#[test]
fn a_round_gives_way_once_its_client_has_had_some_time() {
    for (before, after) in [(5, 0), (60, 0), (2, 3), (0, 5)] {
        let [before, after] = [before, after].map(Duration::from_secs);
        let mut script = parked();
        script.pass(before);
        script.all_is_quiet();
        script.server.give_way(script.now);
        script.drain();
        if !after.is_zero() {
            script.pass(after - Duration::from_millis(20));
            script.all_is_quiet();
            script.gathered();
        }
        assert_eq!(script.child_hears()["method"], "notifications/cancelled");
        assert_eq!(script.child_hears()["error"]["code"], -32603);
        assert!(script.server.is_free() && script.server.is_spent());
        let state = json!({"requestState": "1.1", "inputResponses": {"request-1": {}}});
        script.request(2, "tools/call", state);
        assert_eq!(script.child_hears()["id"], 2, "it begins anew");
    }
}

#[test]
fn a_call_that_is_not_parked_does_not_give_way() {
    let mut script = Script::ready(ALL);
    script.server.give_way(script.now);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.server.give_way(script.now);
    script.child(json!({"id": 0, "method": "roots/list"}));
    script.server.give_way(script.now);
    script.gathered();
    script.client_hears();
    script.pass(Duration::from_secs(60));
    script.all_is_quiet();
}

#[test]
fn a_round_that_nobody_comes_back_for_frees_its_child() {
    let mut script = parked();
    script.request(2, "tools/call", json!({}));
    script.all_is_quiet();
    script.pass(Limits::default().client_answer_time);
    let heard = script.child_hears();
    assert_eq!(heard["method"], "notifications/cancelled");
    assert_eq!(heard["params"]["requestId"], 1);
    let heard = script.child_hears();
    assert_eq!(
        (&heard["id"], &heard["error"]["code"]),
        (&json!(0), &json!(-32603))
    );
    assert_eq!(script.child_hears()["id"], 2);
    assert!(script.server.is_spent(), "the child may not have heeded it");

    // What it asks now may be for the first call's sake.
    script.child(json!({"id": 5, "method": "roots/list"}));
    assert_eq!(script.child_hears()["error"]["code"], -32603);
    script.child(json!({"id": 1, "result": {}}));
    assert!(!script.server.is_spent());
    script.child(json!({"id": 6, "method": "roots/list"}));
    script.gathered();
    assert_eq!(script.client_hears()["id"], 2);
}

#[test]
fn a_child_that_asks_for_no_calls_sake_is_refused() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/list", json!({}));
    script.child_hears();
    for method in ["roots/list", "sampling/createMessage"] {
        script.child(json!({"id": 1, "method": method}));
        assert_eq!(script.child_hears()["error"]["code"], -32603);
    }
    script.request(2, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 1, "method": "tasks/get", "params": {}}));
    assert_eq!(script.child_hears()["error"]["code"], -32601);
    script.gathered();
    script.all_is_quiet();
}

#[test]
fn what_the_client_has_not_declared_it_is_not_asked() {
    let elicitation_url = json!({"mode": "url", "message": "m", "url": "https://a/"});
    let with_tools = json!({"messages": [], "maxTokens": 1, "tools": []});
    for (declared, method, params, missing) in [
        ("{}", "roots/list", json!({}), json!({"roots": {}})),
        (
            r#"{"roots":{}}"#,
            "sampling/createMessage",
            json!({}),
            json!({"sampling": {}}),
        ),
        (
            r#"{"sampling":{}}"#,
            "sampling/createMessage",
            with_tools,
            json!({"sampling": {"tools": {}}}),
        ),
        (
            r#"{"sampling":{}}"#,
            "elicitation/create",
            json!({}),
            json!({"elicitation": {"form": {}}}),
        ),
        (
            r#"{"elicitation":{"url":{}}}"#,
            "elicitation/create",
            json!({}),
            json!({"elicitation": {"form": {}}}),
        ),
        (
            r#"{"elicitation":{}}"#,
            "elicitation/create",
            elicitation_url,
            json!({"elicitation": {"url": {}}}),
        ),
    ] {
        for failed in [
            json!({"id": 1, "result": {"isError": true}}),
            json!({"id": 1, "error": {"code": -32603, "message": "m"}}),
        ] {
            let mut script = Script::ready(declared);
            script.request(1, "tools/call", json!({}));
            script.child_hears();
            script.child(json!({"id": 5, "method": method, "params": params}));
            assert_eq!(script.child_hears()["error"]["code"], -32601);
            script.child(failed);
            let heard = script.client_hears();
            assert_eq!(heard["error"]["code"], -32021, "{declared} {method}");
            assert_eq!(
                heard["error"]["data"],
                json!({"requiredCapabilities": missing})
            );
            assert!(script.is_empty());
        }
    }
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    for (method, params) in [
        ("sampling/createMessage", json!({})),
        ("sampling/createMessage", json!({"toolChoice": {}})),
        ("elicitation/create", json!({"mode": "url"})),
        ("elicitation/create", json!({"mode": "form"})),
        ("roots/list", json!({})),
    ] {
        script.child(json!({"id": 5, "method": method, "params": params}));
    }
    script.child(json!({"id": 1, "result": {"isError": true}}));
    assert_eq!(
        script.client_hears()["error"]["data"]["requiredCapabilities"],
        json!({
            "sampling": {"tools": {}},
            "elicitation": {"form": {}, "url": {}},
            "roots": {},
        })
    );
}

#[test]
fn what_the_client_has_declared_it_is_asked() {
    let url = json!({"mode": "url", "message": "m", "url": "https://a/"});
    let sampling = json!({"messages": [], "maxTokens": 1, "tools": [], "includeContext": "none"});
    for (declared, method, params) in [
        (r#"{"roots":{}}"#, "roots/list", json!({})),
        (
            r#"{"sampling":{"tools":{},"context":{}}}"#,
            "sampling/createMessage",
            sampling,
        ),
        (
            r#"{"elicitation":{}}"#,
            "elicitation/create",
            elicitation("m"),
        ),
        (
            r#"{"elicitation":{"form":{}}}"#,
            "elicitation/create",
            elicitation("m"),
        ),
        (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", url),
    ] {
        let mut script = Script::ready(declared);
        script.request(1, "tools/call", json!({}));
        script.child_hears();
        script.child(json!({"id": 5, "method": method, "params": params}));
        script.gathered();
        assert_eq!(
            script.client_hears()["result"]["inputRequests"],
            json!({"request-1": {"method": method, "params": params}}),
            "{declared}"
        );
    }
}

#[test]
fn what_the_child_asks_must_make_sense() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    for params in [json!({"mode": "b"}), json!({"mode": 1}), json!("a")] {
        script.child(json!({"id": 5, "method": "elicitation/create", "params": params}));
        assert_eq!(script.child_hears()["error"]["code"], -32602, "{params}");
    }
}

#[test]
fn a_server_that_does_without_has_not_failed() {
    let mut script = Script::ready("{}");
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    script.child(json!({"id": 5, "method": "roots/list"}));
    script.child_hears();
    script.child(json!({"id": 1, "result": {"isError": false}}));
    assert_eq!(script.client_hears()["result"]["isError"], false);
}

#[test]
fn what_two_calls_may_have_asked_for_is_blamed_on_neither() {
    let mut script = Script::ready("{}");
    let failed = |id: u64| json!({"id": id, "result": {"isError": true}});
    script.request(1, "tools/call", json!({}));
    script.child(json!({"id": 5, "method": "roots/list"}));
    script.request(2, "tools/call", json!({}));
    script.child(json!({"id": 6, "method": "sampling/createMessage"}));
    script.child(failed(1));
    assert_eq!(script.client_hears()["result"]["isError"], true);
    // The second is the only one now, but has not been all the time.
    script.child(json!({"id": 7, "method": "roots/list"}));
    script.child(failed(2));
    assert_eq!(script.client_hears()["result"]["isError"], true);

    // A call that was cancelled may ask as well.
    script.request(3, "tools/call", json!({}));
    script.client(json!({"method": "notifications/cancelled", "params": {"requestId": 3}}));
    script.request(4, "tools/call", json!({}));
    script.child(json!({"id": 8, "method": "roots/list"}));
    script.child(failed(4));
    assert_eq!(script.client_hears()["result"]["isError"], true);
}

#[test]
fn what_a_modern_client_would_not_know_is_left_out() {
    let mut script = Script::ready(r#"{"sampling":{},"elicitation":{"url":{}}}"#);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    let url = json!({"mode": "url", "message": "m", "url": "https://a/", "elicitationId": "e"});
    let sampling = json!({"messages": [], "maxTokens": 1, "includeContext": "thisServer"});
    script.child(json!({"id": 1, "method": "elicitation/create", "params": url}));
    script.child(json!({"id": 2, "method": "sampling/createMessage", "params": sampling}));
    script.gathered();
    let asked = &script.client_hears()["result"]["inputRequests"];
    assert_eq!(
        asked["request-1"]["params"],
        json!({"mode": "url", "message": "m", "url": "https://a/"})
    );
    assert_eq!(
        asked["request-2"]["params"],
        json!({"messages": [], "maxTokens": 1})
    );
}

#[test]
fn all_else_that_the_child_asks_stays_as_it_was() {
    let mut script = Script::ready(ALL);
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    let params =
        "{\"requestedSchema\":{\"z\":1,\"a\":12345678901234567890.0},\r\n\"message\":\"\"}";
    let method = "\"method\":\"elicitation/create\"";
    script.child_line(&format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":5,{method},\"params\":{params}}}"
    ));
    script.now.monotonic = script.now.monotonic + Duration::from_millis(20);
    script.server.handle_timeout(script.now);
    let Some(TranslationOutput::ToClient(asked)) = script.server.poll_output() else {
        panic!("the client is asked");
    };
    let asked = String::from_utf8(bytes(&asked)).unwrap();
    let params = params.replace("\r\n", "  ");
    assert!(
        asked.contains(&format!("{{{method},\"params\":{params}}}")),
        "{asked}"
    );
}

#[test]
fn how_much_a_child_asks_at_once_is_bounded() {
    let limits = Limits {
        calls_per_session: 3,
        waiting_bytes: 10_000,
        ..Limits::default()
    };
    let mut script = Script::limited(ALL, &limits);
    script.initialize();
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    let long = |id: u64| json!({"id": id, "method": "elicitation/create", "params": {"message": "m".repeat(20_000)}});
    script.child(long(1));
    script.child(long(2));
    assert_eq!(script.child_hears()["id"], 2, "one request may be larger");
    script.all_is_quiet();

    let mut script = Script::limited(ALL, &limits);
    script.initialize();
    script.request(1, "tools/call", json!({}));
    script.child_hears();
    for id in 1..=4 {
        script.child(json!({"id": id, "method": "roots/list"}));
    }
    assert_eq!(script.child_hears()["id"], 4);
    script.gathered();
    let asked = &script.client_hears()["result"]["inputRequests"];
    assert_eq!(asked.as_object().unwrap().len(), 3);
}
