//! Calls that the child cannot answer before the client has answered something.

use serde_json::{Value, json};

use super::{Server, call_tool, discovered, error_code, nested, parameters};
use crate::envelope::MAX_DEPTH;

fn everything() -> Value {
    json!({"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}})
}

fn elicitation() -> Value {
    json!({"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {}}})
}

fn input_required(requests: Value, state: &str) -> Value {
    json!({"resultType": "input_required", "inputRequests": requests, "requestState": state})
}

/// A call that waits for its client: the server, and the call's first reference.
fn asking(requests: Value) -> (Server, u64) {
    let mut server = Server::open(&discovered(), &everything());
    server.says(call_tool(7, Some(70)));
    let (reference, _) = server.child_hears();
    server.child_answers(reference, input_required(requests, "s1"));
    (server, reference)
}

#[test]
fn a_question_is_asked_and_the_call_made_again() {
    let (mut server, first) = asking(json!({"user_name": elicitation()}));
    let asked = server.hears();
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"], elicitation()["params"]);
    server.is_silent();

    let answer = json!({"action": "accept", "content": {"name": "Ann"}});
    server.says(json!({"id": asked["id"], "result": answer}));
    let (second, request) = server.child_hears();
    assert_ne!(first, second);
    assert_eq!(
        parameters(&request),
        json!({
            "name": "ask", "arguments": {"a": 1},
            "inputResponses": {"user_name": answer}, "requestState": "s1",
        })
    );

    // Progress is the second call's now.
    let progress = |reference: u64| {
        json!({"method": "notifications/progress",
            "params": {"progressToken": reference, "progress": 1}})
    };
    server.child_says(first, progress(first));
    server.child_says(second, progress(second));
    assert_eq!(server.hears(), progress(70));
    server.child_answers(first, json!({"late": true}));
    server.child_answers(second, json!({"resultType": "complete", "content": []}));
    assert_eq!(server.hears(), json!({"id": 7, "result": {"content": []}}));
    server.is_silent();
    assert!(server.server.calls.is_empty());
}

#[test]
fn several_questions_are_asked_at_once_and_answered_in_any_order() {
    let (mut server, _) = asking(json!({
        "a": elicitation(),
        "b\"": {"method": "sampling/createMessage", "params": {"maxTokens": 1}},
        "c": {"method": "roots/list"},
    }));
    let asked = [server.hears(), server.hears(), server.hears()];
    let methods = asked.each_ref().map(|asked| asked["method"].clone());
    assert_eq!(
        methods,
        ["elicitation/create", "sampling/createMessage", "roots/list"].map(Value::from)
    );
    assert_eq!(asked[2].get("params"), None);
    for (index, result) in [(2, json!({"roots": []})), (0, json!({"action": "decline"}))] {
        server.says(json!({"id": asked[index]["id"], "result": result}));
        server.is_silent();
        // A second answer to the same question is none.
        server.says(json!({"id": asked[index]["id"], "result": {"second": 1}}));
        server.is_silent();
    }
    server.says(json!({"id": asked[1]["id"], "result": {"model": "m"}}));
    let (_, request) = server.child_hears();
    assert_eq!(
        request["params"]["inputResponses"],
        json!({"a": {"action": "decline"}, "b\"": {"model": "m"}, "c": {"roots": []}})
    );
}

#[test]
fn a_round_answers_to_its_own_state() {
    let (mut server, _) = asking(json!({"a": elicitation()}));
    let id = server.hears()["id"].clone();
    server.says(json!({"id": id, "result": {"action": "accept"}}));
    let (second, _) = server.child_hears();
    server.child_answers(
        second,
        json!({"resultType": "input_required", "inputRequests": {"b": elicitation()}}),
    );
    let asked = server.hears()["id"].clone();
    assert_ne!(asked, id);
    server.says(json!({"id": asked, "result": {"action": "decline"}}));
    let (_, request) = server.child_hears();
    assert_eq!(
        parameters(&request),
        json!({
            "name": "ask", "arguments": {"a": 1},
            "inputResponses": {"b": {"action": "decline"}},
        })
    );
}

#[test]
fn a_state_without_requests_is_sent_back_at_once() {
    for requests in [None, Some(json!({}))] {
        let mut server = Server::open(&discovered(), &json!({}));
        server.says(json!({"id": 7, "method": "resources/read"}));
        let (reference, _) = server.child_hears();
        let mut result = json!({"resultType": "input_required", "requestState": "later"});
        if let Some(requests) = requests {
            result["inputRequests"] = requests;
        }
        server.child_answers(reference, result);
        let (_, request) = server.child_hears();
        assert_eq!(parameters(&request), json!({"requestState": "later"}));
    }
}

#[test]
fn rounds_are_bounded() {
    let mut server = Server::open(&discovered(), &json!({}));
    server.says(call_tool(7, None));
    for _ in 0..32 {
        let (reference, _) = server.child_hears();
        let again = json!({"resultType": "input_required", "requestState": "again"});
        server.child_answers(reference, again);
    }
    let (reference, _) = server.child_hears();
    server.child_answers(
        reference,
        json!({"resultType": "input_required", "requestState": "again"}),
    );
    assert_eq!(error_code(&server.hears()), -32603);
    assert!(server.server.calls.is_empty());
}

#[test]
fn requests_are_bounded() {
    let requests = |count: u64| -> Value {
        let requests = (0..count).map(|key| (key.to_string(), elicitation()));
        requests.collect::<serde_json::Map<_, _>>().into()
    };
    let (mut server, _) = asking(requests(64));
    for _ in 0..64 {
        assert_eq!(server.hears()["method"], "elicitation/create");
    }
    let (mut server, _) = asking(requests(65));
    assert_eq!(error_code(&server.hears()), -32603);
}

#[test]
fn a_url_gets_the_id_that_legacy_clients_require() {
    let (mut server, _) = asking(json!({"a": {"method": "elicitation/create", "params": {
        "mode": "url", "message": "Go", "url": "https://example.com/",
    }}}));
    let asked = server.hears();
    let id = asked["params"]["elicitationId"].as_str().unwrap();
    assert_eq!(
        asked["params"],
        json!({
            "mode": "url", "message": "Go", "url": "https://example.com/", "elicitationId": id,
        })
    );
}

#[test]
fn what_the_client_has_not_declared_is_not_asked() {
    let sampling = json!({"method": "sampling/createMessage", "params": {}});
    let with_tools = json!({"method": "sampling/createMessage", "params": {"tools": []}});
    let url = json!({"method": "elicitation/create", "params": {"mode": "url"}});
    let roots = json!({"method": "roots/list"});
    for (capabilities, request, is_asked) in [
        (json!({}), elicitation(), false),
        (json!({"elicitation": {}}), elicitation(), true),
        (json!({"elicitation": {"form": {}}}), elicitation(), true),
        (json!({"elicitation": {"url": {}}}), elicitation(), false),
        (json!({"elicitation": {}}), url.clone(), false),
        (json!({"elicitation": {"url": {}}}), url, true),
        (json!({"elicitation": {}}), sampling.clone(), false),
        (json!({"sampling": {}}), sampling, true),
        (json!({"sampling": {}}), with_tools.clone(), false),
        (json!({"sampling": {"tools": {}}}), with_tools, true),
        (json!({"sampling": {}}), roots.clone(), false),
        (json!({"roots": {"listChanged": true}}), roots, true),
        (everything(), json!({"method": "ping"}), false),
        (everything(), json!({"method": "tools/call"}), false),
    ] {
        let mut server = Server::open(&discovered(), &capabilities);
        server.says(call_tool(7, None));
        let (reference, _) = server.child_hears();
        server.child_answers(reference, input_required(json!({"a": request}), "s"));
        let heard = server.hears();
        if is_asked {
            assert_eq!(heard["method"], request["method"]);
        } else {
            assert_eq!((&heard["id"], error_code(&heard)), (&json!(7), -32603));
            assert!(server.server.calls.is_empty());
        }
        server.is_silent();
    }
}

#[test]
fn what_cannot_be_read_fails_the_call() {
    for result in [
        json!({"resultType": "input_required"}),
        json!({"resultType": "input_required", "inputRequests": {}}),
        json!({"resultType": "input_required", "inputRequests": []}),
        json!({"resultType": "input_required", "inputRequests": {"a": 1}}),
        json!({"resultType": "input_required", "inputRequests": {"a": {}}}),
        json!({"resultType": "input_required", "inputRequests": {"a": {"method": 1}}}),
        json!({"resultType": "input_required", "requestState": 1}),
        json!({"resultType": "input_required", "inputRequests": {
            "a": {"method": "roots/list", "params": []},
        }}),
    ] {
        let mut server = Server::open(&discovered(), &everything());
        server.says(call_tool(7, None));
        let (reference, _) = server.child_hears();
        server.child_answers(reference, result);
        assert_eq!(error_code(&server.hears()), -32603);
        server.is_silent();
        assert!(server.server.calls.is_empty());
    }
}

#[test]
fn a_method_that_must_not_ask_fails() {
    let mut server = Server::open(&discovered(), &everything());
    server.says(json!({"id": 7, "method": "tools/list"}));
    let (reference, _) = server.child_hears();
    server.child_answers(reference, input_required(json!({"a": elicitation()}), "s"));
    assert_eq!(error_code(&server.hears()), -32603);
    server.is_silent();
}

#[test]
fn an_elicitation_that_the_client_fails_is_cancelled() {
    let (mut server, _) = asking(json!({"a": elicitation()}));
    let asked = server.hears();
    server.says(json!({"id": asked["id"], "error": {"code": -1, "message": "no"}}));
    let (_, request) = server.child_hears();
    assert_eq!(
        request["params"]["inputResponses"],
        json!({"a": {"action": "cancel"}})
    );
}

#[test]
fn another_request_that_the_client_fails_fails_the_call() {
    let (mut server, _) = asking(json!({"a": {"method": "roots/list"}, "b": elicitation()}));
    let (roots, elicitation) = (server.hears(), server.hears());
    let error = json!({"code": -1, "message": "User rejected", "data": {"x": 1}});
    server.says(json!({"id": roots["id"], "error": error}));
    assert_eq!(server.hears(), json!({"id": 7, "error": error}));
    let withdrawn = json!({"requestId": elicitation["id"]});
    assert_eq!(
        server.hears(),
        json!({"method": "notifications/cancelled", "params": withdrawn})
    );
    assert!(server.server.calls.is_empty());
    server.says(json!({"id": elicitation["id"], "result": {"action": "accept"}}));
    server.is_silent();
}

#[test]
fn a_cancelled_call_withdraws_its_questions() {
    let (mut server, _) = asking(json!({"a": elicitation(), "b": elicitation()}));
    let (a, b) = (server.hears(), server.hears());
    server.says(json!({"id": a["id"], "result": {"action": "accept"}}));
    server.says(json!({"method": "notifications/cancelled", "params": {"requestId": 7}}));
    let withdrawn = json!({"requestId": b["id"]});
    assert_eq!(
        server.hears(),
        json!({"method": "notifications/cancelled", "params": withdrawn})
    );
    server.says(json!({"id": b["id"], "result": {"action": "accept"}}));
    server.is_silent();
    assert!(server.server.calls.is_empty());
}

#[test]
fn a_second_round_is_cancelled_under_its_own_reference() {
    let (mut server, _) = asking(json!({"a": elicitation()}));
    let asked = server.hears();
    server.says(json!({"id": asked["id"], "result": {"action": "accept"}}));
    let (second, _) = server.child_hears();
    server.says(json!({"method": "notifications/cancelled", "params": {"requestId": 7}}));
    assert_eq!(server.child_loses(), second);
    server.is_silent();
}

#[test]
fn answers_that_do_not_fit_fail_the_call() {
    let limits = crate::limits::Limits {
        stdin_bytes: 1000,
        ..Default::default()
    };
    let mut server = Server::with_limits(&discovered(), &limits);
    server.says(super::initialize("2025-11-25", &everything()));
    server.hears();
    server.says(call_tool(7, None));
    let (reference, _) = server.child_hears();
    let requests = json!({"a": elicitation(), "b": elicitation()});
    server.child_answers(reference, input_required(requests, "s"));
    let (a, b) = (server.hears(), server.hears());
    let content = json!({"x": "y".repeat(1000)});
    server.says(json!({"id": a["id"], "result": {"action": "accept", "content": content}}));
    assert_eq!(error_code(&server.hears()), -32603);
    assert_eq!(server.hears()["params"]["requestId"], b["id"]);
    assert!(server.server.calls.is_empty());

    server.says(call_tool(8, None));
    let (reference, _) = server.child_hears();
    server.child_answers(reference, input_required(json!({}), &"s".repeat(1000)));
    assert_eq!(error_code(&server.hears()), -32603);
    assert!(server.server.calls.is_empty());
}

#[test]
fn all_that_is_held_counts() {
    let limits = crate::limits::Limits {
        stdin_bytes: 1000,
        ..Default::default()
    };
    // Beside two calls of about 110 and 410 bytes.
    for (length, fits) in [(300, true), (600, false)] {
        let mut server = Server::with_limits(&discovered(), &limits);
        server.says(super::initialize("2025-11-25", &everything()));
        server.hears();
        let mut other = call_tool(6, None);
        other["params"]["arguments"] = json!("x".repeat(300));
        server.says(other);
        server.child_hears();
        server.says(call_tool(7, None));
        let (reference, _) = server.child_hears();
        server.child_answers(reference, input_required(json!({"a": elicitation()}), "s"));
        let asked = server.hears();
        server.says(json!({"id": asked["id"], "result": {"x": "y".repeat(length)}}));
        if fits {
            server.child_hears();
        } else {
            assert_eq!(error_code(&server.hears()), -32603);
        }
    }
}

#[test]
fn an_answer_that_nests_too_deeply_fails_the_call() {
    // In the message, `params`, `inputResponses`; in the answer two levels less.
    for (depth, is_relayed) in [(MAX_DEPTH - 3, true), (MAX_DEPTH - 2, false)] {
        let (mut server, _) = asking(json!({"a": elicitation()}));
        let asked = server.hears();
        server.says(json!({"id": asked["id"], "result": nested(depth)}));
        if is_relayed {
            server.child_hears();
        } else {
            assert_eq!(error_code(&server.hears()), -32603);
            assert!(server.server.calls.is_empty());
        }
    }
}

#[test]
fn line_breaks_in_a_question_become_spaces() {
    let mut server = Server::open(&discovered(), &everything());
    server.says(call_tool(7, None));
    let (reference, _) = server.child_hears();
    server.child_writes(
        reference,
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"resultType\":\"input_required\",\
         \"inputRequests\":{\"a\":{\"method\":\"roots/list\",\"params\":{\r\"x\":\r1\r}}}}}",
    );
    assert_eq!(server.hears()["params"], json!({"x": 1}));
}
